"""This module reads what ffmpeg says while it decodes: the times of the frames, and its complaints.

Each pipe has a thread that reads it line by line, so that ffmpeg never waits for a full pipe.
"""

from __future__ import annotations

import functools
import queue
import re
import threading
from fractions import Fraction
from typing import IO

import av

_LOG_LINE = re.compile(
    r"^(?:\[[^]]* @ [^]]*\] )*?(?:\[(?P<context>[^]]*) @ [^]]*\] )?"
    r"\[(?P<level>panic|fatal|error|warning)\] (?P<message>.*)$"
)
_FRAME = re.compile(rb"^frame: *(\d+) +pts: *(-?\d+|NOPTS) ")
_MAX_COMPLAINTS = 5


class _Reader(threading.Thread):
    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(name=f"ffmpeg_{type(self).__name__.lower()}", daemon=True)
        self._pipe = pipe
        self.start()

    def run(self) -> None:
        with self._pipe:
            for line in self._pipe:
                self._read(line)

    def _read(self, line: bytes) -> None:
        raise NotImplementedError


class Clock(_Reader):
    """Read the presentation times of the frames from `pipe`.

    ffmpeg's ``metadata`` filter writes them, in units of `time_base` seconds.

    Attributes
    ----------
    starts : int
        How often frames were counted from 0: ffmpeg sets up its filters again for a new size.
    """

    def __init__(self, pipe: IO[bytes], time_base: Fraction) -> None:
        self.starts = 0
        self._time_base = time_base
        self._times: queue.Queue[Fraction | None] = queue.Queue()
        super().__init__(pipe)

    def take(self, count: int) -> list[Fraction]:
        """Return the next `count` times in seconds; fewer if one is missing or the pipe ended."""
        times: list[Fraction] = []
        while len(times) < count:
            time = self._times.get()
            if time is None:
                self._times.put(None)
                break
            times.append(time)
        return times

    def run(self) -> None:
        super().run()
        self._times.put(None)

    def _read(self, line: bytes) -> None:
        if frame := _FRAME.match(line):
            self.starts += int(frame[1]) == 0
            self._times.put(None if frame[2] == b"NOPTS" else int(frame[2]) * self._time_base)


class Log(_Reader):
    """Count the complaints of the demuxer and of the video decoder, read from `pipe`.

    Attributes
    ----------
    complaint_count : int
        Number of complaints.
    complaints : list of str
        The first of them.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self.complaint_count = 0
        self.complaints: list[str] = []
        super().__init__(pipe)

    def _read(self, line: bytes) -> None:
        found = _LOG_LINE.match(line.decode("utf-8", "replace").rstrip())
        if found is None or _decodes_audio(found["context"] or ""):
            return
        if found["level"] == "warning" and "corrupt" not in found["message"]:
            return
        self.complaint_count += 1
        if len(self.complaints) < _MAX_COMPLAINTS:
            self.complaints.append(found["message"])


@functools.cache
def _decodes_audio(context: str) -> bool:
    # ffmpeg also starts audio decoders, to learn the format; their complaints do not count.
    try:
        return av.codec.Codec(context, "r").type == "audio"
    except ValueError:
        return False
