"""Logs of builds: one JSON object per line and event, kept beside the journal."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from foveal.storage.location import Location
from foveal.storage.schema import JOURNAL

LOGS = f"{JOURNAL}/%store/log"
_PART_LINES = 500
_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}(\.\d{4})?\.jsonl")


class EventLog:
    """Events of one process, in the order in which they came.

    On a disk lines are appended as they come. Objects of other stores cannot grow: there lines are
    put together into numbered parts, of at most 500 lines each, at every `flush`.

    Parameters
    ----------
    location : Location
    writer : str
        Who writes, eight hexadecimal digits.
    """

    def __init__(self, location: Location, writer: str) -> None:
        self._location = location
        self._name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{writer[:8]}"
        self._waiting: list[str] = []
        self._part = 0
        self._lock = threading.Lock()

    def write(self, event: str, **about: Any) -> None:
        """Note an event; its time is added.

        Raises
        ------
        StoreUnreachable
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"at": now, "event": event, **about}, ensure_ascii=False)
        with self._lock:
            self._waiting.append(line)
            if self._location.local is not None or len(self._waiting) >= _PART_LINES:
                self._put()

    def flush(self) -> None:
        """Bring every line into the store.

        Raises
        ------
        StoreUnreachable
        """
        with self._lock:
            if self._waiting:
                self._put()

    def _put(self) -> None:
        text = "".join(f"{line}\n" for line in self._waiting)
        if self._location.local is None:
            self._location.write(f"{LOGS}/{self._name}.{self._part:04d}.jsonl", text.encode())
            self._part += 1
        else:
            key = self._location.owned(f"{LOGS}/{self._name}.jsonl")
            with self._location.reaching(key):
                path = self._location.local / key
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(text)
        self._waiting.clear()


def log_names(location: Location) -> list[str]:
    """Names of all logs, the oldest first."""
    return [name for name in location.list_folder(LOGS) if _NAME.fullmatch(name)]


def read_log(location: Location, name: str) -> list[Mapping[str, Any]]:
    """Events of a log; lines that are cut off or garbled are left out."""
    events: list[Mapping[str, Any]] = []
    for line in (location.read(f"{LOGS}/{name}") or b"").splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return events
