"""The plan of a sweep: which run comes next, given what came out so far. Pure decisions; trains nothing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stepsize.checks import check_whole
from stepsize.curves.answer import UNTIL, clearly_worse
from stepsize.curves.numerals import number_text, span_text
from stepsize.errors import InputError
from stepsize.study.samplers import Sampler
from stepsize.study.space import Range, Space
from stepsize.study.strategy import Job, point_of, sharing
from stepsize.training.runs import Run, Trial

_BEYOND = {"lower": "below", "upper": "above"}
_FLAT = 10.0  # ratio of rates that are as good from which the choice hardly matters, as in an answer
_OTHERS = 3  # runs that must be worse on a side where other values vary: one bad configuration says little of its rate


class Plan:
    """Decides which run comes next: new trials, a wider range, repeats of the best.

    In this order: ``trials`` trials are proposed and trained on the first seed; if no run on one side of the best rate
    was clearly worse, the range grows by a decade on that side, at most ``widen`` times, and further trials go there,
    as many as were on a decade before; then the ``repeats`` best are trained on the other seeds, all on the same ones,
    so that they can be compared in pairs.

    Every decision but the proposals follows from the order of what is told, and a proposal from what was told before
    it. A plan that is asked and told in turns therefore asks for the same jobs after :meth:`restore`.
    """

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        *,
        trials: int,
        seeds: Sequence[int],
        repeats: int = 2,
        widen: int = 2,
    ) -> None:
        _check(trials, seeds, repeats, widen)
        self._space = self._searched = space  # as wide as it has become; what the sampler searches
        self._sampler = sampler
        self._seeds = tuple(seeds)
        self._repeats = repeats
        self._widen = widen
        self._more = per_decade(space, trials)
        self._trials: list[Trial] = []
        self._runs: list[Run] = []
        self._told: set[tuple[int, float, int]] = set()
        self._queue: deque[Job] = deque()  # decided, not asked for yet
        self._running: dict[tuple[int, float, int], Job] = {}
        self._coming = trials  # may still be proposed
        self._widened = 0
        self._beyond: deque[float] = deque()  # rates to try where the range was widened
        self._first = 0  # number of trials before that
        self._repeating = False
        self._notes: list[str] = []
        self._recorded: deque[Trial] = deque()  # trials of a killed sweep that were not proposed again yet

    @property
    def space(self) -> Space:
        """What is searched, as wide as it has become."""
        return self._space

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials proposed so far."""
        return tuple(self._trials)

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs in the order in which they were told."""
        return tuple(self._runs)

    @property
    def notes(self) -> list[str]:
        """What the plan did automatically, as sentences."""
        return [*self._notes]

    @property
    def done(self) -> bool:
        """Whether everything was told and nothing is left to ask for."""
        if self._running:
            return False
        self._advance()
        return not self._queue

    def ask(self) -> Job | None:
        """Return the next job, which is then awaited; None if nothing can start until a run is told, or all is done."""
        self._advance()
        if not self._queue:
            return None
        job = self._queue.popleft()
        self._running[job.key] = job
        return job

    def tell(self, run: Run) -> None:
        """Take the run of a job that was asked for; raises InputError if its job is not awaited."""
        key = run.key
        if key not in self._running:
            why = "was reported before" if key in self._told else "is of a job that was not asked for"
            raise InputError("run", key, why, "Tell each job that ask returned once")
        del self._running[key]
        self._told.add(key)
        self._runs.append(run)

    def remaining(self) -> int:
        """Return how many jobs have no run yet, as far as known.

        Counts jobs that run, the trials to come and their repeats, without a wider range and divergence.
        """
        left = self._coming + len(self._queue) + len(self._running)
        if self._repeating:
            return left
        return left + min(self._repeats, len(self._trials) + self._coming) * (len(self._seeds) - 1)

    def restore(self, trials: Sequence[Trial], runs: Sequence[Run]) -> None:
        """Continue a plan that was killed, made with the same arguments; ``runs`` are in the order of telling.

        Jobs that were asked for and have no run are asked for again first.
        """
        if self._trials or self._queue:
            raise InputError("restore", len(self._trials), "needs a plan that has not begun", "Make a new one")
        if [trial.number for trial in trials] != list(range(len(trials))):
            raise InputError("trials", len(trials), "must be numbered from 0 without gaps")
        self._recorded = deque(trials)
        for run in runs:
            if not self._reach(run.key):
                raise InputError("runs", run.key, "must follow from this plan", "Give the study another name")
            self.tell(run)
        while self._recorded and self.ask() is not None:
            pass
        self._queue.extendleft(reversed(self._running.values()))
        self._running.clear()

    def _reach(self, key: tuple[int, float, int]) -> bool:
        """Ask until the job of ``key`` is awaited; False if the plan does not ask for it."""
        while key not in self._running:
            known = len(self._trials) + len(self._recorded)
            if self.ask() is None or len(self._trials) > known:
                return False
        return True

    def _advance(self) -> None:
        """Decide the next job, if one can start now."""
        while not self._queue:
            if self._coming:
                self._propose()
            elif self._running or self._repeating:
                return
            elif not self._grow():
                self._repeat()

    def _propose(self) -> None:
        """Queue a new trial, or none any more."""
        trial = self._next_trial()
        if trial is None:
            self._coming = 0
            self._notes.append(f"The sampler had no more proposals after {len(self._trials)} trials.")
            return
        self._coming -= 1
        self._trials.append(trial)
        self._queue.append(Job(trial, 1.0, self._seeds[0]))

    def _next_trial(self) -> Trial | None:
        number = len(self._trials)
        beyond = self._beyond.popleft() if self._widened else None
        if self._recorded:
            lr = rate_range(self._space)
            inside = lr is None or lr.low * (1 - 1e-9) <= self._recorded[0].lr <= lr.high * (1 + 1e-9)
            # A rate outside was proposed after the range was widened, so the sampler had ended this round.
            return self._recorded.popleft() if inside else None
        running = {job.trial.number: job.trial for job in self._running.values()}
        values = self._sampler(number, self._runs, self._searched, [*running.values()])
        if beyond is None:
            return None if values is None else Trial(number, values)
        others = self._trials[number % self._first].values if values is None else values  # a grid has no more points
        return Trial(number, {**others, "lr": beyond})

    def _grow(self) -> bool:
        """Widen the range of lr if a better rate may be outside; False if it is wide enough."""
        edge = edge_of(self._runs, self._space)
        if edge is None:
            return False
        if self._widened >= self._widen:
            self._notes.append(f"{edge.reason}; the range was not widened further (limit: {self._widen}).")
            return False
        if not self._widened:
            self._first = len(self._trials)
        self._space, rates = wider(edge, self._runs, self._space, self._more)
        self._beyond.extend(rates)
        self._widened += 1
        self._coming = self._more
        lr = rate_range(self._space)
        assert lr is not None
        self._notes.append(f"{edge.reason}, so the range was widened to {span_text((lr.low, lr.high))}.")
        return True

    def _repeat(self) -> None:
        """Queue the best on the other seeds, seed by seed."""
        self._repeating = True
        if not self._repeats or len(self._seeds) == 1:
            return
        best = [run.trial for run in sorted(_finite(self._runs), key=_rank)[: self._repeats]]
        if not best:
            self._notes.append("No trial ended with a finite loss, so none was repeated.")
            return
        self._queue.extend(Job(trial, 1.0, seed) for seed in self._seeds[1:] for trial in best)
        which = "best trial" if len(best) == 1 else f"{len(best)} best trials"
        further = len(self._seeds) - 1
        self._notes.append(f"Repeated the {which} on {further} further seed{'s' * (further > 1)}.")


def _check(trials: int, seeds: Sequence[int], repeats: int, widen: int) -> None:
    check_whole("trials", trials)
    check_whole("repeats", repeats, 0)
    check_whole("widen", widen, 0, remedy="0 keeps the range as it is")
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError("seeds", seeds, "must hold at least one seed, each once", "An equal seed gives the same run")


@dataclass(frozen=True)
class Edge:
    """The side of the range on which a better rate may be, and the best run; None if every run diverged."""

    side: Literal["lower", "upper"]
    best: Run | None

    @property
    def reason(self) -> str:
        """Why the range should be wider, as the beginning of a sentence."""
        if self.best is None:
            return "Every run diverged"
        return f"No rate {_BEYOND[self.side]} the best one, {number_text(self.best.trial.lr)}, was clearly worse"


def edge_of(runs: Sequence[Run], space: Space) -> Edge | None:
    """Return on which side of the best run a better rate may be, None if on neither.

    The rule is that of the answer (:func:`~stepsize.curves.answer.clearly_worse`): a side is open while no run there
    was clearly worse than the best. If both are open, nothing shows the side; if rates a factor of ten apart are as
    good, the choice hardly matters.
    """
    if rate_range(space) is None or not runs:
        return None
    finite = _finite(runs)
    if not finite:
        return Edge("lower", None) if all(run.diverged for run in runs) else None
    best = min(finite, key=_rank)
    known = [run for run in runs if not math.isnan(run.value)]
    below, above = _worse_beside(known, best)
    if below == above or _spread(known, best) >= _FLAT:
        return None
    return Edge("lower" if above else "upper", best)


def _finite(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if math.isfinite(run.value) and not run.diverged]


def _rank(run: Run) -> tuple[float, int]:
    """Return the key that sorts runs with a finite value, the best first: by value, then by trial."""
    return (run.value, run.trial.number)


def _worse_beside(runs: Sequence[Run], best: Run) -> tuple[bool, bool]:
    """Return whether enough runs below, and above the best one were clearly worse."""
    same = sharing(runs, best.trial)
    alone = len({run.trial.lr for run in same}) >= _OTHERS or len(same) == len(runs)
    worse = clearly_worse([point_of(run) for run in (same if alone else runs)], UNTIL)
    needed = 1 if alone else _OTHERS
    return sum(lr < best.trial.lr for lr in worse) >= needed, sum(lr > best.trial.lr for lr in worse) >= needed


def _spread(runs: Sequence[Run], best: Run) -> float:
    """Return the ratio of the highest to the lowest rate that is as good as the best one."""
    limit = best.value + UNTIL * (abs(best.value) or 1.0)
    good = [run.trial.lr for run in sharing(runs, best.trial) if run.value <= limit]
    return max(good) / min(good)


def wider(edge: Edge, runs: Sequence[Run], space: Space, per_decade: int) -> tuple[Space, list[float]]:
    """Return ``space`` with lr widened beyond ``edge``, and the rates to try there, from the inside outwards.

    It is widened by one decade, or by a larger step of a coarse grid, and gets as many rates as a decade had.
    """
    lr = rate_range(space)
    assert lr is not None  # without a range there is no edge
    below = edge.side == "lower"
    old = lr.low if below else lr.high
    tried = sorted({run.trial.lr for run in runs}, reverse=not below)
    gap = max(tried[1] / old, old / tried[1]) if len(tried) > 1 and math.isclose(tried[0], old) else 1.0
    factor = max(10.0, gap)
    new = old / factor if below else old * factor
    wide = replace(lr, low=new) if below else replace(lr, high=new)
    rates = [float(f"{old * (new / old) ** (step / per_decade):.12g}") for step in range(1, per_decade + 1)]
    return Space(tuple(wide if one is lr else one for one in space.dimensions)), rates


def rate_range(space: Space) -> Range | None:
    """Return the range of lr, None if it is a choice of single rates."""
    return next((one for one in space.dimensions if one.name == "lr" and isinstance(one, Range)), None)


def per_decade(space: Space, trials: int) -> int:
    """Return how many of ``trials`` at equal steps fall on one decade of lr, at least 1 and at most all."""
    lr = rate_range(space)
    return trials if lr is None else min(trials, max(1, round((trials - 1) / math.log10(lr.high / lr.low))))
