"""This module reads and writes ``scores/<target>/<training>.json``: scores and their inputs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveal.errors import ChecksumError
from foveal.pipeline.learn.checkpoint import write_atomically
from foveal.storage.digests import sealed, unsealed


@dataclass(frozen=True)
class Score:
    """Scores of a training on a target.

    Attributes
    ----------
    training, target : str
        Names in the experiment's file.
    made_by : str
        Hash of what the experiment's file says of the training.
    means : mapping of str to (float or None)
        By metric; None if no frame could be scored.
    videos : list of str
        Videos that were scored.
    left_out : int
        Number of the target's videos without a prediction.
    inputs_sha256 : str
        See `foveal.storage.evaluation.inputs_sha256`.
    parameters : int
    provenance : dict
        Where its weights come from, and how its inputs differ from the paper's.
    """

    training: str
    target: str
    made_by: str
    means: dict[str, float | None]
    videos: list[str]
    left_out: int
    inputs_sha256: str
    parameters: int
    provenance: dict[str, Any]

    def summary(self) -> str:
        """Return the means in one line."""
        parts = [
            f"{name} {'undefined' if value is None else f'{value:.3f}'}"
            for name, value in self.means.items()
        ]
        return ", ".join(parts)


def score_path(folder: Path, training: str, target: str) -> Path:
    """Return the file of a score."""
    return folder / "scores" / target / f"{training}.json"


def write_score(folder: Path, score: Score) -> None:
    """Write a score, in place of an earlier one."""
    path = score_path(folder, score.training, score.target)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(sealed(asdict(score)), indent=1).encode())


def read_score(folder: Path, training: str, target: str) -> Score | None:
    """Read a score, None where there is none.

    Raises
    ------
    ChecksumError
        The file is damaged.
    """
    path = score_path(folder, training, target)
    if not path.is_file():
        return None
    try:
        return Score(**unsealed(json.loads(path.read_bytes())))
    except (ValueError, TypeError, AttributeError) as error:
        raise ChecksumError(
            f"{path} is damaged ({error}); remove it, and run the experiment again"
        ) from None
