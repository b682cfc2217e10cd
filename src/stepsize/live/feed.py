"""What is new in a store: read once for all pages that are open, in pieces of plain values."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.live.future import future_of
from stepsize.monitor.recorder import BLOCKS, KIND
from stepsize.monitor.saved_runs import RunSummary, actions_of, orders_to, read_findings, summary_of
from stepsize.monitor.trace import Blocks
from stepsize.store import OrderRecord, ProgressRecord, Store, StudyRecord, Tally, WatchRecord
from stepsize.store.writer import RUNNING
from stepsize.views import SHOWN_SIGNALS, SignalPanel, signals_info, thinned
from stepsize.views.signals import Series

MOST_RUNS = 60
"""Runs that a page shows on top of each other."""

_REST = 4  # so many times what the last read of the store took pass before the next one
_LEAST = 0.02  # seconds, and at least so many
_SERVER = 0.2  # seconds between two reads of a server, which does not say whether anything is new
_LOCKS = 1.0  # seconds after which a file is read although nothing is new: a run may have been killed
_MOST_POINTS = 40_000  # of a signal, over all runs of a page
_MOST_OF_RUN = 2_048  # as many as the store keeps
_DIGITS = 6  # of a value on its way to the page
_MOST_TRIED = 8  # runs of a search that are named


@dataclass(frozen=True)
class _Piece:
    """Signals that were written together, at a position in the store."""

    position: int
    signals: Mapping[str, Series]


class _RunFeed:
    """The signals of one run: everything at first, then what is new."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._pieces: list[_Piece] = []
        self._whole: dict[str, Series] = {}
        self._seen: Any = None

    @property
    def position(self) -> int:
        return self._pieces[-1].position if self._pieces else -1

    def read(self, store: Store, written: Any) -> None:
        """Read what is new, if the run was ``written`` since the last time."""
        if written == self._seen:
            return
        self._seen = written
        for part in store.signals(self.name, after=self.position):
            if part.kind == BLOCKS:  # in place of all that was written before
                found = {name: Blocks.from_arrays(*arrays).history() for name, arrays in part.arrays.items()}
                signals = {name: (one.steps, one.values) for name, one in found.items()}
                self._pieces = []
            else:
                signals = {name: (steps, values) for name, (steps, values) in part.arrays.items()}
            shown = {name: one for name, one in signals.items() if name in SHOWN_SIGNALS}
            self._pieces.append(_Piece(part.position, _thin(shown, _MOST_OF_RUN)))
            self._whole = {}

    def whole(self) -> dict[str, Series]:
        """Return all signals."""
        self._whole = self._whole or _joined(self._pieces)
        return self._whole

    def since(self, position: int, most: int) -> tuple[bool, dict[str, Series]]:
        """Return the signals after a position, and whether they replace all before."""
        if position < 0 or not self._pieces or self._pieces[0].position > position:
            return True, _thin(self.whole(), most)
        new = _joined([piece for piece in self._pieces if piece.position > position])
        return False, _thin(new, max(8, most // 16))


class Feed:
    """Reads a store for pages: the list of what is in it, and the runs that are shown; safe for threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._next_read = self._next_locks = 0.0
        self._version: int | None = None
        self._reads = 0
        self._studies: dict[str, StudyRecord] = {}
        self._heads: dict[str, RunSummary] = {}
        self._others: list[dict[str, Any]] = []
        self._controls: set[str] = set()
        self._orders: dict[str, tuple[OrderRecord, ...]] = {}
        self._runs: dict[str, _RunFeed] = {}
        self._details: dict[str, tuple[Any, dict[str, Any]]] = {}

    def listed(self) -> dict[str, Any]:
        """Return the watched runs and the other studies, running ones first, then the newest first."""
        with self._lock:
            self._refresh()
            runs = [self._line(head) for head in self._heads.values()]
            return {"runs": _in_order(runs), "studies": _in_order(self._others)}

    def reads(self) -> int:
        """Return how often the store was read so far: while it is the same number, nothing is new."""
        with self._lock:
            self._refresh()
            return self._reads

    def known(self, names: Sequence[str]) -> list[str]:
        """Return those of ``names`` that are watched runs, each once."""
        with self._lock:
            self._refresh()
            return [name for name in dict.fromkeys(names) if name in self._heads][:MOST_RUNS]

    def panels(self, names: Sequence[str]) -> tuple[SignalPanel, ...]:
        """Return the panels of runs on top of each other, with axes for their points so far."""
        with self._lock:
            runs = {name: self._updated(name).whole() for name in names}
            return signals_info(runs, max((self._heads[name].planned or 0 for name in names), default=0))

    def since(self, name: str, position: int, most: int) -> tuple[int, dict[str, Any] | None]:
        """Return the new position of a run and its new points as plain values; None if there are none."""
        with self._lock:
            run = self._updated(name)
            if position == run.position:
                return position, None
            replaces, signals = run.since(position, most)
            points = {key: [steps.tolist(), _plain(values)] for key, (steps, values) in signals.items()}
            return run.position, {"replaces": replaces, "signals": points}

    def detail(self, name: str) -> dict[str, Any]:
        """Return what is known of a run beside its signals: verdict, findings, actions, orders, future."""
        with self._lock:
            head = self._heads[name]
            orders = self._orders[name]
            known, detail = self._details.get(name, (None, {}))
            if known != (head, orders):
                state = self._store.watched(name)
                detail = {
                    **self._line(head),
                    "verdict": head.verdict.to_json(),
                    "findings": [one.to_json() for one in read_findings(self._store, name)],
                    "actions": [str(one) for one in actions_of(state)],
                    "orders": [one.to_json() for one in orders],
                    "future": {} if head.over else self._future(name, orders),
                }
                self._details[name] = ((head, orders), detail)
            return detail

    def _future(self, name: str, orders: Sequence[OrderRecord]) -> dict[str, Any]:
        spec, head = self._studies[name].spec, self._heads[name]
        groups = [one.removeprefix("lr/") for one in self._updated(name).whole() if one.startswith("lr/")]
        return future_of(spec.get("written", ""), orders, head.steps, head.planned, groups)

    def _refresh(self) -> None:
        began = time.monotonic()
        if began < self._next_read:
            return
        version = self._store.data_version()
        if version is not None and version == self._version and began < self._next_locks:
            return
        status = self._store.statuses()  # before the rest: a run that has ended has written all of it
        states, tallies, progress = self._store.watches(), self._store.tallies(), self._store.progress()
        studies = [one for one in self._store.studies() if one.name in status]
        self._studies = {one.name: one for one in studies}
        watched = [one for one in studies if one.kind == KIND]
        ended = {name for name, head in self._heads.items() if head.over}  # whose journal is whole
        self._orders = {
            one.name: self._orders[one.name] if one.name in ended else orders_to(self._store, one.name, states)
            for one in watched
        }
        unknown: tuple[WatchRecord | None, int] = (None, 0)
        self._heads = {
            one.name: summary_of(one, status[one.name], *states.get(one.name, unknown), self._orders[one.name])
            for one in watched
        }
        self._controls = {name for name, (state, _) in states.items() if state.control}
        self._others = [
            {
                "name": one.name,
                "kind": one.kind,
                "task": one.spec.get("task", {}).get("name", ""),
                "status": status[one.name],
                "begun": one.created.isoformat(timespec="seconds"),
                **asdict(tallies.get(one.name, Tally())),
                **_progress_json(progress.get(one.name) if status[one.name] == RUNNING else None),
            }
            for one in studies
            if one.kind != KIND
        ]
        now = time.monotonic()
        self._next_read = now + max(_SERVER if version is None else _LEAST, _REST * (now - began))
        self._next_locks = now + _LOCKS
        self._version = version
        self._reads += 1

    def _line(self, head: RunSummary) -> dict[str, Any]:
        return {**head.to_json(), "control": head.name in self._controls and not head.over}

    def _updated(self, name: str) -> _RunFeed:
        run = self._runs.setdefault(name, _RunFeed(name))
        run.read(self._store, self._heads[name].updated)
        return run


class Page:
    """One open page: what it was sent, so that it is sent only what is new."""

    def __init__(self, feed: Feed, names: Sequence[str], positions: Sequence[int] = ()) -> None:
        self._feed, self._names = feed, list(names)
        known = len(positions) == len(self._names)
        self._positions = list(positions) if known else [-1] * len(self._names)
        self._sent: dict[str, Any] = {}
        self._read = -1

    @property
    def mark(self) -> str:
        """What the page has, in a word: it sends this when it connects again."""
        return ",".join(map(str, self._positions))

    def news(self) -> dict[str, Any]:
        """Return what changed since the last call: the list, and points, axes and details of the runs."""
        news: dict[str, Any] = {}
        if (read := self._feed.reads()) == self._read:
            return news
        listed = self._feed.listed()
        points, most = {}, most_of(self._names)
        for place, name in enumerate(self._names):
            self._positions[place], new = self._feed.since(name, self._positions[place], most)
            if new is not None:
                points[name] = new
        if points:
            news["points"] = points
            news["panels"] = [panel_json(one) for one in self._feed.panels(self._names)]
        now = {"list": listed} | {f"run {name}": self._feed.detail(name) for name in self._names}
        changed = {key: value for key, value in now.items() if self._sent.get(key) != value}
        self._sent.update(changed)
        self._read = read
        details = {key.removeprefix("run "): value for key, value in changed.items() if key != "list"}
        return news | ({"list": changed["list"]} if "list" in changed else {}) | ({"runs": details} if details else {})


def most_of(names: Sequence[str]) -> int:
    """Return how many points of a signal each of these runs may have."""
    return min(_MOST_OF_RUN, _MOST_POINTS // max(1, len(names)))


def panel_json(panel: SignalPanel) -> dict[str, Any]:
    """Return a panel as plain values."""
    x, y = panel.x, panel.y
    axes = {"x": [x.low, x.high], "y": [y.low, y.high], "log": y.log}
    return {"title": panel.title, **axes, "series": [asdict(one) for one in panel.lines]}


def _progress_json(progress: ProgressRecord | None) -> dict[str, Any]:
    """Return as plain values what is trained now, in words, and the seconds left at a moment; nothing if unknown."""
    if progress is None:
        return {}
    tried = [_run_text(run) for run in progress.running]
    more = [f"{len(tried) - _MOST_TRIED} more"] if len(tried) > _MOST_TRIED else []
    return {
        "tried": [*tried[:_MOST_TRIED], *more],
        "secondsLeft": progress.seconds_left,
        "atMost": progress.at_most,
        "updated": progress.updated.isoformat(timespec="seconds"),
    }


def _run_text(run: Mapping[str, Any]) -> str:
    values = dict(run)
    steps, share, seed = (values.pop(name) for name in ("steps", "share", "seed"))
    settings = (
        f"{name.replace('_', ' ')} {one if isinstance(one, str) else number_text(one)}" for name, one in values.items()
    )
    length = "full run" if share == 1 else f"{steps:,} steps"
    return f"{', '.join(settings)} ({length}, seed {seed})"


def _in_order(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    newest = list(lines)[::-1]
    return sorted(newest, key=lambda line: line["status"] != RUNNING)


def _thin(signals: Mapping[str, Series], most: int) -> dict[str, Series]:
    kept = {name: thinned(values, most) for name, (_, values) in signals.items()}
    return {name: (steps[kept[name]], values[kept[name]]) for name, (steps, values) in signals.items()}


def _joined(pieces: Sequence[_Piece]) -> dict[str, Series]:
    """Return the signals of all pieces, one after the other."""
    names = dict.fromkeys(name for piece in pieces for name in piece.signals)
    parts = {name: [piece.signals[name] for piece in pieces if name in piece.signals] for name in names}
    return {
        name: (np.concatenate([steps for steps, _ in some]), np.concatenate([values for _, values in some]))
        for name, some in parts.items()
    }


def _plain(values: Any) -> list[float | None]:
    """Return values as JSON has them: rounded, and None if they are not finite."""
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in values.tolist()]
