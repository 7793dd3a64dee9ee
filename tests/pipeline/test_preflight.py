"""Preflight: quiet on whole datasets, and a finding for each thing that can be wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniatures import WRITERS, dhf1k, hollywood2, ledov, ucf_sports
from miniatures.base import density, write_image, write_video

from foveal.pipeline.check.preflight import Report, check
from foveal.pipeline.recipe.recipe import Recipe


def checked(root: Path, dataset: dict[str, Any], **options: Any) -> Report:
    return check(
        Recipe.parse({
            "dataset": {**dataset, "root": str(root)},
            "fixations": {},
            "density": {"sigma_px": 10.0},
            "store": "unused",
        }),
        **options,
    )  # fmt: skip


def messages(report: Report, severity: str, video: str | None = None) -> str:
    return "\n".join(
        finding.message
        for finding in report.findings
        if finding.severity == severity and video in (None, finding.video)
    )


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_whole_datasets_pass(form: str, tmp_path: Path) -> None:
    miniature = WRITERS[form](tmp_path)
    seen: list[tuple[int, int]] = []
    report = checked(tmp_path, miniature.dataset, advance=lambda *done: seen.append(done))
    assert report.ok, messages(report, "error")
    assert report.ok
    assert [row.video for row in report.rows] == list(miniature.videos)
    for row, expected in zip(report.rows, miniature.videos.values(), strict=True):
        assert (row.height_px, row.width_px) == expected.size
        assert row.split == expected.split
        if row.points is not None:
            assert row.observers
    assert seen[-1] == (len(report.rows), len(report.rows))
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_fewer_videos_than_published_are_told(tmp_path: Path) -> None:
    miniature = WRITERS["dhf1k-raw"](tmp_path)
    report = checked(tmp_path, miniature.dataset)
    assert report.videos == {"train": 1, "val": 1, "test": 1}
    assert report.published == {"train": 600, "val": 100, "test": 300}
    assert "1 of 600 published train videos" in messages(report, "warning", "")
    assert "no gaze of observers P01, P02" in messages(report, "note", "601")
    limited = checked(tmp_path, miniature.dataset, limit=1)
    assert len(limited.rows) == 1
    assert not messages(limited, "warning", "")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda root: (root / "video" / "601.AVI").write_bytes(b""), "files are unusable"),
        (lambda root: (root / "video" / "601.AVI").write_bytes(b"text"), "no readable video"),
        (
            lambda root: (
                root / "exportdata_train" / "P10" / "P10_Trail601.txt"
            ).write_bytes(b"garbled"),
            "the header lacks",
        ),
        (
            lambda root: (root / "exportdata_train" / "P10" / "P10_Trail601.txt").unlink(),
            "no gaze of video 601",
        ),
    ],
)  # fmt: skip
def test_one_bad_video_is_an_error_and_the_others_are_checked(
    tmp_path: Path, damage: Any, complaint: str
) -> None:
    miniature = WRITERS["dhf1k-raw"](tmp_path)
    damage(tmp_path)
    report = checked(tmp_path, miniature.dataset)
    assert not report.ok
    assert complaint in messages(report, "error", "601")
    assert {row.video: row.status == "error" for row in report.rows} == {
        "002": False,
        "601": True,
        "701": False,
    }


def test_swapped_axes_and_a_wrong_clock_are_suspected(tmp_path: Path) -> None:
    write_video(tmp_path / "video" / "002.AVI", 30, dhf1k.SIZE, 30)
    lines = dhf1k.recording([
        *((10 + 20 * k, *reversed(dhf1k.screen(150, 40)), "Fixation") for k in range(20)),
        *((411 + 40 * k, *dhf1k.screen(80, 40), "Fixation") for k in range(40)),
    ])  # fmt: skip
    dhf1k.write_gaze(tmp_path, "P01", 2, lines)
    found = messages(checked(tmp_path, {"kind": "dhf1k"}), "warning", "002")
    assert "are off the video; are x and y in order" in found
    assert "are after the last frame" in found


def test_gaze_that_ends_early_is_suspected(tmp_path: Path) -> None:
    write_video(tmp_path / "video" / "002.AVI", 60, dhf1k.SIZE, 30)
    lines = dhf1k.recording([(90, *dhf1k.screen(80, 40), "Fixation")])
    dhf1k.write_gaze(tmp_path, "P01", 2, lines)
    report = checked(tmp_path, {"kind": "dhf1k"})
    assert "gaze ends at frame 3 of 60" in messages(report, "warning", "002")


@pytest.mark.parametrize(
    ("rule", "severity"), [("strict", "error"), ("truncate_to_shorter", "note")]
)
def test_maps_and_frames_that_differ_in_number(tmp_path: Path, rule: str, severity: str) -> None:
    miniature = WRITERS["dhf1k-import"](tmp_path)
    for kind in ("maps", "fixation"):
        (tmp_path / "annotation" / "0002" / kind / "0005.png").unlink()
    report = checked(tmp_path, {**miniature.dataset, "reconcile": rule})
    assert "5 frames declared, 4 in the annotation" in messages(report, severity, "002")
    assert report.ok == (rule != "strict")
    assert report.rows[0].annotated_frames == 4


def test_the_reconciliation_of_a_clip_is_listed(tmp_path: Path) -> None:
    miniature = ucf_sports.write_frames(tmp_path)
    report = checked(tmp_path, miniature.dataset)
    assert report.reconcile == "intersect_by_name"
    assert "5 frames kept of 5 images, 6 maps" in messages(report, "note", "Walk-Front-008")
    strict = checked(tmp_path, {**miniature.dataset, "reconcile": "strict"})
    assert "do not belong together" in messages(strict, "error", "Walk-Front-008")


def test_constant_maps_wrong_sizes_and_unreadable_pictures_are_found(tmp_path: Path) -> None:
    miniature = hollywood2.write_frames(tmp_path)
    first, second = (tmp_path / "training" / f"actioncliptrain00001_{shot}" for shot in (1, 10))
    for path in (first / "maps").iterdir():
        write_image(path, np.full(hollywood2.SIZE, 7, np.uint8))
    for path in (second / "maps").iterdir():
        write_image(path, density(3, (30, 40)))
    (second / "images" / "actioncliptrain00001_00099.png").write_bytes(b"")
    report = checked(tmp_path, miniature.dataset)
    assert "picture in maps/ are constant" in messages(report, "warning", first.name)
    assert "is 40x30, the video 128x64" in messages(report, "warning", second.name)
    assert "actioncliptrain00001_00099.png is empty" in messages(report, "error", second.name)


def test_metadata_that_disagree_with_the_container_are_noted(tmp_path: Path) -> None:
    miniature = ledov.write_v5(tmp_path)
    write_video(tmp_path / "LEDOV" / "vidéo" / "vidéo.mp4", 7, ledov.SIZE, 24)
    report = checked(tmp_path, {**miniature.dataset, "frame_rate": "metadata"})
    notes = messages(report, "note", "vidéo")
    assert "annotation of 8 frames, 7 in the container" in notes
    assert "mapped at 25 frames per second, the video has 24" in notes


def test_a_pipe_among_the_videos_and_strays_beside_them_are_told(tmp_path: Path) -> None:
    miniature = WRITERS["dhf1k-raw"](tmp_path)
    (tmp_path / "video" / "601.AVI").unlink()
    os.mkfifo(tmp_path / "video" / "601.AVI")
    report = checked(tmp_path, miniature.dataset)
    assert "601.AVI is no plain file" in messages(report, "error", "601")
    assert not messages(report, "error", "002")
    assert "1 file is not read, Thumbs.db" in messages(report, "note", "")


def test_a_link_out_of_the_dataset_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    miniature = WRITERS["dhf1k-raw"](root)
    outside = tmp_path / "outside.AVI"
    (root / "video" / "601.AVI").rename(outside)
    (root / "video" / "601.AVI").symlink_to(outside)
    report = checked(root, miniature.dataset)
    assert "leads out of the dataset" in messages(report, "error", "601")
    assert "leads out" not in messages(report, "error", "002")
