"""What a model may learn from: one figure a trial, out of runs of several rungs and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from stepsize.training.runs import Run, Trial

__all__ = ["Point", "Told"]

_ENOUGH = 10  # judged trials that a model can be fitted to


class Point(NamedTuple):
    """A trial and its figure, lower is better; None where it diverged."""

    trial: Trial
    figure: float | None


class Told:
    """Keeps the points of a list of runs that grows at its end.

    Losses of different rungs cannot be compared: a run of a sixteenth ends higher, whatever its rate. So one rung
    alone counts: the longest that at least ten trials were judged on, and before there is one the one with the most
    trials. A trial's figure is the mean over its seeds there. Trials that diverged count whichever their rung, and with
    any of their seeds: what explodes early or now and then is not feasible. What could not be judged is left out.

    Reference:
        The longest budget with enough observations: Falkner, Klein and Hutter, BOHB: Robust and efficient
        hyperparameter optimization at scale, 2018.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._last: Run | None = None
        self._count = 0
        self._trials: dict[int, Trial] = {}
        self._diverged: set[int] = set()
        self._figures: dict[float, dict[int, list[float]]] = {}
        self._share: float | None = None
        self._points: dict[int, Point] = {}

    def take(self, seen: Sequence[Run]) -> None:
        """Read what is new in ``seen``; everything, if it is not what was read before, grown at its end."""
        if self._count and (len(seen) < self._count or seen[self._count - 1] is not self._last):
            self._start()
        for run in seen[self._count :]:
            self._add(run)
        self._count = len(seen)
        self._last = seen[-1] if seen else None

    def points(self) -> list[Point]:
        """Return the points in the order in which they became ones; none while all of them diverged."""
        points = list(self._points.values())
        return [] if len(points) == len(self._diverged) else points

    def _add(self, run: Run) -> None:
        # One by one, so that the order of the points does not depend on how many were read at once.
        trial = run.trial
        self._trials[trial.number] = trial
        if run.diverged or math.isinf(run.value):
            self._diverged.add(trial.number)
        elif not math.isnan(run.value):
            self._figures.setdefault(run.share, {}).setdefault(trial.number, []).append(run.value)
        share = self._chosen()
        if share == self._share:
            self._settle(trial)
            return
        self._share = share
        self._points.clear()
        for known in self._trials.values():
            self._settle(known)

    def _chosen(self) -> float | None:
        enough = [share for share, figures in self._figures.items() if len(figures) >= _ENOUGH]
        if enough:
            return max(enough)
        return max(self._figures, key=lambda share: (len(self._figures[share]), share), default=None)

    def _settle(self, trial: Trial) -> None:
        if trial.number in self._diverged:
            self._points[trial.number] = Point(trial, None)
        elif self._share is not None and (figures := self._figures[self._share].get(trial.number)):
            self._points[trial.number] = Point(trial, sum(figures) / len(figures))
