"""This module runs a network over whole videos in order, in a chosen precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import RecipeError
from foveal.models.saliency import Inner, SaliencyNetwork, watching
from foveal.pipeline.learn.inputs import Prepare, to_network, variables_for
from foveal.pipeline.learn.settings import Precision
from foveal.pipeline.stages.threads import ahead
from foveal.storage.reader import Store
from foveal.torch.batch import Sample, collate
from foveal.torch.clips import Clips

FRAMES_AT_ONCE = 16


def autocast_dtype(precision: Precision, network: str, device: torch.device) -> torch.dtype | None:
    """Return the type of mixed precision, None for plain float32.

    ``auto`` is bfloat16 on GPUs that compute in it: it needs no loss scaling and has the range of
    float32, which TP-CMRNet's products need. On a CPU it is float32.

    Raises
    ------
    RecipeError
        float16 was asked for where it overflows or is not offered.
    """
    if precision == "auto":
        gpu = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if gpu else None
    if precision == "float16" and (network == "tp_cmrnet" or device.type != "cuda"):
        raise RecipeError(
            f"precision float16 is for GPUs and not for tp_cmrnet (its products overflow); "
            f"{network} on {device}: use bfloat16 or float32"
        )
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def mixed(device: torch.device, dtype: torch.dtype | None) -> Any:
    """Return the context in which a network runs in a type of `autocast_dtype`."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


@dataclass(frozen=True)
class Estimates:
    """Maps of some frames of a video.

    Attributes
    ----------
    frames : ndarray, int64 [n]
        Numbers of the frames, increasing.
    maps : Tensor, float32 [n, height, width]
        On the device that computed them.
    fixations : Tensor or None, uint8 [n, height, width]
        Fixated pixels on the same grid, if the ground truth was read.
    inner : mapping of str to Tensor, floating [n, …]
        Intermediate results of the network that were asked for, by name.
    """

    frames: NDArray[np.int64]
    maps: Tensor
    fixations: Tensor | None
    inner: Mapping[str, Tensor] = field(default_factory=dict)


def estimate_video(
    network: SaliencyNetwork,
    store: Store,
    video: str,
    *,
    flow: str | None,
    device: torch.device,
    dtype: torch.dtype | None = None,
    targets: bool = False,
    inner: Sequence[Inner] = (),
) -> Iterator[Estimates]:
    """Run a network over a video in order, in memory that does not grow with its length.

    A recurrent network carries its state through the whole video. Frames without a window of
    features (for LSTS those before the first window, or between windows at a stride) get no
    estimate here.

    Parameters
    ----------
    network : SaliencyNetwork
        In evaluation mode, on `device`.
    store : Store
    video : str
    flow : str or None
        Flow array, see `inputs.flow_array`.
    device : torch.device
    dtype : torch.dtype, optional
        Of mixed precision.
    targets : bool
        Whether the ground truth is read too.
    inner : sequence of Inner
        Intermediate results of the network to return too. Where a state is among them, frames run
        one by one.

    Yields
    ------
    Estimates

    Raises
    ------
    StoreError
        The video lacks what the network reads.
    """
    spec = network.spec
    of_state = [each for each in inner if each.module is None]
    recurrent_frames = 1 if of_state else FRAMES_AT_ONCE
    length = recurrent_frames if spec.recurrent else spec.training.clip_frames
    clips = Clips(
        store,
        videos=[video],
        frames=length,
        variables=variables_for(spec, flow, targets=targets),
        short="pad",
        tail="pad",
    )
    at_once = 1 if spec.recurrent else max(1, FRAMES_AT_ONCE // length)
    state = None
    with torch.inference_mode(), watching(inner) as seen:
        for batch in ahead(_batches(clips, Prepare(spec, flow), at_once), 2):
            inputs, truth = to_network(batch, spec, device)
            with mixed(device, dtype):
                maps, state = network(inputs, state)
            valid = batch["valid"].flatten()
            fixations = truth["fixation_map"].flatten(0, 1) if targets else None
            seen.update({each.name: each.view(state) for each in of_state})
            yield Estimates(
                batch["frame_number"].flatten()[valid].numpy(),
                maps.flatten(0, 1)[valid.to(device)],
                None if fixations is None else fixations[valid.to(device)],
                {name: values[valid.to(device)] for name, values in seen.items()},
            )


def _batches(clips: Clips, prepare: Prepare, at_once: int) -> Iterator[Sample]:
    for start in range(0, len(clips), at_once):
        numbers = range(start, min(start + at_once, len(clips)))
        yield collate([prepare(sample) for sample in clips.__getitems__(list(numbers))])
