"""This module reads an experiment's file and applies its scale, its folder and overrides."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from foveal.errors import RecipeError
from foveal.models import saliency
from foveal.pipeline.experiment.spec import ExperimentSpec, RowSpec, allowed_keys
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.recipe.yaml_files import explain, override, read_mapping

Scale = Literal["paper", "tiny"]


@dataclass(frozen=True)
class Experiment:
    """An experiment as it is run: its file, scale and folder.

    Attributes
    ----------
    spec : ExperimentSpec
    scale : {'paper', 'tiny'}
        ``tiny`` runs in minutes on made-up videos.
    folder : Path
        Folder of everything that is written.
    beside : Path
        The file's folder, to which relative paths refer.
    """

    spec: ExperimentSpec
    scale: Scale
    folder: Path
    beside: Path

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        scale: Scale = "paper",
        folder: str | Path | None = None,
        overrides: Sequence[str] = (),
    ) -> Experiment:
        """Read an experiment's file.

        Parameters
        ----------
        path : path
            The YAML file.
        scale : {'paper', 'tiny'}
            See `Experiment`.
        folder : path, optional
            Instead of the file's own folder; by default the folder of a tiny run ends in ``-tiny``.
        overrides : sequence of str
            ``dotted.key=YAML value``.

        Raises
        ------
        RecipeError
            The file or an override cannot be read, or holds wrong values; the message names each.
        """
        path = Path(path)
        if scale not in get_args(Scale):
            raise RecipeError(f"scale {scale!r}: choose one of {', '.join(get_args(Scale))}")
        values = read_mapping(path)
        for change in overrides:
            override(values, change)
        try:
            spec = ExperimentSpec.model_validate_json(json.dumps(values))
        except ValidationError as error:
            raise RecipeError(f"{path}:\n{explain(error, 'experiment', allowed_keys)}") from None
        except TypeError as error:
            raise RecipeError(f"{path} holds what YAML reads specially: {error}") from None
        beside = path.absolute().parent
        if folder is None:
            folder = beside / Path(spec.folder or spec.experiment).expanduser()
            if scale == "tiny":
                folder = folder.with_name(f"{folder.name}-tiny")
        experiment = cls(spec, scale, Path(folder).expanduser().absolute(), beside)
        for name in spec.stores:
            _named(f"{path}: stores.{name}", lambda name=name: experiment.recipe(name))  # type: ignore[misc]
        for name in spec.trainings:
            _named(f"{path}: trainings.{name}", lambda name=name: experiment.settings(name))  # type: ignore[misc]
        return experiment

    def store_url(self, name: str) -> str:
        """Return the path of a store."""
        return str(self.folder / "stores" / f"{name}.zarr")

    def run_folder(self, training: str) -> Path:
        """Return the folder of a training's checkpoints."""
        return self.folder / "runs" / training

    def recipe(self, name: str, dataset: Mapping[str, Any] | None = None) -> Recipe:
        """Return the recipe of a store, at this scale.

        Parameters
        ----------
        name : str
        dataset : mapping, optional
            The dataset's section instead of the file's.

        Raises
        ------
        RecipeError
            It is wrong.
        """
        values: dict[str, Any] = {**self.spec.stores[name].recipe, "store": self.store_url(name)}
        if self.scale == "tiny":
            values |= {k: v for k, v in self.spec.tiny.recipe.items() if values.get(k)}
        if dataset is not None:
            values["dataset"] = dict(dataset)
        values.setdefault("device", self.spec.device)
        return Recipe.parse(values)

    def options(self, name: str) -> dict[str, Any]:
        """Return the options of a training's network, at this scale."""
        own = self.spec.trainings[name].options
        return {**own, **self.spec.tiny.options} if self.scale == "tiny" else dict(own)

    def settings(self, name: str) -> TrainSettings:
        """Return the settings of a training, at this scale.

        Raises
        ------
        RecipeError
            They are wrong.
        """
        training = self.spec.trainings[name]
        values: dict[str, Any] = {"strict_inputs": True, "device": self.spec.device}
        values |= training.settings
        if self.scale == "tiny":
            values |= {**self.spec.tiny.settings, **self.spec.tiny.trainings.get(name, {})}
            values["strict_inputs"] = False
        fixed = {
            "model": training.model,
            "options": self.options(name),
            "stores": [self.store_url(store) for store in training.stores] or ["none"],
            "run": str(self.run_folder(name)),
        }
        for key in (*fixed, "weights", "backbone"):
            if key in training.settings and key not in ("weights", "backbone"):
                raise RecipeError(f"settings.{key}: write it beside settings, not in it")
        if training.weights_of is not None:
            fixed["weights"] = str(self.run_folder(training.weights_of) / "best.pt")
        if training.backbone_of is not None:
            fixed["backbone"] = str(self.run_folder(training.backbone_of) / "best.pt")
        settings = TrainSettings.parse({**values, **fixed})
        _check_network(settings.model, json.dumps(settings.options, sort_keys=True))
        return settings

    def rows(self, only: Sequence[str] = ()) -> list[tuple[str, RowSpec]]:
        """Return table and row of each row that has a training, or only of the named rows.

        Parameters
        ----------
        only : sequence of str
            Names of rows, of trainings, or ``TABLE/ROW``.

        Raises
        ------
        RecipeError
            No row has one of the names.
        """
        every = [
            (key, row)
            for key, table in self.spec.tables.items()
            for row in table.rows
            if row.training is not None
        ]
        if not only:
            return every
        for name in only:
            if not any(name in (row.name, row.training, f"{key}/{row.name}") for key, row in every):
                known = "; ".join(dict.fromkeys(f"{row.name} ({row.training})" for _, row in every))
                raise RecipeError(
                    f"--only {name!r}: no row that can be run has this name; there are: {known}"
                )
        return [
            (key, row)
            for key, row in every
            if {row.name, row.training, f"{key}/{row.name}"}.intersection(only)
        ]


def _named(place: str, make: Any) -> None:
    try:
        make()
    except RecipeError as error:
        raise RecipeError(f"{place}: {error}") from None


@functools.cache
def _check_network(model: str, options: str) -> None:
    """Check that a network can be built; cached, since it is asked again and again."""
    saliency.spec(model, **json.loads(options))
