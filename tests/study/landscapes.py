"""Outcomes of made-up trainings, and spaces that samplers are tried on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from tests.study.runs import ran

from stepsize.study.samplers import Sampler
from stepsize.study.space import Choice, Space, as_space
from stepsize.study.strategy import Job
from stepsize.training.runs import Run, Trial, Value

Values = Mapping[str, Value]


def outcome(number: int, values: Values, value: float = 1.0, *, share: float = 1.0, seed: int = 0) -> Run:
    """Return what a training came to; it diverged if ``value`` is infinite."""
    job = Job(Trial(number, values), share, seed)
    return ran(job, value, diverged_at=0.1 if math.isinf(value) else None)


def fell(number: int, values: Values, *, share: float = 1.0, seed: int = 0) -> Run:
    """Return what a training came to that diverged."""
    return outcome(number, values, math.inf, share=share, seed=seed)


def bowl(values: Values, best: float = 0.01, critical: float = math.inf) -> float:
    """Return a loss that is lowest at ``best`` and infinite above ``critical``."""
    lr = float(values["lr"])
    return math.inf if lr > critical else 1 + math.log10(lr / best) ** 2


def swept(
    sampler: Sampler,
    space: Space,
    trials: int,
    loss: Callable[[Values], float],
    *,
    seen: Sequence[Run] = (),
) -> list[Run]:
    """Return the outcomes of trials proposed and told one after the other, ``seen`` among them."""
    outcomes = list(seen)
    for number in range(len(outcomes), trials):
        values = sampler(number, outcomes, space, [])
        if values is None:
            break
        outcomes.append(outcome(number, values, loss(values)))
    return outcomes


def all_values(outcomes: Sequence[Run]) -> list[Values]:
    """Return what was proposed."""
    return [one.trial.values for one in outcomes]


def units_of(space: Space, values: Values) -> list[float]:
    """Return where ``values`` lie in [0, 1] along each dimension, in the middle of the part of a choice."""
    return [
        (one.values.index(values[one.name]) + 0.5) / len(one.values)
        if isinstance(one, Choice)
        else one.to_unit(values[one.name])
        for one in space.dimensions
    ]


def holds(space: Space, values: Values) -> bool:
    """Say whether ``values`` lie in ``space``."""

    def inside(name: str, value: Value) -> bool:
        dimension = space[name]
        if isinstance(dimension, Choice):
            return value in dimension.values
        whole = isinstance(value, int) if dimension.whole else isinstance(value, float)
        return whole and dimension.low <= float(value) <= dimension.high

    return tuple(values) == space.names and all(inside(name, value) for name, value in values.items())


_RATES = st.floats(1e-7, 1e-2).flatmap(lambda low: st.tuples(st.just(low), st.floats(low * 1.5, 1e3)))
_BETAS = st.floats(0.0, 0.9).flatmap(lambda low: st.tuples(st.just(low), st.floats(low + 0.01, 0.999)))
_OTHERS: dict[str, st.SearchStrategy[Any]] = {
    "momentum": _BETAS,
    "weight_decay": st.just((1e-6, 0.1)),
    "warmup": st.sampled_from([(0.0, 0.2), (0, 50), 0.05, "5%"]),
    "batch_size": st.sampled_from([(8, 256), (1, 2), [16, 64], 32]),
    "optimizer": st.sampled_from([["sgd", "adamw"], "adam"]),
    "clip": st.sampled_from([(0.1, 10.0), 1.0]),
}
SPACES: st.SearchStrategy[Space] = st.builds(
    lambda lr, others: as_space(lr=lr, **others),
    _RATES | st.just([0.1, 0.01, 0.001]),
    st.fixed_dictionaries({}, optional=_OTHERS),
)
