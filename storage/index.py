"""``index.parquet``: one row a video, so that ten thousand videos are listed by one read."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from foveal.storage.location import Location
from foveal.storage.marks import Mark, Quarantine, read_journal
from foveal.storage.schema import INDEX

COLUMNS = {
    "video": "str",
    "split": "str",
    "status": "str",
    "reason": "str",
    "frames": "Int64",
    "fps": "Float64",
    "height_px": "Int64",
    "width_px": "Int64",
    "duration_seconds": "Float64",
    "fixations": "Int64",
    "empty_frames": "Int64",
    "stored_bytes": "Int64",
    "compute_seconds": "Float64",
    "completed_at": "str",
    "flow_quality": "str",
    "random_weights": "str",
    "stages": "str",
    "fingerprints": "str",
}
"""Columns and pandas dtypes."""

JSON_COLUMNS = ("flow_quality", "random_weights", "stages", "fingerprints")
"""Columns that hold JSON: figures by stage, names of stages, and hashes by stage."""


def index_row(
    video: str,
    split: str | None,
    marks: Mapping[str, Mark],
    quarantine: Quarantine | None,
    wanted: Collection[str] = (),
) -> dict[str, Any]:
    """What the index says of one video.

    ``status`` is ``complete`` where every wanted stage is, ``quarantined`` (see ``reason``; earlier
    stages may still be whole), ``partial`` where a wanted stage is missing, or ``pending`` where
    nothing is done yet.
    """
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row["video"], row["split"], row["reason"] = video, split, ""
    row["status"] = "partial" if marks else "pending"
    if "time" in marks and set(wanted) <= marks.keys():
        row["status"] = "complete"
    if quarantine is not None:
        row["status"], row["reason"] = "quarantined", quarantine.reason
    if "time" in marks:
        about = marks["time"].provenance["video"]
        row["split"], row["fps"] = about["split"], about["fps"]
        row["height_px"], row["width_px"] = about["source_size"]
        row["frames"] = marks["time"].arrays["time"]["shape"][0]
        last_pts_seconds = marks["time"].provenance["last_pts_seconds"]
        row["duration_seconds"] = last_pts_seconds + 1 / row["fps"]
    if "fixations" in marks:
        row["fixations"] = marks["fixations"].arrays["fixation_frame"]["shape"][0]
        row["empty_frames"] = marks["fixations"].provenance["empty_frames"]
    if marks:
        row["stored_bytes"] = sum(mark.stored_bytes for mark in marks.values())
        row["compute_seconds"] = sum(
            mark.provenance.get("compute_seconds", 0.0) for mark in marks.values()
        )
        row["completed_at"] = max(mark.provenance["completed_at"] for mark in marks.values())
    quality = {
        name: mark.provenance["quality"]
        for name, mark in marks.items()
        if "quality" in mark.provenance
    }
    row["flow_quality"] = json.dumps(quality)
    row["random_weights"] = json.dumps(
        sorted(name for name, mark in marks.items() if mark.random_weights)
    )
    row["stages"] = json.dumps(sorted(marks))
    row["fingerprints"] = json.dumps({name: marks[name].fingerprint for name in sorted(marks)})
    return row


def write_index(location: Location, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Write the index anew; gives it as it will be read."""
    table = pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(COLUMNS)
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    location.write(INDEX, content.getvalue())
    return table


_OF_ALL_STAGES = (
    "random_weights",
    "stages",
    "fingerprints",
    "stored_bytes",
    "compute_seconds",
    "completed_at",
)


def refresh_index(location: Location, videos: Iterable[str]) -> None:
    """Bring these videos' rows up to date with their marks, after stages were added to them.

    A store that is being built for the first time has no index yet: nothing is written then.
    """
    table = read_index(location)
    if table is None:
        return
    marks, quarantined = read_journal(location, videos)
    rows = []
    for record in table.to_dict("records"):
        row = {str(column): value for column, value in record.items()}
        video = str(row["video"])
        if video in marks and video not in quarantined:
            now = index_row(video, row["split"], marks[video], None)
            row |= {column: now[column] for column in _OF_ALL_STAGES}
        rows.append(row)
    write_index(location, rows)


def read_index(location: Location) -> pd.DataFrame | None:
    """The index, None where the store has none yet (its first build is under way)."""
    content = location.read(INDEX)
    return None if content is None else pd.read_parquet(io.BytesIO(content))
