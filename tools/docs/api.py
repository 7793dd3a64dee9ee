"""Find public names and parameters of the API reference that have no description.

The pages under ``docs/reference`` name modules and objects (``::: foveal.torch``). This tool reads
them with griffe, the parser of mkdocstrings, and lists what a reader would find without words:
modules, classes, functions, attributes of classes, and parameters.

    python -m tools.docs.api            # prints "file:line: what is missing"; status 1 if anything
    python tools/docs/api.py CHECKOUT   # the same of another checkout
"""

from __future__ import annotations

import functools
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import griffe

REPOSITORY = Path(__file__).parents[2]
DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)
PLAIN_NAMES = {"self", "cls"}
SEAMS = (
    "pipeline.stages.base.Stage",
    "pipeline.stages.base.Resumable",
    "pipeline.sources.base.Source",
    "pipeline.build.progress.Listener",
    "models.flow.base.FlowEstimator",
    "torch.interface.Variable",
    "torch.augmentation.Transform",
)
"""Protocols: what fulfils one of them has its methods described there."""


def referenced(docs: Path = REPOSITORY / "docs") -> list[str]:
    """Return the dotted names that the pages of the reference show, in order."""
    pages = sorted((docs / "reference").glob("*.md"))
    return [name for page in pages for name in DIRECTIVE.findall(page.read_text("utf-8"))]


def load(tree: Path = REPOSITORY) -> griffe.Module:
    """Parse the package foveal of a checkout, without importing it."""
    package = griffe.load(
        "foveal",
        search_paths=[tree],
        docstring_parser="numpy",
        allow_inspection=False,
        try_relative_path=False,
    )
    assert isinstance(package, griffe.Module)
    return package


def missing(package: griffe.Module, names: list[str]) -> Iterator[str]:
    """Give a line for each public name or parameter without a description.

    Parameters
    ----------
    package : griffe.Module
        The parsed package.
    names : list of str
        Dotted names of modules and objects, as in the pages of the reference.
    """
    seen: set[str] = set()
    for name in names:
        try:
            found = (
                package[name.removeprefix("foveal").removeprefix(".")] if "." in name else package
            )
        except KeyError:
            yield f"docs/reference: {name} does not exist"
            continue
        yield from _missing_in(_target(found), seen)


def _target(found: griffe.Object | griffe.Alias) -> griffe.Object:
    return found.final_target if isinstance(found, griffe.Alias) else found


def _missing_in(found: griffe.Object, seen: set[str]) -> Iterator[str]:
    if found.path in seen:
        return
    seen.add(found.path)
    if not found.has_docstring and not _inherits_docstring(found):
        yield f"{_place(found)}: {found.kind.value} {found.path} has no docstring"
    if isinstance(found, griffe.Function):
        yield from _missing_parameters(found)
    elif isinstance(found, griffe.Class):
        yield from _missing_of_class(found, seen)
    elif isinstance(found, griffe.Module):
        for member in found.members.values():
            if _is_shown(member, found):
                yield from _missing_in(_target(member), seen)


def _is_shown(member: griffe.Object | griffe.Alias, of: griffe.Module) -> bool:
    """Whether mkdocstrings shows a member of a module: its public names, no submodules."""
    if member.name.startswith("_"):
        return False
    if of.exports is not None:
        return member.name in [str(export) for export in of.exports]
    if member.is_alias or member.is_module:
        return False
    return not str(getattr(member, "value", "")).startswith(("TypeVar(", "logging."))


def _missing_of_class(found: griffe.Class, seen: set[str]) -> Iterator[str]:
    described = _entries(found, "attributes") | _entries(found, "parameters")
    for member in found.members.values():
        if member.name == "__init__" and member.lineno and "dataclass" not in found.labels:
            assert isinstance(member, griffe.Function)
            yield from _missing_parameters(member, described)
        if member.name.startswith("_") or member.is_alias or member.name == "model_config":
            continue
        if isinstance(member, griffe.Attribute):
            settable = "property" not in member.labels
            if settable and _is_own_value(member, found):
                continue
            if not (member.has_docstring or member.name in described or _inherits(member)):
                yield f"{_place(member)}: attribute {member.path} is not described"
        elif member.name not in described:
            yield from _missing_in(_target(member), seen)
    for base in found.mro():
        for member in base.members.values():
            shown = isinstance(member, griffe.Function) and not member.name.startswith("_")
            if shown and member.name not in described | found.members.keys():
                yield from _missing_in(_target(member), seen)


