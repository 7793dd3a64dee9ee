"""Plan a video: its stages, their fingerprints, and which of them are complete."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.build.digests import Content, content_of, video_files
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources import annotated_frames
from foveal.pipeline.sources.base import Source
from foveal.pipeline.sources.readers.files import check_confined
from foveal.pipeline.stages.base import (
    ANNOTATION,
    AUDIO,
    DECODE,
    FRAMES,
    Stage,
    StageContext,
    StageRequest,
)
from foveal.pipeline.stages.frames import TIMELINE, TimeStage
from foveal.pipeline.stages.write import StageWork, identity_of
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Fixations, Video, VideoInfo
from foveal.storage.marks import Mark, Quarantine, fingerprint

_OF_THE_VIDEO = (FRAMES, AUDIO)
"""Inputs whose identity is that of the timeline."""


@dataclass
class VideoPlan:
    """The work on one video, planned before a frame is decoded.

    Attributes
    ----------
    video : Video
    stages : dict of str to Stage
        By name, each after the stages that make its inputs.
    identities : dict of str to dict
        What determines the numbers of each stage.
    fingerprints : dict of str to str
        Of the stored arrays where they are complete, else of the stage as it is now.
    pending : list of str
        Stages to compute.
    stale : list of str
        Marked stages that no longer agree with the source, wanted or not.
    contents : dict
        Content of ``video`` and ``annotations``.
    notes : dict of str to dict
        Further provenance by stage, such as the method that it replaces.
    touched : list of Mark
        Marks that hold old sizes or times of input files with unchanged contents.
    marks : mapping of str to Mark
        What was complete when it was planned.
    """

    recipe: Recipe
    source: Source
    video: Video
    marks: Mapping[str, Mark] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    pending: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    contents: dict[str, Content] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    touched: list[Mark] = field(default_factory=list)

    @functools.cached_property
    def info(self) -> VideoInfo:
        """Geometry and declared length; opens the video."""
        return probe(self.video)

    @functools.cached_property
    def annotated_frames(self) -> int | None:
        """Number of annotated frames, where a stage reads the annotation or the listing has it."""
        if "annotations" not in self.contents:
            return self.video.expected_frames
        return annotated_frames(self.source, self.video)

    @functools.cached_property
    def fixations(self) -> Fixations:
        """The video's fixations, read once however many stages want them."""
        info = self.info
        fixations = self.source.fixations(self.video, info.height_px, info.width_px)
        if not len(fixations):
            counts = ", ".join(f"{n} {why}" for why, n in fixations.excluded.items() if n)
            raise GazeError(
                f"{self.video.id}: no fixated point is left ({counts or 'no sample at all'}); "
                "check that the gaze files belong to this video"
            )
        return fixations

    def prepared(self, names: Iterable[str] | None = None) -> list[StageWork]:
        """The pending stages, or those named, ready to run; reads the annotation they want.

        Raises
        ------
        InputError
            The video or its annotation is unusable.
        """
        context = StageContext(
            self.info,
            lambda: self.fixations,
            lambda: self.source.published_maps(self.video),
        )
        due = []
        for name in self.pending if names is None else names:
            notes = {
                "source_sha256": {key: value.sha256 for key, value in self.contents.items()},
                **self.notes.get(name, {}),
            }
            if name == TIMELINE:
                notes["video"] = self.attributes
            files = {key: value.to_dict() for key, value in self.contents.items()}
            work = StageWork(self.stages[name], self.identities[name], notes, {"contents": files})
            work.prepare(context)
            due.append(work)
        return due

    @functools.cached_property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the video's group in the store."""
        return {
            "video": self.video.id,
            "split": self.video.split,
            "fps": self.info.fps,
            "source_size": list(self.info.size),
            "source_file": self.video.path.name,
            "source_sha256": self.contents["video"].sha256,
        }

    def blocked_by(self, record: Quarantine | None) -> bool:
        """Whether a former run quarantined the video for the same work."""
        return record is not None and record.wanted == self.fingerprints


