"""A watched training on its way to the store: told without a wait, written by a thread of its own."""

from __future__ import annotations

import atexit
import logging
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError, StoreError, StoreLockedError
from stepsize.monitor.blocks import Blocks

if TYPE_CHECKING:
    from stepsize.monitor.finding import Finding
    from stepsize.monitor.guarding.journal import Entry
    from stepsize.monitor.record import Facts, Point, Record
    from stepsize.monitor.verdict import RateVerdict
    from stepsize.store import Store, Writer

__all__ = ["BLOCKS", "KIND", "POINTS", "Keeper", "begin_keeping"]

KIND = "watch"
"""The kind of the studies that watched trainings are."""

POINTS = "points"
"""Signals of this kind are steps and values, in the order of their telling."""

BLOCKS = "blocks"
"""Signals of this kind are the state of :class:`Blocks`, of everything up to here."""

_LOG = logging.getLogger("stepsize")
_EVERY = 1.0  # seconds between two writes: what a killed process loses
_WAITING = 200_000  # points that wait for the disk at the most, some 20 MB; then the oldest are given up
_MOST_WRITES = 64  # of points, and
_MOST_POINTS = 250_000  # so many points, are replaced by blocks: what bounds the size
_WAIT = 10.0  # seconds for others who write to the store
_END = 30.0  # seconds that the end of a training may wait for the last write


def begin_keeping(where: str | Path | None, name: str | None, what: str, facts: Facts) -> Keeper | None:
    """Begin to keep a watched training.

    Args:
        where: The store; None keeps nothing.
        name: Of the training in the store, to which a number is added where it is taken; default the time.
        what: What is trained, in a few words.
        facts: What is said about it.

    Returns:
        What to tell it to; None where nothing is kept, or where the store cannot be written, which is told.

    Raises:
        InputError: If ``where`` is no place of a store, or ``name`` no name.
        DataUnavailableError: If its folder is not there.
        MissingExtraError: If it is PostgreSQL and psycopg is not installed.
    """
    if where is None:
        if name is not None:
            raise InputError("name", name, "names a training in a store, and none was given", "Give store= too")
        return None
    from stepsize.store import Store

    told = {key: value for key, value in asdict(facts).items() if key not in ("schedule", "scheduler")}
    # No training is ever taken up again under its name, hence a mark that no other has.
    spec = {"what": what, **told, "mark": uuid.uuid4().hex}
    try:
        store = Store.open(where, wait=_WAIT)
        return Keeper(store, _begun(store, name or f"watch-{datetime.now(UTC):%Y%m%d-%H%M%S}", spec))
    except StoreError as error:
        _LOG.warning("stepsize.watch keeps nothing of this training: %s", error)
        return None


