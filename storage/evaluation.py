"""This module writes and reads ``evaluation.json``: a store's latest scores and their inputs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from foveal.errors import ChecksumError
from foveal.storage.digests import sealed, unsealed
from foveal.storage.kinds import ArrayInfo
from foveal.storage.location import Location
from foveal.storage.marks import Mark, read_journal
from foveal.storage.schema import EVALUATION

_ROLES = ("timeline", "ground_truth")
_KIND_OF_BASELINE = {"flow_magnitude": "flow"}


def inputs_sha256(location: Location, origins: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Hash what the scores of each contestant are computed from, as the store has it now.

    Parameters
    ----------
    location : Location
    origins : mapping of str to iterable of str
        By contestant (the name of a prediction's array, or a baseline), the videos that were
        scored and the videos that its maps come from.

    Returns
    -------
    dict of str to str
        By contestant, the hash of the fingerprints of the prediction and the ground truth; for the
        baseline ``flow_magnitude``, of the flow as well.
    """
    journal, _ = read_journal(location, sorted(set().union(*origins.values())))
    return {name: _hash(journal, name, videos) for name, videos in origins.items()}


def _hash(journal: Mapping[str, Mapping[str, Mark]], contestant: str, videos: Iterable[str]) -> str:
    kind = _KIND_OF_BASELINE.get(contestant)

    def counts(info: ArrayInfo) -> bool:
        return info.name == contestant or info.role in _ROLES or info.kind == kind

    found = {
        video: {
            stage: mark.fingerprint
            for stage, mark in journal.get(video, {}).items()
            if any(map(counts, mark.infos.values()))
        }
        for video in videos
    }
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def write_evaluation(location: Location, scores: Mapping[str, Any]) -> None:
    """Write scores to the store, in place of earlier ones.

    Parameters
    ----------
    location : Location
    scores : mapping
        JSON values; ``contestants`` by name, each with ``videos``, ``made_from`` (further videos
        that its maps come from) and ``inputs_sha256``.

    Raises
    ------
    OSError, ValueError
        The store cannot be written to.
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    location.write_json(EVALUATION, sealed({**scores, "evaluated_at": stamp}))


def read_evaluation(location: Location) -> dict[str, Any] | None:
    """Read the scores of a store and whether they are up to date; None where there are none.

    Returns
    -------
    dict or None
        As written, with ``evaluated_at`` (UTC), and in each contestant ``up_to_date``: whether
        the prediction and the ground truth are still the ones that were scored.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    scores = stored_scores(location)
    if scores is None:
        return None
    current = inputs_sha256(
        location,
        {
            name: {*entry["videos"], *entry.get("made_from", ())}
            for name, entry in scores["contestants"].items()
        },
    )
    for name, entry in scores["contestants"].items():
        entry["up_to_date"] = entry["inputs_sha256"] == current[name]
    return scores


def stored_scores(location: Location) -> dict[str, Any] | None:
    """Read the scores of a store as they were written; None where there are none.

    Raises
    ------
    ChecksumError
        The file is damaged.
    """
    content = location.read(EVALUATION)
    if content is None:
        return None
    try:
        scores = unsealed(json.loads(content))
        for entry in scores["contestants"].values():
            list(map(str, [*entry["videos"], *entry.get("made_from", ()), entry["inputs_sha256"]]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ChecksumError(
            f"{location}/{EVALUATION} is damaged ({error}); `foveal evaluate` computes it again"
        ) from None
    return scores
