"""``foveal clean`` removes what a store no longer needs; ``foveal diff`` compares two stores."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.console import INCOMPLETE, Json, out, print_json, print_table
from foveal.errors import StoreError
from foveal.units import size_text


def clean(
    store: Annotated[str, typer.Argument(help="Path or URL of the store.")],
    apply: Annotated[bool, typer.Option("--apply", help="Remove it, not only show it.")] = False,
    kept_logs: Annotated[int, typer.Option(min=0, help="Logs that stay, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """Show what may go from a store, and with --apply remove it.

    These are the abandoned work of builds that were broken off, complete stages that the recipe of
    the latest build does not name (never predictions and masks), and old logs.
    """
    from foveal.storage.clean import removable, remove
    from foveal.storage.location import Location
    from foveal.storage.root import check_format, store_lock

    location = Location(store, read_only=not apply)
    if check_format(location) is None:
        raise StoreError(f"there is no store at {store}")
    if apply:
        with store_lock(location):
            found = removable(location, kept_logs)
            remove(location, found)
            if any(one.kind == "unnamed" for one in found):
                from foveal.storage.index import update_index

                update_index(location)
    else:
        found = removable(location, kept_logs)
    whole = sum(one.size_bytes for one in found)
    if as_json:
        rows = [{**vars(one), "about": one.about} for one in found]
        print_json({"store": location.url, "removed": apply, "size_bytes": whole, "found": rows})
        return
    if found:
        print_table(
            "removed" if apply else "may go",
            ("kind", "video", "what", "size"),
            [(one.kind, one.video, one.about, size_text(one.size_bytes)) for one in found],
            numbers="size",
        )
    out.print(f"{len(found)} things, {size_text(whole)}")
    if found and not apply:
        out.print("nothing was removed; add --apply for that, while no build is at work")


def diff(
    a: Annotated[str, typer.Argument(help="Path or URL of a store.")],
    b: Annotated[str, typer.Argument(help="Path or URL of another.")],
    array: Annotated[
        list[str] | None,
        typer.Option(help="Only this array; flow_raft=flow_tvl1 for other names. Repeatable."),
    ] = None,
    video: Annotated[list[str] | None, typer.Option(help="Only this video. Repeatable.")] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Differences up to this are none, in the array's unit.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Compare two stores array by array: CPU against GPU, two versions, two methods.

    Exit status 3: something differs by more than the tolerance, in shape, or is in one store alone.
    """
    from foveal.storage.difference import compare_stores
    from foveal.storage.reader import open_store

    found = compare_stores(open_store(a), open_store(b), array or (), video or (), tolerance)
    if as_json:
        rows = [{**vars(one), "agrees": one.agrees} for one in found]
        print_json({"a": a, "b": b, "tolerance": tolerance, "arrays": rows})
    else:
        print_table(
            f"{a} against {b}",
            ("array", "videos", "largest", "mean", f"above {tolerance:g}", "worst", "else"),
            [
                (
                    one.array,
                    one.videos,
                    f"{one.largest:.4g}",
                    f"{one.mean:.4g}",
                    f"{one.above:.2%}",
                    one.worst,
                    _else(one.only_a, one.only_b, one.other_shapes),
                )
                for one in found
            ],
            numbers="videos largest mean",
        )
    if not all(one.agrees for one in found):
        raise typer.Exit(INCOMPLETE)


def _else(only_a: list[str], only_b: list[str], other_shapes: list[str]) -> str:
    told = []
    for videos, what in (
        (only_a, "only in the first"),
        (only_b, "only in the second"),
        (other_shapes, "of another shape"),
    ):
        if videos:
            some = ", ".join(videos[:3]) + (", …" if len(videos) > 3 else "")
            told.append(f"{len(videos)} {what} ({some})")
    return "; ".join(told)
