"""This module writes the files of a training run so that a kill never damages them.

======================  ==========================================================================
``settings.yaml``       the settings, with all of the paper's filled in
``last.pt``             everything needed to go on at the exact step
``previous.pt``         the checkpoint before, in case ``last.pt`` is damaged
``best.pt``             the network with the best validation, for `load_network` and other runs
``curve.csv``           loss of every step
``validation.csv``      scores of every validation
======================  ==========================================================================
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from foveal.errors import FovealError, MissingDependency, RecipeError, writing
from foveal.models import saliency, tensor_files
from foveal.models.saliency import SaliencyNetwork

log = logging.getLogger(__name__)

LAST, PREVIOUS, DAMAGED, BEST = "last.pt", "previous.pt", "last.damaged.pt", "best.pt"
CURVE, VALIDATION, SETTINGS = "curve.csv", "validation.csv", "settings.yaml"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file at once; the new content is on the disk when this returns.

    Raises
    ------
    Unreachable
        The disk is full, for example; the former file stays.
    """
    partial = path.with_name(f".{path.name}.partial")
    with writing(path):
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        partial.replace(path)


def save(folder: Path, values: Mapping[str, Any]) -> None:
    """Write the checkpoint of a run; the one before is kept as `PREVIOUS`."""
    new = folder / f"{LAST}.new"
    write_atomically(new, tensor_files.packed(values))
    with writing(folder):
        if (folder / LAST).is_file():
            (folder / LAST).replace(folder / PREVIOUS)
        new.replace(folder / LAST)


def load(folder: Path, *, keep_damaged: bool = True) -> dict[str, Any] | None:
    """Read the checkpoint of a run, or the one before where the last one is damaged or missing.

    Parameters
    ----------
    folder : Path
    keep_damaged : bool
        Whether a damaged checkpoint is renamed to `DAMAGED`, so that the next one does not replace
        it.

    Returns
    -------
    dict or None
        What `save` wrote, on the CPU; None where nothing was ever saved.

    Raises
    ------
    FovealError
        Neither checkpoint can be read; the message says why.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    if not last.is_file() and not previous.is_file():
        return None
    try:
        return dict(tensor_files.read(last))
    except FovealError as error:
        problem = str(error)
    try:
        values = dict(tensor_files.read(previous))
    except FovealError as error:
        raise FovealError(
            f"{problem}; and {error}; restore a copy of either file, or begin anew in another "
            "folder: run=…"
        ) from None
    if keep_damaged and last.is_file():
        last.replace(folder / DAMAGED)
        problem += f" (kept as {DAMAGED})"
    log.warning("%s; going on from %s, step %d", problem, previous, values["iteration"])
    return values


def save_network(path: Path, network: SaliencyNetwork, about: Mapping[str, Any]) -> None:
    """Write a network with everything that is needed to build it again.

    Parameters
    ----------
    path : Path
    network : SaliencyNetwork
    about : mapping
        How it was trained; plain values.
    """
    values = {
        "network": network.spec.name,
        "options": dict(network.spec.options),
        "state_dict": network.state_dict(),
        "provenance": {**network.provenance, **about},
    }
    write_atomically(path, tensor_files.packed(values))


def network_file(path: str | Path) -> Path:
    """Return the file of a trained network: `path` itself, or the best one in the folder of a run.

    Raises
    ------
    MissingDependency
        There is no such file.
    """
    path = Path(path).expanduser()
    file = path / BEST if path.is_dir() else path
    if not file.is_file():
        raise MissingDependency(
            f"there is no trained network {file}; give the folder of a run, or a file that "
            "`foveal train` wrote"
        )
    return file


def load_network(path: str | Path) -> tuple[SaliencyNetwork, dict[str, Any]]:
    """Build a trained network, in evaluation mode on the CPU.

    Parameters
    ----------
    path : str or Path
        See `network_file`.

    Returns
    -------
    network : SaliencyNetwork
    provenance : dict
        How it was trained.

    Raises
    ------
    MissingDependency, FovealError
        The file is missing, or holds no network that `save_network` wrote.
    """
    file = network_file(path)
    values = tensor_files.read(file)
    if not isinstance(values, dict) or "network" not in values or "options" not in values:
        raise FovealError(
            f"{file} does not say which network it holds; give a file that `foveal train` wrote, "
            "or name the network: --network NAME --weights FILE"
        )
    network = saliency.build(values["network"], weights=file, **values["options"])
    return network.eval(), values["provenance"]


_LATER: Mapping[str, Any] = {
    "validation_share": None,
    "validation_ids": None,
    "batch_size_of": {},
    "augment": {"mirror": 0.0, "rotate_degrees": 0.0},
}
"""Settings of runs of earlier versions whose checkpoints do not hold them."""

_MAY_CHANGE = frozenset(
    {
        "run",
        "epochs",
        "iterations",
        "patience",
        "validate_every",
        "validation_videos",
        "checkpoint_every",
        "strict_inputs",
        "workers",
        "device",
        "logger",
    }
)
"""Settings that a resumed run may change: they do not alter the steps taken so far."""


def check_same_settings(folder: Path, now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Refuse to continue a run with settings other than those of the steps so far.

    Parameters
    ----------
    folder : Path
    now, before : mapping
        Settings with the paper's filled in, as plain values.

    Raises
    ------
    RecipeError
        Settings that no resumed run may change differ; the message names each.
    """
    before = {**_LATER, **before}
    differing = [key for key in now if key not in _MAY_CHANGE and now[key] != before.get(key)]
    if differing:
        changes = "; ".join(f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in differing)
        raise RecipeError(
            f"{folder} holds a run with other settings ({changes}); go on with those, or name "
            "another folder: run=…"
        )


class Log:
    """A CSV file that grows by rows; rows of steps after the last checkpoint are dropped.

    Parameters
    ----------
    path : Path
    columns : tuple of str
        Names of the columns; the first is the iteration.
    after : int
        Rows of later iterations are dropped, since these steps are taken again.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], after: int) -> None:
        self._columns = columns
        self._path = path
        kept = [row for row in read_log(path) if int(row[columns[0]]) <= after]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(kept)
        write_atomically(path, text.getvalue().encode())
        self._file = path.open("a", newline="", encoding="utf-8")

    def add(self, **row: object) -> None:
        """Append a row and flush the file."""
        with writing(self._path):
            csv.DictWriter(self._file, self._columns).writerow(row)
            self._file.flush()

    def close(self) -> None:
        """Close the file; a row that a full disk left in the buffer is lost."""
        with suppress(OSError):
            self._file.close()


def read_log(path: Path) -> list[dict[str, str]]:
    """Return the complete rows of a log; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if all(row.values())]
