"""Guess the meaning of the columns in a table of gaze beside videos of an unknown dataset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from foveal.pipeline.sources.readers.files import VIDEO_SUFFIXES, file_names

_ROWS = 1_000_000
"""Number of rows that are read, from the start of the table."""

_NAMES = {
    "video": "video clip name file filename stimulus stimuli media movie videoid videoname clipid",
    "subject": "subject observer participant user viewer subjectid observerid participantid "
    "person who",
    "frame": "frame framenumber frameindex frameid frameno framenum number",
    "seconds": "seconds second time t timestamp times timesec timeseconds timems timestampms ms "
    "milliseconds onset start",
    "x": "x gx gazex xpx fixationx fixx posx xpos xpixel gazexpx xcoord pointx normx xnorm",
    "y": "y gy gazey ypx fixationy fixy posy ypos ypixel gazeypx ycoord pointy normy ynorm",
    "event": "event type label eventtype category kind what",
}
"""Headings that name each column, in lower case, without spaces and signs; the likelier first."""

_MILLISECONDS = ("ms", "milliseconds", "timems", "timestampms")


@dataclass(frozen=True)
class GazeCsv:
    """A recipe's ``gaze`` section for a table, and what a person should know about it.

    Attributes
    ----------
    section : mapping or None
        None where the table has no columns for coordinates or for frame or time.
    remarks : tuple of str
        Sentences about what was guessed, or what is missing.
    """

    section: Mapping[str, Any] | None
    remarks: tuple[str, ...]


def find_gaze_csv(root: Path, videos: Path) -> GazeCsv | None:
    """Find the table of gaze of a folder of videos: one CSV file, or one per video.

    Parameters
    ----------
    root : Path
        Folder that is searched first; the folder of the videos is searched next.
    videos : Path
        Folder of the videos.

    Returns
    -------
    GazeCsv or None
        None where there is no table, or several whose names differ from those of the videos.
    """
    stems = {Path(name).stem for name in _video_files(videos)}
    for folder in dict.fromkeys((root, videos)):
        tables = sorted(folder.glob("*.csv"))
        if tables and {table.stem for table in tables} >= stems and len(stems) > 0:
            place = (folder / "{video}.csv").relative_to(root)
            example = next(table for table in tables if table.stem in stems)
            return _described(example, str(place), videos, stems, each=True)
        if len(tables) == 1:
            place = tables[0].relative_to(root)
            return _described(tables[0], str(place), videos, stems, each=False)
    return None


def with_gaze(text: str, found: GazeCsv) -> str:
    """Add the table of gaze to the ready recipe of videos, and uncomment its last sections.

    Parameters
    ----------
    text : str
        Content of ``recipes/videos.yaml``.
    found : GazeCsv
    """
    if found.section is None:
        return text
    head = re.compile(r"^# With a table .*?(?=^dataset:)", re.MULTILINE | re.DOTALL)
    text = head.sub("", text)
    block = yaml.safe_dump({"gaze": dict(found.section)}, sort_keys=False, default_flow_style=None)
    indented = "".join(f"  {line}\n" for line in block.splitlines())
    text = re.sub(r"^(?=store:)", lambda _: indented, text, count=1, flags=re.MULTILINE)
    return re.sub(r"^# (fixations:|density:|  \w+:.*)$", r"\1", text, flags=re.MULTILINE)


def _described(table: Path, place: str, videos: Path, stems: set[str], *, each: bool) -> GazeCsv:
    import pandas as pd

    try:
        rows = pd.read_csv(table, nrows=_ROWS)
    except (OSError, ValueError) as error:
        return GazeCsv(None, (f"{table} cannot be read as a table ({error})",))
    columns = {name: _column(rows.columns, name) for name in _NAMES}
    by_value = (str(name) for name in rows.columns if stems & set(rows[name].astype(str).unique()))
    columns["video"] = next(by_value, columns["video"])
    if each or (columns["video"] is None and len(stems) == 1):
        columns["video"] = None
    if columns["frame"] is not None:
        columns["seconds"] = None
    lacking = [name for name in ("x", "y") if columns[name] is None]
    lacking += ["frame or seconds"] if not (columns["frame"] or columns["seconds"]) else []
    lacking += ["video"] if columns["video"] is None and not each and len(stems) > 1 else []
    heads = ", ".join(map(str, rows.columns))
    if lacking:
        return GazeCsv(
            None,
            (f"{table} is there too, but none of its columns ({heads}) seems to be "
             f"{', '.join(lacking)}; name them in the recipe's gaze section (docs/datasets.md)",),
        )  # fmt: skip
    section: dict[str, Any] = {"path": place, "columns": columns}
    remarks = [f"{table}: gaze; check the recipe's gaze section against its columns: {heads}"]
    x, y = (rows[columns[name]] for name in "xy")
    if max(x.max(), y.max()) <= 1.5:
        section["units"] = "fraction"
        remarks.append("its coordinates are within 0 … 1: taken as fractions of the picture")
    if columns["frame"] is not None:
        first = int(rows[columns["frame"]].min())
        section["first_frame"] = 1 if first == 1 else 0
        remarks.append(f"its lowest frame number is {first}: frames count from {min(first, 1)}")
    else:
        section["fps"] = _fps(videos)
        if _plain(columns["seconds"]) in _MILLISECONDS:
            section["seconds_per_unit"] = 0.001
        remarks.append("the fps of the first video turns its times into frames")
    remarks += _of_events(rows, columns, section)
    if columns["video"] is not None:
        named = {str(value) for value in rows[columns["video"]].unique()}
        if not named & stems:
            own, there = (", ".join(sorted(names)[:3]) for names in (named, stems))
            remarks.append(
                f"it names videos {own}, …, but the files are {there}, …: make the names the same, "
                "without suffix"
            )
    return GazeCsv(section, tuple(remarks))


def _of_events(rows: Any, columns: dict[str, Any], section: dict[str, Any]) -> Iterator[str]:
    """Find the event of fixations; forget the column where no value looks like one."""
    if columns["event"] is None:
        return
    kinds = [str(kind) for kind in rows[columns["event"]].dropna().unique()]
    kept = next((kind for kind in kinds if kind.lower().startswith("fix")), None)
    if kept is None:
        columns["event"] = None
        return
    section["fixation_event"] = kept
    yield f"only rows of {kept!r} are kept, of {', '.join(kinds)}"


def _column(heads: Any, name: str) -> str | None:
    """The likeliest heading of a column."""
    by_plain = {_plain(head): str(head) for head in reversed(list(heads))}
    return next((by_plain[one] for one in _NAMES[name].split() if one in by_plain), None)


def _plain(head: object) -> str:
    return re.sub(r"[^a-z]", "", re.sub(r"\[.*?\]|\(.*?\)", "", str(head).lower()))


def _fps(videos: Path) -> float:
    """Frame rate of the first video; 25 where it cannot be opened, as `foveal check` reports."""
    from foveal.errors import FovealError
    from foveal.pipeline.video.probe import probe
    from foveal.pipeline.video.types import Video

    first = videos / _video_files(videos)[0]
    try:
        return round(float(probe(Video(first.stem, None, first)).fps), 6)
    except FovealError:
        return 25.0


def _video_files(folder: Path) -> list[str]:
    return [name for name in file_names(folder) if name.lower().endswith(VIDEO_SUFFIXES)]
