"""``foveal status``: show the progress of builds, from any machine."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from foveal.cli.console import Json, out, print_json, print_table
from foveal.errors import StoreError
from foveal.units import time_text

_EVERY_SECONDS = 5.0


def status(
    store: Annotated[str, typer.Argument(help="Path or URL of the store.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every 5 s.")] = False,
    as_json: Json = False,
) -> None:
    """Show who is building a store, how far they are, how fast, and what is left.

    It works from any machine that sees the store, for any build of it. With --watch it ends when
    nobody is at work any more.
    """
    from foveal.pipeline.build.status import build_status
    from foveal.storage.location import Location
    from foveal.storage.root import check_format

    location = Location(store, read_only=True)
    if check_format(location) is None:
        raise StoreError(f"there is no store at {store}; `foveal build` makes one")
    while True:
        values = build_status(location)
        if as_json:
            print_json({"store": location.url, **values})
        else:
            _show(location.url, values)
        if not watch or not values["processes"]:
            return
        time.sleep(_EVERY_SECONDS)
        if not as_json:
            out.rule()


def _show(url: str, values: dict[str, Any]) -> None:
    for one in values["processes"]:
        since = time_text(one["running_seconds"])
        out.print(f"process {one['pid']} on {one['host']}: {one['doing']}, for {since}")
    if not values["processes"]:
        last = values["last"]
        ended = ""
        if last is not None:
            how = last.get("how") or f"broke off after “{last['event']}”"
            ended = f"; the last build {how} ({last.get('at')})"
        out.print(f"nobody is at work on {url}{ended}", markup=False)
    counts = dict(values["videos"])
    whole = counts.pop("all")
    told = [f"{count} {name}" for name, count in counts.items()]
    if values["at_work"]:
        told.append(f"{len(values['at_work'])} at work")
    out.print(f"{whole} videos: {', '.join(told) or 'none'}")
    if values["at_work"]:
        print_table(
            "at work",
            ("video", "frames", "of", "frames/s", "slowest", "in"),
            [
                (
                    video,
                    one["frames"],
                    one["expected"],
                    f"{one['frames'] / max(one['seconds'], 0.1):.1f}",
                    one["slowest"],
                    one["process"],
                )
                for video, one in sorted(values["at_work"].items())
            ],
            numbers="frames of frames/s",
        )
    if values["shares"]:
        rates = values["frames_per_second"]
        told = []
        for name, share in values["shares"].items():
            alone = f" ({rates[name]:.0f} frames/s alone)" if name in rates else ""
            told.append(f"{name} {share:.0%}{alone}")
        out.print(f"time goes to: {', '.join(told)}")
    if values["left_seconds"] is not None:
        out.print(f"left: about {time_text(values['left_seconds'])}")
