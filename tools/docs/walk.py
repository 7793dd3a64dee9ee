"""Run the blocks of one page, in order, in the folder it is started in.

Python blocks share one namespace. What is found (output, failures) is written as JSON:

    python -m tools.docs.walk docs/reading.md found.json
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from tools.docs.blocks import Block, read_blocks

TIMEOUT_SECONDS = 600


def walk(page: Path) -> dict[str, Any]:
    """Run a page; give its outputs by line, its pictures, what was not run, and the failure."""
    found: dict[str, Any] = {
        "outputs": {},
        "pictures": {},
        "not_run": [],
        "failure": None,
        "run": 0,
    }
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in read_blocks(page, page.read_text("utf-8")):
        if block.not_run is not None:
            found["not_run"].append([block.line, block.not_run])
        elif block.kind == "output":
            found["outputs"][str(block.line)] = _first(printed, block.lines)
        elif block.kind == "picture":
            found["pictures"][block.text] = str(Path(block.source).absolute())
        elif block.kind in ("python", "sh", "prepare"):
            found["run"] += 1
            ok, printed = _run(block, page, namespace)
            if not ok:
                found["failure"] = [block.line, printed]
                break
    return found


def _first(text: str, lines: int | None) -> str:
    """The first lines of an output, all of them for None, and a mark that there are more."""
    all_lines = text.splitlines(keepends=True)
    if lines is None or len(all_lines) <= lines:
        return text
    return "".join(all_lines[:lines]) + "…\n"


def _run(block: Block, page: Path, namespace: dict[str, Any]) -> tuple[bool, str]:
    if block.kind != "python":
        return _shell(block.text)
    printed = io.StringIO()
    code = "\n" * (block.line - 1) + block.text
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(page), "exec"), namespace)
    except BaseException:
        return False, printed.getvalue() + traceback.format_exc(limit=-4)
    return True, printed.getvalue()


def _shell(commands: str) -> tuple[bool, str]:
    try:
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"took more than {TIMEOUT_SECONDS} s"
    if ended.returncode:
        return False, f"{ended.stdout}{ended.stderr}\nexit status {ended.returncode}"
    return True, ended.stdout


if __name__ == "__main__":
    os.environ["COLUMNS"] = "100"
    page, result = Path(sys.argv[1]), Path(sys.argv[2])
    result.write_text(json.dumps(walk(page)), encoding="utf-8")
