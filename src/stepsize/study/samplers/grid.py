"""The grid: equal steps in the scales of the space, coarse ones first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import final

from stepsize.errors import InputError
from stepsize.study.ceiling import Ceiling
from stepsize.study.samplers.lowering import lowered
from stepsize.study.space import Choice, Dimension, Range, Space
from stepsize.training.runs import Run, Trial, Value

__all__ = ["Grid"]

_LR_WEIGHT = 2  # the rate is what is searched: it gets about twice the points of any other range


@final
class Grid:
    """Goes through a grid, the same each time.

    Lists are taken whole; ranges share what is left of the trials, the rate first. The order is useful early: along a
    range it halves the gaps again and again, and of several dimensions none waits for another. In a range that
    was widened the grid goes on with its spacing.

    Args:
        trials: The most points that it may have, >= 1.

    Example:
        >>> from stepsize.study.space import as_space
        >>> space = as_space(lr=(1e-4, 1.0))
        >>> [Grid(5).propose(number, [], space, None) for number in range(6)]
        [{'lr': 0.0001}, {'lr': 1.0}, {'lr': 0.01}, {'lr': 0.001}, {'lr': 0.1}, None]
    """

    def __init__(self, trials: int) -> None:
        self._trials = trials

    def propose(
        self,
        number: int,
        seen: Sequence[Run],  # noqa: ARG002  the protocol's
        space: Space,
        ceiling: Ceiling | None,
        running: Sequence[Trial] = (),  # noqa: ARG002
    ) -> dict[str, Value] | None:
        """Return point ``number``, None behind the last; ``seen`` does not matter.

        Raises:
            InputError: If the lists alone have more combinations than there are trials.
        """
        points = _points(space, self._trials)
        if number >= len(points):
            return None
        values = dict(zip(space.names, points[number], strict=True))
        # Rates from a list were asked for one by one; moved onto each other they would teach nothing.
        return values if isinstance(space.lr, Choice) else lowered(values, space, ceiling)


@lru_cache(maxsize=8)
def _points(space: Space, trials: int) -> tuple[tuple[Value, ...], ...]:
    first = [_before(dimension) for dimension in space.dimensions]
    axes = [_coarse_first(one, points) for one, points in zip(first, _counts(first, trials), strict=True)]
    found = _product(axes)
    for place, dimension in enumerate(space.dimensions):
        if not isinstance(dimension, Range):
            continue
        for low, high in (*dimension.earlier[1:], (dimension.low, dimension.high))[: len(dimension.earlier)]:
            added = _beyond(replace(dimension, low=low, high=high, earlier=()), axes[place], first[place])
            found += _product([*axes[:place], added, *axes[place + 1 :]])
            axes[place] = [*axes[place], *added]
    return tuple(found)


def _before(dimension: Dimension) -> Dimension:
    """Return the dimension as it was before it was widened."""
    if isinstance(dimension, Choice) or not dimension.earlier:
        return dimension
    low, high = dimension.earlier[0]
    return replace(dimension, low=low, high=high, earlier=())


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
    """Return 0 … count − 1 in the order of van der Corput: by their bits, lowest first.

    Reference:
        van der Corput, Verteilungsfunktionen, 1935.

    Example:
        >>> _halvings(9)
        [0, 8, 4, 2, 6, 1, 5, 3, 7]
    """
    bits = max(1, (count - 1).bit_length())
    mirrored = (int(f"{index:0{bits}b}"[::-1], 2) for index in range(2**bits))
    return [index for index in mirrored if index < count]


def _product(axes: Sequence[Sequence[Value]]) -> list[tuple[Value, ...]]:
    """Return all combinations, early those that are early in every axis."""
    ranks = itertools.product(*(range(len(axis)) for axis in axes))
    # How often an axis was halved until then, summed: none of them waits for another.
    order = sorted(ranks, key=lambda rank: (sum(one.bit_length() for one in rank), rank))
    return [tuple(axis[one] for axis, one in zip(axes, rank, strict=True)) for rank in order]


def _beyond(wide: Range, axis: Sequence[Value], first: Dimension) -> list[Value]:
    """Return the points that continue ``axis`` to the ends of ``wide``, from the inside outwards."""
    units = sorted(wide.to_unit(value) for value in axis)
    lone = wide.to_unit(first.from_unit(1.0)) - wide.to_unit(first.from_unit(0.0))  # of a single point: the old range
    step = units[1] - units[0] if len(units) > 1 else lone
    slack = 1e-6 * step  # rounding must not cost the end
    up = [units[-1] + step * count for count in range(1, int((1 - units[-1] + slack) / step) + 1)]
    down = [units[0] - step * count for count in range(1, int((units[0] + slack) / step) + 1)]
    return [value for value in dict.fromkeys(wide.from_unit(unit) for unit in (*up, *down)) if value not in axis]
