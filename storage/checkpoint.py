"""A checkpoint lets a stopped build continue inside a video.

It is one object beside the video's marks. For each stage that can continue it holds the state and
those array items that are not in a shard yet; the shards themselves are at their final keys. It
says nothing about completeness: only marks do.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import StoreError
from foveal.storage.digests import sha256_of_object
from foveal.storage.location import Location
from foveal.storage.names import group_name, group_path, is_name, is_object_key
from foveal.storage.schema import JOURNAL

_DIGEST_BYTES = 32

State = Mapping[str, Any]
"""What a stage needs to continue: plain JSON types, and arrays."""


@dataclass(frozen=True)
class ArrayPart:
    """Progress of one array.

    Attributes
    ----------
    stored : int
        Items in whole shards.
    rest : ndarray
        Items after them, fewer than a shard holds.
    sha256 : mapping of str to str
        Of each shard, by its key below the array.
    """

    stored: int
    rest: NDArray[Any]
    sha256: Mapping[str, str]

    @property
    def items(self) -> int:
        """Items in all."""
        return self.stored + len(self.rest)


@dataclass(frozen=True)
class StagePart:
    """Progress of one stage.

    Attributes
    ----------
    fingerprint : str
    state : mapping
    arrays : mapping of str to ArrayPart
    """

    fingerprint: str
    state: State
    arrays: Mapping[str, ArrayPart]


@dataclass(frozen=True)
class Checkpoint:
    """Progress of a video.

    Attributes
    ----------
    frames : int
        Frames that every stage in it has had.
    stages : mapping of str to StagePart
    """

    frames: int
    stages: Mapping[str, StagePart]

    def kept(self, video: str) -> dict[str, str]:
        """Digest by key of every object that the checkpoint needs."""
        return {
            f"{group_path(video)}/{array}/{key}": sha256
            for stage in self.stages.values()
            for array, part in stage.arrays.items()
            for key, sha256 in part.sha256.items()
        }


def checkpoint_key(video: str) -> str:
    """Key of a video's checkpoint."""
    return f"{JOURNAL}/{group_name(video)}/checkpoint"


def write_checkpoint(location: Location, video: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the shards that it needs are in the store already."""
    location.flush(checkpoint.kept(video))
    arrays: dict[str, NDArray[Any]] = {}
    stages: dict[str, Any] = {}
    for name, stage in checkpoint.stages.items():
        plain = {}
        for key, value in stage.state.items():
            if isinstance(value, np.ndarray):
                arrays[f"state/{name}/{key}"] = value
            else:
                plain[key] = value
        parts = {}
        for array, part in stage.arrays.items():
            arrays[f"rest/{name}/{array}"] = part.rest
            parts[array] = {"stored": part.stored, "sha256": dict(part.sha256)}
        stages[name] = {"fingerprint": stage.fingerprint, "state": plain, "arrays": parts}
    about = json.dumps({"frames": checkpoint.frames, "stages": stages}).encode()
    content = io.BytesIO()
    arrays["about"] = np.frombuffer(about, np.uint8)
    np.savez(content, **arrays)  # type: ignore[arg-type]
    whole = content.getvalue()
    location.write(checkpoint_key(video), whole + hashlib.sha256(whole).digest())


def read_checkpoint(location: Location, video: str) -> Checkpoint | None:
    """A video's checkpoint, None where there is none.

    It is removed where it, or a shard that it needs, is damaged.
    """
    try:
        content = location.read(checkpoint_key(video))
        if content is None:
            return None
        found = _believed(content)
        for key, sha256 in found.kept(video).items():
            if sha256_of_object(location, key) != sha256:
                raise ValueError(f"{key} is not whole")
    except StoreError as error:
        if isinstance(error.__cause__, Exception):
            location.check_lost(error.__cause__, checkpoint_key(video))
    except (ValueError, TypeError, LookupError, AttributeError, zipfile.BadZipFile):
        pass
    else:
        return found
    forget_checkpoint(location, video)
    return None


def forget_checkpoint(location: Location, video: str) -> None:
    """Remove a video's checkpoint, where there is one."""
    location.delete(checkpoint_key(video))


def _believed(content: bytes) -> Checkpoint:
    whole, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(whole).digest() != digest:
        raise ValueError("its digest is not that of its content")
    with np.load(io.BytesIO(whole), allow_pickle=False) as arrays:
        about = json.loads(arrays["about"].tobytes())
        stages = {}
        for name, stage in about["stages"].items():
            state = dict(stage["state"])
            beginning = f"state/{name}/"
            for key in arrays.files:
                if key.startswith(beginning):
                    state[key.removeprefix(beginning)] = arrays[key]
            parts = {}
            for array, part in stage["arrays"].items():
                sha256 = {str(key): str(value) for key, value in part["sha256"].items()}
                if not is_name(array) or not all(map(is_object_key, sha256)):
                    raise ValueError(f"{array!r} is no name of an array, or has odd keys")
                rest = arrays[f"rest/{name}/{array}"]
                parts[array] = ArrayPart(int(part["stored"]), rest, sha256)
            stages[str(name)] = StagePart(str(stage["fingerprint"]), state, parts)
    return Checkpoint(int(about["frames"]), stages)
