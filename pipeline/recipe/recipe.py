"""The recipe: one frozen, strict vocabulary for YAML, command line, store attributes and docs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from foveal.errors import RecipeError
from foveal.pipeline.recipe.section import FixationsSection, Section
from foveal.pipeline.recipe.yaml_files import Place, explain, override, read_mapping
from foveal.pipeline.sources import DatasetConfig
from foveal.pipeline.stage_sections import (
    DecodeSection,
    DensitySection,
    FlowSection,
    FramesSection,
    I3DSection,
)


class Recipe(Section):
    """Everything a build is made from; a section left out is a stage not wanted.

    Examples
    --------
    >>> recipe = Recipe.parse({"dataset": {"kind": "dhf1k", "root": "/data"}, "store": "/s.zarr"})
    >>> recipe.dataset.reconcile
    'strict'
    """

    dataset: Annotated[DatasetConfig, Field(discriminator="kind")]
    store: Annotated[str, Field(min_length=1)]
    frames: FramesSection | None = None
    flow: tuple[FlowSection, ...] = ()
    i3d: I3DSection | None = None
    fixations: FixationsSection | None = None
    density: DensitySection | None = None
    decode: DecodeSection = DecodeSection()
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"

    @model_validator(mode="after")
    def _i3d_has_its_flow(self) -> Recipe:
        methods = [section.method for section in self.flow]
        section = self.i3d
        if section is None or "flow" not in section.streams:
            return self
        if section.flow not in methods or section.flow == "auto":
            raise ValueError(
                f"i3d.flow: {section.flow!r} is no method of the flow section ({methods}); add "
                "it there, or leave flow out of i3d.streams"
            )
        return self

    @model_validator(mode="after")
    def _published_maps_are_imported(self) -> Recipe:
        wanted = self.density is not None and self.density.preset == "published"
        if wanted and getattr(self.dataset, "ground_truth", None) != "import":
            raise ValueError("density.preset: published needs dataset.ground_truth: import")
        return self

    @field_validator("flow")
    @classmethod
    def _methods_differ(cls, flow: tuple[FlowSection, ...]) -> tuple[FlowSection, ...]:
        methods = [section.method for section in flow]
        if len(set(methods)) != len(methods):
            raise ValueError(f"each method may stand once, got {methods}")
        if "auto" in methods and len(methods) > 1:
            raise ValueError("method auto stands alone: it may choose one of the others")
        return flow

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Recipe:
        """Check plain values (as read from YAML).

        Raises
        ------
        RecipeError
            Naming every wrong key, its value and what is allowed.
        """
        try:
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            raise RecipeError(explain(error, "recipe", _allowed_keys, _visible)) from None
        except TypeError as error:
            raise RecipeError(
                f"the recipe holds a value that YAML reads specially: {error}"
            ) from None

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Read a YAML recipe; each override is ``dotted.key=YAML value``.

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


def _visible(place: Place) -> Place:
    """Without the kind that pydantic puts behind ``dataset``: it is no key of the recipe."""
    return (*place[:1], *place[2:]) if place[:1] == ("dataset",) else place


def _allowed_keys(place: Place) -> list[str] | None:
    model: Any = Recipe
    for part in place[:-1]:
        model = _descend(model, part)
        if model is None:
            return None
    return list(model.model_fields)


def _descend(model: Any, part: int | str) -> Any:
    """Model behind a part of an error's place, None where it is no section."""
    if isinstance(part, int):
        return model
    field = model.model_fields.get(part)
    candidates = [field.annotation] if field else list(get_args(DatasetConfig))
    while candidates:
        candidate = candidates.pop(0)
        if isinstance(candidate, type) and issubclass(candidate, Section):
            kind = candidate.model_fields.get("kind")
            if field or (kind is not None and part in get_args(kind.annotation)):
                return candidate
        else:
            candidates.extend(get_args(candidate))
    return None
