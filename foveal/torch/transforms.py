"""This module changes clips at random: pictures, motion, density and fixations move together.

::

    change = Augmentation(Mirror(), ResizedCrop((0.6, 1)), ColourJitter(brightness=0.2))
    clips = Clips("salicon.zarr", "train", frames=1, transform=change)

The changes depend on the loader's seed, the epoch and the clip only, and are the same for all
frames of a clip. A transform is a frozen dataclass with a method `change`; your own needs no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from foveal.errors import StoreError
from foveal.torch.augmentation import (
    FIXATIONS,
    MOVED,
    Augmentation,
    Kinds,
    Transform,
    kinds_of,
)
from foveal.torch.batch import Sample
from foveal.torch.warping import Affine, moved_pixels, turn, warped, window

if TYPE_CHECKING:
    from foveal.torch.clips import Clips

__all__ = [
    "FIXATIONS",
    "MOVED",
    "Augmentation",
    "ColourJitter",
    "Kinds",
    "Mirror",
    "ResizedCrop",
    "Rotate",
    "Subsample",
    "Transform",
    "kinds_of",
]


@dataclass(frozen=True)
class Mirror:
    """Swap left and right; motion to the right becomes motion to the left.

    Parameters
    ----------
    probability : float
        Probability that a clip is mirrored, 0 … 1.
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
    """Rotate a clip about the middle of the picture; motion rotates with it.

    Areas from outside the picture are black, without motion and without fixations. All entries
    rotate in one geometry, that of the pictures (without pictures, of the first entry that moves):
    an entry on a grid of another aspect ratio still overlays the same objects. Pictures, flow and
    maps are interpolated bilinearly; fixated pixels are moved and rounded, and those that leave the
    picture are dropped.

    Parameters
    ----------
    degrees : float
        The angle is drawn uniformly from -degrees … degrees, 0 … 180; positive angles are clockwise
        on the screen.
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
            turned = turn(angle, (height, width), _grid(sample[key]))
            changed[key] = _moved(sample[key], kind, turned, edge="black")
        return changed


@dataclass(frozen=True)
class ResizedCrop:
    """Enlarge a random part of the picture to its full size; motion grows with it.

    Every entry keeps its size, so clips still make batches, and shows the same part. Pictures, flow
    and maps are interpolated bilinearly; fixated pixels are moved and rounded, and those outside
    the part are dropped. Values of maps are not rescaled: a map that summed to 1 no longer does.

    Parameters
    ----------
    scale : (float, float)
        The part's share of the area is drawn from this range, within 0 … 1.
    ratio : (float, float)
        Its width-to-height ratio, as a multiple of the picture's own, is drawn from this range,
        uniformly in the logarithm. Sides are at most the picture's.
    """

    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise StoreError(f"ResizedCrop: scale rises within 0 … 1, not {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise StoreError(f"ResizedCrop: ratio rises from above 0, not {self.ratio}")

    def change(self, sample: Sample, kinds: Kinds, random: np.random.Generator) -> Sample:
        """See `Transform.change`."""
        area = random.uniform(*self.scale)
        ratio = np.exp(random.uniform(*np.log(self.ratio)))
        share = min(1.0, float(np.sqrt(area * ratio))), min(1.0, float(np.sqrt(area / ratio)))
        left, top = random.uniform(0, 1 - share[0]), random.uniform(0, 1 - share[1])
        changed = dict(sample)
        for key, kind in kinds.items():
            filled = window(left, top, share, _grid(sample[key]))
            changed[key] = _moved(sample[key], kind, filled, edge="repeat")
        return changed


@dataclass(frozen=True)
class ColourJitter:
    """Change brightness, contrast, saturation and hue, in this order and alike for all frames.

    Only pictures are changed. They must be as stored, uint8 0 … 255: normalise on the device, or in
    a later transform. Contrast is changed about the mean grey of the whole clip.

    Parameters
    ----------
    brightness, contrast, saturation : float
        Factors are drawn uniformly from 1 - value … 1 + value, within 0 … 1.
    hue : float
        A shift is drawn from -hue … hue, in turns of the circle of hues, within 0 … 0.5.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5)):
            if not 0 <= getattr(self, name) <= most:
                raise StoreError(
                    f"ColourJitter: {name} is within 0 … {most}, not {getattr(self, name)}"
                )

    def change(self, sample: Sample, kinds: Kinds, random: np.random.Generator) -> Sample:
        """See `Transform.change`."""
        from torchvision.transforms.v2 import functional

        ranges = (self.brightness, self.contrast, self.saturation)
        brightness, contrast, saturation = (random.uniform(1 - each, 1 + each) for each in ranges)
        hue = random.uniform(-self.hue, self.hue)
        changed = dict(sample)
        for key, kind in kinds.items():
            if kind != "picture":
                continue
            pictures: Tensor = sample[key]
            if pictures.dtype != torch.uint8:
                raise StoreError(
                    f"ColourJitter takes pictures as they are stored, uint8; {key} is "
                    f"{pictures.dtype}: leave normalise out of Clips and normalise afterwards"
                )
            pictures = functional.adjust_brightness(pictures, brightness)
            grey = functional.rgb_to_grayscale(pictures).float().mean()
            spread = grey + contrast * (pictures.float() - grey)
            pictures = spread.round().clamp(0, 255).to(torch.uint8)
            pictures = functional.adjust_saturation(pictures, saturation)
            changed[key] = functional.adjust_hue(pictures, hue) if self.hue else pictures
        return changed


@dataclass(frozen=True)
class Subsample:
    """Keep some frames of a clip at equal distances, from a random one on.

    All entries keep the same frames, cached features of windows too. Motion stays as stored: from
    each kept frame to the next frame of the video, not to the next kept frame.

    Parameters
    ----------
    frames : int
        Number of frames kept.
    steps : sequence of int
        Distances between kept frames, of which one is drawn for each clip. Clips must be long
        enough for the largest: (frames - 1) · step + 1.
    """

    frames: int
    steps: tuple[int, ...] = (1, 2)

    leaves_values: ClassVar[bool] = True
    """It only selects frames, so cached features are allowed."""

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.steps or min(self.steps) < 1:
            raise StoreError(
                f"Subsample: frames and steps are at least 1, not {self.frames} and {self.steps}"
            )

    def check(self, clips: Clips, kinds: Kinds) -> None:
        """Raise a StoreError where `clips` are too short, whatever `kinds` they have."""
        if clips.frames < self._length(max(self.steps)):
            raise StoreError(
                f"Subsample: {self.frames} frames every {max(self.steps)} need clips of "
                f"{self._length(max(self.steps))} frames, not {clips.frames}"
            )

    def change(self, sample: Sample, kinds: Kinds, random: np.random.Generator) -> Sample:
        """See `Transform.change`."""
        step = int(random.choice(self.steps))
        frames = next(len(value) for value in sample.values() if isinstance(value, Tensor))
        first = int(random.integers(frames - self._length(step) + 1))
        kept = slice(first, first + self._length(step), step)
        return {
            key: value[kept] if isinstance(value, Tensor) else value
            for key, value in sample.items()
        }

    def _length(self, step: int) -> int:
        """Return the number of frames from the first kept frame to the last."""
        return (self.frames - 1) * step + 1


def _grid(entry: Tensor) -> tuple[int, int]:
    height, width = entry.shape[-2:]
    return height, width


def _moved(entry: Tensor, kind: str, affine: Affine, *, edge: str) -> Tensor:
    if kind == FIXATIONS:
        return moved_pixels(entry, affine)
    return warped(entry, affine, vectors=kind == "flow", edge=edge)
