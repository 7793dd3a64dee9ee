"""Tar samples hold what the store holds of their frames, windows by their starts."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import FRAMES, I3D, built_store, write_array
from numpy.typing import NDArray
from PIL import Image

from foveal.errors import FovealError
from foveal.pipeline.export.webdataset import export_webdataset
from foveal.storage.reader import Store

WINDOW = I3D["window"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three clips with every array that a recipe can ask for; windows at every second frame."""
    return built_store(tmp_path_factory.mktemp("webdataset"), i3d=I3D)


def samples_of(folder: Path) -> dict[str, dict[str, bytes]]:
    """Members by key, as WebDataset groups them: up to the first dot of the last part."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                place, _, name = member.name.rpartition("/")
                key, _, suffix = name.partition(".")
                content = tar.extractfile(member)
                assert content
                found.setdefault(f"{place}/{key}", {})[suffix] = content.read()
    return found


def npy(content: bytes) -> NDArray[Any]:
    return np.asarray(np.load(io.BytesIO(content)))


def picture(content: bytes) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("array", ["i3d_rgb", "i3d_flow"])
@pytest.mark.parametrize("clip_frames", [1, 3, 9, 30])
def test_a_window_is_in_the_sample_of_the_frame_it_starts_with(
    store: Store, tmp_path: Path, array: str, clip_frames: int
) -> None:
    export_webdataset(store.location.url, tmp_path, [array], clip_frames=clip_frames)
    samples = samples_of(tmp_path)
    for video, frames in FRAMES.items():
        starts = store.array(video, f"{array}_window_start")[:]
        features = store.array(video, array)[:]
        told = []
        for first in range(0, frames, clip_frames):
            sample = samples.pop(f"{video}/{first:06d}")
            rows = np.flatnonzero((starts >= first) & (starts < first + clip_frames))
            assert (f"{array}.npy" in sample) == (len(rows) > 0)
            about = json.loads(sample["json"])
            if len(rows):
                expected = features[rows[0]] if clip_frames == 1 else features[rows]
                np.testing.assert_array_equal(npy(sample[f"{array}.npy"]), expected)
                assert about["windows"][array]["frames"] == WINDOW
                told += about["windows"][array]["starts"]
            else:
                assert array not in about.get("windows", {})
        assert told == starts.tolist(), "every window once, in order"
    assert not samples


def test_the_only_window_of_a_short_clip_is_in_its_first_sample(tmp_path: Path) -> None:
    section = I3D | {"window": 16, "streams": ["rgb"], "short_clips": "repeat_first"}
    store = built_store(tmp_path, flow=[], density=None, i3d=section)
    export_webdataset(
        store.location.url, tmp_path / "out", ["i3d_rgb"], videos=["002"], clip_frames=4
    )
    first, *others = samples_of(tmp_path / "out").values()
    np.testing.assert_array_equal(npy(first["i3d_rgb.npy"]), store.array("002", "i3d_rgb")[:])
    assert json.loads(first["json"])["windows"]["i3d_rgb"] == {"starts": [-7], "frames": 16}
    assert not any("i3d_rgb.npy" in sample for sample in others)


def test_single_frames_hold_the_stored_values(store: Store, tmp_path: Path) -> None:
    wanted = ["frames", "density", "flow_tvl1", "fixations"]
    done = export_webdataset(store.location.url, tmp_path, wanted, shard_samples=4)
    total = sum(FRAMES.values())
    assert done.files == -(-total // 4)
    samples = samples_of(tmp_path)
    assert list(samples)[:2] == ["001/000000", "001/000001"]
    assert len(samples) == total
    for video, frames in FRAMES.items():
        data = store[video].load()
        subjects = data.fixation_subject.attrs["subjects"]
        for k in range(frames):
            sample = samples[f"{video}/{k:06d}"]
            np.testing.assert_array_equal(picture(sample["frames.png"]), data.frames[k])
            np.testing.assert_array_equal(picture(sample["density.png"]), data.density[k])
            about = json.loads(sample["json"])
            assert about["seconds"] == [float(data.time[k])]
            rows = np.flatnonzero(data.fixation_frame.values == k)
            assert about["fixations"] == [
                [
                    k,
                    pytest.approx(float(data.fixation_x[row]), abs=1e-3),
                    pytest.approx(float(data.fixation_y[row]), abs=1e-3),
                    subjects[int(data.fixation_subject[row])],
                ]
                for row in rows
            ]
            assert ("flow_tvl1.npy" in sample) == (k < frames - 1)
            if k < frames - 1:
                np.testing.assert_array_equal(npy(sample["flow_tvl1.npy"]), data.flow_tvl1[k])


def test_clips_hold_every_frame_once(store: Store, tmp_path: Path) -> None:
    wanted = ["frames", "flow_tvl1"]
    export_webdataset(store.location.url, tmp_path, wanted, videos=["001"], clip_frames=8)
    samples = samples_of(tmp_path)
    assert list(samples) == ["001/000000", "001/000008", "001/000016"]
    for name in wanted:
        clips = [npy(sample[f"{name}.npy"]) for sample in samples.values()]
        np.testing.assert_array_equal(np.concatenate(clips), store.array("001", name)[:])


def test_shards_are_the_same_bytes_every_time(store: Store, tmp_path: Path) -> None:
    url = store.location.url
    for place in ("one", "two"):
        export_webdataset(url, tmp_path / place, ["frames"], split="train", jpeg_quality=90)
    one, two = ((tmp_path / place / "train-000000.tar").read_bytes() for place in ("one", "two"))
    assert one == two
    assert b"frames.jpg" in one


def test_arrays_of_kinds_nobody_has_seen_go_by_their_axis(tmp_path: Path) -> None:
    store = built_store(tmp_path, flow=[], density=None, fixations=None)
    values = np.arange(20 * 6, dtype=np.float32).reshape(20, 2, 3)
    write_array(store, "001", "aura", values, ("time", "a", "b"), axis="frame", kind="aura")
    write_array(store, "001", "every_5", values[:4], ("t5", "a", "b"), axis="frame", kind="map",
                source_frames="every_5_frame")  # fmt: skip
    write_array(
        store, "001", "every_5_frame", np.arange(4) * 5, ("t5",), axis="frame", kind="scalar"
    )
    wanted = ["aura", "every_5"]
    export_webdataset(store.location.url, tmp_path / "out", wanted, videos=["001"], clip_frames=10)
    first, second = samples_of(tmp_path / "out").values()
    np.testing.assert_array_equal(npy(second["aura.npy"]), values[10:])
    np.testing.assert_array_equal(npy(first["every_5.npy"]), values[:2])
    assert json.loads(second["json"])["windows"]["every_5"]["starts"] == [10, 15]
    sound = np.zeros(4000, np.float32)
    write_array(store, "001", "sound", sound, ("sample",), axis="sample", kind="waveform")
    with pytest.raises(FovealError, match="axis is 'sample'; `foveal export --form npy`"):
        export_webdataset(store.location.url, tmp_path / "x", ["sound"], videos=["001"])


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ([], {}, "at least one array"),
        (["frames"], {"clip_frames": 0}, "clip_frames is at least 1, not 0"),
        (["frames"], {"jpeg_quality": 101}, "1 to 100, not 101"),
        (["fixation_x"], {}, "ask for fixations"),
        (["frames", "flow_raft"], {}, "no video has frames and flow_raft"),
    ],
)
def test_misuse_is_said_clearly(
    store: Store, tmp_path: Path, arrays: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(FovealError, match=message):
        export_webdataset(store.location.url, tmp_path / "out", arrays, **options)
