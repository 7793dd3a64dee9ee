"""How arrays are cut into chunks and shards."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from foveal.storage.schema import MAX_CHUNK_ITEMS, MAX_SHARD_ITEMS, ArraySpec

MIB = 2**20


def spec(item_shape: tuple[int, ...], dtype: str, chunk: int = 0, shard: int = 0) -> ArraySpec:
    dims = ("n", *(f"d{k}" for k in range(len(item_shape))))
    return ArraySpec(
        "x", dims, item_shape, np.dtype(dtype), {}, chunk, shard, axis="item", kind="scalar"
    )


@pytest.mark.parametrize(
    ("item_shape", "dtype", "chunk", "shard"),
    [
        ((192, 256, 3), "uint8", 8, 128),  # 144 KiB an item
        ((112, 112, 2), "float16", 8, 128),
        ((360, 640), "uint8", 8, 128),
        ((360, 640, 3), "uint8", 8, 64),  # 675 KiB: 8 in 8 MiB, 64 in 64 MiB
        ((360, 640, 2), "float16", 8, 64),
        ((1080, 1920, 3), "uint8", 1, 8),  # 5.9 MiB
        ((8192, 8192, 3), "uint8", 1, 1),  # 192 MiB: an item is the least there is
    ],
)
def test_chunks_and_shards_of_the_usual_arrays(
    item_shape: tuple[int, ...], dtype: str, chunk: int, shard: int
) -> None:
    array = spec(item_shape, dtype)
    assert (array.chunk_items, array.shard_items) == (chunk, shard)


@given(
    item_shape=st.lists(st.integers(0, 2000), max_size=3).map(tuple),
    dtype=st.sampled_from(["uint8", "float16", "float32", "float64", "int64"]),
)
def test_budgets_hold_whatever_an_item_is(item_shape: tuple[int, ...], dtype: str) -> None:
    array = spec(item_shape, dtype)
    assert 1 <= array.chunk_items <= MAX_CHUNK_ITEMS
    assert array.chunk_items <= array.shard_items <= MAX_SHARD_ITEMS
    assert array.shard_items % array.chunk_items == 0
    assert array.chunk_items == 1 or array.chunk_items * array.item_bytes <= 8 * MIB
    assert array.shard_items == 1 or array.shard_items * array.item_bytes <= 64 * MIB


def test_sizes_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="shard_items 10 is not a multiple of chunk_items 4"):
        spec((2,), "uint8", chunk=4, shard=10)
    with pytest.raises(ValueError, match=r"x: 1 dims for items \(2, 3\)"):
        ArraySpec("x", ("n",), (2, 3), np.dtype("uint8"), axis="item", kind="scalar")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("item_shape", [(), (3,), (0,), (4, 5)])
@pytest.mark.parametrize(("chunk", "shard"), [(4, 16), (4, 4)])
def test_every_layout_makes_an_array_that_holds_its_values(
    dtype: str, item_shape: tuple[int, ...], chunk: int, shard: int
) -> None:
    layout = spec(item_shape, dtype, chunk, shard).zarr_layout()
    array = zarr.create_array(MemoryStore(), **layout)
    values = np.random.default_rng(0).integers(0, 100, (21, *item_shape)).astype(dtype)
    array.resize(values.shape)
    array[:] = values
    np.testing.assert_array_equal(array[:], values)
    assert array.metadata.dimension_names == layout["dimension_names"]
    assert (array.shards is None) == (chunk == shard)
