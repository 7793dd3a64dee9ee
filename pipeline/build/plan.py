"""What is to be done for a video: its stages, their fingerprints, which are complete."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from foveal.errors import GazeError
from foveal.pipeline.build.digests import Content, content_of, video_files
from foveal.pipeline.video.probe import probe
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources.base import Source
from foveal.pipeline.sources.readers.files import check_confined
from foveal.pipeline.build.make_stages import GAZE_STAGES, make_stages
from foveal.pipeline.stages.base import DECODER, Stage
from foveal.pipeline.video.types import Fixations, Video, VideoInfo
from foveal.storage.marks import Mark, Quarantine, fingerprint


@dataclass
class VideoPlan:
    """One video's work, decided before a frame is decoded.

    Attributes
    ----------
    video : Video
    stages : dict of str to Stage
        By name, each after the one it feeds on.
    identities : dict of str to dict
        What determines the numbers of each stage.
    fingerprints : dict of str to str
    pending : list of str
        Stages to compute.
    stale : list of str
        Marked stages that no longer agree with the source, wanted or not.
    contents : dict
        Content of ``video`` and ``annotations``.
    notes : dict of str to dict
        Further provenance by stage, such as what it stands in for.
    touched : list of Mark
        Marks whose memory of the input files is out of date though the contents are the same.
    """

    recipe: Recipe
    source: Source
    video: Video
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

    def needs_gaze(self) -> bool:
        """Whether a pending stage reads the annotation."""
        return any(name in GAZE_STAGES for name in self.pending)

    def blocked_by(self, record: Quarantine | None) -> bool:
        """Whether a former run gave up this very work already."""
        return record is not None and record.wanted == self.fingerprints


def plan_video(
    recipe: Recipe, source: Source, video: Video, marks: Mapping[str, Mark]
) -> VideoPlan:
    """Compare what the recipe wants of a video with what the store has complete.

    Opens nothing where sizes and times of the input files are those the marks remember.

    Raises
    ------
    InputError
        Where an input file is missing or unreadable.
    """
    if recipe.dataset.reconcile == "truncate_to_shorter" and video.expected_frames is not None:
        limit = min(video.expected_frames, video.max_frames or video.expected_frames)
        video = replace(video, max_frames=limit)
    check_confined(recipe.dataset.root, video)
    plan = VideoPlan(recipe, source, video)
    stages = make_stages(recipe, source, video, lambda: plan.fixations)
    known = _known_contents(marks)
    plan.contents["video"] = content_of(video_files(video), known.get("video"))
    if any(stage.name in GAZE_STAGES for stage in stages):
        plan.contents["annotations"] = content_of(
            video.annotation_paths, known.get("annotations"), GazeError
        )
    for stage in stages:
        identity = _identity(plan, stage)
        plan.stages[stage.name] = stage
        plan.identities[stage.name] = identity
        plan.fingerprints[stage.name] = fingerprint(identity)
        mark = marks.get(stage.name)
        if mark is None or mark.fingerprint != plan.fingerprints[stage.name]:
            plan.pending.append(stage.name)
    plan.touched = [
        mark for name, mark in marks.items() if name not in plan.pending and _forgets(mark, plan)
    ]
    plan.stale = [name for name in plan.pending if name in marks]
    if "time" in plan.stale:
        # The frames themselves changed: nothing made from the former ones may stay beside them.
        plan.stale = list(marks)
    return plan


def _identity(plan: VideoPlan, stage: Stage) -> dict[str, Any]:
    identity: dict[str, Any] = {
        "stage": stage.name,
        "version": stage.version,
        "parameters": stage.parameters(),
    }
    if stage.name == "time":
        identity["content_sha256"] = plan.contents["video"].sha256
        identity["max_frames"] = plan.video.max_frames
        identity["decode"] = plan.recipe.decode.resolved()
    else:
        upstream = "time" if stage.feed == DECODER else stage.feed
        identity["upstream"] = {upstream: plan.fingerprints[upstream]}
    if stage.name in GAZE_STAGES:
        identity["annotations_sha256"] = plan.contents["annotations"].sha256
    return identity


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
