"""AViMoS and NTIRE 2026: counts that differ, maps value for value, the real split file."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import build
from miniatures.mouse_saliency import (
    LANDSCAPE,
    PRIVATE,
    PUBLIC,
    TRAIN,
    VERTICAL,
    maps,
    write_clip,
    write_grey_video,
    write_ntire2026,
    write_split,
)

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.build.run import Status
from foveal.pipeline.check.preflight import check
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources import list_videos, open_source
from foveal.pipeline.sources.mouse_saliency import MouseSaliency
from foveal.pipeline.sources.readers.grey_videos import VideoMaps
from foveal.pipeline.video.ffmpeg import ffmpeg_executable
from foveal.storage.reader import open_store

SPLITS = ("train", "public_test", "private_test")
REAL = Path(__file__).parents[3] / "shared" / "data" / "ntire26" / "TrainTestSplit.json"


def recipe(root: Path, **dataset: Any) -> Recipe:
    return Recipe.parse({
        "dataset": {"kind": "mouse_saliency", "root": str(root), **dataset},
        "store": str(root.parent / "out.zarr"),
        "fixations": {},
        "density": {"preset": "published"},
    })  # fmt: skip


def source(root: Path, **dataset: Any) -> MouseSaliency:
    parsed = recipe(root, **dataset)
    opened = open_source(parsed.dataset, parsed.fixations)
    assert isinstance(opened, MouseSaliency)
    return opened


def test_a_build_keeps_maps_and_points_as_published(tmp_path: Path) -> None:
    root = tmp_path / "NTIRE26"
    miniature = write_ntire2026(root)
    results, index = build(recipe(root))
    assert {result.status for result in results.values()} == {Status.COMPLETE}
    store = open_store(tmp_path / "out.zarr")
    for video, size in ((TRAIN[0], LANDSCAPE), (TRAIN[1], VERTICAL), (PUBLIC, LANDSCAPE)):
        density = store[video].density
        np.testing.assert_array_equal(density.values, maps(size))
        assert density.dtype == np.uint16
        assert density.attrs["valid_range"] == [0, 1023]
        assert "minimum and maximum" in density.attrs["values"]
        found = store[video]
        columns = (found.fixation_frame, found.fixation_x, found.fixation_y)
        points = list(zip(*(column.values for column in columns), strict=True))
        expected = [point[:3] for point in miniature.videos[video].points or []]
        assert sorted(points) == sorted(expected)
        assert len(points) > len(set(points)), "repeated points are kept"
    assert store.arrays(PRIVATE) == ["time"]
    splits = dict(zip((TRAIN[0], PUBLIC, PRIVATE), SPLITS, strict=True))
    assert index.split[list(splits)].to_dict() == splits


def differing(root: Path, frames: tuple[int, int, int]) -> Path:
    write_clip(root, "clip", "Train", LANDSCAPE, frames=frames)
    write_split(root, {"train": ["clip.mp4"]})
    return root


@pytest.mark.parametrize("frames", [(8, 7, 8), (8, 8, 6), (7, 8, 8), (9, 6, 8)])
def test_counts_that_differ_are_named_and_reconciled(
    frames: tuple[int, int, int], tmp_path: Path
) -> None:
    root = differing(tmp_path / "data", frames)
    counts = "{} frames in the video, {} of points, {} of maps".format(*frames)
    report = check(recipe(root))
    assert [one.message for one in report.findings if one.severity == "error"] == [
        f"clip.mp4: {counts} do not belong together; dataset.reconcile: truncate_to_shorter keeps "
        "the frames that all have"
    ]
    results, _ = build(recipe(root))
    assert (results["clip"].status, counts in results["clip"].reason) == (Status.QUARANTINED, True)

    cut = recipe(root, reconcile="truncate_to_shorter")
    report = check(cut)
    assert report.ok
    kept = f"truncate_to_shorter: {min(frames)} frames kept of {counts}"
    assert kept in [one.message for one in report.findings]
    assert report.rows[0].annotated_frames == frames[2]
    results, _ = build(cut)
    assert results["clip"].ok, results
    store = open_store(tmp_path / "out.zarr")
    assert store["clip"].sizes["time"] == min(frames)
    np.testing.assert_array_equal(store["clip"].density.values, maps(LANDSCAPE)[: min(frames)])
    told = store.marks("clip")["fixations"].provenance
    assert told["frames"] == dict(zip(("video", "points", "maps"), frames, strict=True))
    assert told["notes"] == [kept]


def test_maps_are_compared_only_where_they_are_imported(tmp_path: Path) -> None:
    root = differing(tmp_path / "data", (8, 8, 5))
    parsed = Recipe.parse({
        "dataset": {"kind": "mouse_saliency", "root": str(root), "ground_truth": "regenerate"},
        "store": "unused",
        "fixations": {},
    })  # fmt: skip
    opened = open_source(parsed.dataset, parsed.fixations)
    video = opened.videos()[0]
    assert opened.fixations(video, *LANDSCAPE).attributes["frames"] == {"video": 8, "points": 8}


def test_what_is_listed_and_not_there_is_quarantined_and_what_is_not_listed_is_told(
    tmp_path: Path,
) -> None:
    write_clip(tmp_path, "clip", "Train", LANDSCAPE)
    write_clip(tmp_path, "stray", None, LANDSCAPE)
    write_split(tmp_path, {"train": ["clip", "gone"], "public_test": ["other"]})
    opened = source(tmp_path, splits=["train"])
    assert [video.id for video in list_videos(opened, opened.config)] == ["clip", "gone"]
    assert "1 videos are in no list of TrainTestSplit.json, stray" in opened.left_out
    messages = [one.message for one in check(recipe(tmp_path, splits=["train"])).findings]
    assert any("gone.mp4" in message for message in messages)


def test_a_video_of_a_published_split_without_points_is_no_withheld_one(tmp_path: Path) -> None:
    write_clip(tmp_path, "one", "Test", LANDSCAPE)
    write_clip(tmp_path, "two", None, LANDSCAPE)
    write_split(tmp_path, {"public_test": ["one", "two"], "private_test": []})
    videos = source(tmp_path).videos()
    assert [video.has_ground_truth for video in videos] == [True, True]
    with pytest.raises(GazeError, match=r"two/fixations\.json"):
        source(tmp_path).fixations(videos[1], *LANDSCAPE)


@pytest.mark.parametrize(
    ("lists", "dataset", "message"),
    [
        ({"train": ["a"]}, {"splits": ["val"]}, "'val' is no list"),
        ({"train": ["../a"]}, {}, "no object of lists of names"),
        ({"train": [".."]}, {}, "no object of lists of names"),
        (["a"], {}, "no object of lists of names"),
        ({"train": ["clip"]}, {"videos": "nowhere"}, "there is no folder"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    lists: Any, dataset: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_clip(tmp_path, "clip", "Train", LANDSCAPE)
    (tmp_path / "TrainTestSplit.json").write_text(json.dumps(lists))
    with pytest.raises(RecipeError, match=message):
        source(tmp_path, **dataset).videos()


def test_two_videos_of_one_name_are_refused_until_one_folder_is_named(tmp_path: Path) -> None:
    write_clip(tmp_path, "clip", "Train", LANDSCAPE)
    shutil.copytree(tmp_path / "Videos", tmp_path / "Videos_small")
    write_split(tmp_path, {"train": ["clip"]})
    with pytest.raises(RecipeError, match="two videos of one name"):
        source(tmp_path).videos()
    assert source(tmp_path, videos="Videos").videos()[0].path.parent.name == "Videos"


def test_observers_cannot_be_selected(tmp_path: Path) -> None:
    write_split(tmp_path, {"train": ["a"]})
    parsed = Recipe.parse({
        "dataset": {"kind": "mouse_saliency", "root": str(tmp_path)},
        "fixations": {"subjects": ["1"]},
        "store": "unused",
    })  # fmt: skip
    with pytest.raises(RecipeError, match="not published; write all"):
        open_source(parsed.dataset, parsed.fixations)


@pytest.mark.parametrize("lossy", [False, True])
def test_maps_are_the_luma_that_another_decoder_gives(lossy: bool, tmp_path: Path) -> None:
    path = tmp_path / "maps.mp4"
    values = np.random.default_rng(1).integers(0, 1024, (5, 34, 50)).astype(np.uint16)
    write_grey_video(path, values, **({"crf": 0} if lossy else {}))
    command = [ffmpeg_executable(), "-v", "error", "-i", str(path)]
    command += ["-f", "rawvideo", "-pix_fmt", "gray10le", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    other = np.frombuffer(raw, "<u2").reshape(values.shape)
    found = VideoMaps(path)
    for frame in (0, 1, 4, 2, 2):  # forward, again and back
        np.testing.assert_array_equal(found.density(frame), other[frame])
    assert lossy or (other == values).all()
    with pytest.raises(GazeError, match="5 maps can be decoded"):
        found.density(5)


def test_a_coloured_video_is_no_map_but_one_with_neutral_colour_is(tmp_path: Path) -> None:
    for name, picture in (("grey", "gray"), ("coloured", "red")):
        command = [ffmpeg_executable(), "-v", "error", "-f", "lavfi", "-i"]
        command += [f"color={picture}:size=32x32:rate=5:duration=1,format=yuv420p"]
        subprocess.run([*command, "-c:v", "libx264", str(tmp_path / f"{name}.mp4")], check=True)
    assert VideoMaps(tmp_path / "grey.mp4").density(0).dtype == np.uint8
    with pytest.raises(GazeError, match="is coloured"):
        VideoMaps(tmp_path / "coloured.mp4").density(0)


@pytest.mark.skipif(not REAL.is_file(), reason="the real split file is not here")
def test_the_real_split_file_lists_2000_videos(tmp_path: Path) -> None:
    shutil.copy(REAL, tmp_path)
    (tmp_path / "Videos").mkdir()
    first = json.loads(REAL.read_text())["train"][0]
    (tmp_path / "Videos" / first).write_bytes(b"not decoded when listed")
    videos = source(tmp_path).videos()
    counts = [sum(video.split == split for video in videos) for split in SPLITS]
    assert counts == [1200, 300, 500]
    assert len({video.id for video in videos}) == 2000
    assert not any(video.id.endswith(".mp4") for video in videos)
    # The names of the miniature are taken from this file.
    assert {*TRAIN, PUBLIC, PRIVATE} <= {video.id for video in videos}
