"""YAML that people write: read strictly, changed from the command line, explained where wrong."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from foveal.errors import RecipeError
from foveal.storage.credentials import ADVICE, credentials_in, masked

Place = tuple[int | str, ...]
"""Keys and indices that lead to a value."""


MAX_BYTES = 1 << 20
"""Longer files are refused: no recipe is."""

MAX_VALUES = 10_000
"""So many values a file may hold, those of an alias counted wherever it stands."""


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key that stands twice is an error, not the last one's victory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key, count in Counter(map(repr, keys)).items() if count > 1]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]} stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _parse(text: str) -> Any:
    """YAML as plain values.

    Raises
    ------
    ValueError
        It is none, or holds more than `MAX_VALUES`.
    """
    try:
        loader = _UniqueKeys(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > MAX_VALUES:
            raise ValueError(f"it holds more than {MAX_VALUES} values, aliases followed")
        return loader.construct_document(node)
    except Exception as error:  # PyYAML's constructors raise KeyError, AttributeError and others
        raise ValueError(str(error)) from None


def _count(node: yaml.Node, counted: dict[int, int]) -> int:
    """Values below a node; an alias that leads back to itself counts as too many."""
    if id(node) not in counted:
        counted[id(node)] = MAX_VALUES + 1
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        inner = (one for part in parts for one in (part if isinstance(part, tuple) else (part,)))
        counted[id(node)] = 1 + sum(_count(one, counted) for one in inner)
    return counted[id(node)]


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty one holds an empty mapping.

    Raises
    ------
    RecipeError
        It is not there, cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise RecipeError(f"{path} is larger than {MAX_BYTES} bytes; such a file is not read")
        values = _parse(text.decode("utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise RecipeError(
            f"{path} is a folder, not a recipe; `foveal init {path}` writes one for a dataset"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}") from None
    except ValueError as error:
        raise RecipeError(f"{path} is not YAML: {masked(str(error))}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecipeError(f"{path} holds {type(values).__name__}, not a mapping of keys")
    return values


def override(values: dict[str, Any], text: str) -> None:
    """Change `values` in place by ``dotted.key=YAML value``; sections on the way are made.

    Raises
    ------
    RecipeError
        The text is no such change, or leads through a value without keys.
    """
    key, equals, written = text.partition("=")
    text = masked(text)
    if not equals:
        raise RecipeError(f"--set {text!r}: write it as key=value, e.g. frames.size=[192,256]")
    try:
        value = _parse(written)
    except ValueError as error:
        raise RecipeError(f"--set {text!r}: the value is not YAML: {masked(str(error))}") from None
    target: Any = values
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        if isinstance(target, list):
            target = target[_index(target, part, text)]
        else:
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
        if not isinstance(target, dict | list):
            where = ".".join(parents[: depth + 1])
            raise RecipeError(f"--set {text!r}: {where} is {target!r}, which has no keys")
    if isinstance(target, list):
        target[_index(target, last, text)] = value
    else:
        target[last] = value


def _index(items: list[Any], part: str, text: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        raise RecipeError(
            f"--set {text!r}: {part!r} is no index of a list of {len(items)} (0 is the first)"
        )
    return int(part)


def check_no_credentials(values: Mapping[str, Any]) -> None:
    """See that no value holds credentials; the message repeats none.

    Raises
    ------
    RecipeError
        One does: recipes and settings are kept in stores, logs and reports.
    """
    if isinstance(values, Mapping) and (key := credentials_in(values)):
        raise RecipeError(f"  {key}: holds credentials, which would be kept with it: {ADVICE}")


def explain(
    error: ValidationError,
    whole: str,
    allowed: Callable[[Place], Iterable[str] | None],
    visible: Callable[[Place], Place] = lambda place: place,
) -> str:
    """What is wrong, a line a value: its key, what is allowed, and what was given.

    Parameters
    ----------
    error : ValidationError
    whole : str
        What to call the values themselves.
    allowed : callable
        Keys that may stand at a place, None where that cannot be said.
    visible : callable
        A place as its writer knows it.
    """
    lines = []
    for item in error.errors(include_url=False):
        place = item["loc"]
        key = ".".join(str(part) for part in visible(place)) or whole
        if item["type"] == "extra_forbidden":
            lines.append(f"  {key}: unknown key; {_hint(str(place[-1]), allowed(place))}")
        elif item["type"] == "missing":
            lines.append(f"  {key}: required, but not given")
        else:
            message = item["msg"].removeprefix("Value error, ")
            given = f" (got {item.get('input')!r:.200})" if place else ""
            lines.append(f"  {key}: {message[0].lower()}{message[1:]}{given}")
    return "\n".join(lines)


def _hint(key: str, allowed: Iterable[str] | None) -> str:
    if allowed is None:
        return "see the recipes for what is allowed"
    names = list(allowed)
    near = difflib.get_close_matches(key, names, n=1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}allowed: {', '.join(names)}"
