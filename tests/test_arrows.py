"""The arrows of the house: flows -> pipeline -> {models, storage}, and never back or across."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
ROOMS = ("flows", "pipeline", "models", "storage")
MAY_IMPORT = {
    "storage": {"storage"},
    "models": {"models"},
    # foveal.torch, the training reader, stands on storage alone.
    "pipeline": {"pipeline", "models", "storage", "torch"},
    "flows": {"flows", "pipeline", "models", "storage"},
}
ONLY_FLOWS = "prefect"


def sources(folder: Path) -> list[Path]:
    """Python files below a folder; links inside it are not followed."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            for name in node.names:
                yield node.lineno, f"{node.module}.{name.name}"
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and getattr(node.func, "id", getattr(node.func, "attr", ""))
            in ("import_module", "__import__")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def own_files(folders: tuple[str, ...]) -> list[Path]:
    return [path for folder in folders for path in sources(REPOSITORY / folder)]


def test_every_room_is_there() -> None:
    for room in ROOMS:
        assert len(sources(REPOSITORY / room)) > 1
        link = REPOSITORY / "foveal" / room
        assert link.is_symlink()
        assert str(link.readlink()) == f"../{room}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_what_lies_below_them(room: str) -> None:
    allowed = MAY_IMPORT[room] | {"errors", "extras", "__version__"}
    if room != "storage":
        allowed |= {"registry", "machine", "units"}
    folder = REPOSITORY / room if room in ROOMS else REPOSITORY / "foveal" / room
    wrong = []
    for path in sources(folder):
        for line, module in imported_modules(path):
            parts = module.split(".")
            if parts[0] == "foveal" and not allowed.intersection(parts[1:2]):
                wrong.append(f"{path.relative_to(REPOSITORY)}:{line}: {module}")
    assert not wrong


def test_only_flows_import_prefect() -> None:
    folders = tuple(room for room in ROOMS if room != "flows")
    public = list((REPOSITORY / "foveal").glob("*.py"))
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in own_files(folders) + public
        for line, module in imported_modules(path)
        if module.split(".")[0] == ONLY_FLOWS
    ]
    assert not wrong


def test_nobody_imports_a_room_by_its_bare_name() -> None:
    # Files of a room lie on sys.path as `pipeline.…` too when Python starts in the repository;
    # imported so they would be second copies of the same classes.
    public = [p for p in (REPOSITORY / "foveal").rglob("*.py") if not linked(p)]
    files = own_files((*ROOMS, "tests", "benchmarks")) + public
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line}: {module}"
        for path in files
        for line, module in imported_modules(path)
        if module.split(".")[0] in ROOMS
    ]
    assert not wrong


def linked(path: Path) -> bool:
    """Whether a path below foveal/ leads through one of the four links."""
    return path.relative_to(REPOSITORY / "foveal").parts[0] in ROOMS


def modules_after(statement: str) -> set[str]:
    """Top-level names in sys.modules after a statement in a fresh interpreter."""
    program = f"import sys\n{statement}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert shown.returncode == 0, shown.stderr
    return set(shown.stdout.split())


def test_importing_foveal_costs_nothing() -> None:
    heavy = {"torch", "prefect", "xarray", "zarr", "dask", "pandas", "numpy", "cv2", "av", "scipy"}
    assert not heavy & modules_after("import foveal")
    assert not heavy & modules_after("from foveal import errors")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import foveal; foveal.open_store", {"torch", "prefect", "cv2", "av", "ptlflow"}),
        ("import foveal.storage.writer", {"torch", "prefect", "cv2", "av", "ptlflow"}),
        ("import foveal; foveal.Recipe", {"torch", "prefect", "ptlflow"}),
        ("import foveal.pipeline.build.run", {"prefect", "ptlflow"}),
        ("import foveal.models.saliency, foveal.models.i3d", {"prefect", "zarr", "ptlflow", "av"}),
    ],
)
def test_what_each_entrance_leaves_unloaded(statement: str, absent: set[str]) -> None:
    assert not absent & modules_after(statement)
