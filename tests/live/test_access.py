"""Who may see and steer: nobody without the token, no other site, and nobody with a giant or a strange request."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.live.serving import TOKEN, Asker, served, writing

from stepsize.errors import InputError
from stepsize.live import serve
from stepsize.store import Store

PATHS = ("/", "/page.js", "/page.css", "/vega.js", "/api/events", "/api/charts", "/api/study?name=net", "/nothing")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live") / "runs.db"


@pytest.fixture(scope="module")
def page(path: Path) -> Iterator[Asker]:
    """A page whose store has a run ``net`` that takes orders."""
    with writing(path), served(path) as asker:
        yield asker


def orders(path: Path) -> list[str]:
    with Store.open(path) as store:
        return [order.verb for order in store.orders("net")]


@pytest.mark.parametrize("asked", PATHS)
def test_nothing_is_shown_without_the_token(page: Asker, asked: str) -> None:
    for cookie in (None, f"stepsize-live-{page.port}=wrong", f"stepsize-live-1={TOKEN}"):
        answer = page.ask(asked, Cookie=cookie)
        assert (answer.status, "net" in answer.text) == (401, False)
    assert page.ask(f"{asked}{'&' if '?' in asked else '?'}token=wrong", Cookie=None).status == 401


def test_the_token_of_the_address_becomes_a_cookie_that_no_script_reads_and_no_other_site_sends(page: Asker) -> None:
    answer = page.ask(f"/?token={TOKEN}", Cookie=None)

    assert (answer.status, answer.headers["location"], answer.text) == (303, "/", "")
    cookie, *flags = answer.headers["set-cookie"].split("; ")
    assert {"httponly", "samesite=strict", "path=/"} == {flag.lower() for flag in flags}
    assert page.ask("/", Cookie=cookie).status == 200


def test_the_page_may_run_its_own_scripts_only_and_is_in_no_frame(page: Asker) -> None:
    for asked in ("/", "/api/charts", "/nothing"):
        headers = page.ask(asked).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    html = page.ask("/").text
    assert "<script>" not in html
    assert "style=" not in html
    assert "http" not in html


def test_an_order_of_the_page_is_sent(page: Asker, path: Path) -> None:
    before = orders(path)

    answer = page.order("net", "scale", {"factor": 0.5})

    assert answer.json == {"number": len(before) + 1}
    with Store.open(path) as store:
        order = store.orders("net")[-1]
    assert (order.verb, order.arguments["factor"], order.who) == ("scale", 0.5, "page at 127.0.0.1")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (403, {"Origin": "https://evil.example"}),
        (403, {"Origin": "null"}),
        (403, {"Origin": None}),
        (403, {"Sec_Fetch_Site": "cross-site"}),
        (403, {"Sec_Fetch_Site": "same-site"}),
        (415, {"Content_Type": "text/plain"}),
        (415, {"Content_Type": None}),
        (421, {"Host": "evil.example"}),
        (421, {"Host": "127.0.0.1.evil.example:80"}),
        (421, {"Host": ""}),
        (401, {"Cookie": None}),
    ],
    ids=str,
)
def test_an_order_of_another_page_is_not_sent(
    page: Asker, path: Path, status: int, headers: dict[str, str | None]
) -> None:
    before = orders(path)

    assert page.order("net", "stop", {}, **headers).status == status

    assert orders(path) == before


@pytest.mark.parametrize("asked", ["/api/events", "/api/charts", "/"])
def test_another_site_reads_nothing(page: Asker, asked: str) -> None:
    assert page.ask(asked, Origin="https://evil.example").status == 403
    assert page.ask(asked, Host="evil.example").status == 421
    assert page.ask("/api/charts", Sec_Fetch_Site="cross-site").status == 403
    assert page.ask("/api/charts", Host=f"localhost:{page.port}", Origin=f"http://localhost:{page.port}").status == 200


def test_giant_orders_are_refused_whatever_length_they_announce(page: Asker, path: Path) -> None:
    before, giant = orders(path), "x" * 10_000_000
    sent = {"Origin": f"http://127.0.0.1:{page.port}", "Content_Type": "application/json"}

    assert page.order("net", "stop", {}, Content_Length="4097").status == 413
    assert page.order("net", "stop", {}, Content_Length="-1").status in (400, 413)
    with suppress(OSError):  # the server may hang up before it has heard everything
        assert page.order(giant, "stop", {}).status == 413
    chunk = b"%x\r\n%s\r\n" % (8_000, b" " * 8_000)
    with suppress(OSError):
        answer = page.ask("/api/orders", "POST", chunk * 100 + b"0\r\n\r\n", Transfer_Encoding="chunked", **sent)
        assert answer.status in (400, 413)
    assert page.ask(f"/api/events?run={giant[:30_000]}").status == 414
    assert page.ask("/").status == 200
    assert orders(path) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 4_000,
        b"\"__import__('os')\"",
        b'{"run": "net", "verb": "stop"}',
        b'{"run": ["net"], "verb": "stop", "arguments": {}}',
        b'{"run": "net", "verb": "stop", "arguments": {}, "who": "somebody else"}',
        b'{"run": "net", "verb": ["stop"], "arguments": {}}',
        b'{"run": "net", "verb": "__init__", "arguments": {}}',
        b'{"run": "net", "verb": "scale", "arguments": {"factor": 11}}',
        b'{"run": "net", "verb": "scale", "arguments": {"factor": NaN}}',
        b'{"run": "net", "verb": "scale", "arguments": {"factor": "0.5"}}',
        b'{"run": "net", "verb": "scale", "arguments": {"factor": 1, "code": "1"}}',
        b'{"run": "net", "verb": "cooldown", "arguments": {"steps": -1}}',
        b'\xff\xfe{"run"',
    ],
    ids=lambda body: body[:80].decode("latin-1"),
)
def test_what_is_no_order_is_refused_with_its_rule_and_changes_nothing(page: Asker, path: Path, body: bytes) -> None:
    before = orders(path)
    sent = {"Origin": f"http://127.0.0.1:{page.port}", "Content_Type": "application/json"}

    answer = page.ask("/api/orders", "POST", body, **sent)

    assert answer.status == 400
    assert "must" in answer.json["error"] or "is not" in answer.json["error"]
    assert orders(path) == before


def test_an_order_for_a_run_that_does_not_exist_is_refused(page: Asker) -> None:
    answer = page.order("<script>alert(1)</script>", "stop", {})
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")


def test_a_page_that_is_read_only_sends_no_order(path: Path, page: Asker) -> None:
    before = orders(path)
    with served(path, read_only=True) as shared:
        answer = shared.order("net", "stop", {})
        with shared.events() as heard:
            assert next(heard)[1]["page"]["readOnly"]
    assert (answer.status, "read-only" in answer.text) == (400, True)
    assert orders(path) == before


def test_a_thousand_wrong_tokens_are_slowed_down_and_the_right_one_is_not(page: Asker) -> None:
    begun, waits = time.monotonic(), []
    done = threading.Event()

    def right() -> None:
        while not done.is_set():
            asked = time.monotonic()
            assert page.ask("/page.css").status == 200
            waits.append(time.monotonic() - asked)
            time.sleep(0.05)

    with ThreadPoolExecutor(31) as pool:
        watcher = pool.submit(right)
        tried = pool.map(lambda n: page.ask(f"/?token=wrong-token-{n:05}", Cookie=None).status, range(1_000))
        counts = Counter(tried)
        took = time.monotonic() - begun
        done.set()
        watcher.result()
    assert set(counts) == {401, 429}
    assert counts[401] <= 10 * took + 20  # ten a second
    assert counts[429] > 500
    assert sorted(waits)[len(waits) // 2] < 1.0


def test_a_port_that_is_taken_is_said(path: Path, page: Asker) -> None:
    with Store.open(path) as store, pytest.raises(InputError, match=f"127.0.0.1:{page.port}.*--port 0"):
        serve(store, port=page.port)


def test_a_random_token_differs_each_time(path: Path) -> None:
    with Store.open(path) as store:
        servers = [serve(store) for _ in range(3)]
        for server in servers:
            server.close()
    urls = {server.url.partition("token=")[2] for server in servers}
    assert len(urls) == 3
    assert all(len(token) >= 40 for token in urls)
    assert json.dumps(sorted(urls)).isascii()
