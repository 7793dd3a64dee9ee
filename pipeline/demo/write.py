"""Write the demo dataset: a miniature DHF1K, drawn by a program, whose truth is known."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from foveal.errors import FovealError
from foveal.pipeline.demo.layout import write_gaze, write_published
from foveal.pipeline.demo.natural import natural_scene
from foveal.pipeline.demo.observers import observe
from foveal.pipeline.demo.scene import render_scene
from foveal.pipeline.demo.truth import flow_truth, gaze_truth, save_truth
from foveal.pipeline.video.encode import encode_video

VERSION = 1
"""Raised whenever the same parameters would give another dataset."""

FPS = 30

MARK = "truth/demo.json"
"""Written last; tells a demo dataset, and which one, from any other folder."""


@dataclass(frozen=True)
class DemoClip:
    """One clip of the demo dataset.

    Attributes
    ----------
    number : int
        Number of the video; DHF1K's rule makes 1-600 train and 601-700 val.
    frames : int
    background : str
        Key of `textures.GROUNDS`.
    objects : int
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

    The folder appears at once when all of it is written. Where it already holds the demo dataset
    of the same parameters nothing is done; one of other parameters is replaced, with whatever else
    lies in the folder.

    Parameters
    ----------
    root : Path
        Folder to write; its parents are made.
    seed : int
        Gaze, maps and truth are the same byte for byte for the same seed; the videos too with the
        same build of ffmpeg.
    clips : sequence of DemoClip
    size : (height, width)
        Of the videos, even numbers.
    observers : int
    truth_stride : int
        The true flow is kept for every so many-th pixel.

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
    root.parent.mkdir(parents=True, exist_ok=True)
    building = root.with_name(f".{root.name}.writing-{os.getpid()}")
    replaced = root.with_name(f".{root.name}.replaced-{os.getpid()}")
    try:
        building.mkdir()
        names = [f"P{index + 1:02d}" for index in range(observers)]
        for clip in clips:
            _write_clip(building, seed, clip, size, names, truth_stride)
        (building / "README.txt").write_text(_README)
        (building / MARK).write_text(wanted)
        if mark.is_file():
            root.rename(replaced)
        building.rename(root)
    finally:
        shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


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
"""Where an observer looks once, by (observer + clip) modulo 4; the others watch throughout."""

_README = """\
The demo dataset of foveal: a miniature of DHF1K whose truth is known
======================================================================

Nothing here was filmed and nobody was recorded. A program drew the videos (textured pebbles that
wander over panning ground) and simulated the observers, from a seed that truth/demo.json tells.
The folders lie as DHF1K publishes them (Wang et al. 2018), so whatever reads DHF1K reads this.

video/NNN.AVI                             30 fps, MPEG-4 Visual (xvid), an audio track; 1-600 train,
                                          601-700 val
exportdata_train/Pxx/Pxx_TrailNNN.txt     raw gaze of observer Pxx, 250 Hz, screen 1440 x 900 with
                                          the video scaled to its width; blinks, lost samples at
                                          (0, 0), gaps, looks off the screen, and about a second
                                          more than the video, as in real recordings
annotation/NNNN/                          published form: maps/%04d.png (density),
                                          fixation/%04d.png and fixation/maps/%04d.mat (I); the
                                          lone %04d.png is a picture that belongs to nothing, as
                                          in the real archive

truth/flow/NNN.npz, item [j, i] of a grid belongs to pixel (x, y) = (stride i, stride j):
  flow       float16 [frames - 1, rows, columns, 2]  (u, v): pixels of the video that the point
             seen in frame k moves right and down until frame k + 1
  occluded   bool [frames - 1, rows, columns]  it leaves the picture or goes behind something
  mixed      bool [frames - 1, rows, columns]  it lies on a soft edge, in frame k or k + 1
  layer      uint8 [frames, rows, columns]  0 ground, 1 ... pebbles from far to near
  centre_xy  float64 [frames, pebbles, 2]  centres of the pebbles
  stride, size (height, width), fps

truth/gaze/NNN.npz, one item a row of the text files, observers in turn:
  observers, observer   names; index into them
  time_us    microseconds since the observer's first sample, which is the first frame
  frame      0-based frame shown then; past the clip's end the count goes on
  target     pebble fixated (its number in layer), -1 for none
  target_xy  the fixated point of it (NaN for none)
  gaze_xy    where the eye truly pointed

Positions are 0-based pixels of the video; (0, 0) is the centre of the upper left one.
truth/demo.json holds the parameters that made all this.
"""
