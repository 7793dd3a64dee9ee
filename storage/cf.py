"""Integers that stand for physical values, by the CF attributes beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scale:
    """``value = stored * factor + offset``; `fill` stands for no value.

    Attributes
    ----------
    factor, offset : float
    fill : int or None
    """

    factor: float
    offset: float = 0.0
    fill: int | None = None

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Scale | None:
        """The scale of an array's attributes, None where values are stored as they are."""
        if "scale_factor" not in attributes:
            return None
        fill = attributes.get("_FillValue")
        return cls(attributes["scale_factor"], attributes.get("add_offset", 0.0), fill)

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Physical values, float32, NaN where there is none."""
        values = stored.astype(np.float32) * np.float32(self.factor) + np.float32(self.offset)
        if self.fill is not None:
            values[stored == self.fill] = np.nan
        return values


def physical(stored: NDArray[Any], scale: Scale | None) -> NDArray[Any]:
    """What stored items mean: decoded where they have a scale, else as they are."""
    return stored if scale is None else scale.decode(stored)
