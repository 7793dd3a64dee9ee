"""Damaged, hostile and contradictory datasets: a clear error for that video, bounded memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from miniatures import WRITERS, Miniature, diem, hollywood2, ledov, salicon, ucf_sports
from miniatures.base import density, fixated, write_image, write_text, write_v5
from scipy.io import savemat

from foveal.errors import DecodeError, GazeError, InputError, RecipeError
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources import Source, list_videos, open_source
from foveal.pipeline.sources.ledov import _spanned_frames, _spans
from foveal.pipeline.sources.readers import mat
from foveal.pipeline.sources.readers.clips import ClipSource
from foveal.pipeline.sources.readers.files import file_names, natural_key, numbered_files
from foveal.pipeline.sources.readers.mat import MAX_ELEMENTS, read_mat
from foveal.pipeline.sources.readers.pictures import points_of_pictures, read_fixated, read_grey
from foveal.pipeline.sources.readers.tables import read_table
from foveal.pipeline.video.decode import decode
from foveal.pipeline.video.ffmpeg import ffmpeg_executable
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Video


def opened(root: Path, dataset: dict[str, Any], **fixations: Any) -> Source:
    recipe = Recipe.parse({
        "dataset": {**dataset, "root": str(root)},
        "fixations": fixations,
        "store": "unused",
    })  # fmt: skip
    return open_source(recipe.dataset, recipe.fixations)


def listed(root: Path, dataset: dict[str, Any]) -> list[Video]:
    recipe = Recipe.parse({"dataset": {**dataset, "root": str(root)}, "store": "unused"})
    return list_videos(open_source(recipe.dataset, None), recipe.dataset)


def first_error(root: Path, miniature: Miniature, error: type[Exception]) -> str:
    """What reading the first video's ground truth complains of, while listing still works."""
    source = opened(root, miniature.dataset)
    video = source.videos()[0]
    with pytest.raises(error) as caught:
        source.fixations(video, *next(iter(miniature.videos.values())).size)
    return str(caught.value)


