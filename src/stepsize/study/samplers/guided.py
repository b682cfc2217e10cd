"""Samplers that fit a model to what was seen: optuna's, asked and told in memory."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stepsize.errors import needing
from stepsize.study.space import Choice, Dimension, Range, Space
from stepsize.training.runs import Run, Trial, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study


class UnitPoint(NamedTuple):
    """A trial and its value, lower is better; None if it diverged."""

    trial: Trial
    value: float | None


def points_of(seen: Sequence[Run]) -> list[UnitPoint]:
    """Return each trial with its mean over its seeds, in the order in which they came; none while all diverged.

    What diverged on any seed is not feasible.
    """
    trials: dict[int, list[Run]] = {}
    for run in seen:
        trials.setdefault(run.trial.number, []).append(run)
    points = []
    for runs in trials.values():
        values = [run.value for run in runs if not math.isnan(run.value)]
        if any(run.diverged or math.isinf(run.value) for run in runs):
            points.append(UnitPoint(runs[0].trial, None))
        elif values:
            points.append(UnitPoint(runs[0].trial, sum(values) / len(values)))
    return points if any(point.value is not None for point in points) else []


class Guided:
    """Proposes with the class ``sampler`` of optuna, in the coordinates of the space; made anew for each proposal."""

    def __init__(self, sampler: str, seed: int) -> None:
        self._sampler = sampler
        self._seed = seed
        self._record: _Record | None = None

    def __call__(
        self, number: int, seen: Sequence[Run], space: Space, running: Sequence[Trial]
    ) -> dict[str, Value] | None:
        """Return the values of trial ``number``, fitted to ``seen``, away from what is ``running``."""
        points = points_of(seen)
        with quiet():
            if self._record is None or not self._record.goes_on(space, points):
                self._record = _Record(self._sampler, self._seed, space, points)
            self._record.tell(points)
            return self._record.ask(number, running)


class _Record:
    """A study of optuna's that holds some points; what runs is put in for one proposal and taken out again."""

    def __init__(self, sampler: str, seed: int, space: Space, points: Sequence[UnitPoint]) -> None:
        import optuna

        self._sampler = sampler
        self._seed = seed
        self._space = space
        self._distributions = {one.name: _distribution(one) for one in space.free}
        self._fill = _fill(points)
        self._told: list[UnitPoint] = []
        self._study: Study = optuna.create_study()
        self._trials = 0

    def goes_on(self, space: Space, points: Sequence[UnitPoint]) -> bool:
        """Return whether ``points`` continue what was told."""
        told = len(self._told)
        return space == self._space and points[:told] == self._told and _fill(points) == self._fill

    def tell(self, points: Sequence[UnitPoint]) -> None:
        """Tell the points that are new."""
        new = points[len(self._told) :]
        for point in new:
            self._add(point)
        self._told += new

    def ask(self, number: int, running: Sequence[Trial]) -> dict[str, Value]:
        """Return the proposal for trial ``number`` while others are running."""
        from optuna import samplers
        from optuna.trial import TrialState, create_trial

        first = self._trials
        for trial in running:
            place = self._units(trial)
            self._study.add_trial(
                create_trial(state=TrialState.RUNNING, params=place, distributions=self._distributions)
            )
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        self._study.sampler = _seeded(getattr(samplers, self._sampler)(seed=seed), self._distributions)
        asked = self._study.ask(self._distributions)
        for left in range(first, asked.number + 1):
            self._study.tell(left, state=TrialState.FAIL)  # failed trials count nowhere
        self._trials = asked.number + 1
        return {one.name: self._value(one, asked.params) for one in self._space.dimensions}

    def _value(self, dimension: Dimension, params: Mapping[str, Any]) -> Value:
        if isinstance(dimension, Range):
            return dimension.from_unit(float(params[dimension.name]))
        return dimension.values[int(params.get(dimension.name, 0))]

    def _add(self, point: UnitPoint) -> None:
        from optuna.trial import create_trial

        # All or none: a model of the constraint needs its value everywhere, and costs time if all are feasible.
        constraints = None if self._fill is None else {"diverged": 1.0 if point.value is None else -1.0}
        self._study.add_trial(
            create_trial(
                params=self._units(point.trial),
                distributions=self._distributions,
                value=self._fill if point.value is None else point.value,
                constraints=constraints,
            )
        )
        self._trials += 1

    def _units(self, trial: Trial) -> dict[str, Any]:
        return {
            one.name: one.values.index(trial.values[one.name])
            if isinstance(one, Choice)
            else one.to_unit(trial.values[one.name])
            for one in self._space.free
        }


def _fill(points: Sequence[UnitPoint]) -> float | None:
    """Return the value of those that diverged, the worst of the others; None if none diverged.

    The models need one beside the constraint, and one far out would flatten everything that matters.
    """
    if all(point.value is not None for point in points):
        return None
    return max((point.value for point in points if point.value is not None), default=0.0)


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(range(len(dimension.values)))
    return FloatDistribution(0.0, 1.0)


def _seeded(inner: BaseSampler, distributions: Mapping[str, BaseDistribution]) -> BaseSampler:
    """Return ``inner`` without what would make it depend on more than its seed and what was told.

    That is the number of the trial in the study, which all that was asked raises, and the space, which optuna would
    gather from all trials each time.
    """
    from optuna.samplers import BaseSampler

    class Seeded(BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:  # noqa: ARG002  optuna's
            return dict(distributions)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return inner.sample_relative(study, _unnumbered(trial), search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return inner.sample_independent(study, _unnumbered(trial), param_name, param_distribution)

    return Seeded()


def _unnumbered(trial: Any) -> Any:
    alike = copy.copy(trial)
    alike.number = -1  # that of no trial: TPE leaves out the one that it is asked for
    return alike


@contextmanager
def quiet() -> Iterator[None]:
    """Keep optuna's notes on studies and optional packages off the terminal, only while it works for us."""
    with needing("search"):
        import optuna  # noqa: F401  sets the level of its logger

    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
