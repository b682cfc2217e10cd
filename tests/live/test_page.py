"""The page in a browser: it follows a training of another process, steers it, and is one that everybody can use."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from tests.docs.chromium import Tab, chromium, opened
from tests.live.serving import served, writing

from stepsize.store import ProgressRecord, Store

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no chromium on this machine (Debian: apt-get install chromium)"),
    pytest.mark.timeout(300),
]

TRAINING = Path(__file__).with_name("steered_run.py")
LIVE = "from stepsize.cli import main; main(['live', *__import__('sys').argv[1:]])"
PATIENCE = 60.0  # seconds on a busy machine
MARKUP = "net <img src=x onerror=document.title='owned'><b>"


class Program:
    """A program that runs beside the test, and what it has printed."""

    def __init__(self, out: Path, *command: str) -> None:
        self._out, self._read = out, 0
        with out.open("w", encoding="utf-8") as file, out.with_suffix(".err").open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen([sys.executable, *command], stdout=file, stderr=errors)

    def line(self) -> str:
        """Return the next line, as soon as it is there."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            rest = self._out.read_text(encoding="utf-8")[self._read :]
            line, whole, _ = rest.partition("\n")
            if whole:
                self._read += len(line) + 1
                return line
            assert self.process.poll() is None, self._out.with_suffix(".err").read_text(encoding="utf-8")
            time.sleep(0.05)
        raise AssertionError(f"{self._out} has no further line")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def program(out: Path, *command: str) -> Iterator[Program]:
    """Start a program and end it afterwards."""
    started = Program(out, *command)
    try:
        yield started
    finally:
        started.end()


@contextmanager
def live(path: Path) -> Iterator[str]:
    """Start ``stepsize live`` and give the address that it printed."""
    with program(path.with_name("live.out"), "-c", LIVE, str(path), "--no-open", "--port", "0") as server:
        yield server.line()


def training(path: Path, name: str, steps: int = 100_000, pause: float = 0.02) -> AbstractContextManager[Program]:
    out = path.with_name(f"{name}-{time.monotonic_ns()}.out")
    return program(out, str(TRAINING), str(path), name, str(steps), str(pause))


_CYCLE = 16  # measurements in the time in which the points of a run are replaced by blocks


def shown(tab: Tab, expression: str, fits: Callable[[Any], bool] = bool) -> Any:
    """Return the value of an expression in the page as soon as it fits."""
    end = time.monotonic() + PATIENCE
    value = None
    while time.monotonic() < end:
        if fits(value := tab.ask(expression)):
            return value
        time.sleep(0.1)
    raise AssertionError(f"{expression} stayed {value!r}")


