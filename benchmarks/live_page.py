"""What the live page costs and how far it is behind: a training, the server and a browser, each a process."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.docs.chromium import Tab, opened
from torch import nn

import stepsize
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table
from stepsize.monitor.recorder import BLOCKS, KIND, POINTS
from stepsize.monitor.trace import Blocks
from stepsize.store import Store, WatchRecord

__all__ = ["LIVE_FILE", "compute_live", "live_report"]

LIVE_FILE = RECORDS_FOLDER / "live.json"

_PATIENCE = 300.0  # seconds on a busy machine
_SERVER = "from stepsize.cli import main; main(['live', *__import__('sys').argv[1:]])"
_SECONDS = 40.0  # in which delays are measured
_PAUSE = 0.02  # seconds that the training sleeps after each step
_RUNS, _STEPS = 60, 100_000
_WATCHED = 40.0  # seconds in which the page of many runs is measured
_HEAPS = 4  # measurements of the heap afterwards, ten seconds apart
_PAIR = 50  # steps of a piece


def compute_live(only: Sequence[str] = (), path: Path = LIVE_FILE) -> None:
    """Measure what ``only`` names, or all, and keep the record."""
    known = {row["what"]: row for row in read_rows(path)}
    for what, measured in (("delay", _delay), ("many runs", _many), ("orders", _orders)):
        if not only or what in only:
            known[what] = {"what": what, "load of the machine (2 cores)": round(_load(), 1), **measured()}
            write_record(path, header("live"), known.values())


def live_report(path: Path = LIVE_FILE) -> str:
    """Return the tables of the record, as Markdown."""
    rows = read_rows(path)
    if not rows:
        return "Nothing measured yet: `python -m benchmarks live`."
    lines = [[row["what"], name, str(value)] for row in rows for name, value in row.items() if name != "what"]
    return markdown_table(["measurement", "quantity", "value"], lines)


def _load() -> float:
    return float(Path("/proc/loadavg").read_text(encoding="utf-8").split()[0])


# ---------------------------------------------------------------- how far the page is behind


def train(store: str, seconds: float) -> None:
    """Train a small model that takes orders; print the number of each step and when it was made."""
    torch.set_num_threads(1)
    training = _Training(Path(store), "net", control=True)
    with training.watching:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            step = training.step()
            sys.stdout.write(f"{step} {time.time()}\n")
            sys.stdout.flush()
            time.sleep(_PAUSE)


class _Training:
    """A small training that is watched and saved."""

    def __init__(self, store: Path, name: str, *, control: bool) -> None:
        torch.manual_seed(0)
        self._net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self._x, self._y = torch.randn(64, 64), torch.randint(10, (64,))
        self._optimizer = torch.optim.AdamW(self._net.parameters(), lr=1e-3, foreach=True)
        self.watching = stepsize.watch(
            self._net, self._optimizer, steps=1_000_000, store=store, name=name, control=control
        )
        self._made = 0

    def step(self) -> int:
        """Make a step and return its number."""
        loss = nn.functional.cross_entropy(self._net(self._x), self._y)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.watching.step(loss)
        self._made += 1
        return self._made - 1


_OBSERVED = """
(() => {
  window.drawnAt = [];
  const charts = document.getElementById('charts');
  new MutationObserver(() => { drawnAt.push([Number(charts.dataset.step), Date.now() / 1000]); })
    .observe(charts, { attributes: true, attributeFilter: ['data-step'] });
})()
"""


def _delay() -> dict[str, Any]:
    """Measure the time from a step of a training to the charts that show it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store, out = Path(folder) / "runs.db", Path(folder) / "steps"
        code = "import sys; from benchmarks.live_page import train; train(sys.argv[1], float(sys.argv[2]))"
        with out.open("w", encoding="utf-8") as file:
            trained = stack.enter_context(_process(code, str(store), str(_SECONDS + _PATIENCE), stdout=file))
        _wait_for(lambda: out.read_text(encoding="utf-8").count("\n") > 100, trained)
        url = stack.enter_context(_served(store))
        tab = stack.enter_context(opened(Path(folder) / "browser"))
        tab.open(url, width=1280)
        _wait_for(lambda: tab.ask("document.getElementById('charts').dataset.step > 0"), trained)
        _quiet(tab)
        tab.ask(_OBSERVED)
        time.sleep(_SECONDS)
        drawn = tab.ask("drawnAt")
        made = [line.split() for line in out.read_text(encoding="utf-8").splitlines()]
    steps, at = np.array([int(one) for one, _ in made]), np.array([float(moment) for _, moment in made])
    upto, shown = np.array([step for step, _ in drawn]), np.array([moment for _, moment in drawn])
    inside = steps[(steps > upto[0]) & (steps <= upto[-1])]
    delays = shown[np.searchsorted(upto, inside)] - at[np.searchsorted(steps, inside)]
    return {
        "steps": len(inside),
        "drawings": len(upto),
        "median s": round(float(np.median(delays)), 2),
        "90th percentile s": round(float(np.quantile(delays, 0.9)), 2),
        "worst s": round(float(delays.max()), 2),
        "within a second": round(float((delays <= 1).mean()), 3),
    }