def _is_own_value(member: griffe.Attribute, of: griffe.Class) -> bool:
    """Whether an attribute is set in ``__init__`` from a parameter of the same name."""
    init = of.members.get("__init__")
    return isinstance(init, griffe.Function) and member.name in [p.name for p in init.parameters]


def _missing_parameters(function: griffe.Function, also: set[str] = frozenset()) -> Iterator[str]:
    if not function.has_docstring and not also:
        if function.name == "__init__":
            names = [p.name for p in function.parameters if p.name not in PLAIN_NAMES]
            if names:
                yield f"{_place(function)}: parameters of {function.path} are not described"
        return
    described = _entries(function, "parameters") | also | _named(function)
    for base in _classes_above(function):
        if isinstance(above := base.members.get(function.name), griffe.Function):
            described |= _entries(above, "parameters") | _named(above)
    for parameter in function.parameters:
        name = parameter.name
        if name in PLAIN_NAMES or name.startswith("_") or name in described:
            continue
        yield f"{_place(function)}: parameter {name} of {function.path} is not described"


def _entries(found: griffe.Object, kind: str) -> set[str]:
    """Names in a section of a docstring; ``*args`` without stars, ``axis, kind`` as two."""
    if found.docstring is None:
        return set()
    names: set[str] = set()
    # As `tools.docs.docstrings` has them shown.
    style = "google" if "\nArgs:" in found.docstring.value else "numpy"
    for section in found.docstring.parse(style, warnings=False):
        if section.kind.value in (kind, f"other {kind}"):
            for entry in section.value:
                if entry.description or _is_class(str(entry.annotation or "")):
                    names |= {part.strip().lstrip("*") for part in entry.name.split(",")}
    return names


def _is_class(annotation: str) -> bool:
    """Whether a type says all: ``store : Store``, whose page describes it."""
    return annotation.strip("`")[:1].isupper()


def _named(function: griffe.Function) -> set[str]:
    """Names that the text of a docstring puts in backticks: ``Give `size` back …``."""
    return set(re.findall(r"`(\w+)`", function.docstring.value if function.docstring else ""))


def _inherits_docstring(found: griffe.Object) -> bool:
    return isinstance(found, griffe.Function) and _inherits(found)


def _inherits(found: griffe.Object) -> bool:
    """Whether a class above the owner describes a member of the same name."""
    return any(
        found.name in base.members
        and (base.members[found.name].has_docstring or found.name in _entries(base, "attributes"))
        for base in _classes_above(found)
    )


def _classes_above(found: griffe.Object) -> list[griffe.Class]:
    """Base classes of a member's class, and the protocols that it may fulfil."""
    owner = found.parent
    if not isinstance(owner, griffe.Class):
        return []
    return [*owner.mro(), *package_classes(found.package)]


@functools.cache
def package_classes(package: griffe.Module) -> tuple[griffe.Class, ...]:
    """Return the protocols and base classes that others fulfil without deriving from them."""
    return tuple(package[name] for name in SEAMS if name.partition(".")[0] in package.members)


def _place(found: griffe.Object) -> str:
    file = Path(str(found.filepath)).resolve()
    tree = Path(str(found.package.filepath)).parents[1].resolve()
    return f"{file.relative_to(tree)}:{found.lineno or 1}"


def main() -> int:
    """Print what is missing and a count per file; give the exit status."""
    tree = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else REPOSITORY
    lines = sorted(missing(load(tree), referenced()))
    print("\n".join(lines))
    for file, count in Counter(line.split(":")[0] for line in lines).most_common():
        print(f"{count:4} {file}", file=sys.stderr)
    print(f"{len(lines)} public names or parameters without a description", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
