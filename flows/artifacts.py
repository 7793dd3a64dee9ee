"""What a build shows in Prefect: a bar while it runs, a table in the end."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from foveal.flows.videos import summary
from foveal.pipeline.build.run import VideoResult
from foveal.storage.location import Location

_EVERY_SECONDS = 5.0


class Bar:
    """The bar of a build in Prefect; it appears with the first video that takes a while.

    Parameters
    ----------
    location : Location
        Of the store.
    videos : int
        How many there are to do.
    """

    def __init__(self, location: Location, videos: int) -> None:
        self._key = f"{artifact_key(location)}-progress"
        self._videos = videos
        self._shown = time.monotonic()
        self._artifact: Any = None

    def show(self, results: Sequence[VideoResult], *, at_once: bool = False) -> None:
        """Show how many have ended, at most every five seconds unless it is wanted at once."""
        if not at_once and time.monotonic() < self._shown + _EVERY_SECONDS:
            return
        self._shown = time.monotonic()
        share = 100 * len(results) / max(1, self._videos)
        told = summary(results)
        if self._artifact is None:
            self._artifact = create_progress_artifact(share, self._key, told)
        else:
            update_progress_artifact(self._artifact, share, told)

    def close(self, results: Sequence[VideoResult]) -> None:
        """Show the end where anything was shown before."""
        if self._artifact is not None:
            self.show(results, at_once=True)


def publish_table(location: Location, results: Sequence[VideoResult], report: str | None) -> None:
    """Publish a table with the status of every video and a link to the report."""
    create_table_artifact(
        key=artifact_key(location),
        description=f"{summary(results)}; report: {_link(report)}",
        table=[
            {
                "video": result.video,
                "status": result.status.value,
                "frames": result.frames,
                "seconds": round(result.wall_seconds, 1),
                "stages": ", ".join(result.stages),
                "reason": result.reason,
            }
            for result in results
        ],
    )


def artifact_key(location: Location) -> str:
    """Key of a store's artifact in Prefect; each build adds a version of it."""
    place = location.url if location.local is None else str(location.local)
    name = re.sub(r"[^a-z0-9]+", "-", place.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-")
    return f"build-{name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def _link(report: str | None) -> str:
    if report is None:
        return "could not be written"
    return report if "://" in report else f"[{report}]({Path(report).absolute().as_uri()})"
