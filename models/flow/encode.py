"""This module encodes flow for storage, and measures the error of that.

xarray understands every encoding without foveal: integers have the CF attributes ``scale_factor``,
``add_offset`` and ``_FillValue``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FlowEncoding:
    """One way to store flow.

    Attributes
    ----------
    name : str
        Name in recipes.
    dtype : numpy dtype
        Type of the stored values.
    limit_px : float
        Components beyond ±limit_px are stored as ±limit_px (`EncodingRecord` counts them).
    step_px : float or None
        Distance of neighbouring values; None for floating point.
    offset_px : float
        Motion that the stored value 0 means.
    fill : int or None
        Stored value of non-finite motion; None if the dtype has such values itself (floats) or if
        there is none (``lsts8`` stores no motion).
    """

    name: str
    dtype: np.dtype[Any]
    limit_px: float
    step_px: float | None = None
    offset_px: float = 0.0
    fill: int | None = None

    @property
    def attributes(self) -> Mapping[str, Any]:
        """CF attributes with which a reader computes pixels; empty for floating point."""
        if self.step_px is None:
            return {}
        attributes: dict[str, Any] = {"scale_factor": self.step_px, "add_offset": self.offset_px}
        if self.fill is not None:
            attributes["_FillValue"] = self.fill
        return attributes

    def encode(self, flow: NDArray[np.float32]) -> NDArray[Any]:
        """Convert pixels to stored values.

        Parameters
        ----------
        flow : ndarray, float32 [..., 2]
            Motion in pixels.

        Returns
        -------
        ndarray of `dtype`, same shape
            The nearest motion that the encoding has.
        """
        clipped = np.clip(flow, -self.limit_px, self.limit_px)
        if self.step_px is None:
            return np.where(np.isinf(flow), flow, clipped).astype(self.dtype)
        finite = np.isfinite(flow)
        steps = np.rint((np.where(finite, clipped, 0.0) - self.offset_px) * (1 / self.step_px))
        stored = steps.astype(self.dtype)
        return stored if self.fill is None else np.where(finite, stored, self.dtype.type(self.fill))

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Convert `stored` values to pixels, float32; the fill value becomes NaN."""
        if self.step_px is None:
            return stored.astype(np.float32)
        flow = stored.astype(np.float32) * np.float32(self.step_px) + np.float32(self.offset_px)
        if self.fill is not None:
            flow[stored == self.fill] = np.nan
        return flow


ENCODINGS = {
    encoding.name: encoding
    for encoding in (
        FlowEncoding("float16", np.dtype(np.float16), float(np.finfo(np.float16).max)),
        FlowEncoding("float32", np.dtype(np.float32), float(np.finfo(np.float32).max)),
        FlowEncoding("fixed16", np.dtype(np.int16), 32767 / 64, step_px=1 / 64, fill=-32768),
        FlowEncoding("lsts8", np.dtype(np.uint8), 20.0, step_px=40 / 255, offset_px=-20.0),
    )
}
"""``float16``: 11 significant bits, error at most 2^-11 of the motion. ``float32``: exact.
``fixed16``: 1/64 px up to ±512 px, error at most 1/128 px. ``lsts8``: Öztürk's and denseflow's 8
bits for ±20 px, error at most 0.079 px; larger motion is clipped."""


def flow_encoding(name: str) -> FlowEncoding:
    """Return an encoding by its `name`, a key of `ENCODINGS`.

    Raises
    ------
    ValueError
        The name is unknown; the message lists all names.
    """
    if name not in ENCODINGS:
        raise ValueError(f"flow encoding must be one of {', '.join(ENCODINGS)}, got {name!r}")
    return ENCODINGS[name]


_ADDED_UP = ("_values", "_error_sum", "_error_max", "_saturated", "_non_finite")


@dataclass
class EncodingRecord:
    """Encode the flow of a video, and add up the error batch by batch.

    Attributes
    ----------
    encoding : FlowEncoding
        How the flow is stored.
    """

    encoding: FlowEncoding
    _values: int = field(default=0, init=False)
    _error_sum: float = field(default=0.0, init=False)
    _error_max: float = field(default=0.0, init=False)
    _saturated: int = field(default=0, init=False)
    _non_finite: int = field(default=0, init=False)

    def encode(self, flow: NDArray[np.float32]) -> NDArray[Any]:
        """Encode `flow` by `FlowEncoding.encode`, and measure the error by decoding it again."""
        stored = self.encoding.encode(flow)
        finite = np.isfinite(flow)
        error = np.zeros_like(flow)
        np.subtract(self.encoding.decode(stored), flow, out=error, where=finite)
        np.abs(error, out=error)
        self._values += int(finite.sum())
        self._error_sum += float(error.sum(dtype=np.float64))
        self._error_max = max(self._error_max, float(error.max(initial=0.0)))
        self._saturated += int((np.abs(flow[finite]) > self.encoding.limit_px).sum())
        self._non_finite += flow.size - int(finite.sum())
        return stored

    def snapshot(self) -> list[float]:
        """Return the sums so far."""
        return [getattr(self, name) for name in _ADDED_UP]

    def restore(self, state: Sequence[float]) -> None:
        """Continue from `state`, a `snapshot`."""
        for name, value in zip(_ADDED_UP, state, strict=True):
            setattr(self, name, type(getattr(self, name))(value))

    def summary(self) -> dict[str, Any]:
        """Return the encoding's name, mean and largest error of a component in px, and counts."""
        return {
            "encoding": self.encoding.name,
            "encoding_mean_error_px": self._error_sum / max(self._values, 1),
            "encoding_max_error_px": self._error_max,
            "encoding_saturated_values": self._saturated,
            "encoding_non_finite_values": self._non_finite,
        }
