"""Raw gaze of S. Mathe and C. Sminchisescu on Hollywood-2 and UCF-Sports.

"Actions in the Eye: Dynamic Gaze Datasets and Learnt Saliency Models for Visual Recognition",
TPAMI 2015. Most observers had the task to name the action; only a few viewed freely.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.recipe.section import GazeSelection
from foveal.pipeline.sources.base import AVI_FILE, Form, RawSource
from foveal.pipeline.sources.readers.clips import ClipSource, GroundTruthSection, split_clips
from foveal.pipeline.sources.readers.files import (
    check_confined,
    dataset_root,
    file_names,
    left_out,
    natural_key,
)
from foveal.pipeline.sources.readers.points import PointsBuilder, ScreenFit, pixels_of_frames
from foveal.pipeline.sources.readers.tables import read_table
from foveal.pipeline.video.density_kernels import DensityConstants, DensityKernel
from foveal.pipeline.video.probe import probe
from foveal.pipeline.video.types import Fixations, Video

Split = Literal["train", "test"]

CITATION = 'S. Mathe, C. Sminchisescu, "Actions in the Eye", TPAMI 2015'
TERMS = (
    "gaze for academic use, on registration (http://vision.imar.ro/eyetracking/); repackaged form "
    "with DHF1K (https://github.com/wenguanwang/DHF1K); videos from "
)

# Repackaged by the DHF1K authors (Wang et al. 2018): the binary map filtered by imfilter(map,
# fspecial('gaussian', 150, 20), 'replicate'), divided by its maximum, times 255, rounded. A kernel
# of 150 px has no middle pixel: MATLAB's correlation puts the peak half a pixel left and up.
DENSITY = DensityConstants(
    DensityKernel(20.0, half_width_px=74.5, offset_px=-0.5, border="replicate")
)

_SAMPLES = re.compile(r"(\d{3})_(.+)\.avi\.txt", re.IGNORECASE)
_COLUMNS = ("timestamp", "first value", "second value", "x", "y", "event")
_EXCLUDED = {"S": "saccade", "B": "blink"}


class MatheConfig(GroundTruthSection):
    """Keys that Hollywood-2 and UCF-Sports share.

    Attributes
    ----------
    form : {'frames', 'raw'}
        ``frames``: ``{training,testing}/<clip>/{images,maps,fixation}`` as the DHF1K authors
        repackaged them. ``raw``: the AVI files with the observers' samples.
    splits : list of {'train', 'test'}
        The authors' own splits.
    fps : float
        Frame rate of the form ``frames``, which pictures do not record.
    videos, gaze : str
        Folders of the form ``raw`` below the root: AVI files, and ``samples/`` with
        ``geometry.txt``.
    condition : {'free_viewing', 'task', 'all'}
        Observers that the form ``raw`` takes: those in `free_viewing_subjects`, the others, or
        both together.
    free_viewing_subjects : list of str or null
        Ids (``"003"``) of the observers without a task, from the archive's own documentation.
    """

    form: Literal["frames", "raw"] = "frames"
    splits: tuple[Split, ...] = ("train", "test")
    fps: Annotated[float, Field(gt=0, le=1000)]
    videos: str
    gaze: str
    condition: Literal["free_viewing", "task", "all"] = "free_viewing"
    free_viewing_subjects: tuple[Annotated[str, Field(pattern=r"^\d{3}$")], ...] | None = None


class MatheSource(RawSource[MatheConfig]):
    """AVI files with samples of each observer; see `RawSource`.

    The time since the first sample of the recording and the video's frame rate give the frame of a
    sample. The video is assumed to fill the width of the screen. Both rules are inferred, not
    published.

    Parameters
    ----------
    config : MatheConfig
    fixations : GazeSelection or None
        The recipe's choice of observers; None selects all.
    split_of : callable
        Gives the split of a clip by its name; None where it is no clip of this dataset.
    """

    def __init__(
        self,
        config: MatheConfig,
        fixations: GazeSelection | None,
        split_of: Callable[[str], Split | None],
    ) -> None:
        super().__init__(config, fixations)
        self._split_of = split_of
        if config.ground_truth == "import":
            raise RecipeError(
                "dataset.ground_truth: import needs published maps, which the raw form lacks; "
                "write form: frames or ground_truth: regenerate"
            )
        if config.condition != "all" and not config.free_viewing_subjects:
            raise RecipeError(
                f"dataset.free_viewing_subjects is needed: most observers of {config.kind} watched "
                "with a task (name the action), so their gaze differs from free viewing, and the "
                "files do not say who they are. Take the ids from the archive's documentation and "
                'write e.g. free_viewing_subjects: ["001", "002"], or take everybody together by '
                "condition: all"
            )

    def videos(self) -> Sequence[Video]:
        """List the AVI files of the wanted splits; an id is the name without its suffix."""
        folder = self.root / self.config.videos
        names = [name for name in file_names(folder) if name.lower().endswith(".avi")]
        if not names:
            raise RecipeError(f"{folder} holds no AVI files (dataset.videos)")
        self.left_out = left_out(folder, [one for one in names if self._split_of(Path(one).stem)])
        found = []
        for name in names:
            split = self._split_of(Path(name).stem)
            if split in self.config.splits:
                samples = tuple(self._samples.get(Path(name).stem, {}).values())
                found.append(
                    Video(
                        id=Path(name).stem,
                        split=split,
                        path=folder / name,
                        annotation_paths=(*samples, self._geometry) if samples else (),
                    )
                )
        return found

    @property
    def _geometry(self) -> Path:
        return self.root / self.config.gaze / "geometry.txt"

    @cached_property
    def _samples(self) -> dict[str, dict[str, Path]]:
        """Sample files of the wanted observers by video and observer."""
        folder = self.root / self.config.gaze / "samples"
        found: dict[str, dict[str, Path]] = {}
        subjects = set()
        for name in file_names(folder):
            if match := _SAMPLES.fullmatch(name):
                subjects.add(match[1])
                if self._selected(match[1]):
                    found.setdefault(match[2], {})[match[1]] = folder / name
        named = {*(self.config.free_viewing_subjects or ())}
        named |= set() if self.subjects == "all" else set(self.subjects)
        if unknown := sorted(named - subjects):
            raise RecipeError(
                f"observers {', '.join(unknown)} have no file in {folder}; "
                f"there are {', '.join(sorted(subjects)) or 'none'}"
            )
        return found

    def _selected(self, subject: str) -> bool:
        free = subject in (self.config.free_viewing_subjects or ())
        fits = {"free_viewing": free, "task": not free, "all": True}[self.config.condition]
        return fits and (self.subjects == "all" or subject in self.subjects)

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Read the fixated pixels of the selected observers; see `Source.fixations`."""
        check_confined(self.root, video)
        samples = self._samples.get(video.id)
        if not samples:
            raise GazeError(
                f"no gaze of {video.id} by the {self.config.condition} observers: there is no "
                f"{self.root / self.config.gaze}/samples/NNN_{video.id}.avi.txt"
            )
        screen = self._screen()
        fps = probe(video).fps
        builder = PointsBuilder()
        for subject, path in samples.items():
            table = read_table(path, _COLUMNS, text=["event"])
            event = table["event"].str.upper().to_numpy(dtype="U1")
            seconds = (table["timestamp"] - table["timestamp"].iloc[0]).to_numpy() / 1e6
            x, y, inside = screen.to_video(
                table["x"].to_numpy(), table["y"].to_numpy(), height_px, width_px
            )
            fixated = event == "F"
            for letter in np.unique(event[~fixated]):
                builder.count(_EXCLUDED.get(str(letter), "not_fixation"), event == letter)
            builder.count("off_screen", fixated & ~inside)
            kept = fixated & inside
            frame = np.floor(seconds[kept] * fps)
            points = pixels_of_frames(frame, x[kept], y[kept], "pairwise")
            builder.add(subject, *points, read=len(table), used=frame)
        everybody = {one for files in self._samples.values() for one in files}
        return builder.build(
            {
                "origin": "raw gaze",
                "condition": self.config.condition,
                "observers_missing": sorted(everybody - samples.keys(), key=natural_key),
                "frame_rate": fps,
                "screen_height_px": screen.screen_height_px,
                "screen_width_px": screen.screen_width_px,
            }
        )

    def _screen(self) -> ScreenFit:
        """The screen; its width and height are the last two columns of ``geometry.txt``."""
        table = read_table(self._geometry, ("a", "b", "c", "width", "height"))
        width, height = (int(table[name].iloc[-1]) for name in ("width", "height"))
        if not (0 < width <= 1 << 14 and 0 < height <= 1 << 14):
            raise GazeError(f"{self._geometry}: a screen of {width}x{height} px")
        return ScreenFit(screen_height_px=height, screen_width_px=width)

    def parameters(self) -> dict[str, Any]:
        """Give every setting that changes the fixations; see `Source.parameters`."""
        return {
            "kind": self.config.kind,
            "form": "raw",
            "condition": self.config.condition,
            "free_viewing_subjects": self.config.free_viewing_subjects,
            "subjects": self.subjects,
        }


