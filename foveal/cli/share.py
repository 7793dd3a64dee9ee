"""``foveal push`` and ``foveal pull``: share a store on the Hugging Face Hub, and fetch one."""

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
    address: Annotated[
        str, typer.Argument(help="hf://datasets/NAME/REPO, made if it does not exist.")
    ],
    public: Public = False,
    as_json: Json = False,
) -> None:
    """Share a store on the Hugging Face Hub, with a card that describes it and its terms.

    Only files that differ are sent, so the same command continues an interrupted transfer. All
    files are compared with the hub's digests afterwards. Account: hf auth login, or HF_TOKEN.
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
    folder: Annotated[Path, typer.Argument(help="Folder for the store.")],
    as_json: Json = False,
) -> None:
    """Fetch a store from the Hugging Face Hub and verify it; continue where it was interrupted."""
    from foveal.pipeline.share.stores import pull_store

    with counting("pulling") as advance:
        moved = pull_store(address, folder, advance)
    tell(moved, as_json)


def tell(moved: Moved, as_json: bool, warnings: list[str] | None = None) -> None:
    """Print what a transfer did: `moved`, and `warnings` in JSON."""
    if as_json:
        print_json({**vars(moved), "warnings": warnings or []})
        return
    removed = f", {moved.removed} removed there" if moved.removed else ""
    out.print(
        f"{moved.address}, {moved.folder}: {moved.files} files, all compared; {moved.moved} moved "
        f"({size_text(moved.moved_bytes)}){removed}",
        markup=False,
    )
