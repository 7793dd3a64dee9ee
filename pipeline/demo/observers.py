"""Simulated observers, who pursue objects and make saccades, and an imperfect eye tracker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from foveal.pipeline.demo.scene import Scene

_SAMPLE_HZ = 250.0
_SCREEN_WIDTH_PX = 1440
_SCREEN_HEIGHT_PX = 900
_SCREEN_PX_PER_DEGREE = 41.7
"""Of a 41 cm wide screen seen from 68 cm."""

_NO_TARGET = -1
"""Target of samples without a fixated object: saccades, blinks, looks elsewhere, after the end."""


@dataclass(frozen=True, eq=False)
class Recording:
    """What a tracker recorded of one observer and one video, and the truth about the eye.

    Attributes
    ----------
    time_us : ndarray, int64 [n]
        Microseconds since the first sample, which is at the video's first frame.
    por_px : ndarray, float64 [n, 2]
        Point of regard (x, y) on the screen as recorded, to two decimals; (0, 0) where lost.
    event : ndarray, str [n]
        ``Fixation``, ``Saccade``, ``Blink`` or ``-`` as recorded.
    pupil_px : ndarray, float64 [n]
        Pupil diameter as recorded.
    target : ndarray, int8 [n]
        Index of the fixated layer in the scene; -1 where no object is fixated.
    target_xy : ndarray, float64 [n, 2]
        Fixated point of that object in pixels of the video counted from 0; NaN without a target.
    gaze_xy : ndarray, float64 [n, 2]
        True direction of the eye, including drift and tremor, in pixels of the video from 0.
    """

    time_us: NDArray[np.int64]
    por_px: NDArray[np.float64]
    event: NDArray[np.str_]
    pupil_px: NDArray[np.float64]
    target: NDArray[np.int8]
    target_xy: NDArray[np.float64]
    gaze_xy: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.time_us)


@dataclass(frozen=True)
class _Episode:
    """One fixation: its start and end, its layer (0: elsewhere) and the point of the layer."""

    start_seconds: float
    stop_seconds: float
    layer: int
    offset_px: tuple[float, float]


def screen_from_video(
    xy: NDArray[np.float64], height_px: int, width_px: int
) -> NDArray[np.float64]:
    """Map pixels of the video to the screen; the video fills the width and is centred vertically.

    This inverts the DHF1K authors' ``record_mapping.m``, which counts pixels from 1:
    x = a X and y = a (Y - b) with a = width / 1440 and b = (900 - height / a) / 2.

    Parameters
    ----------
    xy : ndarray [n, 2]
        (x, y) in pixels of the video, counted from 0.
    height_px, width_px : int
        Size of the video.
    """
    scale, bar_px = _screen_mapping(height_px, width_px)
    return (xy + 1) / scale + (0, bar_px)


def video_from_screen(
    por_px: NDArray[np.float64], height_px: int, width_px: int
) -> NDArray[np.float64]:
    """Map points `por_px` of the screen to a video of `height_px` and `width_px`, without rounding.

    The inverse of `screen_from_video`.
    """
    scale, bar_px = _screen_mapping(height_px, width_px)
    return (por_px - (0, bar_px)) * scale - 1


def _screen_mapping(height_px: int, width_px: int) -> tuple[float, float]:
    """Video pixels per screen pixel, and the height of the bar above the video on the screen."""
    scale = width_px / _SCREEN_WIDTH_PX
    return scale, (_SCREEN_HEIGHT_PX - height_px / scale) / 2


def observe(scene: Scene, rng: np.random.Generator, *, look_away: str | None = None) -> Recording:
    """Simulate one observer who watches a scene.

    Fixations last 0.15 s to about 1 s and follow a point of a moving object (smooth pursuit is
    labelled Fixation) with drift and tremor. Saccades between objects follow the main sequence
    (2.2 ms per degree + 21 ms). The recording ends about a second after the video. The times of its
    rows jitter, some rows are missing, and some have lost the eye at (0, 0).

    Parameters
    ----------
    scene : Scene
    rng : Generator
    look_away : {'off_screen', 'bar'}, optional
        During one fixation the observer looks beside the screen, or at the black bar above the
        video.
    """
    duration = scene.frames / scene.fps
    count = int((duration + rng.uniform(0.9, 1.1)) * _SAMPLE_HZ)
    time_us = np.round(np.arange(count) * 1e6 / _SAMPLE_HZ + rng.normal(0, 45, count)).astype(int)
    time_us -= time_us[0]
    seconds = time_us / 1e6

    episodes = list(_scanpath(scene, rng, seconds[-1], look_away))
    target = np.full(count, _NO_TARGET, np.int8)
    target_xy = np.full((count, 2), np.nan)
    event = np.full(count, "Fixation", dtype="<U8")
    gaze_xy = np.empty((count, 2))
    landed = 0
    for episode in episodes:
        start, stop = np.searchsorted(seconds, (episode.start_seconds, episode.stop_seconds))
        if start > landed:  # a saccade to the start of the next fixation
            origin = gaze_xy[landed - 1]
            aim = _followed(scene, episode, np.array([episode.start_seconds]))
            progress = np.arange(1, start - landed + 1)[:, None] / (start - landed + 1)
            gaze_xy[landed:start] = origin + (aim - origin) * _minimum_jerk(progress)
            event[landed:start] = "Saccade"
        point = _followed(scene, episode, seconds[start:stop])
        gaze_xy[start:stop] = point + _unsteadiness(rng, stop - start, scene.width_px)
        if episode.layer > 0:
            watched = min(stop, int(np.searchsorted(seconds, duration)))
            target[start:watched] = episode.layer
            target_xy[start:watched] = point[: max(watched - start, 0)]
        landed = stop

    por_px = np.round(screen_from_video(gaze_xy, scene.height_px, scene.width_px), 2)
    pupil_px = np.round(13.5 + 0.8 * np.sin(seconds / 2.3) + rng.normal(0, 0.06, count), 2)
    _leave_unlabelled(rng, event)
    _blink(rng, seconds, duration, por_px, event, pupil_px, target, target_xy)
    kept = _drop_out(rng, seconds)
    return Recording(
        time_us[kept].astype(np.int64),
        por_px[kept],
        event[kept],
        pupil_px[kept],
        target[kept],
        target_xy[kept],
        gaze_xy[kept],
    )


def _scanpath(
    scene: Scene, rng: np.random.Generator, end_seconds: float, look_away: str | None
) -> Iterator[_Episode]:
    """Fixations in order, with the time of a saccade between each two."""
    px_per_degree = _SCREEN_PX_PER_DEGREE * scene.width_px / _SCREEN_WIDTH_PX
    looking_away_at = rng.uniform(0.25, 0.6) * scene.frames / scene.fps
    seconds, layer = 0.0, 0
    eye: NDArray[np.float64] | None = None
    while seconds < end_seconds:
        fixation_seconds = 0.15 + rng.gamma(2.0, 0.14)
        if look_away is not None and seconds >= looking_away_at:
            layer, offset_px = 0, _elsewhere(scene, rng, look_away)
            look_away, fixation_seconds = None, 0.2
        else:
            layer = _choose(scene, rng, seconds, layer)
            reach = 0.35 * scene.layers[layer].radius_px
            dx, dy = reach * np.clip(rng.normal(0, 0.5, 2), -1, 1)
            offset_px = (float(dx), float(dy))
        episode = _Episode(seconds, end_seconds, layer, offset_px)
        if eye is not None:
            aim = _followed(scene, episode, np.array([seconds]))[0]
            seconds += 0.021 + 0.0022 * float(np.hypot(*(aim - eye))) / px_per_degree
        stop = min(seconds + fixation_seconds, end_seconds + 1e-6)
        yield _Episode(seconds, stop, layer, offset_px)
        eye = _followed(scene, episode, np.array([stop]))[0]
        seconds = stop


def _choose(scene: Scene, rng: np.random.Generator, seconds: float, previous: int) -> int:
    """Draw an object whose centre no nearer object covers, not the previous one where possible.

    The probability is proportional to the radius.
    """
    layers = range(1, len(scene.layers))
    centres = {i: scene.layers[i].motion.matrix(seconds)[:, 2] for i in layers}
    in_sight = [
        i
        for i in layers
        if all(
            np.hypot(*(centres[i] - centres[nearer])) > scene.layers[nearer].radius_px
            for nearer in layers[i:]
        )
    ]
    candidates = [i for i in in_sight if i != previous] or in_sight
    weights = np.array([scene.layers[i].radius_px for i in candidates])
    return int(rng.choice(candidates, p=weights / weights.sum()))


def _elsewhere(scene: Scene, rng: np.random.Generator, place: str) -> tuple[float, float]:
    """A point beside the picture, in pixels of the video."""
    if place == "off_screen":
        return (scene.width_px * rng.uniform(1.03, 1.1), scene.height_px * rng.uniform(0.3, 0.7))
    if place == "bar":
        return (scene.width_px * rng.uniform(0.2, 0.8), -0.02 * scene.width_px)
    raise ValueError(f"look_away is {place!r}; allowed: 'off_screen', 'bar', None")


def _followed(scene: Scene, episode: _Episode, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fixated point at each time, float64 [n, 2]; objects stop when the video has ended."""
    if episode.layer == 0:
        return np.tile(np.array(episode.offset_px), (len(seconds), 1))
    motion = scene.layers[episode.layer].motion
    return motion.position(np.minimum(seconds, scene.frames / scene.fps), episode.offset_px)


