"""Saves a watched run to the store: queued without waiting, written by a thread of its own."""

from __future__ import annotations

import atexit
import logging
import math
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError, StoreError, StoreLockedError
from stepsize.monitor.control import ENDED, Control
from stepsize.monitor.trace import Blocks

if TYPE_CHECKING:
    from stepsize.monitor.finding import Finding
    from stepsize.monitor.guarding.action import GuardAction
    from stepsize.monitor.record import Facts, Point, Record
    from stepsize.monitor.verdict import RateVerdict
    from stepsize.store import Store, Writer

KIND = "watch"
"""Kind of the studies that are watched runs."""

POINTS = "points"
"""Signals of this kind are steps and values, in the order of recording."""

BLOCKS = "blocks"
"""Signals of this kind are the state of :class:`Blocks`, of everything so far."""

_LOG = logging.getLogger("stepsize")
_EVERY = 1.0  # seconds between two writes: what a killed process loses; half of it if the run takes orders
_WAITING = 200_000  # points that wait for the disk at most, some 20 MB; then the oldest are dropped
_MOST_WRITES = 128  # after so many writes of points,
_MOST_POINTS = 250_000  # or so many points, blocks replace them: this bounds the size
_WAIT = 10.0  # seconds for other writers of the store
_END = 30.0  # seconds that the end of a run waits for the last write


def start_recorder(
    where: str | Path | None, name: str | None, what: str, facts: Facts, *, control: bool = False
) -> RunRecorder | None:
    """Start to save a watched run; None if nothing is saved, or if the store cannot be written, which is logged."""
    if where is None:
        if name is not None:
            raise InputError("name", name, "names a run in a store, and no store was given", "Pass store= too")
        return None
    from stepsize.store import Store

    facts_of_run = {key: value for key, value in asdict(facts).items() if key not in ("schedule", "scheduler")}
    # A run is never resumed under its name, hence a mark that no other has.
    spec = {"what": what, **facts_of_run, "mark": uuid.uuid4().hex}
    try:
        store = Store.open(where, wait=_WAIT)
        writer = _begin(store, name or f"watch-{datetime.now(UTC):%Y%m%d-%H%M%S}", spec)
        return RunRecorder(store, writer, takes_orders=control)
    except StoreError as error:
        _LOG.warning("stepsize.watch does not save this run: %s", error)
        return None


