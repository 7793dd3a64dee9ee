import io
import json
import tarfile

import cv2
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from small_stores import (
    FPS,
    HEIGHT,
    RECIPE,
    WIDTH,
    density,
    features,
    frame,
    vouch,
    write_small_index,
    write_small_store,
    write_video,
)

from foveal.errors import FovealError, StoreError
from foveal.pipeline.export.export import export
from foveal.pipeline.export.files import density_file, flo_file, kitti_file
from foveal.pipeline.export.webdataset import export_webdataset
from foveal.storage.location import Location
from foveal.storage.root import create_store

FRAMES = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "small.zarr"
    write_small_store(
        folder,
        {
            "a": {"frames": FRAMES},
            "b.c": {"frames": 3, "split": "val"},
            "bare": {"frames": 2, "stages": ("time",)},
        },
    )
    for video in ("a", "b.c"):
        path = folder / "videos" / video / "fixation_subject"
        zarr.open_array(path).attrs["subjects"] = ["ann", "bo"]
        vouch(Location(folder), video)
    return folder


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


def true_flow(k):
    return np.broadcast_to(np.float32([k + 0.5, -k]), (3, 4, 2))


def test_frames_are_numbered_from_1_and_exact(folder, tmp_path):
    done = export(folder, tmp_path, "frames")
    assert done.videos == ("a", "b.c")
    assert done.skipped == {"bare": "has no complete frames"}
    names = sorted(path.name for path in (tmp_path / "a" / "images").iterdir())
    assert names == [f"{k + 1:04d}.png" for k in range(FRAMES)]
    for k in range(FRAMES):
        np.testing.assert_array_equal(
            picture(tmp_path / "a" / "images" / f"{k + 1:04d}.png"), frame(0, k)
        )
    assert done.files == FRAMES + 3


def test_jpg_is_close_and_smaller_with_less_quality(folder, tmp_path):
    export(folder, tmp_path / "fine", "frames", "jpg", videos=["a"], quality=100)
    export(folder, tmp_path / "coarse", "frames", "jpg", videos=["a"], quality=5)
    fine, coarse = (tmp_path / part / "a" / "images" / "0001.jpg" for part in ("fine", "coarse"))
    assert np.abs(picture(fine).astype(int) - frame(0, 0)).mean() < 4
    assert coarse.stat().st_size < fine.stat().st_size


def test_flo_is_what_opencv_reads(folder, tmp_path):
    export(folder, tmp_path, "flow_tvl1", videos=["a"])
    files = sorted((tmp_path / "a" / "flow_tvl1").iterdir())
    assert [path.name for path in files] == [f"{k + 1:04d}.flo" for k in range(FRAMES - 1)]
    for k, path in enumerate(files):
        np.testing.assert_array_equal(cv2.readOpticalFlow(str(path)), true_flow(k))


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


def test_flow_pictures_share_one_scale(folder, tmp_path):
    export(folder, tmp_path, "flow_tvl1", "color", videos=["a"])
    slow, fast = (
        picture(tmp_path / "a" / "flow_tvl1" / name)[0, 0].astype(int)
        for name in ("0001.png", "0010.png")
    )
    assert slow.min() > 200
    assert fast.min() < 60


def test_density_lies_as_dhf1k_publishes_maps(tmp_path):
    location = Location(tmp_path / "s.zarr")
    create_store(location, "dhf1k", RECIPE)
    write_video(location, "002", frames=3)
    write_small_index(location)
    export(tmp_path / "s.zarr", tmp_path / "out", "density")
    for k in range(3):
        stored = picture(tmp_path / "out" / "0002" / "maps" / f"{k + 1:04d}.png")
        np.testing.assert_array_equal(stored, density(k))
    export(tmp_path / "s.zarr", tmp_path / "flat", "density", flat=True)
    assert (tmp_path / "flat" / "0002" / "0003.png").is_file()


@pytest.mark.parametrize("peak", [0.0, 1e-6, 1.0, 300.0])
def test_density_of_any_scale_peaks_at_255_and_empty_stays_black(peak):
    values = np.float32([[0, 0.5], [1, 0.25]]) * np.float32(peak)
    stored = np.asarray(Image.open(io.BytesIO(density_file(values))))
    expected = [[0, 128], [255, 64]] if peak else [[0, 0], [0, 0]]
    np.testing.assert_array_equal(stored, expected)


def test_maps_can_be_brought_to_the_source_size(folder, tmp_path):
    export(folder, tmp_path, "density", videos=["a"], source_size=True)
    assert picture(tmp_path / "a" / "maps" / "0001.png").shape == (HEIGHT, WIDTH)


def test_fixations_are_the_fixated_pixels(folder, tmp_path):
    export(folder, tmp_path, "fixations", videos=["a"])
    for k in range(FRAMES):
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        expected[: k % 3, k % WIDTH] = 255
        stored = picture(tmp_path / "a" / "fixation" / f"{k + 1:04d}.png")
        np.testing.assert_array_equal(stored, expected)


