import multiprocessing
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from read_in_child import read_in_child
from small_stores import (
    FPS,
    HEIGHT,
    WIDTH,
    WINDOW,
    density,
    features,
    frame,
    vouch,
    write_small_store,
)
from torch.utils.data import DataLoader

import foveal
from foveal.errors import ChecksumError, RecipeError, StoreError
from foveal.models.normalise import NORMALISERS
from foveal.storage.schema import ArraySpec
from foveal.storage.writer import VideoWriter
from foveal.torch import Clips, FixationMap, Flow, Items, Windows, collate
from foveal.torch.cutting import clip_frames, clip_starts

VIDEOS = {"001": {}, "002": {"frames": 13}, "v": {"split": "val", "frames": 9}}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "small.zarr"
    write_small_store(folder, VIDEOS)
    return folder


def pictures(video, frames):
    """Frames as channels-first tensor, written out in small_stores."""
    return torch.from_numpy(np.stack([frame(video, k) for k in frames])).movedim(-1, 1)


def test_a_clip_holds_its_frames_their_numbers_and_times(url):
    clips = Clips(url, "train", frames=6, variables=["frames", "density"])
    assert [clips.where(n) for n in range(len(clips))] == [
        ("001", 0), ("001", 6), ("001", 12), ("002", 0), ("002", 6),
    ]  # fmt: skip
    sample = clips[4]
    assert sample["video"] == "002"
    assert sample["frame"].tolist() == list(range(6, 12))
    assert sample["time"].tolist() == [k / FPS for k in range(6, 12)]
    assert sample["valid"].all()
    assert sample["frames"].dtype == torch.uint8
    assert torch.equal(sample["frames"], pictures(1, range(6, 12)))
    assert torch.equal(
        sample["density"], torch.from_numpy(np.stack([density(k) for k in range(6, 12)]))
    )
    assert torch.equal(clips[-1]["frames"], sample["frames"])
    with pytest.raises(IndexError, match="5 clips, no clip 5"):
        clips[5]


def test_an_open_store_serves_as_well_as_its_url(url):
    clips = Clips(foveal.open_store(url), "val", frames=9, variables=["frames"])
    assert torch.equal(clips[0]["frames"], pictures(2, range(9)))


def test_outgoing_flow_is_that_of_the_frame_to_the_next(url):
    sample = Clips(url, "val", frames=9, variables=["flow_tvl1"])[0]
    flow = sample["flow_tvl1"]
    assert flow.shape == (9, 2, 3, 4)
    assert flow.dtype == torch.float16
    assert flow[:, 0, 0, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 7.5]
    assert flow[:, 1, 2, 3].tolist() == [0, -1, -2, -3, -4, -5, -6, -7, -7]
    assert sample["flow_tvl1_valid"][:, 0].tolist() == [True] * 8 + [False]


def test_incoming_flow_is_that_of_the_frame_before_to_it(url):
    sample = Clips(url, "val", frames=9, variables=[Flow("flow_tvl1", "incoming")])[0]
    flow = sample["flow_tvl1_incoming"]
    assert flow[:, 0, 0, 0].tolist() == [0.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]
    assert sample["flow_tvl1_incoming_valid"][:, 0].tolist() == [False] + [True] * 8


def test_a_stack_of_outgoing_flow_repeats_the_last_map(url):
    sample = Clips(url, "val", frames=4, stride=5, variables=[Flow("flow_tvl1", stack=3)])[1]
    assert sample["frame"].tolist() == [5, 6, 7, 8]
    stack = sample["flow_tvl1"]
    assert stack.shape == (4, 6, 3, 4)
    assert stack[:, 0::2, 0, 0].tolist() == [
        [5.5, 6.5, 7.5], [6.5, 7.5, 7.5], [7.5, 7.5, 7.5], [7.5, 7.5, 7.5],
    ]  # fmt: skip
    assert stack[0, 1::2, 0, 0].tolist() == [-5, -6, -7]
    assert sample["flow_tvl1_valid"].tolist() == [
        [True, True, True], [True, True, False], [True, False, False], [False, False, False],
    ]  # fmt: skip


