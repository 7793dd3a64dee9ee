"""Define and check the records of the journal: completion marks and quarantine records.

A record read from a store is checked completely before it is used: types, names and keys, that its
key is the one it names, and the digest over all of it.
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
    """A stage of a video is complete.

    Attributes
    ----------
    video, stage : str
    fingerprint : str
        SHA-256 of `identity`.
    identity : mapping
        What determines the numbers: stage, version, parameters, source content, upstream.
    arrays : mapping
        By array name: ``shape``, ``dtype``, ``dims``, what the array says of itself (``axis``,
        ``kind``, …; see `foveal.storage.kinds`) and ``sha256`` by object key below the array.
    provenance : mapping
        What happened: software, device, seconds, counts, source files.
    """

    video: str
    stage: str
    fingerprint: str
    identity: Mapping[str, Any]
    arrays: Mapping[str, Mapping[str, Any]]
    provenance: Mapping[str, Any]

    @property
    def infos(self) -> dict[str, ArrayInfo]:
        """What each of its arrays is, by name."""
        return {
            name: array_info(name, self.stage, about, self.window, self.span)
            for name, about in self.arrays.items()
        }

    @property
    def window(self) -> int | None:
        """Frames in a window, where its parameters say it."""
        return self._count("window")

    @property
    def span(self) -> int | None:
        """Frames that an item reaches over, where its parameters say it."""
        return self._count("span")

    def _count(self, name: str) -> int | None:
        parameters = self.provenance.get("parameters", {})
        count = parameters.get(name) if isinstance(parameters, Mapping) else None
        return count if isinstance(count, int) and count > 0 else None

    @property
    def random_weights(self) -> bool:
        """Whether an untrained network computed it: only to try things out."""
        return _names_random_weights(self.identity.get("parameters", {}))

    @property
    def stored_bytes(self) -> int:
        """Bytes of all objects of this stage."""
        return int(self.provenance.get("stored_bytes", 0))


@dataclass(frozen=True)
class Quarantine:
    """A video that could not be processed.

    Attributes
    ----------
    video : str
    kind : str
        Name of the error class.
    reason : str
        For people: what is wrong and what to do.
    wanted : mapping of str to str
        Fingerprint by stage that was being computed: while it stays, trying again is pointless.
    """

    video: str
    kind: str
    reason: str
    wanted: Mapping[str, str]


def mark_values(mark: Mark) -> dict[str, Any]:
    """A mark as JSON, with a digest over all of it in its provenance.

    There and not beside ``provenance``: a foveal that knows of no digests still reads it.
    """
    values = asdict(mark)
    digest = sealed(values | {"provenance": _without_digest(values["provenance"])})[DIGEST]
    return values | {"provenance": {**values["provenance"], DIGEST: digest}}


def parse_mark(content: bytes, video: str, stage: str) -> tuple[Mark, bool]:
    """A mark from the bytes of its object.

    Parameters
    ----------
    content : bytes
    video, stage : str
        Whose it is, by its key.

    Returns
    -------
    mark : Mark
    sealed : bool
        Whether it carries a digest; those of the first edition do not.

    Raises
    ------
    ValueError
        Where it is no mark, another's mark, or altered; the message says how.
    """
    values = _parsed(content, Mark)
    _need(values["video"] == video, "it speaks of video {!r}", values["video"])
    _need(values["stage"] == stage, "it speaks of stage {!r}", values["stage"])
    _need(isinstance(values["fingerprint"], str), "its fingerprint is no text")
    for key in ("identity", "arrays", "provenance"):
        _need(isinstance(values[key], dict), "its {} is no mapping", key)
    for name, about in values["arrays"].items():
        _check_array(name, about)
    digest = values["provenance"].get(DIGEST)
    values["provenance"] = _without_digest(values["provenance"])
    if digest is not None:
        unsealed({**values, DIGEST: digest})
    parameters = values["identity"].get("parameters", {})
    _need(isinstance(parameters, dict), "its parameters are no mapping")
    _need(isinstance(values["identity"].get("upstream", {}), dict), "its upstream is no mapping")
    stored = values["provenance"].get("stored_bytes", 0)
    _need(isinstance(stored, int), "its stored_bytes is no number")
    return Mark(**values), digest is not None


def parse_quarantine(content: bytes, video: str) -> Quarantine:
    """A quarantine record from the bytes of its object.

    Raises
    ------
    ValueError
        Where it is none, or another's; the message says how.
    """
    values = _parsed(content, Quarantine)
    _need(values["video"] == video, "it speaks of video {!r}", values["video"])
    _need(all(isinstance(values[key], str) for key in ("kind", "reason")), "its reason is no text")
    _need(isinstance(values["wanted"], dict), "its wanted is no mapping")
    return Quarantine(**values)


def _parsed(content: bytes, kind: type[Mark] | type[Quarantine]) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _need(isinstance(values, dict), "it is no mapping")
    expected = list(kind.__dataclass_fields__)
    _need(sorted(values) == sorted(expected), "it holds not just {}", ", ".join(expected))
    return dict(values)


def _check_array(name: object, about: Any) -> None:
    _need(is_name(name), "{!r} is no name of an array", name)
    _need(isinstance(about, dict), "what it says of {} is no mapping", name)
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
    _need(total_bytes <= _MOST_BYTES, "{} would be {} bytes large", name, total_bytes)
    _need(isinstance(objects, dict), "the objects of {} are no mapping", name)
    for key, sha256 in (objects or {}).items():
        _need(is_object_key(key), "{!r} is no object of {}", key, name)
        _need(isinstance(sha256, str), "the SHA-256 of {}/{} is no text", name, key)
    for key in SAID:
        _need(isinstance(about.get(key, ""), str | None), "the {} of {} is no text", key, name)
    for key in ("starts", "source_frames", "offset"):
        _need(about.get(key) is None or is_name(about[key]), "the {} of {} is no name", key, name)


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
