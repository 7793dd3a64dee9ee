"""The recipe: one frozen, strict vocabulary for YAML, command line, store attributes and docs.

Its dataset and its stages' sections come from the registry, so that a package may add some.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import Field, ValidationError, create_model, model_validator

from foveal.errors import RecipeError
from foveal.pipeline.recipe.section import DatasetSection, DecodeSection, Section, StageSection
from foveal.pipeline.recipe.yaml_files import (
    Place,
    check_no_credentials,
    explain,
    override,
    read_mapping,
)
from foveal.registry import find, plugins


class Recipe(Section):
    """Everything a build is made from; a section left out is a stage not wanted.

    Besides the keys below it has one for each registered stage section (``frames``, ``flow``, …).

    Attributes
    ----------
    dataset : DatasetSection
        The dataset's own section, see its file in ``pipeline/sources``.
    store : str
        Path or URL.
    decode : DecodeSection
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Examples
    --------
    >>> recipe = Recipe.parse({"dataset": {"kind": "dhf1k", "root": "/data"}, "store": "/s.zarr"})
    >>> recipe.dataset.reconcile
    'strict'
    """

    dataset: DatasetSection
    store: Annotated[str, Field(min_length=1)]
    decode: DecodeSection = DecodeSection()
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def sections(self, name: str) -> tuple[StageSection, ...]:
        """Return the sections under the key `name`; none where the recipe leaves it out."""
        value = getattr(self, name)
        if value is None:
            return ()
        return value if isinstance(value, tuple) else (value,)

    def stage_sections(self) -> list[StageSection]:
        """All sections that ask for stages."""
        return [section for name in plugins("stages") for section in self.sections(name)]

    def with_sections(self, change: Callable[[StageSection], StageSection]) -> Self:
        """Return the recipe after `change` of every stage section; it is not checked again."""
        update: dict[str, Any] = {}
        for name in plugins("stages"):
            changed = tuple(change(section) for section in self.sections(name))
            many = isinstance(getattr(self, name), tuple)
            update[name] = changed if many else next(iter(changed), None)
        return self.model_copy(update=update)

    @model_validator(mode="after")
    def _sections_go_together(self) -> Recipe:
        for name in plugins("stages"):
            if sections := self.sections(name):
                type(sections[0]).check(sections, self)
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Recipe:
        """Make a recipe of plain `values`, as read from YAML, and check it.

        Raises
        ------
        RecipeError
            Naming every wrong key, its value and what is allowed; or what holds credentials.
        """
        check_no_credentials(values)
        try:
            model = _model(_kind(values))
            return model.model_validate_json(json.dumps(_listed(values)))
        except ValidationError as error:
            allowed = functools.partial(_allowed_keys, model)
            raise RecipeError(explain(error, "recipe", allowed)) from None
        except TypeError as error:
            raise RecipeError(
                f"the recipe holds a value that YAML reads specially: {error}"
            ) from None

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Read a YAML recipe.

        Parameters
        ----------
        path : str or Path
            The file.
        overrides : sequence of str
            Changes of single keys, each ``dotted.key=YAML value``.

        Raises
        ------
        RecipeError
            Where the file or an override cannot be read, or holds wrong values.
        """
        values = read_mapping(Path(path))
        for change in overrides:
            override(values, change)
        try:
            return cls.parse(values)
        except RecipeError as error:
            raise RecipeError(f"{path}:\n{error}") from None

    def to_yaml(self) -> str:
        """The resolved recipe, every default visible; `load` reads it back to an equal recipe."""
        return yaml.safe_dump(self.resolved(), sort_keys=False)


class _AnyDataset(DatasetSection, extra="ignore"):
    """Stands where the kind is unknown, so that the other mistakes are told too."""


def _kind(values: Mapping[str, Any]) -> str | None:
    dataset = values.get("dataset") if isinstance(values, Mapping) else None
    kind = dataset.get("kind") if isinstance(dataset, Mapping) else None
    return kind if isinstance(kind, str) and kind in plugins("sources") else None


def _listed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A single section where a list of such may stand, as a list of one."""
    if not isinstance(values, Mapping):
        return values
    alone = {
        name: [values[name]]
        for name in plugins("stages")
        if isinstance(values.get(name), Mapping) and find("stages", name).many
    }
    return {**values, **alone}


@functools.cache
def _model(kind: str | None) -> type[Recipe]:
    """The recipe of a dataset's kind, with all registered sections."""
    if kind is None:
        kinds: Any = Literal[tuple(plugins("sources"))]  # type: ignore[valid-type]
        dataset: Any = create_model("Dataset", __base__=_AnyDataset, kind=(kinds, ...))
    else:
        dataset = find("sources", kind).config
    fields: dict[str, Any] = {"dataset": (dataset, ...)}
    for name in plugins("stages"):
        section: Any = find("stages", name)
        fields[name] = (tuple[section, ...], ()) if section.many else (section | None, None)
    return create_model("Recipe", __base__=Recipe, **fields)


def _allowed_keys(model: type[Section], place: Place) -> list[str] | None:
    current: Any = model
    for part in place[:-1]:
        if isinstance(part, str):
            current = _section_of(current.model_fields[part].annotation)
        if current is None:
            return None
    return list(current.model_fields)


def _section_of(annotation: Any) -> type[Section] | None:
    """The section inside an annotation such as ``tuple[FlowSection, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_of, get_args(annotation))), None)
