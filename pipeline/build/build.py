"""A whole dataset: list, plan, process each video, write the index. Knows nothing of Prefect."""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from foveal.errors import InputError, RecipeError
from foveal.models.flow.errors import FlowDeviceError
from foveal.pipeline.build.plan import VideoPlan, plan_video
from foveal.pipeline.build.progress import listener
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.build.run import Status, VideoResult, process_video
from foveal.pipeline.sources import open_source
from foveal.pipeline.sources.base import Source
from foveal.pipeline.build.make_stages import stage_names
from foveal.pipeline.video.types import Video
from foveal.storage.index import index_row, write_index
from foveal.storage.location import Location
from foveal.storage.marks import (
    QUARANTINE,
    Quarantine,
    journal_key,
    read_journal,
    read_marks,
    write_mark,
    write_quarantine,
)
from foveal.storage.root import create_store
from foveal.storage.verify import verify

_log = logging.getLogger("foveal")


@dataclass(frozen=True)
class Workspace:
    """A recipe's dataset, listed once, and its store.

    Attributes
    ----------
    recipe : Recipe
    source : Source
    videos : dict of str to Video
        By id, in the source's order.
    location : Location
    """

    recipe: Recipe
    source: Source
    videos: dict[str, Video]
    location: Location


@functools.lru_cache(maxsize=1)
def _workspace(recipe: Recipe) -> Workspace:
    source = open_source(recipe.dataset, recipe.fixations)
    videos = {video.id: video for video in source.videos()}
    return Workspace(recipe, source, videos, Location(recipe.store))


@dataclass(frozen=True)
class BuildPlan:
    """What a build will do.

    Attributes
    ----------
    to_do : list of VideoPlan
        Videos with pending stages.
    settled : list of VideoResult
        Videos that need nothing: unchanged, or quarantined before for the same inputs.
    touched : list of VideoPlan
        Unchanged videos whose files were touched or moved: their marks are to remember it.
    """

    to_do: list[VideoPlan]
    settled: list[VideoResult]
    touched: list[VideoPlan]


def plan_build(
    recipe: Recipe,
    only: Sequence[str] = (),
    limit: int | None = None,
    retry: bool = False,
    repair: bool = False,
) -> BuildPlan:
    """Decide what is to be done; reads marks and file times, opens no video.

    Parameters
    ----------
    recipe : Recipe
    only : sequence of str
        Ids of the wanted videos; empty for all.
    limit : int, optional
        Only the first so many videos.
    retry : bool
        Try quarantined videos again even though nothing about them changed.
    repair : bool
        Re-read what is complete against its checksums, and compute damaged stages again.

    Raises
    ------
    RecipeError
        Where the dataset cannot be listed or `only` names unknown videos.
    """
    workspace = _workspace(recipe)
    location = workspace.location
    videos = select(workspace.videos, only, limit)
    names = [video.id for video in videos]
    if repair:
        _forget_damaged(location, names)
    marks, quarantined = read_journal(location, names)
    to_do: list[VideoPlan] = []
    settled: list[VideoResult] = []
    touched: list[VideoPlan] = []
    for video in videos:
        record = quarantined.get(video.id)
        try:
            plan = plan_video(recipe, workspace.source, video, marks.get(video.id, {}))
        except InputError as error:
            # Unreadable input files: nothing to hash, so nothing to compare either.
            settled.append(VideoResult(video.id, Status.QUARANTINED, str(error)))
            continue
        if plan.touched:
            touched.append(plan)
        if plan.pending and not retry and record is not None and plan.blocked_by(record):
            settled.append(VideoResult(video.id, Status.QUARANTINED, record.reason))
        elif plan.pending:
            to_do.append(plan)
        else:
            settled.append(VideoResult(video.id, Status.UNCHANGED))
    return BuildPlan(to_do, settled, touched)


def _forget_damaged(location: Location, videos: Sequence[str]) -> None:
    """Remove the marks of stages whose objects are missing or changed."""
    marks, _ = read_journal(location, videos)
    for problem in verify(location, list(marks)):
        if not problem.is_note:
            location.delete(journal_key(problem.video, problem.stage))


def select(known: Mapping[str, Video], only: Sequence[str], limit: int | None) -> list[Video]:
    """The videos a run is restricted to.

    Raises
    ------
    RecipeError
        Where `only` names one that is not there.
    """
    videos = list(known.values())
    if only:
        missing = [name for name in only if name not in known]
        if missing:
            some = ", ".join(list(known)[:5])
            raise RecipeError(
                f"no video {', '.join(missing)} in the dataset's wanted splits; "
                f"there are {len(known)}: {some}{', …' if len(known) > 5 else ''}"
            )
        videos = [known[name] for name in only]
    return videos if limit is None else videos[:limit]


def run_named(recipe: Recipe, video: str) -> VideoResult:
    """Process one video by its id; whatever is wrong with it becomes its result.

    Unusable input is quarantined and not tried again until it, or the recipe, changes. Anything
    else (a lost device, a defect) is a failure and tried again by the next build. I/O errors of
    the machine rise to the caller, who may retry at once.
    """
    workspace = _workspace(recipe)
    listener().started(video)
    result = _run(workspace, video)
    listener().ended(result)
    return result