def test_a_stack_of_incoming_flow_ends_with_the_frames_own(url):
    variable = Flow("flow_tvl1", "incoming", stack=2)
    sample = Clips(url, "val", frames=3, variables=[variable])[0]
    assert sample["flow_tvl1_incoming"][:, 0::2, 0, 0].tolist() == [
        [0.5, 0.5], [0.5, 0.5], [0.5, 1.5],
    ]  # fmt: skip
    assert sample["flow_tvl1_incoming_valid"].tolist() == [
        [False, False], [False, True], [True, True],
    ]  # fmt: skip


def test_a_video_of_one_frame_has_no_motion(tmp_path):
    write_small_store(tmp_path, {"001": {"frames": 1}})
    sample = Clips(tmp_path, frames=1, variables=["flow_tvl1"])[0]
    assert not sample["flow_tvl1_valid"].any()
    assert not sample["flow_tvl1"].any()


def test_windows_are_those_that_end_at_the_frame(url):
    clips = Clips(url, "val", frames=1, variables=["i3d_rgb", "density"])
    assert [clips.where(n)[1] for n in range(len(clips))] == [4, 5, 6, 7, 8]
    for sample in clips:
        last = int(sample["frame"][0])
        expected = torch.from_numpy(features(last - WINDOW + 1))
        assert torch.equal(sample["i3d_rgb"][0], expected)
        assert torch.equal(sample["density"][0], torch.from_numpy(density(last)))


def test_frames_without_a_window_come_masked_where_wanted(url):
    clips = Clips(url, "val", frames=3, variables=[Windows("i3d_rgb", missing="mask")])
    sample = clips[1]
    assert sample["i3d_rgb_valid"].tolist() == [False, True, True]
    assert not sample["i3d_rgb"][0].any()
    assert torch.equal(sample["i3d_rgb"][2], torch.from_numpy(features(1)))


def test_videos_shorter_than_the_window_give_zeros_where_masked(tmp_path):
    write_small_store(tmp_path, {"001": {"frames": WINDOW - 1}})
    sample = Clips(tmp_path, frames=2, variables=[Windows("i3d_rgb", missing="mask")])[0]
    assert sample["i3d_rgb"].shape == (2, 4, 2, 2, 1)
    assert not sample["i3d_rgb_valid"].any()
    assert not sample["i3d_rgb"].any()


def test_fixation_maps_are_drawn_from_the_points(url):
    maps = Clips(url, "val", frames=9, variables=["fixation_map"])[0]["fixation_map"]
    expected = torch.zeros(9, HEIGHT, WIDTH, dtype=torch.uint8)
    for k in range(9):
        for point in range(k % 3):
            expected[k, point, k % WIDTH] = 1
    assert torch.equal(maps, expected)


