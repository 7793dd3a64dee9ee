"""Datasets repackaged as folders of pictures: images, maps and fixation maps, one file per frame.

Most networks are trained from this form. All datasets share one source; each dataset only says
where its clips are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from foveal.errors import GazeError, InputError, RecipeError
from foveal.pipeline.recipe.section import DatasetSection, GazeSelection, Reconcile
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

_SHOWN_NUMBERS = 5


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


@dataclass(frozen=True)
class Aligned:
    """Pictures of a clip; item k of each kind belongs to frame k.

    Attributes
    ----------
    images : tuple of str
        Names in the clip's folder of images.
    maps, points : tuple of Path
        Paths of the maps; empty where the clip has none.
    notes : tuple of str
        What a person should know, such as frames left out.
    problem : str
        Why the kinds do not belong together; empty where they do.
    """

    images: tuple[str, ...]
    maps: tuple[Path, ...]
    points: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    problem: str = ""


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
                "tell observers apart; write all, or use the raw gaze"
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
                    return align(clip, images, kinds, folder, self.config.reconcile)
        except InputError as error:
            return Aligned((), (), (), problem=str(error))
        return align(clip, images, kinds, clip.maps, self.config.reconcile)

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

    Each clip holds ``images``, ``maps``, ``fixation`` and ``fixation/maps``.

    Parameters
    ----------
    root : Path
        Folder of the dataset.
    splits : sequence of {'train', 'test'}
        Splits that are wanted.
    name : re.Pattern
        Folders whose name does not match are left out.
    fps : float
        Nominal frame rate.
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


def align(
    clip: Clip,
    images: Mapping[int, str],
    kinds: Mapping[str, Mapping[int, str]],
    points_folder: Path,
    rule: Reconcile,
) -> Aligned:
    """Match images and annotation pictures by a rule.

    ``strict`` requires the same numbers in all kinds. ``intersect_by_name`` keeps the numbers that
    all kinds have. ``truncate_to_shorter`` takes each kind in order and cuts it to the shortest.
    Kinds without files are ignored.

    Parameters
    ----------
    clip : Clip
    images : mapping of int to str
        Names of the images by number.
    kinds : mapping of str to mapping
        Names of ``maps`` and ``points`` by number.
    points_folder : Path
        Folder that the points are in.
    rule : {'strict', 'intersect_by_name', 'truncate_to_shorter'}
        The recipe's ``dataset.reconcile``.
    """
    present = {"images": images, **{kind: files for kind, files in kinds.items() if files}}
    counts = ", ".join(f"{len(files)} {kind}" for kind, files in present.items())
    differing = _differences(present)
    notes, problem = [], ""
    if differing and rule == "strict":
        problem = (
            f"{counts} do not belong together ({differing}); dataset.reconcile: intersect_by_name "
            "keeps the frames that all have"
        )
    elif differing:
        if rule == "intersect_by_name":
            common = set.intersection(*(set(files) for files in present.values()))
            present = {
                kind: {number: name for number, name in files.items() if number in common}
                for kind, files in present.items()
            }
        else:
            shortest = min(len(files) for files in present.values())
            present = {kind: dict([*files.items()][:shortest]) for kind, files in present.items()}
        kept = len(present["images"])
        notes.append(f"{rule}: {kept} frames kept of {counts} ({differing})")
        if not kept:
            problem = f"{counts} have no frame in common"
    notes.extend(_gaps(present["images"]))
    maps, points = (
        tuple(folder / name for name in present.get(kind, {}).values())
        for kind, folder in (("maps", clip.maps), ("points", points_folder))
    )
    names = tuple(present["images"].values())
    return Aligned(names, maps, points, notes=tuple(notes), problem=problem)


def _differences(present: Mapping[str, Mapping[int, str]]) -> str:
    """Numbers that some kinds have and others lack, in words; empty where all have the same."""
    everything = set().union(*present.values())
    found = []
    for kind, files in present.items():
        if lacking := sorted(everything - files.keys()):
            shown = ", ".join(map(str, lacking[:_SHOWN_NUMBERS]))
            more = ", …" if len(lacking) > _SHOWN_NUMBERS else ""
            found.append(f"{kind} lack {shown}{more}")
    return "; ".join(found)


def _gaps(images: Mapping[int, str]) -> list[str]:
    jumps = [f"{a} to {b}" for a, b in pairwise(images) if b != a + 1]
    if not jumps:
        return []
    return [f"frame numbers jump {', '.join(jumps[:_SHOWN_NUMBERS])}"]
