import pickle

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stores import density, frame, vouch, write_small_store
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ZstdCodec

from foveal.errors import ChecksumError, StoreError
from foveal.storage.location import Location
from foveal.storage.marks import Mark, write_mark
from foveal.storage.slices import Gatherer, Slice

VALUES = np.random.default_rng(0).integers(0, 4, (37, 3, 5)).astype(np.int16)
VALUES[8:12] = 0
LAYOUTS = {
    "plain": ({"shards": (8, 3, 5), "compressors": None}, True),
    "blosc": ({"shards": (8, 3, 5), "compressors": [BloscCodec(cname="lz4hc")]}, True),
    "checked": ({"shards": (8, 3, 5), "compressors": [Crc32cCodec()]}, True),
    "blosc, checked": (
        {"shards": (8, 3, 5), "compressors": [BloscCodec(cname="lz4hc"), Crc32cCodec()]},
        True,
    ),
    "zstd": ({"shards": (8, 3, 5), "compressors": [ZstdCodec()]}, False),
    "two codecs": ({"shards": (8, 3, 5), "compressors": [BloscCodec(), GzipCodec()]}, False),
    "big-endian": (
        {
            "shards": (8, 3, 5),
            "compressors": None,
            "serializer": BytesCodec(endian="big"),
        },
        False,
    ),
    "no shards": ({"compressors": None, "config": {"write_empty_chunks": True}}, False),
    "chunked across": (
        {"shards": (8, 6, 5), "chunks": (4, 1, 5), "compressors": None},
        False,
    ),
}


@pytest.fixture(scope="module")
def location(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gather")
    for name, (layout, _) in LAYOUTS.items():
        options = {"chunks": (4, 3, 5), "attributes": {"foveal": {"stage": "s"}}} | layout
        array = zarr.create_array(
            folder, name=f"videos/v/{name}", shape=VALUES.shape, dtype=VALUES.dtype, **options
        )
        array[:] = VALUES
    about = {"dims": ["n", "y", "x"], "shape": [37, 3, 5], "dtype": "int16", "sha256": {}}
    location = Location(folder)
    write_mark(location, Mark("v", "s", "f", {}, dict.fromkeys(LAYOUTS, about), {}))
    vouch(location, "v")
    return Location(folder, read_only=True)


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=25, deadline=None)
@given(ranges=st.lists(st.tuples(st.integers(0, 37), st.integers(0, 37)), min_size=1, max_size=5))
def test_any_slices_of_any_layout_are_the_stored_values(location, name, ranges):
    slices = [Slice("v", name, min(pair), max(pair)) for pair in ranges]
    for wanted, values in zip(slices, Gatherer(location).read(slices), strict=True):
        np.testing.assert_array_equal(values, VALUES[wanted.start : wanted.stop])
    for wanted, values in zip(slices, Gatherer(location, 10_000).read(slices), strict=True):
        np.testing.assert_array_equal(values, VALUES[wanted.start : wanted.stop])


@pytest.mark.parametrize("name", LAYOUTS)
def test_only_what_is_understood_is_read_directly(location, name):
    gatherer = Gatherer(location)
    gatherer.read([Slice("v", name, 0, 1)])
    assert (gatherer._arrays["v", name].direct is not None) == LAYOUTS[name][1]


def test_slices_of_one_size_lie_side_by_side(location):
    values = Gatherer(location).read(
        [Slice("v", "blosc", start, start + 5) for start in (9, 2, 30)]
    )
    assert all(value.base is values[0].base for value in values)
    assert values[1].ctypes.data - values[0].ctypes.data == values[0].nbytes


def test_the_cache_reads_a_shard_once_and_keeps_within_its_size(location, monkeypatch):
    shard_bytes = VALUES[:8].nbytes
    gatherer = Gatherer(location, cache_bytes=2 * shard_bytes)
    read, seen = Gatherer._read, []
    monkeypatch.setattr(
        Gatherer, "_read", lambda self, slices: seen.extend(slices) or read(self, slices)
    )
    for start in (0, 3, 5, 1):
        gatherer.read([Slice("v", "blosc", start, start + 4)])
    assert [wanted.start for wanted in seen] == [0, 8]
    gatherer.read([Slice("v", "blosc", 16, 37)])
    assert sum(value.nbytes for value in gatherer._cache.values()) <= 2 * shard_bytes
    gatherer.read([Slice("v", "blosc", 0, 1)])
    assert [wanted.start for wanted in seen] == [0, 8, 16, 24, 32, 0]


def test_a_gatherer_is_pickled_without_what_it_holds(location):
    gatherer = Gatherer(location)
    gatherer.read([Slice("v", "blosc", 0, 37)])
    again = pickle.loads(pickle.dumps(gatherer))  # noqa: S301
    assert not again._arrays
    np.testing.assert_array_equal(again.read([Slice("v", "plain", 3, 9)])[0], VALUES[3:9])


@pytest.fixture
def damaged(tmp_path):
    write_small_store(tmp_path, {"001": {"stages": ("time", "frames", "density")}})
    shard = tmp_path / "videos/001/density/c/1/0/0"

    def read(change):
        change(shard)
        gatherer = Gatherer(Location(tmp_path, read_only=True))
        first, frames = gatherer.read(
            [Slice("001", "density", 0, 3), Slice("001", "frames", 8, 10)]
        )
        np.testing.assert_array_equal(first, [density(k) for k in range(3)])
        np.testing.assert_array_equal(frames, [frame(0, k) for k in (8, 9)])
        return gatherer.read([Slice("001", "density", 6, 14)])

    return read


def flipped(place):
    def change(shard):
        content = bytearray(shard.read_bytes())
        content[place] ^= 0xFF
        shard.write_bytes(content)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda shard: shard.write_bytes(shard.read_bytes()[:-1]), id="cut short"),
        pytest.param(lambda shard: shard.write_bytes(b""), id="empty"),
        pytest.param(lambda shard: shard.write_bytes(b"x" * 10), id="shorter than an index"),
        pytest.param(flipped(-1), id="checksum of the index"),
        pytest.param(flipped(-8), id="index"),
        pytest.param(flipped(5), id="decoded size of a chunk"),
        pytest.param(flipped(0), id="version of a chunk"),
    ],
)
def test_a_damaged_shard_is_named(damaged, change):
    with pytest.raises(ChecksumError, match="videos/001/density/c/1/0/0 is damaged"):
        damaged(change)


def test_a_missing_shard_is_named(damaged):
    with pytest.raises(ChecksumError, match="videos/001/density/c/1/0/0 is missing"):
        damaged(lambda shard: shard.unlink())


def test_an_unknown_array_is_an_error(location):
    with pytest.raises(StoreError, match="'nothing' of video 'v' is gone"):
        Gatherer(location).read([Slice("v", "nothing", 0, 1)])
