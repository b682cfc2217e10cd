"""The server of the page: what it answers, and how it is started."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from stepsize.errors import InputError, StepsizeError, StoreError
from stepsize.live.access import Gate, checked_token
from stepsize.live.feed import Feed, Page, panel_json
from stepsize.live.studies import StudyReader
from stepsize.store import Store
from stepsize.views import in_dark, live_chart, page_spec, vega_script

_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
_EVERY = 0.05  # seconds between two looks at what is new
_ALIVE = 15.0  # seconds after which a quiet connection gets a sign of life
_MOST_PAGES = 64  # connections at once


class LiveServer:
    """Serves the page of a store on one address; made by :func:`serve`.

    Attributes:
        url: Address with the token.
    """

    def __init__(
        self,
        store: Store,
        bound: socket.socket,
        host: str,
        token: str,
        tls: tuple[Path, Path] | None,
        *,
        read_only: bool,
    ) -> None:
        port = bound.getsockname()[1]
        self.url = f"http{'s' * (tls is not None)}://{_name_of(host)}:{port}/?token={token}"
        self._socket = bound
        gate = Gate(_app(store, read_only=read_only), token, port, host, tls is not None)
        certificate, key = (None, None) if tls is None else tls
        self._server = uvicorn.Server(
            uvicorn.Config(
                gate,
                access_log=False,  # addresses hold the token
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                limit_concurrency=_MOST_PAGES,
                timeout_graceful_shutdown=1,
                ssl_certfile=certificate,
                ssl_keyfile=key,
            )
        )

    def run(self) -> None:
        """Serve until Ctrl-C."""
        threading.Thread(target=_script, daemon=True).start()  # takes seconds, and the page wants it first
        self._server.run(sockets=[self._socket])

    def close(self) -> None:
        """Let the address go; ``run``, which another thread may be in, ends."""
        self._server.should_exit = True
        if not self._server.started:
            self._socket.close()


def serve(
    store: Store,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    read_only: bool = False,
    tls: tuple[Path, Path] | None = None,
) -> LiveServer:
    """Take the address of a page for ``store``; ``run`` of what is returned serves it.

    Args:
        store: Store that trainings and searches write.
        host: Address or name on which to listen; all addresses are shown by the name of this machine.
        port: Port; 0 takes a free one.
        token: What the address of the page must hold. Default: a random one.
        read_only: Whether no order is taken.
        tls: Files of the certificate and of its key.

    Raises:
        InputError: If the port is taken, the host is not of this machine, the token can be guessed, or the files of
            TLS are not a certificate and its key.
    """
    token = checked_token(token)
    if tls is not None:
        _check_tls(*tls)
    return LiveServer(store, _bound(host, port), host, token, tls, read_only=read_only)


def _check_tls(certificate: Path, key: Path) -> None:
    remedy = "Give the certificate and its key, without a password, as PEM"
    for name, file in (("tls-cert", certificate), ("tls-key", key)):
        if not file.is_file():
            raise InputError(name, str(file), "must be a file that exists", remedy)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        rule = f"must be a certificate and the key of it ({error})"
        raise InputError("tls-cert, tls-key", f"{certificate}, {key}", rule, remedy) from None


def _name_of(host: str) -> str:
    """Return the host as part of an address; of all addresses of this machine, its name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return socket.gethostname() if address.is_unspecified else f"[{host}]" if address.version == 6 else host


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port < 65_536:
        raise InputError("port", port, "must be between 0 and 65535", "0 takes a free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise InputError("host", host, f"must be a name or address of this machine ({error})") from None
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen()  # a browser that is opened before the server runs waits for it
    except OSError as error:
        made.close()
        rule = f"cannot be listened on ({error.strerror})"
        raise InputError("address", f"{host}:{port}", rule, "Use another port, or --port 0 for a free one") from None
    return made


@cache
def _script() -> bytes:
    return vega_script()


def _app(store: Store, *, read_only: bool) -> Starlette:
    handlers = _Handlers(store, read_only=read_only)
    routes = [Route(path, handlers.file) for path in _FILES]
    routes += [
        Route("/vega.js", handlers.vega),
        Route("/api/events", handlers.events),
        Route("/api/charts", handlers.charts),
        Route("/api/study", handlers.study),
        Route("/api/orders", handlers.order, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={StepsizeError: _refused, ClientDisconnect: _too_long})


class _Handlers:
    """What each path answers."""

    def __init__(self, store: Store, *, read_only: bool) -> None:
        self._store, self._read_only = store, read_only
        self._feed, self._studies = Feed(store), StudyReader(store)

    async def file(self, request: Request) -> Response:
        name, kind = _FILES[request.url.path]
        return Response(files("stepsize.live").joinpath("page", name).read_bytes(), media_type=kind)

    async def vega(self, request: Request) -> Response:  # noqa: ARG002  the signature of a route
        return Response(await run_in_threadpool(_script), media_type="text/javascript")

    async def events(self, request: Request) -> Response:
        names = await run_in_threadpool(self._feed.known, request.query_params.getlist("run"))
        page = Page(self._feed, names, _positions(request.headers.get("last-event-id", "")))
        head = {"store": self._store.where, "readOnly": self._read_only, "shown": names}
        return StreamingResponse(_stream(page, head, request), media_type="text/event-stream")

    async def charts(self, request: Request) -> Response:
        """Answer with the charts of runs, without points."""
        names = await run_in_threadpool(self._feed.known, request.query_params.getlist("run"))
        width, dark = _look(request)

        def drawn() -> list[dict[str, Any]]:
            panels = self._feed.panels(names)
            specs = [page_spec(live_chart(one), width, dark=dark) for one in panels]
            heads = [in_dark(panel_json(one)) if dark else panel_json(one) for one in panels]
            return [{**head, "spec": spec} for head, spec in zip(heads, specs, strict=True)]

        return _json({"panels": await run_in_threadpool(drawn)})

    async def study(self, request: Request) -> Response:
        """Answer with the present answer of a study, and its chart."""
        width, dark = _look(request)
        name = request.query_params.get("name", "")
        return _json(await run_in_threadpool(self._studies.read, name, width, dark=dark))

    async def order(self, request: Request) -> Response:
        """Send an order to a training."""
        if self._read_only:
            raise InputError("order", "one", "cannot be sent: this page is read-only")
        try:
            given = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise InputError("body", "other text", "must be JSON") from None
        names = {"run", "verb", "arguments"}
        if not isinstance(given, dict) or set(given) != names or not isinstance(given["run"], str):
            raise InputError("body", given, f"must hold {', '.join(sorted(names))} and nothing else")
        who = f"page at {request.client.host if request.client else 'unknown'}"
        number = await run_in_threadpool(self._store.send, given["run"], given["verb"], given["arguments"], who)
        return _json({"number": number})


def _look(request: Request) -> tuple[int, bool]:
    width = request.query_params.get("width", "640")
    if not (width.isascii() and width.isdecimal() and len(width) < 6):
        raise InputError("width", width, "must be a whole number of pixels")
    return int(width), request.query_params.get("dark") == "1"


def _positions(mark: str) -> list[int]:
    """Return what a page that connects again has; nothing if it does not say so."""
    parts = mark.split(",") if len(mark) < 2_000 else []
    return [int(one) for one in parts] if parts and all(one.isascii() and one.isdecimal() for one in parts) else []


async def _stream(page: Page, head: Mapping[str, Any], request: Request) -> AsyncIterator[str]:
    """Yield what is new, a few times per second; a store that fails is told, and asked again."""
    news: dict[str, Any] = {"page": dict(head)}
    quiet, trouble = 0.0, ""
    while not await request.is_disconnected():
        try:
            news |= await run_in_threadpool(page.news)
            news |= {"trouble": ""} if trouble else {}
            trouble = ""
        except StoreError as error:
            news |= {"trouble": str(error)} if str(error) != trouble else {}
            trouble = str(error)
        if news:
            yield f"id: {page.mark}\ndata: {_text(news)}\n\n"
        elif quiet >= _ALIVE:
            yield ":\n\n"
        quiet = 0.0 if news or quiet >= _ALIVE else quiet + _EVERY
        news = {}
        await asyncio.sleep(_EVERY)


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=_number)


def _number(value: Any) -> Any:
    return value.item()  # of numpy


def _json(value: Mapping[str, Any]) -> Response:
    return Response(_text(value), media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001  the signature of a handler
    status = 400 if isinstance(error, InputError) else 404 if isinstance(error, LookupError) else 503
    return JSONResponse({"error": str(error)}, status)


async def _too_long(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return JSONResponse({"error": "An order is shorter."}, 413)
