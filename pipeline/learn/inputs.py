"""This module turns clips of a store into the inputs of a network.

`Prepare` makes sizes, flow colours and flow stacks in the process that reads the clip; `to_network`
normalises where the network runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.errors import RecipeError
from foveal.models.flow.color import flow_to_color
from foveal.models.flow.resize import resize_flow
from foveal.models.normalise import normaliser
from foveal.models.saliency import Input, Spec
from foveal.pipeline.video.resize import resize_frames
from foveal.storage.kinds import select_arrays
from foveal.storage.reader import Store
from foveal.torch.batch import Sample
from foveal.torch.interface import Variable
from foveal.torch.sound import Sound
from foveal.torch.variables import FixationMap, Flow, Items

FLOW_KINDS = ("flow_image", "flow_stack")
"""Kinds of inputs that are made from flow."""


def flow_array(store: Store, spec: Spec, wanted: str | None) -> str | None:
    """Return the name of the flow array that a network is to read, None where it reads none.

    Parameters
    ----------
    store : Store
    spec : Spec
    wanted : str or None
        Name of the array; None takes the only one.

    Raises
    ------
    RecipeError
        The store has none, or several and none was named.
    """
    if not any(each.kind in FLOW_KINDS for each in spec.inputs):
        return None
    return choose_flow(store, wanted)


def choose_flow(store: Store, wanted: str | None) -> str:
    """Return the flow array of that name, or the only one; errors as in `flow_array`."""
    there = select_arrays(store.infos(store.select()[0]).values(), "flow", axis="pair")
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted is not None and wanted in there:
        return wanted
    if not there:
        raise RecipeError(
            f"{store.location} has no optical flow; add a flow section to its recipe and build"
        )
    unknown = f", not {wanted!r}" if wanted else ""
    raise RecipeError(f"{store.location} has the flow {', '.join(there)}{unknown}; name one")


def variables_for(spec: Spec, flow: str | None, *, targets: bool) -> list[str | Variable]:
    """Return what `Clips` must read for a network.

    Parameters
    ----------
    spec : Spec
    flow : str or None
        Flow array, see `flow_array`.
    targets : bool
        Whether to read the ground truth too: density, and fixations drawn on the output's grid.
    """
    variables: list[str | Variable] = []
    for each in spec.inputs:
        if each.kind == "frame":
            variables.append(Items("frames"))
        elif each.kind in FLOW_KINDS:
            assert flow is not None
            stack = each.shape[0] // 2 if each.kind == "flow_stack" else 1
            variables.append(Flow(flow, stack=stack))
        elif each.per_frame is not None:
            variables.append(Sound(each.kind, each.per_frame))
        else:
            variables.append(each.kind)
    if targets:
        variables += [Items("density"), FixationMap(spec.output_size)]
    return variables


def arrays_read(spec: Spec, flow: str | None) -> list[str]:
    """Return the names of the arrays that a network reads."""
    variables = variables_for(spec, flow, targets=False)
    arrays = [(each,) if isinstance(each, str) else each.arrays for each in variables]
    return [name for names in arrays for name in names]


@dataclass(frozen=True)
class Prepare:
    """Turns a clip into a network's inputs, compact and not yet normalised.

    It returns ``video``, ``frame_number``, ``valid``; for each input its kind: pictures uint8 [n,
    3, height, width], flow float32 [n, 2 · maps, height, width] in pixels of that size, features as
    stored; and, if they were read, ``density`` (as stored; float32 where it was resized) and
    ``fixation_map`` uint8 [n, height, width] on the output's grid.

    Parameters
    ----------
    spec : Spec
    flow : str or None
        Flow array, see `flow_array`.
    """

    spec: Spec
    flow: str | None

    def __call__(self, sample: Sample) -> Sample:
        prepared = {
            "video": sample["video"],
            "frame_number": sample["frame"],
            "valid": sample["valid"],
        }
        for each in self.spec.inputs:
            prepared[each.kind] = self._input(each, sample)
        if "density" in sample:
            density = sample["density"]
            if tuple(density.shape[1:]) != tuple(self.spec.output_size):
                density = resized_maps(density, self.spec.output_size)
            prepared["density"] = density
            prepared["fixation_map"] = sample["fixation_map"]
        return prepared

    def _input(self, each: Input, sample: Sample) -> Tensor:
        size = each.shape[-2:]
        if each.kind == "frame":
            how = "area" if each.resize == "area" else "linear"
            return _pictures(sample["frames"].movedim(-3, -1).numpy(), size, how)
        if each.kind in FLOW_KINDS:
            assert self.flow is not None
            flow: Tensor = sample[self.flow].float()
            if each.kind == "flow_stack":
                return _flow_stack(flow, size)
            return _pictures(flow_to_color(flow.movedim(-3, -1).numpy()), size, "linear")
        features: Tensor = sample[each.kind]
        if tuple(features.shape[1:]) != each.shape:
            channels, *grid = features.shape[1:] or (1,)
            advice = "build the network for that shape"
            if "feature_shape" in self.spec.options:
                advice = f"set options.feature_shape={grid} and options.feature_channels={channels}"
            if "feature_shapes" in self.spec.options:
                there = [
                    list(sample[o.kind].shape[1:]) for o in self.spec.inputs if not o.per_frame
                ]
                advice = f"set options.feature_shapes={there}"
            raise RecipeError(
                f"{self.spec.name} reads {each.kind} of {each.shape}, the store holds "
                f"{tuple(features.shape[1:])}; {advice}"
            )
        return features


def _pictures(pictures: NDArray[np.uint8], size: Sequence[int], how: str) -> Tensor:
    """Resize pictures [n, h, w, 3] and return them as [n, 3, *size]."""
    height, width = size
    return torch.from_numpy(resize_frames(pictures, (height, width), how)).movedim(-1, -3)


def _flow_stack(flow: Tensor, size: Sequence[int]) -> Tensor:
    """Resize flow [n, 2 · maps, h, w] and scale its vectors to pixels of the new grid."""
    frames, channels, height, width = flow.shape
    maps = flow.reshape(frames * channels // 2, 2, height, width).movedim(1, -1)
    resized = torch.from_numpy(resize_flow(maps.contiguous().numpy(), (size[0], size[1])))
    return resized.movedim(-1, 1).reshape(frames, channels, *size)


def resized_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps [n, h, w], float32: averaged along sides that shrink, else bilinear."""
    return torch.from_numpy(resize_frames(maps.float().numpy(), (size[0], size[1])))


def to_network(
    batch: Sample, spec: Spec, device: torch.device | str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Move a batch of prepared clips to the device and normalise it.

    Returns
    -------
    inputs : dict of str to Tensor, float32 [batch, time, *shape]
        By kind, as in ``spec.inputs``.
    truth : dict of str to Tensor
        ``valid`` bool [batch, time] and, if they were read, ``density`` float32 and
        ``fixation_map`` uint8 [batch, time, height, width].
    """
    inputs = {
        each.kind: normaliser(each.normaliser)(batch[each.kind].to(device, non_blocking=True))
        for each in spec.inputs
    }
    truth: dict[str, Tensor] = {
        key: batch[key].to(device, non_blocking=True)
        for key in ("valid", "density", "fixation_map")
        if key in batch
    }
    if "density" in truth:
        truth["density"] = truth["density"].float()
    return inputs, truth
