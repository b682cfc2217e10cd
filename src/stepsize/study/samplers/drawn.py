"""Samplers that do not learn from losses: a grid, random draws, a Sobol sequence; and what all samplers share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError
from stepsize.study.space import Choice, Dimension, Range, Space
from stepsize.training.runs import Run, Trial, Value

_BLOCK = 64  # trials that are drawn together
_LR_WEIGHT = 2  # the rate is what is searched: it gets about twice the points of any other range


Sampler: TypeAlias = Callable[[int, Sequence[Run], Space, Sequence[Trial]], "dict[str, Value] | None"]
"""Proposes the values of a trial; None if there is nothing left to propose.

It gets the number of the trial, from 0, all runs so far in the order in which they ended, the space, and the trials
that were proposed and have no run yet, which others keep away from. A proposal is a pure function of these and the
sampler's seed, so a killed study continues with the same trials; what a sampler remembers only makes it faster.
"""


def drawn(draw: Callable[[int, Space], dict[str, Value] | None]) -> Sampler:
    """Return the sampler that draws from the number of the trial and the space, whatever was seen."""
    return lambda number, _seen, space, _running: draw(number, space)


def random(seed: int, number: int, space: Space) -> dict[str, Value]:
    """Draw each trial independently."""
    block, place = divmod(number, _BLOCK)
    return space.from_units(_uniform(seed, block, len(space.dimensions))[place])


@lru_cache(maxsize=8)
def _uniform(seed: int, block: int, dimensions: int) -> list[list[float]]:
    """Return the draws of a block of trials: a generator of its own takes longer to make than a trial to store."""
    drawn: list[list[float]] = np.random.default_rng((seed, block)).random((_BLOCK, dimensions)).tolist()
    return drawn


def sobol(seed: int, number: int, space: Space) -> dict[str, Value]:
    """Draw along a Sobol sequence, which leaves no holes, shifted as a whole by a random vector modulo 1.

    Reference:
        Cranley and Patterson, Randomization of number theoretic methods for multiple integration, 1976.
    """
    free = space.free
    shift = np.random.default_rng(seed).random(len(free))
    point = (_sequence(len(free), (number + 1).bit_length())[number] + shift) % 1.0 if free else shift
    drawn = dict(zip((one.name for one in free), point.tolist(), strict=True))
    return space.from_units([drawn.get(dimension.name, 0.0) for dimension in space.dimensions])


@lru_cache(maxsize=8)
def _sequence(dimensions: int, bits: int) -> NDArray[np.float64]:
    """Return the first 2^bits points."""
    from scipy.stats import qmc  # half a second, which only this sampler waits for

    points: NDArray[np.float64] = qmc.Sobol(dimensions, scramble=False).random_base2(bits)
    return points


def grid(trials: int, number: int, space: Space) -> dict[str, Value] | None:
    """Return a point of a grid with at most ``trials`` points, None after the last.

    Lists are taken whole; ranges share what is left of the trials, the rate first. The order is useful early: along a
    range it halves the gaps again and again, and of several dimensions none waits for another.
    """
    points = _points(space, trials)
    return None if number >= len(points) else dict(zip(space.names, points[number], strict=True))


@lru_cache(maxsize=8)
def _points(space: Space, trials: int) -> tuple[tuple[Value, ...], ...]:
    counts = _counts(space.dimensions, trials)
    axes = [_coarse_first(one, points) for one, points in zip(space.dimensions, counts, strict=True)]
    return tuple(_product(axes))


def _counts(dimensions: Sequence[Dimension], trials: int) -> list[int]:
    """Return how many points each dimension gets, so that their product is at most ``trials``."""
    counts = [len(one.values) if isinstance(one, Choice) else 1 for one in dimensions]
    if math.prod(counts) > trials:
        lists = [f"{len(one.values)} × {one.name}" for one in dimensions if isinstance(one, Choice) and not one.fixed]
        remedy = (
            f"The lists have {math.prod(counts)} combinations ({', '.join(lists)}); shorten them or sample at random"
        )
        raise InputError("trials", trials, "must be enough for a grid over all lists", remedy)
    while True:
        room = [
            (count / (_LR_WEIGHT if one.name == "lr" else 1), place)
            for place, (one, count) in enumerate(zip(dimensions, counts, strict=True))
            if isinstance(one, Range) and math.prod(counts) // count * (count + 1) <= trials
        ]
        if not room:
            return counts
        counts[min(room)[1]] += 1


def _coarse_first(dimension: Dimension, points: int) -> list[Value]:
    values = dimension.grid(points)
    return list(values) if isinstance(dimension, Choice) else [values[index] for index in _halvings(len(values))]


def _halvings(count: int) -> list[int]:
    """Return 0 … count − 1 in the order of van der Corput: by their bits, lowest first, as 0, 8, 4, 2, 6, 1, 5, 3, 7.

    Reference:
        van der Corput, Verteilungsfunktionen, 1935.
    """
    bits = max(1, (count - 1).bit_length())
    mirrored = (int(f"{index:0{bits}b}"[::-1], 2) for index in range(2**bits))
    return [index for index in mirrored if index < count]


def _product(axes: Sequence[Sequence[Value]]) -> list[tuple[Value, ...]]:
    """Return all combinations; those that are early in every axis come early."""
    ranks = itertools.product(*(range(len(axis)) for axis in axes))
    # How often an axis was halved until then, summed: none of them waits for another.
    order = sorted(ranks, key=lambda rank: (sum(one.bit_length() for one in rank), rank))
    return [tuple(axis[one] for axis, one in zip(axes, rank, strict=True)) for rank in order]
