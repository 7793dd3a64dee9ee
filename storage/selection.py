"""This module chooses videos by conditions on the table of videos, and counts them by split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foveal.errors import StoreError
from foveal.storage.index import COLUMNS, JSON_COLUMNS

if TYPE_CHECKING:
    import pandas as pd


def meets(table: pd.DataFrame, condition: Mapping[str, Any]) -> pd.Series[bool]:
    """Tell which rows of a table of videos meet a condition.

    Parameters
    ----------
    table : DataFrame
        One row per video.
    condition : mapping of str to object
        By column, a value, several values, or None for missing values.
    """
    import pandas as pd

    found = pd.Series(True, index=table.index)
    for column, wanted in condition.items():
        values = _several(wanted)
        fits = table[column].isin([value for value in values if value is not None])
        if None in values:
            fits |= table[column].isna()
        found &= fits.fillna(False).astype(bool)
    return found


def count_splits(videos: pd.DataFrame) -> str:
    """Return ``600 in train, 100 in val``; empty for a table without videos."""
    counts = videos.split.fillna("no split").value_counts(sort=False)
    return ", ".join(f"{count} in {split}" for split, count in counts.items())


def check_condition(videos: pd.DataFrame, condition: Mapping[str, Any]) -> None:
    """Raise a StoreError for columns that do not exist, and for splits without a video."""
    import pandas as pd

    columns = [name for name in COLUMNS if name not in JSON_COLUMNS]
    for column in condition:
        if column not in columns:
            raise StoreError(
                f"videos cannot be chosen by {column!r}; choose by {', '.join(columns)}"
            )
    if "split" in condition:
        there = {None if pd.isna(split) else split for split in videos.split}
        for split in _several(condition["split"]):
            if split not in there:
                known = ", ".join(sorted(map(repr, there))) or "none at all"
                raise StoreError(f"no video is in split {split!r}; there are {known}")


def _several(wanted: Any) -> list[Any]:
    return list(wanted) if isinstance(wanted, list | tuple | set | frozenset) else [wanted]
