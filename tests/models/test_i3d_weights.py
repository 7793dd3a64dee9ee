"""All public forms of I3D weights load to the same network; damaged files are refused."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import FovealError, MissingDependency
from foveal.models.i3d.network import random_i3d
from foveal.models.i3d.tf_checkpoint import (
    TABLE_MAGIC,
    masked_crc32c,
    read_checkpoint,
    read_index,
)
from foveal.models.i3d.weights import load_i3d, weights_identity

WIDTH = 0.0625
HASSONY = {
    "b0": "branch_0",
    "b1a": "branch_1.0",
    "b1b": "branch_1.1",
    "b2a": "branch_2.0",
    "b2b": "branch_2.1",
    "b3b": "branch_3.1",
}
TENSORFLOW = {
    "b0": "Branch_0/Conv3d_0a_1x1",
    "b1a": "Branch_1/Conv3d_0a_1x1",
    "b1b": "Branch_1/Conv3d_0b_3x3",
    "b2a": "Branch_2/Conv3d_0a_1x1",
    "b2b": "Branch_2/Conv3d_0b_3x3",
    "b3b": "Branch_3/Conv3d_0b_1x1",
}


def tower(name="rgb", unit_gamma=False):
    network = random_i3d(name, 3, WIDTH)
    if unit_gamma:
        with torch.no_grad():
            for key, value in network.named_parameters():
                if key.endswith("bn.weight"):
                    value.fill_(1.0)
    return network


def features(network):
    channels = network.Conv3d_1a_7x7.conv3d.in_channels
    x = torch.linspace(-1, 1, channels * 9 * 32 * 32).reshape(1, channels, 9, 32, 32)
    with torch.no_grad():
        return network(x)


def piergiaj(network):
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    return {**state, "logits.conv3d.weight": torch.zeros(4), "logits.conv3d.bias": torch.zeros(4)}


def hassony2(network):
    named = {}
    for key, value in network.state_dict().items():
        key = re.sub(r"\.(b\d[ab]?)\.", lambda m: f".{HASSONY[m[1]]}.", key)
        key = key.replace(".bn.", ".batch3d.").replace("Conv3d_", "conv3d_")
        named[key.replace("Mixed_", "mixed_")] = value
    return {**named, "conv3d_0c_1x1.conv3d.weight": torch.zeros(4)}


def tensorflow(network):
    prefix = {"rgb": "RGB", "flow": "Flow"}[network.tower] + "/inception_i3d/"
    names = {"bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    arrays = {prefix + "Logits/Conv3d_0c_1x1/conv_3d/w": np.zeros((1, 1, 1, 2, 2), np.float32)}
    for key, value in network.state_dict().items():
        layer, *middle, kind, variable = key.split(".")
        unit = "/".join([layer, *(TENSORFLOW[m] for m in middle)])
        unit = unit.replace("Mixed_5b/Branch_2/Conv3d_0b_3x3", "Mixed_5b/Branch_2/Conv3d_0a_3x3")
        if kind == "conv3d":
            arrays[f"{prefix}{unit}/conv_3d/w"] = value.permute(2, 3, 4, 1, 0).numpy()
        elif variable in names:
            arrays[f"{prefix}{unit}/batch_norm/{names[variable]}"] = value.numpy().reshape(
                1, 1, 1, 1, -1
            )
    return arrays


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(entries, restart_every=16):
    out, restarts, last = bytearray(), [], b""
    for n, (key, value) in enumerate(entries):
        shared = 0
        if n % restart_every:
            while key[: shared + 1] == last[: shared + 1] and shared < len(last):
                shared += 1
        else:
            restarts.append(len(out))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    out += struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))
    return bytes(out)


def write_checkpoint(prefix, arrays, entries_a_block=40):
    """What TensorFlow's BundleWriter puts on disk, for float32 arrays in one shard."""
    data, entries = bytearray(), [(b"", field(1, 1) + field(3, field(1, 1)))]
    for name in sorted(arrays, key=str.encode):
        raw = np.ascontiguousarray(arrays[name], "<f4").tobytes()
        shape = b"".join(field(2, field(1, n)) for n in arrays[name].shape)
        entry = field(1, 1) + field(2, shape)
        entry += field(4, len(data)) * bool(data) + field(5, len(raw))
        entry += varint(6 << 3 | 5) + struct.pack("<I", masked_crc32c(raw))
        entries.append((name.encode(), entry))
        data += raw
    table, handles = bytearray(), []

    def add(content):
        handle = varint(len(table)) + varint(len(content))
        table.extend(content + b"\0" + struct.pack("<I", masked_crc32c(content + b"\0")))
        return handle

    for n in range(0, len(entries), entries_a_block):
        part = entries[n : n + entries_a_block]
        handles.append((part[-1][0], add(block(part))))
    footer = add(block([])) + add(block(handles, 1))
    table.extend(footer.ljust(40, b"\0") + struct.pack("<Q", TABLE_MAGIC))
    Path(f"{prefix}.index").write_bytes(table)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)
    return prefix


@pytest.mark.parametrize("name", ["rgb", "flow"])
def test_all_three_forms_give_equal_outputs(tmp_path, name):
    network = tower(name, unit_gamma=True)
    torch.save(piergiaj(network), tmp_path / f"{name}_imagenet.pt")
    torch.save(hassony2(network), tmp_path / f"model_{name}.pth")
    folder = tmp_path / f"{name}_imagenet"
    folder.mkdir()
    prefix = write_checkpoint(folder / "model.ckpt", tensorflow(network))
    expected = features(network)
    for path in (
        tmp_path / f"{name}_imagenet.pt",
        tmp_path / f"model_{name}.pth",
        prefix,
        Path(f"{prefix}.index"),
        folder,
    ):
        assert torch.equal(features(load_i3d(name, path, WIDTH)), expected), path


