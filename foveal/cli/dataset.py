"""``foveal init`` and ``foveal check``: recognise and check a dataset before it is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.build import load_recipe
from foveal.cli.console import INCOMPLETE, ROWS, Json, counting, err, out, print_json, print_table
from foveal.errors import RecipeError, writing

if TYPE_CHECKING:
    from foveal.pipeline.check.preflight import Report


def init(
    root: Annotated[Path, typer.Argument(help="Folder of a raw dataset.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Recipe to write; default: print it.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="Path or URL of the store to build.")] = None,
) -> None:
    """Recognise which dataset a folder holds, and write a commented recipe for it."""
    from foveal.pipeline.check.recognise import recognise

    found = recognise(root, store)
    err.print(found.message, markup=False)
    if found.guess is None or not found.recipe:
        raise typer.Exit(INCOMPLETE)
    if output is None:
        out.print(found.recipe, markup=False)
        return
    if output.exists():
        raise RecipeError(f"{output} is there already; name another file or remove it")
    with writing(output):
        output.write_text(found.recipe, encoding="utf-8")
    err.print(f"wrote {output}; next: foveal check {output}", markup=False)


def check(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the raw dataset.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key. Repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N videos.")] = None,
    as_json: Json = False,
) -> None:
    """Check a dataset in minutes, and list the problems that a build would have with it."""
    from foveal.pipeline.check.preflight import check as preflight

    resolved = load_recipe(recipe, root, None, overrides)
    with counting("check") as advance:
        report = preflight(
            resolved, limit=limit, advance=lambda done, total: advance("videos", done, total)
        )
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(INCOMPLETE)


def _show(report: Report) -> None:
    print_table(
        f"{report.dataset} ({report.form}) in {report.root}",
        ("split", "found", "published"),
        [(split, count, report.published.get(split)) for split, count in report.videos.items()],
        numbers="found published",
    )
    out.print()
    print_table(
        "videos",
        ("video", "split", "frames", "size", "fps", "maps", "observers", "points", "status"),
        [
            (
                row.video,
                row.split,
                row.frames,
                None if row.width_px is None else f"{row.width_px}x{row.height_px}",
                None if row.fps is None else f"{row.fps:.5g}",
                row.annotated_frames,
                row.observers,
                row.points,
                row.status,
            )
            for row in report.rows[:ROWS]
        ],
        numbers="frames fps maps observers points",
    )
    if len(report.rows) > ROWS:
        out.print(f"… and {len(report.rows) - ROWS} more; --json lists all")
    if report.findings:
        out.print()
        print_table(
            "found",
            ("severity", "video", "what"),
            [(item.severity, item.video, item.message) for item in report.findings[:ROWS]],
        )
        if len(report.findings) > ROWS:
            out.print(f"… and {len(report.findings) - ROWS} more; --json lists all")
    errors = sum(row.status == "error" for row in report.rows)
    verdict = f"{errors} would be quarantined" if errors else "nothing would be quarantined"
    out.print(f"\n{len(report.rows)} videos, reconcile: {report.reconcile}: {verdict}")
