"""This module decodes integers that stand for physical values, by their CF attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scale:
    """The rule ``value = stored * factor + offset``.

    Attributes
    ----------
    factor, offset : float
        CF ``scale_factor`` and ``add_offset``.
    fill : int or None
        The stored number that stands for "no value" (CF ``_FillValue``).
    """

    factor: float
    offset: float = 0.0
    fill: int | None = None

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Scale | None:
        """Return the scale in an array's attributes, None where values are stored unscaled."""
        if "scale_factor" not in attributes:
            return None
        fill = attributes.get("_FillValue")
        return cls(attributes["scale_factor"], attributes.get("add_offset", 0.0), fill)

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return physical values, float32, NaN where there is no value."""
        values = stored.astype(np.float32) * np.float32(self.factor) + np.float32(self.offset)
        if self.fill is not None:
            values[stored == self.fill] = np.nan
        return values


def physical(stored: NDArray[Any], scale: Scale | None) -> NDArray[Any]:
    """Return the physical values of stored items; items without a scale are unchanged."""
    return stored if scale is None else scale.decode(stored)
