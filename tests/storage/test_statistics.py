import itertools

import dask
import numpy as np
import pytest
from builds import built_store, reindex, write_array, write_prediction
from small_stores import (
    HEIGHT,
    WIDTH,
    density,
    edit_mark,
    frame,
    vouch,
    write_small_index,
    write_small_store,
    write_video,
)

import foveal
from foveal.errors import StoreError
from foveal.storage.location import Location
from foveal.storage.statistics import (
    MAGNITUDE_EDGES_PX,
    _density_sums,
    compute_statistics,
    write_statistics,
)

VIDEOS = {
    "001": {"frames": 20},
    "002": {"frames": 11},
    "v": {"split": "val", "frames": 9},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("statistics") / "small.zarr"
    write_small_store(folder, VIDEOS)
    return foveal.open_store(folder)


@pytest.fixture(scope="module")
def train(store):
    return compute_statistics(store, bias_size=(HEIGHT, WIDTH))


def frames_of(number, count):
    return np.stack([frame(number, k) for k in range(count)])


def test_mean_and_deviation_are_those_of_all_train_pixels(train):
    pixels = np.concatenate([frames_of(0, 20), frames_of(1, 11)]).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(train.frames_mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(train.frames_std, pixels.std(axis=0), rtol=1e-12)
    assert train.attrs["videos"] == ["001", "002"]


def test_motion_is_counted_by_length(train):
    pairs = np.concatenate([np.arange(19), np.arange(10)])
    lengths = np.hypot(pairs + 0.5, pairs)
    expected = [
        12 * int(((lengths >= low) & (lengths < high)).sum())
        for low, high in itertools.pairwise(MAGNITUDE_EDGES_PX)
    ]
    assert train.flow_tvl1_magnitude.values.tolist() == expected
    assert sum(expected) == 12 * 29


def test_centre_bias_is_the_mean_of_densities_of_equal_mass(train):
    maps = np.stack([density(k) for k in [*range(20), *range(11)]]).astype(float)
    expected = (maps / maps.sum(axis=(1, 2), keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(train.centre_bias, expected, rtol=1e-5)
    assert train.centre_bias.attrs["frames"] == 31


def test_centre_bias_on_another_grid_spreads_each_pixel_by_area(store, train):
    same = train.centre_bias.values
    halved = compute_statistics(store, bias_size=(HEIGHT // 2, WIDTH // 2)).centre_bias
    blocks = same.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).sum(axis=(1, 3))
    np.testing.assert_allclose(halved, blocks, rtol=1e-6)
    doubled = compute_statistics(store, bias_size=(HEIGHT * 2, WIDTH * 2)).centre_bias
    np.testing.assert_allclose(doubled, same.repeat(2, axis=0).repeat(2, axis=1) / 4, rtol=1e-6)
    odd = compute_statistics(store, bias_size=(7, 5)).centre_bias
    assert float(odd.sum()) == pytest.approx(1, abs=1e-6)


def test_frames_are_counted_by_their_fixations(train):
    counts = np.bincount([k % 3 for k in [*range(20), *range(11)]])
    assert train.fixations_per_frame.values.tolist() == counts.tolist()


def test_frames_without_density_are_left_out_of_the_centre_bias():
    empty = np.zeros((2, 3, 4), np.uint8)
    empty[1, 1, 2] = 7
    sums = _density_sums("density", iter([empty[:1], empty]), (3, 4))
    assert sums["centre_bias_frames"].tolist() == [1]
    expected = np.zeros((3, 4))
    expected[1, 2] = 1
    np.testing.assert_allclose(sums["centre_bias"], expected)


def test_stored_statistics_come_back_and_know_when_the_split_has_changed(tmp_path):
    location = write_small_store(tmp_path, VIDEOS)
    store = foveal.open_store(tmp_path)
    with pytest.raises(StoreError, match="no statistics of split 'train'"):
        store.statistics()
    computed = compute_statistics(store)
    write_statistics(location, computed)
    found = store.statistics()
    assert found.attrs.pop("up_to_date") is True
    assert found.attrs == computed.attrs
    for name in computed:
        np.testing.assert_array_equal(found[name], computed[name])
        assert found[name].attrs == computed[name].attrs
    write_video(location, "003", 4, frames=12)
    write_small_index(location)
    assert foveal.open_store(tmp_path).statistics().attrs["up_to_date"] is False
    write_statistics(location, compute_statistics(foveal.open_store(tmp_path)))
    assert foveal.open_store(tmp_path).statistics().attrs["videos"] == ["001", "002", "003"]


def test_a_store_without_splits_gives_statistics_of_all(tmp_path):
    location = write_small_store(tmp_path, {"001": {"split": None, "stages": ("time", "frames")}})
    store = foveal.open_store(tmp_path)
    with pytest.raises(StoreError, match="no complete videos in split 'train'"):
        compute_statistics(store)
    statistics = compute_statistics(store, split=None)
    assert set(statistics) == {"frames_mean", "frames_std"}
    write_statistics(location, statistics)
    assert store.statistics(split=None).attrs["split"] == "all"


def test_many_videos_are_one_lazy_array_in_shards(store):
    density_of_train = store.lazy("density", split="train")
    assert density_of_train.chunks[0] == (8, 8, 4, 8, 3)
    assert density_of_train.video.values.tolist() == ["001"] * 20 + ["002"] * 11
    assert density_of_train.index_in_video.values.tolist() == [*range(20), *range(11)]
    maps = np.stack([density(k) for k in [*range(20), *range(11)]])
    np.testing.assert_array_equal(density_of_train, maps)
    np.testing.assert_allclose(density_of_train.mean("time"), maps.mean(axis=0))
    by_video = density_of_train.groupby("video").mean()
    np.testing.assert_allclose(by_video.sel(video="002"), maps[20:].mean(axis=0))


def test_lazy_arrays_leave_out_videos_that_lack_them(tmp_path):
    write_small_store(tmp_path, {"001": {}, "002": {"stages": ("time",)}})
    store = foveal.open_store(tmp_path)
    assert store.lazy("density").attrs["left_out"] == ["002"]
    with pytest.raises(StoreError, match=r"complete array 'saliency'; there are density, "):
        store.lazy("saliency")


def test_lazy_arrays_of_different_sizes_are_refused(tmp_path):
    location = write_small_store(tmp_path, {"001": {}, "002": {}})
    edit_mark(
        location, "002", "density", lambda mark: mark["arrays"]["density"].update(shape=[20, 99, 8])
    )
    with pytest.raises(StoreError, match="density differs in size or dtype between videos"):
        foveal.open_store(tmp_path).lazy("density")


def test_integers_with_a_scale_are_lazily_physical_values(tmp_path):
    location = write_small_store(tmp_path, {"001": {}})
    metadata = location.read_json("videos/001/density/zarr.json")
    metadata["attributes"] |= {"scale_factor": 0.5, "add_offset": -1.0, "_FillValue": 200}
    location.write_json("videos/001/density/zarr.json", metadata)
    vouch(location, "001")
    values = foveal.open_store(tmp_path).lazy("density")
    assert values.dtype == np.float32
    expected = np.where(density(3) == 200, np.nan, density(3) * 0.5 - 1)
    np.testing.assert_array_equal(values[3], expected)


@pytest.mark.slow
def test_statistics_and_lazy_arrays_work_on_a_cluster(store, train):
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.worker.daemon": True}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster),
    ):
        there = compute_statistics(foveal.open_store(store.location.url), bias_size=(HEIGHT, WIDTH))
        mean = store.lazy("density", split="train").mean("time").compute()
    for name in train:
        np.testing.assert_allclose(there[name], train[name], rtol=1e-12)
    np.testing.assert_allclose(mean, store.lazy("density", split="train").values.mean(axis=0))


def test_statistics_are_written_where_the_store_lies():
    location = write_small_store("memory://statistics-of-memory", VIDEOS)
    write_statistics(location, compute_statistics(foveal.open_store(location.url)))
    assert Location(location.url).read("statistics/train/zarr.json") is not None


def test_what_an_array_says_of_itself_decides_what_is_computed_of_it(tmp_path):
    store = built_store(tmp_path, flow=[], density=None, fixations=None)
    small = np.arange(20 * 24, dtype=np.uint8).reshape(20, 2, 4, 3)
    write_array(
        store, "001", "thumbs", small, ("time", "v", "u", "rgb"), axis="frame", kind="picture"
    )
    drift = np.full((19, 2, 4, 2), (3, 4), np.float32)
    write_array(store, "001", "drift", drift, ("pair", "v", "u", "uv"), axis="pair", kind="flow")
    found = compute_statistics(foveal.open_store(tmp_path / "store.zarr"))
    assert set(found) == {
        *(f"{name}_{what}" for name in ("frames", "thumbs") for what in ("mean", "std")),
        "drift_magnitude",
        "magnitude_edge",
    }
    np.testing.assert_allclose(found.thumbs_mean, small.mean(axis=(0, 1, 2)))
    (filled,) = np.flatnonzero(found.drift_magnitude)
    assert MAGNITUDE_EDGES_PX[filled] <= 5 < MAGNITUDE_EDGES_PX[filled + 1]


def test_a_prediction_ages_no_statistics(tmp_path):
    store = built_store(tmp_path, flow=[])
    write_statistics(Location(store.location.url), compute_statistics(store))
    write_prediction(store, "001", "mine", np.ones((20, 2, 2), np.float32))
    reindex(store.location.url)
    assert foveal.open_store(store.location.url).statistics().attrs["up_to_date"] is True
