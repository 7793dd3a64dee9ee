"""Sizes and durations as people read them: in commands, the report and Prefect's tables."""

from __future__ import annotations


def size_text(count_bytes: float | None) -> str:
    """Bytes with a decimal unit, such as ``12.3 MB``; None counts as 0."""
    value = float(count_bytes or 0)
    if value < 1000:
        return f"{value:.0f} B"
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.2f} TB"


def time_text(seconds: float | None) -> str:
    """Seconds as ``4.2 s``, ``3 min 20 s`` or ``2 h 05 min``; None counts as 0."""
    value = float(seconds or 0)
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
