"""This module computes SHA-256 hashes of JSON, of stored objects, and of records that carry one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zarr.abc.store import RangeByteRequest

from foveal.storage.zarr_internals import default_buffer_prototype, sync

if TYPE_CHECKING:
    from foveal.storage.location import Location

DIGEST = "digest"
"""Key under which a record holds the hash of all its other values."""

_BLOCK_BYTES = 8 * 2**20


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Return the SHA-256 of canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as JSON gives them back, with the hash of all of them under `DIGEST`."""
    plain = json.loads(json.dumps({key: values[key] for key in values if key != DIGEST}))
    return {**plain, DIGEST: fingerprint(plain)}


def unsealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a sealed record without the hash; the first edition has no hash.

    Raises
    ------
    ValueError
        The hash is not that of the other values.
    """
    plain = {key: value for key, value in values.items() if key != DIGEST}
    if DIGEST in values and values[DIGEST] != fingerprint(plain):
        raise ValueError("its digest is not that of its content")
    return plain


def sha256_of_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes in memory."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_object(location: Location, key: str) -> str | None:
    """Return the SHA-256 of an object, read in blocks; None where there is no such object.

    Raises
    ------
    StoreUnreachable
        The object is there but cannot be read.
    """
    with location.reaching(key):
        try:
            size = sync(location.zarr.getsize(key))
        except (FileNotFoundError, IsADirectoryError):
            return None
        digest = hashlib.sha256()
        for start in range(0, size, _BLOCK_BYTES):
            block = RangeByteRequest(start, min(size, start + _BLOCK_BYTES))
            buffer = sync(location.zarr.get(key, default_buffer_prototype(), block))
            if buffer is None:
                return None
            digest.update(buffer.as_buffer_like())
    return digest.hexdigest()