def test_features_are_one_npy_a_video(folder, tmp_path):
    export(folder, tmp_path, "i3d_rgb")
    stored = np.load(tmp_path / "a" / "i3d_rgb.npy")
    np.testing.assert_array_equal(stored, [features(s) for s in range(FRAMES - 4)])
    assert np.load(tmp_path / "b.c" / "i3d_rgb.npy").shape == (0, 4, 2, 2, 1)


def test_scaled_integers_leave_as_what_they_stand_for(folder, tmp_path):
    copy = tmp_path / "s.zarr"
    write_small_store(copy, {"a": {"frames": 3}})
    array = zarr.open_array(copy / "videos" / "a" / "density")
    array.attrs.update({"scale_factor": 0.5, "add_offset": -1.0, "_FillValue": 200})
    vouch(Location(copy), "a")
    export(copy, tmp_path / "out", "density", "npy")
    stored = np.load(tmp_path / "out" / "a" / "density.npy")
    assert stored.dtype == np.float32
    assert np.isnan(stored[1, 1, 2])
    assert stored[1, 0, 0] == -0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"what": "flow_raft"}, StoreError, "no video has flow_raft; there are density, .*flow_tv"),
        ({"what": "frames", "form": "flo"}, FovealError, "png, jpg, npy, not as 'flo'"),
        ({"what": "flow_tvl1", "source_size": True}, FovealError, "source_size is for"),
        ({"what": "frames", "quality": 0}, FovealError, "1 to 100, not 0"),
        ({"what": "frames", "split": "test"}, StoreError, "split 'test'"),
        ({"what": "frames", "videos": ["z"]}, StoreError, "'z'"),
        ({"what": "frames", "videos": ["a"], "split": "val"}, FovealError, "not both"),
        ({"what": "frames", "videos": ["bare"]}, StoreError, "there are time"),
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


def samples_of(folder):
    """Members by key, as WebDataset groups them: up to the first dot of the last part."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                place, _, name = member.name.rpartition("/")
                key, _, suffix = name.partition(".")
                found.setdefault(f"{place}/{key}", {})[suffix] = tar.extractfile(member).read()
    return found


def test_webdataset_single_frames_hold_the_stored_values(folder, tmp_path):
    wanted = ["frames", "density", "flow_tvl1", "fixations", "i3d_rgb"]
    done = export_webdataset(folder, tmp_path, wanted, shard_samples=4)
    assert done.files == -(-(FRAMES + 3) // 4)
    samples = samples_of(tmp_path)
    assert list(samples)[:2] == ["a/000000", "a/000001"]
    assert len(samples) == FRAMES + 3
    for k in range(FRAMES):
        sample = samples[f"a/{k:06d}"]
        np.testing.assert_array_equal(picture(io.BytesIO(sample["frames.png"])), frame(0, k))
        np.testing.assert_array_equal(picture(io.BytesIO(sample["density.png"])), density(k))
        about = json.loads(sample["json"])
        assert about["seconds"] == [pytest.approx(k / FPS)]
        names = ["ann", "bo"]
        assert about["fixations"] == [[k, k % WIDTH, y, names[y]] for y in range(k % 3)]
        assert ("flow_tvl1.npy" in sample) == (k < FRAMES - 1)
        if k < FRAMES - 1:
            np.testing.assert_array_equal(
                np.load(io.BytesIO(sample["flow_tvl1.npy"])), true_flow(k)
            )
        assert ("i3d_rgb.npy" in sample) == (k < FRAMES - 4)
        if k < FRAMES - 4:
            np.testing.assert_array_equal(np.load(io.BytesIO(sample["i3d_rgb.npy"])), features(k))


def test_webdataset_clips_hold_every_frame_once(folder, tmp_path):
    export_webdataset(folder, tmp_path, ["frames", "flow_tvl1"], videos=["a"], clip_frames=4)
    samples = samples_of(tmp_path)
    assert list(samples) == ["a/000000", "a/000004", "a/000008"]
    clips = [np.load(io.BytesIO(sample["frames.npy"])) for sample in samples.values()]
    np.testing.assert_array_equal(np.concatenate(clips), [frame(0, k) for k in range(FRAMES)])
    flows = [len(np.load(io.BytesIO(sample["flow_tvl1.npy"]))) for sample in samples.values()]
    assert flows == [4, 4, 2]


def test_webdataset_shards_are_the_same_bytes_every_time(folder, tmp_path):
    for place in ("one", "two"):
        export_webdataset(folder, tmp_path / place, ["frames"], split="train", jpeg_quality=90)
    one, two = ((tmp_path / place / "train-000000.tar").read_bytes() for place in ("one", "two"))
    assert one == two
    assert b"frames.jpg" in one


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
def test_webdataset_misuse_is_said_clearly(folder, tmp_path, arrays, options, message):
    with pytest.raises(FovealError, match=message):
        export_webdataset(folder, tmp_path / "out", arrays, **options)