def text(tab: Tab, name: str) -> str:
    found: str = tab.ask(f"document.getElementById('{name}').textContent")
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three runs, one of them with markup in its name."""
    path = tmp_path_factory.mktemp("store") / "runs.db"
    steps = np.arange(300)
    for place, name in enumerate(("first", "second", MARKUP)):
        with writing(path, name, steps=300) as run:
            loss = np.exp(-steps / 100) + 0.1 * (place + 1)
            signals = {"loss": loss, "val_loss": loss + 0.1, "lr/0": 0.1 * loss, "lr/1": 0.2 * loss}
            run.write({name: (steps, values) for name, values in signals.items()})
            run.end()
    return path


@pytest.fixture(scope="module")
def address(path: Path) -> Iterator[str]:
    with served(path) as page:
        yield page.url


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with opened(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


def visit(tab: Tab, address: str, *runs: str, width: int = 1280, scheme: str = "light") -> None:
    """Open the page, wait for its charts, and forget what was reported before."""
    tab.open("about:blank", width=width)  # what the last page still asks for is not ours
    tab.events.clear()
    tab.open(address, width=width, features={"prefers-color-scheme": scheme})
    if runs:
        shown(tab, "document.querySelectorAll('#runs li').length")
        tab.ask(f"location.hash = String(new URLSearchParams({json.dumps([['run', run] for run in runs])}))")
    shown(tab, f"document.querySelectorAll('.plot canvas').length >= 2 && {len(runs) or 1}")


@pytest.mark.slow
def test_a_training_of_another_process_is_followed_killed_and_started_again(tab: Tab, tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    with training(store, "net") as first:
        first.line()
        with live(store) as url:
            visit(tab, url)
            loss = "document.getElementById('run-facts').textContent.match(/loss ([^ ]+)/)?.[1]"
            before = shown(tab, loss, lambda value: value not in (None, "–"))
            drawn = shown(tab, "document.querySelector('.plot canvas').toDataURL()")
            shown(tab, loss, lambda value: value != before)
            shown(tab, "document.querySelector('.plot canvas').toDataURL()", lambda value: value != drawn)
            assert text(tab, "run-name") == "net"
            assert text(tab, "link") == "live"
            first.end()
            shown(tab, "document.getElementById('run-facts').textContent", lambda value: "interrupted" in value)
            with training(store, "net"):
                shown(
                    tab,
                    "[...document.querySelectorAll('#runs li')].map((li) => li.dataset.name).join()",
                    "net-2,net".__eq__,
                )
                shown(tab, "document.querySelector('#runs small').textContent", lambda value: "running" in value)
            assert tab.complaints() == []


@pytest.mark.slow
def test_the_rate_is_halved_by_a_click_and_the_next_update_uses_it(tab: Tab, tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    with training(store, "net") as trained:
        trained.line()
        with live(store) as url:
            _halve(tab, url, store, trained)


def _halve(tab: Tab, url: str, store: Path, trained: Program) -> None:
    visit(tab, url)
    shown(tab, "!document.getElementById('controls').hidden")
    tab.ask("document.querySelector('[data-factor=\"0.5\"]').click()")
    shown(tab, "document.getElementById('reply').textContent", lambda value: "Order 1 is sent" in value)
    shown(tab, "document.getElementById('journal').textContent", lambda value: "applied at step" in value)
    with Store.open(store) as opened_store:
        [order] = opened_store.orders("net")
    assert (order.state, order.arguments["factor"]) == ("applied", 0.5)
    assert order.step is not None
    rates = {}
    while order.step not in rates:
        step, first, second, _ = trained.line().split()
        rates[int(step)] = (float(first), float(second))
    before, after = rates[order.step - 1], rates[order.step]
    assert after == pytest.approx([rate / 2 for rate in before], rel=1e-3)  # beside the schedule's own small step
    tab.ask("document.getElementById('factor').value = 20")
    tab.ask("document.querySelector('#scale-form button').click()")
    shown(tab, "document.getElementById('confirm').open")
    assert "more than a factor of 10" in text(tab, "confirm-text")
    tab.ask("document.querySelector('#confirm [value=no]').click()")
    shown(tab, "!document.getElementById('confirm').open")
    with Store.open(store) as opened_store:
        assert len(opened_store.orders("net")) == 1
    assert tab.complaints() == []


def test_names_with_markup_are_text_and_nothing_is_loaded_from_elsewhere(tab: Tab, address: str) -> None:
    visit(tab, address, MARKUP)

    shown(tab, "document.getElementById('run-name').textContent", MARKUP.__eq__)
    assert tab.ask("document.querySelectorAll('main img, nav img, nav li b b').length") == 0
    assert tab.ask("document.title") == "stepsize live"
    assert {urlsplit(asked).netloc for asked in tab.requests() if asked.startswith("http")} == {
        urlsplit(address).netloc
    }
    assert tab.complaints() == []
    assert "token" not in tab.ask("location.href + document.cookie")


def test_a_script_in_the_page_does_not_run(tab: Tab, address: str) -> None:
    visit(tab, address)
    tab.ask("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
    tab.ask(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 2'}))"
    )
    time.sleep(0.3)
    assert tab.ask("document.title") == "stepsize live"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_its_texts_stand_out(tab: Tab, address: str, width: int, scheme: str) -> None:
    visit(tab, address, "first", width=width, scheme=scheme)

    shown(tab, "document.documentElement.scrollWidth", lambda value: value <= width)
    low = tab.ask(_CONTRAST)
    assert low == []
    assert tab.ask("getComputedStyle(document.body).backgroundColor") != "rgba(0, 0, 0, 0)"
    widths = "map((one) => [one.clientWidth, one.closest('.plot').clientWidth])"
    boxes = tab.ask(f"[...document.querySelectorAll('.plot canvas')].{widths}")
    assert all(0.8 * parent <= own <= parent + 1 for own, parent in boxes)


_CONTRAST = """
(() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')]
    .filter((one) => one.offsetParent && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((one) => [one.textContent.slice(0, 40), light(parse(getComputedStyle(one).color)), light(behind(one))])
    .filter(([, a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5)
    .map(([text]) => text);
})()
"""


def test_runs_are_laid_over_each_other_and_told_apart_by_dashes(tab: Tab, address: str) -> None:
    visit(tab, address, "first")
    tab.ask("document.querySelector('#runs li[data-name=second] input').click()")

    looks = shown(
        tab,
        "[...document.querySelectorAll('#compared .swatch line')].map((one) => one.getAttribute('stroke-dasharray'))",
        lambda value: len(value or []) == 2,
    )
    assert len(set(looks)) == 2
    assert tab.ask("[...document.querySelectorAll('#charts figcaption')].map((one) => one.firstChild.textContent)") == [
        "training loss", "validation loss", "learning rate",
    ]  # fmt: skip
    assert tab.ask("decodeURIComponent(location.hash)") == "#run=first&run=second"


def test_the_page_is_used_by_keyboard(tab: Tab, address: str) -> None:
    visit(tab, address, "first")
    tab.press("Tab", 9)
    assert tab.ask("document.activeElement.className") == "skip"
    reached = []
    for _ in range(8):
        tab.press("Tab", 9)
        reached.append(tab.ask("document.activeElement.closest('li')?.dataset.name ?? document.activeElement.id"))
        outline = tab.ask("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        if reached[-1] == "second" and tab.ask("document.activeElement.tagName") == "BUTTON":
            break
    assert "filter" in reached
    tab.tell("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    shown(tab, "document.getElementById('run-name').textContent", "second".__eq__)


def test_dragging_zooms_all_charts_hovering_names_a_point_and_smoothing_draws_anew(tab: Tab, address: str) -> None:
    visit(tab, address, "first")
    canvas = "document.querySelector('.plot canvas')"
    tab.ask(f"{canvas}.scrollIntoView({{block: 'center'}})")
    box = tab.ask(f"(({{x, y, width, height}}) => [x, y, width, height])({canvas}.getBoundingClientRect())")
    left, middle = box[0] + 0.4 * box[2], box[1] + 0.4 * box[3]

    before = tab.ask(f"{canvas}.toDataURL()")
    mouse(tab, "mousePressed", left, middle)
    for place in range(1, 6):
        mouse(tab, "mouseMoved", left + 20 * place, middle)
    mouse(tab, "mouseReleased", left + 100, middle)
    assert shown(tab, "document.getElementById('span').value", "zoom".__eq__)
    zoomed = shown(tab, f"{canvas}.toDataURL()", lambda value: value != before)
    enter(tab, "span", "change", "1")
    shown(tab, f"{canvas}.toDataURL()", lambda value: value != zoomed)

    seen = ""
    for row in np.linspace(0.05, 0.85, 60):
        mouse(tab, "mouseMoved", left, box[1] + row * box[3], buttons=0)
        seen = tab.ask("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
        if seen:
            break
    assert re.search(r"step \d+loss [\d.]+(training|validation)", seen)

    plain = tab.ask(f"{canvas}.toDataURL()")
    enter(tab, "smoothing", "input", "0.9")
    shown(tab, f"{canvas}.toDataURL()", lambda value: value != plain)
    assert tab.complaints() == []


def test_charts_are_zoomed_by_keys_and_by_buttons(tab: Tab, address: str) -> None:
    visit(tab, address, "first")
    shown(tab, "document.getElementById('charts').dataset.step > 0")
    tab.ask("document.querySelector('.plot').focus()")
    tick = "[...document.querySelectorAll('[data-zoom]')].map((one) => one.ariaLabel ?? one.textContent)"
    assert tab.ask(tick) == ["Earlier steps", "Zoom out", "Zoom in", "Later steps", "All"]
    canvas = "document.querySelector('.plot canvas').toDataURL()"
    steps = "document.getElementById('span').selectedOptions[0].textContent"

    def click(key: str) -> None:
        tab.ask(f"document.querySelector('[data-zoom=\"{key}\"]').click()")

    whole = tab.ask(canvas)
    tab.press("+", 187)
    assert tab.ask(steps) == "73 to 227"
    closer = shown(tab, canvas, lambda value: value != whole)
    tab.press("ArrowRight", 39)
    assert tab.ask(steps) == "112 to 265"
    shown(tab, canvas, lambda value: value != closer)
    click("ArrowLeft")
    assert tab.ask(steps) == "73 to 227"
    tab.press("-", 189)
    assert tab.ask(steps) == "all"
    click("+")
    click("+")
    assert tab.ask(steps) == "112 to 188"
    tab.press("0", 48)
    assert tab.ask(steps) == "all"
    shown(tab, canvas, whole.__eq__)
    assert tab.complaints() == []


def enter(tab: Tab, name: str, event: str, value: str) -> None:
    tab.ask(
        f"Object.assign(document.getElementById('{name}'), {{value: '{value}'}}).dispatchEvent(new Event('{event}'))"
    )


def mouse(tab: Tab, kind: str, x: float, y: float, buttons: int = 1) -> None:
    button = "left" if buttons else "none"
    tab.tell("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=buttons, clickCount=1)


def test_a_cooldown_is_previewed_beside_its_button(tab: Tab, tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    steps = np.arange(200)
    with writing(store, steps=1_000) as run, served(store) as page:
        run.write(
            {"loss": (steps, np.ones(200)), "lr/0": (steps, np.full(200, 0.1)), "lr/1": (steps, np.full(200, 0.2))}
        )
        visit(tab, page.url)
        shown(tab, "document.getElementById('cooldown-text').textContent", lambda value: "until step 299 (701" in value)
        enter(tab, "steps", "input", "400")
        assert "until step 599 (401" in text(tab, "cooldown-text")
        [now, end] = tab.ask("document.querySelector('#cooldown-lines .down').getAttribute('points')").split()
        low, high = 0, 999  # the steps that are shown
        assert [float(one) for one in now.split(",")] == pytest.approx([100 * (199 - low) / (high - low), 6.0], abs=0.1)
        assert [float(one) for one in end.split(",")] == pytest.approx([100 * (599 - low) / (high - low), 100], abs=0.1)
        enter(tab, "steps", "input", "")
        assert tab.ask("document.getElementById('cooldown').hidden")


def test_a_search_says_what_it_tries_and_for_how_long(tab: Tab, tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    running = [{"lr": 0.01, "steps": 40, "share": 1.0, "seed": 2}]
    with Store.open(store) as opened_store, opened_store.begin("s", "find", {"task": {"name": "net"}}) as writer:
        writer.set_progress(ProgressRecord(datetime.now(UTC), running, 300.0, at_most=True))
        with served(store) as page:
            tab.open(page.url, width=390)
            shown(
                tab,
                "document.getElementById('study-now').textContent",
                "Being tried: lr 0.01 (full run, seed 2).".__eq__,
            )
            shown(
                tab, "document.getElementById('study-facts').textContent", lambda value: "at most 5 min left" in value
            )


def test_a_page_whose_server_ends_says_so_and_goes_on_with_the_next_one(tab: Tab, path: Path) -> None:
    with served(path) as page:
        visit(tab, page.url)
    shown(tab, "document.getElementById('link').textContent", lambda value: "disconnected" in value)
    with served(path, port=page.port):
        shown(tab, "document.getElementById('link').textContent", "live".__eq__)


def test_a_shared_page_has_no_buttons(tab: Tab, tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    with writing(store) as run, served(store, read_only=True) as page:
        run.write({"loss": (np.arange(9), np.ones(9)), "lr/0": (np.arange(9), np.ones(9))})
        visit(tab, page.url)
        shown(tab, "!document.getElementById('mode').hidden")
        assert tab.ask("document.getElementById('controls').hidden")


HALF_HOUR = pytest.mark.skipif(not os.environ.get("STEPSIZE_HALF_HOUR"), reason="STEPSIZE_HALF_HOUR is not set")


@pytest.mark.slow
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("minutes", [3, pytest.param(30, marks=HALF_HOUR)])
def test_a_page_that_stays_open_does_not_grow(tab: Tab, tmp_path: Path, minutes: int) -> None:
    store = tmp_path / "runs.db"
    with training(store, "net", steps=10_000_000, pause=0.001) as trained:
        trained.line()
        with live(store) as url:
            used, nodes = _stay(tab, url, minutes)
    logging.getLogger(__name__).info("megabytes: %s; nodes: %s", used, nodes)  # for --log-file
    assert max(used[_CYCLE:]) < 1.3 * max(used[:_CYCLE]), used
    assert max(nodes[_CYCLE:]) < 1.1 * max(nodes[:_CYCLE]), nodes


def _stay(tab: Tab, url: str, minutes: int) -> tuple[list[float], list[int]]:
    """Return megabytes of the heap and nodes of the document every five seconds."""
    visit(tab, url)
    for domain in ("Network", "Log"):  # they keep every event
        tab.tell(f"{domain}.disable")
    used: list[float] = []
    nodes: list[int] = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end or len(used) < 2 * _CYCLE:
        time.sleep(5)
        tab.events.clear()
        tab.tell("HeapProfiler.collectGarbage")
        used.append(tab.tell("Runtime.getHeapUsage")["usedSize"] / 1e6)
        nodes.append(tab.tell("Memory.getDOMCounters")["nodes"])
    for domain in ("Network", "Log"):
        tab.tell(f"{domain}.enable")
    return used, nodes
