"""Access to the page: only with its link, only from this machine, and not from other web pages.

The server listens only on 127.0.0.1, and answers only requests

- whose ``Host`` header is one of its own names, which defeats DNS rebinding;
- of the methods GET and HEAD, which change nothing;
- with the token of the link, given as the query's ``token``, an ``Authorization`` header or the
  cookie that the page sets. A ticket in place of the token opens the page once: other accounts of
  the machine can see the command line that starts the browser.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOSTS = ("127.0.0.1", "localhost")

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
    """The token of a server, and tickets that open its page once.

    Attributes
    ----------
    token : str
        Secret part of the link.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self._tickets: set[str] = set()
        self._lock = threading.Lock()

    def ticket(self) -> str:
        """Make a new ticket."""
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            self._tickets.add(ticket)
        return ticket

    def opens(self, request: Request, cookie: str) -> bool:
        """Whether `request` has the token, maybe in the `cookie` of that name, or a new ticket."""
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
    """Middleware that checks every request, and limits in headers what the page may do.

    Parameters
    ----------
    app : ASGI application
        The application behind it.
    keys : Keys
    cookie : str
        Name of the cookie, which contains the port because cookies ignore ports.
    framed : bool
        Whether a notebook on this machine may show the page inside its own.
    """

    def __init__(self, app: ASGIApp, keys: Keys, cookie: str, framed: bool) -> None:
        self._app, self._keys, self._cookie = app, keys, cookie
        self._headers = {
            "Content-Security-Policy": content_security_policy((), framed),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        }

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
        if host.rpartition(":")[0] not in _HOSTS and host not in _HOSTS:
            return JSONResponse({"error": "this server answers on 127.0.0.1 only"}, 421)
        if request.method not in ("GET", "HEAD"):
            return JSONResponse({"error": "the page only reads"}, 405, {"Allow": "GET, HEAD"})
        if self._keys.opens(request, self._cookie):
            return None
        if request.url.path == "/":
            return HTMLResponse(_CLOSED, 403)
        return JSONResponse({"error": "the token of the link is missing or wrong"}, 403)


def content_security_policy(nonces: Iterable[str], framed: bool) -> str:
    """Allow the page its own scripts and styles by `nonces`, its own server, and nothing else.

    `framed` allows notebooks on this machine to show the page.
    """
    own = " ".join(f"'nonce-{nonce}'" for nonce in nonces) or "'none'"
    frames = _FRAMED_BY if framed else "'none'"
    return (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src blob: data:; "
        "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors {frames}"
    )


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())