@final
class Keeper:
    """Writes one watched training down, about once a second and in a thread of its own.

    The training's thread only appends to :attr:`points` and sets attributes. Where the store fails, that is told
    once, and nothing is kept from there on. Only that thread writes, so a fork of the process, which has no such
    thread, leaves the store alone however it ends. Made by :func:`begin_keeping`.

    Args:
        store: Closed at the end.
        writer: Of its study.

    Attributes:
        name: Of the training in the store.
        points: Where the signals are told: name, step, value.
        record: Whose steps are counted.
        verdict: The last one.
        acts: What a guard did.
    """

    def __init__(self, store: Store, writer: Writer) -> None:
        self.name = writer.study.name
        self.where = store.where
        self.points: deque[Point] = deque(maxlen=_WAITING)
        self.record: Record | None = None
        self.verdict: RateVerdict | None = None
        self.acts: tuple[Entry, ...] = ()
        self._store, self._writer = store, writer
        self._found: deque[Finding] = deque()
        self._blocks: defaultdict[str, Blocks] = defaultdict(Blocks)
        self._since = [0, 0]  # writes and points since the last blocks
        self._told: Any = None  # what was written of steps, verdict and acts
        self._failed = self._lagged = False
        self._status = ""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stepsize store", daemon=True)
        self._thread.start()
        atexit.register(self._leave)

    def found(self, findings: Iterable[Finding]) -> None:
        """Take new findings."""
        self._found.extend(findings)

    def close(self, status: str) -> None:
        """Write what is left and let others write; doing so twice does no harm.

        Args:
            status: How the training ended, in a word.
        """
        if self._ending.is_set():
            return
        atexit.unregister(self._leave)
        self._status = status
        self._ending.set()
        self._thread.join(_END)
        if self._thread.is_alive():
            self._fail(f"{self.where} did not answer for {_END:.0f} seconds")

    def _leave(self) -> None:
        """End where the process ends and nobody closed the watch."""
        steps = None if self.record is None else self.record.facts.steps
        whole = self.record is not None and steps is not None and self.record.step >= steps
        self.close("done" if whole else "interrupted")

    def _work(self) -> None:
        from stepsize.store.writer import RUNNING

        try:
            while not self._ending.wait(_EVERY):
                self._write(RUNNING)
            self._write(self._status)
        except Exception as error:  # noqa: BLE001 - keeping must not break what it keeps
            self._fail(str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}")
        finally:
            self._let_go()

    def _write(self, status: str) -> None:
        from stepsize.monitor.kept_form import act_values, finding_record, verdict_values
        from stepsize.store import WatchRecord

        taken = self._taken()
        found = [self._found.popleft() for _ in range(len(self._found))]
        steps = 0 if self.record is None else self.record.step
        now = (steps, self.verdict, self.acts, status)
        if not taken and not found and now == self._told:
            return
        verdict = {} if self.verdict is None else verdict_values(self.verdict)
        state = WatchRecord(steps, datetime.now(UTC), verdict, [act_values(act) for act in self.acts])
        findings = [finding_record(one) for one in found]
        full = self._since[0] >= _MOST_WRITES or self._since[1] >= _MOST_POINTS
        if full:
            whole = {name: blocks.to_arrays() for name, blocks in self._blocks.items()}
            self._writer.add_signals(state, (BLOCKS, whole), findings, instead=True, status=status)
            self._since = [0, 0]
        else:
            self._writer.add_signals(state, (POINTS, taken) if taken else None, findings, status=status)
        self._told = now

    def _taken(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Return the new points of each signal, and add them to its blocks."""
        count = len(self.points)
        if count == _WAITING and not self._lagged:
            self._lagged = True
            _LOG.warning(
                "stepsize.watch: %s is slower than the training; points of '%s' are lost", self.where, self.name
            )
        steps: defaultdict[str, list[int]] = defaultdict(list)
        values: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(count):
            name, step, value = self.points.popleft()
            steps[name].append(step)
            values[name].append(value)
        taken = {name: (np.array(steps[name], np.int64), np.array(values[name], np.float64)) for name in steps}
        for name, (at, told) in taken.items():
            self._blocks[name].extend(at, told)
        self._since = [self._since[0] + bool(taken), self._since[1] + count]
        return taken

    def _fail(self, why: str) -> None:
        if self._failed:
            return
        self._failed = True
        if self.record is not None:
            self.record.told = None
        self.points.clear()
        _LOG.warning(
            "stepsize.watch keeps nothing more of '%s', the training and the watching go on: %s", self.name, why
        )

    def _let_go(self) -> None:
        for held in (self._writer, self._store):
            try:
                held.close()
            except (StoreError, OSError) as error:
                self._fail(str(error))


def _begun(store: Store, name: str, spec: dict[str, Any]) -> Writer:
    """Return the writer of a study of that name, or with a number behind it where it is taken."""
    number, wanted = 1, name
    while True:
        taken = {study.name for study in store.studies()}
        while wanted in taken:
            number += 1
            wanted = f"{name}-{number}"
        try:
            return store.begin(wanted, KIND, spec)
        except (InputError, StoreLockedError):  # did somebody else take the name between the two looks?
            if store.study(wanted) is None:
                raise
