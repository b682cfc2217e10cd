"""Who may see and steer: a token, the host that was asked, the page that asks, and how much it may send."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepsize.errors import InputError

MOST_BYTES = 4_096  # of the body of a request: an order is some hundred
_MOST_URL = 16_384  # bytes after "?": the names of the runs that are shown
_LEAST_TOKEN = 16  # characters
_SLOW = 0.1  # seconds that a wrong token takes, one after the other
_WAITING = 20  # wrong tokens that wait for that; more are refused at once
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def checked_token(token: str | None) -> str:
    """Return the token, a random one if none is given; one that can be guessed is refused."""
    if token is None:
        return secrets.token_urlsafe(32)
    fits = token.isascii() and token.replace("-", "").replace("_", "").isalnum()
    if len(token) < _LEAST_TOKEN or not fits:
        rule = f"must be at least {_LEAST_TOKEN} letters, digits, '-' or '_'"
        raise InputError("token", "•" * len(token), rule, "Leave it out: a random one is made")
    return token


@dataclass(eq=False)
class Gate:
    """Lets a request through to ``app`` if it has the token and comes from the page itself.

    The token in the address of the first page becomes a cookie that no script can read and no other site can send.
    Wrong tokens are answered one after the other; the right one never waits.
    """

    app: ASGIApp
    token: str
    port: int  # part of the cookie's name: servers on one host share their cookies
    host: str = "127.0.0.1"
    secure: bool = False  # whether the server speaks TLS
    _slow: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _waiting: int = field(default=0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or give it to the app."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)  # the start and the end of the server
            return
        answer = await self._answer(Request(scope))
        if answer is None:
            await self.app(scope, _bounded(receive), _protected(send))
        else:
            await answer(scope, receive, _protected(send))

    async def _answer(self, request: Request) -> Response | None:
        """Return the answer to a request, None if it may pass."""
        if (refused := self._refusal(request)) is not None:
            status, text = refused
            return PlainTextResponse(text, status)
        name = f"stepsize-live-{self.port}"
        if request.scope["path"] == "/" and self._right(request.query_params.get("token", "")):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(name, self.token, httponly=True, samesite="strict", secure=self.secure)
            return answer
        return None if self._right(request.cookies.get(name, "")) else await self._refused_slowly()

    def _refusal(self, request: Request) -> tuple[int, str] | None:
        """Return status and text of what is refused whatever token comes with it."""
        headers = request.headers
        if not self._is_ours(headers.get("host", "")):
            return 421, "This server does not answer under that name."
        if len(request.scope["query_string"]) > _MOST_URL:
            return 414, "The address is too long."
        changes = request.method not in ("GET", "HEAD")
        origin = f"{'https' if self.secure else 'http'}://{headers['host']}"
        if headers.get("origin", None if changes else origin) != origin:
            return 403, "Only the page itself may ask."
        # A link on another site may lead to the first page, with the token.
        elsewhere = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if elsewhere and (changes or request.scope["path"] != "/"):
            return 403, "Only the page itself may ask."
        if changes and headers.get("content-type", "").partition(";")[0] != "application/json":
            return 415, "An order is JSON."
        if int(size if (size := headers.get("content-length", "0")).isdecimal() else MOST_BYTES + 1) > MOST_BYTES:
            return 413, f"An order has at most {MOST_BYTES:,} bytes."
        return None

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header names this machine: a name of another site that resolves to it does not."""
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.lower() in {"localhost", self.host.lower(), socket.gethostname().lower()}
        return True

    def _right(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.token.encode())

    async def _refused_slowly(self) -> Response:
        if self._waiting >= _WAITING:
            return PlainTextResponse("Too many wrong tokens.", 429)
        self._waiting += 1
        try:
            async with self._slow:
                await asyncio.sleep(_SLOW)
        finally:
            self._waiting -= 1
        text = "The token is missing or wrong. Open the address that `stepsize live` printed."
        return PlainTextResponse(text, 401)


def _bounded(receive: Receive) -> Receive:
    """Return ``receive`` that ends a request whose body is too long, whatever length it announced."""
    taken = 0

    async def receive_some() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return {"type": "http.disconnect"} if taken > MOST_BYTES else message

    return receive_some


def _protected(send: Send) -> Send:
    """Return ``send`` that adds the headers of every answer."""

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return send_more
