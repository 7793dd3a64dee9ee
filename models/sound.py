"""This module computes spectra of sound in mel bands."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray


def log_mel(
    samples: NDArray[np.float32],
    rate_hz: float,
    window: int,
    hop: int,
    bands: int,
    limits_hz: tuple[float, float],
    floor: float,
) -> NDArray[np.float32]:
    """Compute the logarithm of the power in triangular mel bands, window by window.

    Parameters
    ----------
    samples : ndarray, float32 [n]
        In [-1, 1]; n is at least `window`.
    rate_hz : float
        Samples per second.
    window, hop : int
        Samples of a Hann window, and from one window's start to the next one's.
    bands : int
        Number of bands.
    limits_hz : (float, float)
        Lower edge of the first band, upper edge of the last one.
    floor : float
        Added to the power before the logarithm.

    Returns
    -------
    ndarray, float32 [(n - window) // hop + 1, bands]
        ``ln(floor + power)``. A sine of amplitude 1 has a power of about 1 in a band that is as
        wide as the window's main lobe.
    """
    windows = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    spectrum = np.fft.rfft(windows * hann) / (hann.sum() / 2)
    power = np.square(np.abs(spectrum))
    filters = mel_filters(rate_hz, window, bands, *limits_hz)
    return np.asarray(np.log(power @ filters.T + floor), np.float32)


@functools.lru_cache(16)
def mel_filters(
    rate_hz: float, window: int, bands: int, low_hz: float, high_hz: float
) -> NDArray[np.float64]:
    """Return triangular filters with peak 1 at equal distances in mel, ``2595 lg(1 + f / 700)``.

    The `bands` go from `low_hz` to `high_hz`, for windows of `window` samples at `rate_hz`; the
    result is float64 [bands, window // 2 + 1]. A band that is narrower than the distance of two
    bins has the bin nearest to its middle.
    """
    bins_hz = np.fft.rfftfreq(window, 1 / rate_hz)
    low, high = (2595 * np.log10(1 + edge / 700) for edge in (low_hz, high_hz))
    edges_hz = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    left, middle, right = (edges_hz[n : n + bands, None] for n in range(3))
    rise, fall = (bins_hz - left) / (middle - left), (right - bins_hz) / (right - middle)
    filters = np.maximum(0, np.minimum(rise, fall))
    empty = np.flatnonzero(~filters.any(axis=1))
    filters[empty, np.abs(bins_hz - middle[empty]).argmin(axis=1)] = 1
    filters.setflags(write=False)
    return filters
