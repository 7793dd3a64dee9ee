"""This module applies transforms to clips, and says what the entries of a clip are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from foveal.errors import StoreError
from foveal.torch.batch import Sample

if TYPE_CHECKING:
    from foveal.torch.clips import Clips

FIXATIONS = "fixations"
"""Kind of an entry that is a map of fixated pixels."""

MOVED = ("picture", "flow", "map", FIXATIONS)
"""Kinds of entries on a grid of pixels, which transforms move."""

_STAYS = ("scalar", "waveform")

Kinds = Mapping[str, str]
"""Kind of a sample's entries, by key, of `MOVED`; other entries are not changed."""


class Transform(Protocol):
    """One random change of a clip.

    A transform may have two more members: ``leaves_values``, True if it only selects frames, so
    that cached features are allowed; and ``check(clips, kinds)``, which raises a StoreError if it
    cannot work on these clips.
    """

    def change(self, sample: Sample, kinds: Kinds, random: np.random.Generator) -> Sample:
        """Return the changed sample; `sample` itself is not changed.

        Parameters
        ----------
        sample : dict
            As `foveal.torch.Clips` returns it: pictures [n, 3, height, width], flow
            [n, 2 · maps, height, width] in pixels of its own grid, maps and fixated pixels
            [n, height, width].
        kinds : mapping of str to str
            Kind of each entry that moves, by key; see `MOVED`.
        random : Generator
            Source of all random numbers.
        """


@dataclass(frozen=True, init=False)
class Augmentation:
    """Transforms in order, as the ``transform`` of `Clips`.

    Parameters
    ----------
    *transforms : Transform
        Applied from first to last.
    kinds : mapping of str to str, optional
        Kind of each entry that moves, by key; `Clips` fills it in.

    Examples
    --------
    >>> from foveal.torch.transforms import Mirror, Rotate
    >>> Augmentation(Mirror(), Rotate(10))
    Augmentation(transforms=(Mirror(probability=0.5), Rotate(degrees=10)), kinds=None)
    """

    transforms: tuple[Transform, ...]
    kinds: Kinds | None

    def __init__(self, *transforms: Transform, kinds: Kinds | None = None) -> None:
        object.__setattr__(self, "transforms", transforms)
        object.__setattr__(self, "kinds", kinds)

    def bound_to(self, clips: Clips) -> Augmentation:
        """Return the same transforms for the entries of these clips.

        Parameters
        ----------
        clips : Clips

        Raises
        ------
        StoreError
            An entry cannot be moved, for example features of windows.
        """
        leave = all(getattr(each, "leaves_values", False) for each in self.transforms)
        kinds = kinds_of(clips, features=leave)
        for transform in self.transforms:
            check = getattr(transform, "check", None)
            if check is not None:
                check(clips, kinds)
        return Augmentation(*self.transforms, kinds=kinds)

    def __call__(self, sample: Sample) -> Sample:
        """Change a sample by torch's random numbers, which `Clips` seeds for each clip."""
        seed = int(torch.randint(2**62, ()).item())
        return self.change(sample, np.random.default_rng(seed))

    def change(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Change a sample by the given random numbers."""
        if self.kinds is None:
            raise StoreError(
                "Augmentation: give the kinds of the entries: kinds=…, or bound_to(clips)"
            )
        for transform in self.transforms:
            sample = transform.change(sample, self.kinds, random)
        return sample


def kinds_of(clips: Clips, *, features: bool = False) -> dict[str, str]:
    """Return the kinds of the entries of clips that are on a grid of pixels, by key.

    Parameters
    ----------
    clips : Clips
    features : bool
        Whether entries that cannot be moved are allowed.

    Raises
    ------
    StoreError
        An entry is neither on a grid of pixels nor a number per frame: cached features cannot be
        changed, since what they were computed from is not there.
    """
    kinds: dict[str, str] = {}
    for variable in clips.variables:
        if not variable.arrays:
            kinds[variable.key] = FIXATIONS
            continue
        kind = clips.infos[variable.arrays[0]].kind
        if kind in MOVED:
            kinds[variable.key] = kind
        elif kind not in _STAYS and not features:
            raise StoreError(
                f"{variable.key} holds {kind}, which cannot be mirrored, rotated, cropped or "
                "recoloured; leave the augmentation out, or read what the features are computed "
                "from"
            )
    return kinds