# ---------------------------------------------------------------- many long runs


def write_many(store: str, runs: int, steps: int) -> None:
    """Write long runs, then go on with all of them: some points of each, twice per second."""
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        opened_store = stack.enter_context(Store.open(store))
        writers = []
        for number in range(runs):
            spec = {"what": "Net", "optimizer": "SGD", "steps": 2 * steps, "learning_rate_free": False, "mark": number}
            writers.append(stack.enter_context(opened_store.begin(f"run-{number:02}", KIND, spec)))
            signals = _signals(rng, np.arange(steps), number)
            whole = {}
            for name, (at, values) in signals.items():
                blocks = Blocks()
                blocks.extend(at, values)
                whole[name] = blocks.to_arrays()
            writers[-1].add_signals(WatchRecord(steps, datetime.now(UTC), control=True), (BLOCKS, whole))
        sys.stdout.write("written\n")
        sys.stdout.flush()
        step = steps
        while True:
            for number, writer in enumerate(writers):
                signals = _signals(rng, np.arange(step, step + 20), number)
                writer.add_signals(WatchRecord(step + 20, datetime.now(UTC), control=True), (POINTS, signals))
            step += 20
            time.sleep(0.5)


def _signals(rng: np.random.Generator, at: Any, number: int) -> dict[str, Any]:
    loss = np.exp(-at / 3e4) + 0.1 + 0.01 * number + 0.05 * rng.normal(size=len(at)) ** 2
    rate = 0.1 * np.cos(at / 2e5 * np.pi / 2) + 1e-4
    return {
        name: (np.asarray(at, np.int64), np.asarray(values, np.float64))
        for name, values in {
            "loss": loss,
            "val_loss": loss + 0.05,
            "lr/0": rate,
            "update_ratio": rate * loss / 10,
            "cosine": np.clip(rng.normal(size=len(at)) / 3, -1, 1),
            "grad_norm": loss * (1 + 0.2 * rng.random(len(at))),
        }.items()
    }


_FRAMES = """
(() => {
  window.frames_ = []; window.tasks_ = [];
  let last = performance.now();
  const next = (now) => { frames_.push(now - last); last = now; requestAnimationFrame(next); };
  requestAnimationFrame(next);
  new PerformanceObserver((list) => { for (const one of list.getEntries()) tasks_.push(one.duration); })
    .observe({ entryTypes: ['longtask'] });
})()
"""


