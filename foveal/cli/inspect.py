"""This module holds ``foveal inspect``, which shows the content of a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.console import Json, out, print_json, print_table
from foveal.errors import StoreError
from foveal.units import size_text, time_text

if TYPE_CHECKING:
    from foveal.storage.location import Location
    from foveal.storage.marks import Mark


def inspect(
    store: Annotated[str, typer.Argument(help="Path or URL of the store.")],
    video: Annotated[str | None, typer.Argument(help="Id of one video.")] = None,
    as_json: Json = False,
) -> None:
    """Show a store's videos, or the arrays and provenance of one of them."""
    from foveal.storage.location import Location
    from foveal.storage.root import check_format

    location = Location(store, read_only=True)
    attributes = check_format(location)
    if attributes is None:
        raise StoreError(f"there is no store at {store}; `foveal build` makes one")
    if video is None:
        _whole(location, attributes, as_json)
    else:
        _one(location, video, as_json)


def _whole(location: Location, attributes: dict[str, Any], as_json: bool) -> None:
    from foveal.storage.index import JSON_COLUMNS, index_from_journal
    from foveal.storage.lost import read_damage
    from foveal.storage.reader import open_store

    damaged = read_damage(location)
    table = open_store(location.url).videos
    if damaged:
        # The index does not know of the damage.
        table = index_from_journal(location).set_index("video")
        for column in JSON_COLUMNS:
            table[column] = table[column].map(json.loads)
    rows = json.loads(table.reset_index().to_json(orient="records"))
    if as_json:
        about = {"store": location.url, **attributes, "videos": rows}
        print_json({**about, "damaged": [vars(damage) for damage in damaged]})
        return
    print_table(
        f"{location}: {attributes['dataset']}",
        ("video", "split", "status", "frames", "fps", "size", "fixations", "stored", "reason"),
        [
            (
                row["video"],
                row["split"],
                row["status"],
                row["frames"],
                None if row["fps"] is None else f"{row['fps']:.5g}",
                None if row["width_px"] is None else f"{row['width_px']}x{row['height_px']}",
                row["fixations"],
                size_text(row["stored_bytes"]),
                row["reason"],
            )
            for row in rows
        ],
        numbers="frames fps fixations stored",
    )
    total = sum(row["stored_bytes"] or 0 for row in rows)
    frames = sum(row["frames"] or 0 for row in rows)
    out.print(f"{len(rows)} videos, {frames} frames, {size_text(total)}")
    untrained = sorted({stage for row in rows for stage in row["random_weights"]})
    if untrained:
        out.print(f"computed by random weights, only for trials: {', '.join(untrained)}")
    for damage in damaged:
        out.print(damage.reason, markup=False, soft_wrap=True)


def _one(location: Location, video: str, as_json: bool) -> None:
    from foveal.storage.lost import read_damage
    from foveal.storage.marks import read_journal_with_damage

    journal = read_journal_with_damage(location, [video])
    marks, quarantined = journal.marks, journal.quarantined
    damaged = read_damage(location, [video], journal)
    record = quarantined.get(video)
    found = {m.stage: m for m in sorted(marks.get(video, {}).values(), key=_reading_order)}
    if not found and record is None and not damaged:
        raise StoreError(
            f"{location} has nothing of a video {video!r}; `foveal inspect {location}` lists all"
        )
    if as_json:
        about = {name: vars(mark) for name, mark in found.items()}
        shown = {"video": video, "quarantine": record and vars(record), "stages": about}
        print_json({**shown, "damaged": [vars(damage) for damage in damaged]})
        return
    for damage in damaged:
        out.print(f"{damage.reason}\n", markup=False, soft_wrap=True)
    if record is not None:
        out.print(f"{video} is quarantined: {record.reason}\n", markup=False)
    print_table(
        video,
        ("array", "kind", "per", "dims", "shape", "dtype", "stage", "fingerprint"),
        [
            (
                info.name,
                " ".join(filter(None, (info.kind, info.role and f"({info.role})"))),
                f"kept {info.axis}" if info.source_frames else info.axis,
                ", ".join(info.dims),
                "x".join(map(str, info.shape)),
                info.dtype,
                mark.stage,
                mark.fingerprint[:12],
            )
            for mark in found.values()
            for info in mark.infos.values()
        ],
    )
    out.print()
    print_table(
        "stages",
        ("stage", "completed", "compute", "stored", "notes"),
        [
            (
                mark.stage,
                mark.provenance.get("completed_at"),
                time_text(mark.provenance.get("compute_seconds")),
                size_text(mark.stored_bytes),
                _notes(mark),
            )
            for mark in found.values()
        ],
        numbers="compute stored",
    )


def _reading_order(mark: Mark) -> tuple[int, bool, str]:
    """Sort the timeline and pictures first, then by `KINDS`; predictions after ground truth."""
    from foveal.storage.kinds import KINDS

    kinds, infos = list(KINDS), list(mark.infos.values())
    if any(info.role == "timeline" for info in infos):
        return -1, False, mark.stage
    place = min(
        (kinds.index(info.kind) for info in infos if info.kind in kinds), default=len(kinds)
    )
    return place, any(info.role == "prediction" for info in infos), mark.stage


def _notes(mark: Mark) -> str:
    """Return counts and choices worth a look; the whole provenance is in --json."""
    known = ("parameters", "contents", "source_sha256", "software", "video", "upstream")
    parts = ["random weights"] if mark.random_weights else []
    for key, value in mark.provenance.items():
        if key in known or key in ("stored_bytes", "wall_seconds", "completed_at"):
            continue
        if isinstance(value, dict):
            counts = {name: each for name, each in value.items() if not isinstance(each, dict)}
            value = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        if isinstance(value, str | int | float) and key != "compute_seconds" and value != "":
            parts.append(f"{key.replace('_', ' ')}: {value}")
    return "; ".join(parts)
