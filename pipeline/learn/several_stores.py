"""This module joins clips of several stores to one dataset, prepared for a network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from foveal.errors import StoreError
from foveal.models.saliency import Spec
from foveal.pipeline.learn.inputs import FLOW_KINDS, Prepare, flow_array, variables_for
from foveal.pipeline.learn.settings import TrainSettings
from foveal.storage.reader import Store
from foveal.torch.batch import Sample
from foveal.torch.clips import Clips, Draw
from foveal.torch.transforms import Augmentation, Mirror, Rotate, Transform


class JointClips(Dataset[Sample]):
    """Prepared clips of several stores as one dataset, which `ClipLoader` takes like `Clips`.

    Clips are not prepared by a ``transform``: that seeds torch's global generator, which a thread
    that reads must leave to the network's dropout.

    Parameters
    ----------
    parts : sequence of (Clips, Prepare)
        Of one clip length and for one network, so that clips of all parts can share a batch.
    augmentation : Augmentation, optional
        Random changes of the clips before they are prepared; they depend on seed, epoch and clip
        only.
    by_video : bool
        If true, an epoch goes through whole videos, in an order drawn by seed and epoch, and
        through the clips of each in order: for a loader that does not shuffle and a network that
        carries its state from clip to clip. Otherwise clips are numbered part after part.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Clips, Prepare]],
        *,
        augmentation: Augmentation | None = None,
        by_video: bool = False,
    ) -> None:
        self.parts = list(parts)
        self.augmentation = augmentation
        self._changes = [
            None if augmentation is None else augmentation.bound_to(part) for part, _ in parts
        ]
        self.by_video = by_video
        clips = [part for part, _ in self.parts]
        self._first = np.cumsum([0, *map(len, clips)])
        digest = hashlib.sha256("".join(part.identity for part in clips).encode())
        self.identity = f"{digest.hexdigest()}{' by video' if by_video else ''}"
        self._runs = _video_runs(clips) if by_video else []
        self._order: tuple[tuple[int, int], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitems__(self, draws: Sequence[Draw]) -> list[Sample]:
        """Return samples of several draws (number, seed, epoch); each store is read once."""
        samples: list[Sample | None] = [None] * len(draws)
        places = [self._place(*draw) for draw in draws]
        for number, (part, prepare) in enumerate(self.parts):
            mine = [at for at, (owner, _) in enumerate(places) if owner == number]
            read = part.__getitems__([places[at][1] for at in mine]) if mine else []
            change = self._changes[number]
            for at, sample in zip(mine, read, strict=True):
                if change is not None:
                    clip, seed, epoch = draws[at]
                    sample = change.change(sample, np.random.default_rng([seed, epoch, clip]))
                samples[at] = prepare(sample)
        return [sample for sample in samples if sample is not None]

    def shard_groups(self) -> NDArray[np.int64]:
        """Return which clips share shards on the disk, see `Clips.shard_groups`."""
        groups, following = [], 0
        for part, _ in self.parts:
            numbers = part.shard_groups()
            groups.append(following + numbers)
            following += int(numbers.max()) + 1
        return np.concatenate(groups)

    def epoch_numbers(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the numbers of the clips of an epoch: each clip once."""
        return np.arange(len(self))

    def parts_of(self, clips: NDArray[np.int64], epoch: tuple[int, int]) -> NDArray[np.int64]:
        """Return the part of each of these clips, in the epoch of (seed, epoch)."""
        return np.array([self._place(int(clip), *epoch)[0] for clip in clips], np.int64)

    @property
    def only_reads(self) -> bool:
        """Whether the network takes its inputs as they are stored: cached features."""
        return self.augmentation is None and not any(
            each.kind in (*FLOW_KINDS, "frame")
            for _, prepare in self.parts
            for each in prepare.spec.inputs
        )

    def cached(self, cache_bytes: int) -> JointClips:
        """Return these clips, read by whole shards, see `Clips.cached`."""
        share = cache_bytes // len(self.parts)
        parts = [(part.cached(share), prepare) for part, prepare in self.parts]
        return JointClips(parts, augmentation=self.augmentation, by_video=self.by_video)

    def _place(self, number: int, seed: int, epoch: int) -> tuple[int, int]:
        """Return the part of a clip, and its number in the part."""
        if self.by_video:
            if self._order is None or self._order[0] != (seed, epoch):
                videos = np.random.default_rng([seed, epoch]).permutation(len(self._runs))
                order = np.concatenate([self._runs[video] for video in videos])
                self._order = (seed, epoch), order
            number = int(self._order[1][number])
        part = int(np.searchsorted(self._first, number, side="right")) - 1
        return part, number - int(self._first[part])


def _video_runs(parts: Sequence[Clips]) -> list[NDArray[np.int64]]:
    """Return the numbers of the clips of each video, in order."""
    runs: dict[tuple[int, str], list[int]] = {}
    number = 0
    for index, part in enumerate(parts):
        for clip in range(len(part)):
            runs.setdefault((index, part.where(clip)[0]), []).append(number)
            number += 1
    return [np.array(run, np.int64) for run in runs.values()]


def open_clips(
    stores: Sequence[Store],
    split: str | None,
    spec: Spec,
    flow: str | None,
    *,
    videos: Sequence[Sequence[str] | None] | None = None,
    augmentation: Augmentation | None = None,
    by_video: bool = False,
    **options: Any,
) -> JointClips:
    """Open the training clips of a split of several stores, with the ground truth.

    Parameters
    ----------
    stores : sequence of Store
    split : str or None
        Name of the split; None for all videos.
    spec : Spec
    flow : str or None
        Flow array of each store, see `flow_array`.
    videos : sequence of (sequence of str or None), optional
        Only these videos of each store.
    augmentation, by_video
        See `JointClips`.
    **options
        Of `Clips`: ``frames``, ``stride``, ``short``, ``tail``.

    Raises
    ------
    RecipeError, StoreError
        What the network reads is missing, or no clip fits.
    """
    parts = []
    for store, chosen in zip(stores, videos or [None] * len(stores), strict=True):
        array = flow_array(store, spec, flow)
        variables = variables_for(spec, array, targets=True)
        clips = Clips(store, split, variables=variables, videos=chosen, **options)
        parts.append((clips, Prepare(spec, array)))
    if not parts:
        raise StoreError("there is no store to read clips from; name at least one")
    return JointClips(parts, augmentation=augmentation, by_video=by_video)


def batch_sizes(settings: TrainSettings, stores: Sequence[Store]) -> int | list[int]:
    """Return clips per batch, per store where they differ, of complete settings."""
    size = settings.batch_size or 1
    others = settings.batch_size_of or {}
    sizes = [others.get(store.dataset, size) for store in stores]
    return sizes[0] if len(set(sizes)) == 1 else sizes


def augmentation(settings: TrainSettings) -> Augmentation | None:
    """Return the random changes that the settings ask for; None for none."""
    wanted = settings.augment
    if wanted is None or not (wanted.mirror or wanted.rotate_degrees):
        return None
    changes: list[Transform] = [Mirror(wanted.mirror)] if wanted.mirror else []
    changes += [Rotate(wanted.rotate_degrees)] if wanted.rotate_degrees else []
    return Augmentation(*changes)
