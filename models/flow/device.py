"""This module sets the arithmetic of learned flow, and recognises failures of a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = {
    "float32": None,
    "tf32": None,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
"""Autocast dtype by name; None computes in float32. ``tf32`` has 10-bit products in convolutions
(PyTorch's default on CUDA)."""


@contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """Compute on `device` in a `precision` of `PRECISIONS`, without gradients."""
    dtype = PRECISIONS[precision]
    tf32_before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
        ):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32_before


def device_name(device: torch.device) -> str:
    """Return the name of a GPU `device`, or ``cpu`` with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def is_device_failure(error: RuntimeError) -> bool:
    """Whether an `error` comes from the GPU itself rather than from the computation."""
    lost = getattr(torch, "AcceleratorError", ())
    signs = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "cudaError")
    return isinstance(error, lost) or any(sign in str(error) for sign in signs)
