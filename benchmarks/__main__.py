"""Every benchmark, each in a process of its own, and one table of all: ``make bench``.

    python -m benchmarks [NAME …] [--quick] [--out FILE.md] [--json]

The table is written anew after each benchmark, in Markdown and beside it in JSON: a run that is
interrupted keeps what it has measured. A benchmark that fails, or takes longer than --limit, is
named in it with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import _machine
import _table
from _plan import PLANS, UNKNOWN

FOLDER = Path(__file__).resolve().parent
INTERRUPTED = 130
"""Exit status of what Ctrl-C ends."""


def run_one(file: Path, options: Sequence[str], limit_seconds: float) -> dict[str, Any]:
    """Run a benchmark with ``--json``; its rows, or why there are none.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C; the benchmark, and all that it started, have ended.
    """
    named = {"name": file.stem, "options": list(options), "rows": [], "note": "", "why": ""}
    with tempfile.TemporaryDirectory(prefix=f"bench-{file.stem}-") as scratch:
        command = [sys.executable, str(file), *options, "--json"]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": scratch},
            start_new_session=True,
        ) as process:
            try:
                printed, complaint = process.communicate(timeout=limit_seconds)
            except subprocess.TimeoutExpired:
                end(process)
                return named | {"status": "failed", "why": f"took over {limit_seconds:.0f} s"}
            except BaseException:
                end(process)
                raise
    if process.returncode:
        lines = [line for line in complaint.splitlines() if line.strip()]
        why = lines[-1].strip() if lines else f"it ended with {process.returncode}"
        return named | {"status": "failed", "why": why[:500], "complaint": complaint[-4000:]}
    try:
        result = json.loads(printed.strip().splitlines()[-1])
        return named | {"status": "done", "rows": result["rows"], "note": result["note"]}
    except (ValueError, IndexError, TypeError, KeyError):
        return named | {"status": "failed", "why": "its last line is no result in JSON"}


def end(process: subprocess.Popen[str]) -> None:
    """Interrupt a benchmark and all that it started; kill what does not end."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue


def about(seconds: float) -> str:
    """A time that is a guess."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Run those that are asked for.

    Parameters
    ----------
    arguments : sequence of str, optional
        Of the command line by default.
    folder : Path
        Where benchmarks are: files that do not begin with an underscore.

    Returns
    -------
    int
        0; 1 where a benchmark failed, 2 for a wrong call, 130 after Ctrl-C.
    """
    every = sorted(path.stem for path in folder.glob("[!_]*.py"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(every)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: minutes over all")
    parser.add_argument("--out", type=Path, help="by default bench/results-DATE.md")
    parser.add_argument("--limit", type=float, default=3600, metavar="SECONDS", help="of each")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in every]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(every)}")
    if asked.out is not None and asked.out.suffix != ".md":
        parser.error(f"--out is a file that ends in .md, not {asked.out}; its JSON goes beside it")
    names = list(dict.fromkeys(asked.names)) or every
    run: dict[str, Any] = {
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "machine": _machine.machine(),
        "versions": _machine.versions(),
        "commit": _machine.commit(FOLDER.parent),
        "quick": asked.quick,
        "benchmarks": [
            {"name": name, "options": [], "rows": [], "note": "", "status": "not run", "why": ""}
            for name in names
        ],
    }
    kind = "quick" if asked.quick else "results"
    out = asked.out or Path("bench") / f"{kind}-{datetime.now():%Y-%m-%d}.md"
    status = measure(run, folder, out, asked.limit)
    if asked.json:
        print(json.dumps(run))
    else:
        print(_table.markdown(run))
    print(f"written: {out}, {out.with_suffix('.json')}", file=sys.stderr)
    return status


def measure(run: dict[str, Any], folder: Path, out: Path, limit_seconds: float) -> int:
    """Run the benchmarks of `run`, fill in what they give, and write it after each."""
    quick, entries = run["quick"], run["benchmarks"]
    guesses = [guess(entry["name"], quick) for entry in entries]
    guessed = spent = 0.0
    for number, entry in enumerate(entries):
        slower = spent / guessed if guessed else 1.0
        left = about(sum(guesses[number:]) * slower)
        print(
            f"[{number + 1}/{len(entries)}] {entry['name']}: about "
            f"{about(guesses[number] * slower)}, {left} left for all",
            file=sys.stderr,
            flush=True,
        )
        options = PLANS.get(entry["name"], UNKNOWN).quick.split() if quick else []
        began = time.perf_counter()
        try:
            entry |= run_one(folder / f"{entry['name']}.py", options, limit_seconds)
        except KeyboardInterrupt:
            entry |= {"status": "was interrupted"}
            _table.write(out, run)
            rest = " ".join(one["name"] for one in entries if one["status"] != "done")
            print(f"interrupted; the rest: python -m benchmarks {rest}", file=sys.stderr)
            return INTERRUPTED
        entry["seconds"] = round(time.perf_counter() - began, 1)
        spent, guessed = spent + entry["seconds"], guessed + guesses[number]
        _table.write(out, run)
        if entry["status"] != "done":
            print(f"{entry['name']} {entry['status']}: {entry['why']}", file=sys.stderr)
    failed = [entry["name"] for entry in entries if entry["status"] != "done"]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def guess(name: str, quick: bool) -> float:
    """Seconds that a benchmark may take."""
    plan = PLANS.get(name, UNKNOWN)
    return plan.quick_seconds if quick else plan.seconds


if __name__ == "__main__":
    sys.exit(main())