def _run(workspace: Workspace, video: str) -> VideoResult:
    location = workspace.location
    wanted: dict[str, str] = {}
    advance = functools.partial(listener().advanced, video)

    def planned(recipe: Recipe) -> VideoPlan:
        marks = read_marks(location, video)
        return plan_video(recipe, workspace.source, workspace.videos[video], marks)

    try:
        plan = planned(workspace.recipe)
        wanted = plan.fingerprints
        try:
            return process_video(plan, location, advance)
        except FlowDeviceError as error:
            instead = without_device(workspace.recipe)
            if instead is None:
                raise
            _log.warning("video %s: %s; falling back to TV-L1", video, error)
            plan = planned(instead)
            plan.notes["flow_tvl1"] = {"fallback_because": str(error)}
            return replace(process_video(plan, location, advance), reason=f"TV-L1 instead: {error}")
    except InputError as error:
        return _quarantined(location, video, error, wanted)
    except OSError:
        raise
    except Exception as error:
        _log.debug("video %s", video, exc_info=True)
        return failed(video, error)


def without_device(recipe: Recipe) -> Recipe | None:
    """The recipe with TV-L1 for every learned flow that may fall back; None where none may.

    The array is then ``flow_tvl1``: methods are never mixed inside one. What feeds on the array
    that is not made is left out.
    """
    kept = [flow for flow in recipe.flow if flow.fallback == "error" or flow.method == "tvl1"]
    falling = [flow for flow in recipe.flow if flow not in kept]
    if not falling:
        return None
    if not any(flow.method == "tvl1" for flow in kept):
        kept.append(falling[0].model_copy(update={"method": "tvl1", "weights": None}))
    gone = {flow.method for flow in falling}
    i3d = recipe.i3d
    if i3d is not None and "flow" in i3d.streams and i3d.flow in gone:
        streams = tuple(stream for stream in i3d.streams if stream != "flow")
        i3d = i3d.model_copy(update={"streams": streams}) if streams else None
    return recipe.model_copy(update={"flow": tuple(kept), "i3d": i3d})


def failed(video: str, error: Exception) -> VideoResult:
    """The result of a video that broke on something else than its input."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}:{last[0].lineno})" if last else ""
    return VideoResult(video, Status.FAILED, f"{type(error).__name__}: {error}{where}")


def _quarantined(
    location: Location, video: str, error: InputError, wanted: dict[str, str]
) -> VideoResult:
    write_quarantine(location, Quarantine(video, type(error).__name__, str(error), wanted))
    return VideoResult(video, Status.QUARANTINED, str(error))


def prepare(recipe: Recipe) -> Location:
    """List the dataset anew; create the store, or bring its recipe up to date. Hold its lock.

    Raises
    ------
    InputError, RecipeError
        The dataset cannot be listed; nothing has been written then.
    StoreError
        Something else lies at the store's place.
    """
    _workspace.cache_clear()
    _workspace(recipe)
    location = Location(recipe.store)
    create_store(location, recipe.dataset.kind, recipe.resolved())
    return location


def remember(recipe: Recipe, plan: BuildPlan) -> None:
    """Write what planning found out without computing: who is quarantined, which files moved."""
    location = Location(recipe.store)
    names = [result.video for result in plan.settled]
    _, records = read_journal(location, names)
    for result in plan.settled:
        record = records.get(result.video)
        if result.ok and record is not None:
            location.delete(journal_key(result.video, QUARANTINE))
        elif not result.ok and (record is None or record.reason != result.reason):
            write_quarantine(
                location, Quarantine(result.video, InputError.__name__, result.reason, {})
            )
    for video in plan.touched:
        contents = {key: value.to_dict() for key, value in video.contents.items()}
        for mark in video.touched:
            kept = {**mark.provenance, "contents": contents}
            write_mark(location, replace(mark, provenance=kept))


def finalise(recipe: Recipe, results: Iterable[VideoResult]) -> pd.DataFrame:
    """Write the index: every video of the dataset's wanted splits and whatever else the store has.

    Returns
    -------
    DataFrame
        The index as written.
    """
    location = Location(recipe.store)
    marks, quarantined = read_journal(location)
    workspace = _workspace(recipe)
    splits = {name: video.split for name, video in workspace.videos.items()}
    by_video = {result.video: result for result in results}
    rows = []
    for video in [*splits, *sorted((marks.keys() | quarantined.keys()) - splits.keys())]:
        listed = workspace.videos.get(video)
        wanted = () if listed is None else stage_names(recipe, workspace.source, listed)
        row = index_row(
            video, splits.get(video), marks.get(video, {}), quarantined.get(video), wanted
        )
        result = by_video.get(video)
        if result is not None and result.status is Status.FAILED:
            row["status"] = Status.FAILED.value
        if result is not None and result.reason:
            row["reason"] = result.reason
        rows.append(row)
    return write_index(location, rows)
