"""SALICON: 20,000 still images of COCO, viewed by mouse; each image is a video of one frame.

M. Jiang, S. Huang, J. Duan, Q. Zhao: "SALICON: Saliency in Context", CVPR 2015. The editions of
2015 and 2017 hold different fixations of the same images; some of 2017 are outside the image.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError, RecipeError
from foveal.pipeline.sources.base import Dataset, Form, RawSource
from foveal.pipeline.sources.readers.clips import GroundTruthSection
from foveal.pipeline.sources.readers.files import (
    check_confined,
    check_file,
    file_names,
    natural_key,
    not_read,
)
from foveal.pipeline.sources.readers.json_text import read_annotations
from foveal.pipeline.sources.readers.mat import read_mat, real_numbers
from foveal.pipeline.sources.readers.pictures import PICTURE_SUFFIXES, PictureMaps
from foveal.pipeline.sources.readers.points import PointsBuilder, pixels_of_frames
from foveal.pipeline.video.density_kernels import DensityConstants, DensityKernel
from foveal.pipeline.video.types import Fixations, Video

Split = Literal["train", "val", "test"]
Points = list[tuple[str, NDArray[np.float64]]]
"""Observers and the fixations of each, float64 [n, 2] of (x, y) counted from 1."""

_MAX_JSON_BYTES = 1 << 33
_IMAGE = re.compile(r"COCO_(train|val|test)")


class SALICONConfig(GroundTruthSection):
    """SALICON: ``images/``, ``maps/`` and ``fixations/`` with one folder per split.

    Attributes
    ----------
    edition : {'2015', '2017'}
        Edition of the fixations. That of 2017 has fixations outside the image, which are counted
        and left out; that of 2015 has none, so one is an error.
    gaze : {'mat', 'json'}
        ``fixations/{split}/COCO_*.mat`` with (x, y), or ``fixations_{split}2014.json`` with
        (y, x). Both count pixels from 1.
    splits : list of {'train', 'val', 'test'}
        10,000, 5,000 and 5,000 images; the ground truth of ``test`` is withheld.
    """

    kind: Literal["salicon"]
    edition: Literal["2015", "2017"] = "2017"
    gaze: Literal["mat", "json"] = "mat"
    splits: tuple[Split, ...] = ("train", "val")


class SALICON(RawSource[SALICONConfig]):
    """SALICON as published; see `RawSource`."""

    def videos(self) -> Sequence[Video]:
        """List the images of the wanted splits; an id is an image's name without its suffix."""
        found = []
        beside: dict[Path, list[str]] = {}
        for split in self.config.splits:
            nested = self.root / "images" / split
            folder = nested if nested.is_dir() else self.root / "images"
            names = file_names(folder)
            pictures = [name for name in names if Path(name).suffix.lower() in PICTURE_SUFFIXES]
            own = [name for name in pictures if name.startswith(f"COCO_{split}")]
            found += [self._video(folder, name, split) for name in own]
            # Images of other splits may be in the same folder; they are no surprise.
            listed = own if folder == nested else [n for n in pictures if _IMAGE.match(n)]
            beside[folder] = sorted(set(names) - set(listed), key=natural_key)
        self.left_out = "; ".join(filter(None, map(not_read, beside, beside.values())))
        if not found:
            raise RecipeError(
                f"{self.root}/images holds no COCO_{{split}}2014_*.jpg of "
                f"{', '.join(self.config.splits)}, neither directly nor in one folder per split"
            )
        return found

    def _video(self, folder: Path, name: str, split: Split) -> Video:
        stem = Path(name).stem
        withheld = split == "test"
        annotation = () if withheld else (self._gaze_path(stem, split),)
        if self.config.ground_truth == "import" and not withheld:
            annotation = (*annotation, self._map_path(stem, split))
        return Video(
            id=stem,
            split=split,
            path=folder,
            image_names=(name,),
            fps=1.0,
            annotation_paths=annotation,
            has_ground_truth=not withheld,
        )

    def _gaze_path(self, stem: str, split: str) -> Path:
        if self.config.gaze == "mat":
            return self.root / "fixations" / split / f"{stem}.mat"
        return self.root / f"fixations_{split}2014.json"

    def _map_path(self, stem: str, split: str) -> Path:
        return self.root / "maps" / split / f"{stem}.png"

    def fixations(self, video: Video, height_px: int, width_px: int) -> Fixations:
        """Read the fixated pixels of all selected observers; see `Source.fixations`."""
        if not video.has_ground_truth or video.split is None:
            raise GazeError(f"SALICON withholds the ground truth of its test images, as {video.id}")
        check_confined(self.root, video)
        path = self._gaze_path(video.id, video.split)
        if self.config.gaze == "mat":
            observers = _read_mat_points(path)
        else:
            check_file(path, _MAX_JSON_BYTES)
            index = _index(path, path.stat().st_mtime_ns)
            if isinstance(index, GazeError):
                raise index
            observers = index.get(int(video.id.rsplit("_", 1)[-1]), [])
        if not observers:
            raise GazeError(f"{path} holds no fixations of {video.id}")
        builder = PointsBuilder()
        for subject, points in observers:
            if self.subjects != "all" and subject not in self.subjects:
                continue
            if not np.isfinite(points).all():
                raise GazeError(f"{path}: fixations of observer {subject} are not finite")
            x, y = np.floor(points.T + 0.5) - 1
            inside = (x >= 0) & (x < width_px) & (y >= 0) & (y < height_px)
            if self.config.edition == "2015" and not inside.all():
                raise GazeError(
                    f"{path}: {int((~inside).sum())} fixations of observer {subject} are outside "
                    f"the {width_px}x{height_px} image, which happens only in the edition of 2017; "
                    "write dataset.edition: '2017'"
                )
            builder.count("off_screen", ~inside)
            used = np.zeros(int(inside.sum()), int)
            pixels = pixels_of_frames(used, x[inside], y[inside], "pairwise")
            builder.add(subject, *pixels, read=len(points), used=used)
        return builder.build({"origin": "fixations", **self._rules()})

    def published_maps(self, video: Video) -> PictureMaps | None:
        """Open the density map where `ground_truth` is ``import``; see `Source`."""
        if self.config.ground_truth != "import" or not video.has_ground_truth:
            return None
        check_confined(self.root, video)
        return PictureMaps([self._map_path(video.id, video.split or "")])

    def _rules(self) -> dict[str, Any]:
        return {"edition": self.config.edition, "gaze": self.config.gaze}

    def parameters(self) -> dict[str, Any]:
        """Give every setting that changes the fixations; see `Source.parameters`."""
        return {"kind": "salicon", "subjects": self.subjects, **self._rules()}


