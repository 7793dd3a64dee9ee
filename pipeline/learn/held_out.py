"""This module divides videos into those to train on and those to validate on."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from foveal.errors import RecipeError
from foveal.pipeline.learn.settings import AUTO, TrainSettings
from foveal.pipeline.sources import known_dataset
from foveal.storage.reader import Store, open_store

log = logging.getLogger(__name__)

VALIDATION_SPLIT = "val"
"""The split that `AUTO` takes, in stores that have it."""


@dataclass(frozen=True)
class Division:
    """Videos to train and to validate on.

    Attributes
    ----------
    train : tuple of (Store, tuple of str)
        Videos of each store to train on.
    validation : tuple of (Store, tuple of str)
        Videos to validate on; may be empty.
    """

    train: tuple[tuple[Store, tuple[str, ...]], ...]
    validation: tuple[tuple[Store, tuple[str, ...]], ...]

    @property
    def only_pictures(self) -> bool:
        """Whether every training video is a single frame."""
        return all(
            bool((store.videos.frames.loc[list(videos)] == 1).all()) for store, videos in self.train
        )

    def record(self) -> list[dict[str, object]]:
        """Return the validation videos by store, as checkpoints hold them."""
        return [
            {"store": str(store.location), "videos": list(videos)}
            for store, videos in self.validation
        ]


def divide(settings: TrainSettings, stores: Sequence[Store]) -> Division:
    """Divide the videos of stores into those to train on and those to validate on.

    Videos held out by share are chosen by `seed` and their own names only, as whole videos (of
    Hollywood-2 whole films): the same in every process, in whatever order a store lists them.

    Parameters
    ----------
    settings : TrainSettings
        Its ``validation_…`` and `train_split` are used.
    stores : sequence of Store

    Raises
    ------
    StoreError
        A store has no videos of the split.
    RecipeError
        No video is left to train on, or an id or pattern names no video.
    """
    train = [tuple(store.select(settings.train_split)) for store in stores]
    held: list[tuple[str, ...]] = [()] * len(stores)
    if settings.validation_share is not None:
        held = [
            _share(store, videos, settings.validation_share, settings.seed)
            for store, videos in zip(stores, train, strict=True)
        ]
    elif settings.validation_ids is not None:
        held = [_named(videos, settings.validation_ids) for videos in train]
        _check_all_named(stores, train, settings.validation_ids)
    if settings.validation_share is not None or settings.validation_ids is not None:
        kept = [
            tuple(v for v in all_ if v not in out) for all_, out in zip(train, held, strict=True)
        ]
        if empty := [store for store, videos in zip(stores, kept, strict=True) if not videos]:
            raise RecipeError(
                f"{empty[0].location}: every video is held out for validation, none is left to "
                "train on; hold out fewer"
            )
        validation = list(zip(stores, held, strict=True))
        train = kept
    else:
        validation = _by_split(settings, stores)
    limit = settings.validation_videos
    return Division(
        tuple(zip(stores, train, strict=True)),
        tuple((store, videos[:limit]) for store, videos in validation if videos),
    )


def _by_split(
    settings: TrainSettings, stores: Sequence[Store]
) -> list[tuple[Store, tuple[str, ...]]]:
    """Return the videos of the validation split; for `AUTO`, of the stores that have it."""
    split = settings.validation_split
    if split is None:
        return []
    if settings.validation_stores is not None:
        stores = [open_store(url) for url in settings.validation_stores]
    elif split == AUTO:
        without = [store for store in stores if VALIDATION_SPLIT not in set(store.videos.split)]
        stores = [store for store in stores if store not in without]
        for store in without:
            log.warning(
                "%s has no split %r, so it is not validated on; validation_share=0.1 would hold "
                "training videos out for validation",
                store.location,
                VALIDATION_SPLIT,
            )
    name = VALIDATION_SPLIT if split == AUTO else split
    return [(store, tuple(store.select(name))) for store in stores]


def _share(store: Store, videos: Sequence[str], share: float, seed: int) -> tuple[str, ...]:
    dataset = known_dataset(store.dataset)
    whole = str if dataset is None else dataset.film
    names = sorted({whole(video) for video in videos}, key=lambda name: _draw(name, seed))
    if len(names) < 2:
        raise RecipeError(
            f"{store.location} has a single video to train on, so none can be held out"
        )
    chosen = set(names[: min(max(1, round(share * len(names))), len(names) - 1)])
    return tuple(video for video in videos if whole(video) in chosen)


def _draw(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _named(videos: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        video
        for video in videos
        if any(fnmatch.fnmatchcase(video, pattern) for pattern in patterns)
    )


def _check_all_named(
    stores: Sequence[Store], train: Sequence[Sequence[str]], patterns: Sequence[str]
) -> None:
    everything = [video for videos in train for video in videos]
    for pattern in patterns:
        if not fnmatch.filter(everything, pattern):
            where = ", ".join(str(store.location) for store in stores)
            raise RecipeError(
                f"validation_ids: {pattern!r} matches no training video in {where}; there are "
                f"{len(everything)}, such as {', '.join(everything[:3])}"
            )
