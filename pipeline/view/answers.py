"""Answers to the requests of the page: what it may read from a store."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from importlib import resources
from typing import Any

import anyio.to_thread
import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from foveal.errors import FovealError, StoreUnreachable
from foveal.pipeline.view.catalogue import Catalogue, evaluation_state
from foveal.pipeline.view.guard import content_security_policy
from foveal.pipeline.view.manifest import manifest
from foveal.pipeline.view.opened import Changed, Latest, OpenVideos, Video
from foveal.pipeline.view.pictures import drawn, pack, scale_of, thumbnail
from foveal.pipeline.view.sound import Sound, byte_range
from foveal.pipeline.view.timelines import line, scores_of, windows
from foveal.storage.reader import Store

_LOG = logging.getLogger(__name__)
_SCRIPTS = ("net.js", "state.js", "list.js", "stage.js", "layers.js", "tracks.js", "player.js")
_PICTURES_KEPT_BYTES = 128 * 2**20
_FOR_THIS_VERSION = {"Cache-Control": "private, max-age=86400, immutable"}
_BYTES = "application/octet-stream"


class Wrong(FovealError):
    """A value of the query is missing or not allowed."""


class Answers:
    """Answers to the requests of the page; names and numbers of a store are sent as JSON or bytes.

    Parameters
    ----------
    store : Store
    framed : bool
        Whether a notebook shows the page.
    cookie : str
        Name of the cookie by which the page stays open.
    token : str
        Value of the cookie.
    """

    def __init__(self, store: Store, framed: bool, cookie: str, token: str) -> None:
        self._store, self._framed = store, framed
        self._cookie, self._token = cookie, token
        self._catalogue = Catalogue(store)
        self._videos = OpenVideos(store)
        self._kept: Latest[bytes] = Latest(_PICTURES_KEPT_BYTES, len)

    def page(self, request: Request) -> Response:
        """Answer with the page itself, which contains nothing of the store."""
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
        view = self._asked(request).view
        return Response(view.seconds.astype("<f8").tobytes(), media_type=_BYTES)

    def items(self, request: Request) -> Response:
        array, form = _text(request, "array"), _text(request, "form")
        start, stop = _number(request, "start"), _number(request, "stop")
        exact = request.query_params.get("exact", "1") == "1"
        video = self._asked(request)

        def make() -> bytes:
            _known(video, array)
            return pack(drawn(self._videos, video, array, form, start, stop, exact=exact))

        key = (video.view.video, video.version, array, form, start, stop, exact)
        return _content(self._kept.get(key, make))

    def scale(self, request: Request) -> Response:
        video = self._asked(request)
        array = _known(video, _text(request, "array"))
        low, high = scale_of(video, array)
        return JSONResponse({"low": float(low), "high": float(high)}, headers=_FOR_THIS_VERSION)

    def points(self, request: Request) -> Response:
        view = self._asked(request).view
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
        return _content(content)

    def line(self, request: Request) -> Response:
        video = self._asked(request)
        start, stop = _number(request, "start"), _number(request, "stop")
        track, array = _text(request, "track"), request.query_params.get("array", "")
        values = line(self._store, video, track, array, start, stop)
        return _content(values.astype("<f4").tobytes())

    def scores(self, request: Request) -> Response:
        video = self._asked(request)
        return JSONResponse(scores_of(video), headers=_FOR_THIS_VERSION)

    def windows(self, request: Request) -> Response:
        video = self._asked(request)
        return JSONResponse(windows(video, _text(request, "starts")), headers=_FOR_THIS_VERSION)

    def values(self, request: Request) -> Response:
        """Answer with the values of an array at a position in a frame."""
        video = self._asked(request)
        array = _known(video, _text(request, "array"))
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
        video = self._asked(request)
        sound = Sound(video, _text(request, "array"))
        about = {"rate_hz": sound.rate_hz, "start_seconds": sound.start_seconds}
        return JSONResponse(about, headers=_FOR_THIS_VERSION)

    def sound(self, request: Request) -> Response:
        video = self._asked(request)
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

    def _asked(self, request: Request) -> Video:
        return self._videos.at(_text(request, "video"), _text(request, "v"))

    def routes(self) -> list[Route]:
        """List all routes of the server."""
        answers = {
            "/": self.page,
            "/api/videos": self.catalogue,
            "/api/evaluation": self.evaluation,
            "/api/thumbnail": self.thumbnail,
            "/api/video": self.video,
            "/api/seconds": self.seconds,
            "/api/items": self.items,
            "/api/scale": self.scale,
            "/api/points": self.points,
            "/api/line": self.line,
            "/api/scores": self.scores,
            "/api/windows": self.windows,
            "/api/values": self.values,
            "/api/sound": self.sound,
            "/api/sound/about": self.sound_about,
        }
        return [Route(path, _threaded(answer)) for path, answer in answers.items()]


def _threaded(answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
    """An endpoint that works in a thread; errors of foveal become a sentence and a status."""

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


def _content(content: bytes) -> Response:
    return Response(content, media_type=_BYTES, headers=_FOR_THIS_VERSION)


def _known(video: Video, array: str) -> str:
    infos = video.view.infos
    if array not in infos:
        raise Wrong(f"there is no complete array {array!r}; there are {', '.join(infos)}")
    return array


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
        raise Wrong(f"{name} must be from 0 to 1, not {_text(request, name)!r}")
    return value


def _page() -> str:
    folder = resources.files("foveal.pipeline.view") / "templates"
    page = (folder / "page.html").read_text(encoding="utf-8")
    style = (folder / "view.css").read_text(encoding="utf-8")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return page.replace("%STYLE%", style).replace("%SCRIPT%", script)
