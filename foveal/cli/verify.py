"""``foveal verify``: does the store still hold what was written?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from foveal.cli.console import INCOMPLETE, Json, err, out, print_json, print_table
from foveal.errors import StoreError


def verify(
    store: Annotated[str, typer.Argument(help="Path or URL of the store.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Only this video (id). Repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Re-read every object against its checksum and every mark against its fingerprint."""
    from rich.progress import Progress

    from foveal.storage.location import Location
    from foveal.storage.marks import read_journal_with_damage
    from foveal.storage.root import check_format
    from foveal.storage.verify import verify as check

    location = Location(store, read_only=True)
    if check_format(location) is None:
        raise StoreError(f"there is no store at {store}")
    marks, quarantined, *_ = read_journal_with_damage(location, only)
    with Progress(console=err, disable=not err.is_terminal) as progress:
        bar = progress.add_task("verify", total=len(marks))
        problems = check(
            location,
            only,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    notes = [problem for problem in problems if problem.is_note]
    real = [problem for problem in problems if not problem.is_note]
    if as_json:
        rows = [asdict(problem) for problem in problems]
        print_json({"store": store, "videos": len(marks), "problems": rows})
    else:
        if problems:
            print_table(
                "found",
                tuple(asdict(problems[0])),
                [tuple(asdict(problem).values()) for problem in (*real, *notes)],
            )
        stages = sum(len(stages) for stages in marks.values())
        verdict = f"{len(real)} problems" if real else "clean"
        also = f", {len(quarantined)} quarantined" if quarantined else ""
        out.print(f"{store}: {len(marks)} videos, {stages} stages{also}: {verdict}")
    if real:
        raise typer.Exit(INCOMPLETE)
