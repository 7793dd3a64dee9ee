"""The server behind the page: what it may ask of a store, and how the server starts and ends."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from importlib import resources
from typing import Any
from urllib.parse import urlencode

import anyio.to_thread
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from foveal.errors import FovealError, StoreUnreachable
from foveal.pipeline.view.catalogue import Catalogue, evaluation_state
from foveal.pipeline.view.guard import Guard, Keys, content_security_policy
from foveal.pipeline.view.manifest import manifest
from foveal.pipeline.view.opened import Changed, Latest, OpenVideos
from foveal.pipeline.view.pictures import drawn, pack, scale_of, thumbnail, warm_up
from foveal.pipeline.view.sound import Sound, byte_range
from foveal.pipeline.view.timelines import line, scores_of, windows
from foveal.storage.reader import Store

_LOG = logging.getLogger(__name__)
_SCRIPTS = ("net.js", "state.js", "list.js", "stage.js", "layers.js", "tracks.js", "player.js")
_PICTURES_KEPT_BYTES = 128 * 2**20
_STARTS_WITHIN_SECONDS = 10.0
_FOR_THIS_VERSION = {"Cache-Control": "private, max-age=86400, immutable"}
_BYTES = "application/octet-stream"


class Wrong(FovealError):
    """What was asked for is no number, or is missing."""


class Pages:
    """Answers to what the page asks; a store's names and numbers go out as JSON or bytes only.

    Parameters
    ----------
    store : Store
    framed : bool
        Whether a notebook shows the page.
    cookie : str
        Name of the cookie by which the page stays open.
    token : str
        What it holds.
    """

    def __init__(self, store: Store, framed: bool, cookie: str, token: str) -> None:
        self._store, self._framed = store, framed
        self._cookie, self._token = cookie, token
        self._catalogue = Catalogue(store)
        self._videos = OpenVideos(store)
        self._kept: Latest[bytes] = Latest(_PICTURES_KEPT_BYTES, len)

    def page(self, request: Request) -> Response:
        """The page itself, with nothing of the store in it."""
        nonce = secrets.token_urlsafe(16)
        headers = {"Content-Security-Policy": content_security_policy([nonce], self._framed)}
        answer = HTMLResponse(_page().replace("%NONCE%", nonce), headers=headers)
        answer.set_cookie(self._cookie, self._token, httponly=True, samesite="lax")
        return answer

    def catalogue(self, request: Request) -> Response:
        made = self._catalogue.read()
        if request.query_params.get("known") == made["version"]:
            return JSONResponse({"unchanged": True})
        return JSONResponse(made)

    def evaluation(self, request: Request) -> Response:
        return JSONResponse(evaluation_state(self._store))

    def thumbnail(self, request: Request) -> Response:
        name = _text(request, "video")
        video = self._videos.current(name)

        def make() -> bytes:
            return thumbnail(video) or b""

        content = self._kept.get(("thumbnail", name, video.version), make)
        if not content:
            return Response(status_code=204)
        return Response(content, media_type="image/jpeg")

    def video(self, request: Request) -> Response:
        video = self._videos.current(_text(request, "video"))
        if request.query_params.get("known") == video.version:
            return JSONResponse({"unchanged": True})
        return JSONResponse(manifest(video))

    def seconds(self, request: Request) -> Response:
        view = self._videos.at(_text(request, "video"), _text(request, "v")).view
        return Response(view.seconds.astype("<f8").tobytes(), media_type=_BYTES)

    def items(self, request: Request) -> Response:
        name, version = _text(request, "video"), _text(request, "v")
        array, form = _text(request, "array"), _text(request, "form")
        start, stop = _number(request, "start"), _number(request, "stop")
        exact = request.query_params.get("exact", "1") == "1"
        video = self._videos.at(name, version)

        def make() -> bytes:
            self._known(video.view.infos, array)
            return pack(drawn(self._videos, video, array, form, start, stop, exact=exact))

        content = self._kept.get((name, version, array, form, start, stop, exact), make)
        return Response(content, media_type=_BYTES, headers=_FOR_THIS_VERSION)

    def scale(self, request: Request) -> Response:
        video = self._videos.at(_text(request, "video"), _text(request, "v"))
        array = self._known(video.view.infos, _text(request, "array"))
        low, high = scale_of(video, array)
        return JSONResponse({"low": float(low), "high": float(high)}, headers=_FOR_THIS_VERSION)

    def points(self, request: Request) -> Response:
        view = self._videos.at(_text(request, "video"), _text(request, "v")).view
        points = view.points.get(_text(request, "stage"))
        if points is None:
            raise Wrong(f"video {view.video!r} has no points {_text(request, 'stage')!r}")
        start = min(_number(request, "start"), view.frames)
        stop = min(_number(request, "stop"), view.frames)
        rows = points.rows(start, max(start, stop))
        offset = points.offset[start : max(start, stop) + 1] - points.offset[start]
        content = (
            offset.astype("<i4").tobytes()
            + points.x[rows].astype("<f4").tobytes()
            + points.y[rows].astype("<f4").tobytes()
            + points.subject[rows].astype("<i2").tobytes()
        )
        return Response(content, media_type=_BYTES, headers=_FOR_THIS_VERSION)

    def line(self, request: Request) -> Response:
        video = self._videos.at(_text(request, "video"), _text(request, "v"))
        start, stop = _number(request, "start"), _number(request, "stop")
        track, array = _text(request, "track"), request.query_params.get("array", "")
        values = line(self._store, video, track, array, start, stop)
        return Response(
            values.astype("<f4").tobytes(), media_type=_BYTES, headers=_FOR_THIS_VERSION
        )

    def scores(self, request: Request) -> Response:
        video = self._videos.at(_text(request, "video"), _text(request, "v"))
        return JSONResponse(scores_of(video), headers=_FOR_THIS_VERSION)

    def windows(self, request: Request) -> Response:
        video = self._videos.at(_text(request, "video"), _text(request, "v"))
        return JSONResponse(windows(video, _text(request, "starts")), headers=_FOR_THIS_VERSION)

    def values(self, request: Request) -> Response:
        """What the arrays hold at a place of a frame, in physical values."""
        video = self._videos.at(_text(request, "video"), _text(request, "v"))
        array = self._known(video.view.infos, _text(request, "array"))
        item = _number(request, "item")
        part = self._videos.read(video, array, item, item + 1)
        shape = part.shape[1:]
        if not len(part) or len(shape) not in (2, 3):
            return JSONResponse({"values": []})
        row = min(shape[0] - 1, int(_share(request, "y") * shape[0]))
        column = min(shape[1] - 1, int(_share(request, "x") * shape[1]))
        found = np.atleast_1d(part[0, row, column]).astype(float)[:8]
        values = [float(each) if np.isfinite(each) else None for each in found]
        return JSONResponse({"row": row, "column": column, "values": values})

    def sound_about(self, request: Request) -> Response:
        video = self._videos.at(_text(request, "video"), _text(request, "v"))
        sound = Sound(video, _text(request, "array"))
        about = {"rate_hz": sound.rate_hz, "start_seconds": sound.start_seconds}
        return JSONResponse(about, headers=_FOR_THIS_VERSION)

    def sound(self, request: Request) -> Response:
        video = self._videos.at(_text(request, "video"), _text(request, "v"))
        sound = Sound(video, _text(request, "array"))
        headers = {"Accept-Ranges": "bytes"}
        asked = request.headers.get("range")
        start, stop, status = 0, sound.size_bytes, 200
        if asked is not None:
            found = byte_range(asked, sound.size_bytes)
            if found is None:
                headers["Content-Range"] = f"bytes */{sound.size_bytes}"
                return Response(status_code=416, headers=headers)
            (start, stop), status = found, 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{sound.size_bytes}"
        headers["Content-Length"] = str(stop - start)
        content = sound.content(start, stop)
        return StreamingResponse(content, status, headers, media_type="audio/wav")

    def _known(self, infos: Any, array: str) -> str:
        if array not in infos:
            raise Wrong(f"there is no complete array {array!r}; there are {', '.join(infos)}")
        return array

    def routes(self) -> list[Route]:
        """All there is."""
        return [
            Route("/", _threaded(self.page)),
            Route("/api/videos", _threaded(self.catalogue)),
            Route("/api/evaluation", _threaded(self.evaluation)),
            Route("/api/thumbnail", _threaded(self.thumbnail)),
            Route("/api/video", _threaded(self.video)),
            Route("/api/seconds", _threaded(self.seconds)),
            Route("/api/items", _threaded(self.items)),
            Route("/api/scale", _threaded(self.scale)),
            Route("/api/points", _threaded(self.points)),
            Route("/api/line", _threaded(self.line)),
            Route("/api/scores", _threaded(self.scores)),
            Route("/api/windows", _threaded(self.windows)),
            Route("/api/values", _threaded(self.values)),
            Route("/api/sound", _threaded(self.sound)),
            Route("/api/sound/about", _threaded(self.sound_about)),
        ]


def _threaded(answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
    """An endpoint whose work runs in a thread; what foveal refuses becomes a sentence."""

    async def endpoint(request: Request) -> Response:
        try:
            return await anyio.to_thread.run_sync(answer, request)
        except Changed as error:
            return JSONResponse({"error": str(error), "changed": True}, 409)
        except StoreUnreachable as error:
            return JSONResponse({"error": str(error)}, 503)
        except FovealError as error:
            return JSONResponse({"error": str(error)}, 404)
        except Exception:
            _LOG.exception("a defect in the viewer, at %s", request.url.path)
            return JSONResponse({"error": "a defect in the viewer; its terminal says more"}, 500)

    return endpoint


def _text(request: Request, name: str) -> str:
    value = request.query_params.get(name)
    if value is None:
        raise Wrong(f"the query lacks {name!r}")
    return value


def _number(request: Request, name: str) -> int:
    text = _text(request, name)
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Wrong(f"{name} must be a number from 0, not {text!r}")
    return int(text)


def _share(request: Request, name: str) -> float:
    try:
        value = float(_text(request, name))
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise Wrong(f"{name} must lie from 0 to 1, not {_text(request, name)!r}")
    return value


def _page() -> str:
    folder = resources.files("foveal.pipeline.view") / "templates"
    page = (folder / "page.html").read_text(encoding="utf-8")
    style = (folder / "view.css").read_text(encoding="utf-8")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return page.replace("%STYLE%", style).replace("%SCRIPT%", script)


class Viewer:
    """A server for one store, on this machine alone.

    Parameters
    ----------
    store : Store
    port : int
        0 takes a free one.
    framed : bool
        Whether a notebook on this machine may show the page inside its own.

    Raises
    ------
    FovealError
        Where the port is taken.
    """

    def __init__(self, store: Store, port: int = 0, *, framed: bool = False) -> None:
        self.store = store
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen()  # a browser that is quicker than the server waits
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise FovealError(
                f"port {port} cannot be used ({error}); choose another, or 0 for any that is free"
            ) from None
        self.port: int = self._socket.getsockname()[1]
        self.keys = Keys()
        cookie = f"foveal-view-{self.port}"
        app = Starlette(
            routes=Pages(store, framed, cookie, self.keys.token).routes(),
            middleware=[Middleware(Guard, keys=self.keys, cookie=cookie, framed=framed)],
        )
        config = uvicorn.Config(
            app,
            log_level="critical",  # what Ctrl-C cuts off is no error; defects are logged by us
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
        """The link that opens the page.

        Parameters
        ----------
        video : str, optional
        frame : int, optional
        once : bool
            Whether it opens the page a single time.
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
        """Serve from a thread of this process; returns once it answers."""
        self._thread = threading.Thread(target=self.run, name="foveal-view", daemon=True)
        self._thread.start()
        patience = time.monotonic() + _STARTS_WITHIN_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > patience:
                raise FovealError(f"the viewer's server did not start on port {self.port}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End a server that was started from a thread."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STARTS_WITHIN_SECONDS)
        self._socket.close()
