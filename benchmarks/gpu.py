"""Everything that needs a GPU, in one go and one Markdown table: ``make gpu``.

    python benchmarks/gpu.py [--out FILE.md] [--limit 520] [--parts tvl1 i3d] [--quick] [--json]

Runs on a machine with CUDA, Python and PyTorch and little else: each part runs in a process of its
own with a limit of its own, and what lacks a package, fails or takes too long is named under the
table with its reason. Peers run beside what is measured, in the same process and in turns.
Without CUDA it says so and ends with 0, or with ``--interpreted`` runs TV-L1 in Triton's
interpreter, which shows that it works and nothing of its speed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import _figures
from _gpu_parts import PARTS, ROOT, Row


def entry_points(folder: Path) -> None:
    """What an installed foveal tells of its methods and networks, where it is not installed."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    about = folder / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, targets in project.get("entry-points", {}).items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in targets.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))


def run_part(name: str, limit: float) -> tuple[list[Row], str]:
    """Rows of a part, and why there are none."""
    part = PARTS[name]
    missing = [module for module in part.needs if importlib.util.find_spec(module) is None]
    if missing:
        return [], f"no {', '.join(missing)}"
    allowed = min(part.seconds, limit)
    if allowed < 10:
        return [], "no time left"
    began = time.perf_counter()
    command = [sys.executable, str(Path(__file__)), "--part", name]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    ) as process:
        try:
            printed, complaint = process.communicate(timeout=allowed)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started
            return [], f"took more than {allowed:.0f} s"
    print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if process.returncode:
        return [], (complaint.strip().splitlines() or ["no message"])[-1][:300]
    return json.loads(printed.strip().splitlines()[-1]), ""


def markdown(rows: list[Row], skipped: dict[str, str], where: str) -> str:
    """The table, and what is not in it."""
    lines = [
        where,
        "",
        "| what | setting | foveal | peer | its figure | ratio | goal | |",
        "|---|---|---:|---|---:|---:|---:|---|",
    ]
    for row in rows:
        ratio, goal = row.get("ratio"), row.get("goal")
        cells = [
            row["what"],
            row["setting"],
            row.get("figure", ""),
            row.get("peer", ""),
            row.get("peer_figure", ""),
            "" if ratio is None else f"{ratio:.2f}x",
            "" if goal is None else f"{goal}x" if isinstance(goal, float) else str(goal),
            row.get("note", ""),
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    if skipped:
        lines += ["", "Not measured:", ""]
        lines += [f"- {name}: {reason}" for name, reason in skipped.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, help="write the table here, too")
    parser.add_argument("--limit", type=float, default=520, help="seconds for everything")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--interpreted", action="store_true", help="TV-L1 without a GPU")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(PARTS[options.part].run()))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        try:
            importlib.metadata.distribution("foveal")
        except importlib.metadata.PackageNotFoundError:
            entry_points(Path(folder))
            paths.insert(0, folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        return measure(options)


def measure(options: argparse.Namespace) -> int:
    """Run the parts and write the table."""
    began = time.perf_counter()
    if options.quick:
        os.environ["FOVEAL_GPU_QUICK"] = "1"
    if importlib.util.find_spec("torch") is None:
        return nothing(options, "benchmarks/gpu.py needs PyTorch; there is none for this Python")
    import torch

    where = f"torch {torch.__version__}, Python {sys.version.split()[0]}"
    if torch.cuda.is_available():
        where = f"{torch.cuda.get_device_name()}, {where}"
    elif options.interpreted:
        os.environ["TRITON_INTERPRET"] = "1"
        options.parts, where = ["tvl1"], f"no GPU, Triton's interpreter, {where}"
    else:
        return nothing(options, f"no CUDA device here ({where}); nothing was measured")
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for name in options.parts:
        found, reason = run_part(name, options.limit - (time.perf_counter() - began))
        rows += found
        if reason:
            skipped[name] = reason
        table = markdown(rows, skipped, where)
        if options.out:
            options.out.write_text(table)
    if options.json:
        told = [of_shape(row) for row in rows if row.get("figure")]
        missing = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        _figures.print_json(__file__, told, {"where": where, "rows": rows}, missing)
    else:
        print(table)
    return 0


def nothing(options: argparse.Namespace, why: str) -> int:
    """Say why nothing is measured, which is no failure."""
    if options.json:
        _figures.print_json(__file__, [], None, why)
    else:
        print(why)
    return 0


def of_shape(row: Row) -> _figures.Row:
    """A row as all benchmarks print it: figures are split into number and unit."""
    value, unit = number_of(row["figure"])
    goal = row.get("goal")
    wanted: tuple[_figures.Goal, float] | None = None
    if isinstance(goal, float):
        wanted = "ratio at least", goal
    elif goal:
        wanted = "value at least", number_of(goal)[0]
    return _figures.row(
        f"{row['what']}, {row['setting']}",
        value,
        unit,
        peer=row.get("peer"),
        peer_value=number_of(row["peer_figure"])[0] if "peer_figure" in row else None,
        ratio=row.get("ratio"),
        goal=wanted,
        note=row.get("note", ""),
    )


def number_of(figure: str) -> tuple[float, str]:
    """Number and unit of a figure such as ``6156 pairs/s``; text without a number counts as 0."""
    first, _, rest = figure.partition(" ")
    try:
        return float(first), rest
    except ValueError:
        return 0.0, figure


if __name__ == "__main__":
    sys.exit(main())