def _unsteadiness(rng: np.random.Generator, count: int, width_px: int) -> NDArray[np.float64]:
    """Drift (a slow, bounded random walk, 0.1 degrees) and tremor (0.01 degrees) of a fixation."""
    px_per_degree = _SCREEN_PX_PER_DEGREE * width_px / _SCREEN_WIDTH_PX
    keep = np.exp(-1 / (0.15 * _SAMPLE_HZ))
    kicks = rng.normal(0, np.sqrt(1 - keep**2), (count, 2))
    drift = lfilter([1.0], [1.0, -keep], kicks, axis=0)
    unsteadiness: NDArray[np.float64] = 0.1 * drift + 0.01 * rng.normal(0, 1, (count, 2))
    return px_per_degree * unsteadiness


def _minimum_jerk(progress: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the way covered: slow, fast, slow."""
    return np.asarray(progress**3 * (10 + progress * (6 * progress - 15)))


def _leave_unlabelled(rng: np.random.Generator, event: NDArray[np.str_]) -> None:
    """Remove the event of some rows after a saccade, as trackers do before the eye is steady."""
    landings = np.flatnonzero((event[:-1] == "Saccade") & (event[1:] == "Fixation")) + 1
    for landing in landings:
        if rng.random() < 0.4:
            event[landing : landing + rng.integers(2, 9)] = "-"


def _blink(
    rng: np.random.Generator,
    seconds: NDArray[np.float64],
    duration: float,
    por_px: NDArray[np.float64],
    event: NDArray[np.str_],
    pupil_px: NDArray[np.float64],
    target: NDArray[np.int8],
    target_xy: NDArray[np.float64],
) -> None:
    """Close the eye at least once.

    In most blinks the gaze is lost at (0, 0), and the label comes late (Fixation rows at (0, 0));
    in some blinks the tracker still reports a point.
    """
    start_seconds = rng.uniform(0.15, 0.6) * duration
    while start_seconds < seconds[-1]:
        start = int(np.searchsorted(seconds, start_seconds))
        stop = start + int(rng.uniform(0.08, 0.16) * _SAMPLE_HZ)
        event[start:stop] = "Blink"
        event[stop : stop + rng.integers(1, 5)] = "-"
        pupil_px[start:stop] = np.round(rng.uniform(7, 12, len(pupil_px[start:stop])), 2)
        target[start:stop] = _NO_TARGET
        target_xy[start:stop] = np.nan
        if rng.random() < 0.8:
            por_px[start:stop] = 0
            event[start : start + rng.integers(2, 7)] = "Fixation"
        start_seconds += 1.5 + rng.gamma(2.0, 1.2)


def _drop_out(rng: np.random.Generator, seconds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows that are recorded: all except one gap of up to 136 ms and a few single rows."""
    kept = rng.random(len(seconds)) > 0.002
    start = int(rng.uniform(0.1, 0.9) * len(seconds))
    kept[start : start + rng.integers(5, 34)] = False
    kept[0] = kept[-1] = True
    return kept
