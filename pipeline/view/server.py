"""The server behind the page: how it starts, its links, and how it stops."""

from __future__ import annotations

import socket
import threading
import time
from urllib.parse import urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from foveal.errors import FovealError
from foveal.pipeline.view.answers import Answers
from foveal.pipeline.view.guard import Guard, Keys
from foveal.pipeline.view.pictures import warm_up
from foveal.storage.reader import Store

_STARTS_WITHIN_SECONDS = 10.0


class Viewer:
    """A server for one store, on this machine only.

    Parameters
    ----------
    store : Store
    port : int
        Port on 127.0.0.1; 0 takes a free one.
    framed : bool
        Whether a notebook on this machine may show the page inside its own.

    Raises
    ------
    FovealError
        The port is taken.
    """

    def __init__(self, store: Store, port: int = 0, *, framed: bool = False) -> None:
        self.store = store
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen()  # a browser that is faster than the server waits
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise FovealError(
                f"port {port} cannot be used ({error}); choose another, or 0 for any that is free"
            ) from None
        self.port: int = self._socket.getsockname()[1]
        self.keys = Keys()
        cookie = f"foveal-view-{self.port}"
        app = Starlette(
            routes=Answers(store, framed, cookie, self.keys.token).routes(),
            middleware=[Middleware(Guard, keys=self.keys, cookie=cookie, framed=framed)],
        )
        config = uvicorn.Config(
            app,
            log_level="critical",  # requests cut by Ctrl-C are no errors; `Answers` logs defects
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        # No daemon: Python cannot end well while a thread is importing.
        threading.Thread(target=warm_up).start()
        self._thread: threading.Thread | None = None

    def link(
        self, video: str | None = None, frame: int | None = None, *, once: bool = False
    ) -> str:
        """Make the link that opens the page.

        Parameters
        ----------
        video : str, optional
            Id of the video to begin with.
        frame : int, optional
            Frame to begin with.
        once : bool
            Whether it opens the page only a single time.
        """
        key = {"ticket": self.keys.ticket()} if once else {"token": self.keys.token}
        moment = {"video": video, "frame": frame}
        place = urlencode({name: value for name, value in moment.items() if value is not None})
        page = f"http://127.0.0.1:{self.port}/?{urlencode(key)}"
        return f"{page}#{place.replace('+', '%20')}" if place else page

    def run(self) -> None:
        """Serve until Ctrl-C."""
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Serve from a thread of this process; return when the server answers."""
        self._thread = threading.Thread(target=self.run, name="foveal-view", daemon=True)
        self._thread.start()
        patience = time.monotonic() + _STARTS_WITHIN_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > patience:
                raise FovealError(f"the viewer's server did not start on port {self.port}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop a server that `start` started."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STARTS_WITHIN_SECONDS)
        self._socket.close()
