"""Build a whole dataset: list it, plan, process each video, write the index; without Prefect."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from foveal.errors import InputError, StoreLocked
from foveal.models.flow.errors import FlowDeviceError
from foveal.pipeline.build.plan import VideoPlan, plan_video
from foveal.pipeline.build.progress import Listener, Silent
from foveal.pipeline.build.recorder import recorded
from foveal.pipeline.build.run import Status, VideoResult, failed, process_video
from foveal.pipeline.build.work import BuildPlan, select, without_device
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.sources import list_videos, open_source
from foveal.pipeline.sources.base import Source
from foveal.pipeline.stages.base import Shared, StageRequest
from foveal.pipeline.video.types import Video
from foveal.storage.claims import BUILD, Claims
from foveal.storage.digests import fingerprint
from foveal.storage.index import came_last, index_row, write_index
from foveal.storage.location import Location
from foveal.storage.marks import (
    QUARANTINE,
    Mark,
    Quarantine,
    journal_key,
    journal_parts,
    journal_videos,
    read_marks,
    write_mark,
    write_quarantine,
)
from foveal.storage.repair import forget_damaged, repair_metadata
from foveal.storage.root import create_store, store_lock
from foveal.storage.wanted import read_wanted, write_wanted

_log = logging.getLogger("foveal")


@dataclass(frozen=True)
class Build:
    """A recipe with its dataset, listed once, and its store.

    Attributes
    ----------
    recipe : Recipe
    source : Source
    videos : dict of str to Video
        By id, in the source's order.
    location : Location
    listener : Listener
    shared : Shared
        Networks and the like that all videos use.
    claims : Claims, optional
        Claims of this process on the store; None where it works alone.
    device_elsewhere : bool
        This process only plans; the device that the recipe names is on the machines that compute.
    """

    recipe: Recipe
    source: Source
    videos: dict[str, Video]
    location: Location
    listener: Listener = field(default_factory=Silent)
    shared: Shared = field(default_factory=Shared)
    claims: Claims | None = None
    device_elsewhere: bool = False

    @classmethod
    def open(
        cls, recipe: Recipe, listener: Listener | None = None, *, device_elsewhere: bool = False
    ) -> Build:
        """List the dataset; nothing is written.

        Parameters
        ----------
        recipe : Recipe
        listener : Listener, optional
        device_elsewhere : bool
            Other machines compute: do not look here for the device that the recipe names.

        Raises
        ------
        InputError, RecipeError
            The dataset cannot be listed.
        MissingDependency
            The GPU that the recipe names is not there.
        """
        if recipe.device.startswith("cuda") and not device_elsewhere:
            from foveal.models.device import choose_device

            choose_device(recipe.device)
        source = open_source(recipe.dataset, recipe.fixations)
        videos = {video.id: video for video in list_videos(source, recipe.dataset)}
        return cls(
            recipe,
            source,
            videos,
            Location(recipe.store),
            listener or Silent(),
            device_elsewhere=device_elsewhere,
        )

    @contextmanager
    def at_work(self, *, alone: bool = False) -> Iterator[Build]:
        """Begin to work on the store: create it, or bring its recipe up to date.

        Builds of the same recipe may be at work at once, on any number of machines; each video is
        then processed by one of them.

        Parameters
        ----------
        alone : bool
            Let no other process work on the store: complete arrays will be verified or replaced.

        Raises
        ------
        StoreError
            The store's place holds something else.
        StoreLocked
            Another process is at work on something else.
        """
        work = None if alone else self.work
        with store_lock(self.location, work) as claims:
            with claims.whole_store() as whole:
                create_store(whole, self.recipe.dataset.kind, self.recipe.resolved())
            with recorded(self.listener, claims) as listener:
                yield replace(self, claims=claims, listener=listener)

    @property
    def work(self) -> str:
        """Name of the work, equal for builds that may share a store: the recipe without paths."""
        values = self.recipe.resolved()
        del values["store"], values["dataset"]["root"]
        return BUILD + fingerprint(values)

    def plan(
        self,
        only: Sequence[str] = (),
        limit: int | None = None,
        retry: bool = False,
        repair: bool = False,
        recompute: Collection[str] = (),
    ) -> BuildPlan:
        """Decide what is to be done. This reads marks and file times and opens no video.

        Parameters
        ----------
        only : sequence of str
            Ids of the wanted videos; empty for all.
        limit : int, optional
            Only the first so many videos.
        retry : bool
            Try quarantined videos again even though nothing about them changed.
        repair : bool
            Re-read what is complete against its checksums, and compute damaged stages again.
        recompute : collection of str
            Stages to compute again though they are complete.

        Raises
        ------
        RecipeError
            Where `only` names unknown videos, or a stage cannot be made.
        """
        videos = select(self.videos, only, limit)
        names = [video.id for video in videos]
        if repair:
            for line in repair_metadata(self.location):
                _log.warning("mended: %s", line)
            forget_damaged(self.location, names)
        plan = BuildPlan()
        for part, journal in journal_parts(self.location, names):
            for video in part:
                marks = journal.marks.get(video, {})
                record = journal.quarantined.get(video)
                self._plan_one(plan, self.videos[video], marks, record, retry, recompute)
        return plan

    def _plan_one(
        self,
        plan: BuildPlan,
        video: Video,
        marks: Mapping[str, Mark],
        record: Quarantine | None,
        retry: bool,
        recompute: Collection[str],
    ) -> None:
        try:
            one = plan_video(self._request(video), marks, recompute)
        except InputError as error:
            # Unreadable input files: nothing to hash, so nothing to compare either.
            plan.settled.append(VideoResult(video.id, Status.QUARANTINED, str(error)))
        else:
            plan.wanted[video.id] = list(one.stages)
            if one.touched:
                plan.touched.append(one)
            if one.pending and (retry or record is None or not one.blocked_by(record)):
                plan.to_do.append(one)
                return
            if one.pending and record is not None:
                plan.settled.append(VideoResult(video.id, Status.QUARANTINED, record.reason))
            else:
                plan.settled.append(VideoResult(video.id, Status.UNCHANGED))
                plan.rows[video.id] = index_row(video.id, video.split, marks, None, one.stages)
        if record is not None:
            plan.quarantined[video.id] = record

    def remember(self, plan: BuildPlan) -> None:
        """Write what a `plan` found: wanted stages, quarantined videos, files that were moved."""
        with self._whole_store() as location:
            write_wanted(location, plan.wanted)
        for result in plan.settled:
            record = plan.quarantined.get(result.video)
            if result.ok and record is not None:
                self.location.delete(journal_key(result.video, QUARANTINE))
            elif not result.ok and (record is None or record.reason != result.reason):
                write_quarantine(
                    self.location, Quarantine(result.video, InputError.__name__, result.reason, {})
                )
        for video in plan.touched:
            contents = {key: value.to_dict() for key, value in video.contents.items()}
            with suppress(StoreLocked), self._claimed(video.video.id) as location:
                for mark in video.touched:
                    kept = {**mark.provenance, "contents": contents}
                    write_mark(location, replace(mark, provenance=kept))

    def run(self, video: str, recompute: Collection[str] = ()) -> VideoResult:
        """Process one `video` by its id; errors of the video become its result.

        Unusable input is quarantined and not tried again until it, or the recipe, changes. Anything
        else (a lost device, a defect) is a failure and tried again by the next build. I/O errors of
        the machine are raised, so that the caller can retry; so is a decoder killed by a signal.
        A video that another process has claimed gets the status "elsewhere". Stages in `recompute`
        are computed again although they are complete.

        Raises
        ------
        OSError
        Stopped
            Where the listener stops the build.
        """
        try:
            with self._claimed(video) as location:
                self.listener.started(video)
                result = replace(self, location=location)._run(video, recompute)
        except StoreLocked as error:
            return VideoResult(video, Status.ELSEWHERE, str(error))
        self.listener.ended(result)
        return result

    def settled_elsewhere(self, videos: Sequence[str]) -> BuildPlan:
        """Plan those of the `videos` whose claims other processes have released."""
        free = [name for name in videos if self.claims is None or self.claims.free(name)]
        return self.plan(free) if free else BuildPlan()

    def finalise(
        self, results: Iterable[VideoResult], plan: BuildPlan | None = None
    ) -> pd.DataFrame:
        """Write the index: the dataset's videos and further videos of the store.

        Parameters
        ----------
        results : iterable of VideoResult
            Results of this build; videos that are not in it keep their rows.
        plan : BuildPlan, optional
            Rows of unchanged videos are taken from it and not read again.

        Returns
        -------
        DataFrame
            The index as written.
        """
        by_video = {result.video: result for result in results}
        # Others who have come since the plan may have added stages to what was complete.
        alone = self.claims is None or came_last(self.location, self.claims.id)
        rows = self._rows({} if plan is None or not alone else plan.rows)
        for row in rows:
            result = by_video.get(row["video"])
            if result is not None and result.status is Status.FAILED:
                row["status"] = Status.FAILED.value
            if result is not None and result.reason:
                row["reason"] = result.reason
        with self._whole_store() as location:
            current = self.claims is None or not self.claims.others()
            return write_index(location, rows, current=current)

    def _rows(self, known: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows of the index: the dataset's videos in its order, then others of the store."""
        wanted = read_wanted(self.location)
        others = sorted(set(journal_videos(self.location)) - self.videos.keys())
        rows = dict(known)
        unread = [video for video in (*self.videos, *others) if video not in known]
        for part, journal in journal_parts(self.location, unread):
            for video in part:
                marks, record = journal.marks.get(video, {}), journal.quarantined.get(video)
                if video in self.videos or marks or record is not None:
                    split = self.videos[video].split if video in self.videos else None
                    rows[video] = index_row(video, split, marks, record, wanted.get(video, ()))
        return [rows[video] for video in (*self.videos, *others) if video in rows]

    def _claimed(self, video: str) -> AbstractContextManager[Location]:
        return nullcontext(self.location) if self.claims is None else self.claims.claim(video)

    def _whole_store(self) -> AbstractContextManager[Location]:
        return nullcontext(self.location) if self.claims is None else self.claims.whole_store()

    def _request(self, video: Video) -> StageRequest:
        recipe = self.recipe
        if self.device_elsewhere:
            recipe = recipe.model_copy(update={"device": "auto"})
        return StageRequest(recipe, self.source, video, self.shared)

    def _run(self, video: str, recompute: Collection[str]) -> VideoResult:
        request = self._request(self.videos[video])
        wanted: dict[str, str] = {}
        advance = functools.partial(self.listener.advanced, video)
        try:
            plan = plan_video(request, read_marks(self.location, video), recompute)
            wanted = plan.fingerprints
            try:
                return process_video(plan, self.location, advance)
            except FlowDeviceError as error:
                instead = without_device(self.recipe)
                if instead is None:
                    raise
                return self._run_without_device(plan, replace(request, recipe=instead), error)
        except InputError as error:
            write_quarantine(
                self.location, Quarantine(video, type(error).__name__, str(error), wanted)
            )
            return VideoResult(video, Status.QUARANTINED, str(error))
        except (OSError, StoreLocked):
            raise
        except Exception as error:
            _log.debug("video %s", video, exc_info=True)
            return failed(video, error)

    def _run_without_device(
        self, refused: VideoPlan, request: StageRequest, error: FlowDeviceError
    ) -> VideoResult:
        video = request.video.id
        plan = plan_video(request, read_marks(self.location, video), drop_orphans=True)
        instead = [name for name in plan.stages if name not in refused.stages]
        names = ", ".join(instead) or "nothing"
        _log.warning("video %s: %s; falling back to %s", video, error, names)
        plan.notes.update({name: {"fallback_because": str(error)} for name in instead})
        advance = functools.partial(self.listener.advanced, video)
        result = process_video(plan, self.location, advance)
        return replace(result, reason=f"{names} instead: {error}")
