"""This module makes the tables of an experiment: our numbers beside the printed ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foveal.models.metrics import find_metric
from foveal.pipeline.experiment.scores import Score
from foveal.pipeline.experiment.spec import LOWER_IS_BETTER, MEASURED, RowSpec, TableSpec
from foveal.pipeline.experiment.work import Work

TINY = (
    "tiny scale: made-up videos, small networks, a few steps; these numbers only show that it runs"
)


def compare(work: Work) -> dict[str, Any]:
    """Return all tables of an experiment as plain values.

    Parameters
    ----------
    work : Work

    Returns
    -------
    dict
        ``experiment``, ``paper``, ``scale``, ``folder``; ``tables``, each with ``key``, ``title``,
        ``remark``, ``metrics`` (``name``, ``label``, ``higher_is_better``), ``targets`` (``name``,
        ``title``, ``withheld``) and ``rows``; ``notes`` (how our numbers are made differently,
        numbered from 1 by the rows' ``notes``); and ``not_run`` (``table``, ``row``, ``training``).
        A row has ``name``, ``training``, ``remark``, ``state`` (``run``, ``partly``, ``not run``,
        ``withheld``, or ``others`` for methods of others), ``notes`` and ``cells``: by target and
        metric ``ours``, ``published``, ``difference`` (None where one is missing) and ``doubtful``.
    """
    spec, notes = work.experiment.spec, _Notes()
    scores: dict[tuple[str, str], Score | None] = {}

    def score_of(training: str, target: str) -> Score | None:
        if (training, target) not in scores:
            scores[training, target] = work.score_of(training, target)
        return scores[training, target]

    tables: list[dict[str, Any]] = []
    for key, table in spec.tables.items():
        rows = []
        for row in table.rows:
            found = {
                target: None if row.training is None else score_of(row.training, target)
                for target in table.targets
            }
            rows.append(
                {
                    "name": row.name,
                    "training": row.training,
                    "remark": row.remark,
                    "state": _state(work, row, found),
                    "notes": notes.of(work, row, found),
                    "cells": {
                        target: _cells(table, row, target, found[target])
                        for target in table.targets
                    },
                }
            )
        tables.append(
            {
                "key": key,
                "title": table.title,
                "remark": table.remark,
                "metrics": [_metric(name) for name in table.metrics],
                "targets": [
                    {
                        "name": name,
                        "title": spec.targets[name].title,
                        "withheld": spec.targets[name].withheld,
                    }
                    for name in table.targets
                ],
                "rows": rows,
            }
        )
    return {
        "experiment": spec.experiment,
        "paper": spec.paper,
        "scale": work.experiment.scale,
        "folder": str(work.experiment.folder),
        "tables": tables,
        "notes": notes.texts,
        "not_run": [
            {"table": table["key"], "row": row["name"], "training": row["training"]}
            for table in tables
            for row in table["rows"]
            if row["state"] in ("not run", "partly")
        ],
    }


def _metric(name: str) -> dict[str, Any]:
    if name in MEASURED:
        return {
            "name": name,
            "label": MEASURED[name],
            "higher_is_better": name not in LOWER_IS_BETTER,
        }
    metric = find_metric(name)
    return {"name": name, "label": metric.label, "higher_is_better": metric.higher_is_better}


def _state(work: Work, row: RowSpec, found: Mapping[str, Score | None]) -> str:
    if row.training is None:
        return "others"
    targets = work.experiment.spec.targets
    scorable = [target for target in found if not targets[target].withheld]
    if not scorable:
        return "withheld"
    there = sum(found[target] is not None for target in scorable)
    return "run" if there == len(scorable) else "partly" if there else "not run"


def _cells(
    table: TableSpec, row: RowSpec, target: str, score: Score | None
) -> dict[str, dict[str, Any]]:
    printed = row.published.get(target, (None,) * len(table.metrics))
    cells = {}
    for metric, published in zip(table.metrics, printed, strict=True):
        ours = None
        if score is not None and metric == "parameters_millions":
            ours = score.parameters / 1e6
        elif score is not None:
            ours = score.means.get(metric)
        both = ours is not None and published is not None
        cells[metric] = {
            "ours": ours,
            "published": published,
            "difference": ours - published if both else None,  # type: ignore[operator]
            "doubtful": metric in row.doubtful.get(target, ()),
        }
    return cells


class _Notes:
    """Collects how our numbers are made differently; each note appears once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def of(self, work: Work, row: RowSpec, found: Mapping[str, Score | None]) -> list[int]:
        """Return the numbers of the notes on a row, from 1."""
        scores = [score for score in found.values() if score is not None]
        if row.training is None or not scores:
            return []
        said = [TINY] if work.experiment.scale == "tiny" else []
        said += _random_weights(work, row.training, scores[0])
        said += [
            f"inputs are not the paper's: {misfit}" for misfit in scores[0].provenance["misfits"]
        ]
        for score in scores:
            if score.left_out:
                title = work.experiment.spec.targets[score.target].title
                said.append(f"{score.left_out} videos of {title} could not be predicted")
        for text in said:
            if text not in self.texts:
                self.texts.append(text)
        return sorted({self.texts.index(text) + 1 for text in said})


def _random_weights(work: Work, training: str, score: Score) -> list[str]:
    """Return a note per network that started with random weights where the file names others."""
    said = []
    for name in _line(work, training):
        wanted = work.experiment.spec.trainings[name].settings
        used = work.experiment.settings(name)
        for key in ("weights", "backbone"):
            asked = wanted.get(key)
            if asked not in (None, "random") and getattr(used, key) in (None, "random"):
                said.append(f"random weights in place of {asked} ({name})")
    return said


def _line(work: Work, training: str) -> list[str]:
    """Return a training and all trainings that it starts from."""
    found = [training]
    for name in found:
        found += work.experiment.spec.trainings[name].starts_from
    return found
