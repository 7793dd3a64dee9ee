"""This module compares a store's arrays with the inputs that a network's paper used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foveal.models.saliency import Input, Spec
from foveal.pipeline.learn.inputs import FLOW_KINDS, flow_array
from foveal.storage.kinds import ArrayInfo
from foveal.storage.marks import infos_of
from foveal.storage.reader import Store
from foveal.storage.records import Mark


def misfits(stores: Sequence[Store], spec: Spec, flow: str | None) -> list[str]:
    """Return how the inputs of a network differ from its paper's; empty where they do not.

    Each item is one sentence that names the store and the lines of its recipe to change. The first
    video of each store is checked for: pictures and flow on a smaller grid than the network reads,
    flow by another method than the paper's, and what an untrained network computed.

    Parameters
    ----------
    stores : sequence of Store
    spec : Spec
    flow : str or None
        Flow array, see `foveal.pipeline.learn.inputs.flow_array`.

    Raises
    ------
    RecipeError
        A store has no flow, or several flow arrays and none was named.
    """
    found = []
    for store in stores:
        marks = store.marks(store.select()[0])
        infos = infos_of(marks)
        array = flow_array(store, spec, flow)
        for each in spec.inputs:
            found += [
                f"{store.location}: {what}; in its recipe: {change}"
                for what, change in _misfits(each, spec, marks, infos, array)
            ]
    return found


def _misfits(
    each: Input,
    spec: Spec,
    marks: Mapping[str, Mark],
    infos: Mapping[str, ArrayInfo],
    flow: str | None,
) -> list[tuple[str, str]]:
    """Return, for one input, each difference and the lines of the recipe that remove it."""
    size = each.shape[-2:]
    if each.kind == "frame":
        there = infos["frames"].item_shape[:2] if "frames" in infos else size
        if smaller(there, size):
            what = f"frames are {_sides(there)}, {spec.name} reads {_sides(size)}: enlarged"
            return [(what, f"frames: {{size: [{size[0]}, {size[1]}]}}, or null")]
        return []
    if each.kind in FLOW_KINDS:
        assert flow is not None
        return _flow_misfits(each, spec.name, marks[infos[flow].stage], infos[flow])
    if each.kind in infos:
        return _feature_misfits(each, spec.name, marks[infos[each.kind].stage])
    return []


def _flow_misfits(each: Input, name: str, mark: Mark, info: ArrayInfo) -> list[tuple[str, str]]:
    method = each.flow_method or info.name.removeprefix("flow_")
    size = each.shape[-2:]
    line = f"flow: [{{method: {method}, size: [{size[0]}, {size[1]}]}}]"
    found = []
    if info.name != f"flow_{method}":
        found.append((f"flow is {info.name}, {name} reads that of {method}", line))
    if smaller(info.item_shape[:2], size):
        grid = _sides(info.item_shape[:2])
        found.append((f"{info.name} is {grid}, {name} reads {_sides(size)}: enlarged", line))
    if _random(mark.provenance):
        found.append((f"{info.name} comes from a network with random weights", "its weights"))
    return found


def _feature_misfits(each: Input, name: str, mark: Mark) -> list[tuple[str, str]]:
    parameters = _parameters(mark)
    found = []
    method = parameters.get("flow")
    if each.flow_method is not None and method not in (None, each.flow_method):
        found.append(
            (f"{each.kind} is computed from the flow of {method}, {name} reads that of "
             f"{each.flow_method}", f"i3d: {{flow: {each.flow_method}}}")
        )  # fmt: skip
    weights = f"weights_{each.kind.removeprefix('i3d_')}"
    if str(parameters.get(weights, "")).startswith("random"):
        line = f"i3d: {{{weights}: i3d_{weights.removeprefix('weights_')}-piergiaj}}"
        found.append((f"{each.kind} comes from a network with random weights", line))
    elif mark.random_weights:
        what = f"{each.kind} comes from a network with random weights"
        found.append((what, f"weights in the section that makes {mark.stage}"))
    return found


def _parameters(mark: Mark) -> Mapping[str, Any]:
    parameters = mark.provenance.get("parameters", {})
    return parameters if isinstance(parameters, Mapping) else {}


def _random(provenance: Mapping[str, Any]) -> bool:
    return str(provenance.get("weights", "")) == "random"


def smaller(there: Sequence[int], wanted: Sequence[int]) -> bool:
    """Tell whether a picture must grow to the wanted (height, width) on either side."""
    return there[0] < wanted[0] or there[1] < wanted[1]


def _sides(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"