def open_either(
    config: MatheConfig,
    fixations: GazeSelection | None,
    clip: re.Pattern[str],
    split_of: Callable[[str], Split | None],
) -> ClipSource | MatheSource:
    """Open the source of `config` and `fixations`: repackaged clips, or raw gaze.

    The folders of repackaged clips match `clip`; `split_of` is that of `MatheSource`.
    """
    root = dataset_root(config.root)
    if config.form == "raw":
        return MatheSource(config, fixations, split_of)
    clips = split_clips(root, config.splits, clip, config.fps)
    return ClipSource(config, fixations, clips, min_frames=getattr(config, "min_frames", 1))


def forms(
    title: str,
    clip: str,
    videos: str,
    gaze: str,
    clips_published: dict[str, int],
    videos_published: dict[str, int],
) -> tuple[Form, Form]:
    """Describe the repackaged and the raw form of the dataset `title`.

    Folders of repackaged clips match the glob pattern `clip`; the raw form has the folders `videos`
    and `gaze`. `clips_published` and `videos_published` are the numbers in each split.
    """
    return (
        Form(
            f"{title}, repackaged by the DHF1K authors",
            [
                tuple(f"{split}/{clip}/{part}/*.*" for split in ("training", "testing"))
                for part in ("images", "maps", "fixation")
            ],
            {"form": "frames"},
            videos=clips_published,
        ),
        Form(
            f"{title}, raw gaze of Mathe and Sminchisescu",
            (
                (f"{videos}/{AVI_FILE}",),
                (f"{gaze}/samples/[0-9][0-9][0-9]_*.txt",),
                (f"{gaze}/geometry.txt",),
            ),
            {"form": "raw", "free_viewing_subjects": None},
            videos=videos_published,
        ),
    )
