"""The table that ``make bench`` writes, in Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HEAD = "| benchmark | what | foveal | peer | its figure | ratio | goal | |"
RULE = "|---|---|---:|---|---:|---:|---:|---|"


def write(path: Path, run: Mapping[str, Any]) -> None:
    """Write the Markdown, and the JSON beside it, each as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {path: markdown(run), path.with_suffix(".json"): json.dumps(run, indent=1) + "\n"}
    for target, text in texts.items():
        part = target.with_name(f".{target.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(target)


def markdown(run: Mapping[str, Any]) -> str:
    """Where and when, the headline row of each benchmark, all other rows, what is missing."""
    where, done = run["machine"], run["benchmarks"]
    gpu = ", ".join(where["gpu"]) or "none"
    lines = [
        f"# Benchmarks of {run['date']}" + (", quick form" if run["quick"] else ""),
        "",
        f"{where['cpu']}, {where['cores']} cores, {where['memory_gb']} GB of memory, GPU: {gpu}, "
        f"{where['system']}; load {where['load_at_start']} before the first benchmark. "
        f"Commit {run['commit']}.",
        "",
        ", ".join(f"{name} {version}" for name, version in run["versions"].items()) + ".",
        "",
        "*Ratio*: how many times as good as the peer foveal is, in the same run. Goals are of the "
        "ratio (x), or of foveal's own figure.",
    ]
    if run["quick"]:
        lines += ["", "**Quick form**: sizes are small. That all runs is seen, not how fast it is."]
    heads = [(one["name"], row) for one in done for row in one["rows"][:1]]
    others = [(one["name"], row) for one in done for row in one["rows"][1:]]
    for title, rows in (("Headlines", heads), ("All other rows", others)):
        if rows:
            lines += ["", f"## {title}", "", HEAD, RULE, *map(cells, rows)]
    if missing := list(not_measured(done)):
        lines += ["", "## Not measured", "", *missing]
    return "\n".join(lines) + "\n"


def cells(named: tuple[str, Mapping[str, Any]]) -> str:
    """One row of the table."""
    name, row = named
    theirs, ratio = row["peer_value"], row["ratio"]
    texts = [
        name,
        row["what"],
        f"{number(row['value'])} {row['unit']}",
        row["peer"] or "",
        "" if theirs is None else number(theirs),
        "" if ratio is None else f"{ratio:.2f}x",
        goal(row),
        row["note"],
    ]
    return "| " + " | ".join(text.replace("|", "/") for text in texts) + " |"


def goal(row: Mapping[str, Any]) -> str:
    """What was wanted, and whether it was reached."""
    if row["goal"] is None:
        return ""
    wanted = f"{row['goal']:.3g}"
    told = {
        "ratio at least": f"≥ {wanted}x",
        "value at least": f"≥ {wanted} {row['unit']}",
        "value at most": f"≤ {wanted} {row['unit']}",
    }[row["goal_is"]]
    return told if row["met"] is not False else f"{told}, **missed**"


def number(value: float | None) -> str:
    """Three digits at least, whole numbers as they are."""
    if value is None:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def not_measured(done: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Benchmarks without rows, and what others could not measure, with the reason."""
    for one in done:
        if one["status"] != "done":
            why = f": {one['why']}" if one["why"] else ""
            yield f"- {one['name']} {one['status']}{why}"
        elif one["note"]:
            yield f"- {one['name']}: {one['note']}"
