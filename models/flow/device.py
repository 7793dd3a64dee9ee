"""Where learned flow is computed and in which arithmetic."""

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
"""Autocast dtype by name; None computes in float32, ``tf32`` with 10-bit products in convolutions
(PyTorch's own default on CUDA)."""


@contextmanager
def arithmetic(device: torch.device, precision: str) -> Iterator[None]:
    """Compute in one of `PRECISIONS`, without gradients."""
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
    """What the machine calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def is_device_failure(error: RuntimeError) -> bool:
    """Whether an error tells of the GPU itself rather than of the computation."""
    lost = getattr(torch, "AcceleratorError", ())
    signs = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "cudaError")
    return isinstance(error, lost) or any(sign in str(error) for sign in signs)
