"""This module defines the content of an experiment's file: stores, trainings and tables of a paper.

``experiments/`` has one YAML file per paper, and docs/training.md says what each key means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, JsonValue, model_validator

from foveal.models.metrics import names as metric_names
from foveal.models.metrics.base import Variant
from foveal.pipeline.recipe.section import Section
from foveal.pipeline.recipe.yaml_files import Place

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Values = dict[str, JsonValue]

MEASURED: dict[str, str] = {
    "parameters_millions": "parameters, millions",
    "seconds_per_frame": "s per frame",
}
"""Columns that are not metrics: what a network costs."""

LOWER_IS_BETTER = frozenset(MEASURED)


class StoreSpec(Section):
    """A store and how it is built.

    Attributes
    ----------
    recipe : mapping
        A recipe without the key ``store``, which is a folder of the experiment.
    masks : mapping of str to str
        Lists of frames that count (LEDOV-Meta), by the name of the mask; relative paths refer to
        the experiment's file.
    """

    recipe: Values
    masks: dict[Name, str] = Field(default_factory=dict)


class TrainingSpec(Section):
    """A network and where its weights come from.

    Attributes
    ----------
    model : str
        Name of the network.
    options : mapping
        Of the network.
    stores : list of str
        Names of stores to train on; empty for a network that is not trained here.
    weights_of, backbone_of : str or null
        A training from whose weights the whole network, or its pretrained part, starts.
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
        Name in the tables.
    store : str
        Name of the store.
    split : str or null
        Only videos of this split.
    mask : str or null
        Only frames that count in this mask of the store.
    variant : {'mit', 'dhf1k', 'pysaliency', 'ntire2026'}
        Whose definitions of the metrics are used.
    average : {'videos', 'frames'}
        Mean over the frames of a video and then over videos, or over all frames equally.
    withheld : bool
        The ground truth is not published: maps are predicted, for submission, but not scored.
    """

    title: str
    store: Name
    split: str | None = None
    mask: str | None = None
    variant: Variant = "mit"
    average: Literal["videos", "frames"] = "videos"
    withheld: bool = False


class RowSpec(Section):
    """One line of a table.

    Attributes
    ----------
    name : str
        Name in the paper.
    training : str or null
        Whose maps are scored; null for methods of others, which have only printed numbers.
    published : mapping of str to list of (float or null)
        By target, the printed numbers in the order of the table's metrics; null where one is
        missing.
    doubtful : mapping of str to list of str
        By target, metrics whose printed numbers contradict the table's own marks.
    remark : str
        Shown with the row.
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
        Shown above it.
    metrics : list of str
        Registered metrics, or `MEASURED`.
    targets : list of str
        Names of targets.
    rows : list of RowSpec
        Its lines.
    remark : str
        Shown with the table.
    """

    title: str
    metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    targets: Annotated[tuple[Name, ...], Field(min_length=1)]
    rows: Annotated[tuple[RowSpec, ...], Field(min_length=1)]
    remark: str = ""


class TinySpec(Section):
    """What ``--scale tiny`` changes, so that everything runs in minutes on any machine.

    Datasets are replaced by made-up ones of the same form (`foveal.pipeline.demo.tiny`).

    Attributes
    ----------
    recipe : mapping
        Sections that replace those of every recipe that has them.
    options : mapping
        Options that override those of every network.
    settings : mapping
        Settings that override those of every training; ``strict_inputs`` is false.
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
        Its name; also the name of its default folder beside the file.
    paper : str
        Reference to the paper.
    folder : str or null
        Where stores, runs, scores and tables go; relative to the experiment's file.
    stores, trainings, targets, tables : mapping
        By name.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    tiny : TinySpec
        Changes of ``--scale tiny``.
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
                        f"tables.{key}.metrics: {metric!r} is not one of {', '.join(metrics)}"
                    )
            _check_rows(key, table)
        return self

    def _references(self) -> Iterator[tuple[str, str, Sequence[str]]]:
        """Yield where a name is used, the name, and the names that exist."""
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
        """Return the trainings, each after those it starts from."""
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
                raise ValueError(f"{place}: {target!r} is not a target of the table")
            if len(numbers) != len(table.metrics):
                raise ValueError(
                    f"{place}: {len(numbers)} numbers for {len(table.metrics)} metrics "
                    f"({', '.join(table.metrics)}); write null for one that is missing"
                )


def allowed_keys(place: Place) -> list[str] | None:
    """Return the keys that are allowed in place of an unknown one."""
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
