"""``stepsize live``: runs and searches of a store in the browser, and orders to running trainings."""

from __future__ import annotations

import ipaddress
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from stepsize.cli.options import STORE, flag, option
from stepsize.cli.output import hint
from stepsize.errors import InputError

NAME = "live"
EXAMPLE = "stepsize live"
PORT = 8765


def command(
    store: Annotated[str, typer.Argument(metavar="STORE", help="Store: a path or a PostgreSQL URL.")] = STORE,
    *,
    port: Annotated[int, option("N", "Port; 0 takes a free one.")] = PORT,
    host: Annotated[str, option("NAME", "Address to listen on. Only the default is private.")] = "127.0.0.1",
    read_only: Annotated[bool, flag("--read-only", "Take no orders: for a shared screen.")] = False,
    token: Annotated[str | None, option("TEXT", "Token of the address. Default: a random one.")] = None,
    tls_cert: Annotated[Path | None, option("PATH", "Certificate (PEM): serve over TLS.")] = None,
    tls_key: Annotated[Path | None, option("PATH", "Key of the certificate.")] = None,
    no_open: Annotated[bool, flag("--no-open", "Print the address and open no browser.")] = False,
) -> None:
    """Open a page with the runs and searches of a store as they go on; Ctrl-C ends the page, not the runs."""
    if (tls_cert is None) != (tls_key is None):
        raise InputError("tls-key", tls_key, "must be given together with tls-cert")
    from stepsize.live import serve
    from stepsize.store import Store

    tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
    with Store.open(store, create=False) as opened:
        server = serve(opened, host=host, port=port, token=token, read_only=read_only, tls=tls)
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        if tls is None and not _is_private(host):
            hint("Without TLS, others on the network can read the token. Pass --tls-cert and --tls-key.")
        hint("Ctrl-C ends the page; training continues.")
        if not no_open and _has_screen():
            webbrowser.open(server.url)
        server.run()


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _has_screen() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