def _many() -> dict[str, Any]:
    """Measure the page with all runs of a store on top of each other, while all of them go on."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store, out = Path(folder) / "runs.db", Path(folder) / "written"
        code = "import sys; from benchmarks.live_page import write_many as w; w(sys.argv[1], *map(int, sys.argv[2:]))"
        with out.open("w", encoding="utf-8") as file:
            writer = stack.enter_context(_process(code, str(store), str(_RUNS), str(_STEPS), stdout=file))
        _wait_for(lambda: out.read_text(encoding="utf-8"), writer)
        url = stack.enter_context(_served(store))
        asked = _Asked(url)
        first = {name: round(asked.seconds(path), 2) for name, path in asked.paths().items()}
        tab = stack.enter_context(opened(Path(folder) / "browser"))
        began = time.monotonic()
        tab.open(url, width=1280)
        names = json.dumps([["run", f"run-{number:02}"] for number in range(_RUNS)])
        tab.ask(f"location.hash = String(new URLSearchParams({names}))")
        _wait_for(lambda: tab.ask(f"document.getElementById('charts').dataset.step >= {_STEPS - 1}"), writer)
        opened_after = time.monotonic() - began
        _quiet(tab)
        tab.ask(_FRAMES)
        tab.ask(_OBSERVED)
        heap, cpu = [_heap(tab)], _cpu(tab)
        began = time.monotonic()
        keys = []
        with asked.events(_RUNS) as events:
            while time.monotonic() - began < _WATCHED:
                time.sleep(2)
                pressed = time.monotonic()
                tab.press("Shift", 16)  # answered when the page has handled it
                tab.ask("1")
                keys.append(time.monotonic() - pressed)
        used = [after - before for before, after in zip(cpu, _cpu(tab), strict=True)]
        drawings = len(tab.ask("drawnAt"))
        frames, tasks = np.array(tab.ask("frames_")), np.array([*tab.ask("tasks_"), 0.0])
        for _ in range(_HEAPS):
            heap.append(_heap(tab))
            time.sleep(_WATCHED / 4)
        again = {f"{name}, again": round(asked.seconds(path), 2) for name, path in asked.paths().items()}
    gaps = np.diff([moment for moment, _ in events])
    sizes = [size for _, size in events[1:]]
    return {
        "runs": _RUNS,
        "steps": _STEPS,
        "megabytes of the first event": round(events[0][1] / 1e6, 2),
        **{f"{name} s": value for name, value in (first | again).items()},
        "until all charts are drawn s": round(opened_after, 1),
        "events": len(events),
        "kilobytes of an event": round(statistics.median(sizes) / 1e3, 1),
        "seconds between events, median": round(float(np.median(gaps)), 2),
        "seconds between events, worst": round(float(gaps.max()), 2),
        "frame ms, median": round(float(np.median(frames)), 0),
        "frame ms, 99th percentile": round(float(np.quantile(frames, 0.99)), 0),
        "frame ms, worst": round(float(frames.max()), 0),
        "longest task ms": round(float(tasks.max()), 0),
        "answer to a key ms, median": round(1e3 * statistics.median(keys), 0),
        "answer to a key ms, worst": round(1e3 * max(keys), 0),
        "drawings": drawings,
        "CPU seconds of a drawing": round(used[1] / max(1, drawings), 2),
        "CPU that the page got while it had work": round(used[1] / used[0], 2),
        "heap MB": ", ".join(f"{one:.0f}" for one in heap),
    }


def _quiet(tab: Tab) -> None:
    """Let the browser report nothing that is not asked for: nobody reads it, and it would wait."""
    for domain in ("Network", "Log", "Page", "Runtime"):
        tab.tell(f"{domain}.disable")


def _heap(tab: Tab) -> float:
    tab.tell("HeapProfiler.collectGarbage")
    return float(tab.tell("Runtime.getHeapUsage")["usedSize"]) / 1e6


def _cpu(tab: Tab) -> tuple[float, float]:
    """Return the seconds that the page has spent in tasks so far, and its seconds of CPU."""
    tab.tell("Performance.enable")
    values = {one["name"]: one["value"] for one in tab.tell("Performance.getMetrics")["metrics"]}
    return float(values["TaskDuration"]), float(values["ThreadTime"])


class _Asked:
    """Asks the server as the page does."""

    def __init__(self, url: str) -> None:
        self._host = url.split("/")[2]
        self._headers = {"Cookie": f"stepsize-live-{self._host.rpartition(':')[2]}={url.partition('token=')[2]}"}

    def paths(self) -> Mapping[str, str]:
        """Return what is asked for, by name."""
        query = "&".join(f"run=run-{number:02}" for number in range(_RUNS))
        return {"page": "/", "charts of all runs": f"/api/charts?width=640&{query}"}

    def seconds(self, path: str) -> float:
        """Return the seconds of an answer."""
        began = time.monotonic()
        connection = http.client.HTTPConnection(self._host, timeout=_PATIENCE)
        connection.request("GET", path, headers=self._headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        connection.close()
        return time.monotonic() - began

    @contextmanager
    def events(self, runs: int) -> Iterator[list[tuple[float, int]]]:
        """Give when events come and how long they are, of all runs, while this is open."""
        query = "&".join(f"run=run-{number:02}" for number in range(runs))
        connection = http.client.HTTPConnection(self._host, timeout=_PATIENCE)
        connection.request("GET", f"/api/events?{query}", headers=self._headers)
        answer = connection.getresponse()
        found: list[tuple[float, int]] = []
        ending = threading.Event()

        def read() -> None:
            while not ending.is_set():
                line = answer.readline()
                if line.startswith(b"data"):
                    found.append((time.monotonic(), len(line)))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield found
        ending.set()
        reader.join(_PATIENCE)
        connection.close()


# ---------------------------------------------------------------- what taking orders costs


def _orders() -> dict[str, Any]:
    """Measure what a run that takes orders costs beside one that is only saved: two equal trainings, in turns."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        trainings, threads = [], []
        for control in (False, True):
            before = set(threading.enumerate())
            trainings.append(_Training(Path(folder) / f"{control}.db", "net", control=control))
            stack.enter_context(trainings[-1].watching)
            [recorder] = [one for one in threading.enumerate() if one not in before and one.name == "stepsize store"]
            threads.append(time.pthread_getcpuclockid(recorder.ident or 0))
        for one in trainings:
            _piece(one, 8 * _PAIR)
        began, saved = time.monotonic(), [time.clock_gettime(one) for one in threads]
        pieces: list[list[float]] = [[], []]
        while time.monotonic() - began < _WATCHED:
            for place in (0, 1) if len(pieces[0]) % 2 else (1, 0):
                pieces[place].append(_piece(trainings[place], _PAIR))
        wall = time.monotonic() - began
        saved = [time.clock_gettime(one) - before for one, before in zip(threads, saved, strict=True)]
    plain, steered = (sum(some) for some in pieces)
    ratios = [b / a for a, b in zip(*pieces, strict=True)]
    return {
        "pairs": len(ratios),
        "step ms": round(1e3 * plain / (_PAIR * len(ratios)), 3),
        "training thread, median ratio": round(statistics.median(ratios), 3),
        "recorder, saved only, ms of CPU per second": round(1e3 * saved[0] / wall, 2),
        "recorder, takes orders, ms of CPU per second": round(1e3 * saved[1] / wall, 2),
        "recorder, more with orders, % of the training": round(100 * (saved[1] - saved[0]) / plain, 2),
        "cores that the process got": round((plain + steered + sum(saved)) / wall, 2),
    }


def _piece(training: _Training, steps: int) -> float:
    """Return the CPU seconds of this thread for some steps."""
    began = time.thread_time()
    for _ in range(steps):
        training.step()
    return time.thread_time() - began


# ---------------------------------------------------------------- processes


@contextmanager
def _process(code: str, *arguments: str, stdout: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=stdout, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def _served(store: Path) -> Iterator[str]:
    """Start ``stepsize live`` and give its address."""
    with _process(_SERVER, str(store), "--no-open", "--port", "0", stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()


def _wait_for(fits: Any, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + _PATIENCE
    while not fits():
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.1)
