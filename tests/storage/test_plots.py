"""Coordinates, plots and sub-stores: what a notebook sees of a store."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_stores import HEIGHT, WIDTH, write_small_store

import foveal
from foveal.errors import StoreError
from foveal.storage.reader import Store

mpl.use("Agg")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("plots") / "small.zarr"
    videos: dict[str, dict[str, object]] = {
        "001": {"frames": 12},
        "002": {"frames": 9, "split": "val", "stages": ("time", "density")},
        "003": {"frames": 3, "split": None, "stages": ("time",)},
    }
    write_small_store(folder, videos)
    return foveal.open_store(folder)


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def test_grids_have_their_pixel_centres_in_pixels_of_the_source(store: Store) -> None:
    video = store["001"]
    np.testing.assert_array_equal(video.y, np.arange(HEIGHT))
    np.testing.assert_array_equal(video.map_x, np.arange(WIDTH))
    # 3x4 on 6x8: the first of them covers pixels 0 and 1 of the source.
    np.testing.assert_array_equal(video.flow_tvl1_y, [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(video.flow_tvl1_x, [0.5, 2.5, 4.5, 6.5])
    assert "i3d_rgb_y" not in video.coords, "features lie on no pixels of the source"
    # The brightest pixel is where the store was told to put it, looked up by coordinates.
    assert video.density.isel(time=4).sel(map_y=4, map_x=2) == 200
    k = int(video.fixation_frame[5])
    looked_at = video.frames[k].sel(x=video.fixation_x[5], y=video.fixation_y[5], method="nearest")
    assert looked_at.shape == (3,)


@pytest.mark.parametrize("way", ["()", ".imshow", ".pcolormesh", ".contourf"])
def test_xarrays_own_plots_are_upright(store: Store, way: str) -> None:
    from matplotlib import pyplot

    density = store["001"].density[4]
    if way == "()":
        density.plot()
    else:
        getattr(density.plot, way[1:])()
    axis = pyplot.gcf().axes[0]
    assert axis.yaxis_inverted()
    assert axis.get_ylabel() == "y, downwards [px]"
    # Its peak, row 4 of 6, is drawn in the lower half.
    _, below = axis.transAxes.inverted().transform(axis.transData.transform((2, 4)))
    assert below < 0.5


def test_pictures_and_facets_are_upright_and_other_plots_as_ever(store: Store) -> None:
    from matplotlib import pyplot

    video = store["001"]
    video.frames[0].plot.imshow()
    assert pyplot.gca().yaxis_inverted()
    pyplot.figure()
    video.density[:2].plot(col="time")
    assert all(axis.yaxis_inverted() for axis in pyplot.gcf().axes[:2])
    for draw in (
        lambda: video.density[0].plot(yincrease=True),
        lambda: video.density[0].T.plot(),  # x lies along the vertical axis
        lambda: video.density.mean("map_x").plot(),  # time is
        lambda: video.density.mean(("map_x", "map_y")).plot(),
        lambda: video.density.plot(),  # a histogram
        lambda: xr.DataArray(np.eye(3), dims=("y", "x"), coords={"y": [0, 1, 2]}).plot(),
    ):
        pyplot.figure()
        draw()
        assert not pyplot.gcf().axes[0].yaxis_inverted()


def test_a_frame_is_drawn_with_all_that_lies_on_it(store: Store) -> None:
    figure = store["001"].foveal.plot(5)
    assert [axis.get_title() for axis in figure.axes] == ["frames", "density", "flow_tvl1"]
    assert figure.get_suptitle() == "001 · frame 5, 0.50 s"
    points, arrows = figure.axes[0].collections[0], figure.axes[2].collections[0]
    np.testing.assert_array_equal(points.get_offsets(), [[5, 0], [5, 1]])
    # Flow (5.5, -5) of a grid of half the size is (11, -10) in pixels of the source.
    np.testing.assert_allclose([arrows.U[0], arrows.V[0]], [11, -10])
    last = store["001"].foveal.plot(-1)
    assert [axis.get_title() for axis in last.axes] == ["frames", "density"], "no motion follows"
    assert [axis.get_title() for axis in store["002"].foveal.plot(0).axes] == ["density"]
    with pytest.raises(StoreError, match=r"no frame 12; the video has 12: 0 … 11"):
        store["001"].foveal.plot(12)
    with pytest.raises(StoreError, match="no pictures, maps, flow or fixations"):
        store["003"].foveal.plot(0)


def test_a_timeline_has_a_row_for_each_array(store: Store) -> None:
    figure = store["001"].foveal.plot_timeline()
    rows = {axis.get_title(loc="left"): axis.lines[0].get_ydata() for axis in figure.axes}
    assert list(rows) == ["density: mean", "fixations per frame", "flow_tvl1: mean speed [px]"]
    np.testing.assert_array_equal(rows["fixations per frame"], np.arange(12) % 3)
    k = np.arange(11)
    np.testing.assert_allclose(rows["flow_tvl1: mean speed [px]"], np.hypot(k + 0.5, k), rtol=1e-3)
    with pytest.raises(StoreError, match="nothing along time"):
        store["003"].foveal.plot_timeline()


def test_a_store_can_be_narrowed(store: Store) -> None:
    assert list(store.where(split="train", status="complete")) == ["001"]
    assert list(store.where(split=["train", "val"])) == ["001", "002"]
    assert list(store.where(split=None)) == ["003"]
    assert list(store.where(split=["val", None]).where(frames=9)) == ["002"]
    assert list(store.where(status="failed")) == []
    narrow = store.where(video=["002"])
    narrow.reload()
    assert narrow.select() == ["002"]
    assert narrow.lazy("density").sizes["time"] == 9
    assert len(store) == 3
    with pytest.raises(StoreError, match=r"video '001' is not one of those chosen; there are 1"):
        narrow["001"]
    with pytest.raises(StoreError, match=r"no video is in split 'test'; there are 'train', 'val'"):
        store.where(split="test")
    with pytest.raises(StoreError, match=r"cannot be chosen by 'colour'; choose by video, split"):
        store.where(colour="red")


def test_when_a_video_was_completed_is_a_moment(store: Store) -> None:
    moments = store.videos.completed_at
    assert isinstance(moments.dtype, pd.DatetimeTZDtype)
    assert moments.max() <= pd.Timestamp.now("UTC")
