"""``foveal view``: play the videos of a store in the browser."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.console import Json, counting, out, print_json


def view(
    store: Annotated[str, typer.Argument(help="Path or URL of the store.")],
    video: Annotated[str | None, typer.Argument(help="Id of the video to begin with.")] = None,
    frame: Annotated[int | None, typer.Option(min=0, help="Frame to begin with.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser, or only print the link.")
    ] = True,
    rerun: Annotated[
        Path | None,
        typer.Option(help="Write VIDEO to this .rrd file for the rerun viewer instead."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Play a store's videos in the browser, with every layer and timeline; Ctrl-C stops it.

    The page is served on 127.0.0.1, and only its link opens it.
    """
    from foveal.errors import FovealError
    from foveal.storage.reader import open_store

    opened = open_store(store)
    if video is not None:
        opened.marks(video)
    if rerun is not None:
        from foveal.pipeline.view.rerun_file import write_rerun

        if video is None:
            raise FovealError(
                f"--rerun writes one video: foveal view {store} VIDEO --rerun {rerun}"
            )
        name = video
        with counting("writing") as advance:
            logged = write_rerun(opened, name, rerun, lambda done, of: advance(name, done, of))
        if as_json:
            print_json({"store": store, "video": video, "rerun": str(rerun), "logged": logged})
        else:
            out.print(f"{rerun}: {', '.join(logged)}; open it with: rerun {rerun}", markup=False)
        return
    from foveal.pipeline.view.server import Viewer

    viewer = Viewer(opened, port)
    link = viewer.link(video, frame)
    if as_json:
        print_json({"store": store, "link": link, "port": viewer.port})
    else:
        out.print(f"{link}\nOnly this link opens the page. Ctrl-C stops the server.", markup=False)
    sys.stdout.flush()  # readers of a pipe wait for the link
    if browser:
        _open_browser(viewer.link(video, frame, once=True))
    with suppress(KeyboardInterrupt):
        viewer.run()


def _open_browser(link: str) -> None:
    """Open the page from a thread, as some browsers block; having no browser is no error."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()
