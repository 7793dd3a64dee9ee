"""Clips of several datasets as one, drawn in proportions of one's choice."""

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
    """Clips of several stores, which `ClipLoader` takes like those of one: ``a + b``.

    Numbers run through the parts one after the other. A sample has one entry more, ``part``: the
    number of the part that it is of.

    Parameters
    ----------
    parts : sequence of Clips
        Of equally many frames and with the same entries.
    weights : sequence of float, optional
        How often clips of each part are drawn, in proportion. An epoch stays as long as all parts
        together; of a part that is drawn more often than it has clips, each comes once before any
        comes twice, and a random transform draws anew each time. By default every clip comes once.

    Raises
    ------
    StoreError
        Where the parts do not go together, or weights are not positive numbers, one for each.

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
                f"weights are positive, one for each of {len(self.parts)} parts; got "
                f"{list(weights)}"
            )
        self.weights = None if weights is None else [float(each) for each in weights]
        self._first = np.cumsum([0, *map(len, self.parts)])

    def __add__(self, other: Clips | JoinedClips) -> JoinedClips:  # type: ignore[override]
        more = other.parts if isinstance(other, JoinedClips) else [other]
        if self.weights is not None or getattr(other, "weights", None) is not None:
            raise StoreError(
                "weights are of all parts together: join first, then .weighted(…), one for each"
            )
        return JoinedClips([*self.parts, *more])

    def weighted(self, *weights: float) -> JoinedClips:
        """The same parts, drawn in these proportions."""
        return JoinedClips(self.parts, weights)

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, draw: int | Draw) -> Sample:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[int | Draw]) -> list[Sample]:
        """Several samples at once, each store asked once."""
        places = [self._place(draw) for draw in draws]
        samples: list[Sample] = [{} for _ in draws]
        for part, clips in enumerate(self.parts):
            mine = [at for at, (owner, _) in enumerate(places) if owner == part]
            read = clips.__getitems__([places[at][1] for at in mine]) if mine else []
            for at, sample in zip(mine, read, strict=True):
                samples[at] = {**sample, "part": part}
        return samples

    def epoch_numbers(self, seed: int, epoch: int) -> Indices:
        """Numbers of the clips of an epoch, in the order of the parts.

        A clip that comes again has its number plus the length of all parts together, once more for
        each time.
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
        """Which part each of these clips is of."""
        found: Indices = np.searchsorted(self._first, clips % len(self), side="right") - 1
        return found

    def shard_groups(self) -> Indices:
        """Which clips lie together on disk, see `Clips.shard_groups`."""
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
        """That of a part that has one, None where none has."""
        return next((part.transform for part in self.parts if part.transform is not None), None)

    @property
    def only_reads(self) -> bool:
        """Whether samples take nothing but reading, see `Clips.only_reads`."""
        return all(part.only_reads for part in self.parts)

    def cached(self, cache_bytes: int) -> JoinedClips:
        """These clips, for another thread too, see `Clips.cached`."""
        share = cache_bytes // len(self.parts)
        return JoinedClips([part.cached(share) for part in self.parts], self.weights)

    def where(self, clip: int) -> tuple[int, str, int]:
        """Part, video and first frame of a clip."""
        part, local = self._place(clip)
        assert isinstance(local, int)
        return part, *self.parts[part].where(local)

    def unlike_sizes(self) -> str | None:
        """The first entry that differs in size between parts, so that they share no batch."""
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
        """Part, and what to draw from it."""
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
        # Random numbers of its own for each part, and for each time that a clip comes.
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
