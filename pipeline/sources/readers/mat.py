"""MATLAB files, v5 and v7.3 (HDF5), with a bound on what they may claim to hold.

Values come as MATLAB users think of them whatever the file's version: numeric arrays as arrays,
text as str, a structure as dict, cells and structure arrays as list.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from foveal.errors import GazeError

MAX_ELEMENTS = 1 << 26
"""Largest array that is read: 8192 x 8192."""

MAX_BYTES = 1 << 29
"""Largest content of a file, once inflated."""

_V5_HEADER_BYTES = 128
_COMPRESSED = 15


def read_mat(path: Path, *names: str) -> Any:
    """The first of the named variables that a MATLAB file has.

    Raises
    ------
    GazeError
        Where the file is missing, damaged, holds none of them, or claims more than `MAX_ELEMENTS`.
    """
    variables = _variables(path)
    for name in names:
        if name in variables:
            return _read(path, name)
    raise GazeError(
        f"{path} holds {', '.join(variables) or 'no variables'}, not {' or '.join(names)}"
    )


def mat_names(path: Path) -> list[str]:
    """Names of the variables of a MATLAB file."""
    return list(_variables(path))


def _variables(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the variables by name, checked against the bounds before anything is read."""
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                return {name: () for name in file if not name.startswith("#")}
        _check_inflated(path)
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(path)}
    except FileNotFoundError:
        raise GazeError(f"there is no {path}") from None
    except GazeError:
        raise
    except Exception as error:
        raise GazeError(f"{path} is no readable MATLAB file: {error}") from None
    for name, shape in shapes.items():
        _check_size(path, name, shape)
    return shapes


def _read(path: Path, name: str) -> Any:
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                return _from_hdf5(path, file, file[name])
        return _as_list(scipy.io.loadmat(path, variable_names=[name], simplify_cells=True)[name])
    except GazeError:
        raise
    except Exception as error:
        raise GazeError(f"{path}: variable {name} cannot be read: {error}") from None


def _check_size(path: Path, name: str, shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MAX_ELEMENTS:
        claimed = "x".join(map(str, shape))
        raise GazeError(
            f"{path}: {name} claims {claimed} elements; more than {MAX_ELEMENTS} are not read"
        )


def _check_inflated(path: Path) -> None:
    """Bound what the compressed elements of a v5 file inflate to."""
    left = MAX_BYTES
    with path.open("rb") as file:
        order = "<" if file.read(_V5_HEADER_BYTES)[126:] == b"IM" else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(order + "II", tag)
            if kind != _COMPRESSED:
                file.seek(size, 1)
                continue
            inflate = zlib.decompressobj()
            block = file.read(min(size, MAX_BYTES))
            while block and left > 0:
                left -= len(inflate.decompress(block, 1 << 20))
                block = inflate.unconsumed_tail
            if left <= 0:
                raise GazeError(f"{path} inflates to more than {MAX_BYTES} bytes; it is not read")


def _as_list(value: Any) -> Any:
    """Object arrays (cells, structure arrays) as lists, at every depth."""
    if isinstance(value, dict):
        return {key: _as_list(item) for key, item in value.items()}
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [_as_list(item) for item in np.ravel(np.asarray(value, object))]
    return value


def _from_hdf5(path: Path, file: h5py.File, node: h5py.Group | h5py.Dataset) -> Any:
    if isinstance(node, h5py.Group):
        fields = {key: _from_hdf5(path, file, node[key]) for key in node}
        if all(_is_references(node[key]) for key in node) and "MATLAB_class" in node.attrs:
            count = min((len(items) for items in fields.values()), default=0)
            return [{key: items[i] for key, items in fields.items()} for i in range(count)]
        return fields
    _check_size(path, node.name, node.shape or ())
    if "MATLAB_empty" in node.attrs:
        return np.empty((0, 0))
    if _is_references(node):
        return [_from_hdf5(path, file, file[reference]) for reference in node[()].ravel()]
    values: NDArray[Any] = node[()]
    if node.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, values.ravel(order="F")))
    return np.squeeze(values.T)


def _is_references(node: Any) -> bool:
    return isinstance(node, h5py.Dataset) and node.dtype == h5py.ref_dtype
