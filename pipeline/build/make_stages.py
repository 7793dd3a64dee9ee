"""Stages: one file each; `make_stages` builds those a recipe asks for, in feeding order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from foveal.errors import RecipeError
from foveal.models.flow import make_estimator
from foveal.models.flow.base import FlowEstimator
from foveal.models.flow.encode import flow_encoding
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources.base import Source
from foveal.pipeline.stage_sections import DensitySection, FlowSection, I3DSection
from foveal.pipeline.stages.base import Stage
from foveal.pipeline.stages.flow import FlowStage
from foveal.pipeline.stages.frames import FramesStage, TimeStage
from foveal.pipeline.stages.gaze import DensityStage, FixationsStage, PublishedDensityStage
from foveal.pipeline.video.types import Fixations, Video

if TYPE_CHECKING:
    from foveal.models.i3d.network import I3D

GAZE_STAGES = ("fixations", "density")
"""Stages whose numbers depend on the annotation files too."""


def make_stages(
    recipe: Recipe, source: Source, video: Video, load: Callable[[], Fixations]
) -> list[Stage]:
    """Fresh stages for one video, each after the one it feeds on.

    Parameters
    ----------
    recipe : Recipe
    source : Source
    video : Video
        Without ground truth it gets no fixations and no density.
    load : callable
        Gives the video's fixations.
    """
    stages: list[Stage] = [TimeStage()]
    if recipe.frames is not None:
        stages.append(FramesStage(recipe.frames))
    stages.extend(FlowStage(section, _estimator(section, recipe.device)) for section in recipe.flow)
    if recipe.i3d is not None:
        stages.extend(_i3d(recipe, recipe.i3d, tower) for tower in recipe.i3d.streams)
    if video.has_ground_truth:
        parameters = source.parameters()
        if recipe.fixations is not None:
            stages.append(FixationsStage(load, parameters))
        if recipe.density is not None:
            stages.append(_density(recipe.density, source, video, load))
    return stages


def _i3d(recipe: Recipe, section: I3DSection, tower: Literal["rgb", "flow"]) -> Stage:
    from foveal.pipeline.stages.i3d import I3DStage

    weights = section.weights_rgb if tower == "rgb" else section.weights_flow
    network, identity = _tower(tower, weights)
    encoding = None
    if tower == "flow":
        fed_on = next(flow for flow in recipe.flow if flow.method == section.flow)
        encoding = flow_encoding(fed_on.encoding)
    return I3DStage(section, tower, network, identity, recipe.device, encoding)


@functools.cache
def _tower(tower: Literal["rgb", "flow"], weights: str) -> tuple[I3D, str]:
    """One network serves all videos, with what tells its weights from others."""
    from foveal.models.i3d.weights import load_i3d, weights_identity
    from foveal.models.weights import find

    path = weights if weights.split(":")[0] == "random" else find(weights).path
    return load_i3d(tower, path), weights_identity(path)


def _density(
    section: DensitySection, source: Source, video: Video, load: Callable[[], Fixations]
) -> Stage:
    if section.preset != "published":
        return DensityStage(section, load, source.parameters())
    return PublishedDensityStage(lambda: source.published_maps(video), source.parameters())


def stage_names(recipe: Recipe, source: Source, video: Video) -> list[str]:
    """Names of the stages that a recipe wants of a video."""

    def no_fixations() -> Fixations:
        raise AssertionError("naming stages reads no gaze")

    return [stage.name for stage in make_stages(recipe, source, video, no_fixations)]


def _estimator(section: FlowSection, device: str) -> FlowEstimator:
    try:
        return _shared_estimator(section.method, section.weights, device)
    except ValueError as error:
        raise RecipeError(f"flow.method {section.method}: {error}") from None


@functools.cache
def _shared_estimator(method: str, weights: str | None, device: str) -> FlowEstimator:
    """One estimator serves all videos: weights are loaded once."""
    return make_estimator(method, weights=weights, device=device)
