"""This module reads clips: runs of consecutive frames with everything that belongs to them."""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from foveal.errors import StoreError
from foveal.models.normalise import Normaliser, normaliser
from foveal.storage.reader import Store, open_store
from foveal.storage.schema import MAX_SHARD_ITEMS
from foveal.storage.slices import Gatherer, Slice
from foveal.torch.batch import Sample, shared_empty, tensor_rows
from foveal.torch.cutting import Padding, Short, Tail, clip_frames
from foveal.torch.interface import Indices, Reading, Variable, VideoFacts
from foveal.torch.planning import plan_clips, some_skipped

if TYPE_CHECKING:
    from foveal.torch.joined import JoinedClips

Draw = tuple[int, int, int]
"""Number of a clip, seed and epoch, on which a random transform depends."""

_WHOLE_VIDEOS = 256


class Clips(Dataset[Sample]):
    """Clips of a store's videos, as a map-style dataset.

    A sample is a dict: the wanted variables, and always ``video`` (its id), ``frame`` (int64 [n],
    numbers of its frames), ``time`` (float64 [n], seconds) and ``valid`` (bool [n], False where
    padding repeats a frame). Values are as stored, channels first; normalise on the device, or here
    by `normalise`.

    Parameters
    ----------
    store : Store, str or Path
        The store, or its path or URL.
    split : str, optional
        Only videos of this split; by default all videos.
    frames : int
        Frames per clip.
    stride : int, optional
        Frames between the starts of consecutive clips; by default `frames`.
    variables : sequence of str or Variable
        Names of arrays along frames, pairs or windows (``frames``, ``density``, ``flow_<method>``,
        ``i3d_rgb``, …) or of sound (``audio``), ``fixation_map``, or `Flow`, `Windows`, `Sound`,
        `FixationMap` with options.
    videos : sequence of str, optional
        Only these videos of the split.
    short : {'skip', 'pad'}
        Whether videos with fewer frames than a clip are left out or padded.
    tail : {'drop', 'shift', 'pad'}
        Frames after the last whole clip are left out, covered by a clip that ends with the video,
        or covered by a padded clip.
    padding : {'repeat_last', 'repeat_first', 'loop'}
        Repeat the clip's last frame after it, its first frame before it (as ViNet does), or the
        whole clip from its start (as TASED-Net does).
    normalise : mapping of str to str, optional
        Normaliser (`foveal.models.normalise`) by variable: ``{"frames": "i3d"}``.
    transform : callable, optional
        Takes and returns a sample. torch's random numbers in it depend on the loader's seed, the
        epoch and the clip only. `foveal.torch.transforms` has some. A transform with a method
        ``bound_to`` is replaced by what this method returns for these clips.

    Attributes
    ----------
    location : Location
    infos : dict of str to ArrayInfo
        Description of each array of the split, by name.
    skipped : dict of str to str
        Videos of the split that give no clip, and why.

    Raises
    ------
    StoreError
        The split has no videos, no video has a variable, or no clip fits into any video.

    Examples
    --------
    >>> clips = Clips("dhf1k.zarr", "train", frames=16, variables=["frames"])  # doctest: +SKIP
    >>> clips[0]["frames"].shape                                               # doctest: +SKIP
    torch.Size([16, 3, 192, 256])
    """

    def __init__(
        self,
        store: Store | str | Path,
        split: str | None = None,
        *,
        frames: int,
        stride: int | None = None,
        variables: Sequence[str | Variable] = ("frames", "density"),
        videos: Sequence[str] | None = None,
        short: Short = "skip",
        tail: Tail = "drop",
        padding: Padding = "repeat_last",
        normalise: Mapping[str, str] | None = None,
        transform: Callable[[Sample], Sample] | None = None,
    ) -> None:
        if isinstance(store, list | tuple):
            raise StoreError("Clips takes one store; Clips.of_stores([…], …) or + joins several")
        stride = frames if stride is None else stride
        if frames < 1 or stride < 1:
            raise StoreError(f"frames and stride are at least 1, not {frames} and {stride}")
        _check_choice("short", short, Short)
        _check_choice("tail", tail, Tail)
        _check_choice("padding", padding, Padding)
        store = store if isinstance(store, Store) else open_store(store)
        self.frames, self.stride = frames, stride
        self.padding: Padding = padding
        self.location = store.location
        self._gatherer = Gatherer(store.location)
        self._whole: OrderedDict[tuple[str, str], NDArray[Any]] = OrderedDict()
        plan = plan_clips(store, split, videos, variables, frames, stride, short, tail)
        self.variables, self.infos, self.skipped = plan.variables, plan.infos, plan.skipped
        self._facts, self._starts, self._first = plan.facts, plan.starts, plan.first
        bound_to = getattr(transform, "bound_to", None)
        self.transform = transform if bound_to is None else bound_to(self)
        self._normalise = _normalisers(normalise or {}, self.variables)
        if self.skipped:
            used = sum(len(starts) > 0 for starts in self._starts)
            warnings.warn(
                f"{len(self.skipped)} of {used + len(self.skipped)} videos give no clip "
                f"({some_skipped(self.skipped)}); see Clips.skipped",
                stacklevel=2,
            )

    @classmethod
    def of_stores(
        cls,
        stores: Sequence[Store | str | Path],
        split: str | None = None,
        *,
        weights: Sequence[float] | None = None,
        **options: Any,
    ) -> JoinedClips:
        """Join clips of several stores to one dataset, see `foveal.torch.JoinedClips`.

        Parameters
        ----------
        stores : sequence of Store, str or Path
            The stores, or their paths or URLs.
        split : str, optional
            Only videos of this split.
        weights : sequence of float, optional
            How often clips of each store are drawn, in proportion.
        **options
            As for the clips of one store.
        """
        from foveal.torch.joined import JoinedClips

        return JoinedClips([cls(store, split, **options) for store in stores], weights)

    def __add__(self, other: Clips | JoinedClips) -> JoinedClips:  # type: ignore[override]
        from foveal.torch.joined import JoinedClips

        return JoinedClips([self]) + other

    def __len__(self) -> int:
        return self._first[-1]

    def __getitem__(self, draw: int | Draw) -> Sample:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[int | Draw]) -> list[Sample]:
        """Return several samples; their chunks are read together."""
        located = [self._frames_of(draw if isinstance(draw, int) else draw[0]) for draw in draws]
        missing = self._whole_missing({facts.video: facts for facts, _, _ in located})
        slices: list[Slice] = list(missing)
        wanted: list[list[Indices]] = []
        for facts, indices, _ in located:
            wanted.append([variable.items(facts, indices) for variable in self.variables])
            for variable, items in zip(self.variables, wanted[-1], strict=True):
                slices += [_span(facts, array, items) for array in variable.arrays]
        in_worker = torch.utils.data.get_worker_info() is not None
        allocate = shared_empty if in_worker else np.empty
        tensors = self._gatherer.read(slices, allocate, tensor_rows)
        read = iter(zip(slices, tensors, strict=True))
        for small, values in itertools.islice(read, len(missing)):
            self._whole[small.video, small.array] = values.numpy()
        samples = []
        for draw, (facts, indices, valid), items_of in zip(draws, located, wanted, strict=True):
            sample: Sample = {
                "video": facts.video,
                "frame": torch.from_numpy(indices),
                "time": torch.from_numpy(self._whole[facts.video, "time"][indices]),
                "valid": torch.from_numpy(valid),
            }
            for variable, items in zip(self.variables, items_of, strict=True):
                whole = {name: self._whole[facts.video, name] for name in variable.whole_arrays}
                values = {array: _picked(*next(read), items) for array in variable.arrays}
                entries = variable.tensors(Reading(facts, indices, items, values, whole))
                if variable.key in self._normalise:
                    entries[variable.key] = self._normalise[variable.key](entries[variable.key])
                sample.update(entries)
            samples.append(self._transformed(sample, draw))
        return samples

    @property
    def identity(self) -> str:
        """Hash of what the numbers of the clips mean: which videos, frames, and variables."""
        about = [
            [[facts.video, facts.frames] for facts in self._facts],
            [starts.tolist() for starts in self._starts],
            [self.frames, self.padding, [repr(variable) for variable in self.variables]],
        ]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def shard_groups(self) -> Indices:
        """Return which clips share shards on the disk: clips of one shard have one number.

        Returns
        -------
        ndarray, int64 [clips]
        """
        groups, following = [], 0
        for starts in self._starts:
            if len(starts):
                numbers = starts // MAX_SHARD_ITEMS
                groups.append(following + numbers)
                following += int(numbers[-1]) + 1
        return np.concatenate(groups).astype(np.int64)

    def epoch_numbers(self, seed: int, epoch: int) -> Indices:
        """Return the numbers of an epoch's clips: each once, for any `seed` and `epoch`."""
        return np.arange(len(self))

    def parts_of(self, clips: Indices, epoch: tuple[int, int]) -> Indices:
        """Return the part of each of these clips: always 0.

        Parameters
        ----------
        clips : ndarray, int64
            Numbers of clips.
        epoch : (int, int)
            Seed and epoch.
        """
        return np.zeros(len(clips), np.int64)

    @property
    def only_reads(self) -> bool:
        """Whether a sample is only read: no Python code of a ``transform`` runs."""
        return self.transform is None

    def cached(self, cache_bytes: int) -> Clips:
        """Return these clips for use in another thread.

        Parameters
        ----------
        cache_bytes : int
            If more than 0, whole shards are read and kept decoded, up to so many bytes.
        """
        clips = copy(self)
        clips._gatherer = Gatherer(self.location, cache_bytes)
        clips._whole = OrderedDict()
        return clips

    def where(self, clip: int) -> tuple[str, int]:
        """Return the video and first frame of the clip with number `clip`."""
        facts, start = self._locate(clip)
        return facts.video, start

    def _locate(self, clip: int) -> tuple[VideoFacts, int]:
        number = clip + len(self) if clip < 0 else clip
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} clips, no clip {clip}")
        video = bisect_right(self._first, number) - 1
        return self._facts[video], int(self._starts[video][number - self._first[video]])

    def _frames_of(self, clip: int) -> tuple[VideoFacts, Indices, NDArray[np.bool_]]:
        facts, start = self._locate(clip)
        return facts, *clip_frames(start, facts.frames, self.frames, self.padding)

    def _transformed(self, sample: Sample, draw: int | Draw) -> Sample:
        if self.transform is None:
            return sample
        if isinstance(draw, int):
            return self.transform(sample)
        number, seed, epoch = draw
        state = np.random.SeedSequence([seed, epoch, number]).generate_state(2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
            return self.transform(sample)

    def _whole_missing(self, videos: Mapping[str, VideoFacts]) -> list[Slice]:
        """Return the small arrays of these videos that are not in memory yet."""
        names = {"time", *(name for variable in self.variables for name in variable.whole_arrays)}
        wanted = {(video, name) for video in videos for name in names}
        missing = sorted(wanted - self._whole.keys())
        for key in wanted - set(missing):
            self._whole.move_to_end(key)
        while len(self._whole) > max(_WHOLE_VIDEOS * len(names), len(wanted)) - len(missing):
            self._whole.popitem(last=False)
        return [Slice(video, name, 0, videos[video].infos[name].items) for video, name in missing]


def _span(facts: VideoFacts, array: str, items: Indices) -> Slice:
    """Return the shortest run of stored items that holds all wanted ones."""
    if not facts.infos[array].items or not items.size:
        return Slice(facts.video, array, 0, 0)
    if items.size == 1:
        return Slice(facts.video, array, first := items.item(), first + 1)
    return Slice(facts.video, array, int(items.min()), int(items.max()) + 1)


def _picked(read: Slice, values: Tensor, items: Indices) -> Tensor:
    count = values.shape[0]
    if not count:
        return values.new_zeros((*items.shape, *values.shape[1:]))
    if items.shape == (count,) and _consecutive(items):
        return values
    return values[torch.from_numpy(items - read.start)]


def _consecutive(items: Indices) -> bool:
    return len(items) == 1 or bool((np.diff(items) == 1).all())


def _normalisers(wanted: Mapping[str, str], variables: Sequence[Variable]) -> dict[str, Normaliser]:
    keys = [variable.key for variable in variables]
    for key in wanted:
        if key not in keys:
            raise StoreError(f"normalise names {key!r}; the variables are {', '.join(keys)}")
    return {key: normaliser(name) for key, name in wanted.items()}


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        allowed = ", ".join(map(repr, get_args(choices)))
        raise StoreError(f"{name} is one of {allowed}, not {value!r}")