@final
class RunRecorder:
    """Saves one watched run, about once per second and in a thread of its own; made by :func:`start_recorder`.

    The training thread only appends to :attr:`points` and sets attributes. If the store fails, that is logged once,
    and nothing more is saved. Only the recorder's thread writes, so a fork of the process, which has no such thread,
    leaves the store alone.
    """

    def __init__(self, store: Store, writer: Writer, *, takes_orders: bool = False) -> None:
        self.name = writer.study.name
        self.where = store.where
        self.points: deque[Point] = deque(maxlen=_WAITING)
        self.record: Record | None = None
        self.verdict: RateVerdict | None = None
        self.actions: tuple[GuardAction, ...] = ()
        self.control: Control | None = None
        self._store, self._writer = store, writer
        self._takes_orders, self._last_order = takes_orders, 0
        self._found: deque[Finding] = deque()
        self._withdrawn: frozenset[str] = frozenset()
        self._blocks: defaultdict[str, Blocks] = defaultdict(Blocks)
        self._since = [0, 0]  # writes and points since the last blocks
        self._written: Any = None  # the last steps, verdict, actions and withdrawn codes
        self._failed = self._lagged = False
        self._status = ""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stepsize store", daemon=True)
        self._thread.start()
        atexit.register(self._leave)

    def found(self, findings: Iterable[Finding], withdrawn: Iterable[str] = ()) -> None:
        """Take new findings, and the codes of all that were withdrawn."""
        self._found.extend(findings)
        self._withdrawn = frozenset(withdrawn)

    def close(self, status: str) -> None:
        """Write what is left, with the final status, and release the store; closing twice is harmless."""
        if self._ending.is_set():
            return
        atexit.unregister(self._leave)
        self._status = status
        self._ending.set()
        self._thread.join(_END)
        if self._thread.is_alive():
            self._fail(f"{self.where} did not answer for {_END:.0f} seconds")

    def _leave(self) -> None:
        """Close when the process ends with the watch still open."""
        steps = None if self.record is None else self.record.facts.steps
        whole = self.record is not None and steps is not None and self.record.step >= steps
        self.close("done" if whole else "interrupted")

    def _work(self) -> None:
        from stepsize.store.writer import RUNNING

        try:
            if self._takes_orders:  # from now on
                self._write(RUNNING)
            while not self._ending.wait(_EVERY / 2 if self._takes_orders else _EVERY):
                self._pass_orders()
                self._write(RUNNING)
            self._write(self._status)
            self._pass_orders(refuse=True)
        except Exception as error:  # noqa: BLE001 - saving must not break what it saves
            self._fail(str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}")
        finally:
            self._release()

    def _pass_orders(self, *, refuse: bool = False) -> None:
        """Take new orders from the store to the run, or refuse them, and the answers of the run to the store."""
        if self.control is None or not self._takes_orders:
            return
        outbox = self.control.outbox
        answers = [outbox.popleft() for _ in range(len(outbox))]
        orders = self._writer.orders(self._last_order)
        if orders:
            self._last_order = orders[-1].number
        if refuse:
            answers += [replace(one, state="refused", reply=ENDED) for one in orders]
        else:
            self.control.inbox.extend(orders)
        if answers:
            self._writer.answer(answers)

    def _write(self, status: str) -> None:
        from stepsize.store import WatchRecord

        taken = self._taken()
        found = [finding_record(self._found.popleft()) for _ in range(len(self._found))]
        steps = 0 if self.record is None else self.record.step
        withdrawn = self._withdrawn
        now = (steps, self.verdict, self.actions, status, withdrawn)
        if not taken and not found and now == self._written:
            return
        verdict = {} if self.verdict is None else spelled(self.verdict.to_json())
        actions = [spelled(asdict(one)) for one in self.actions]
        state = WatchRecord(steps, datetime.now(UTC), verdict, actions, self._takes_orders)
        if self._since[0] >= _MOST_WRITES or self._since[1] >= _MOST_POINTS:
            whole = {name: blocks.to_arrays() for name, blocks in self._blocks.items()}
            self._writer.add_signals(state, (BLOCKS, whole), found, withdrawn=withdrawn, instead=True, status=status)
            self._since = [0, 0]
        else:
            self._writer.add_signals(
                state, (POINTS, taken) if taken else None, found, withdrawn=withdrawn, status=status
            )
        self._written = now

    def _taken(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Return the new points of each signal, and add them to its blocks."""
        count = len(self.points)
        if count == _WAITING and not self._lagged:
            self._lagged = True
            _LOG.warning(
                "stepsize.watch: %s is slower than the training; points of '%s' are dropped", self.where, self.name
            )
        steps: defaultdict[str, list[int]] = defaultdict(list)
        values: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(count):
            name, step, value = self.points.popleft()
            steps[name].append(step)
            values[name].append(value)
        taken = {name: (np.array(steps[name], np.int64), np.array(values[name], np.float64)) for name in steps}
        for name, arrays in taken.items():
            self._blocks[name].extend(*arrays)
        self._since = [self._since[0] + bool(taken), self._since[1] + count]
        return taken

    def _fail(self, why: str) -> None:
        if self._failed:
            return
        self._failed = True
        if self.record is not None:
            self.record.outbox = None
        self.points.clear()
        _LOG.warning("stepsize.watch stopped saving '%s'; training and watching continue: %s", self.name, why)

    def _release(self) -> None:
        for held in (self._writer, self._store):
            try:
                held.close()
            except (StoreError, OSError) as error:
                self._fail(str(error))


def finding_record(finding: Finding) -> Any:
    """Return a finding as the store takes it."""
    from stepsize.store.records import FindingRecord

    values = spelled(finding.to_json())
    return FindingRecord(values.pop("code"), values.pop("severity"), values.pop("evidence"), told=values)


def spelled(value: Any) -> Any:
    """Return plain values with NaN and infinities as text, since JSON has no such numbers."""
    if isinstance(value, dict):
        return {name: spelled(one) for name, one in value.items()}
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value


def _begin(store: Store, name: str, spec: dict[str, Any]) -> Writer:
    """Return the writer of a study of that name, with a number after it if it is taken."""
    number, wanted = 1, name
    while True:
        taken = {study.name for study in store.studies()}
        while wanted in taken:
            number += 1
            wanted = f"{name}-{number}"
        try:
            return store.begin(wanted, KIND, spec)
        except (InputError, StoreLockedError):  # did somebody else take the name in between?
            if store.study(wanted) is None:
                raise
