"""A page that is served in this process, and who asks it."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stepsize.live import serve
from stepsize.monitor.recorder import BLOCKS, KIND, POINTS
from stepsize.monitor.trace import Blocks
from stepsize.store import Store, WatchRecord, Writer

TOKEN = "a-token_of-the-tests"


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Asker:
    """Asks a server as a browser with the right cookie would, unless headers say otherwise."""

    def __init__(self, url: str, certificate: Path | None = None) -> None:
        self.url = url
        self.port = port = int(url.split(":")[2].partition("/")[0])
        self.headers = {"Cookie": f"stepsize-live-{port}={TOKEN}", "Host": f"127.0.0.1:{port}"}
        self.trusts = None if certificate is None else ssl.create_default_context(cafile=str(certificate))

    def connection(self, timeout: float = 30) -> http.client.HTTPConnection:
        """Return a new connection, over TLS if a certificate is trusted."""
        if self.trusts is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.trusts)

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str | None) -> Answer:
        """Ask once; a header that is None is left out."""
        mine = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection = self.connection()
        try:
            connection.putrequest(method, path, skip_host=True)
            for name, value in mine.items():
                if value is not None:
                    connection.putheader(name, value)
            data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            if "Content-Length" not in mine and method == "POST":
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()

    def order(self, run: str, verb: str, arguments: Any, **headers: str | None) -> Answer:
        """Send an order as the page does."""
        usual = {"Origin": self.url.partition("/?")[0], "Content-Type": "application/json"}
        body = {"run": run, "verb": verb, "arguments": arguments}
        return self.ask("/api/orders", "POST", body, **{**usual, **headers})

    @contextmanager
    def events(self, query: str = "", **headers: str) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """Give what a page hears: the mark and the content of each event."""
        connection = self.connection()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", f"/api/events{query}", headers={**self.headers, **named})
        try:
            yield _parsed(connection.getresponse())
        finally:
            connection.close()


def _parsed(answer: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    assert answer.status == 200
    mark = ""
    while line := answer.readline().decode():
        name, _, value = line.strip().partition(": ")
        if name == "id":
            mark = value
        elif name == "data":
            yield mark, json.loads(value)


@contextmanager
def served(path: Path, **options: Any) -> Iterator[Asker]:
    """Serve the page of a store in a thread."""
    with Store.open(path) as store:
        server = serve(store, token=TOKEN, **options)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            yield Asker(server.url, options["tls"][0] if "tls" in options else None)
        finally:
            server.close()
            thread.join(30)
            assert not thread.is_alive()


@contextmanager
def writing(path: Path, name: str = "net", *, control: bool = True, steps: int = 100) -> Iterator[Run]:
    """Write a watched run as its recorder does."""
    spec = {"what": "Net", "optimizer": "SGD", "steps": steps, "learning_rate_free": False, "mark": name}
    with Store.open(path) as store, store.begin(name, KIND, spec) as writer:
        yield Run(writer, control=control)


class Run:
    """A watched run that is written by hand."""

    def __init__(self, writer: Writer, *, control: bool) -> None:
        self._writer, self._control = writer, control
        self._written: list[Mapping[str, tuple[Any, Any]]] = []
        self.write({})

    def write(self, signals: Mapping[str, tuple[Any, Any]], *, instead: bool = False) -> None:
        """Add signals, or write the blocks of all so far in place of them."""
        arrays = {name: (np.asarray(s, np.int64), np.asarray(v, np.float64)) for name, (s, v) in signals.items()}
        self._written.append(arrays)
        steps = max((int(steps[-1]) + 1 for steps, _ in arrays.values()), default=0)
        state = WatchRecord(steps, datetime.now(UTC), control=self._control)
        written = (BLOCKS, self._whole()) if instead else (POINTS, arrays) if arrays else None
        self._writer.add_signals(state, written, instead=instead)

    def _whole(self) -> dict[str, Any]:
        blocks: dict[str, Blocks] = {}
        for arrays in self._written:
            for name, one in arrays.items():
                blocks.setdefault(name, Blocks()).extend(*one)
        return {name: one.to_arrays() for name, one in blocks.items()}

    def end(self) -> None:
        """Say that the run is done."""
        self._writer.finish("done")
