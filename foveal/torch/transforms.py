"""Random changes of clips that move pictures, motion, density and fixations together.

::

    change = Augmentation(Mirror(), Rotate(10))
    clips = Clips("salicon.zarr", "train", frames=1, transform=change)

What is drawn depends on the loader's seed, the epoch and the clip alone, and is the same for all
frames of a clip. A transform is a frozen dataclass with a method `change`; one of your own needs no
more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
    """One random change of a clip."""

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


@dataclass(frozen=True)
class Mirror:
    """Swap left and right; motion to the right becomes motion to the left.

    Parameters
    ----------
    probability : float
        Of a clip to be mirrored, 0 … 1.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise StoreError(f"Mirror: probability is within 0 … 1, not {self.probability}")

    def change(self, sample: Sample, kinds: Kinds, random: np.random.Generator) -> Sample:
        """See `Transform.change`."""
        if random.random() >= self.probability:
            return sample
        changed = dict(sample)
        for key, kind in kinds.items():
            flipped: Tensor = sample[key].flip(-1)
            if kind == "flow":
                flipped[:, 0::2] *= -1
            changed[key] = flipped
        return changed


@dataclass(frozen=True)
class Rotate:
    """Turn a clip about the middle of the picture; motion turns with it.

    What comes in from outside the picture is black, still and not looked at. All entries turn in
    one geometry, that of the pictures (without pictures, of the first entry that moves): an entry
    on a grid of another aspect ratio is turned so that it still lies on the same things. Pictures,
    flow and maps are interpolated bilinearly; fixated pixels are moved and rounded, those that
    leave the picture are gone.

    Parameters
    ----------
    degrees : float
        The angle is drawn uniformly from -degrees … degrees, 0 … 180; positive turns clockwise on
        the screen.
    """

    degrees: float

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise StoreError(f"Rotate: degrees are within 0 … 180, not {self.degrees}")

    def change(self, sample: Sample, kinds: Kinds, random: np.random.Generator) -> Sample:
        """See `Transform.change`."""
        angle = np.deg2rad(random.uniform(-self.degrees, self.degrees))
        if not kinds or angle == 0:
            return sample
        first = next((key for key, kind in kinds.items() if kind == "picture"), next(iter(kinds)))
        height, width = sample[first].shape[-2:]
        changed = dict(sample)
        for key, kind in kinds.items():
            turn = _turn(angle, (height, width), tuple(sample[key].shape[-2:]))
            if kind == FIXATIONS:
                changed[key] = _moved_pixels(sample[key], turn)
            else:
                changed[key] = _turned(sample[key], turn, vectors=kind == "flow")
        return changed


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
        return Augmentation(*self.transforms, kinds=kinds_of(clips))

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


def kinds_of(clips: Clips) -> dict[str, str]:
    """What the entries of the samples of some clips are, those alone that lie on pixels.

    Raises
    ------
    StoreError
        An entry is neither on a grid of pixels nor a number a frame: cached features cannot be
        mirrored or turned, since what they were computed from is gone.
    """
    kinds: dict[str, str] = {}
    for variable in clips.variables:
        if not variable.arrays:
            kinds[variable.key] = FIXATIONS
            continue
        kind = clips.infos[variable.arrays[0]].kind
        if kind in MOVED:
            kinds[variable.key] = kind
        elif kind not in _STAYS:
            raise StoreError(
                f"{variable.key} holds {kind}, which cannot be mirrored or turned; leave the "
                "augmentation out, or read what the features are computed from"
            )
    return kinds


def _turn(angle: float, geometry: Sequence[int], grid: Sequence[int]) -> NDArray[np.float64]:
    """The 2x2 matrix that turns positions (x, y) of a grid as `angle` turns those of `geometry`."""
    c, s = np.cos(angle), np.sin(angle)
    scale = np.diag([grid[1] / geometry[1], grid[0] / geometry[0]])
    matrix: NDArray[np.float64] = scale @ np.array([[c, -s], [s, c]]) @ np.linalg.inv(scale)
    return matrix


def _turned(values: Tensor, turn: NDArray[np.float64], *, vectors: bool) -> Tensor:
    """Entries [n, …, height, width] turned about the middle of the grid."""
    import cv2

    height, width = values.shape[-2:]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([turn, centre - turn @ centre])
    whole = not values.is_floating_point()
    planes = values.reshape(-1, height, width)
    source = (planes if planes.dtype == torch.uint8 else planes.float()).contiguous().numpy()
    turned = np.empty_like(source)
    for plane, target in zip(source, turned, strict=True):
        cv2.warpAffine(plane, matrix, (width, height), dst=target, flags=cv2.INTER_LINEAR)
    result = torch.from_numpy(turned).reshape(values.shape)
    if vectors:
        u, v = result[:, 0::2].clone(), result[:, 1::2].clone()
        result[:, 0::2] = float(turn[0, 0]) * u + float(turn[0, 1]) * v
        result[:, 1::2] = float(turn[1, 0]) * u + float(turn[1, 1]) * v
    return result.round().to(values.dtype) if whole else result.to(values.dtype)


def _moved_pixels(maps: Tensor, turn: NDArray[np.float64]) -> Tensor:
    """Fixated pixels [n, height, width] moved one by one; where two meet the larger value stays."""
    height, width = maps.shape[-2:]
    found = maps.numpy()
    frame, y, x = found.nonzero()
    centre: NDArray[Any] = np.array([[(width - 1) / 2], [(height - 1) / 2]])
    new_x, new_y = np.floor(turn @ (np.stack([x, y]) - centre) + centre + 0.5).astype(np.int64)
    inside = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height)
    moved = np.zeros_like(found)
    places = (frame[inside], new_y[inside], new_x[inside])
    np.maximum.at(moved, places, found[frame[inside], y[inside], x[inside]])
    return torch.from_numpy(moved)