# Paths


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_a_link_out_of_the_dataset_is_refused_and_the_other_videos_are_listed(
    form: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    miniature = WRITERS[form](root)
    source = opened(root, miniature.dataset)
    video = source.videos()[0]
    target = video.annotation_paths[0]
    outside = tmp_path / "secret"
    shutil.copy(target, outside)
    target.unlink()
    target.symlink_to(outside)
    source = opened(root, miniature.dataset)
    assert [one.id for one in source.videos()] == list(miniature.videos)
    with pytest.raises(InputError, match="leads out of the dataset"):
        source.fixations(video, *next(iter(miniature.videos.values())).size)


def test_a_folder_linked_out_of_the_dataset_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    miniature = hollywood2.write_frames(root)
    clip = root / "training" / "actioncliptrain00001_1"
    shutil.move(clip / "fixation", tmp_path / "elsewhere")
    (clip / "fixation").symlink_to(tmp_path / "elsewhere")
    assert "leads out of the dataset" in first_error(root, miniature, InputError)


def test_a_link_within_the_dataset_is_followed(tmp_path: Path) -> None:
    miniature = hollywood2.write_frames(tmp_path)
    clip = tmp_path / "training" / "actioncliptrain00001_1"
    shutil.move(clip / "fixation", tmp_path / "elsewhere")
    (clip / "fixation").symlink_to(tmp_path / "elsewhere")
    source = opened(tmp_path, miniature.dataset)
    assert len(source.fixations(source.videos()[0], *hollywood2.SIZE)) == 4


@pytest.mark.parametrize("path", ["../outside.csv", "sub/../../outside.csv"])
def test_a_recipe_cannot_lead_out_of_the_root_by_dots(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.mp4").touch()
    write_text(tmp_path / "outside.csv", "video,subject,frame,x,y\na,s,0,1,1\n")
    source = opened(root, {"kind": "videos", "gaze": {"path": path}})
    with pytest.raises(InputError, match="leads out of the dataset"):
        source.fixations(source.videos()[0], 10, 10)


def test_a_missing_root_says_so(tmp_path: Path) -> None:
    for kind in ("dhf1k", "hollywood2", "ucf_sports", "diem", "ledov", "salicon", "videos"):
        with pytest.raises(RecipeError, match=r"dataset\.root .* is not there"):
            opened(tmp_path / "nothing", {"kind": kind})


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_an_empty_root_says_what_is_missing(form: str, tmp_path: Path) -> None:
    miniature = WRITERS[form](tmp_path / "full")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError) as caught:
        opened(tmp_path / "empty", miniature.dataset).videos()
    assert str(tmp_path / "empty") in str(caught.value)


def test_names_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    for name in ("b 2", "b 10", "B 1", "ä", "10", "9", ".hidden"):
        (tmp_path / name).touch()
    assert file_names(tmp_path) == ["9", "10", "B 1", "b 2", "b 10", "ä"]
    assert natural_key("x007") == natural_key("x7")


def test_numbered_files_leave_strays_out_and_refuse_twins(tmp_path: Path) -> None:
    for name in ("v_3.png", "v_10.PNG", "v_4.png", "other_5.png", "Thumbs.db", "v_6.txt"):
        (tmp_path / name).touch()
    assert numbered_files(tmp_path, (".png",)) == {3: "v_3.png", 4: "v_4.png", 10: "v_10.PNG"}
    (tmp_path / "v_03.png").touch()
    with pytest.raises(InputError, match="only file of its number"):
        numbered_files(tmp_path, (".png",))
    assert numbered_files(tmp_path / "nothing", (".png",)) == {}


def test_pipes_and_links_to_themselves_cost_their_own_video(tmp_path: Path) -> None:
    """Listing goes on, and neither building's hashes nor `check` waits for a pipe to be filled."""
    miniature = hollywood2.write_frames(tmp_path)
    first, second = sorted((tmp_path / "training").glob("actioncliptrain*_1*"))
    for path, place in ((first, os.mkfifo), (second, lambda path: path.symlink_to(path.name))):
        picture = next((path / "fixation").iterdir())
        picture.unlink()
        place(picture)
    (tmp_path / "training" / "actioncliptrain00009_1").symlink_to("actioncliptrain00009_1")
    source = opened(tmp_path, miniature.dataset)
    videos = {video.id: video for video in source.videos()}
    assert list(videos) == list(miniature.videos)
    for folder, complaint in ((first, "no plain file"), (second, "symbolic links")):
        with pytest.raises(InputError, match=complaint):
            source.fixations(videos[folder.name], *hollywood2.SIZE)


@pytest.mark.parametrize("form", ["dhf1k-raw", "ledov-v5", "salicon-mat", "videos-csv"])
def test_a_pipe_in_place_of_gaze_is_refused(tmp_path: Path, form: str) -> None:
    miniature = WRITERS[form](tmp_path)
    path = opened(tmp_path, miniature.dataset).videos()[0].annotation_paths[0]
    path.unlink()
    os.mkfifo(path)
    message = first_error(tmp_path, miniature, GazeError)
    assert str(path) in message
    assert "no plain file" in message


@pytest.mark.parametrize("form", ["dhf1k-import", "videos-frames"])
def test_two_pictures_of_one_number_cost_their_own_video(tmp_path: Path, form: str) -> None:
    miniature = WRITERS[form](tmp_path)
    picture = opened(tmp_path, miniature.dataset).videos()[0].annotation_paths[0]
    shutil.copy(picture, picture.with_name(f"0{picture.name}"))
    assert "is not the only file of its number" in first_error(tmp_path, miniature, InputError)


# Nothing is skipped in silence


@pytest.mark.parametrize("form", ["ledov-v5", "dhf1k-raw", "diem-raw", "hollywood2-raw"])
def test_a_listing_without_videos_is_an_error(form: str, tmp_path: Path) -> None:
    miniature = WRITERS[form](tmp_path)
    dataset = {**miniature.dataset, "splits": []}
    with pytest.raises(RecipeError, match="holds no video"):
        listed(tmp_path, dataset)


def test_files_beside_the_videos_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.mp4", "b.ts", "c.GIF", "d.rm", "gaze.csv", ".hidden"):
        (tmp_path / name).touch()
    dataset = {"kind": "videos", "gaze": {"path": "gaze.csv"}}
    assert [video.id for video in listed(tmp_path, dataset)] == ["a", "b", "c"]
    assert "1 file is not read, d.rm" in caplog.text


@pytest.mark.parametrize("form", [form for form in WRITERS if re.search("salicon|frames", form)])
def test_files_beside_pictures_are_named(
    form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    miniature = WRITERS[form](tmp_path)
    before = listed(tmp_path, miniature.dataset)
    assert "bmp" not in caplog.text
    (before[0].path / "COCO_0001.bmp").touch()
    assert listed(tmp_path, miniature.dataset) == before
    told = rf"{before[0].path}: \d files? (is|are) not read, COCO_0001.bmp"
    assert re.search(told, caplog.text)


def test_videos_that_no_list_of_ledov_names_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    miniature = ledov.write_v73(tmp_path)
    (tmp_path / "LEDOV" / "zebra").mkdir()
    (tmp_path / "LEDOV" / "zebra" / "zebra.mp4").touch()
    assert [video.id for video in listed(tmp_path, miniature.dataset)] == list(miniature.videos)
    assert "1 videos are in no list, such as zebra" in caplog.text


def test_lists_of_ledov_that_name_nothing_are_named(tmp_path: Path) -> None:
    miniature = ledov.write_v73(tmp_path)
    for lists in ({"tra1nlist": np.array([[1]])}, {"trainlist": "zebra"}):
        write_v5(tmp_path / "namelist.mat", **lists)
        with pytest.raises(RecipeError, match=r"namelist\.mat names none of the \d videos"):
            listed(tmp_path, miniature.dataset)


@pytest.mark.parametrize("number", [0, 5])
def test_a_number_that_names_no_video_of_ledov_is_an_error(tmp_path: Path, number: int) -> None:
    miniature = ledov.write_v73(tmp_path)
    write_v5(tmp_path / "namelist.mat", trainlist=np.array([[1], [number]], np.uint16))
    with pytest.raises(RecipeError, match=r"numbers that are not in 1 … 4.*splits: null"):
        listed(tmp_path, miniature.dataset)


@pytest.mark.parametrize(
    "suffix", ["ts", "m2ts", "mts", "gif", "flv", "y4m", "ogv", "vob", "nut", "asf", "mxf"]
)
def test_every_listed_ending_decodes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    command = [ffmpeg_executable(), "-v", "error", "-f", "lavfi", "-i"]
    scene = "testsrc=size=64x48:rate=25:duration=0.4"
    subprocess.run([*command, scene, "-pix_fmt", PIXELS.get(suffix, "yuv420p"), path], check=True)
    (video,) = listed(tmp_path, {"kind": "videos"})
    info = probe(video)
    assert (info.height_px, info.width_px, info.fps) == (48, 64, 25)
    assert sum(len(batch) for batch in decode(video, info)) == 10


PIXELS = {"gif": "rgb8"}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_picture_called_mp4_is_no_video(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", density(1, (8, 8)))
    (tmp_path / f"a{suffix}").rename(tmp_path / "a.mp4")
    with pytest.raises(DecodeError, match=r"a\.mp4: a picture"):
        probe(Video("a", None, tmp_path / "a.mp4"))


# MATLAB files


def test_references_to_one_array_count_as_often_as_they_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mat, "MAX_BYTES", 1 << 24)
    path = tmp_path / "bomb.mat"
    with h5py.File(path, "w") as file:
        big = file.create_dataset("#refs#/a", shape=(1 << 8, 1 << 10), dtype="f8", chunks=True)
        cells = file.create_dataset("gaze", shape=(20,), dtype=h5py.ref_dtype)
        cells[:] = [big.ref] * 20
        circle = file.create_dataset("circle", shape=(2,), dtype=h5py.ref_dtype)
        circle[:] = [circle.ref] * 2
    assert path.stat().st_size < 20_000
    for name in ("gaze", "circle"):
        with pytest.raises(GazeError, match=r"bomb\.mat"):
            read_mat(path, name)


@pytest.mark.parametrize(
    "values",
    [
        np.full((4, 6), np.inf),
        np.full((4, 6), np.nan),
        np.ones((4, 6)) + 1j,
        "text",
        np.zeros((0, 0)),
        {"a": 1.0},
    ],
)
def test_mat_files_that_hold_no_fixation_map_are_errors(tmp_path: Path, values: Any) -> None:
    write_v5(tmp_path / "map.mat", I=values)
    with pytest.raises(GazeError, match=r"map\.mat"):
        points_of_pictures([tmp_path / "map.mat"], 4, 6, {})


def test_a_mat_file_that_claims_a_huge_array_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.mat"
    rows = columns = 1 << 16
    flags = struct.pack("<IIII", 6, 8, 9, 0)  # miUINT32, 8 bytes: class uint8
    dimensions = struct.pack("<IIII", 5, 8, rows, columns)
    name = struct.pack("<HH4s", 1, 1, b"I")
    data = struct.pack("<II", 2, 8) + bytes(8)
    body = flags + dimensions + name + data
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM")
    path.write_bytes(header + struct.pack("<II", 14, len(body)) + body)
    with pytest.raises(GazeError, match=f"I claims 65536x65536 elements; more than {MAX_ELEMENTS}"):
        read_mat(path, "I")


def test_a_v73_file_that_claims_a_huge_array_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.mat"
    with h5py.File(path, "w") as file:
        file.create_dataset("I", shape=(1 << 20, 1 << 20), dtype="u1", chunks=(1, 1))
    with pytest.raises(GazeError, match="1048576x1048576 elements"):
        read_mat(path, "I")


def test_a_mat_file_that_inflates_beyond_bounds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foveal.pipeline.sources.readers.mat.MAX_BYTES", 1 << 20)
    path = tmp_path / "bomb.mat"
    squeezed = zlib.compress(bytes(1 << 22), 9)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM")
    path.write_bytes(header + struct.pack("<II", 15, len(squeezed)) + squeezed)
    with pytest.raises(GazeError, match="inflates to more than is read"):
        read_mat(path, "I")


@pytest.mark.parametrize(
    ("at", "value"), [(0, 14), (16, 2), (20, 1), (32, 14), (40, 0), (40, 14), (40, 99), (44, 4000)]
)
def test_tags_that_would_crash_scipy_are_refused_before_it_reads_them(
    tmp_path: Path, at: int, value: int
) -> None:
    """SciPy looks types up in a table without asking whether they are in it."""
    path = tmp_path / "map.mat"
    savemat(path, {"I": np.ones((4, 6), np.uint8)}, do_compression=False)
    data = bytearray(path.read_bytes())
    assert read_fixated(path).all()
    struct.pack_into("<I", data, 128 + 8 + at, value)
    path.write_bytes(data)
    with pytest.raises(GazeError, match=r"map\.mat"):
        read_fixated(path)


def test_a_cell_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.mat"
    savemat(path, {"I": {"a": np.array([1.0, "b"], object)}}, do_compression=False)
    dimensions = struct.pack("<IIII", 5, 8, 1, 2)
    data = path.read_bytes()
    assert data.count(dimensions) == 1
    path.write_bytes(data.replace(dimensions, struct.pack("<IIII", 5, 8, 1 << 15, 1 << 15)))
    with pytest.raises(GazeError, match="an array of 1073741824 arrays, of which 2 are there"):
        read_mat(path, "I")


@pytest.mark.parametrize("content", [b"", b"text", bytes(4096), b"\x89HDF\r\n\x1a\n" + bytes(50)])
def test_what_is_no_mat_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mat"
    path.write_bytes(content)
    with pytest.raises(GazeError, match=re.escape(str(path))):
        read_mat(path, "I")
    with pytest.raises(GazeError, match="cannot be read: No such file"):
        read_mat(tmp_path / "absent.mat", "I")


def test_a_truncated_mat_file_is_an_error(tmp_path: Path) -> None:
    miniature = ledov.write_v5(tmp_path)
    path = tmp_path / "LEDOV" / "animal_bear04" / "Data.mat"
    path.write_bytes(path.read_bytes()[:-40])
    assert "Data.mat" in first_error(tmp_path, miniature, GazeError)


def test_a_mat_file_without_the_variable_names_those_it_has(tmp_path: Path) -> None:
    write_v5(tmp_path / "other.mat", something=np.ones((2, 2)))
    with pytest.raises(GazeError, match="holds something, not I or eyeMap"):
        read_fixated(tmp_path / "other.mat")


# Pictures


def test_pictures_are_read_losslessly_whatever_their_channels(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_image(tmp_path / "grey.png", levels)
    write_image(tmp_path / "three.png", np.repeat(levels[..., None], 3, axis=2))
    for name in ("grey.png", "three.png"):
        np.testing.assert_array_equal(read_grey(tmp_path / name), levels)


@pytest.mark.parametrize(
    ("pixels", "complaint"),
    [
        (np.dstack([np.zeros((4, 4)), np.ones((4, 4)), np.zeros((4, 4))]), "coloured"),
        (np.zeros((4, 4), np.uint16), "16 bits per channel"),
        (np.zeros((1, 9000), np.uint8), "at most 8192 px"),
    ],
)
def test_pictures_that_are_no_maps_are_errors(
    tmp_path: Path, pixels: np.ndarray, complaint: str
) -> None:
    if pixels.ndim == 3:
        pixels = (255 * pixels).astype(np.uint8)
    write_image(tmp_path / "map.png", pixels)
    with pytest.raises(GazeError, match=complaint):
        read_grey(tmp_path / "map.png")


def test_a_picture_that_claims_a_huge_size_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    with pytest.raises(GazeError, match=r"huge\.png"):
        read_grey(path)


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_what_is_no_picture_is_an_error(tmp_path: Path, content: bytes) -> None:
    miniature = hollywood2.write_frames(tmp_path)
    folder = tmp_path / "training" / "actioncliptrain00001_1" / "fixation"
    path = next(iter(sorted(folder.iterdir())))
    path.write_bytes(content)
    assert path.name in first_error(tmp_path, miniature, GazeError)


def test_a_truncated_picture_is_an_error(tmp_path: Path) -> None:
    write_image(tmp_path / "map.jpg", np.tile(density(3, (64, 64)), (2, 2)))
    path = tmp_path / "map.jpg"
    path.write_bytes(path.read_bytes()[:200])
    if cv2.imread(str(path)) is None:
        with pytest.raises(GazeError):
            read_grey(path)


def test_a_fixation_map_of_another_size_than_the_video_is_an_error(tmp_path: Path) -> None:
    miniature = hollywood2.write_frames(tmp_path)
    folder = tmp_path / "training" / "actioncliptrain00001_1" / "fixation"
    write_image(folder / "actioncliptrain00001_00004.png", fixated([(1, 1)], (48, 64)))
    message = first_error(tmp_path, miniature, GazeError)
    assert "64x48, but the video is 128x64" in message


# Counts that differ


def ucf_with_a_map_too_many(root: Path, rule: str) -> Source:
    miniature = ucf_sports.write_frames(root)
    return opened(root, {**miniature.dataset, "reconcile": rule})


def test_strict_quarantines_a_clip_with_a_map_too_many_and_says_which(tmp_path: Path) -> None:
    source = ucf_with_a_map_too_many(tmp_path, "strict")
    first, second = source.videos()
    assert len(first.image_names or ()) == 5, "frames alone can still be built"
    for read in (lambda: source.fixations(first, *ucf_sports.SIZE),
                 lambda: source.published_maps(first)):  # fmt: skip
        with pytest.raises(GazeError, match=r"5 images, 6 maps, 5 points .*lack 1\b.*intersect_by"):
            read()
    assert len(source.fixations(second, *ucf_sports.SIZE)) == 8


def test_intersect_by_name_keeps_what_all_have_and_records_it(tmp_path: Path) -> None:
    source = ucf_with_a_map_too_many(tmp_path, "intersect_by_name")
    video = source.videos()[0]
    assert "5 frames kept of 5 images, 6 maps, 5 points" in video.notes[0]
    found = source.fixations(video, *ucf_sports.SIZE)
    assert found.attributes["notes"] == list(video.notes)
    assert found.attributes["reconcile"] == "intersect_by_name"


def test_truncate_to_shorter_pairs_by_position(tmp_path: Path) -> None:
    source = ucf_with_a_map_too_many(tmp_path, "truncate_to_shorter")
    video = source.videos()[0]
    maps = source.published_maps(video)
    assert maps is not None
    assert len(maps) == len(video.image_names or ()) == 5
    assert maps.density(0)[0, 0] == density(1, (8, 8))[0, 0]
    assert "truncate_to_shorter: 5 frames kept" in video.notes[0]


def test_clips_without_a_common_frame_are_errors(tmp_path: Path) -> None:
    folder = tmp_path / "training" / "Lifting-003"
    for number in (1, 2):
        write_image(folder / "images" / f"Lifting_003_{number:03d}.png", density(1, (8, 8)))
        write_image(folder / "fixation" / f"Lifting_003_{number + 5:03d}.png", density(1, (8, 8)))
    source = opened(tmp_path, {"kind": "ucf_sports", "reconcile": "intersect_by_name"})
    with pytest.raises(GazeError, match="no frame in common"):
        source.fixations(source.videos()[0], 8, 8)


def test_a_gap_in_the_numbering_is_noted(tmp_path: Path) -> None:
    miniature = hollywood2.write_frames(tmp_path)
    for kind in ("images", "maps", "fixation"):
        clip = tmp_path / "training" / "actioncliptrain00001_1" / kind
        (clip / "actioncliptrain00001_00005.png").unlink()
    source = opened(tmp_path, miniature.dataset)
    assert source.videos()[0].notes == ("frame numbers jump 4 to 6",)


def test_the_same_clip_in_two_splits_is_an_error_that_names_both(tmp_path: Path) -> None:
    miniature = ucf_sports.write_frames(tmp_path)
    shutil.copytree(
        tmp_path / "testing" / "Diving-Side-001", tmp_path / "training" / "Diving-Side-001"
    )
    with pytest.raises(RecipeError, match=r"Diving-Side-001 is there twice: .*training.*testing"):
        opened(tmp_path, miniature.dataset).videos()


def test_two_videos_of_one_name_are_an_error(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.avi", "b.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(RecipeError, match=r"two videos are called a: .*a\.avi, .*a\.mp4"):
        listed(tmp_path, {"kind": "videos"})


def test_dhf1k_maps_with_a_hole_are_an_error(tmp_path: Path) -> None:
    miniature = WRITERS["dhf1k-import"](tmp_path)
    (tmp_path / "annotation" / "0002" / "fixation" / "0002.png").unlink()
    assert "lacks 0002" in first_error(tmp_path, miniature, GazeError)


# Observers


def test_free_viewing_observers_must_be_named(tmp_path: Path) -> None:
    hollywood2.write_raw(tmp_path)
    with pytest.raises(RecipeError) as caught:
        opened(tmp_path, {"kind": "hollywood2", "form": "raw"})
    message = str(caught.value)
    assert "watched with a task" in message
    assert 'free_viewing_subjects: ["001", "002"]' in message
    assert "condition: all" in message


@pytest.mark.parametrize(
    ("condition", "subjects"),
    [("free_viewing", ("001", "002")), ("task", ("003",)), ("all", ("001", "002", "003"))],
)
def test_observers_are_selected_by_condition_and_it_is_recorded(
    tmp_path: Path, condition: str, subjects: tuple[str, ...]
) -> None:
    miniature = hollywood2.write_raw(tmp_path)
    source = opened(tmp_path, {**miniature.dataset, "condition": condition})
    found = source.fixations(source.videos()[0], *hollywood2.SIZE)
    assert found.subjects == subjects
    assert found.attributes["condition"] == condition
    assert source.parameters()["condition"] == condition


def test_unknown_observers_are_errors(tmp_path: Path) -> None:
    miniature = hollywood2.write_raw(tmp_path)
    with pytest.raises(RecipeError, match=r"observers 004 have no file.*001, 002, 003"):
        opened(tmp_path, {**miniature.dataset, "free_viewing_subjects": ["004"]}).videos()


def test_a_missing_observer_is_recorded(tmp_path: Path) -> None:
    miniature = hollywood2.write_raw(tmp_path)
    (tmp_path / "gaze_hollywood2" / "samples" / "001_actioncliptest00001.avi.txt").unlink()
    source = opened(tmp_path, miniature.dataset)
    found = source.fixations(source.videos()[0], *hollywood2.SIZE)
    assert found.attributes["observers_missing"] == ["001"]


def test_fixation_maps_cannot_be_split_by_observer_nor_mapped_as_dhf1k(tmp_path: Path) -> None:
    miniature = hollywood2.write_frames(tmp_path)
    with pytest.raises(RecipeError, match="do not say who looked where"):
        opened(tmp_path, miniature.dataset, subjects=["001"])
    with pytest.raises(RecipeError, match="is for DHF1K only"):
        opened(tmp_path, miniature.dataset, mapping="authors")


@pytest.mark.parametrize("dataset", [
    {"kind": "hollywood2", "form": "raw", "condition": "all"},
    {"kind": "diem"},
])  # fmt: skip
def test_importing_where_nothing_is_published_is_an_error(
    tmp_path: Path, dataset: dict[str, Any]
) -> None:
    with pytest.raises(RecipeError, match="ground_truth: import needs published maps"):
        opened(tmp_path, {**dataset, "ground_truth": "import"})


# Tables


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 2 3\n4 5\n", "line 2: c is missing"),
        ("1 2 3\n4 nan 3\n", "line 2: b is missing or no finite number"),
        ("1 2 inf\n", "line 1: c is missing or no finite number"),
        ("1 2 3\n\n4 5 6\n", "line 2: a is missing"),
        ("1 2 3\n1 2 x\n", "line 2: c is missing or no finite number in '1 2 x'"),
        ("1 2 3 4\n", "line 1: more than 3 columns"),
        ("", "table.txt"),
    ],
)
def test_a_garbled_table_is_an_error_that_names_the_line(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "table.txt"
    write_text(path, text)
    with pytest.raises(GazeError) as caught:
        read_table(path, ("a", "b", "c"))
    assert "table.txt" in str(caught.value)
    assert complaint in str(caught.value)


def test_a_garbled_event_file_quarantines_only_its_video(tmp_path: Path) -> None:
    miniature = diem.write_raw(tmp_path)
    path = next((tmp_path / diem.TRAIN / "event_data").iterdir())
    path.write_bytes(b"\x00\xff" * 50)
    source = opened(tmp_path, miniature.dataset)
    train, test = source.videos()
    with pytest.raises(GazeError, match=re.escape(path.name)):
        source.fixations(train, *diem.SIZE)
    assert len(source.fixations(test, *diem.SIZE))


def test_a_csv_of_120_megabytes_is_read_in_batches(tmp_path: Path) -> None:
    path = tmp_path / "gaze.csv"
    with path.open("wb") as file:
        file.write(b"video,subject,frame,x,y,note\n")
        for _ in range(10):
            file.write(b"other,s,1,10.5,20.5,%b\n" % (b"-" * 100) * 100_000)
            file.write(b"mine,s,7,1,2,\n")
    code = (
        "import sys, pathlib, pyarrow as pa\n"
        "from foveal.pipeline.sources.readers.gaze_table import Columns, read_rows\n"
        "columns = Columns('video', ('subject',), ('frame', 'x', 'y'))\n"
        "found = read_rows(pathlib.Path(sys.argv[1]), 'mine', columns)\n"
        "assert found['frame'].tolist() == [7] * 10\n"
        "print(pa.default_memory_pool().max_memory())\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    peak_bytes = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert peak_bytes < path.stat().st_size / 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("video,subject,frame,x\na,s,1,1\n", "has no column y; it has video, subject, frame, x"),
        ("video,subject,frame,x,y\nb,s,1,1,1\n", "no rows for video 'a'"),
        ("video,subject,frame,x,y\na,s,one,1,1\n", "cannot be read"),
        ("video,subject,frame,x,y\na,s,1\n", "cannot be read"),
        ("", "cannot be read"),
        ("video,subject,frame,x,y\na,é,1,1,1\n", "cannot be read"),
        ("vidéo,subject,frame,x,y\na,s,1,1,1\n", "cannot be read|has no column"),
    ],
)
def test_a_garbled_csv_is_an_error(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "gaze.csv").write_bytes(text.encode("latin-1"))
    (tmp_path / "a.mp4").touch()
    source = opened(tmp_path, {"kind": "videos", "gaze": {"path": "gaze.csv"}})
    with pytest.raises(GazeError, match=complaint):
        source.fixations(source.videos()[0], 10, 10)


def test_values_that_are_not_finite_are_counted_not_stored(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    rows = "a,s,0,nan,1\na,s,0,inf,1\na,s,1e300,1,1\na,s,,1,1\na,s,2,3,4\na,s,3,-2,4\n"
    write_text(tmp_path / "gaze.csv", "video,subject,frame,x,y\n" + rows)
    source = opened(tmp_path, {"kind": "videos", "gaze": {"path": "gaze.csv"}})
    found = source.fixations(source.videos()[0], 10, 10)
    assert found.excluded == {"missing_value": 4, "off_screen": 1}
    assert (found.frame.tolist(), found.x.tolist(), found.y.tolist()) == ([2], [3], [4])


@pytest.mark.parametrize(
    ("gaze", "complaint"),
    [
        ({"columns": {"seconds": "t"}}, "exactly one of frame and seconds"),
        ({"columns": {"frame": None, "seconds": "t"}}, "dataset.gaze.fps"),
    ],
)
def test_contradictions_in_the_table_section_are_errors(
    tmp_path: Path, gaze: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(RecipeError, match=complaint):
        opened(tmp_path, {"kind": "videos", "gaze": {"path": "gaze.csv", **gaze}})


# SALICON and LEDOV


def test_salicon_of_2015_must_not_hold_points_outside(tmp_path: Path) -> None:
    miniature = salicon.write_mat(tmp_path)
    message = first_error(
        tmp_path, Miniature({**miniature.dataset, "edition": "2015"}, miniature.videos), GazeError
    )
    assert "write dataset.edition: '2017'" in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"annotations": [{"image_id": 42',
        '{"annotations": [{"image_id": 42}]}',
        "[1, 2",
        '{"annotations": [{"worker_id": "é", "image_id": 42, "fixations": []}]}',
        '{"annotations": [{"worker_id": 1, "image_id": 42, "fixations": [["1", "2"]]}]}',
        f'{{"annotations": [{{"worker_id": 1, "image_id": {"9" * 5000}, "fixations": []}}]}}',
        f'{{"annotations": [{{"worker_id": 1, "image_id": 42, "fixations": [[1, {"9" * 400}]]}}]}}',
        '{"annotations": [' + "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_salicon_json_is_an_error(tmp_path: Path, text: str) -> None:
    miniature = salicon.write_json(tmp_path)
    (tmp_path / "fixations_val2014.json").write_bytes(text.encode("latin-1"))
    assert "fixations_val2014.json" in first_error(tmp_path, miniature, GazeError)


def test_salicon_json_is_read_item_by_item_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniature = salicon.write_json(tmp_path)
    whole = opened(tmp_path, miniature.dataset)
    expected = [whole.fixations(video, *salicon.SIZE) for video in whole.videos()]
    text = (tmp_path / "fixations_val2014.json").read_text()
    for block in (7, 64, 1000):
        monkeypatch.setattr("foveal.pipeline.sources.readers.json_text._READ_CHARACTERS", block)
        write_text(
            tmp_path / "fixations_val2014.json", json.dumps(json.loads(text), indent=block % 3)
        )
        source = opened(tmp_path, miniature.dataset)
        for video, one in zip(source.videos(), expected, strict=True):
            found = source.fixations(video, *salicon.SIZE)
            assert found.x.tolist() == one.x.tolist()
            assert found.subjects == one.subjects


def test_ledov_without_its_list_of_names_says_what_to_do(tmp_path: Path) -> None:
    miniature = ledov.write_v5(tmp_path)
    (tmp_path / "LEDOV" / "namelist.mat").unlink()
    with pytest.raises(RecipeError, match=r"dataset\.splits: null"):
        opened(tmp_path, miniature.dataset).videos()
    everything = opened(tmp_path, {**miniature.dataset, "splits": None}).videos()
    assert [(video.id, video.split) for video in everything] == [
        ("animal_bear04", None),
        ("ball walk 2", None),
        ("vidéo", None),
    ]


def test_a_fixation_that_claims_to_last_forever_is_bounded() -> None:
    first, last = _spans(np.array([0.0]), np.array([1e300]), 25)
    frame, _ = _spanned_frames(first, last, frames=10)
    assert frame.tolist() == list(range(10))
    with pytest.raises(GazeError, match="refused"):
        _spanned_frames(first, last, frames=None)


def test_empty_min_frames_leaves_short_shots_out(tmp_path: Path) -> None:
    miniature = hollywood2.write_frames(tmp_path)
    source = opened(tmp_path, {**miniature.dataset, "min_frames": 3})
    assert isinstance(source, ClipSource)
    assert [video.id for video in source.videos()] == [
        "actioncliptrain00001_1",
        "actioncliptrain00001_10",
    ]
