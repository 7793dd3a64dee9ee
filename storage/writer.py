"""Write a store: staged arrays, whole shards, completion marks last.

A stage of a video goes through four steps, and a kill between any two leaves the truth intact:

1. `VideoWriter.invalidate` removes its mark, hides its arrays, removes their objects;
2. `StageWriter.append` writes whole shards of arrays that nobody can see yet;
3. `StageWriter.complete` publishes the arrays, metadata last;
4. and then writes the mark.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from foveal.storage.checkpoint import ArrayPart, StagePart, State
from foveal.storage.copies import write_group
from foveal.storage.location import Location
from foveal.storage.marks import (
    QUARANTINE,
    Mark,
    fingerprint,
    group_name,
    journal_key,
    read_marks,
    write_mark,
)
from foveal.storage.root import software_versions, sweep
from foveal.storage.schema import JOURNAL, VIDEOS, ArraySpec
from foveal.storage.staging import StagingStore


class ArrayWriter:
    """Appends to one staged array, a whole shard at a time."""

    def __init__(
        self, store: StagingStore, group: str, spec: ArraySpec, part: ArrayPart | None = None
    ) -> None:
        self.spec = spec
        self.path = f"{group}/{spec.name}"
        layout = spec.zarr_layout() | {"name": self.path}
        self._array = zarr.create_array(
            store, attributes={**spec.attributes, **spec.said}, **layout
        )
        self._waiting: list[NDArray[Any]] = []
        self._waiting_items = 0
        if part is not None:
            self._array.resize((part.stored, *self.spec.item_shape))
            self._waiting, self._waiting_items = [part.rest], len(part.rest)
            store.adopt({f"{self.path}/{key}": digest for key, digest in part.sha256.items()})

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Items that were appended before, in shards or waiting."""
        stored = self._array.shape[0]
        parts = [np.asarray(self._array[start : min(stop, stored)])] if start < stored else []
        if stop > stored and self._waiting:
            waiting = np.concatenate(self._waiting)
            parts.append(waiting[max(0, start - stored) : stop - stored])
        return np.concatenate(parts)

    def part(self, sha256: Mapping[str, str]) -> ArrayPart:
        """Progress of the array; what was appended is written."""
        below = f"{self.path}/"
        shards = {
            key.removeprefix(below): digest
            for key, digest in sha256.items()
            if key.startswith(below)
        }
        rest = [np.empty((0, *self.spec.item_shape), self.spec.dtype), *self._waiting]
        return ArrayPart(self._array.shape[0], np.concatenate(rest), shards)

    def append(self, values: NDArray[Any]) -> None:
        """Add items; whole shards go to the store, the rest waits."""
        if values.shape[1:] != self.spec.item_shape or values.dtype != self.spec.dtype:
            raise ValueError(
                f"{self.spec.name} holds {self.spec.dtype} {self.spec.item_shape} items, "
                f"got {values.dtype} {values.shape[1:]}"
            )
        self._waiting.append(values)
        self._waiting_items += len(values)
        shard = self.spec.shard_items
        if self._waiting_items >= shard:
            ready = np.concatenate(self._waiting)
            whole = len(ready) // shard * shard
            self._write(ready[:whole])
            # A copy, so that a short rest does not keep the whole batch alive.
            self._waiting = [ready[whole:].copy()]
            self._waiting_items = len(ready) - whole

    def finish(self, attributes: Mapping[str, Any]) -> None:
        """Write the last, partial shard and the final attributes."""
        if self._waiting_items:
            self._write(np.concatenate(self._waiting))
            self._waiting, self._waiting_items = [], 0
        self._array.update_attributes(dict(attributes))

    def _write(self, values: NDArray[Any]) -> None:
        start = self._array.shape[0]
        self._array.resize((start + len(values), *self.spec.item_shape))
        self._array[start:] = values

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._array.shape)