def _read_mat_points(path: Path) -> Points:
    """Fixations of the observers of one image; they have no ids, so they are numbered from 1."""
    gaze = read_mat(path, "gaze")
    observers = [gaze] if isinstance(gaze, dict) else gaze
    try:
        return [
            (str(number), real_numbers(one["fixations"]).reshape(-1, 2))
            for number, one in enumerate(observers, start=1)
        ]
    except (TypeError, KeyError, ValueError):
        raise GazeError(f"{path}: gaze is no structure array with (x, y) fixations") from None


@functools.lru_cache(maxsize=2)
def _index(path: Path, modified_ns: int) -> dict[int, Points] | GazeError:
    """All fixations of a JSON file by image, as (x, y); or the reason why it cannot be read.

    The file is read once per process; `modified_ns` makes a changed file count as another one.
    """
    found: dict[int, Points] = {}
    try:
        for annotation in read_annotations(path):
            rows = real_numbers(annotation["fixations"]).reshape(-1, 2)
            observers = found.setdefault(int(annotation["image_id"]), [])
            observers.append((str(annotation["worker_id"]), rows[:, ::-1].copy()))
    except GazeError as error:
        return error
    except UnicodeDecodeError as error:
        return GazeError(f"{path} is not UTF-8, as JSON is: {error}; fetch it again")
    except (TypeError, KeyError, ValueError, OverflowError, RecursionError):
        return GazeError(
            f"{path}: an annotation lacks image_id, worker_id or [[y, x], …] fixations"
        )
    return found


# The binary map blurred by a Gaussian of σ = 19 px, minus its minimum, divided by its maximum:
# SALICON.buildFixMap in salicon.py (Jiang et al. 2015). It calls scipy.ndimage.gaussian_filter with
# the defaults: cut at 4 σ = 76 px, mirrored border.
DENSITY = DensityConstants(
    DensityKernel(19.0, half_width_px=76.0, border="reflect", subtract_min=True)
)

FORM = Form(
    "SALICON",
    (
        ("images/COCO_*", "images/*/COCO_*"),
        ("fixations/*/COCO_*.mat", "fixations_*2014.json"),
    ),
    options={"fixations/*/COCO_*.mat": {"gaze": "mat"}, "fixations_*.json": {"gaze": "json"}},
    videos={"train": 10000, "val": 5000, "test": 5000},
)

DATASET = Dataset(
    "salicon",
    "SALICON",
    SALICONConfig,
    SALICON,
    forms=(FORM,),
    density=DENSITY,
    citation='M. Jiang et al., "SALICON: Saliency in Context", CVPR 2015',
    terms="see http://salicon.net/; the images are COCO's",
)