def test_fixation_maps_of_another_size_keep_points_in_their_part_of_the_picture(url):
    variable = FixationMap(size=(HEIGHT // 2, WIDTH * 2), counts=True)
    maps = Clips(url, "val", frames=9, variables=[variable])[0]["fixation_map"]
    # Frame 5 has points at (5, 0) and (5, 1): both in row 0 of half the height; pixel 5 of the
    # source covers columns 10 and 11, its centre begins column 11.
    assert maps[5].nonzero().tolist() == [[0, 11]]
    assert maps[5, 0, 11] == 2


@pytest.mark.parametrize(
    ("tail", "starts"), [("drop", [0, 4]), ("shift", [0, 4, 5]), ("pad", [0, 4, 8])]
)
def test_the_tail_is_dropped_shifted_or_padded(url, tail, starts):
    clips = Clips(url, "val", frames=4, variables=["frames"], tail=tail)
    assert [clips.where(n)[1] for n in range(len(clips))] == starts


@pytest.mark.parametrize(
    ("padding", "frames", "valid"),
    [
        ("repeat_last", [*range(9), 8, 8], [True] * 9 + [False] * 2),
        ("repeat_first", [0, 0, *range(9)], [False] * 2 + [True] * 9),
        ("loop", [*range(9), 0, 1], [True] * 9 + [False] * 2),
    ],
)
def test_short_videos_are_padded_as_told(url, padding, frames, valid):
    clips = Clips(url, "val", frames=11, variables=["frames"], short="pad", padding=padding)
    sample = clips[0]
    assert sample["frame"].tolist() == frames
    assert sample["valid"].tolist() == valid
    assert torch.equal(sample["frames"], pictures(2, frames))


@given(
    frames=st.integers(1, 60),
    length=st.integers(1, 20),
    stride=st.integers(1, 25),
    short=st.sampled_from(["skip", "pad"]),
    tail=st.sampled_from(["drop", "shift", "pad"]),
    padding=st.sampled_from(["repeat_last", "repeat_first", "loop"]),
)
def test_clips_stay_in_the_video_and_cover_what_they_promise(
    frames, length, stride, short, tail, padding
):
    starts = clip_starts(frames, length, stride, short, tail)
    covered = set()
    for start in starts:
        numbers, valid = clip_frames(int(start), frames, length, padding)
        assert len(numbers) == len(valid) == length
        assert numbers.min() >= 0
        assert numbers.max() < frames
        there = numbers[valid]
        assert (np.diff(there) == 1).all()
        assert len(there) == min(length, frames - start)
        covered |= set(there.tolist())
    assert len(set(starts.tolist())) == len(starts)
    if frames < length:
        assert len(starts) == (short == "pad")
    elif tail == "drop":
        assert all(start + length <= frames for start in starts)
    elif stride <= length:
        assert covered == set(range(frames))


def test_normalisers_apply_by_name(url):
    clips = Clips(url, "val", frames=2, variables=["frames"], normalise={"frames": "i3d"})
    assert torch.equal(clips[0]["frames"], NORMALISERS["i3d"](pictures(2, range(2))))
    with pytest.raises(RecipeError, match="unknown normaliser 'i4d'"):
        Clips(url, "val", frames=2, variables=["frames"], normalise={"frames": "i4d"})
    with pytest.raises(StoreError, match="names 'density'; the variables are frames"):
        Clips(url, "val", frames=2, variables=["frames"], normalise={"density": "none"})


def test_a_transform_gets_the_whole_sample(url):
    def brightest(sample):
        return {"peak": int(sample["frames"].max()), "at": sample["frame"][0]}

    clips = Clips(url, "val", frames=3, variables=["frames"], transform=brightest)
    assert clips[1] == {"peak": 20 + 5 + HEIGHT - 1, "at": torch.tensor(3)}


def test_a_plain_data_loader_reads_them_too(url):
    clips = Clips(url, "train", frames=5, variables=["frames"])
    batch = next(iter(DataLoader(clips, batch_size=3)))
    assert batch["frames"].shape == (3, 5, 3, HEIGHT, WIDTH)
    assert torch.equal(batch["frames"][1], pictures(0, range(5, 10)))


def test_collate_brings_dtypes_together():
    samples = [{"density": torch.full((2, 3), value)} for value in (7, 0.5)]
    samples[0]["density"] = samples[0]["density"].to(torch.uint8)
    batch = collate(samples)["density"]
    assert batch.dtype == torch.float32
    assert batch[:, 0, 0].tolist() == [7, 0.5]


def test_collate_stacks_without_turning_pictures(url):
    clips = Clips(url, "train", frames=5, variables=["frames", Flow("flow_tvl1", stack=2)])
    samples = clips.__getitems__([0, 2])
    batch = collate(samples)
    for key in ("frames", "flow_tvl1", "frame", "valid"):
        assert torch.equal(batch[key], torch.stack([sample[key] for sample in samples]))
    assert batch["frames"].movedim(-3, -1).is_contiguous()
    assert batch["video"] == ["001", "001"]


def test_an_integer_encoding_is_read_as_pixels(tmp_path):
    location = write_small_store(tmp_path, {"001": {}})
    key = "videos/001/density/zarr.json"
    metadata = location.read_json(key)
    metadata["attributes"] |= {"scale_factor": 0.25, "add_offset": -1.0, "_FillValue": 200}
    location.write_json(key, metadata)
    vouch(location, "001")
    values = Clips(tmp_path, frames=4, variables=["density"])[0]["density"]
    expected = torch.from_numpy(np.stack([density(k) for k in range(4)])).float()
    expected = torch.where(expected == 200, torch.nan, expected * 0.25 - 1)
    assert values.dtype == torch.float32
    assert torch.equal(values.nan_to_num(7), expected.nan_to_num(7))


def write_array(folder, name, values, *, frames, parameters=None, **said):
    """A store of one video with an array that no stage of foveal writes."""
    location = write_small_store(folder, {"001": {"frames": frames, "stages": ("time",)}})
    writer = VideoWriter(location, "001", location.read_json("videos/001/zarr.json")["attributes"])
    dims = tuple(f"{name}_{n}" for n in range(values.ndim))
    specs = [ArraySpec(name, dims, values.shape[1:], values.dtype, **said)]
    arrays = {name: values}
    if said["axis"] == "window":
        starts = f"{name}_begin"
        specs[0] = replace(specs[0], starts=starts)
        specs += [ArraySpec(starts, dims[:1], (), np.dtype(int), axis="window", kind="scalar")]
        arrays[starts] = np.arange(1, 1 + 3 * len(values), 3)
    stage = writer.stage(name, {"stage": name}, specs)
    stage.append(arrays)
    stage.complete({"parameters": parameters or {}})
    return folder


def numbers(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_strangers_array_is_read_by_its_axis_whatever_its_kind(tmp_path):
    values = numbers(9, 2, 3, 4)
    url = write_array(tmp_path / "f", "gist", values, frames=9, axis="frame", kind="embedding")
    assert torch.equal(
        Clips(url, frames=3, variables=["gist"])[1]["gist"], torch.tensor(values[3:6])
    )
    url = write_array(tmp_path / "p", "change", values[1:], frames=9, axis="pair", kind="map")
    sample = Clips(url, frames=3, variables=[Flow("change", stack=2)])[2]
    assert torch.equal(sample["change"][0], torch.tensor(values[7:9]))
    assert sample["change_valid"].tolist() == [[True, True], [True, False], [False, False]]


def test_a_strangers_windows_belong_to_their_last_frame_or_last_until_the_next(tmp_path):
    values = numbers(3, 2)
    options = {"frames": 9, "axis": "window", "kind": "loudness"}
    known = write_array(tmp_path / "k", "sound", values, parameters={"window": 2}, **options)
    clips = Clips(known, frames=1, variables=["sound"])  # windows begin at 1, 4, 7
    assert [clips.where(n)[1] for n in range(len(clips))] == [2, 5, 8]
    unknown = write_array(tmp_path / "u", "sound", values, **options)
    clips = Clips(unknown, frames=4, variables=["sound"], tail="shift")
    assert clips.where(0)[1] == 4  # frame 0 has none
    assert clips[0]["sound"][:, 0].tolist() == [2, 2, 2, 4]


@pytest.mark.parametrize("axis", ["sample", "point", "lamp"])
def test_arrays_that_belong_to_no_frame_say_what_to_do(tmp_path, axis):
    url = write_array(tmp_path, "odd", numbers(50), frames=9, axis=axis, kind="waveform")
    with pytest.raises(
        StoreError, match=rf"odd runs along '{axis}'.*frame, pair, window.*Variable"
    ):
        Clips(url, frames=3, variables=["odd"])


def test_videos_that_lack_a_variable_are_skipped_and_named(tmp_path):
    write_small_store(tmp_path, {"001": {}, "002": {"stages": ("time", "frames")}})
    with pytest.warns(UserWarning, match="1 of 2 videos give no clip"):
        clips = Clips(tmp_path, frames=4)
    assert clips.skipped == {"002": "no complete density"}
    assert {clips.where(n)[0] for n in range(len(clips))} == {"001"}


def test_misuse_is_answered_early_and_clearly(url):
    with pytest.raises(StoreError, match=r"complete array 'flow_raft'.*flow_tvl1, frames"):
        Clips(url, "train", frames=4, variables=["flow_raft"])
    with pytest.raises(StoreError, match="split 'test'; it has 2 in train, 1 in val"):
        Clips(url, "test", frames=4)
    with pytest.raises(StoreError, match=r"no clip of 30 frames .* longest of which has 20 frames"):
        Clips(url, "train", frames=30)
    with pytest.raises(StoreError, match=r"002: no clip in which every frame has i3d_rgb too"):
        Clips(url, "train", frames=9, variables=["i3d_rgb"], videos=["002"])
    with pytest.raises(StoreError, match="short is one of 'skip', 'pad', not 'crop'"):
        Clips(url, "train", frames=4, short="crop")
    with pytest.raises(StoreError, match="frames and stride are at least 1"):
        Clips(url, "train", frames=0)
    with pytest.raises(
        StoreError, match="flow_tvl1 runs along 'pair', but Items reads along 'frame'"
    ):
        Clips(url, "train", frames=4, variables=[Items("flow_tvl1")])
    with pytest.raises(StoreError, match="density runs along 'frame', but Flow reads along 'pair'"):
        Clips(url, "train", frames=4, variables=[Flow("density")])
    with pytest.raises(StoreError, match="density runs along 'frame', but Windows"):
        Clips(url, "train", frames=4, variables=[Windows("density")])
    with pytest.raises(StoreError, match="'001' is not in split 'val'"):
        Clips(url, "val", frames=4, videos=["001"])
    with pytest.raises(StoreError, match="no video '00'"):
        Clips(url, "train", frames=4, videos=["00"])


def test_a_deleted_shard_is_named(tmp_path):
    write_small_store(tmp_path, {"001": {}})
    (tmp_path / "videos/001/density/c/1/0/0").unlink()
    clips = Clips(tmp_path, frames=4)
    clips[0]
    with pytest.raises(ChecksumError, match="videos/001/density/c/1/0/0 is missing"):
        clips[2]


def test_a_video_rebuilt_meanwhile_is_a_clear_error(tmp_path):
    write_small_store(tmp_path, {"001": {}})
    clips = Clips(tmp_path, frames=4)
    (tmp_path / "videos/001/density/zarr.json").unlink()
    with pytest.raises(StoreError, match=r"'density' of video '001' is gone. Either a build"):
        clips[0]


@pytest.fixture(scope="module")
def s3_url(bucket, url):
    write_small_store(f"{bucket}{url}", VIDEOS)
    return f"{bucket}{url}"


@pytest.fixture(scope="module")
def memory_url(url):
    write_small_store(f"memory://{url}", VIDEOS)
    return f"memory://{url}"


@pytest.mark.parametrize("place", ["memory_url", "s3_url"])
def test_clips_of_an_object_store_read_alike(request, url, place):
    remote = request.getfixturevalue(place)
    variables = ["frames", "flow_tvl1", "density", "fixation_map"]
    here, there = (
        Clips(place, "train", frames=5, stride=3, variables=variables) for place in (url, remote)
    )
    for one, other in zip(here, there, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one if key != "video")


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("place", ["url", "s3_url"])
def test_clips_in_use_survive_into_other_processes(request, place, method):
    url = request.getfixturevalue(place)
    clips = Clips(url, "train", frames=5, variables=["frames", "flow_tvl1", "fixation_map"])
    expected = clips[3]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(clips, queue))
    child.start()
    found = pickle.loads(queue.get(timeout=60))  # noqa: S301
    child.join()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], np.asarray(value))
