"""This module makes batches of samples; samples read next to each other are not copied."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

Sample = dict[str, Any]


def collate(samples: Sequence[Sample]) -> Sample:
    """Stack samples into a batch, without a copy where they were read next to each other.

    Pictures stay channels-last in memory. If videos store an entry in different dtypes, the batch
    has the dtype that holds both. Runs of different lengths (sound) are padded with zeros at the
    end.

    Parameters
    ----------
    samples : sequence of dict
        As `foveal.torch.Clips` returns them.
    """
    batch = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        if not isinstance(first, Tensor):
            batch[key] = default_collate(values)
        elif any(value.dtype != first.dtype for value in values):
            dtype = functools.reduce(torch.promote_types, (value.dtype for value in values))
            batch[key] = default_collate([value.to(dtype) for value in values])
        elif _side_by_side(values):
            batch[key] = first.as_strided(
                (len(values), *first.shape), (first.numel(), *first.stride())
            )
        elif any(len(value) != len(first) for value in values if value.ndim):
            batch[key] = torch.nn.utils.rnn.pad_sequence(values, batch_first=True)
        elif first.ndim > 3 and not first.is_contiguous():
            turned = default_collate([value.movedim(-3, -1) for value in values])
            batch[key] = turned.movedim(-1, -3)
        else:
            batch[key] = default_collate(values)
    return batch


def _side_by_side(tensors: Sequence[Tensor]) -> bool:
    """Tell whether tensors of one layout fill one piece of memory in this order."""
    first, last = tensors[0], tensors[-1]
    begin, step_bytes = first.data_ptr(), first.numel() * first.element_size()
    memory = first.untyped_storage().data_ptr()
    return (
        step_bytes > 0
        and last.untyped_storage().data_ptr() == memory
        and all(
            tensor.data_ptr() == begin + number * step_bytes
            and tensor.shape == first.shape
            and tensor.stride() == first.stride()
            for number, tensor in enumerate(tensors)
        )
    )


def tensor_rows(values: NDArray[Any]) -> Sequence[Tensor]:
    """Return the rows of an array as views of one tensor: that of `shared_empty` if it made it."""
    memory = values.base
    whole = memory if isinstance(memory, Tensor) else torch.from_numpy(values)
    return whole.unbind()


def shared_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Allocate memory that a worker passes to its parent without a copy, as torch does."""
    size = math.prod(shape) * dtype.itemsize
    memory = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    values: NDArray[Any] = torch.from_numpy(np.empty(0, dtype)).set_(memory).view(shape).numpy()
    return values
