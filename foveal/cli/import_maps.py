"""This module holds ``foveal import-maps``, which checks and stores another model's maps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli.console import INCOMPLETE, ROWS, Json, following, out, print_json, print_table
from foveal.errors import RecipeError


def import_maps(
    store: Annotated[str, typer.Argument(help="Store to read and write (path or URL).")],
    name: Annotated[str, typer.Argument(help="Array saliency_NAME.")],
    folder: Annotated[
        Path,
        typer.Argument(
            help="Holds VIDEO/0001.png … (PNG, JPEG, MAT), VIDEO.mat [height, width, frame], "
            "or VIDEO.mp4 (any video), for each video."
        ),
    ],
    split: Annotated[str | None, typer.Option(help="Only videos of this split.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this video (id). Repeatable.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Store at HEIGHTxWIDTH, or 'source'; default: the maps' own size."),
    ] = None,
    source: Annotated[
        str, typer.Option(help="Whose maps: model, weights, paper. Stored with them.")
    ] = "",
    inside: Annotated[
        str | None, typer.Option(help="The files are in VIDEO/INSIDE instead of VIDEO.")
    ] = None,
    variable: Annotated[
        str | None, typer.Option(help="Variable to read, in MAT files that hold several.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Store another model's saliency maps, so that they are scored and drawn beside ours.

    Names and numbers of files are compared with the frames of the store. What does not fit is
    listed and left out; nothing is guessed. Exit status 3: something did not fit.
    """
    from foveal.pipeline.learn.import_maps import RULE
    from foveal.pipeline.learn.import_maps import import_maps as take_in

    with following("import") as advance:
        results, strangers = take_in(
            store,
            name,
            folder,
            split=split,
            videos=only,
            size=_size(size),
            source=source,
            inside=inside,
            variable=variable,
            only_check=check,
            advance=advance,
        )
    skipped = [result for result in results if result.status == "skipped"]
    if as_json:
        print_json(
            {
                "store": store,
                "array": f"saliency_{name}",
                "folder": str(folder),
                "resize_rule": RULE,
                "videos": [vars(result) for result in results],
                "of_no_video": strangers,
            }
        )
    else:
        if skipped:
            rows = [(result.video, result.reason) for result in skipped[:ROWS]]
            print_table("does not fit", ("video", "reason"), rows)
            if len(skipped) > ROWS:
                out.print(f"… {len(skipped)} in all; --json lists them")
        if strangers:
            shown = ", ".join(strangers[:ROWS]) + (", …" if len(strangers) > ROWS else "")
            out.print(f"of no video of the store: {shown}", markup=False)
        counts = {
            status: sum(result.status == status for result in results)
            for status in ("complete", "unchanged", "fits", "skipped")
        }
        parts = [f"{count} {status}" for status, count in counts.items() if count]
        out.print(f"{store}: saliency_{name}: {', '.join(parts)}", markup=False)
    if skipped or strangers:
        raise typer.Exit(INCOMPLETE)


def _size(text: str | None) -> Any:
    if text is None or text == "source":
        return text
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if match is None:
        raise RecipeError(f"--size {text!r}: give HEIGHTxWIDTH in pixels, like 360x640, or source")
    return int(match[1]), int(match[2])
