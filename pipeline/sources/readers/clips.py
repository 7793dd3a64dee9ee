"""Datasets repackaged as folders of pictures: images, maps and fixation maps, one file per frame.

Most networks are trained from this form. All datasets share one source; each dataset only says
where its clips are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from foveal.errors import GazeError, InputError, RecipeError
from foveal.pipeline.recipe.section import DatasetSection, GazeSelection
from foveal.pipeline.sources.readers.alignment import Aligned, align
from foveal.pipeline.sources.readers.files import (
    check_confined,
    folder_names,
    left_out,
    numbered_files,
)
from foveal.pipeline.sources.readers.pictures import (
    PICTURE_SUFFIXES,
    PictureMaps,
    points_of_pictures,
)
from foveal.pipeline.sources.readers.points import only_pairwise
from foveal.pipeline.video.types import Fixations, Video


class GroundTruthSection(DatasetSection):
    """A dataset whose ground truth is published as pictures too.

    Attributes
    ----------
    ground_truth : {'regenerate', 'import'}
        Density is computed from the fixations as the recipe's ``density`` section says, or the
        published maps are imported unchanged. Fixations are computed from raw gaze where the form
        is ``raw`` and this is ``regenerate``, and read from the published fixation maps otherwise.
        The store records which.
    """

    kind: str
    ground_truth: Literal["regenerate", "import"] = "regenerate"


@dataclass(frozen=True)
class Clip:
    """Folders of the pictures of one video.

    Attributes
    ----------
    id : str
        Id of the video.
    split : str or None
        Split that the video belongs to.
    images : Path
        Folder of the frames.
    maps : Path
        Folder of the density maps.
    points : tuple of Path
        Folders that may hold fixation maps; the first that has any is read.
    fps : float
        Nominal frame rate, which pictures do not record.
    max_frames : int, optional
        Number of frames that are kept, from the start.
    has_ground_truth : bool
        Whether the dataset publishes maps and fixations of this video.
    """

    id: str
    split: str | None
    images: Path
    maps: Path
    points: tuple[Path, ...]
    fps: float
    max_frames: int | None = None
    has_ground_truth: bool = True


class ClipSource:
    """Source of clips that are folders of pictures; see `Source`.

    Parameters
    ----------
    config : GroundTruthSection
    fixations : GazeSelection or None
        The recipe's choice of observers, which has to be all of them.
    clips : sequence of Clip
        The clips of the wanted splits.
    min_frames : int
        Clips with fewer frames are left out.

    Raises
    ------
    RecipeError
        There is no clip, or the recipe selects observers.
    """

    def __init__(
        self,
        config: GroundTruthSection,
        fixations: GazeSelection | None,
        clips: Sequence[Clip],
        min_frames: int = 1,
    ) -> None:
        self.config = config
        self._min_frames = min_frames
        only_pairwise(fixations)
        if fixations is not None and fixations.subjects != "all":
            raise RecipeError(
                f"fixations.subjects is {', '.join(fixations.subjects)}, but fixation maps do not "
                "say who looked where; write all, or use the raw gaze"
            )
        if not clips:
            raise RecipeError(
                f"{config.root} holds no clips of the wanted splits in the form "
                f"{getattr(config, 'form', 'frames')!r}; `foveal init {config.root}` shows what is "
                "there"
            )
        self._clips = clips
        self._problems: dict[str, str] = {}
        self.left_out = ""

    @cached_property
    def _by_id(self) -> dict[str, Clip]:
        found: dict[str, Clip] = {}
        for clip in self._clips:
            if clip.id in found:
                raise RecipeError(
                    f"clip {clip.id} is there twice: {found[clip.id].images} and {clip.images}"
                )
            found[clip.id] = clip
        return found

    def videos(self) -> Sequence[Video]:
        """List all clips; each is a folder of images."""
        videos = [self._video(clip) for clip in self._by_id.values()]
        self.left_out = self._beside()
        if self._min_frames == 1:
            return videos
        return [video for video in videos if len(video.image_names or ()) >= self._min_frames]

    def _video(self, clip: Clip) -> Video:
        aligned = self._aligned(clip)
        self._problems[clip.id] = aligned.problem
        annotation = (*aligned.maps, *aligned.points) if self._imports else aligned.points
        return Video(
            id=clip.id,
            split=clip.split,
            path=clip.images,
            image_names=aligned.images,
            fps=clip.fps,
            max_frames=clip.max_frames,
            annotation_paths=annotation,
            has_ground_truth=clip.has_ground_truth,
            notes=aligned.notes or ((aligned.problem,) if not aligned.images else ()),
        )

    def _beside(self) -> str:
        """A sentence that names files beside the images that are no images."""
        found = {}
        for clip in self._by_id.values():
            try:
                images = numbered_files(clip.images, PICTURE_SUFFIXES).values()
                said = left_out(clip.images, set(images))
            except InputError:  # reported as the problem of this clip
                continue
            if said:
                found[clip.id] = said
        others = f"; so it is in {len(found) - 1} other clips" if len(found) > 1 else ""
        return next(iter(found.values()), "") + others

    @property
    def _imports(self) -> bool:
        return self.config.ground_truth == "import"

    def _aligned(self, clip: Clip) -> Aligned:
        try:
            images = numbered_files(clip.images, PICTURE_SUFFIXES)
            kinds = {"maps": numbered_files(clip.maps, PICTURE_SUFFIXES) if self._imports else {}}
            for folder in clip.points if clip.has_ground_truth else ():
                kinds["points"] = numbered_files(folder, (*PICTURE_SUFFIXES, ".mat"))
                if kinds["points"]:
                    return align(images, kinds, clip.maps, folder, self.config.reconcile)
        except InputError as error:
            return Aligned((), (), (), problem=str(error))
        return align(images, kinds, clip.maps, clip.maps, self.config.reconcile)

    def problem(self, video: Video) -> str:
        """Say why the pictures of a listed video do not belong together; empty where they do.

        Parameters
        ----------
        video : Video
            A video that `videos` listed.
        """
        return self._problems.get(video.id, "")

    def _checked(self, video: Video) -> Aligned:
        check_confined(self.config.root, video)
        aligned = self._aligned(self._by_id[video.id])
        if aligned.problem:
            raise GazeError(f"{video.id}: {aligned.problem}")
        return aligned

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Read the set pixels of the fixation maps; see `Source.fixations`."""
        aligned = self._checked(video)
        if not aligned.points:
            folders = " or ".join(str(folder) for folder in self._by_id[video.id].points)
            raise GazeError(f"{video.id}: no fixation maps in {folders}")
        attributes: dict[str, Any] = {"reconcile": self.config.reconcile}
        if aligned.notes:
            attributes["notes"] = list(aligned.notes)
        return points_of_pictures(aligned.points, height_px, width_px, attributes)

    def published_maps(self, video: Video) -> PictureMaps | None:
        """Open the density maps where `ground_truth` is ``import``; see `Source`."""
        if not self._imports or not video.has_ground_truth:
            return None
        aligned = self._checked(video)
        if not aligned.maps:
            raise GazeError(f"{video.id}: no density maps in {self._by_id[video.id].maps}")
        return PictureMaps(aligned.maps)

    def parameters(self) -> dict[str, Any]:
        """Give every setting that changes the fixations; see `Source.parameters`."""
        config = self.config
        return {
            "kind": config.kind,
            "form": getattr(config, "form", "frames"),
            "ground_truth": config.ground_truth,
            "reconcile": config.reconcile,
        }


def split_clips(
    root: Path, splits: Sequence[Literal["train", "test"]], name: re.Pattern[str], fps: float
) -> list[Clip]:
    """List clips below ``training`` and ``testing``, as the DHF1K authors repackage other datasets.

    These are the folders of the wanted `splits` below `root` that match `name`. They hold
    ``images``, ``maps``, ``fixation`` and ``fixation/maps``, and get the frame rate `fps`.
    """
    clips = []
    for split in splits:
        top = root / {"train": "training", "test": "testing"}[split]
        for clip in folder_names(top):
            if name.fullmatch(clip):
                folder = top / clip
                points = (folder / "fixation", folder / "fixation" / "maps")
                clips.append(Clip(clip, split, folder / "images", folder / "maps", points, fps))
    return clips
