"""This module measures which stage, or which waiting, takes the time of a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INPUT = "decoder"
"""Time spent waiting for input: the disk and the decoder, or arrays of the store."""

WRITER = "writer"
"""Time spent waiting until items are on disk: encoding and writing."""


@dataclass
class Meter:
    """Count what the calling thread spends its time on.

    Attributes
    ----------
    seconds : dict of str to float
        Time in each stage, by its name, and waiting for `INPUT` and `WRITER`.
    frames : int
        Frames done in that time.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    frames: int = 0

    def add(self, what: str, seconds: float) -> None:
        """Add `seconds` to `what`: the name of a stage, `INPUT` or `WRITER`."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def join(self, other: Meter) -> None:
        """Add the seconds and frames of the meter `other`."""
        for what, seconds in list(other.seconds.items()):
            self.add(what, seconds)
        self.frames += other.frames

    @property
    def slowest(self) -> str | None:
        """Name of what took longest; None before anything was counted."""
        return max(self.seconds, key=self.seconds.__getitem__, default=None)

    def shares(self) -> dict[str, float]:
        """Return the share of the whole time that each name took, the largest first."""
        whole = sum(self.seconds.values()) or 1.0
        found = sorted(self.seconds.items(), key=lambda item: (-item[1], item[0]))
        return {what: seconds / whole for what, seconds in found}

    def frames_per_second(self) -> dict[str, float]:
        """Return the frames per second that each would reach alone, the slowest first."""
        rates = {what: self.frames / seconds for what, seconds in self.seconds.items() if seconds}
        return dict(sorted(rates.items(), key=lambda item: (item[1], item[0])))

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain JSON types."""
        seconds = {what: round(spent, 3) for what, spent in list(self.seconds.items())}
        return {"frames": self.frames, "seconds": seconds}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Meter:
        """Make a meter from what `to_dict` returned.

        Parameters
        ----------
        values : mapping
            With ``frames`` and ``seconds``.

        Raises
        ------
        ValueError, TypeError, LookupError
            It is something else.
        """
        seconds = {str(what): float(spent) for what, spent in values["seconds"].items()}
        return cls(seconds, int(values["frames"]))
