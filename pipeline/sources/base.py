"""What every dataset adapter offers. One file a dataset; `open_source` finds it by its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foveal.pipeline.video.types import Fixations, Video


class PublishedMaps(Protocol):
    """Ground truth pictures as a dataset publishes them, read a frame at a time."""

    def __len__(self) -> int:
        """Return the number of frames that have a map."""

    def density(self, frame: int) -> NDArray[np.uint8]:
        """Density picture of a frame, uint8 [height, width], exactly as published."""


class Source(Protocol):
    """A raw dataset on disk.

    Sources only read; whatever is wrong with one video raises `GazeError` or `DecodeError` when
    that video is asked for, so that listing the others still works.
    """

    def videos(self) -> Sequence[Video]:
        """All videos of the wanted splits, in a stable order, without opening them."""

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Fixated points of all selected observers.

        Frames are not yet clipped to the video's length (it is known only once decoded); the
        caller does that with `Fixations.clipped`.
        """

    def published_maps(self, video: Video) -> PublishedMaps | None:
        """Published density pictures, or None where this form of the dataset has none."""

    def parameters(self) -> dict[str, Any]:
        """Every setting that changes the fixations; enters the fingerprint."""
