"""This module finds video files without their end, by the sizes that the container declares.

A file that was cut between two packets decodes without a complaint: only the sizes that the
container declares show that there was more.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_MP4_BOXES = frozenset(
    (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"sidx", b"styp", b"uuid",
     b"meta", b"udta", b"mfra", b"pnot", b"prft", b"emsg")
)  # fmt: skip
_SIZE_IN_64_BITS = 1
_NEVER_FILLED_IN = (0, 2**32 - 1)
"""Sizes in an AVI from a writer that was killed or that streamed."""


def missing_bytes(path: Path) -> int:
    """Return how many bytes are missing at the end of an AVI or MP4 (MOV) file.

    Sources: the RIFF chunk rule (Multimedia Programming Interface and Data Specifications 1.0) and
    the box rule of ISO/IEC 14496-12. A fragmented MP4 that was cut between two fragments looks
    whole.

    Parameters
    ----------
    path : Path
        The video file.

    Returns
    -------
    int
        0 for a whole file and for containers that declare no sizes (Matroska, MPEG streams).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        declared = _declared_end(file, size)
    return max(0, declared - size)


def _declared_end(file: BinaryIO, size: int) -> int:
    """Return where the last top-level chunk or box ends; stop at the first unknown one."""
    position = end = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        if head[:4] == b"RIFF":
            length = int.from_bytes(head[4:8], "little")
            if length in _NEVER_FILLED_IN:
                break
            end = position + 8 + length
            position = end + length % 2
        elif head[4:8] in _MP4_BOXES:
            length = int.from_bytes(head[:4], "big")
            if length == _SIZE_IN_64_BITS and len(head) == 16:
                length = int.from_bytes(head[8:], "big")
            if length < 8:  # 0: to the end of the file
                break
            position = end = position + length
        else:
            break
    return end
