"""This module defines a flow estimator: it takes frames and returns their motion."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class FlowEstimator(Protocol):
    """Compute the optical flow of consecutive frames.

    An estimator may also have ``former_parameters() -> list of dict``: values of `parameters` under
    which another implementation stored results under the same name that stay valid, because they
    agree within a stated tolerance.

    Attributes
    ----------
    name : str
        Method as in array names (``tvl1``, ``raft``).
    """

    name: str

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the motion of each frame to the next.

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
        """Return the settings and weights (sha256) that determine the numbers.

        They enter the fingerprint.
        """

    def provenance(self) -> dict[str, Any]:
        """Return what ran (device, precision, batch sizes, fallbacks); JSON-serialisable."""
