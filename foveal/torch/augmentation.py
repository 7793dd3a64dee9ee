"""Transforms one after the other, told what the entries of a clip are."""

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
"""What a map of fixated pixels is among the kinds of a sample's entries."""

MOVED = ("picture", "flow", "map", FIXATIONS)
"""Kinds of entries that lie on a grid of pixels, and so move."""

_STAYS = ("scalar", "waveform")

Kinds = Mapping[str, str]
"""What the entries of a sample are, by key: a word of `MOVED`; all other entries stay."""


class Transform(Protocol):
    """One random change of a clip.

    Two more are asked for where a transform has them: ``leaves_values``, True for one that only
    picks frames, so that cached features may stay; and ``check(clips, kinds)``, which raises a
    StoreError where it cannot work on these clips.
    """

    def change(self, sample: Sample, kinds: Kinds, random: np.random.Generator) -> Sample:
        """Give the changed sample; `sample` itself is left as it was.

        Parameters
        ----------
        sample : dict
            As `foveal.torch.Clips` gives it: pictures [n, 3, height, width], flow
            [n, 2 · maps, height, width] in pixels of its own grid, maps and fixated pixels
            [n, height, width].
        kinds : mapping of str to str
        random : Generator
            All that is random comes from here.
        """


@dataclass(frozen=True, init=False)
class Augmentation:
    """Transforms one after the other, as the ``transform`` of `Clips`.

    Parameters
    ----------
    *transforms : Transform
    kinds : mapping of str to str, optional
        What the entries of a sample are; `Clips` fills it in.

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
        """The same for the entries of these clips.

        Raises
        ------
        StoreError
            An entry cannot be moved: features of windows, say.
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
        """Change a sample by the random numbers given."""
        if self.kinds is None:
            raise StoreError("Augmentation: say what the entries are: kinds=…, or bound_to(clips)")
        for transform in self.transforms:
            sample = transform.change(sample, self.kinds, random)
        return sample


def kinds_of(clips: Clips, *, features: bool = False) -> dict[str, str]:
    """What the entries of the samples of some clips are, those alone that lie on pixels.

    Parameters
    ----------
    clips : Clips
    features : bool
        Entries that cannot be moved may be there.

    Raises
    ------
    StoreError
        An entry is neither on a grid of pixels nor a number per frame: cached features cannot be
        changed, since what they were computed from is gone.
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
                f"{variable.key} holds {kind}, which cannot be mirrored, turned, cropped or "
                "coloured; leave the augmentation out, or read what the features are computed from"
            )
    return kinds
