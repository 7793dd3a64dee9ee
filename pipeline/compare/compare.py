"""This module compares stored predictions: sheets, differences by video, scores over time."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from foveal.errors import RecipeError, StoreError, writing
from foveal.models.metrics import Variant, find_metric
from foveal.pipeline.compare.draw import Means, Work, draw_figures
from foveal.pipeline.compare.page import page
from foveal.pipeline.learn.evaluate import contestants, evaluate, predictions_in
from foveal.pipeline.learn.ground_truth import Truth
from foveal.storage.reader import Store, open_store

MOST_VIDEOS, MOST_FRAMES, MOST_MODELS = 24, 12, 8

SHOWN_BY_DEFAULT = 4
"""Number of videos drawn where none are named."""

Advance = Callable[[str, int, int], None]
"""Called with a video, the number of frames done and the number of its frames."""


@dataclass(frozen=True)
class Comparison:
    """What was drawn.

    Attributes
    ----------
    folder : Path
    files : tuple of str
        Names of the files; ``index.html`` shows all figures.
    models : tuple of str
    metric : str
    videos : tuple of str
        Videos that were drawn.
    means : mapping of str to mapping
        By scored video and model, the mean score of its frames.
    between : (str, str) or None
        The models whose difference is drawn.
    not_scored : mapping of str to str
        Videos without scores, and why.
    """

    folder: Path
    files: tuple[str, ...]
    models: tuple[str, ...]
    metric: str
    videos: tuple[str, ...]
    means: Mapping[str, Mapping[str, float]]
    between: tuple[str, str] | None
    not_scored: Mapping[str, str]


def compare(
    store_url: str | Path,
    folder: str | Path,
    models: Sequence[str] = (),
    *,
    videos: Sequence[str] | None = None,
    split: str | None = None,
    metric: str = "nss",
    variant: Variant = "mit",
    frames: int = 3,
    between: tuple[str, str] | None = None,
    advance: Advance = lambda video, done, frames: None,
) -> Comparison:
    """Draw how stored predictions differ, without training or predicting anything.

    - ``sheet``: frame x ground truth x models, at `frames` moments of each drawn video;
    - ``difference``: mean score by video, one model minus the other, sorted, and the moments of the
      largest differences in the videos at both ends;
    - ``time_<video>``: the score of each frame, and the moments at its peaks.

    Each is a PNG and a PDF; ``index.html`` shows all of them, ``videos.csv`` and ``frames.csv``
    hold the numbers.

    Parameters
    ----------
    store_url : str or Path
        The store.
    folder : str or Path
        Made where it is missing; files of the same names in it are replaced.
    models : sequence of str
        Names of predictions (``saliency_`` may be left out); by default all that every video has.
    videos : sequence of str, optional
        Videos drawn in ``sheet`` and over time; by default `SHOWN_BY_DEFAULT` spread over the
        split.
    split : str, optional
        Whose videos are scored; by default all of the store.
    metric : str
        Name of a registered metric.
    variant : {'mit', 'dhf1k', 'pysaliency'}
        Whose definition of the metric is used.
    frames : int
        Moments of each video in ``sheet``, evenly spread.
    between : (str, str), optional
        Two models; the first two by default.
    advance : callable
        See `Advance`.

    Returns
    -------
    Comparison

    Raises
    ------
    RecipeError
        A model, the metric or a number is not allowed.
    StoreError
        A video does not exist or lacks a prediction.
    """
    store = open_store(store_url)
    if not 1 <= frames <= MOST_FRAMES:
        raise RecipeError(f"frames per video: 1 to {MOST_FRAMES}, not {frames}")
    there = store.select(split)
    drawn = list(videos) if videos is not None else _spread(there, SHOWN_BY_DEFAULT)
    if not 1 <= len(drawn) <= MOST_VIDEOS:
        raise RecipeError(f"{len(drawn)} videos to draw; a sheet takes 1 to {MOST_VIDEOS}")
    for video in drawn:
        store.marks(video)
    arrays = _arrays(store, models, drawn)
    pair = _pair(store, between, arrays)
    chosen = find_metric(metric)
    work = Work(store, arrays, metric, chosen.label, chosen.higher_is_better)
    scored, not_scored = _scorable(store, [*drawn, *(v for v in there if v not in drawn)], arrays)
    if scored:
        wanted, _ = contestants(store, arrays, [])
        result = evaluate(
            store, wanted, videos=scored, metrics=(metric,), variant=variant, advance=advance
        )
        work.scores = {
            video: {model: result.frames[model][video][metric] for model in arrays}
            for video in scored
        }
    means = work.means()
    figures = draw_figures(work, drawn, frames, pair, means)
    place = Path(folder)
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
        files = _write(place, figures)
        (place / "videos.csv").write_text(_videos_csv(means, arrays, metric), encoding="utf-8")
        (place / "frames.csv").write_text(_frames_csv(work, drawn), encoding="utf-8")
        shown = page(store, place, figures, means, arrays, chosen, not_scored)
        (place / "index.html").write_text(shown, encoding="utf-8")
    return Comparison(
        place,
        ("index.html", *files, "videos.csv", "frames.csv"),
        tuple(arrays),
        metric,
        tuple(drawn),
        means,
        pair,
        not_scored,
    )


def _arrays(store: Store, models: Sequence[str], videos: Sequence[str]) -> list[str]:
    there = predictions_in(store, videos)
    wanted = [f"saliency_{each.removeprefix('saliency_')}" for each in models] or there
    unknown = [each for each in wanted if each not in there]
    if unknown or not wanted:
        raise RecipeError(
            f"{store.location}: not all of {', '.join(videos[:4])} have "
            f"{', '.join(unknown) or 'any prediction'}; all have {', '.join(there) or 'none'}; "
            "`foveal predict` or `foveal import-maps` writes them"
        )
    if len(wanted) > MOST_MODELS:
        raise RecipeError(
            f"{len(wanted)} models do not fit a sheet; name at most {MOST_MODELS} of "
            f"{', '.join(wanted)}"
        )
    return list(dict.fromkeys(wanted))


def _pair(
    store: Store, between: tuple[str, str] | None, arrays: Sequence[str]
) -> tuple[str, str] | None:
    if between is None:
        return (arrays[0], arrays[1]) if len(arrays) > 1 else None
    first, second = (f"saliency_{each.removeprefix('saliency_')}" for each in between)
    if first == second or {first, second} - set(arrays):
        raise RecipeError(
            f"{store.location}: between {between[0]} and {between[1]}: name two of "
            f"{', '.join(arrays)}"
        )
    return first, second


def _scorable(
    store: Store, videos: Sequence[str], arrays: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Return the videos with ground truth and all models, and why the others have no scores."""
    scored, without = [], {}
    for video in videos:
        try:
            missing = [name for name in arrays if name not in Truth(store, video).infos]
        except StoreError as error:
            without[video] = str(error)
            continue
        if missing:
            without[video] = f"has no complete {', '.join(missing)}"
        else:
            scored.append(video)
    return scored, without


