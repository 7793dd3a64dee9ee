"""Write the demo dataset: a miniature of DHF1K, drawn by a program, whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from foveal.errors import FovealError
from foveal.pipeline.demo.layout import whole_folder, write_gaze, write_published
from foveal.pipeline.demo.natural import natural_scene
from foveal.pipeline.demo.observers import observe
from foveal.pipeline.demo.scene import render_scene
from foveal.pipeline.demo.truth import flow_truth, gaze_truth, save_truth
from foveal.pipeline.video.encode import encode_video

VERSION = 1
"""Increased whenever the same parameters give another dataset."""

FPS = 30
"""Frames per second of the clips."""

MARK = "truth/demo.json"
"""File that is written last; it marks a folder as a demo dataset and holds its parameters."""


@dataclass(frozen=True)
class DemoClip:
    """One clip of the demo dataset.

    Attributes
    ----------
    number : int
        Number of the video; by DHF1K's rule, 1-600 are train and 601-700 val.
    frames : int
        Length.
    background : str
        Key of `textures.GROUNDS`.
    objects : int
        Number of moving objects, 1 to 5.
    published : bool
        Whether ``annotation/`` holds its published form too.
    """

    number: int
    frames: int
    background: str
    objects: int
    published: bool = False


CLIPS = (
    DemoClip(1, 90, "meadow", 4, published=True),
    DemoClip(2, 60, "shore", 3),
    DemoClip(601, 100, "autumn", 5),
)
"""Clips of the demo dataset by default."""


def write_demo(
    root: Path,
    seed: int = 0,
    *,
    clips: Sequence[DemoClip] = CLIPS,
    size: tuple[int, int] = (360, 640),
    observers: int = 12,
    truth_stride: int = 4,
) -> None:
    """Write the demo dataset in DHF1K's published layout, with its truth beside it.

    The folder appears at once when everything is written. Where it already holds the demo dataset
    of the same parameters, nothing is done. One of other parameters is replaced, together with any
    other file in the folder.

    Parameters
    ----------
    root : Path
        Folder to write; its parents are made.
    seed : int
        The same seed gives gaze, maps and truth of the same bytes; the videos too, with the same
        build of ffmpeg.
    clips : sequence of DemoClip
        Clips to write.
    size : (height, width)
        Size of the videos, even numbers.
    observers : int
        Number of observers.
    truth_stride : int
        Step between the pixels whose true flow is kept.

    Raises
    ------
    FovealError
        `root` exists and is neither empty nor a demo dataset, or ffmpeg failed.
    MissingDependency
        No ffmpeg is found.
    """
    parameters = {
        "version": VERSION,
        "seed": seed,
        "clips": [asdict(clip) for clip in clips],
        "size": list(size),
        "observers": observers,
        "truth_stride": truth_stride,
        "fps": FPS,
    }
    wanted = json.dumps(parameters, indent=1) + "\n"
    mark = root / MARK
    if mark.is_file() and mark.read_text() == wanted:
        return
    if root.exists() and not mark.is_file() and (not root.is_dir() or any(root.iterdir())):
        raise FovealError(
            f"{root} exists and is no demo dataset: name a new or empty folder, or remove it"
        )
    with whole_folder(root) as building:
        names = [f"P{index + 1:02d}" for index in range(observers)]
        for clip in clips:
            _write_clip(building, seed, clip, size, names, truth_stride)
        (building / "README.txt").write_text(_README)
        (building / MARK).write_text(wanted)


def _write_clip(
    root: Path,
    seed: int,
    clip: DemoClip,
    size: tuple[int, int],
    names: Sequence[str],
    truth_stride: int,
) -> None:
    scene = natural_scene(
        np.random.default_rng([seed, clip.number]),
        size,
        FPS,
        clip.frames,
        background=clip.background,
        objects=clip.objects,
    )
    video = root / "video" / f"{clip.number:03d}.AVI"
    video.parent.mkdir(exist_ok=True)
    images, sparse = [], []
    for frame in render_scene(scene):
        images.append(frame.image)
        sparse.append(frame.every(truth_stride))
    duration = clip.frames / FPS
    encode_video(images, video, FPS, audio_seconds=duration + 0.05)

    recordings = []
    for index, name in enumerate(names):
        rng = np.random.default_rng([seed, clip.number, index + 1])
        look_away = _LOOKS_AWAY.get((index + clip.number) % 4)
        recordings.append(observe(scene, rng, look_away=look_away))
        clock_us = int(rng.integers(10**10, 2 * 10**11))
        write_gaze(root, clip.number, name, recordings[-1], clock_us)
    if clip.published:
        write_published(root, clip.number, recordings, FPS, images)

    truth = root / "truth"
    file_name = f"{clip.number:03d}.npz"
    save_truth(truth / "flow" / file_name, flow_truth(scene, sparse, truth_stride))
    save_truth(truth / "gaze" / file_name, gaze_truth(recordings, names, FPS))


_LOOKS_AWAY = {0: "off_screen", 1: "bar"}
"""Where an observer looks once, by (observer + clip) modulo 4; the others always watch."""

_README = """\
The demo dataset of foveal: a miniature of DHF1K whose truth is known
======================================================================

Nothing here was filmed and nobody was recorded. A program drew the videos (textured pebbles that
wander over a panning background) and simulated the observers, from the seed in truth/demo.json.
The folders are those of DHF1K (Wang et al. 2018), so programs that read DHF1K also read this.

video/NNN.AVI                             30 fps, MPEG-4 Visual (xvid), an audio track; 1-600 train,
                                          601-700 val
exportdata_train/Pxx/Pxx_TrailNNN.txt     raw gaze of observer Pxx, 250 Hz, screen 1440 x 900 with
                                          the video scaled to its width; blinks, lost samples at
                                          (0, 0), gaps, looks off the screen, and about a second
                                          more than the video, as in real recordings
annotation/NNNN/                          published form: maps/%04d.png (density),
                                          fixation/%04d.png and fixation/maps/%04d.mat (I); one
                                          more picture %04d.png belongs to no frame, as in the
                                          real archive

truth/flow/NNN.npz, item [j, i] of a grid is pixel (x, y) = (stride i, stride j):
  flow       float16 [frames - 1, rows, columns, 2]  (u, v): pixels of the video by which the point
             of frame k moves right and down until frame k + 1
  occluded   bool [frames - 1, rows, columns]  it leaves the picture or goes behind something
  mixed      bool [frames - 1, rows, columns]  it is on a soft edge, in frame k or k + 1
  layer      uint8 [frames, rows, columns]  0 background, 1 ... pebbles from far to near
  centre_xy  float64 [frames, pebbles, 2]  centres of the pebbles
  stride, size (height, width), fps

truth/gaze/NNN.npz, one item per row of the text files, observer after observer:
  observers, observer   names; index into them
  time_us    microseconds since the observer's first sample, which is the first frame
  frame      frame shown at that time, counted from 0; after the clip's end the count goes on
  target     fixated pebble (its number in layer), -1 for none
  target_xy  its fixated point (NaN for none)
  gaze_xy    the true direction of the eye

Positions are pixels of the video counted from 0; (0, 0) is the centre of the upper left pixel.
truth/demo.json holds the parameters of this dataset.
"""
