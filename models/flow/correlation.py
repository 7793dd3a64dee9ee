"""This module computes the local correlation of two feature maps as banded matrix products.

ptlflow's fallback for PWC-Net and FlowNetC (if the CUDA-only ``spatial_correlation_sampler`` is not
installed) copies the second map once per displacement and samples it bilinearly at whole-pixel
offsets: 81 copies for PWC-Net, 441 for FlowNetC (2.2 GB per pair at 640x480), with coordinates
that half precision cannot hold. The same numbers are dot products of shifted rows: one matrix
product of two rows gives all of them at once, and a diagonal band of it is kept.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def local_correlation(first: Tensor, second: Tensor, patch: int, step: int = 1) -> Tensor:
    """Compute the dot product of each pixel of `first` with its neighbours in `second`.

    Parameters
    ----------
    first, second : Tensor, float [b, c, h, w]
        Feature maps.
    patch : int
        Odd number of displacements per axis.
    step : int
        Pixels between displacements.

    Returns
    -------
    Tensor [b, patch, patch, h, w]
        ``out[b, i, j, y, x] = sum_c first[b, c, y, x] second[b, c, y + dy, x + dx]`` with
        ``dy = (i - patch // 2) step``, ``dx = (j - patch // 2) step``; zero outside.

    Notes
    -----
    Same values as ``spatial_correlation_sample(kernel_size=1, padding=0, dilation_patch=step)``
    (ClementPinard, Pytorch-Correlation-extension).
    """
    b, c, h, w = first.shape
    reach = patch // 2 * step
    rows = first.permute(0, 2, 3, 1).reshape(b * h, w, c)
    padded = F.pad(second, (reach, reach, reach, reach)).permute(0, 2, 1, 3)  # b, h + 2r, c, w + 2r
    wide = w + 2 * reach
    out = first.new_empty((b, patch, patch, h, w))
    for i in range(patch):
        others = padded[:, i * step : i * step + h].reshape(b * h, c, wide)
        products = torch.bmm(rows, others)  # b h, w, wide
        band = products.as_strided((b, h, w, patch), (h * w * wide, w * wide, wide + 1, step))
        out[:, i] = band.permute(0, 3, 1, 2)
    return out


class LocalCorrelation(nn.Module):
    """Apply `local_correlation` in place of ptlflow's ``IterSpatialCorrelationSampler``.

    Parameters
    ----------
    patch, step : int
        See `local_correlation`.
    """

    def __init__(self, patch: int, step: int) -> None:
        super().__init__()
        self.patch = patch
        self.step = step

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the correlation [b, patch, patch, h, w] of `first` and `second` [b, c, h, w]."""
        return local_correlation(first, second, self.patch, self.step)


def _flownetc_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return FlowNetC's 21 x 21 displacements by 2 px, mean over channels: [b, 441, h, w]."""
    return local_correlation(first, second, 21, 2).flatten(1, 2) / first.shape[1]


def use_local_correlation(model: nn.Module) -> None:
    """Replace the copying samplers inside a ptlflow `model`, if it has any.

    The replacement has no weights, so checkpoints load before or after.
    """
    from ptlflow.models.flownet.submodules import correlate
    from ptlflow.utils.correlation import IterSpatialCorrelationSampler

    for module in list(model.modules()):
        if getattr(module, "corr", None) is correlate:
            module.corr = _flownetc_correlation  # type: ignore[assignment]
        for name, child in module.named_children():
            if isinstance(child, IterSpatialCorrelationSampler) and _is_plain(child):
                setattr(module, name, LocalCorrelation(child.patch_size, child.dilation_patch))


def _is_plain(sampler: Any) -> bool:
    whole = isinstance(sampler.patch_size, int) and isinstance(sampler.dilation_patch, int)
    others = (sampler.kernel_size, sampler.stride, sampler.padding, sampler.dilation)
    return whole and sampler.patch_size % 2 == 1 and others == (1, 1, 0, 1)
