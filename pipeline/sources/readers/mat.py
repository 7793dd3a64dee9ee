"""Reader for MATLAB files, v5 and v7.3 (HDF5), with bounds on the size that they may claim.

Both versions give the same Python values: arrays of numbers as ndarray, text as str, a structure
as dict, cells and structure arrays as list.
"""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import GazeError
from foveal.pipeline.sources.readers.files import check_file
from foveal.pipeline.sources.readers.mat_v5 import plain_v5

if TYPE_CHECKING:
    import h5py

MAX_ELEMENTS = 1 << 26
"""Largest array that is read: 8192 x 8192."""

MAX_BYTES = 1 << 29
"""Largest content of a file, once inflated and with all references followed."""

_NODE_BYTES = 1 << 10
"""Least size counted per HDF5 object, so that circular references end."""


def read_mat(path: Path, *names: str) -> Any:
    """Read the first of the variables `names` that the MATLAB file `path` has.

    Raises
    ------
    GazeError
        The file is missing, damaged, has none of the variables, or claims more than `MAX_ELEMENTS`
        in an array or `MAX_BYTES` in all.
    """
    import scipy.io

    content = _content(path)
    variables = _names(path, content)
    name = next((name for name in names if name in variables), None)
    if name is None:
        raise GazeError(
            f"{path} holds {', '.join(variables) or 'no variables'}, not {' or '.join(names)}"
        )
    try:
        if content is None:
            with _hdf5(path) as file:
                return _Hdf5(path, file).value(file[name])
        found = scipy.io.loadmat(BytesIO(content), variable_names=[name], simplify_cells=True)
        return _as_list(found[name])
    except GazeError:
        raise
    except Exception as error:
        raise GazeError(f"{path}: variable {name} cannot be read: {error}") from None


def mat_names(path: Path) -> list[str]:
    """List the variables of the MATLAB file `path`; raises as `read_mat` does."""
    return _names(path, _content(path))


def _content(path: Path) -> bytes | None:
    """Checked content of a v5 file, for SciPy; None for HDF5."""
    import h5py

    check_file(path, MAX_BYTES)
    try:
        return None if h5py.is_hdf5(path) else plain_v5(path.read_bytes(), MAX_BYTES)
    except (OSError, ValueError) as error:
        raise GazeError(f"{path} is no readable MATLAB file: {error}") from None


def _names(path: Path, content: bytes | None) -> list[str]:
    """Names of the variables; their sizes are checked before anything is read."""
    import scipy.io

    try:
        if content is None:
            with _hdf5(path) as file:
                return [name for name in file if not name.startswith("#")]
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(BytesIO(content))}
    except Exception as error:
        raise GazeError(f"{path} is no readable MATLAB file: {error}") from None
    for name, shape in shapes.items():
        _check_size(path, name, shape)
    return list(shapes)


def _hdf5(path: Path) -> h5py.File:
    import h5py

    return h5py.File(path, "r")


def real_numbers(value: Any) -> NDArray[np.float64]:
    """Convert `value`, numbers from a file in any nesting, to a float64 array.

    Raises
    ------
    TypeError, ValueError
        The value is text, complex, an object, or ragged.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "buif":
        raise TypeError(f"{array.dtype} is not real numbers")
    return array.astype(np.float64)


def _check_size(path: Path, name: str, shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MAX_ELEMENTS:
        claimed = "x".join(map(str, shape))
        raise GazeError(
            f"{path}: {name} claims {claimed} elements; more than {MAX_ELEMENTS} are not read"
        )


def _as_list(value: Any) -> Any:
    """Object arrays (cells, structure arrays) as lists, at every depth."""
    if isinstance(value, dict):
        return {key: _as_list(item) for key, item in value.items()}
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [_as_list(item) for item in np.ravel(np.asarray(value, object))]
    return value


class _Hdf5:
    """Values of one open HDF5 file, up to `MAX_BYTES` in all; repeated references count again."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self.file, self.left = path, file, MAX_BYTES

    def value(self, node: h5py.Group | h5py.Dataset) -> Any:
        import h5py

        is_group = isinstance(node, h5py.Group)
        if not is_group:
            _check_size(self.path, node.name, node.shape or ())
        self.left -= max(_NODE_BYTES, 0 if is_group else node.nbytes)
        if self.left < 0:
            raise GazeError(
                f"{self.path} holds more than {MAX_BYTES} bytes with all references followed; "
                "it is not read"
            )
        if is_group:
            fields = {key: self.value(node[key]) for key in node}
            if all(_is_references(node[key]) for key in node) and "MATLAB_class" in node.attrs:
                count = min((len(items) for items in fields.values()), default=0)
                return [{key: items[i] for key, items in fields.items()} for i in range(count)]
            return fields
        if "MATLAB_empty" in node.attrs:
            return np.empty((0, 0))
        if _is_references(node):
            return [self.value(self.file[reference]) for reference in node[()].ravel()]
        if node.dtype.hasobject:
            raise GazeError(
                f"{self.path}: {node.name} is {node.dtype}, which MATLAB does not write"
            )
        values: NDArray[Any] = node[()]
        if node.attrs.get("MATLAB_class") == b"char":
            return "".join(map(chr, values.ravel(order="F")))
        return np.squeeze(values.T)


def _is_references(node: Any) -> bool:
    import h5py

    return isinstance(node, h5py.Dataset) and node.dtype == h5py.ref_dtype
