"""Collect the progress of a store's builds, on any machine, from their processes' records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from foveal.errors import StoreError
from foveal.pipeline.stages.meter import Meter
from foveal.storage.holders import Holder, Watch
from foveal.storage.index import index_from_journal
from foveal.storage.location import Location
from foveal.storage.log import log_names, read_log
from foveal.storage.wanted import read_wanted


def build_status(location: Location) -> dict[str, Any]:
    """Report what is done, what is at work and where, how fast, and the time left.

    Parameters
    ----------
    location : Location

    Returns
    -------
    dict
        Plain JSON types. ``processes``: who is at work (``host``, ``pid``, ``doing``,
        ``running_seconds``). ``videos``: counts by status, of the whole store. ``at_work``: by
        video ``frames``, ``expected`` (None: unknown), ``seconds``, ``slowest`` (what takes longest
        in it), ``process``. ``shares`` and ``frames_per_second``: by stage, and for waiting for the
        ``decoder`` and the ``writer``, over everything since these builds began; the slowest first.
        ``left_seconds``: an estimate, None where nothing is known. ``last``: the last event of the
        latest log where nobody is at work, else None.

    Notes
    -----
    A process renews its record every ten seconds. One that died on another machine is listed until
    its record has not changed for its lease while another process watched.
    """
    holders = Watch(location).living(remove=False)
    planners = [holder for holder in holders if _number(holder.about, "to_do", "videos")]
    table = index_from_journal(location)
    counts = Counter(map(str, table["status"]))
    with suppress(StoreError):
        if begun := len(read_wanted(location).keys() - set(table["video"])):
            counts["pending"] += begun
    meter = Meter()
    for holder in planners:
        meter.join(_meter(holder))
    at_work = _at_work(holders)
    return {
        "processes": [
            {
                "host": holder.host,
                "pid": holder.pid,
                "doing": str(holder.about.get("doing", "unknown")),
                "running_seconds": _number(holder.about, "running_seconds"),
            }
            for holder in holders
        ],
        "videos": {"all": sum(counts.values()), **dict(sorted(counts.items()))},
        "at_work": at_work,
        "shares": meter.shares(),
        "frames_per_second": meter.frames_per_second(),
        "left_seconds": _left_seconds(planners, counts),
        "last": None if holders else _last_event(location),
    }


def _at_work(holders: Sequence[Holder]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    # The process of a flow knows of the videos of its workers; they say better where these are.
    for holder in sorted(holders, key=lambda one: -_number(one.about, "to_do", "videos")):
        videos = holder.about.get("at_work")
        for video, values in (videos if isinstance(videos, dict) else {}).items():
            if isinstance(values, dict):
                found[str(video)] = {
                    "frames": int(_number(values, "frames")),
                    "expected": int(_number(values, "expected")) or None,
                    "seconds": _number(values, "seconds"),
                    "slowest": str(values.get("slowest") or "") or None,
                    "process": str(holder),
                }
    return found


def _left_seconds(planners: Sequence[Holder], counts: Mapping[str, int]) -> float | None:
    """From bytes of raw video where one build knows all of them, else from counts of videos."""
    if len(planners) == 1:
        about = planners[0].about
        whole = _number(about, "to_do", "bytes")
        done = _number(about, "ended", "bytes")
        at_work = about.get("at_work")
        for values in (at_work if isinstance(at_work, dict) else {}).values():
            expected = _number(values, "expected")
            if expected:
                share = min(1.0, _number(values, "frames") / expected)
                done += share * _number(values, "bytes")
        seconds = _number(about, "running_seconds")
        return round(seconds * (whole - done) / done, 1) if done > 0 else None
    rate = 0.0
    for holder in planners:
        ended = holder.about.get("ended")
        videos = ended.get("videos") if isinstance(ended, dict) else None
        count = sum(videos.values()) if isinstance(videos, dict) else 0
        rate += count / max(1.0, _number(holder.about, "running_seconds"))
    left = counts.get("pending", 0) + counts.get("partial", 0)
    return round(left / rate, 1) if rate else None


def _last_event(location: Location) -> Mapping[str, Any] | None:
    names = log_names(location)
    events = read_log(location, names[-1]) if names else []
    return events[-1] if events else None


def _meter(holder: Holder) -> Meter:
    try:
        return Meter.of(holder.about["meter"])
    except (ValueError, TypeError, LookupError, AttributeError):
        return Meter()


def _number(values: object, *keys: str) -> float:
    """A number in nested mappings of somebody else's making; 0 where there is none."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return float(values) if isinstance(values, int | float) else 0.0
