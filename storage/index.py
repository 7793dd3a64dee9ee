"""``index.parquet``: one row a video, so that ten thousand videos are listed by one read."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from foveal.errors import StoreError
from foveal.extras import needing
from foveal.storage.contents import told_of_arrays
from foveal.storage.digests import sealed, sha256_of_bytes, sha256_of_object, unsealed
from foveal.storage.location import Location
from foveal.storage.marks import Mark, Quarantine, read_journal_with_damage
from foveal.storage.names import OF_STORE
from foveal.storage.schema import INDEX, JOURNAL
from foveal.storage.wanted import read_wanted

if TYPE_CHECKING:
    import pandas as pd

VOUCHER = f"{OF_STORE}/index"
"""Holds the SHA-256 of the index, and whether nothing was built since."""

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
    "arrays": "str",
}
"""Columns and pandas dtypes."""

JSON_COLUMNS = ("flow_quality", "random_weights", "stages", "fingerprints")
"""Columns that hold JSON: figures by stage, names of stages, and hashes by stage."""

ARRAYS = "arrays"
"""Column with what each array is, see `foveal.storage.contents`; older indexes lack it."""


def index_row(
    video: str,
    split: str | None,
    marks: Mapping[str, Mark],
    quarantine: Quarantine | None,
    wanted: Collection[str] | None = (),
) -> dict[str, Any]:
    """What the index says of one video.

    ``status`` is ``complete`` where every wanted stage is, ``quarantined`` (see ``reason``; earlier
    stages may still be whole), ``partial`` where a wanted stage is missing or nobody knows which
    are wanted (None), or ``pending`` where nothing is done yet.
    """
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row["video"], row["split"], row["reason"] = video, split, ""
    row["status"] = "partial" if marks else "pending"
    if "time" in marks and wanted is not None and set(wanted) <= marks.keys():
        row["status"] = "complete"
    if quarantine is not None:
        row["status"], row["reason"] = "quarantined", quarantine.reason
    for facts, stage in ((_timeline, "time"), (_points, "fixations")):
        if stage in marks:
            # What a mark of another's making does not say, or says oddly, is not known.
            with suppress(LookupError, TypeError, ValueError, ZeroDivisionError):
                row |= facts(marks[stage])
    if marks:
        row["stored_bytes"] = sum(mark.stored_bytes for mark in marks.values())
        seconds = [mark.provenance.get("compute_seconds") for mark in marks.values()]
        row["compute_seconds"] = sum(each for each in seconds if isinstance(each, int | float))
        times = [str(mark.provenance.get("completed_at", "")) for mark in marks.values()]
        row["completed_at"] = max(times) or None
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
    row[ARRAYS] = told_of_arrays(marks)
    row["fingerprints"] = json.dumps({name: marks[name].fingerprint for name in sorted(marks)})
    return row


def _timeline(mark: Mark) -> dict[str, Any]:
    about = mark.provenance["video"]
    fps = float(about["fps"])
    height_px, width_px = map(int, about["source_size"])
    return {
        "split": None if about["split"] is None else str(about["split"]),
        "fps": fps,
        "height_px": height_px,
        "width_px": width_px,
        "frames": mark.arrays["time"]["shape"][0],
        "duration_seconds": float(mark.provenance["last_pts_seconds"]) + 1 / fps,
    }


def _points(mark: Mark) -> dict[str, Any]:
    return {
        "fixations": mark.arrays["fixation_frame"]["shape"][0],
        "empty_frames": int(mark.provenance["empty_frames"]),
    }


def write_index(
    location: Location, rows: Iterable[Mapping[str, Any]], *, current: bool = True
) -> pd.DataFrame:
    """Write the index anew, and vouch for it; gives it as it will be read.

    Parameters
    ----------
    location : Location
    rows : iterable of mapping
        See `index_row`.
    current : bool
        False where others are still building: readers then ask the journal.
    """
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(COLUMNS)
    with needing("build"):
        import pyarrow  # noqa: F401  pandas would not say which package brings it
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    location.write(INDEX, content.getvalue())
    _vouch(location, sha256_of_bytes(content.getvalue()), current=current)
    return table


def read_index(location: Location) -> pd.DataFrame | None:
    """The index as it was written last, None where there is none that can be believed."""
    try:
        content = location.read(INDEX)
        if content is None:
            return None
        sha256 = _voucher(location).get("sha256")
        if sha256 not in (None, sha256_of_bytes(content)):
            return None
        table = _read_parquet(content)
        if ARRAYS not in table:
            table[ARRAYS] = None
        table = table.astype(COLUMNS)
        if sha256 is None:
            for column in JSON_COLUMNS:
                table[column].map(json.loads)
    except StoreError as error:
        if isinstance(error.__cause__, Exception):
            location.check_lost(error.__cause__, INDEX)
        return None
    except (OSError, ValueError, TypeError, LookupError, OverflowError):
        return None
    return table[list(COLUMNS)]


def _read_parquet(content: bytes) -> pd.DataFrame:
    """Columns of a Parquet file as plain Python values.

    Raises
    ------
    ValueError
        It is no Parquet file, or a damaged one.
    """
    import pandas as pd
    from arro3.io import read_parquet

    try:
        table = read_parquet(io.BytesIO(content)).read_all()
        return pd.DataFrame({name: table[name].to_pylist() for name in table.column_names})
    except BaseException as error:
        # The reader answers damaged files by a panic, which is no Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(f"it cannot be read: {error}") from error
        raise


def distrust_index(location: Location) -> None:
    """Note that something is about to change what the index says.

    Done when the lock is taken, undone by `write_index`: readers of a build under way, or of one
    that was killed, ask the journal, whatever the clocks of the machines say.
    """
    try:
        sha256 = _voucher(location).get("sha256") or sha256_of_object(location, INDEX)
    except StoreError:
        sha256 = ""
    if sha256 is not None:
        _vouch(location, sha256, current=False)


def index_is_current(location: Location) -> bool:
    """Whether nothing was built since the index was written."""
    try:
        current = bool(_voucher(location).get("current", True))
    except StoreError:
        return False
    return current and not _began_later(location)


def vouched_index(location: Location) -> bool:
    """Whether the index was vouched for, and nothing took the lock since."""
    try:
        values = _voucher(location)
    except StoreError:
        return False
    return bool(values.get("sha256")) and bool(values["current"])


def index_lacks_digest(location: Location) -> bool:
    """Whether nothing says what the index was when it was written, as in the first edition."""
    try:
        return not _voucher(location) and location.read(INDEX) is not None
    except StoreError:
        return False


def index_problem(location: Location) -> tuple[str, str] | None:
    """The object and what is wrong with it, None where the index is as it was written."""
    key = VOUCHER
    try:
        sha256 = _voucher(location).get("sha256")
        key = INDEX
        found = sha256_of_object(location, INDEX)
    except StoreError as error:
        if isinstance(error.__cause__, Exception):
            location.check_lost(error.__cause__, key)
        return key, str(error)
    if sha256 is None:
        whole = found is None or read_index(location) is not None
        return None if whole else (INDEX, f"{INDEX} cannot be read")
    if found is None:
        return INDEX, f"{INDEX} is missing"
    return None if found == sha256 else (INDEX, f"{INDEX} is not what was written")


def index_from_journal(location: Location) -> pd.DataFrame:
    """The index as the journal has it this very moment; writes nothing.

    Of the former index, where it can be believed, it keeps which videos there are, their split,
    and what the journal cannot tell: that a video failed and why.
    """
    import pandas as pd

    journal = read_journal_with_damage(location)
    try:
        wanted = read_wanted(location)
    except StoreError:
        wanted = {}
    table = read_index(location)
    former = {} if table is None else {row["video"]: row for row in table.to_dict("records")}
    names = former.keys() | journal.marks.keys() | journal.quarantined.keys()
    names |= {damage.video for damage in journal.damaged}
    rows = []
    for video in sorted(names):
        before = former.get(video)
        split = None if before is None or pd.isna(before["split"]) else before["split"]
        marks = journal.marks.get(video, {})
        row = index_row(video, split, marks, journal.quarantined.get(video), wanted.get(video))
        if before is not None and _untouched(before, row):
            unknown = video not in wanted and row["status"] == "partial"
            if before["status"] == "failed" or (unknown and before["status"] == "complete"):
                row["status"], row["reason"] = before["status"], before["reason"]
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def update_index(location: Location) -> pd.DataFrame:
    """Write the index anew from the journal; gives it as it will be read."""
    return write_index(location, index_from_journal(location).to_dict("records"))  # type: ignore[arg-type]


def refresh_index(location: Location, videos: Iterable[str]) -> None:
    """Bring the index up to date after stages were added to these videos.

    A store that is being built for the first time has no index yet: nothing is written then. Rows
    of other videos are of the journal as well: a build may have been killed before.
    """
    if any(True for _ in videos) and location.read(INDEX) is not None:
        update_index(location)


def _untouched(before: Mapping[Any, Any], now: Mapping[str, Any]) -> bool:
    """Whether every stage that was complete still is, as it was."""
    old, new = json.loads(before["fingerprints"]), json.loads(now["fingerprints"])
    return now["status"] != "quarantined" and all(new.get(key) == old[key] for key in old)


def _vouch(location: Location, sha256: str, *, current: bool) -> None:
    location.write_json(VOUCHER, sealed({"sha256": sha256, "current": current}))


def _voucher(location: Location) -> dict[str, Any]:
    """What was noted of the index; empty for stores of the first edition.

    Raises
    ------
    StoreError
        Where the note is damaged.
    """
    content = location.read(VOUCHER)
    if content is None:
        return {}
    try:
        values = unsealed(json.loads(content))
        return {"sha256": str(values["sha256"]), "current": bool(values["current"])}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise StoreError(f"{location}/{VOUCHER} is damaged ({error!r})") from None


def _began_later(location: Location) -> bool:
    """Whether a build took the lock of a local store after the index was written."""
    if location.local is None:
        return False
    lock, index = location.local / JOURNAL / "lock", location.local / INDEX
    try:
        return lock.stat().st_mtime_ns > index.stat().st_mtime_ns
    except OSError:
        return False
