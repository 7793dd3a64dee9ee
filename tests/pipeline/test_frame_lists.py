"""Frame lists of LEDOV-Meta: the format, the published counts, and frames at other rates."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from foveal.errors import GazeError
from foveal.pipeline.sources.readers.frame_lists import mask_of_frames, read_frame_lists

SAMPLES = Path(
    os.environ.get("FOVEAL_SAMPLES", Path(__file__).parents[3] / "shared" / "data")
) / "reference"  # fmt: skip


def test_a_list_is_read_per_video(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("video,frame,mask\nb,0,False\nb,1,True\na,2,True\na,0,False\n")
    lists = read_frame_lists(path)
    assert list(lists) == ["b", "a"]
    assert lists["b"].tolist() == [False, True]
    assert lists["a"].tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("video,frame\na,0\n", "no list of video,frame,mask"),
        ("video,frame,mask\na,x,True\n", "no list of video,frame,mask"),
        ("video,frame,mask\na,0,True\na,0,False\n", "names a frame of a twice"),
        ("video,frame,mask\na,-1,True\n", "frames are in -1"),
        ("video,frame,mask\na,99999999999,True\n", "frames are in"),
    ],
)
def test_garbled_lists_are_errors(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(GazeError, match=complaint):
        read_frame_lists(path)
    with pytest.raises(GazeError):
        read_frame_lists(tmp_path / "absent.csv")


def test_frames_of_another_rate_take_the_nearest_listed_frame() -> None:
    listed = np.array([False, True, False, True])
    at_30 = mask_of_frames(listed, np.arange(6) / 30)
    assert at_30.tolist() == [False, True, False, True, False, False]
    at_60 = mask_of_frames(listed, np.arange(8) / 60)
    assert at_60.tolist() == [False, True, True, False, False, True, True, False]
    at_15 = mask_of_frames(listed, np.arange(3) / 15)
    assert at_15.tolist() == [False, False, False]


@pytest.mark.skipif(
    not (SAMPLES / "mask-ledov-test-30hz.csv").exists(),
    reason="the lists of LEDOV-Meta are not there; set FOVEAL_SAMPLES to the folder that has them",
)
@pytest.mark.parametrize(
    ("split", "videos", "rows", "true"), [("test", 41, 14438, 2674), ("val", 36, 12916, 2506)]
)
def test_published_counts(split: str, videos: int, rows: int, true: int) -> None:
    lists = read_frame_lists(SAMPLES / f"mask-ledov-{split}-30hz.csv")
    assert len(lists) == videos
    assert sum(map(len, lists.values())) == rows
    assert sum(int(mask.sum()) for mask in lists.values()) == true
    assert min(int(np.argmax(mask)) for mask in lists.values() if mask.any()) >= 15
