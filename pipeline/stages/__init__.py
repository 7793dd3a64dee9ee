"""Stages: one file each; `make_stages` builds those a recipe asks for, in feeding order."""

from __future__ import annotations

import functools
from collections.abc import Callable

from foveal.errors import GazeError
from foveal.models.flow.base import FlowEstimator
from foveal.pipeline.recipe import DensitySection, FlowSection, Recipe
from foveal.pipeline.sources.base import Source
from foveal.pipeline.stages.base import Stage
from foveal.pipeline.stages.flow import FlowStage
from foveal.pipeline.stages.frames import FramesStage, TimeStage
from foveal.pipeline.stages.gaze import DensityStage, FixationsStage, PublishedDensityStage
from foveal.pipeline.values import Fixations, Video

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
    if video.has_ground_truth:
        parameters = source.parameters()
        if recipe.fixations is not None:
            stages.append(FixationsStage(load, parameters))
        if recipe.density is not None:
            stages.append(_density(recipe.density, source, video, load))
    return stages


def _density(
    section: DensitySection, source: Source, video: Video, load: Callable[[], Fixations]
) -> Stage:
    if section.preset != "published":
        return DensityStage(section, load, source.parameters())
    maps = source.published_maps(video)
    if maps is None:
        raise GazeError(f"{video.id}: this form of the dataset publishes no density maps")
    return PublishedDensityStage(maps, source.parameters())


def stage_names(recipe: Recipe, source: Source, video: Video) -> list[str]:
    """Names of the stages that a recipe wants of a video."""

    def no_fixations() -> Fixations:
        raise AssertionError("naming stages reads no gaze")

    return [stage.name for stage in make_stages(recipe, source, video, no_fixations)]


@functools.cache
def _estimator(section: FlowSection, device: str) -> FlowEstimator:
    """One estimator serves all videos: weights are loaded once."""
    from foveal.models.flow.tvl1 import TVL1

    return TVL1()
