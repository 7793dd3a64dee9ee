"""This module moves the chunks of a shard to offsets from which a processor copies fastest.

Each chunk of a shard is followed by the four bytes of its checksum, so without gaps only the first
chunk would begin at a multiple of anything. Plain chunks at other offsets are copied a seventh
slower, which costs more than comparing the checksum. Zarr allows gaps in a shard: the shard's index
gives the offset of each chunk.
"""

from __future__ import annotations

import numpy as np
from fastcrc.crc32 import iscsi as crc32c

ABSENT = 2**64 - 1
"""Offset of a chunk that was never written."""

ALIGNED_BYTES = 64
"""A cache line."""

ALIGNED_FROM_BYTES = 4096
"""Shorter chunks are not moved: the gaps would cost more than they save."""

CRC_BYTES = 4


def with_aligned_chunks(shard: bytes | bytearray | memoryview, chunks: int) -> bytes:
    """Return a shard with each chunk at a multiple of `ALIGNED_BYTES`, in the same order.

    Parameters
    ----------
    shard : bytes
        A shard as Zarr's sharding codec writes it: chunks, then the index and its CRC-32C.
    chunks : int
        Number of entries in the index.
    """
    at = len(shard) - 16 * chunks - CRC_BYTES
    index = np.frombuffer(shard, "<u8", 2 * chunks, at).reshape(-1, 2).copy()
    content = bytearray()
    for number in np.argsort(index[:, 0]):
        offset, length = map(int, index[number])
        if offset != ABSENT:
            content += bytes(-len(content) % ALIGNED_BYTES)
            index[number, 0] = len(content)
            content += shard[offset : offset + length]
    behind = index.tobytes()
    return bytes(content) + behind + crc32c(behind).to_bytes(CRC_BYTES, "little")
