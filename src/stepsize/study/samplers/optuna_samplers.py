"""Samplers that fit a model to what was seen: optuna's, asked and told in memory."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np

from stepsize.errors import needing
from stepsize.study.ceiling import Ceiling
from stepsize.study.samplers.lowering import lowered
from stepsize.study.samplers.told import Point, Told
from stepsize.study.space import Choice, Dimension, Range, Space
from stepsize.training.runs import Run, Trial, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import Trial as OptunaTrial

__all__ = ["CMAES", "GP", "TPE", "Guided", "Method"]

Units: TypeAlias = dict[str, Any]

_FOLD = 0.1  # what a model proposes above the ceiling is meant to be near it


@dataclass(frozen=True)
class Method:
    """One of optuna's samplers, and what it can take.

    Attributes:
        make: Makes it for a seed.
        constraints: Whether it can be told that a trial was not feasible.
        lists: Whether it can choose from a list; where not, that is drawn at random.
        replayed: Whether it keeps its state in trials that it was asked for.
        minds_running: Whether it keeps away from trials that still run.
    """

    make: Callable[[int], BaseSampler]
    constraints: bool = True
    lists: bool = True
    replayed: bool = False
    minds_running: bool = True


def _tpe(seed: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed)


def _gp(seed: int) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed)


def _cmaes(seed: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


TPE = Method(_tpe)
GP = Method(_gp)
CMAES = Method(_cmaes, constraints=False, lists=False, replayed=True, minds_running=False)


@final
class Guided:
    """Proposes where one of optuna's samplers expects the most.

    Everything is told in the coordinates of the space, [0, 1] a dimension. For each proposal the sampler is made
    anew, seeded with its number.

    Args:
        method: Which.
        seed: Of all proposals, >= 0.

    Example:
        >>> from stepsize.study.space import as_space
        >>> space = as_space(lr=(1e-4, 1.0))
        >>> Guided(TPE, 0).propose(3, [], space, None) == Guided(TPE, 0).propose(3, [], space, None)
        True
    """

    def __init__(self, method: Method, seed: int) -> None:
        self._method = method
        self._seed = seed
        self._told = Told()
        self._record: _Record | None = None

    def propose(
        self,
        number: int,
        seen: Sequence[Run],
        space: Space,
        ceiling: Ceiling | None,
        running: Sequence[Trial] = (),
    ) -> dict[str, Value] | None:
        """Return the values of trial ``number``, fitted to ``seen``, away from what is ``running``."""
        self._told.take(seen)
        points = self._told.points()
        with _quiet():
            if self._record is None or not self._record.goes_on(space, points):
                self._record = _Record(self._method, self._seed, space, points)
            self._record.tell(points)
            units = self._record.ask(number, running if self._method.minds_running else ())
        values = space.from_units([self._unit(one, number, place, units) for place, one in enumerate(space.dimensions)])
        return lowered(values, space, ceiling, depth=_FOLD)

    def _unit(self, dimension: Dimension, number: int, place: int, units: Units) -> float:
        if isinstance(dimension, Range):
            return float(units[dimension.name])
        if dimension.name in units:
            return dimension.to_unit(dimension.values[units[dimension.name]])
        return float(np.random.default_rng((self._seed, number, place)).random())


class _Record:
    """A study of optuna's that holds some points; what runs is put in for one proposal and taken out again."""

    def __init__(self, method: Method, seed: int, space: Space, points: Sequence[Point]) -> None:
        import optuna

        self._method = method
        self._seed = seed
        self._space = space
        self._dimensions = [one for one in space.free if isinstance(one, Range) or method.lists]
        self._distributions = {one.name: _distribution(one) for one in self._dimensions}
        self._fill = _fill(points)
        self._told: list[Point] = []
        self._study: Study = optuna.create_study()
        self._trials = 0

    def goes_on(self, space: Space, points: Sequence[Point]) -> bool:
        """Say whether ``points`` continue what was told, so that nothing of it has to be told anew."""
        told = len(self._told)
        return space == self._space and points[:told] == self._told and _fill(points) == self._fill

    def tell(self, points: Sequence[Point]) -> None:
        """Tell the points that are new."""
        new = points[len(self._told) :]
        for point in new:
            self._replay(point) if self._method.replayed else self._add(point)
        self._told += new

    def ask(self, number: int, running: Sequence[Trial]) -> Units:
        """Return the proposal for trial ``number`` while others are running."""
        from optuna.trial import TrialState, create_trial

        first = self._trials
        for trial in running:
            place = self._units(trial)
            self._study.add_trial(
                create_trial(state=TrialState.RUNNING, params=place, distributions=self._distributions)
            )
        asked = self._next(number)
        for left in range(first, asked.number + 1):
            self._study.tell(left, state=TrialState.FAIL)  # failed trials count nowhere
        self._trials = asked.number + 1
        return asked.params

    def _next(self, number: int, instead: Units | None = None) -> OptunaTrial:
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        self._study.sampler = _seeded(self._method.make(seed), self._distributions, instead)
        return self._study.ask(self._distributions)

    def _add(self, point: Point) -> None:
        from optuna.trial import create_trial

        # All or none: a model of the constraint needs its value everywhere, and costs time where all are feasible.
        known = self._method.constraints and self._fill is not None
        constraints = {"diverged": 1.0 if point.figure is None else -1.0} if known else None
        self._study.add_trial(
            create_trial(
                params=self._units(point.trial),
                distributions=self._distributions,
                value=self._value(point),
                constraints=constraints,
            )
        )
        self._trials += 1

    def _replay(self, point: Point) -> None:
        trial = self._next(point.trial.number, self._units(point.trial))
        self._study.tell(trial, self._value(point))
        self._trials += 1

    def _value(self, point: Point) -> float:
        figure = self._fill if point.figure is None else point.figure
        assert figure is not None
        return figure

    def _units(self, trial: Trial) -> Units:
        return {
            one.name: one.values.index(trial.values[one.name])
            if isinstance(one, Choice)
            else one.to_unit(trial.values[one.name])
            for one in self._dimensions
        }


def _fill(points: Sequence[Point]) -> float | None:
    """Return the figure of those that diverged; None where none did.

    It is the worst of the others. The models need one beside the constraint, and one far out would flatten
    everything that matters; CMA-ES, which knows no constraints, looks at the order alone.
    """
    if all(point.figure is not None for point in points):
        return None
    return max((point.figure for point in points if point.figure is not None), default=0.0)


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(range(len(dimension.values)))
    return FloatDistribution(0.0, 1.0)


def _seeded(inner: BaseSampler, distributions: Mapping[str, BaseDistribution], instead: Units | None) -> BaseSampler:
    """Return ``inner`` without what would make it depend on more than its seed and what was told.

    That is the number of the trial in the study, which all that was asked raises, and the space, which optuna would
    gather from all trials each time. Where ``instead`` is given, that is what is proposed, and ``inner`` only notes its
    state.
    """
    from optuna.samplers import BaseSampler

    class Seeded(BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:  # noqa: ARG002  optuna's
            return dict(distributions)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            proposed = inner.sample_relative(study, _unnumbered(trial), search_space)
            return proposed if instead is None else instead

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return inner.sample_independent(study, _unnumbered(trial), param_name, param_distribution)

    return Seeded()


def _unnumbered(trial: Any) -> Any:
    alike = copy.copy(trial)
    alike.number = -1  # that of no trial: TPE leaves out the one that it is asked for
    return alike


@contextmanager
def _quiet() -> Iterator[None]:
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
