"""Where the time of a video goes while its stages are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INPUT = "decoder"
"""Waiting for what stages read: the disk and the decoder, or arrays of the store."""

WRITER = "writer"
"""Waiting for what was made to be on disk: encoding and writing."""


@dataclass
class Meter:
    """Seconds by what the calling thread did; it does one thing at a time.

    Attributes
    ----------
    seconds : dict of str to float
        Spent in each stage, by its name, and waiting for `INPUT` and `WRITER`.
    frames : int
        Frames done in that time.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    frames: int = 0

    def add(self, what: str, seconds: float) -> None:
        """Count seconds."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def join(self, other: Meter) -> None:
        """Count another's seconds and frames too."""
        for what, seconds in list(other.seconds.items()):
            self.add(what, seconds)
        self.frames += other.frames

    @property
    def slowest(self) -> str | None:
        """What took longest; None before anything was counted."""
        return max(self.seconds, key=self.seconds.__getitem__, default=None)

    def shares(self) -> dict[str, float]:
        """Share of the whole time by what it went to, the largest first."""
        whole = sum(self.seconds.values()) or 1.0
        found = sorted(self.seconds.items(), key=lambda item: (-item[1], item[0]))
        return {what: seconds / whole for what, seconds in found}

    def frames_per_second(self) -> dict[str, float]:
        """Frames per second that each would do alone, the slowest first."""
        rates = {what: self.frames / seconds for what, seconds in self.seconds.items() if seconds}
        return dict(sorted(rates.items(), key=lambda item: (item[1], item[0])))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        seconds = {what: round(spent, 3) for what, spent in list(self.seconds.items())}
        return {"frames": self.frames, "seconds": seconds}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Meter:
        """A meter again, from what `to_dict` gave.

        Raises
        ------
        ValueError, TypeError, LookupError
            Where it is something else.
        """
        seconds = {str(what): float(spent) for what, spent in values["seconds"].items()}
        return cls(seconds, int(values["frames"]))