def _spread(videos: Sequence[str], count: int) -> list[str]:
    places = np.linspace(0, len(videos) - 1, min(count, len(videos))).round().astype(int)
    return [videos[place] for place in places]


def _write(place: Path, figures: Mapping[str, Figure]) -> list[str]:
    files = []
    for name, figure in figures.items():
        for suffix in ("png", "pdf"):
            about: dict[str, Any] = {"CreationDate": None} if suffix == "pdf" else {}
            figure.savefig(place / f"{name}.{suffix}", dpi=160, facecolor="white", metadata=about)
            files.append(f"{name}.{suffix}")
    return files


def _videos_csv(means: Means, arrays: Sequence[str], metric: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["video", *(f"{metric}_{array}" for array in arrays)])
    for video, of in means.items():
        writer.writerow([video, *(of.get(array, "") for array in arrays)])
    return text.getvalue()


def _frames_csv(work: Work, drawn: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["video", "frame", "seconds", *(f"{work.metric}_{a}" for a in work.models)])
    for video in drawn:
        scores = work.scores.get(video, {})
        for frame, seconds in enumerate(work.view(video).seconds if scores else ()):
            of = [scores[array][frame] for array in work.models]
            shown = ["" if np.isnan(score) else float(score) for score in of]
            writer.writerow([video, frame, float(seconds), *shown])
    return text.getvalue()
