"""This module lists the steps of an experiment in order, and checks what they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foveal.errors import FovealError, RecipeError
from foveal.models.weights import find
from foveal.pipeline.experiment.model import Experiment
from foveal.pipeline.learn.checkpoint import BEST

Kind = Literal["build", "train", "predict", "score"]


@dataclass(frozen=True)
class Step:
    """One piece of an experiment.

    Attributes
    ----------
    kind : {'build', 'train', 'predict', 'score'}
    name : str
        The store or the training.
    target : str
        Of predictions and scores.
    """

    kind: Kind
    name: str
    target: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" on {self.target}" if self.target else "")


@dataclass(frozen=True)
class Outcome:
    """The result of a step.

    Attributes
    ----------
    step : Step
    status : {'done', 'unchanged', 'incomplete', 'stopped'}
        ``incomplete``: done, but some videos could not be used; ``stopped``: by a signal.
    message : str
    seconds : float
    """

    step: Step
    status: Literal["done", "unchanged", "incomplete", "stopped"]
    message: str = ""
    seconds: float = 0.0


def steps_of(experiment: Experiment, only: Sequence[str] = ()) -> list[Step]:
    """Return everything that the rows need, in order: stores, then training after training.

    Raises
    ------
    RecipeError
        `only` names no row.
    """
    spec = experiment.spec
    targets: dict[str, list[str]] = {}
    for key, row in experiment.rows(only):
        wanted = targets.setdefault(row.training or "", [])
        wanted += [name for name in spec.tables[key].targets if name not in wanted]
    needed = set(targets)
    for name in reversed(spec.in_order()):
        if name in needed:
            needed.update(spec.trainings[name].starts_from)
    ordered = [name for name in spec.in_order() if name in needed]
    stores = {store for name in ordered for store in spec.trainings[name].stores}
    stores |= {spec.targets[name].store for wanted in targets.values() for name in wanted}
    steps = [Step("build", name) for name in spec.stores if name in stores]
    for name in ordered:
        steps.append(Step("train", name))
        for target in targets.get(name, ()):
            steps.append(Step("predict", name, target))
            if not spec.targets[target].withheld:
                steps.append(Step("score", name, target))
    return steps


def check(experiment: Experiment, steps: Sequence[Step]) -> None:
    """Check that all datasets, lists and weights that the steps need exist.

    Raises
    ------
    RecipeError
        Some are missing; the message names each, and what to do.
    """
    missing: dict[str, list[str]] = {}
    for step in steps:
        if step.kind == "build" and experiment.scale == "paper":
            recipe = experiment.recipe(step.name)
            if not recipe.dataset.root.is_dir():
                key = f"stores.{step.name}.recipe.dataset.root"
                missing.setdefault(f"no folder {recipe.dataset.root}", []).append(key)
            for mask, path in masks_of(experiment, step.name).items():
                if not path.is_file():
                    key = f"stores.{step.name}.masks.{mask}"
                    missing.setdefault(f"no file {path}", []).append(key)
        if step.kind == "train":
            for error in _missing_weights(experiment, step.name):
                missing.setdefault(error, []).append(f"trainings.{step.name}")
    if missing:
        lines = "".join(f"\n  {', '.join(keys)}: {what}" for what, keys in missing.items())
        raise RecipeError(
            "some of what this experiment needs is missing; put it there, or say where it is by "
            f"--set KEY=PLACE:{lines}"
        )


def _missing_weights(experiment: Experiment, name: str) -> list[str]:
    """Return why weights from elsewhere that a training needs cannot be loaded."""
    if (experiment.run_folder(name) / BEST).is_file():
        return []
    settings, training = experiment.settings(name), experiment.spec.trainings[name]
    wanted = [settings.weights] if training.weights_of is None else []
    wanted += [settings.backbone] if training.backbone_of is None and settings.backbone else []
    errors = []
    for weights in wanted:
        try:
            if weights != "random":
                find(weights)
        except FovealError as error:
            errors.append(str(error))
    return errors


def masks_of(experiment: Experiment, name: str) -> dict[str, Path]:
    """Return the lists of frames of a store, by mask."""
    return {
        mask: experiment.beside / Path(path).expanduser()
        for mask, path in experiment.spec.stores[name].masks.items()
    }