def test_data_parallel_prefixes_wrapped_and_old_files_load(tmp_path):
    network = tower()
    state = {f"module.{k}": v for k, v in piergiaj(network).items()}
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    torch.save(hassony2(network), tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    for path in ("a.pt", "b.pt"):
        loaded = load_i3d("rgb", tmp_path / path, WIDTH)
        assert torch.equal(features(loaded), features(network))
        assert not loaded.training


def without(state, name):
    return {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "Mixed_4d.b1b.conv3d.weight"), r"missing: Mixed_4d\.b1b"),
        (lambda s: {**s, "Mixed_6a.b0.conv3d.weight": torch.zeros(1)}, "unexpected: Mixed_6a"),
        (lambda s: {**s, "Mixed_3b.b0.bn.bias": torch.zeros(5)}, r"\(5,\) instead of \(4,\)"),
        (lambda s: {**s, "Mixed_3b.b0.bn.bias": torch.full((4,), torch.nan)}, "not finite"),
        (lambda s: {**s, "Mixed_3b.b0.bn.running_var": -torch.ones(4)}, "negative variance"),
        (lambda s: {k.replace("Conv3d_1a", "stem"): v for k, v in s.items()}, "no known form"),
        (lambda s: [1, 2], "no state dict"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, message):
    torch.save(change(piergiaj(tower())), tmp_path / "w.pt")
    with pytest.raises(FovealError, match=message):
        load_i3d("rgb", tmp_path / "w.pt", WIDTH)


def test_the_other_towers_weights_are_recognised(tmp_path):
    torch.save(piergiaj(tower("flow")), tmp_path / "w.pt")
    with pytest.raises(MissingDependency, match="the other tower"):
        load_i3d("rgb", tmp_path / "w.pt", WIDTH)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_is_never_run(tmp_path):
    sprung = tmp_path / "sprung"
    torch.save({"Conv3d_1a_7x7.conv3d.weight": Trap(sprung)}, tmp_path / "w.pt")
    with pytest.raises(FovealError, match="pickled code are refused"):
        load_i3d("rgb", tmp_path / "w.pt")
    assert not sprung.exists()


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(MissingDependency, match="foveal weights"):
        load_i3d("rgb", tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(FovealError, match=r"text\.pt cannot be loaded"):
        load_i3d("rgb", tmp_path / "text.pt")
    with pytest.raises(MissingDependency, match="0 TensorFlow checkpoints"):
        load_i3d("rgb", tmp_path)


def test_crc32c_of_rfc_3720_masked_as_leveldb_does():
    crc = 0xE3069283
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    assert masked_crc32c(b"123456789") == (rotated + 0xA282EAD8) & 0xFFFFFFFF


@pytest.fixture(scope="module")
def small_checkpoint(tmp_path_factory):
    arrays = {f"layer_{n}/w": np.full((n, 2), n, np.float32) for n in range(1, 9)}
    return write_checkpoint(tmp_path_factory.mktemp("ckpt") / "m.ckpt", arrays, 3), arrays


def test_index_of_several_blocks(small_checkpoint):
    prefix, arrays = small_checkpoint
    read = read_checkpoint(prefix)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_flipped_byte_of_the_index_is_noticed_or_harmless(small_checkpoint, position, flip):
    prefix, arrays = small_checkpoint
    index = Path(f"{prefix}.index")
    raw = bytearray(index.read_bytes())
    raw[position % len(raw)] ^= flip
    damaged = index.with_name("damaged.ckpt.index")
    damaged.write_bytes(raw)
    try:
        entries, shards = read_index(damaged)
    except MissingDependency:
        return
    assert (entries.keys(), shards) == (arrays.keys(), 1)


@given(st.binary(max_size=200))
def test_any_bytes_with_a_valid_footer_end_in_the_right_error(small_checkpoint, noise):
    path = small_checkpoint[0].with_name("noise.ckpt.index")
    path.write_bytes(noise.ljust(40, b"\x01") + struct.pack("<Q", TABLE_MAGIC))
    with pytest.raises(MissingDependency):
        read_index(path)


def test_damaged_and_missing_data(tmp_path):
    prefix = write_checkpoint(tmp_path / "m.ckpt", {"w": np.arange(6, dtype=np.float32)})
    data = Path(f"{prefix}.data-00000-of-00001")
    raw = data.read_bytes()
    data.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(MissingDependency, match="checksum"):
        read_checkpoint(prefix)
    data.write_bytes(raw[:-1])
    with pytest.raises(MissingDependency, match="outside"):
        read_checkpoint(prefix)
    data.unlink()
    with pytest.raises(MissingDependency, match="data-00000-of-00001 is missing"):
        read_checkpoint(prefix)
    Path(f"{prefix}.index").write_bytes(bytes(100))
    with pytest.raises(MissingDependency, match="magic"):
        read_checkpoint(prefix)


def test_identity_covers_all_files_of_a_checkpoint(tmp_path):
    prefix = write_checkpoint(tmp_path / "m.ckpt", {"w": np.arange(6, dtype=np.float32)})
    before = weights_identity(prefix)
    assert before == weights_identity(tmp_path)
    assert re.fullmatch("sha256:[0-9a-f]{64}", before)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(b"other")
    assert weights_identity(prefix) != before
    with pytest.raises(MissingDependency, match="foveal weights"):
        weights_identity(tmp_path / "none.pt")


def test_random_weights_by_name():
    loaded = load_i3d("rgb", "random:3", WIDTH)
    assert torch.equal(features(loaded), features(tower()))
    assert weights_identity("random:3") == "random:3"
    assert weights_identity("random") == "random:0"
