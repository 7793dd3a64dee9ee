"""This module holds ``foveal verify``, which checks that a store holds what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.console import INCOMPLETE, Json, err, out, print_json, print_table
from foveal.errors import StoreError

if TYPE_CHECKING:
    from rich.progress import Progress

    from foveal.storage.marks import Mark
    from foveal.storage.verify import Problem


def verify(
    store: Annotated[str, typer.Argument(help="Path or URL of the store.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Only this video (id). Repeatable.")
    ] = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Hash the raw files of the dataset again, too.")
    ] = False,
    root: Annotated[
        Path | None, typer.Option(help="Where the raw dataset is now; default: as it was built.")
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
    attributes = check_format(location)
    if attributes is None:
        raise StoreError(f"there is no store at {store}; `foveal build` makes one")
    marks, quarantined, *_ = read_journal_with_damage(location, only)
    with Progress(console=err, disable=not err.is_terminal) as progress:
        bar = progress.add_task("verify", total=len(marks))
        problems = check(
            location,
            only,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
        if sources:
            problems += _check_sources(attributes["recipe"], root, marks, progress)
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


def _check_sources(
    values: Mapping[str, Any],
    root: Path | None,
    marks: Mapping[str, Mapping[str, Mark]],
    progress: Progress,
) -> list[Problem]:
    from foveal.pipeline.check.sources import check_sources
    from foveal.pipeline.recipe.recipe import Recipe

    place = {} if root is None else {"root": str(root.absolute())}
    recipe = Recipe.parse({**values, "dataset": {**values["dataset"], **place}})
    bar = progress.add_task("sources", total=len(marks))
    return check_sources(
        recipe, marks, lambda done, total: progress.update(bar, completed=done, total=total)
    )
