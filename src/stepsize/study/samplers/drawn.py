"""Draws: uniform in the scales of the space, at random or along a Sobol sequence; what was seen does not matter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from stepsize.study.ceiling import Ceiling
from stepsize.study.samplers.lowering import lowered
from stepsize.study.space import Space
from stepsize.training.runs import Run, Trial, Value

__all__ = ["Random", "Sobol"]


@final
class Random:
    """Draws each trial on its own.

    Args:
        seed: Of all draws, >= 0.

    Example:
        >>> from stepsize.study.space import as_space
        >>> space = as_space(lr=(1e-4, 1.0))
        >>> Random(0).propose(3, [], space, None) == Random(0).propose(3, [], space, None)
        True
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def propose(
        self,
        number: int,
        seen: Sequence[Run],  # noqa: ARG002  the protocol's
        space: Space,
        ceiling: Ceiling | None,
        running: Sequence[Trial] = (),  # noqa: ARG002
    ) -> dict[str, Value] | None:
        """Return the values of trial ``number``; ``seen`` does not matter."""
        units = np.random.default_rng((self._seed, number)).random(len(space.dimensions)).tolist()
        return lowered(space.from_units(units), space, ceiling)


@final
class Sobol:
    """Draws along a Sobol sequence, which leaves no holes, moved as a whole by a random shift.

    Trial i lies at frac(xᵢ + s), x the sequence and s drawn once for each dimension.

    Args:
        seed: Of the shift, >= 0.

    Reference:
        Sobol, On the distribution of points in a cube and the approximate evaluation of integrals, 1967; Cranley and
        Patterson, Randomization of number theoretic methods for multiple integration, 1976.

    Example:
        >>> from stepsize.study.space import as_space
        >>> rates = [Sobol(0).propose(number, [], as_space(lr=(1e-4, 1.0)), None)["lr"] for number in range(4)]
        >>> sorted(int(-np.log10(rate)) for rate in rates)
        [0, 1, 2, 3]
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def propose(
        self,
        number: int,
        seen: Sequence[Run],  # noqa: ARG002  the protocol's
        space: Space,
        ceiling: Ceiling | None,
        running: Sequence[Trial] = (),  # noqa: ARG002
    ) -> dict[str, Value] | None:
        """Return the values of trial ``number``; ``seen`` does not matter."""
        free = space.free
        shift = np.random.default_rng(self._seed).random(len(free))
        point = (_sequence(len(free), (number + 1).bit_length())[number] + shift) % 1.0 if free else shift
        drawn = dict(zip((one.name for one in free), point.tolist(), strict=True))
        units = [drawn.get(dimension.name, 0.0) for dimension in space.dimensions]
        return lowered(space.from_units(units), space, ceiling)


@lru_cache(maxsize=8)
def _sequence(dimensions: int, bits: int) -> NDArray[np.float64]:
    """Return the first 2^bits points."""
    points: NDArray[np.float64] = qmc.Sobol(dimensions, scramble=False).random_base2(bits)
    return points
