"""This module has the image operations of TV-L1 on a GPU, in PyTorch: luma, gradient, resizing."""

from __future__ import annotations

import torch
from torch import Tensor


def grey(frames: Tensor) -> Tensor:
    """Return the luma of RGB `frames` [n, h, w, 3] as OpenCV rounds it, float32 [n, h, w]."""
    weights = torch.tensor([9798, 19235, 3735], dtype=torch.int32, device=frames.device)
    products: Tensor = frames.int() * weights
    return ((products.sum(3, dtype=torch.int32) + 16384) >> 15).float()


def gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return half the difference of the neighbours of each pixel of `images` [n, h, w] in x and y.

    Pixels at the border are repeated.
    """
    found = []
    for dim in (2, 1):
        last = images.shape[dim] - 1
        before = torch.arange(-1, last, device=images.device).clamp_(0)
        after = torch.arange(1, last + 2, device=images.device).clamp_(0, last)
        found.append((images.index_select(dim, after) - images.index_select(dim, before)) * 0.5)
    return found[0], found[1]


def resize(
    images: Tensor, size: tuple[int, int], ratio: tuple[float, float], *, shrinks: bool = False
) -> Tensor:
    """Resize bilinearly with half-pixel centres, rounded as OpenCV's resize.

    Parameters
    ----------
    images : Tensor, float32 [..., h, w]
        Images or flow components.
    size : (height, width)
        Wanted size.
    ratio : (float, float)
        Source pixels per pixel along y and x.
    shrinks : bool
        Beyond the last pixel's centre take the whole last step, as OpenCV does when it shrinks by a
        factor, instead of that pixel: the two differ by rounding.
    """
    back = int(shrinks)
    for dim in (-1, -2):
        last = images.shape[dim] - 1
        places = torch.arange(size[dim], device=images.device, dtype=torch.float64)
        places = (places + 0.5) * ratio[dim] - 0.5
        lower = places.floor()
        beyond = lower >= last
        share = torch.where(beyond, back, (places - lower).float()).masked_fill_(lower < 0, 0)
        low = torch.where(beyond, max(last - back, 0), lower.long().clamp_(0))
        below = images.index_select(dim, low)
        step = images.index_select(dim, (low + 1).clamp_(max=last)) - below
        # A product of two float32 is exact in float64: it is rounded once, as in a fused operation.
        exact = step.double() * (share.double()[:, None] if dim == -2 else share.double())
        images = exact.add_(below).float()
    return images
