"""DHF1K's raw gaze: the mapping in closed form, the parser against pandas, one real video."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.recipe.section import GazeSelection
from foveal.pipeline.sources.dhf1k import DHF1K, DHF1KConfig
from foveal.pipeline.sources.readers.points import pixels_of_frames, round_half_away
from foveal.pipeline.sources.readers.smi_text import read_smi_text
from foveal.pipeline.video.types import Fixations, Video

HEADER = "Time\tType\tTrial\tL Dia X [px]\tL Dia Y [px]\tL POR X [px]\tL POR Y [px]\tL Event Info\n"
REPOSITORY = Path(__file__).parents[2]
SAMPLES = Path(os.environ.get("FOVEAL_SAMPLES", REPOSITORY.parent / "shared" / "data"))


def gaze_line(time_us: int, x: float | str, y: float | str, event: str = "Fixation") -> str:
    x, y = (value if isinstance(value, str) else f"{value:.2f}" for value in (x, y))
    return f"{time_us}\tSMP\t1\t16.38\t16.38\t{x}\t{y}\t{event}\n"


def write_gaze(root: Path, observer: str, lines: list[str], number: str = "007") -> Path:
    path = root / "exportdata_train" / observer / f"{observer}_Trail{number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + "".join(lines))
    (root / "video").mkdir(exist_ok=True)
    (root / "video" / f"{number}.AVI").touch()
    return path


def open_dhf1k(root: Path, **fixations: object) -> DHF1K:
    config = DHF1KConfig(kind="dhf1k", root=root)
    return DHF1K(config, GazeSelection.model_validate(fixations))


def points(source: DHF1K, height: int = 360, width: int = 640) -> Fixations:
    (video,) = source.videos()
    return source.fixations(video, height, width)


def test_one_sample_lands_on_its_pixel_and_frame(tmp_path: Path) -> None:
    # Frame 2 (from 0) spans 66,666.7 … 100,000 µs. At 640 px, scale 4/9 and border 45 px:
    # screen (450, 495) -> (200, 200) counted from 1 -> (199, 199) counted from 0.
    write_gaze(tmp_path, "P01", [gaze_line(1000, 0, 0, "-"), gaze_line(1000 + 70_000, 450, 495)])
    found = points(open_dhf1k(tmp_path))
    assert (found.frame.tolist(), found.x.tolist(), found.y.tolist()) == ([2], [199], [199])
    assert found.subjects == ("P01",)


def test_a_sample_exactly_between_two_frames_belongs_to_neither(tmp_path: Path) -> None:
    times = [0, 99_999, 100_000, 100_001]  # 30 t = 0, 2.99997, 3, 3.00003
    write_gaze(tmp_path, "P01", [gaze_line(time, 450, 495) for time in times])
    found = points(open_dhf1k(tmp_path))
    assert found.frame.tolist() == [2, 3]
    assert found.excluded["between_frames"] == 2


def test_rejected_positions_follow_the_strict_rule_on_both_sides(tmp_path: Path) -> None:
    # Counted from 1, x = 0 and x = 640 are rejected, 1 and 639 kept; y likewise with 360.
    kept = [(2.25, 495), (639 * 2.25, 495), (450, 45 * 1 + 2.25), (450, 45 + 359 * 2.25)]
    rejected = [(1.0, 495), (1440, 495), (450, 45), (450, 855), (-30.5, 495), (450, 2000)]
    write_gaze(
        tmp_path,
        "P01",
        [gaze_line(0, 0, 0, "-")] + [gaze_line(5000, *position) for position in kept + rejected],
    )
    found = points(open_dhf1k(tmp_path))
    assert sorted(zip(found.x.tolist(), found.y.tolist(), strict=True)) == sorted(
        [(0, 199), (638, 199), (199, 0), (199, 358)]
    )
    assert found.excluded["off_screen"] == len(rejected)


def test_every_sample_is_used_or_counted(tmp_path: Path) -> None:
    lines = [
        gaze_line(0, 450, 495, "-"),
        gaze_line(4000, 450, 495, "Blink"),
        gaze_line(8000, 450, 495, "Saccade"),
        gaze_line(12000, 0, 0),
        gaze_line(16000, 450, 495),
        gaze_line(20000, 450.2, 495.2),
        gaze_line(24000, 3000, 495),
    ]
    write_gaze(tmp_path, "P01", lines)
    found = points(open_dhf1k(tmp_path))
    assert found.excluded == {"blink": 1, "not_fixation": 2, "off_screen": 1, "zero_position": 1}
    assert (found.attributes["samples_read"], found.attributes["samples_used"]) == (7, 2)
    assert len(found) == 1, "two samples of one observer on one pixel in one frame are one point"


def test_authors_mapping_is_the_outer_product_of_each_observer_in_each_frame(
    tmp_path: Path,
) -> None:
    first = [gaze_line(0, 0, 0, "-"), gaze_line(4000, 450, 495), gaze_line(8000, 540, 540)]
    write_gaze(tmp_path, "P01", first)
    write_gaze(tmp_path, "P02", [gaze_line(0, 0, 0, "-"), gaze_line(4000, 90, 90)])
    pairs = {
        mapping: [
            (int(x), int(y), int(subject))
            for x, y, subject in zip(found.x, found.y, found.subject, strict=True)
        ]
        for mapping in ("pairwise", "authors")
        for found in [points(open_dhf1k(tmp_path, mapping=mapping))]
    }
    assert pairs["pairwise"] == [(199, 199, 0), (239, 219, 0), (39, 19, 1)]
    assert sorted(pairs["authors"]) == sorted([*pairs["pairwise"], (239, 199, 0), (199, 219, 0)])


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 5)), min_size=0, max_size=30
    )
)
def test_pixels_of_frames_agree_with_sets(samples: list[tuple[int, int, int]]) -> None:
    frame, x, y = np.array(samples, int).reshape(-1, 3).T
    pairwise = {(f, a, b) for f, a, b in samples}
    authors = {(f, a, d) for f, a, _ in samples for g, _, d in samples if f == g}
    for mapping, expected in (("pairwise", pairwise), ("authors", authors)):
        found = list(zip(*pixels_of_frames(frame, x, y, mapping), strict=True))
        assert len(found) == len(set(found))
        assert set(found) == expected
        assert [f for f, _, _ in found] == sorted(f for f, _, _ in found)


def test_halves_round_away_from_zero() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999])
    assert round_half_away(values).tolist() == [1, 2, 3, -1, -2, 0]


numbers = st.one_of(
    st.decimals(-99999, 99999, places=2).map(str),
    st.floats(-1e6, 1e6, allow_nan=False).map(repr),
    st.integers(-9999, 99999).map(str),
    st.sampled_from(["1e2", "+5.25", ".50", "5.", "0.00", "-0.00", "123456.78"]),
)
events = st.sampled_from(["Fixation", "Saccade", "Blink", "-"])
rows = st.tuples(st.integers(0, 10**7), numbers, numbers, events)


@settings(max_examples=60)
@given(st.lists(rows, min_size=1, max_size=20), st.integers(1, 10**15), st.booleans())
def test_the_parser_reads_what_pandas_reads(
    tmp_path_factory: pytest.TempPathFactory,
    samples: list[tuple[int, str, str, str]],
    start_us: int,
    carriage_returns: bool,
) -> None:
    samples = sorted(samples, key=lambda sample: sample[0])
    text = HEADER + "".join(gaze_line(start_us + t, x, y, event) for t, x, y, event in samples)
    path = tmp_path_factory.getbasetemp() / "gaze.txt"
    path.write_bytes((text.replace("\n", "\r\n") if carriage_returns else text).encode())
    found = read_smi_text(path)
    table = pd.read_csv(path, sep="\t", float_precision="round_trip")
    fixation = table[table["L Event Info"] == "Fixation"]
    assert found.time_us.tolist() == (fixation["Time"] - table["Time"][0]).tolist()
    assert found.x.tolist() == fixation["L POR X [px]"].tolist()
    assert found.y.tolist() == fixation["L POR Y [px]"].tolist()
    assert (found.samples, found.blinks) == (
        len(table),
        int((table["L Event Info"] == "Blink").sum()),
    )


GOOD = [gaze_line(4000 * index, 450, 495) for index in range(5)]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([*GOOD[:2], "100\tSMP\n", *GOOD[2:]], "line 4: Expected 8 columns, got 2"),
        ([*GOOD[:3], "\x00" * 40 + "\n"], "line 5: Expected 8 columns, got 1"),
        ([*GOOD[:3], "\n", *GOOD[3:]], "samples without a time"),
        ([*GOOD, gaze_line(20_000, "12x.00", 3)], "line 7: CSV conversion error to double"),
        ([*GOOD, gaze_line(20_000, "", 3)], "line 7: L POR X [px] of a fixation is nan"),
        ([*GOOD, gaze_line(20_000, "nan", 3)], "line 7: L POR X [px] of a fixation is nan"),
        ([*GOOD, gaze_line(20_000, 3, "inf")], "line 7: L POR Y [px] of a fixation is inf"),
        ([*GOOD, gaze_line(20_000, 3, 3, "\xff")], "invalid UTF8 data"),
        ([*GOOD, GOOD[1]], "line 7: time runs backward"),
        (["9e9\tSMP\t1\t1\t1\t1\t1\tFixation\n"], "line 2: CSV conversion error to int64"),
        ([], "no samples"),
    ],
)
def test_a_garbled_file_is_an_error_that_names_file_and_line(
    tmp_path: Path, lines: list[str], complaint: str
) -> None:
    path = write_gaze(tmp_path, "P01", lines)
    path.write_bytes(path.read_text().encode("latin-1"))
    with pytest.raises(GazeError) as caught:
        points(open_dhf1k(tmp_path))
    assert path.name in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_a_file_without_the_header_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = write_gaze(tmp_path, "P01", [])
    path.write_bytes(content)
    with pytest.raises(GazeError, match=r"line 1: the header lacks Time"):
        points(open_dhf1k(tmp_path))


def test_observers_are_selected_by_name_and_the_missing_ones_are_told(tmp_path: Path) -> None:
    for observer in ("P01", "P02", "P10"):
        write_gaze(tmp_path, observer, GOOD)
    write_gaze(tmp_path, "P02", GOOD, number="008")
    source = open_dhf1k(tmp_path)
    seventh, eighth = source.videos()
    assert source.fixations(seventh, 360, 640).subjects == ("P01", "P02", "P10")
    found = source.fixations(eighth, 360, 640)
    assert found.subjects == ("P02",)
    assert found.attributes["observers_missing"] == ["P01", "P10"]
    assert [path.name for path in eighth.annotation_paths] == ["P02_Trail008.txt"]
    chosen = open_dhf1k(tmp_path, subjects=("P10", "P01"))
    assert chosen.fixations(seventh, 360, 640).subjects == ("P10", "P01")
    with pytest.raises(GazeError, match="no gaze of video 008"):
        chosen.fixations(eighth, 360, 640)
    with pytest.raises(RecipeError, match=r"P99.*P01, P02, P10"):
        open_dhf1k(tmp_path, subjects=("P99",))


def test_splits_are_by_number_and_the_test_split_has_no_ground_truth(tmp_path: Path) -> None:
    (tmp_path / "video").mkdir()
    for number in (1, 600, 601, 700, 701, 1000):
        (tmp_path / "video" / f"{number:03d}.AVI").touch()
    (tmp_path / "video" / "Thumbs.db").touch()
    config = DHF1KConfig(kind="dhf1k", root=tmp_path, splits=("train", "val", "test"))
    source = DHF1K(config, None)
    videos = source.videos()
    assert [(video.id, video.split, video.has_ground_truth) for video in videos] == [
        ("001", "train", True),
        ("600", "train", True),
        ("601", "val", True),
        ("700", "val", True),
        ("701", "test", False),
        ("1000", "test", False),
    ]
    with pytest.raises(GazeError, match="withholds"):
        source.fixations(videos[-1], 360, 640)


@pytest.mark.skipif(
    not (SAMPLES / "dhf1k" / "video" / "002.AVI").exists(),
    reason="the real DHF1K video 002 is not there; set FOVEAL_SAMPLES to the folder that has it",
)
@pytest.mark.parametrize(("mapping", "expected"), [("pairwise", 67), ("authors", 179)])
def test_fixated_pixels_a_frame_of_the_real_video_002(mapping: str, expected: int) -> None:
    source = open_dhf1k(SAMPLES / "dhf1k", mapping=mapping)
    (video,) = source.videos()
    assert isinstance(video, Video)
    found = source.fixations(video, 360, 640).clipped(783)
    pixels = np.unique(np.stack([found.frame, found.x, found.y]), axis=1).shape[1]
    assert round(pixels / 783) == expected
    assert len(found.subjects) == 17
    assert found.excluded["out_of_time"] == 2373, "recordings run longer than the video"
    assert found.attributes["samples_read"] == 115_357
    assert found.attributes["samples_used"] == 115_357 - sum(found.excluded.values()) == 68_991
