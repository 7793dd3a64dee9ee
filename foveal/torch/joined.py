"""This module joins clips of several datasets to one, drawn in any proportions."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from foveal.errors import StoreError
from foveal.torch.batch import Sample
from foveal.torch.clips import Clips, Draw
from foveal.torch.interface import Indices


class JoinedClips(Dataset[Sample]):
    """Clips of several stores, which `ClipLoader` takes like clips of one store: ``a + b``.

    Clips are numbered part after part. A sample has one more entry, ``part``: the number of its
    part.

    Parameters
    ----------
    parts : sequence of Clips
        With equal numbers of frames and the same entries.
    weights : sequence of float, optional
        How often clips of each part are drawn, in proportion. An epoch is as long as all parts
        together. If a part is drawn more often than it has clips, each of its clips comes once
        before any comes twice, and a random transform draws anew each time. By default every clip
        comes once.

    Raises
    ------
    StoreError
        The parts do not fit together, or weights are not one positive number per part.

    Examples
    --------
    >>> clips = JoinedClips([dhf1k, ledov], weights=[3, 1])                 # doctest: +SKIP
    >>> ClipLoader(clips, batch_size=4, seed=1)                             # doctest: +SKIP
    """

    def __init__(self, parts: Sequence[Clips], weights: Sequence[float] | None = None) -> None:
        self.parts = list(parts)
        if not self.parts:
            raise StoreError("there are no clips to join; name at least one part")
        _check_alike(self.parts)
        if weights is not None and (len(weights) != len(self.parts) or min(weights) <= 0):
            raise StoreError(
                f"give one positive weight for each of {len(self.parts)} parts; got {list(weights)}"
            )
        self.weights = None if weights is None else [float(each) for each in weights]
        self._first = np.cumsum([0, *map(len, self.parts)])

    def __add__(self, other: Clips | JoinedClips) -> JoinedClips:  # type: ignore[override]
        more = other.parts if isinstance(other, JoinedClips) else [other]
        if self.weights is not None or getattr(other, "weights", None) is not None:
            raise StoreError(
                "weights belong to all parts together: join first, then call .weighted(…)"
            )
        return JoinedClips([*self.parts, *more])

    def weighted(self, *weights: float) -> JoinedClips:
        """Return the same parts, drawn in proportions `weights`."""
        return JoinedClips(self.parts, weights)

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, draw: int | Draw) -> Sample:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[int | Draw]) -> list[Sample]:
        """Return several samples; each store is read once."""
        places = [self._place(draw) for draw in draws]
        samples: list[Sample] = [{} for _ in draws]
        for part, clips in enumerate(self.parts):
            mine = [at for at, (owner, _) in enumerate(places) if owner == part]
            read = clips.__getitems__([places[at][1] for at in mine]) if mine else []
            for at, sample in zip(mine, read, strict=True):
                samples[at] = {**sample, "part": part}
        return samples

    def epoch_numbers(self, seed: int, epoch: int) -> Indices:
        """Return the numbers of the clips of an epoch, in the order of the parts.

        A repeated clip has its number plus the number of all clips, once more for each repetition.

        Parameters
        ----------
        seed, epoch : int
            Which epoch.
        """
        if self.weights is None:
            return np.arange(len(self))
        random = np.random.default_rng([seed, epoch, len(self.parts)])
        exact = np.array(self.weights) / sum(self.weights) * len(self)
        counts = np.floor(exact).astype(int)
        left = len(self) - int(counts.sum())
        counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
        numbers = []
        for part, count in enumerate(counts):
            clips = len(self.parts[part])
            rounds, rest = divmod(int(count), clips)
            own = int(self._first[part]) + np.arange(clips)
            numbers += [own + one * len(self) for one in range(rounds)]
            some = np.sort(random.choice(clips, rest, replace=False))
            numbers.append(own[some] + rounds * len(self))
        return np.concatenate(numbers)

    def parts_of(self, clips: Indices, epoch: tuple[int, int]) -> Indices:
        """Return the part of each of these clips.

        Parameters
        ----------
        clips : ndarray, int64
            Numbers of clips.
        epoch : (int, int)
            Seed and epoch.
        """
        found: Indices = np.searchsorted(self._first, clips % len(self), side="right") - 1
        return found

    def shard_groups(self) -> Indices:
        """Return which clips share shards on the disk, see `Clips.shard_groups`."""
        groups, following = [], 0
        for part in self.parts:
            numbers = part.shard_groups()
            groups.append(following + numbers)
            following += int(numbers.max()) + 1
        return np.concatenate(groups)

    @property
    def identity(self) -> str:
        """Hash of what the numbers of the clips mean, and of how often each part is drawn."""
        about = [*(part.identity for part in self.parts), repr(self.weights)]
        return hashlib.sha256("".join(about).encode()).hexdigest()

    @property
    def transform(self) -> Any:
        """The transform of the first part that has one; None if no part has one."""
        return next((part.transform for part in self.parts if part.transform is not None), None)

    @property
    def only_reads(self) -> bool:
        """Whether samples are only read, see `Clips.only_reads`."""
        return all(part.only_reads for part in self.parts)

    def cached(self, cache_bytes: int) -> JoinedClips:
        """Return these clips for use in another thread, see `Clips.cached`.

        Parameters
        ----------
        cache_bytes : int
            Of all parts together.
        """
        share = cache_bytes // len(self.parts)
        return JoinedClips([part.cached(share) for part in self.parts], self.weights)

    def where(self, clip: int) -> tuple[int, str, int]:
        """Return the part, video and first frame of the clip with number `clip`."""
        part, local = self._place(clip)
        assert isinstance(local, int)
        return part, *self.parts[part].where(local)

    def unlike_sizes(self) -> str | None:
        """Return a text on the first entry whose size differs between parts; None if none does."""
        first = self.parts[0]
        for part in self.parts[1:]:
            for one, other in zip(first.variables, part.variables, strict=True):
                for a, b in zip(one.arrays, other.arrays, strict=False):
                    sizes = first.infos[a].item_shape, part.infos[b].item_shape
                    if sizes[0] != sizes[1]:
                        return (
                            f"items of {one.key} are {list(sizes[0])} in {first.location} and "
                            f"{list(sizes[1])} in {part.location}"
                        )
        return None

    def _place(self, draw: int | Draw) -> tuple[int, int | Draw]:
        """Return a part, and what to draw from it."""
        number = draw if isinstance(draw, int) else draw[0]
        if isinstance(draw, int):
            number = number + len(self) if number < 0 else number
            if not 0 <= number < len(self):
                raise IndexError(f"there are {len(self)} clips, no clip {draw}")
        again, clip = divmod(number, len(self))
        part = int(np.searchsorted(self._first, clip, side="right")) - 1
        local = clip - int(self._first[part])
        if isinstance(draw, int):
            return part, local
        # Each part, and each repetition of a clip, has random numbers of its own.
        return part, (local, draw[1] + ((again * len(self.parts) + part) << 32), draw[2])


def _check_alike(parts: Sequence[Clips]) -> None:
    for one, other in itertools.pairwise(parts):
        if one.frames != other.frames:
            raise StoreError(
                f"clips of {one.frames} frames ({one.location}) and of {other.frames} "
                f"({other.location}) do not go together"
            )
        keys = [[variable.key for variable in part.variables] for part in (one, other)]
        if keys[0] != keys[1]:
            raise StoreError(
                f"clips with {', '.join(keys[0])} ({one.location}) and with {', '.join(keys[1])} "
                f"({other.location}) do not go together; ask for the same variables, in one order"
            )
