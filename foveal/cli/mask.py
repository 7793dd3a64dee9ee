"""``foveal mask``: store which frames an evaluation counts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.console import ROWS, Json, out, print_json, print_table


def mask(
    store: Annotated[str, typer.Argument(help="Path or URL of the store.")],
    frame_list: Annotated[Path, typer.Argument(help="CSV video,frame,mask at 30 Hz.")],
    name: Annotated[str, typer.Option(help="Name of the array: mask_NAME.")] = "meta",
    as_json: Json = False,
) -> None:
    """Store a list of frames (LEDOV-Meta, DIEM-Meta) as a mask per video."""
    from foveal.pipeline.learn.masks import attach_masks

    counted = attach_masks(store, frame_list, name)
    if as_json:
        print_json({"store": store, "array": f"mask_{name}", "frames_counted": counted})
        return
    rows = list(counted.items())[:ROWS]
    print_table(f"mask_{name}", ("video", "frames that count"), rows, numbers="frames that count")
    out.print(f"{len(counted)} videos, {sum(counted.values())} frames count")
