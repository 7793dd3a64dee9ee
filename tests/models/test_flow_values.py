"""Flow on other grids and in other encodings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from foveal.models.flow.encode import ENCODINGS, EncodingRecord, flow_encoding
from foveal.models.flow.resize import resize_flow


@pytest.mark.parametrize("size", [(20, 60), (5, 15), (20, 15), (7, 30)], ids=str)
def test_vectors_scale_with_the_grid(size: tuple[int, int]) -> None:
    flow = np.empty((2, 10, 30, 2), np.float32)
    flow[..., 0], flow[..., 1] = 3.0, -2.0
    resized = resize_flow(flow, size)
    assert resized.shape == (2, *size, 2)
    assert resized.dtype == np.float32
    assert np.allclose(resized[..., 0], 3.0 * size[1] / 30, atol=1e-5)
    assert np.allclose(resized[..., 1], -2.0 * size[0] / 10, atol=1e-5)


def test_lsts_doubles_vectors_or_leaves_them() -> None:
    flow = np.random.default_rng(0).normal(size=(1, 112, 112, 2)).astype(np.float32)
    scaled = resize_flow(flow, (224, 224))
    literal = resize_flow(flow, (224, 224), scale_flow_on_resize=False)
    assert scaled.shape == (1, 224, 224, 2)
    assert np.allclose(scaled, 2 * literal)
    assert literal.mean() == pytest.approx(flow.mean(), abs=1e-3)


def test_shrinking_averages_and_the_same_size_is_untouched() -> None:
    flow = np.arange(16, dtype=np.float32).reshape(1, 2, 4, 2)
    assert resize_flow(flow, (2, 4)) is flow
    expected = flow.reshape(1, 1, 2, 2, 2, 2).mean(axis=(2, 4)) / 2
    assert np.allclose(resize_flow(flow, (1, 2)), expected)


def test_a_point_keeps_its_place_when_the_grid_grows() -> None:
    flow = np.zeros((1, 8, 8, 2), np.float32)
    flow[0, 3, 5, 0] = 1.0
    grown = resize_flow(flow, (32, 32))[0, ..., 0]
    y, x = np.mgrid[:32, :32]
    centre = (np.array([y, x]) * grown).sum(axis=(1, 2)) / grown.sum()
    assert centre == pytest.approx([(3 + 0.5) * 4 - 0.5, (5 + 0.5) * 4 - 0.5], abs=1e-3)


motions = hnp.arrays(
    np.float32, (2, 3, 2), elements=st.floats(-19.9375, 19.9375, width=32, allow_nan=False)
)
MAX_ERROR_PX = {"float16": 20 / 2**11, "float32": 0.0, "fixed16": 1 / 128, "lsts8": 20 / 255}


@pytest.mark.parametrize("name", ENCODINGS)
@given(flow=motions)
def test_decoding_gives_back_motion_within_the_stated_error(
    name: str, flow: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> None:
    record = EncodingRecord(flow_encoding(name))
    stored = record.encode(flow)
    decoded = record.encoding.decode(stored)
    assert stored.dtype == record.encoding.dtype
    assert decoded.dtype == np.float32
    error = np.abs(decoded - flow)
    assert error.max() <= MAX_ERROR_PX[name] + 2e-6  # float32 arithmetic in decoding
    summary = record.summary()
    assert summary["encoding_max_error_px"] == error.max()
    assert summary["encoding_mean_error_px"] == pytest.approx(error.mean(), abs=1e-7)
    assert summary["encoding_saturated_values"] == 0
    assert np.array_equal(record.encoding.encode(decoded), stored)


@pytest.mark.parametrize(
    ("name", "limit"), [("float16", 65504.0), ("fixed16", 32767 / 64), ("lsts8", 20.0)]
)
def test_motion_beyond_the_range_is_cut_off_and_counted(name: str, limit: float) -> None:
    flow = np.array([[[1e6, -1e6], [limit, 0.5]]], np.float32)
    record = EncodingRecord(flow_encoding(name))
    decoded = record.encoding.decode(record.encode(flow))
    assert decoded[0, 0] == pytest.approx([limit, -limit])
    assert record.summary()["encoding_saturated_values"] == 2
    assert record.summary()["encoding_max_error_px"] == pytest.approx(1e6 - limit)


@pytest.mark.parametrize("name", ["float16", "float32", "fixed16"])
def test_non_finite_motion_stays_recognisable(name: str) -> None:
    flow = np.array([[[np.nan, 1.0], [np.inf, -2.0]]], np.float32)
    record = EncodingRecord(flow_encoding(name))
    decoded = record.encoding.decode(record.encode(flow))
    assert np.array_equal(np.isfinite(decoded), np.isfinite(flow))
    assert decoded[0, :, 1] == pytest.approx([1.0, -2.0])
    assert record.summary()["encoding_non_finite_values"] == 2
    assert record.summary()["encoding_max_error_px"] == 0.0


def test_eight_bits_are_denseflows() -> None:
    flow = np.array([-25.0, -20.0, 0.0, 1.0, 20.0, 25.0, np.nan, 0.0], np.float32).reshape(1, 4, 2)
    assert ENCODINGS["lsts8"].encode(flow).ravel().tolist() == [0, 0, 128, 134, 255, 255, 128, 128]


@pytest.mark.parametrize("name", ["fixed16", "lsts8"])
def test_xarray_decodes_integers_without_foveal(name: str) -> None:
    xr = pytest.importorskip("xarray")

    encoding = flow_encoding(name)
    flow = np.random.default_rng(1).normal(0, 6, (2, 4, 5, 2)).astype(np.float32)
    flow[0, 0, 0, 0] = np.nan
    stored = encoding.encode(flow)
    dims = ("pair", "y", "x", "uv")
    dataset = xr.Dataset({"flow": (dims, stored, dict(encoding.attributes))})
    read = xr.decode_cf(dataset)["flow"].values
    assert np.allclose(read, encoding.decode(stored), atol=1e-5, equal_nan=True)
    assert np.isnan(read[0, 0, 0, 0]) == (name == "fixed16")


def test_unknown_encodings_are_named() -> None:
    with pytest.raises(ValueError, match="float16, float32, fixed16, lsts8"):
        flow_encoding("int8")
