"""The index: one row a video, typed columns whatever is missing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from foveal.storage.contents import arrays_told
from foveal.storage.index import COLUMNS, VOUCHER, index_row, read_index, write_index
from foveal.storage.location import Location
from foveal.storage.marks import Mark, Quarantine

PROVENANCE = {"stored_bytes": 1000, "compute_seconds": 0.5}
TIME = Mark(
    "002",
    "time",
    "f" * 64,
    {},
    {"time": {"dims": ["time"], "shape": [783], "dtype": "float64", "sha256": {}}},
    {
        **PROVENANCE,
        "completed_at": "2025-01-02T03:04:05Z",
        "video": {"split": "train", "fps": 30.0, "source_size": [360, 640]},
        "last_pts_seconds": 782 / 30,
    },
)
FIXATIONS = Mark(
    "002",
    "fixations",
    "e" * 64,
    {},
    {"fixation_frame": {"dims": ["fixation"], "shape": [52_461], "dtype": "int32", "sha256": {}}},
    {**PROVENANCE, "completed_at": "2025-01-02T03:05:00Z", "empty_frames": 2},
)
BAD = Quarantine("003", "DecodeError", "003.AVI: the file is empty (0 bytes)", {})


def rows() -> list[dict[str, object]]:
    return [
        index_row("002", None, {"time": TIME, "fixations": FIXATIONS}, None),
        index_row("003", "val", {}, BAD),
        index_row("701", "test", {}, None),
    ]


@pytest.fixture(params=["folder", "memory"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location(tmp_path if request.param == "folder" else f"memory://{tmp_path.name}")


def test_a_complete_video() -> None:
    row = rows()[0]
    told = {name: info.items for name, info in arrays_told(str(row.pop("arrays"))).items()}
    assert told == {"fixation_frame": 52_461, "time": 783}
    assert row == {
        "video": "002",
        "split": "train",
        "status": "complete",
        "reason": "",
        "frames": 783,
        "fps": 30.0,
        "height_px": 360,
        "width_px": 640,
        "duration_seconds": pytest.approx(26.1),
        "fixations": 52_461,
        "empty_frames": 2,
        "stored_bytes": 2000,
        "compute_seconds": 1.0,
        "completed_at": "2025-01-02T03:05:00Z",
        "flow_quality": "{}",
        "random_weights": "[]",
        "stages": '["fixations", "time"]',
        "fingerprints": json.dumps({"fixations": "e" * 64, "time": "f" * 64}),
    }


def test_a_quarantined_video_tells_why_and_keeps_what_it_has() -> None:
    row = index_row("002", None, {"time": TIME}, BAD)
    assert (row["status"], row["reason"]) == ("quarantined", BAD.reason)
    assert row["frames"] == 783


def test_the_index_is_read_back_as_written(location: Location) -> None:
    assert read_index(location) is None
    written = write_index(location, rows())
    found = read_index(location)
    assert found is not None
    pd.testing.assert_frame_equal(found, written)
    assert list(found.columns) == list(COLUMNS)
    assert found.status.tolist() == ["complete", "quarantined", "pending"]
    assert found.frames.dtype == "Int64"
    assert found.frames.isna().tolist() == [False, True, True]
    write_index(location, rows()[:1])
    assert len(read_index(location)) == 1  # type: ignore[arg-type]


def test_what_is_missing_is_missing_and_no_text() -> None:
    table = write_index(Location("memory://index-missing"), rows()[1:])
    assert table.completed_at.isna().all()
    nameless = write_index(Location("memory://index-missing"), [index_row("x", None, {}, None)])
    assert nameless.split.isna().all()


def test_an_index_without_videos_keeps_its_columns(location: Location) -> None:
    write_index(location, [])
    found = read_index(location)
    assert found is not None
    assert (len(found), list(found.columns)) == (0, list(COLUMNS))
    assert found.frames.dtype == "Int64"


def test_any_parquet_reader_reads_it(location: Location) -> None:
    import pyarrow.parquet

    write_index(location, rows())
    content = location.read("index.parquet")
    assert content is not None
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    assert table.column("video").to_pylist() == ["002", "003", "701"]
    assert table.column("frames").to_pylist() == [783, None, None]


def test_it_is_read_as_pandas_reads_it(location: Location) -> None:
    write_index(location, rows())
    content = location.read("index.parquet")
    assert content is not None
    found = read_index(location)
    assert found is not None
    pd.testing.assert_frame_equal(found, pd.read_parquet(io.BytesIO(content)).astype(COLUMNS))


def test_a_damaged_index_for_which_nothing_vouches_is_not_believed(location: Location) -> None:
    write_index(location, rows())
    location.delete(VOUCHER)
    content = location.read("index.parquet")
    assert content is not None
    assert read_index(location) is not None
    half = len(content) // 2
    for damaged in (b"", b"PAR1", content[:half], content[half:], content[:-20] + bytes(20)):
        location.write("index.parquet", damaged)
        assert read_index(location) is None


def test_the_written_format_names_every_column() -> None:
    text = (Path(__file__).parents[2] / "docs/store-format.md").read_text("utf-8")
    assert [column for column in COLUMNS if f"`{column}`" not in text] == []


@pytest.mark.parametrize(
    ("parameters", "untrained"),
    [
        ({"method": "raft", "weights": "random"}, True),
        ({"method": "auto", "weights": None, "estimator": {"weights": "random", "seed": 0}}, True),
        ({"window": 79, "weights_flow": "random:3"}, True),
        ({"network": "salema", "weights": {"weights": "random"}}, True),
        ({"method": "raft", "weights": "sintel", "estimator": {"weights_sha256": "0" * 64}}, False),
        ({"method": "tvl1", "weights": None}, False),
    ],
)
def test_random_weights_are_told(parameters: dict[str, Any], untrained: bool) -> None:
    mark = replace(TIME, stage="x", identity={"stage": "x", "parameters": parameters})
    assert mark.random_weights is untrained
    row = index_row("002", None, {"time": TIME, "x": mark}, None)
    assert json.loads(row["random_weights"]) == (["x"] if untrained else [])
