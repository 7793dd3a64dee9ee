"""A flipped bit in any chunk stops every reader: plain zarr, xarray and dask, and foveal's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.typing import NDArray
from small_stores import write_small_store

import foveal
from foveal.errors import ChecksumError
from foveal.storage.aligned import ABSENT, ALIGNED_BYTES
from foveal.storage.kinds import said_by_name
from foveal.storage.location import Location
from foveal.storage.schema import ArraySpec
from foveal.storage.slices import Gatherer, Slice
from foveal.storage.writer import VideoWriter

FLIPS = 3
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blosc in shards, Blosc in chunks of their own, and plain windows as I3D features lie."""
    path = tmp_path_factory.mktemp("checksums") / "s.zarr"
    location = write_small_store(path, {"001": {}})
    write_windows(location, np.random.default_rng(0).random((20, 50)).astype(np.float16))
    return path


def write_windows(location: Location, values: NDArray[np.float16]) -> None:
    dims, size = ("n", "k"), values.shape[1:]
    about = said_by_name("time")
    spec = ArraySpec("i3d_flow", dims, size, values.dtype, {}, 1, 8, False, **about)
    stage = VideoWriter(location, "001", location.read_json("videos/001/zarr.json")["attributes"])
    writer = stage.stage("i3d_flow", {"stage": "i3d_flow"}, [spec])
    writer.append({"i3d_flow": values})
    writer.complete({})


def chunks(store: Path) -> list[Path]:
    found = [path for path in sorted((store / "videos").rglob("*")) if path.is_file()]
    return [path for path in found if path.name != "zarr.json"]


@contextmanager
def flipped(path: Path, rng: np.random.Generator) -> Iterator[None]:
    whole = path.read_bytes()
    content = bytearray(whole)
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(whole)


def test_plain_readers_notice_every_flipped_bit(store: Path) -> None:
    rng = np.random.default_rng(1)
    for path in chunks(store):
        array = path.relative_to(store / "videos/001").parts[0]
        for _ in range(FLIPS):
            with flipped(path, rng):
                with pytest.raises((ValueError, RuntimeError)):
                    zarr.open_array(store, path=f"videos/001/{array}", mode="r")[:]
                with pytest.raises((ValueError, RuntimeError)):
                    da.from_zarr(str(store / "videos/001" / array)).compute(scheduler="sync")
                with pytest.raises((ValueError, RuntimeError)):
                    xr.open_zarr(store, group="videos/001", consolidated=False)[array].load()


def test_foveal_notices_every_flipped_bit_and_names_the_array(store: Path) -> None:
    rng = np.random.default_rng(2)
    opened = foveal.open_store(store)
    shapes = {name: info.items for name, info in opened.infos("001").items()}
    for path in chunks(store):
        array = path.relative_to(store / "videos/001").parts[0]
        for _ in range(FLIPS):
            with flipped(path, rng):
                whole = Slice("001", array, 0, shapes[array])
                with pytest.raises(ChecksumError, match=f"videos/001/{array}"):
                    Gatherer(Location(store, read_only=True)).read([whole])
                with pytest.raises(ChecksumError, match="videos/001"):
                    opened["001"][array].load()
                with pytest.raises(ChecksumError, match=f"videos/001/{array}"):
                    opened.array("001", array)[:]


def test_a_reader_without_foveal_raises(store: Path) -> None:
    program = (
        "import sys; sys.modules['foveal'] = None\n"
        "import xarray as xr\n"
        f"video = xr.open_zarr({str(store)!r}, group='videos/001', consolidated=False)\n"
        "video.frames.load()\n"
    )
    path = store / "videos/001/frames/c/0/0/0/0"
    with flipped(path, np.random.default_rng(3)):
        done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "checksum do not match" in done.stderr or "index" in done.stderr, done.stderr


def test_part_of_a_checked_chunk_is_read_right(store: Path) -> None:
    values = zarr.open_array(store, path="videos/001/frames", mode="r")[:]
    gatherer = Gatherer(Location(store, read_only=True))
    for start, stop in ((0, 1), (3, 5), (4, 8), (7, 20), (19, 20)):
        (found,) = gatherer.read([Slice("001", "frames", start, stop)])
        np.testing.assert_array_equal(found, values[start:stop])


def test_large_plain_chunks_begin_at_cache_lines_and_any_reader_finds_them(tmp_path: Path) -> None:
    location = write_small_store(tmp_path, {"001": {}})
    values = np.random.default_rng(0).random((20, 2100)).astype(np.float16)
    write_windows(location, values)
    found = zarr.open_array(tmp_path, path="videos/001/i3d_flow", mode="r")
    np.testing.assert_array_equal(found[:], values)
    np.testing.assert_array_equal(found[9:18:4], values[9:18:4])
    np.testing.assert_array_equal(
        Gatherer(location).read([Slice("001", "i3d_flow", 5, 20)])[0], values[5:]
    )
    for number, length in enumerate((8, 8, 4)):
        content = (tmp_path / f"videos/001/i3d_flow/c/{number}/0").read_bytes()
        index = np.frombuffer(content, "<u8", 16, len(content) - 16 * 8 - 4).reshape(8, 2)
        there = index[index[:, 0] != ABSENT]
        assert len(there) == length
        assert (there[:, 0] % ALIGNED_BYTES == 0).all()
        assert (there[:, 1] == 2100 * 2 + 4).all()
