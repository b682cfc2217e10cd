"""Who may see and steer: a token, the host that was asked, the page that asks, and how much it may send."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from stepsize.errors import InputError

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

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

    app: App
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
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"][:_MOST_URL].decode("latin-1")
        given = parse_qs(query).get("token", [])
        if (refused := self._refusal(scope, headers)) is not None:
            await _answer(send, *refused)
        elif given and scope["path"] == "/" and self._right(given[0]):
            await _answer(send, 303, "", location="/", **{"set-cookie": self._cookie()})
        elif self._right(self._of_cookie(headers)):
            await self.app(scope, _bounded(receive), _protected(send))
        else:
            await self._refuse_slowly(send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Return status and text of what is refused whatever token comes with it."""
        if not self._is_ours(headers.get("host", "")):
            return 421, "This server does not answer under that name."
        if len(scope["query_string"]) > _MOST_URL:
            return 414, "The address is too long."
        changes = scope["method"] not in ("GET", "HEAD")
        origin = f"{'https' if self.secure else 'http'}://{headers['host']}"
        if headers.get("origin", None if changes else origin) != origin:
            return 403, "Only the page itself may ask."
        # A link on another site may lead to the first page, with the token.
        elsewhere = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if elsewhere and (changes or scope["path"] != "/"):
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

    @property
    def _name(self) -> str:
        return f"stepsize-live-{self.port}"

    def _cookie(self) -> str:
        return f"{self._name}={self.token}; HttpOnly; SameSite=Strict; Path=/{'; Secure' * self.secure}"

    def _of_cookie(self, headers: dict[str, str]) -> str:
        pairs = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
        return next((value for name, _, value in pairs if name == self._name), "")

    async def _refuse_slowly(self, send: Send) -> None:
        if self._waiting >= _WAITING:
            await _answer(send, 429, "Too many wrong tokens.")
            return
        self._waiting += 1
        try:
            async with self._slow:
                await asyncio.sleep(_SLOW)
        finally:
            self._waiting -= 1
        await _answer(send, 401, "The token is missing or wrong. Open the address that `stepsize live` printed.")


async def _answer(send: Send, status: int, text: str, **headers: str) -> None:
    every = {"content-type": "text/plain; charset=utf-8", **_HEADERS, **headers}
    body = text.encode()
    raw = [(name.encode(), value.encode()) for name, value in every.items()]
    start = {"type": "http.response.start", "status": status, "headers": [*raw, (b"content-length", b"%d" % len(body))]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


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
            more = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return send_more
