"""This module compares two stores array by array: CPU with GPU, two versions, two methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from foveal.errors import StoreError
from foveal.storage.kinds import ArrayInfo
from foveal.storage.marks import infos_of, read_journal
from foveal.storage.reader import Store

_BLOCK_BYTES = 64 * 2**20


@dataclass
class Difference:
    """How one array differs over the videos of which both stores have it.

    Attributes
    ----------
    array : str
    videos : int
        Number of compared videos.
    values : int
        Number of compared values; two values that are both NaN count as equal.
    largest : float
        Largest absolute difference, in the array's unit; infinite where only one value is NaN.
    mean : float
        Mean absolute difference of the values that are finite in both.
    above : float
        Share of values that differ by more than the tolerance, 0 … 1.
    worst : str
        The video with the largest difference; empty where nothing differs.
    other_shapes : list of str
        Videos in which the shapes differ, so that nothing was compared.
    only_a, only_b : list of str
        Videos of which only one store has the array.
    """

    array: str
    videos: int = 0
    values: int = 0
    largest: float = 0.0
    mean: float = 0.0
    above: float = 0.0
    worst: str = ""
    other_shapes: list[str] = field(default_factory=list)
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether both stores have the array of the same videos, equal within the tolerance."""
        return not (self.above or self.other_shapes or self.only_a or self.only_b)


def compare_stores(
    a: Store,
    b: Store,
    arrays: Sequence[str] = (),
    videos: Sequence[str] = (),
    tolerance: float = 0.0,
) -> list[Difference]:
    """Compare the arrays of two stores, in blocks of bounded size.

    Parameters
    ----------
    a, b : Store
        The two stores.
    arrays : sequence of str
        Names of the arrays; by default all of both stores. ``name_a=name_b`` compares arrays of
        different names.
    videos : sequence of str
        Ids of the videos; by default all of both stores.
    tolerance : float
        Largest allowed absolute difference, in the array's unit (pixels for flow, 0 to 255 for
        pictures, …).

    Returns
    -------
    list of Difference
        One per array, in alphabetical order or in the order of `arrays`.

    Raises
    ------
    StoreError
        Neither store has a wanted video or array.
    """
    infos_a, infos_b = _infos(a), _infos(b)
    known = infos_a.keys() | infos_b.keys()
    if missing := [name for name in videos if name not in known]:
        raise StoreError(f"neither store has the video {', '.join(map(repr, missing))}")
    wanted = sorted(videos or known)
    names = sorted({name for infos in (infos_a, infos_b) for one in infos.values() for name in one})
    pairs = [(each.split("=")[0], each.split("=")[-1]) for each in arrays or names]
    found = []
    for name_a, name_b in pairs:
        difference = Difference(name_a if name_a == name_b else f"{name_a} = {name_b}")
        for video in wanted:
            in_a, in_b = name_a in infos_a.get(video, {}), name_b in infos_b.get(video, {})
            if in_a and in_b:
                _compare(difference, video, a[video][name_a], b[video][name_b], tolerance)
            elif in_a:
                difference.only_a.append(video)
            elif in_b:
                difference.only_b.append(video)
        if difference.agrees and not difference.videos:
            raise StoreError(
                f"neither store has an array {name_a!r}; they have {', '.join(names) or 'none'}"
            )
        found.append(difference)
    return found


def _infos(store: Store) -> dict[str, dict[str, ArrayInfo]]:
    marks, _ = read_journal(store.location)
    return {video: infos_of(stages) for video, stages in marks.items()}


def _compare(
    difference: Difference, video: str, a: xr.DataArray, b: xr.DataArray, tolerance: float
) -> None:
    if a.shape != b.shape:
        difference.other_shapes.append(video)
        return
    difference.videos += 1
    items = max(1, _BLOCK_BYTES // max(1, 8 * int(np.prod(a.shape[1:]))))
    for start in range(0, len(a), items):
        x = a[start : start + items].values.astype("f8")
        y = b[start : start + items].values.astype("f8")
        with np.errstate(invalid="ignore"):
            off = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
        off[np.isnan(off)] = np.inf
        finite = off[np.isfinite(off)]
        difference.values += off.size
        share = off.size / max(1, difference.values)
        difference.mean += share * ((finite.mean() if finite.size else 0.0) - difference.mean)
        difference.above += share * (float((off > tolerance).mean()) - difference.above)
        if off.size and off.max() > difference.largest:
            difference.largest, difference.worst = float(off.max()), video
