"""Files of tensors: damage is noticed at any place, in files of any writer."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from foveal.errors import FovealError
from foveal.models.tensor_files import packed, read

VALUES: dict[str, Any] = {
    "network": {f"layer{n}.weight": torch.arange(40.0) + n for n in range(4)},
    "iteration": 7,
    "previous": ["001", 3],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    path.write_bytes(packed(VALUES))
    return path


def same(values: Any) -> bool:
    layers = VALUES["network"]
    return (
        values["iteration"] == 7
        and values["previous"] == ["001", 3]
        and values["network"].keys() == layers.keys()
        and all(torch.equal(values["network"][key], layers[key]) for key in layers)
    )


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_what_was_written_is_read_here_and_by_plain_torch(path: Path) -> None:
    assert same(read(path))
    assert same(torch.load(path, weights_only=True))


def test_every_flipped_bit_of_a_packed_file_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    bits = random.Random(1).sample(range(8 * len(content)), 600)
    for bit in (*bits, *range(8 * (len(content) - 73), 8 * len(content), 5)):
        path.write_bytes(flipped(content, bit))
        with pytest.raises(FovealError, match=r"last\.pt"):
            read(path)


def test_a_flipped_bit_in_anybodys_file_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pt"
    torch.save(VALUES, path)
    content = path.read_bytes()
    assert same(read(path))
    noticed = 0
    for bit in random.Random(2).sample(range(8 * len(content)), 400):
        path.write_bytes(flipped(content, bit))
        try:
            assert same(read(path))
        except FovealError:
            noticed += 1
    assert noticed > 100  # the rest lies in the padding between tensors


@pytest.mark.parametrize("length", [0, 1, 21, 22, 73, 500, -100, -1])
def test_a_cut_off_file_is_named_without_torchs_advice(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FovealError, match=r"last\.pt") as caught:
        read(path)
    assert "weights_only" not in str(caught.value)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(FovealError, match="cannot be read: No such file"):
        read(tmp_path / "none.pt")
    with pytest.raises(FovealError, match="cannot be read: Is a directory"):
        read(tmp_path)
