"""This module reads and writes files of tensors; it notices damage and runs no pickled code.

``torch.save`` gives each tensor a CRC-32, which ``torch.load`` never compares; `read` does. A file
of `packed` also ends with the SHA-256 of all that is before it. It is the comment of the zip
archive, so plain ``torch.load`` reads the file too.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from foveal.errors import FovealError

_DIGEST = b"sha256:"
_COMMENT_BYTES = len(_DIGEST) + 64


def packed(values: Mapping[str, Any]) -> bytes:
    """Return the content of a file of `values` (tensors and plain ones), its digest at the end."""
    file = io.BytesIO()
    torch.save(dict(values), file)
    # An archive ends with the length of its comment, which is still 0 here.
    content = file.getvalue()[:-2] + _COMMENT_BYTES.to_bytes(2, "little")
    return content + _DIGEST + hashlib.sha256(content).hexdigest().encode()


def read(path: Path) -> Any:
    """Read onto the CPU what `packed`, ``torch.save`` or safetensors wrote.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    FovealError
        The file is missing, damaged, something else, or holds objects that need code to run.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        _check(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        why = (
            "cannot be loaded as tensors and plain values; files that need pickled code are "
            "refused: save only the state dict with torch.save"
        )
    except OSError as error:
        why = f"cannot be read: {error.strerror or error}"
    except Exception as error:  # torch.load can raise anything for a damaged file
        why = f"is damaged, or not a file of torch.save ({type(error).__name__})"
    raise FovealError(f"{path} {why}")


def _check(path: Path) -> None:
    """Compare digest and checksums; files in torch's old format have neither."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _COMMENT_BYTES))
        comment = file.read()
        file.seek(0)
        if comment.startswith(_DIGEST):
            digest = hashlib.sha256()
            while left := min(1 << 20, size - _COMMENT_BYTES - file.tell()):
                digest.update(file.read(left))
            if digest.hexdigest().encode() != comment.removeprefix(_DIGEST):
                raise ValueError("its digest differs")
        elif zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                if archive.comment or archive.testzip() is not None:
                    raise ValueError("a checksum differs")