class StageWriter:
    """Writes the arrays of one stage of one video; nothing is visible until `complete`."""

    def __init__(
        self,
        location: Location,
        video: str,
        stage: str,
        identity: Mapping[str, Any],
        specs: Sequence[ArraySpec],
        part: StagePart | None = None,
    ) -> None:
        self._location = location
        self._video = video
        self._stage = stage
        self._identity = identity
        group = f"{VIDEOS}/{group_name(video)}"
        self._staging = StagingStore(
            location,
            {
                f"{group}/{spec.name}": spec.shard_items // spec.chunk_items
                for spec in specs
                if spec.is_aligned
            },
        )
        parts = {} if part is None else part.arrays
        self._arrays = {
            spec.name: ArrayWriter(self._staging, group, spec, parts.get(spec.name))
            for spec in specs
        }
        self.completed = False
        self._started = time.monotonic()

    @property
    def paths(self) -> list[str]:
        """Paths of its arrays in the store."""
        return [array.path for array in self._arrays.values()]

    def read(self, array: str, start: int, stop: int) -> NDArray[Any]:
        """Items of an array that were appended before."""
        return self._arrays[array].read(start, stop)

    def part(self, state: State) -> StagePart:
        """Progress of the stage, for a checkpoint; what was appended is written."""
        arrays = {name: array.part(self._staging.sha256) for name, array in self._arrays.items()}
        return StagePart(fingerprint(self._identity), state, arrays)

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add items to some of the arrays."""
        for name, values in arrays.items():
            self._arrays[name].append(values)

    def complete(
        self, provenance: Mapping[str, Any], of_this_run: Mapping[str, Any] | None = None
    ) -> Mark:
        """Publish the arrays, then mark the stage complete.

        Parameters
        ----------
        provenance : mapping
            How the numbers came to be; shown with the arrays and kept in the mark.
        of_this_run : mapping, optional
            Times and the like, which differ when the same numbers are computed again; only in the
            mark, so that equal builds give equal arrays to the byte.
        """
        digest = fingerprint(self._identity)
        shown = {"foveal": {"stage": self._stage, "fingerprint": digest, **provenance}}
        for array in self._arrays.values():
            array.finish(shown)
        self._location.flush(self._staging.sha256)
        self._staging.publish()
        checksums = self._staging.sha256
        self._location.flush(key for key in checksums if key.endswith("zarr.json"))
        arrays = {}
        for name, array in self._arrays.items():
            below = array.path + "/"
            arrays[name] = {
                "dims": list(array.spec.dims),
                "shape": list(array.shape),
                "dtype": str(array.spec.dtype),
                **array.spec.said,
                "sha256": {
                    key.removeprefix(below): value
                    for key, value in sorted(checksums.items())
                    if key.startswith(below)
                },
            }
        mark = Mark(
            self._video,
            self._stage,
            digest,
            self._identity,
            arrays,
            {
                **provenance,
                **(of_this_run or {}),
                "stored_bytes": self._staging.stored_bytes,
                "wall_seconds": round(time.monotonic() - self._started, 3),
                "completed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "software": software_versions(),
            },
        )
        write_mark(self._location, mark)
        self.completed = True
        return mark


class VideoWriter:
    """Writes one video's group. One process at a time may hold one for a video.

    Parameters
    ----------
    location : Location
    video : str
        Its id.
    attributes : mapping
        Attributes of the video's group (split, frame rate, source, …).
    """

    def __init__(self, location: Location, video: str, attributes: Mapping[str, Any]) -> None:
        self._location = location
        self._video = video
        self._group = f"{VIDEOS}/{group_name(video)}"
        self._begun: list[StageWriter] = []
        for folder in (self._group, f"{JOURNAL}/{group_name(video)}"):
            sweep(location, folder, "*.partial")
        location.owned(f"{self._group}/zarr.json")
        write_group(location, self._group, attributes)

    def invalidate(
        self, stages: Sequence[str], arrays: Sequence[str], kept: Collection[str] = ()
    ) -> None:
        """Forget these stages: marks first, then what makes arrays visible, then their objects.

        Parameters
        ----------
        stages : sequence of str
            Stages to remove, with their marks and arrays.
        arrays : sequence of str
            Further arrays to remove: a killed build may have left objects without a mark.
        kept : collection of str
            Keys of objects to keep: shards that a checkpoint needs.
        """
        marks = read_marks(self._location, self._video)
        doomed = set(arrays)
        for stage in stages:
            if stage in marks:
                doomed.update(marks[stage].arrays)
        records = [journal_key(self._video, name) for name in (*stages, QUARANTINE)]
        for record in records:
            self._location.delete(record)
        self._location.flush(records)
        self._remove([f"{self._group}/{array}" for array in sorted(doomed)], kept)

    def stage(
        self,
        name: str,
        identity: Mapping[str, Any],
        specs: Sequence[ArraySpec],
        part: StagePart | None = None,
    ) -> StageWriter:
        """Start to write a stage that was invalidated before, or continue it from `part`."""
        writer = StageWriter(self._location, self._video, name, identity, specs, part)
        self._begun.append(writer)
        return writer

    def abandon(self, kept: Collection[str] = ()) -> None:
        """Remove what stages wrote that did not become complete, but for the objects to be kept."""
        paths = [path for stage in self._begun if not stage.completed for path in stage.paths]
        self._remove(paths, kept)

    def _remove(self, arrays: Sequence[str], kept: Collection[str] = ()) -> None:
        # One listing suffices: most videos are new.
        there = set(self._location.list_folder(self._group))
        found = [array for array in arrays if array.rpartition("/")[2] in there]
        for array in found:
            self._location.delete(f"{array}/zarr.json")
        for array in found:
            if any(key.startswith(f"{array}/") for key in kept):
                for key in set(self._location.list_all(array)).difference(kept):
                    self._location.delete(key)
            else:
                self._location.delete_folder(array)
