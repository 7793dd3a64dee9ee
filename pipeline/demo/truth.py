"""The known truth of a demo dataset, in npz files that plain NumPy reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import InputError
from foveal.pipeline.demo.observers import Recording
from foveal.pipeline.demo.scene import RenderedFrame, Scene


@dataclass(frozen=True, eq=False)
class TrueFlow:
    """Content of ``truth/flow/NNN.npz``: the exact motion of every `stride`-th pixel of a clip.

    Item [j, i] of a grid is pixel (x, y) = (stride * i, stride * j) of the video.

    Attributes
    ----------
    flow : ndarray, float16 [frames - 1, rows, columns, 2]
        (u, v): pixels of the *video* by which the point of frame k moves right and down until
        frame k + 1.
    occluded : ndarray, bool [frames - 1, rows, columns]
        The point leaves the picture or goes behind a nearer object until frame k + 1.
    mixed : ndarray, bool [frames - 1, rows, columns]
        The soft edge of an object, in frame k or at the position of the point in frame k + 1.
    layer : ndarray, uint8 [frames, rows, columns]
        0 background, 1 ... objects from far to near.
    centre_xy : ndarray, float64 [frames, objects, 2]
        Centres of the objects, in pixels of the video counted from 0.
    stride : int
        Step between the pixels of the grid.
    size : ndarray, int [2]
        (height, width) of the video.
    fps : float
        Frames per second.
    """

    flow: NDArray[np.float16]
    occluded: NDArray[np.bool_]
    mixed: NDArray[np.bool_]
    layer: NDArray[np.uint8]
    centre_xy: NDArray[np.float64]
    stride: int
    size: NDArray[np.int64]
    fps: float


@dataclass(frozen=True, eq=False)
class TrueGaze:
    """Content of ``truth/gaze/NNN.npz``: one item per row of the observers' text files, in order.

    Attributes
    ----------
    observers : ndarray, str [observers]
        Ids as in the file names.
    observer : ndarray, int16 [n]
        Index into `observers`, in ascending order.
    time_us : ndarray, int64 [n]
        Microseconds since the observer's first sample, which is the video's first frame.
    frame : ndarray, int32 [n]
        Frame shown at that time, counted from 0; after the end of the clip the count goes on.
    target : ndarray, int8 [n]
        Fixated object (its number in `TrueFlow.layer`); -1 during saccades and blinks, while the
        observer looks elsewhere, and after the end.
    target_xy : ndarray, float64 [n, 2]
        Fixated point of that object, in pixels of the video counted from 0; NaN without one.
    gaze_xy : ndarray, float64 [n, 2]
        True direction of the eye, including drift, tremor, saccades and looks off the screen.
    """

    observers: NDArray[np.str_]
    observer: NDArray[np.int16]
    time_us: NDArray[np.int64]
    frame: NDArray[np.int32]
    target: NDArray[np.int8]
    target_xy: NDArray[np.float64]
    gaze_xy: NDArray[np.float64]


def flow_truth(scene: Scene, sparse: Sequence[RenderedFrame], stride: int) -> TrueFlow:
    """Collect the truth of `scene` from its frames `sparse`, reduced to every `stride`-th pixel."""
    times = np.arange(scene.frames) / scene.fps
    centres = [sheet.motion.position(times) for sheet in scene.layers[1:]]
    return TrueFlow(
        flow=np.stack([frame.flow for frame in sparse[:-1]]).astype(np.float16),
        occluded=np.stack([frame.occluded for frame in sparse[:-1]]),
        mixed=np.stack([frame.mixed for frame in sparse[:-1]]),
        layer=np.stack([frame.layer for frame in sparse]),
        centre_xy=np.stack(centres, axis=1),
        stride=stride,
        size=np.array([scene.height_px, scene.width_px]),
        fps=scene.fps,
    )


def gaze_truth(recordings: Sequence[Recording], observers: Sequence[str], fps: float) -> TrueGaze:
    """Collect the truth of the `recordings` of one clip at `fps`, one per id in `observers`."""
    time_us = np.concatenate([recording.time_us for recording in recordings])
    return TrueGaze(
        observers=np.array(observers),
        observer=np.repeat(
            np.arange(len(recordings), dtype=np.int16), [len(one) for one in recordings]
        ),
        time_us=time_us,
        frame=np.floor(time_us * fps / 1e6).astype(np.int32),
        target=np.concatenate([recording.target for recording in recordings]),
        target_xy=np.concatenate([recording.target_xy for recording in recordings]),
        gaze_xy=np.concatenate([recording.gaze_xy for recording in recordings]),
    )


def save_truth(path: Path, truth: TrueFlow | TrueGaze) -> None:
    """Write `truth` to `path`; the same truth gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **asdict(truth))


def load_true_flow(root: Path, clip: int) -> TrueFlow:
    """Read the true motion of the video number `clip` of the demo dataset at `root`."""
    values = _load(root / "truth" / "flow" / f"{clip:03d}.npz")
    return TrueFlow(**{**values, "stride": int(values["stride"]), "fps": float(values["fps"])})


def load_true_gaze(root: Path, clip: int) -> TrueGaze:
    """Read the true gaze on the video number `clip` of the demo dataset at `root`."""
    return TrueGaze(**_load(root / "truth" / "gaze" / f"{clip:03d}.npz"))


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing: write the demo dataset again to have its truth")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
