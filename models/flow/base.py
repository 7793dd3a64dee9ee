"""The flow estimator seam: frames in, motion out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class FlowEstimator(Protocol):
    """Optical flow of consecutive frames.

    Attributes
    ----------
    name : str
        Method as it appears in array names (``tvl1``, ``raft``).
    """

    name: str

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Motion of each frame to the next.

        Parameters
        ----------
        frames : ndarray, uint8 [n + 1, height, width, 3]
            RGB, n >= 1.

        Returns
        -------
        ndarray, float32 [n, height, width, 2]
            (u, v): pixels of this grid that a point of frame k moves right and down until k + 1.
        """

    def parameters(self) -> dict[str, Any]:
        """Settings and weights (sha256) that determine the numbers; enters the fingerprint."""

    def former_parameters(self) -> list[dict[str, Any]]:
        """`parameters` under which results stored earlier under this name stay valid.

        What another implementation of the method computed with the same settings, within a stated
        tolerance; empty where there was none. Never part of the fingerprint.
        """

    def provenance(self) -> dict[str, Any]:
        """What ran (device, precision, batch sizes, fallbacks); JSON-serialisable."""
