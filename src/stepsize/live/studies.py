"""The present answer of a search or sweep, as the command that runs it would give it, with its chart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepsize.curves.numerals import number_text, span_text
from stepsize.errors import InputError
from stepsize.store import Store, StudyRecord
from stepsize.store.writer import RUNNING
from stepsize.study.finding import read_found
from stepsize.study.outcome import FIND, SWEEP
from stepsize.study.plotting import found_chart, rates_chart
from stepsize.study.sweeping import read_sweep
from stepsize.views import Chart, page_spec

if TYPE_CHECKING:
    from stepsize.study.finding import Found
    from stepsize.study.result import SweepResult

_READERS: dict[str, tuple[Callable[[Store, str], Any], Callable[[Any, Sequence[float]], Chart]]] = {
    FIND: (read_found, found_chart),
    SWEEP: (read_sweep, rates_chart),
}
_KEPT = 16  # answers


@dataclass(frozen=True)
class _Known:
    runs: int
    tried: tuple[float, ...]
    found: Found | SweepResult
    chart: Chart


class StudyReader:
    """Reads studies for pages: an answer is computed once for all of them, when a run is new; so is its chart."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def read(self, name: str, width: int, *, dark: bool) -> dict[str, Any]:
        """Return what is known, as plain values; raises UnknownStudyError, or InputError if it has no such answer."""
        study = self._store.known(name)
        if study.kind not in _READERS:
            raise InputError("name", name, f"must be a search or a sweep, not a {study.kind}")
        with self._lock:
            runs = self._store.tallies().get(name)
            count = 0 if runs is None else runs.runs
            if count == 0:
                return {"name": name, "kind": study.kind, "runs": 0}
            known, tried = self._known.get(name), self._tried(study)
            if known is None or (known.runs, known.tried) != (count, tried):
                reader, chart = _READERS[study.kind]
                found = known.found if known is not None and known.runs == count else reader(self._store, name)
                known = _Known(count, tried, found, chart(found, tried))
                self._known[name] = known
                while len(self._known) > _KEPT:
                    del self._known[next(iter(self._known))]
            found = known.found
            return {
                "name": name,
                "kind": study.kind,
                "runs": count,
                "lr": None if found.lr is None else number_text(found.lr),
                "asGood": None if found.as_good is None else span_text(found.as_good),
                "verdict": found.answer.verdict,
                "reason": found.answer.reason,
                "next": found.next,
                "for": str(found.conditions),
                "cost": f"{number_text(found.cost.full_runs)} full runs in {count} run{'s' * (count != 1)}",
                "notes": list(found.notes),
                "spec": page_spec(known.chart, width, dark=dark),
            }

    def _tried(self, study: StudyRecord) -> tuple[float, ...]:
        """Return the rates of the runs that are trained now."""
        progress = self._store.progress().get(study.name)
        if progress is None or self._store.status(study) != RUNNING:
            return ()
        return tuple(sorted({float(run["lr"]) for run in progress.running if "lr" in run}))