def plan_video(
    request: StageRequest,
    marks: Mapping[str, Mark],
    recompute: Collection[str] = (),
    *,
    drop_orphans: bool = False,
) -> VideoPlan:
    """Compare what the recipe wants of a video with what the store has complete.

    Opens nothing where sizes and times of the input files are those the marks remember.

    Parameters
    ----------
    request : StageRequest
    marks : mapping of str to Mark
    recompute : collection of str
        Stages to compute again though they are complete.
    drop_orphans : bool
        Leave out stages that read an array which no stage makes, in place of refusing the recipe.

    Raises
    ------
    InputError
        Where an input file is missing or unreadable.
    RecipeError
        Where a stage cannot be made on this machine, or reads what nothing makes.
    """
    recipe, video = request.recipe, request.video
    check_confined(recipe.dataset.root, video)
    if recipe.dataset.reconcile == "truncate_to_shorter":
        expected = annotated_frames(request.source, video)
        if expected is not None:
            video = replace(video, max_frames=min(expected, video.max_frames or expected))
    plan = VideoPlan(recipe, request.source, video, marks)
    stages = make_stages(request, drop_orphans=drop_orphans)
    known = _known_contents(marks)
    plan.contents["video"] = content_of(video_files(video), known.get("video"))
    if any(ANNOTATION in stage.inputs for stage in stages):
        plan.contents["annotations"] = content_of(
            video.annotation_paths, known.get("annotations"), GazeError
        )
    makers = {array: stage.name for stage in stages for array in stage.arrays}
    for stage in stages:
        identity = _identity(plan, stage, makers)
        plan.stages[stage.name] = stage
        plan.identities[stage.name] = identity
        plan.fingerprints[stage.name] = fingerprint(identity)
        mark = marks.get(stage.name)
        if stage.name in recompute or mark is None:
            plan.pending.append(stage.name)
        elif mark.fingerprint != plan.fingerprints[stage.name]:
            if mark.fingerprint in _former_fingerprints(stage, identity):
                plan.fingerprints[stage.name] = mark.fingerprint
            else:
                plan.pending.append(stage.name)
    plan.touched = [
        mark for name, mark in marks.items() if name not in plan.pending and _forgets(mark, plan)
    ]
    plan.stale = [name for name in plan.pending if name in marks]
    if TIMELINE in plan.stale:
        # The frames themselves changed: nothing made from the former ones may stay beside them.
        plan.stale = list(marks)
    return plan


def make_stages(request: StageRequest, *, drop_orphans: bool = False) -> list[Stage]:
    """Make the stages that a recipe wants of a video, each after the stages that make its inputs.

    Raises
    ------
    RecipeError
        Where a stage cannot be made on this machine, or reads an array that none makes.
    """
    waiting: list[Stage] = []
    for section in request.recipe.stage_sections():
        for stage in section.make(request):
            if stage.name not in {other.name for other in waiting}:
                waiting.append(stage)
    ordered: list[Stage] = [TimeStage()]
    there = {DECODE, FRAMES, AUDIO, ANNOTATION, *ordered[0].arrays}
    while waiting:
        ready = [stage for stage in waiting if there.issuperset(stage.inputs)]
        if not ready:
            if drop_orphans:
                break
            stage = waiting[0]
            missing = ", ".join(sorted(set(stage.inputs) - there))
            raise RecipeError(
                f"stage {stage.name} reads {missing}, which no section of the recipe makes; "
                f"add the section, or leave {stage.name} out"
            )
        for stage in ready:
            ordered.append(stage)
            there.update(stage.arrays)
            waiting.remove(stage)
    return ordered


def _identity(plan: VideoPlan, stage: Stage, makers: Mapping[str, str]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if DECODE in stage.inputs:
        content["content_sha256"] = plan.contents["video"].sha256
        content["max_frames"] = plan.video.max_frames
        content["decode"] = plan.recipe.decode.resolved()
    if ANNOTATION in stage.inputs:
        content["annotations_sha256"] = plan.contents["annotations"].sha256
    read = [TIMELINE for name in stage.inputs if name in _OF_THE_VIDEO]
    read += [makers[name] for name in stage.inputs if name in makers]
    return identity_of(stage, {name: plan.fingerprints[name] for name in read}, **content)


def _former_fingerprints(stage: Stage, identity: Mapping[str, Any]) -> list[str]:
    """Fingerprints under which former implementations of a stage stored what is valid still."""
    former: Sequence[Mapping[str, Any]] = getattr(stage, "former_parameters", tuple)()
    return [fingerprint({**identity, "parameters": dict(parameters)}) for parameters in former]


def _forgets(mark: Mark, plan: VideoPlan) -> bool:
    known = mark.provenance.get("contents", {})
    return any(
        value["stat"] != plan.contents[key].stat
        for key, value in known.items()
        if key in plan.contents
    )


def _known_contents(marks: Mapping[str, Mark]) -> dict[str, Any]:
    """Contents as the latest marks remember them."""
    known: dict[str, Any] = {}
    for mark in sorted(marks.values(), key=lambda mark: str(mark.provenance["completed_at"])):
        known.update(mark.provenance.get("contents", {}))
    return known
