"""Who may look: whoever has the link, from this machine, and nobody by way of another page.

The server listens on 127.0.0.1 alone. Beyond that it answers only

- under its own names: the ``Host`` header of a page that had its name rebound to 127.0.0.1 is not
  among them;
- to GET and HEAD, which change nothing;
- with the token of the link, given as the query's ``token``, an ``Authorization`` header or the
  cookie that the page sets; or with a ticket, which opens the page once: other accounts of the
  machine see the command lines by which browsers are started.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Iterable, Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")

_FRAMED_BY = (
    "'self' http://localhost:* https://localhost:* http://127.0.0.1:* https://127.0.0.1:* "
    "vscode-webview:"
)

_CLOSED = """<!doctype html><html lang="en"><meta charset="utf-8"><title>foveal view</title>
<meta name="viewport" content="width=device-width"><body>
<h1>This page opens by its link</h1>
<p>Copy the whole link that <code>foveal view</code> printed, with its token, into this browser. If
the command was started again since, only its new link opens.</p></body></html>"""


class Keys:
    """The token of a server, and tickets that open its page once."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self._tickets: set[str] = set()
        self._lock = threading.Lock()

    def ticket(self) -> str:
        """A new ticket."""
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            self._tickets.add(ticket)
        return ticket

    def opens(self, request: Request, cookie: str) -> bool:
        """Whether a request carries the token, or a ticket that was not used before."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        offered = [request.query_params.get("token", ""), request.cookies.get(cookie, "")]
        if scheme.lower() == "token":
            offered.append(given)
        if any(_same(each, self.token) for each in offered):
            return True
        ticket = request.query_params.get("ticket", "")
        with self._lock:
            known = ticket in self._tickets
            self._tickets.discard(ticket)
        return known and request.url.path == "/"


class Guard:
    """Lets in whoever has the token, and tells browsers what the page may do.

    Parameters
    ----------
    app : ASGI application
    keys : Keys
    cookie : str
        Name of the cookie; cookies do not tell ports apart.
    framed : bool
        Whether a notebook on this machine may show the page inside its own.
    """

    def __init__(self, app: ASGIApp, keys: Keys, cookie: str, framed: bool) -> None:
        self._app, self._keys, self._cookie = app, keys, cookie
        self._headers = security_headers(framed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(request)
        if answer is None:
            await self._app(scope, receive, send_guarded)
        else:
            await answer(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "").lower()
        if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
            return JSONResponse({"error": "this server answers on 127.0.0.1 only"}, 421)
        if request.method not in ("GET", "HEAD"):
            return JSONResponse({"error": "the page only reads"}, 405, {"Allow": "GET, HEAD"})
        if self._keys.opens(request, self._cookie):
            return None
        if request.url.path == "/":
            return HTMLResponse(_CLOSED, 403)
        return JSONResponse({"error": "the token of the link is missing or wrong"}, 403)


def security_headers(framed: bool) -> Mapping[str, str]:
    """Headers of every answer."""
    return {
        "Content-Security-Policy": content_security_policy((), framed),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def content_security_policy(nonces: Iterable[str], framed: bool) -> str:
    """What the page may load: its own scripts and styles by nonce, its own server, nothing else."""
    own = " ".join(f"'nonce-{nonce}'" for nonce in nonces) or "'none'"
    frames = _FRAMED_BY if framed else "'none'"
    return (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src blob: data:; "
        "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors {frames}"
    )


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())
