"""Run every code block of the documentation, and write the outputs that pages show.

    python -m tools.docs.run                 # all pages under docs/
    python -m tools.docs.run docs/view.md    # these alone

Each page is run in a fresh folder that holds the demo dataset and its store (``demo/raw`` and
``demo/store.zarr``, as ``foveal demo`` makes them), copies of them under the names of a dataset of
one's own (``DHF1K``, ``dhf1k.zarr``, ``my.yaml``), and links to ``recipes``, ``experiments``,
``examples`` and ``tests`` of the repository. The demo is made once and kept in
``build/docs``; ``make clean`` removes it.

An output that differs from the committed one, apart from times, dates and sizes, is written into
the page, and the command ends with status 1, as it does where a block fails: look at the change
and commit it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tools.docs.blocks import RUN, PageError, read_blocks

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
BUILD = REPOSITORY / "build" / "docs"
LINKED = ("recipes", "experiments", "examples", "tests", "benchmarks")
PAGES_AT_ONCE = 2
MAX_PICTURE_DIFFERENCE = 4.0
"""Mean absolute difference of two renderings of a picture, in levels of 0 to 255."""

_CHANGING = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|\+00:00)?", "DATE"),
    (r"\b\d{1,2}:\d\d(:\d\d)?\b", "CLOCK"),
    (r"\b\d+(\.\d+)?(e-\d+)? ?(ms|s|min|h|KB|MB|GB|kB|frames/s|fps|it/s)(?![a-z])", "AMOUNT"),
    (r"\b\d+\.\d+\b", "NUMBER"),
    (r"\b[0-9a-f]{8,64}\b", "HASH"),
    (r"[─━-]{3,}", "LINE"),
    (r"[ \t]+", " "),
)


def normalised(text: str) -> str:
    """Return an output without what differs from run to run: times, sizes, digests, spacing."""
    for pattern, word in _CHANGING:
        text = re.sub(pattern, word, text)
    return "\n".join(line.strip() for line in text.strip().splitlines())


def make_world() -> Path:
    """Make the demo and what pages need beside it; give the folder. Made once."""
    world = BUILD / "world"
    if (world / "done").exists():
        return world
    shutil.rmtree(world, ignore_errors=True)
    world.mkdir(parents=True)
    print("docs: making the demo store (half a minute, once)", flush=True)
    subprocess.run(["foveal", "demo"], cwd=world, env=environment(), check=True)
    shutil.copytree(world / "demo" / "raw", world / "DHF1K")
    shutil.copytree(world / "demo" / "store.zarr", world / "dhf1k.zarr")
    recipe = (REPOSITORY / "recipes" / "demo.yaml").read_text("utf-8")
    (world / "my.yaml").write_text(
        re.sub(r"root: \S+", "root: DHF1K", recipe).replace("demo/store.zarr", "dhf1k.zarr"),
        encoding="utf-8",
    )
    (world / "done").touch()
    return world


def environment() -> dict[str, str]:
    """Return the environment of every command: this checkout's foveal, no colours, no network."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "MPLBACKEND": "Agg",
        "HF_HUB_OFFLINE": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def run_page(page: Path, world: Path) -> dict[str, Any]:
    """Run a page in a copy of the world; see `tools.docs.walk`."""
    blocks = [block for block in read_blocks(page, page.read_text("utf-8")) if block.kind in RUN]
    if all(block.not_run for block in blocks):
        not_run = [[block.line, block.not_run] for block in blocks]
        return {"run": 0, "not_run": not_run, "failure": None} if blocks else {}
    with tempfile.TemporaryDirectory(prefix="docs-", dir=BUILD) as temporary:
        folder = Path(temporary) / "here"
        shutil.copytree(world, folder, symlinks=True)
        for name in LINKED:
            (folder / name).symlink_to(REPOSITORY / name)
        result = Path(temporary) / "found.json"
        ended = subprocess.run(
            [sys.executable, "-m", "tools.docs.walk", str(page), str(result)],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if not result.exists():
            return {"failure": [0, ended.stdout + ended.stderr], "run": 0}
        found: dict[str, Any] = json.loads(result.read_text("utf-8"))
        found["stale"] = _write(page, found, str(folder))
        return found


def _write(page: Path, found: dict[str, Any], folder: str) -> list[str]:
    """Bring outputs and pictures of a page up to date; give the places that changed."""
    text = page.read_text("utf-8")
    stale = []
    for block in reversed(list(read_blocks(page, text))):
        new = found["outputs"].get(str(block.line)) if block.kind == "output" else None
        if new is None:
            continue
        new = "".join(f"{line.rstrip()}\n" for line in new.replace(folder, ".").splitlines())
        if normalised(new) != normalised(block.text):
            text = text[: block.span[0]] + new + text[block.span[1] :]
            stale.append(f"{page.relative_to(REPOSITORY)}:{block.line}")
    if stale:
        page.write_text(text, encoding="utf-8")
    for link, source in found["pictures"].items():
        kept = page.parent / link
        if not kept.exists() or _differs(kept, Path(source)):
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, kept)
            stale.append(str(kept.relative_to(REPOSITORY)))
    return stale


def _differs(a: Path, b: Path) -> bool:
    if a.suffix != ".png":
        return a.read_bytes() != b.read_bytes()
    with Image.open(a) as first, Image.open(b) as second:
        if first.size != second.size:
            return True
        pair = [np.asarray(each.convert("RGB"), np.float32) for each in (first, second)]
    return float(np.abs(pair[0] - pair[1]).mean()) > MAX_PICTURE_DIFFERENCE


def main(names: list[str]) -> int:
    """Run pages, print what happened, and give the exit status."""
    pages = [Path(name).resolve() for name in names] or sorted(DOCS.rglob("*.md"))
    world = make_world()
    failed = False
    with ThreadPoolExecutor(PAGES_AT_ONCE) as pool:
        for page, found in zip(
            pages, pool.map(lambda page: _tried(page, world), pages), strict=True
        ):
            name = page.relative_to(REPOSITORY)
            if not found:
                continue
            skipped = found.get("not_run", [])
            print(f"{name}: {found['run']} blocks run, {len(skipped)} not run", flush=True)
            for line, reason in skipped:
                print(f"    {name}:{line} not run: {reason}")
            for place in found.get("stale", []):
                print(f"    {place} is written anew: look at it and commit it")
            if found["failure"]:
                line, text = found["failure"]
                print(f"    {name}:{line} FAILED\n{text}")
            failed |= bool(found["failure"] or found.get("stale"))
    return int(failed)


def _tried(page: Path, world: Path) -> dict[str, Any]:
    try:
        return run_page(page, world)
    except PageError as error:
        return {"failure": [0, str(error)], "run": 0}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
