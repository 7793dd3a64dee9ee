"""Print what ``--help`` of every benchmark says when it is run in both ways, as JSON.

What benchmarks import takes seconds to load, so it is loaded once; each run is then a fork of this
process, in which the benchmarks' own modules are as unknown as at the start, and Python's path is
as the interpreter would set it for a script and for ``-m``.

    python tests/benchmarks_help.py
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import runpy
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"


def load_once(names: list[str]) -> None:
    """Import all that benchmarks import, and forget the benchmarks themselves."""
    sys.path.append(str(FOLDER))
    for name in names:
        with contextlib.suppress(ImportError):  # its own run will tell
            importlib.import_module(name)
    sys.path[:] = [place for place in sys.path if Path(place) not in (ROOT, FOLDER)]
    for name in [name for name, module in sys.modules.items() if is_own(module)]:
        del sys.modules[name]


def is_own(module: object) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).parent == FOLDER and Path(file) != Path(__file__)


def told(name: str, way: str) -> str:
    """What a run prints; of one that fails, why."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                run(name, way)
            except SystemExit as ended:
                if ended.code:
                    said.write(f"\nfailed with {ended.code}")
            except BaseException:
                said.write("\nfailed: " + traceback.format_exc())
        with os.fdopen(writing, "w") as out:
            out.write(said.getvalue())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as given:
        text = given.read()
    os.wait()
    return text


def run(name: str, way: str) -> None:
    sys.argv = [name, "--help"]
    if way == "script":
        sys.path.insert(0, str(FOLDER))
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    else:
        sys.path.insert(0, str(ROOT))
        runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)


def main() -> None:
    names = sorted(
        path.stem for path in FOLDER.glob("*.py") if "argparse" in path.read_text(encoding="utf-8")
    )
    load_once(names)
    ways = ("script", "module")
    print(json.dumps({name: {way: told(name, way) for way in ways} for name in names}))


if __name__ == "__main__":
    main()
