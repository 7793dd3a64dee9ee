"""Files hold what the store holds, numbered and named as others expect them."""

import io

import cv2
import numpy as np
import pytest
import zarr
from builds import FRAMES, I3D, SIZE, bare_store, built_store, write_array, write_prediction
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from small_stores import vouch

from foveal.errors import FovealError, StoreError
from foveal.pipeline.export.export import export
from foveal.pipeline.export.files import density_file, flo_file, kitti_file
from foveal.storage.location import Location


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Videos 001 and 601 with everything; of 002 only the timeline."""
    return bare_store(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def folder(store):
    return store.location.url


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_frames_are_numbered_from_1_and_exact(store, folder, tmp_path):
    done = export(folder, tmp_path, "frames")
    assert done.videos == ("001", "601")
    assert done.skipped == {"002": "has no complete frames"}
    images = tmp_path / "0001" / "images"
    assert sorted(path.name for path in images.iterdir()) == [f"{k:04d}.png" for k in range(1, 21)]
    for k, frame in enumerate(store.array("001", "frames")[:]):
        np.testing.assert_array_equal(picture(images / f"{k + 1:04d}.png"), frame)
    assert done.files == FRAMES["001"] + FRAMES["601"]


def test_jpg_is_close_and_smaller_with_less_quality(store, folder, tmp_path):
    export(folder, tmp_path / "fine", "frames", "jpg", videos=["001"], quality=100)
    export(folder, tmp_path / "coarse", "frames", "jpg", videos=["001"], quality=5)
    fine, coarse = (tmp_path / part / "0001/images/0001.jpg" for part in ("fine", "coarse"))
    assert np.abs(picture(fine).astype(int) - store.array("001", "frames")[0]).mean() < 4
    assert coarse.stat().st_size < fine.stat().st_size


def test_flo_is_what_opencv_reads(store, folder, tmp_path):
    export(folder, tmp_path, "flow_tvl1", videos=["001"])
    files = sorted((tmp_path / "0001" / "flow_tvl1").iterdir())
    assert [path.name for path in files] == [f"{k:04d}.flo" for k in range(1, 20)]
    for path, flow in zip(files, store.array("001", "flow_tvl1")[:], strict=True):
        np.testing.assert_array_equal(cv2.readOpticalFlow(str(path)), flow)


@given(
    arrays.arrays(
        np.float32,
        (2, 3, 2),
        elements=st.floats(-500, 500, width=32) | st.sampled_from([np.nan, np.inf, 600.0, 2e9]),
    )
)
def test_kitti_holds_motion_to_a_64th_and_marks_what_it_cannot_hold(flow):
    stored = cv2.imdecode(np.frombuffer(kitti_file(flow), np.uint8), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    valid = stored[..., 0] == 1
    np.testing.assert_array_equal(valid, (np.abs(flow) < 512).all(axis=-1))
    decoded = (stored[..., 2:0:-1].astype(np.float64) - 2**15) / 64
    assert (np.abs(decoded - flow)[valid] <= 1 / 128).all()


def test_unknown_motion_is_marked_in_flo(tmp_path):
    flow = np.zeros((2, 2, 2), np.float16)
    flow[0, 1] = np.nan
    path = tmp_path / "x.flo"
    path.write_bytes(flo_file(flow))
    read = cv2.readOpticalFlow(str(path))
    assert (read[0, 1] > 1e9).all()
    assert not read[1].any()


def test_flow_pictures_share_one_scale(tmp_path):
    store = built_store(tmp_path, flow=[], density=None, fixations=None)
    flow = np.zeros((19, 3, 4, 2), np.float16)
    flow[..., 0] = np.arange(19)[:, None, None]
    write_array(store, "001", "drift", flow, ("pair", "y", "x", "uv"), axis="pair", kind="flow")
    export(store.location.url, tmp_path / "out", "drift", "color", videos=["001"])
    slow, fast = (
        picture(tmp_path / "out/0001/drift" / name)[0, 0].astype(int)
        for name in ("0001.png", "0018.png")
    )
    assert slow.min() > 200
    assert fast.min() < 60


def test_density_lies_as_dhf1k_publishes_maps(store, folder, tmp_path):
    export(folder, tmp_path / "out", "density", videos=["001"])
    for k, density in enumerate(store.array("001", "density")[:]):
        stored = picture(tmp_path / "out" / "0001" / "maps" / f"{k + 1:04d}.png")
        np.testing.assert_array_equal(stored, density)
    export(folder, tmp_path / "flat", "density", flat=True)
    assert (tmp_path / "flat" / "0601" / "0003.png").is_file()


def test_predictions_leave_as_maps_under_their_own_name(tmp_path):
    store = built_store(tmp_path, flow=[])
    maps = np.linspace(-3, 1, 20 * 6, dtype=np.float32).reshape(20, 2, 3)
    write_prediction(store, "001", "log", maps)
    export(store.location.url, tmp_path / "out", "saliency_log", flat=True, source_size=True)
    assert picture(tmp_path / "out/0001/0001.png").shape == SIZE
    half = maps.astype(np.float16)
    write_prediction(store, "001", "half", half)
    done = export(store.location.url, tmp_path / "tree", "saliency_half", source_size=True)
    assert done.for_evaluation
    assert picture(tmp_path / "tree/0001/0020.png").shape == SIZE
    export(store.location.url, tmp_path / "out", "saliency_log")
    files = sorted((tmp_path / "out/0001/saliency_log").iterdir())
    assert len(files) == 20
    np.testing.assert_array_equal(picture(files[0]).ravel(), [0, 51, 102, 153, 204, 255])


@pytest.mark.parametrize("peak", [0.0, 1e-6, 1.0, 300.0])
def test_density_of_any_scale_peaks_at_255_and_empty_stays_black(peak):
    values = np.float32([[0, 0.5], [1, 0.25]]) * np.float32(peak)
    stored = np.asarray(Image.open(io.BytesIO(density_file(values))))
    expected = [[0, 128], [255, 64]] if peak else [[0, 0], [0, 0]]
    np.testing.assert_array_equal(stored, expected)


def test_maps_can_be_brought_to_the_source_size(folder, tmp_path):
    export(folder, tmp_path, "density", videos=["001"], source_size=True)
    assert picture(tmp_path / "0001" / "maps" / "0001.png").shape == SIZE


def test_fixations_are_the_fixated_pixels(store, folder, tmp_path):
    export(folder, tmp_path, "fixations", videos=["001"])
    data = store["001"]
    for k in range(FRAMES["001"]):
        of_frame = data.fixation_frame.values == k
        x, y = (data[name].values[of_frame] for name in ("fixation_x", "fixation_y"))
        expected = np.zeros(SIZE, np.uint8)
        rows = np.rint(y).astype(int).clip(0, SIZE[0] - 1)
        expected[rows, np.rint(x).astype(int).clip(0, SIZE[1] - 1)] = 255
        stored = picture(tmp_path / "0001" / "fixation" / f"{k + 1:04d}.png")
        np.testing.assert_array_equal(stored, expected)


@pytest.mark.parametrize("array", ["i3d_rgb", "i3d_flow"])
def test_features_are_one_npy_a_video_and_another_says_where_windows_start(
    store, folder, tmp_path, array
):
    done = export(folder, tmp_path, array)
    assert done.files == 4
    for video in ("001", "601"):
        for name in (array, f"{array}_window_start"):
            stored = np.load(tmp_path / f"0{video}" / f"{name}.npy")
            np.testing.assert_array_equal(stored, store.array(video, name)[:])
    starts = np.load(tmp_path / "0001" / f"{array}_window_start.npy")
    assert (np.diff(starts) == I3D["stride"]).all()
    with pytest.raises(FovealError, match="exported as npy, not as 'png'"):
        export(folder, tmp_path, array, "png")


def test_scaled_integers_leave_as_what_they_stand_for(tmp_path):
    store = built_store(tmp_path, flow=[])
    path = f"{store.location.url}/videos/001/density"
    array = zarr.open_array(path)
    stored = array[:]
    array.attrs.update({"scale_factor": 0.5, "add_offset": -1.0, "_FillValue": 255})
    vouch(Location(store.location.url), "001")
    export(store.location.url, tmp_path / "out", "density", "npy", videos=["001"])
    values = np.load(tmp_path / "out" / "0001" / "density.npy")
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.where(stored == 255, np.nan, stored / 2 - 1))
    assert np.isnan(values).any()


def test_a_kind_nobody_has_seen_leaves_as_npy(tmp_path):
    store = built_store(tmp_path, flow=[], density=None, fixations=None)
    values = np.arange(20 * 24).reshape(20, 2, 3, 4)
    write_array(store, "001", "aura", values, ("time", "a", "b", "c"), axis="frame", kind="aura")
    export(store.location.url, tmp_path / "out", "aura")
    np.testing.assert_array_equal(np.load(tmp_path / "out/0001/aura.npy"), values)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"what": "flow_raft"}, StoreError, "no video has flow_raft; there are density, .*flow_tv"),
        ({"what": "frames", "form": "flo"}, FovealError, "png, jpg, npy, not as 'flo'"),
        ({"what": "flow_tvl1", "source_size": True}, FovealError, "source_size is for"),
        ({"what": "frames", "quality": 0}, FovealError, "1 to 100, not 0"),
        ({"what": "frames", "split": "test"}, StoreError, "split 'test'"),
        ({"what": "frames", "videos": ["z"]}, StoreError, "'z'"),
        ({"what": "frames", "videos": ["001"], "split": "val"}, FovealError, "not both"),
        ({"what": "frames", "videos": ["002"]}, StoreError, "there are time"),
    ],
)
def test_what_cannot_be_exported_is_said_clearly(folder, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        export(folder, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FovealError, match=r"file.* cannot be written"):
        export(folder, tmp_path / "file", "frames")
