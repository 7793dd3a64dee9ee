"""This module defines completion marks and quarantine records, and checks them when they are read.

A record read from a store is checked completely before it is used: types, names and keys, that it
is where it says it belongs, and its digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foveal.storage.digests import DIGEST, sealed, unsealed
from foveal.storage.kinds import SAID, ArrayInfo, array_info
from foveal.storage.names import is_name, is_object_key

QUARANTINE = "quarantine"
_MOST_ITEMS = 2**40
_MOST_BYTES = 2**50


@dataclass(frozen=True)
class Mark:
    """The record that a stage of a video is complete.

    Attributes
    ----------
    video, stage : str
        Id of the video and name of the stage.
    fingerprint : str
        SHA-256 of `identity`.
    identity : mapping
        What determines the numbers: stage, version, parameters, source content, upstream.
    arrays : mapping
        By array name: ``shape``, ``dtype``, ``dims``, what the array says of itself (``axis``,
        ``kind``, …; see `foveal.storage.kinds`) and ``sha256`` by object key below the array.
    provenance : mapping
        How it was computed: software, device, seconds, counts, source files.
    """

    video: str
    stage: str
    fingerprint: str
    identity: Mapping[str, Any]
    arrays: Mapping[str, Mapping[str, Any]]
    provenance: Mapping[str, Any]

    @property
    def infos(self) -> dict[str, ArrayInfo]:
        """The description of each of its arrays, by name."""
        return {
            name: array_info(name, self.stage, about, self.window, self.span)
            for name, about in self.arrays.items()
        }

    @property
    def window(self) -> int | None:
        """Frames per window, where the parameters say it."""
        return self._count("window")

    @property
    def span(self) -> int | None:
        """Frames that one item covers, where the parameters say it."""
        return self._count("span")

    def _count(self, name: str) -> int | None:
        parameters = self.provenance.get("parameters", {})
        count = parameters.get(name) if isinstance(parameters, Mapping) else None
        return count if isinstance(count, int) and count > 0 else None

    @property
    def random_weights(self) -> bool:
        """Whether an untrained network computed it, which is only good for trying things out."""
        return _names_random_weights(self.identity.get("parameters", {}))

    @property
    def stored_bytes(self) -> int:
        """Bytes of all objects of this stage."""
        return int(self.provenance.get("stored_bytes", 0))


@dataclass(frozen=True)
class Quarantine:
    """The record that a video could not be processed.

    Attributes
    ----------
    video : str
    kind : str
        Name of the error class.
    reason : str
        For people: what is wrong and what to do.
    wanted : mapping of str to str
        By stage, the fingerprint that was to be computed: while it stays, a retry is pointless.
    """

    video: str
    kind: str
    reason: str
    wanted: Mapping[str, str]


def mark_values(mark: Mark) -> dict[str, Any]:
    """Return a mark as JSON values, with a digest of all of it in its provenance.

    The digest is in ``provenance``, since a foveal from before the digests still reads it there.
    """
    values = asdict(mark)
    digest = sealed(values | {"provenance": _without_digest(values["provenance"])})[DIGEST]
    return values | {"provenance": {**values["provenance"], DIGEST: digest}}


def parse_mark(content: bytes, video: str, stage: str) -> tuple[Mark, bool]:
    """Read and check a mark from the bytes of its object.

    Parameters
    ----------
    content : bytes
        The object.
    video, stage : str
        Video and stage that the object's key names.

    Returns
    -------
    mark : Mark
    sealed : bool
        Whether it carries a digest; marks of the first edition do not.

    Raises
    ------
    ValueError
        It is not a mark, the mark of another stage, or altered; the message says how.
    """
    values = _parsed(content, Mark)
    _need(values["video"] == video, "it is of video {!r}", values["video"])
    _need(values["stage"] == stage, "it is of stage {!r}", values["stage"])
    _need(isinstance(values["fingerprint"], str), "its fingerprint is not text")
    for key in ("identity", "arrays", "provenance"):
        _need(isinstance(values[key], dict), "its {} is not a mapping", key)
    for name, about in values["arrays"].items():
        _check_array(name, about)
    digest = values["provenance"].get(DIGEST)
    values["provenance"] = _without_digest(values["provenance"])
    if digest is not None:
        unsealed({**values, DIGEST: digest})
    parameters = values["identity"].get("parameters", {})
    _need(isinstance(parameters, dict), "its parameters are not a mapping")
    _need(isinstance(values["identity"].get("upstream", {}), dict), "its upstream is not a mapping")
    stored = values["provenance"].get("stored_bytes", 0)
    _need(isinstance(stored, int), "its stored_bytes is not a number")
    return Mark(**values), digest is not None


def parse_quarantine(content: bytes, video: str) -> Quarantine:
    """Read and check a quarantine record from the bytes of its object.

    Raises
    ------
    ValueError
        It is not a quarantine record, or that of another video; the message says how.
    """
    values = _parsed(content, Quarantine)
    _need(values["video"] == video, "it is of video {!r}", values["video"])
    _need(all(isinstance(values[key], str) for key in ("kind", "reason")), "its reason is not text")
    _need(isinstance(values["wanted"], dict), "its wanted is not a mapping")
    return Quarantine(**values)


def _parsed(content: bytes, kind: type[Mark] | type[Quarantine]) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _need(isinstance(values, dict), "it is not a mapping")
    expected = list(kind.__dataclass_fields__)
    _need(sorted(values) == sorted(expected), "its keys are not {}", ", ".join(expected))
    return dict(values)


def _check_array(name: object, about: Any) -> None:
    _need(is_name(name), "{!r} is not a valid array name", name)
    _need(isinstance(about, dict), "what it says of {} is not a mapping", name)
    shape, dims, objects = about.get("shape"), about.get("dims"), about.get("sha256")
    _need(
        isinstance(shape, list)
        and all(type(side) is int and 0 <= side <= _MOST_ITEMS for side in shape),
        "the shape of {} is {!r}",
        name,
        shape,
    )
    _need(
        isinstance(dims, list)
        and len(dims) == len(shape or ()) > 0
        and all(isinstance(dim, str) for dim in dims),
        "the dims of {} are {!r}",
        name,
        dims,
    )
    _need(isinstance(about.get("dtype"), str), "the dtype of {} is {!r}", name, about.get("dtype"))
    try:
        itemsize = np.dtype(about["dtype"]).itemsize
    except (TypeError, ValueError):
        raise ValueError(f"the dtype of {name} is {about['dtype']!r}") from None
    total_bytes = itemsize
    for side in shape or ():
        total_bytes *= side
    _need(total_bytes <= _MOST_BYTES, "{} would have {} bytes", name, total_bytes)
    _need(isinstance(objects, dict), "the objects of {} are not a mapping", name)
    for key, sha256 in (objects or {}).items():
        _need(is_object_key(key), "{!r} is not an object of {}", key, name)
        _need(isinstance(sha256, str), "the SHA-256 of {}/{} is not text", name, key)
    for key in SAID:
        _need(isinstance(about.get(key, ""), str | None), "the {} of {} is not text", key, name)
    for key in ("starts", "source_frames", "offset"):
        named = about.get(key) is None or is_name(about[key])
        _need(named, "the {} of {} is not a name", key, name)


def _need(holds: bool, otherwise: str, *values: object) -> None:
    # Formatted only where it is said: a store of 10,000 videos has a million such sentences.
    if not holds:
        raise ValueError(otherwise.format(*values))


def _without_digest(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in provenance.items() if key != DIGEST}


def _names_random_weights(parameters: Mapping[str, Any]) -> bool:
    return any(
        _names_random_weights(value)
        if isinstance(value, Mapping)
        else key.startswith("weights") and str(value).startswith("random")
        for key, value in parameters.items()
    )
