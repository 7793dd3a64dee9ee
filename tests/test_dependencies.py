"""What foveal needs: bounds that are kept, extras that bring it all, and a light install."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from foveal import extras
from foveal.errors import MissingPackage

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
CORE = [Requirement(text) for text in PROJECT["dependencies"]]
EXTRAS = {
    name: [Requirement(text) for text in texts]
    for name, texts in PROJECT["optional-dependencies"].items()
}
ALL = {str(each): each for group in (CORE, *EXTRAS.values()) for each in group}
OTHERS = {text: each for text, each in ALL.items() if each.name != "foveal"}


@pytest.mark.parametrize("text", sorted(OTHERS))
def test_what_is_installed_is_within_its_bounds(text: str) -> None:
    try:
        version = metadata.version(OTHERS[text].name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{OTHERS[text].name} is not installed")
    assert version in OTHERS[text].specifier


@pytest.mark.parametrize(
    ("name", "works", "breaks"),
    [
        ("av", "18.1.0", "19.0.0"),
        ("fastapi", "0.150.0", "0.151.0"),
        ("opencv-contrib-python", "4.13.0.92", "4.14.0.94"),
        ("opencv-python", "4.13.0.92", "5.0.0.93"),
        ("prefect", "3.8.8", "3.9.1"),
        ("zarr", "3.1.6", "3.2.0"),
    ],
)
def test_versions_known_to_break_are_out_of_bounds(name: str, works: str, breaks: str) -> None:
    bounds = [each.specifier for each in OTHERS.values() if each.name == name]
    assert bounds
    for bound in bounds:
        assert works in bound
        assert breaks not in bound


def test_one_package_has_the_same_bounds_in_every_extra() -> None:
    bounds: dict[str, set[str]] = {}
    for each in OTHERS.values():
        bounds.setdefault(each.name, set()).add(str(each.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_constraints_pin_every_package_that_is_named() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {canonicalize_name(each.name): each for each in map(Requirement, lines)}
    unpinned = []
    for each in OTHERS.values():
        pin = pinned.get(canonicalize_name(each.name))
        version = "" if pin is None else str(pin.specifier).removeprefix("==")
        if not version or version not in each.specifier:
            unpinned.append(str(each))
    # Large ones that no test uses.
    assert unpinned == ["jupyterlab>=4", "rerun-sdk>=0.26"]


def closure(name: str) -> set[str]:
    """Packages that an extra names, with those of the extras it is made of."""
    found: set[str] = set()
    for each in EXTRAS[name]:
        inner = each.extras if each.name == "foveal" else ()
        found |= set().union(*map(closure, inner)) if inner else {canonicalize_name(each.name)}
    return found


def test_all_is_every_extra_and_dev_what_the_tests_use() -> None:
    names = set(EXTRAS) - {"all", "dev", "bench", "docs"}
    assert closure("all") == set().union(*map(closure, names))
    assert closure("all") - closure("dev") == {"jupyterlab", "rerun-sdk"}


def test_a_light_install_names_nothing_heavy() -> None:
    heavy = {"torch", "prefect", "opencv-contrib-python", "numba", "pyarrow", "scipy", "av"}
    assert not heavy & {each.name for each in CORE}


def imports() -> Iterator[tuple[str, str]]:
    """Every top-level module that the package imports, with the file that does."""
    for room in ("foveal", "flows", "models", "pipeline", "storage"):
        for path in (REPOSITORY / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    for one in node.names:
                        yield one.name.partition(".")[0], str(path)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module.partition(".")[0], str(path)


def test_every_import_is_of_the_light_install_or_has_an_extra_to_propose() -> None:
    core = {canonicalize_name(each.name) for each in CORE}
    brought_along = {"arro3", "cloudpickle", "yaml"}  # by arro3-io, dask, pyyaml
    unknown = {}
    for module, path in imports():
        if module in sys.stdlib_module_names or module == "foveal":
            continue
        missing = extras.missing_package(ModuleNotFoundError(name=module))
        if canonicalize_name(module) not in core | brought_along and missing is None:
            unknown[module] = path
    assert unknown == {}


@pytest.mark.parametrize(
    ("module", "wanted", "proposed"),
    [
        ("torch.nn", "build", "build"),
        ("torch", "train", "train"),
        ("torch", None, "train"),
        ("cv2", None, "view"),
        ("ptlflow", "build", "flow"),
        ("h5py", "train", "build"),
        ("s3fs", None, "cloud"),
        ("llvmlite", "train", "train"),
    ],
)
def test_the_extra_of_a_command_is_proposed_where_it_helps(
    module: str, wanted: str | None, proposed: str
) -> None:
    missing = extras.missing_package(ModuleNotFoundError(name=module), wanted)
    assert isinstance(missing, MissingPackage)
    name = module.partition(".")[0]
    assert str(missing) == f"this needs {name}; run: pip install 'foveal[{proposed}]'"


def test_a_package_that_no_extra_brings_is_another_fault() -> None:
    assert extras.missing_package(ModuleNotFoundError(name="numpy.nowhere")) is None
    with pytest.raises(ModuleNotFoundError, match="nowhere"), extras.needing("build"):
        import nowhere  # noqa: F401
