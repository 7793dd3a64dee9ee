"""``foveal push`` and ``foveal pull``: a store to the Hugging Face Hub and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.console import Json, counting, err, out, print_json
from foveal.units import size_text

if TYPE_CHECKING:
    from foveal.pipeline.share.hub import Moved

Public = Annotated[
    bool,
    typer.Option("--public", help="Make the repository public; without it, only you see it."),
]


def push(
    store: Annotated[str, typer.Argument(help="Folder of a store.")],
    address: Annotated[str, typer.Argument(help="hf://datasets/NAME/REPO, made if not there.")],
    public: Public = False,
    as_json: Json = False,
) -> None:
    """Share a store on the Hugging Face Hub, with a card of what it is and whose.

    What lies there already stays, so the same command goes on where it was broken off. Everything
    is compared with the hub's digests afterwards. Who you are: hf auth login, or HF_TOKEN.
    """
    from foveal.pipeline.share.stores import push_store, terms_of
    from foveal.storage.reader import open_store

    for warning in terms_of(open_store(store)):
        err.print(f"note: {warning}", markup=False)
    with counting("pushing") as advance:
        moved, warnings = push_store(store, address, public=public, advance=advance)
    tell(moved, as_json, warnings)


def pull(
    address: Annotated[str, typer.Argument(help="hf://datasets/NAME/REPO.")],
    folder: Annotated[Path, typer.Argument(help="Where the store shall lie.")],
    as_json: Json = False,
) -> None:
    """Fetch a store from the Hugging Face Hub and verify it; goes on where it was broken off."""
    from foveal.pipeline.share.stores import pull_store

    with counting("pulling") as advance:
        moved = pull_store(address, folder, advance)
    tell(moved, as_json)


def tell(moved: Moved, as_json: bool, warnings: list[str] | None = None) -> None:
    """What a transfer did."""
    if as_json:
        print_json({**vars(moved), "warnings": warnings or []})
        return
    removed = f", {moved.removed} removed there" if moved.removed else ""
    out.print(
        f"{moved.address}, {moved.folder}: {moved.files} files, all compared; {moved.moved} moved "
        f"({size_text(moved.moved_bytes)}){removed}",
        markup=False,
    )
