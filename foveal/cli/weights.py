"""``foveal weights``: list, fetch, check and share the weights of networks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.console import INCOMPLETE, Json, counting, out, print_json, print_table
from foveal.cli.share import Public, tell
from foveal.units import size_text

if TYPE_CHECKING:
    from foveal.models.weights import WeightsStatus

weights = typer.Typer(
    help="Weights of networks: list, fetch, check and share their files.",
    no_args_is_help=True,
)


@weights.command("list")
def list_all(as_json: Json = False) -> None:
    """Show every registered file, its licence, and whether it is on this machine."""
    from foveal.models.weights import list_weights, weights_folder

    found = list_weights()
    _show(found, as_json)
    if not as_json:
        out.print(f"\nfolder: {weights_folder()} (FOVEAL_WEIGHTS names another)", markup=False)


@weights.command("get")
@weights.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="A name of `foveal weights list`, or a backbone: timm:NAME, …")
    ],
) -> None:
    """Download a registered file or a backbone, and compare its digest."""
    from foveal.models.weights import fetch as download

    library, _, repository = name.partition(":")
    if library == "huggingface":
        from foveal.models.features.huggingface_nets import fetch_huggingface

        out.print(str(fetch_huggingface(repository)), markup=False)
        return
    file = download(name)
    out.print(f"{file.path}\nsha256 {file.sha256}", markup=False)


@weights.command()
def check(as_json: Json = False) -> None:
    """Compare every file in the folder with its published digest."""
    from foveal.models.weights import check as compare

    found = compare()
    _show(found, as_json)
    if any(status.state == "wrong" for status in found):
        raise typer.Exit(INCOMPLETE)


@weights.command()
def push(
    run: Annotated[str, typer.Argument(help="Folder of a run of foveal train.")],
    address: Annotated[str, typer.Argument(help="hf://NAME/REPO, made if it does not exist.")],
    public: Public = False,
    as_json: Json = False,
) -> None:
    """Share a trained network: its best weights, settings and curves, with a card."""
    from foveal.pipeline.share.runs import push_run

    with counting("pushing") as advance:
        moved = push_run(run, address, public=public, advance=advance)
    tell(moved, as_json)


@weights.command()
def pull(
    address: Annotated[str, typer.Argument(help="hf://NAME/REPO.")],
    folder: Annotated[Path, typer.Argument(help="Folder for the run.")],
    as_json: Json = False,
) -> None:
    """Fetch a trained network; `foveal predict` takes the folder or the address."""
    from foveal.pipeline.share.runs import pull_run

    with counting("pulling") as advance:
        moved = pull_run(address, folder, advance)
    tell(moved, as_json)


def _show(found: list[WeightsStatus], as_json: bool) -> None:
    if as_json:
        print_json([asdict(status) for status in found])
        return
    print_table(
        "weights",
        ("name", "state", "size", "sha256", "licence", "file", "from"),
        [
            (
                status.weights.name,
                status.state,
                _size(status.size_bytes or status.weights.size_bytes),
                (status.sha256 or status.weights.sha256)[:12],
                status.weights.licence,
                status.path,
                status.weights.url,
            )
            for status in found
        ],
        numbers="size",
    )


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else size_text(size_bytes)
