"""An experiment: the stores, trainings and tables of a paper, with the numbers it prints.

One YAML file holds it; ``experiments/`` has one for each of the papers, and docs/training.md says
what each key means.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, JsonValue, ValidationError, model_validator

from foveal.errors import RecipeError
from foveal.models.metrics import names as metric_names
from foveal.pipeline.learn.settings import TrainSettings
from foveal.pipeline.recipe.recipe import Recipe
from foveal.pipeline.recipe.section import Section
from foveal.pipeline.recipe.yaml_files import Place, explain, override, read_mapping

Scale = Literal["paper", "tiny"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Values = dict[str, JsonValue]

MEASURED: dict[str, str] = {
    "parameters_millions": "parameters, millions",
    "seconds_per_frame": "s per frame",
}
"""Columns that are no metrics: what a network costs."""

LOWER_IS_BETTER = frozenset(MEASURED)


class StoreSpec(Section):
    """A store and how it is built.

    Attributes
    ----------
    recipe : mapping
        A recipe without the key ``store``: that is a folder of the experiment.
    masks : mapping of str to str
        Lists of frames that count (LEDOV-Meta), by the name of the mask; paths count from the
        experiment's file.
    """

    recipe: Values
    masks: dict[Name, str] = Field(default_factory=dict)


class TrainingSpec(Section):
    """A network and how it comes to its weights.

    Attributes
    ----------
    model : str
    options : mapping
        Of the network.
    stores : list of str
        Names of stores to train on; empty for a network that is used as it is.
    weights_of, backbone_of : str or null
        A training whose weights all of this network, or the part the paper starts from, begin with.
    settings : mapping
        Settings of `foveal train`; those left out are the paper's, and ``strict_inputs`` is true.
    remark : str
        What the paper leaves open, and what is done here.
    """

    model: str
    options: Values = Field(default_factory=dict)
    stores: tuple[Name, ...] = ()
    weights_of: Name | None = None
    backbone_of: Name | None = None
    settings: Values = Field(default_factory=dict)
    remark: str = ""

    @property
    def starts_from(self) -> list[str]:
        """Trainings that must have ended before."""
        return [name for name in (self.weights_of, self.backbone_of) if name is not None]


class TargetSpec(Section):
    """Videos on which predictions are scored.

    Attributes
    ----------
    title : str
        As a table calls it.
    store : str
    split : str or null
    mask : str or null
        Only frames that count in this mask of the store.
    variant : {'mit', 'dhf1k', 'pysaliency'}
        Whose definitions of the metrics.
    average : {'videos', 'frames'}
        Frames of a video first and then videos, or all frames alike.
    withheld : bool
        The ground truth is not published: maps are predicted, for submission, and not scored.
    """

    title: str
    store: Name
    split: str | None = None
    mask: str | None = None
    variant: Literal["mit", "dhf1k", "pysaliency"] = "mit"
    average: Literal["videos", "frames"] = "videos"
    withheld: bool = False


class RowSpec(Section):
    """One line of a table.

    Attributes
    ----------
    name : str
        As the paper calls it.
    training : str or null
        Whose maps are scored; null for methods of others, of which there are printed numbers alone.
    published : mapping of str to list of (float or null)
        By target, the printed numbers in the order of the table's metrics; null where one is
        missing.
    doubtful : mapping of str to list of str
        Printed numbers, by target and metric, that the table's own marks contradict.
    remark : str
    """

    name: str
    training: Name | None = None
    published: dict[Name, tuple[float | None, ...]] = Field(default_factory=dict)
    doubtful: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    remark: str = ""


class TableSpec(Section):
    """One of the paper's tables.

    Attributes
    ----------
    title : str
    metrics : list of str
        Registered metrics, or `MEASURED`.
    targets : list of str
    rows : list of RowSpec
    remark : str
    """

    title: str
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    rows: Annotated[tuple[RowSpec, ...], Field(min_length=1)]
    remark: str = ""


class TinySpec(Section):
    """What ``--scale tiny`` changes, so that all of it runs in minutes on any machine.

    Datasets are replaced by made-up ones of the same form (`foveal.pipeline.demo.tiny`).

    Attributes
    ----------
    recipe : mapping
        Sections put in place of those of every recipe that has them.
    options : mapping
        Options put over those of every network.
    settings : mapping
        Settings put over those of every training; ``strict_inputs`` is false.
    trainings : mapping of str to mapping
        Settings of single trainings.
    """

    recipe: Values = Field(default_factory=dict)
    options: Values = Field(default_factory=dict)
    settings: Values = Field(default_factory=dict)
    trainings: dict[Name, Values] = Field(default_factory=dict)


class ExperimentSpec(Section):
    """A whole experiment.

    Attributes
    ----------
    experiment : str
        Its name; also that of its folder beside the file, where none is given.
    paper : str
    folder : str or null
        Where stores, runs, scores and tables go; counts from the experiment's file.
    stores, trainings, targets, tables : mapping by name
    device : str
    tiny : TinySpec
    """

    experiment: Name
    paper: str
    folder: str | None = None
    stores: dict[Name, StoreSpec]
    trainings: dict[Name, TrainingSpec]
    targets: dict[Name, TargetSpec]
    tables: dict[str, TableSpec]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    tiny: TinySpec = TinySpec()

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> ExperimentSpec:
        for place, name, known in self._references():
            if name not in known:
                raise ValueError(f"{place}: there is no {name!r}; there are {', '.join(known)}")
        self.in_order()
        metrics = [*metric_names(), *MEASURED]
        for key, table in self.tables.items():
            for metric in table.metrics:
                if metric not in metrics:
                    raise ValueError(
                        f"tables.{key}.metrics: {metric!r} is none of {', '.join(metrics)}"
                    )
            _check_rows(key, table)
        return self

    def _references(self) -> Iterator[tuple[str, str, Sequence[str]]]:
        """Where a name is used, the name, and what it may be."""
        stores, trainings = list(self.stores), list(self.trainings)
        for key, training in self.trainings.items():
            for name in training.stores:
                yield f"trainings.{key}.stores", name, stores
            for name in training.starts_from:
                yield f"trainings.{key}", name, trainings
        for key, target in self.targets.items():
            yield f"targets.{key}.store", target.store, stores
        for key, table in self.tables.items():
            for name in table.targets:
                yield f"tables.{key}.targets", name, list(self.targets)
            for row in table.rows:
                if row.training is not None:
                    yield f"tables.{key}, row {row.name!r}", row.training, trainings
        for name in self.tiny.trainings:
            yield "tiny.trainings", name, trainings

    def in_order(self) -> list[str]:
        """Trainings, each after those it starts from."""
        ordered: list[str] = []

        def add(name: str, above: tuple[str, ...]) -> None:
            if name in above:
                raise ValueError(f"trainings start from each other: {' -> '.join((*above, name))}")
            if name not in ordered:
                for before in self.trainings[name].starts_from:
                    add(before, (*above, name))
                ordered.append(name)

        for name in self.trainings:
            add(name, ())
        return ordered


def _check_rows(key: str, table: TableSpec) -> None:
    for row in table.rows:
        for target, numbers in row.published.items():
            place = f"tables.{key}, row {row.name!r}"
            if target not in table.targets:
                raise ValueError(f"{place}: {target!r} is no target of the table")
            if len(numbers) != len(table.metrics):
                raise ValueError(
                    f"{place}: {len(numbers)} numbers for {len(table.metrics)} metrics "
                    f"({', '.join(table.metrics)}); write null for one that is missing"
                )


@dataclass(frozen=True)
class Experiment:
    """An experiment as it is run: its file, scale and folder.

    Attributes
    ----------
    spec : ExperimentSpec
    scale : {'paper', 'tiny'}
    folder : Path
        Of everything that is written.
    beside : Path
        The file's folder, from which relative paths count.
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
        scale : {'paper', 'tiny'}
        folder : path, optional
            In place of the file's own; that of a tiny run ends in ``-tiny``.
        overrides : sequence of str
            ``dotted.key=YAML value``.

        Raises
        ------
        RecipeError
            The file or an override cannot be read, or holds wrong values; each is named.
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
            raise RecipeError(f"{path}:\n{explain(error, 'experiment', _allowed)}") from None
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
        """Where a store lies."""
        return str(self.folder / "stores" / f"{name}.zarr")

    def run_folder(self, training: str) -> Path:
        """Where a training keeps its checkpoints."""
        return self.folder / "runs" / training

    def recipe(self, name: str, dataset: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe of a store, at this scale.

        Parameters
        ----------
        name : str
        dataset : mapping, optional
            The dataset's section in place of the file's.

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
        """Options of a training's network, at this scale."""
        own = self.spec.trainings[name].options
        return {**own, **self.spec.tiny.options} if self.scale == "tiny" else dict(own)

    def settings(self, name: str) -> TrainSettings:
        """Settings of a training, at this scale.

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
                raise RecipeError(f"settings.{key}: it stands beside settings, not in it")
        if training.weights_of is not None:
            fixed["weights"] = str(self.run_folder(training.weights_of) / "best.pt")
        if training.backbone_of is not None:
            fixed["backbone"] = str(self.run_folder(training.backbone_of) / "best.pt")
        settings = TrainSettings.parse({**values, **fixed})
        settings.spec()
        return settings

    def rows(self, only: Sequence[str] = ()) -> list[tuple[str, RowSpec]]:
        """Table and row of each row that has a training, or of those that are named.

        Parameters
        ----------
        only : sequence of str
            Names of rows, of trainings, or ``TABLE/ROW``.

        Raises
        ------
        RecipeError
            A name is no row's.
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
                    f"--only {name!r}: no row that can be run is called so; there are: {known}"
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


def _allowed(place: Place) -> list[str] | None:
    """Keys that are allowed where an unknown one stands."""
    current: Any = ExperimentSpec
    for part in place[:-1]:
        if isinstance(current, type) and issubclass(current, Section):
            field = current.model_fields.get(str(part))
            current = None if field is None else field.annotation
        else:
            inner = [one for one in get_args(current) if one is not Ellipsis]
            current = inner[-1] if inner else None
    if isinstance(current, type) and issubclass(current, Section):
        return list(current.model_fields)
    return None
