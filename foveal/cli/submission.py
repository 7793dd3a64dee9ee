"""This module holds ``foveal export --submission``: a prediction in a challenge's format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import typer

from foveal.cli.console import INCOMPLETE, ROWS, following, out, print_json, print_table
from foveal.errors import RecipeError
from foveal.units import size_text


def submit(
    store: str,
    folder: Path,
    arrays: list[str],
    form: str,
    only: list[str] | None,
    split: str | None,
    source_size: bool,
    as_json: bool,
) -> None:
    """Write and verify a submission; exit with status 3 if a video is missing or wrong."""
    from foveal.pipeline.export.submission import write_submission

    if len(arrays) != 1:
        raise RecipeError(f"a submission takes one prediction; --array names {', '.join(arrays)}")
    with following("submission") as advance:
        done = write_submission(
            store,
            folder,
            arrays[0],
            form,
            videos=only,
            split=split,
            source_size=source_size,
            advance=advance,
        )
    counts = Counter(one.status for one in done)
    if as_json:
        rows = [vars(one) for one in done]
        print_json({"store": store, "folder": str(folder), "form": form, "videos": rows})
    else:
        bad = [one for one in done if one.status != "written"]
        if bad:
            print_table(
                "not as the challenge requires",
                ("video", "status", "reason"),
                [(one.video, one.status, one.reason) for one in bad[:ROWS]],
            )
            if len(bad) > ROWS:
                out.print(f"… and {len(bad) - ROWS} more; --json lists all")
        for one in done:
            if one.repeated or one.left_out:
                what = f"{one.repeated or one.left_out} maps at the end"
                how = "repeated" if one.repeated else "left out"
                out.print(f"{one.video}: {what} {how}, {one.frames} in all", markup=False)
        out.print(
            f"{folder}: {counts['written']} videos written and decoded again, "
            f"{size_text(sum(one.bytes for one in done))}: frames, rate, size and values agree",
            markup=False,
        )
    if counts["written"] != len(done):
        raise typer.Exit(INCOMPLETE)
