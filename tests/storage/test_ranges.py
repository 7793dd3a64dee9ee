"""Shards that are reached by requests: the same values, by few requests, and damage is noticed."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from small_stores import vouch
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import LocalStore, WrapperStore

from foveal.errors import ChecksumError
from foveal.storage.location import Location
from foveal.storage.marks import Mark, write_mark
from foveal.storage.slices import Gatherer, Slice
from foveal.storage.zarr_internals import Buffer, BufferPrototype

VALUES = np.random.default_rng(0).integers(0, 99, (90, 3, 5)).astype(np.int16)
LAYOUTS = {
    "plain": {"compressors": None},
    "checked": {"compressors": [Crc32cCodec()]},
    "blosc": {"compressors": [BloscCodec(cname="lz4hc"), Crc32cCodec()]},
}
FLAWED = "checked"


class Requests(WrapperStore[Store]):
    """Notes what is asked for; no folder of this machine to whoever asks for one."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.asked: list[str] = []

    def _with_store(self, store: Store) -> Requests:
        twin = copy.copy(self)
        twin._store = store
        return twin

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        self.asked.append(key)
        return await self._store.get(key, prototype, byte_range)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranges")
    for name, layout in LAYOUTS.items():
        array = zarr.create_array(
            folder,
            name=f"videos/v/{name}",
            shape=VALUES.shape,
            dtype=VALUES.dtype,
            chunks=(4, 3, 5),
            shards=(32, 3, 5),
            attributes={"foveal": {"stage": "s"}},
            **layout,
        )
        array[:] = VALUES
    about = {"dims": ["n", "y", "x"], "shape": [90, 3, 5], "dtype": "int16", "sha256": {}}
    write_mark(Location(folder), Mark("v", "s", "f", {}, dict.fromkeys(LAYOUTS, about), {}))
    vouch(Location(folder), "v")
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=25)
@given(ranges=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), min_size=1, max_size=5))
def test_any_slices_are_the_stored_values(
    folder: Path, name: str, ranges: list[tuple[int, int]]
) -> None:
    slices = [Slice("v", name, min(pair), max(pair)) for pair in ranges]
    location = Location(Requests(LocalStore(folder)), read_only=True)
    for cache_bytes in (0, 10_000):
        gatherer = Gatherer(location, cache_bytes)
        for wanted, values in zip(slices, gatherer.read(slices), strict=True):
            np.testing.assert_array_equal(values, VALUES[wanted.start : wanted.stop])


def test_a_slice_takes_one_request_a_shard_once_its_index_is_known(folder: Path) -> None:
    store = Requests(LocalStore(folder))
    gatherer = Gatherer(Location(store, read_only=True))
    asked = gatherer._location.zarr.asked  # type: ignore[attr-defined]
    gatherer.read([Slice("v", "blosc", 0, 1), Slice("v", "blosc", 2, 30)])
    shards = [key for key in asked if "/c/" in key]
    assert shards == ["videos/v/blosc/c/0/0/0"] * 3  # the index once, then each slice
    asked.clear()
    gatherer.read([Slice("v", "blosc", 6, 31)])
    assert asked == ["videos/v/blosc/c/0/0/0"]
    asked.clear()
    gatherer.read([Slice("v", "blosc", 30, 70)])
    assert sorted(asked) == [f"videos/v/blosc/c/{n}/0/0" for n in (0, 1, 1, 2, 2)]


@pytest.mark.parametrize("at", [5, -30, None])
def test_damage_is_noticed_and_named(folder: Path, at: int | None) -> None:
    path = folder / "videos/v" / FLAWED / "c/1/0/0"
    content = path.read_bytes()
    try:
        if at is None:
            path.unlink()
        else:
            flipped = bytearray(content)
            flipped[at] ^= 1
            path.write_bytes(flipped)
        gatherer = Gatherer(Location(Requests(LocalStore(folder)), read_only=True))
        with pytest.raises(ChecksumError, match=rf"videos/v/{FLAWED}/c/1/0/0.* is "):
            gatherer.read([Slice("v", FLAWED, 32, 36)])
    finally:
        path.write_bytes(content)
    np.testing.assert_array_equal(gatherer.read([Slice("v", FLAWED, 32, 36)])[0], VALUES[32:36])
