"""Schedules for JAX: a function of the count that optax takes wherever it takes a learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from stepsize.errors import needing
from stepsize.frameworks.table import rate_table

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from stepsize.schedules import Schedule


def to_optax(schedule: Schedule, lr: float, steps: int | None = None) -> Callable[[ArrayLike], Array]:
    """Return ``schedule`` as an optax schedule: from the count of updates, starting with 0, to the learning rate.

    It reads a table of all updates, so it compiles, vectorizes and differentiates like a constant. The table is
    computed in float64 and rounded once to JAX's present precision: with ``jax_enable_x64`` the learning rates are
    exactly those of a bound schedule, without it the nearest float32 numbers.

    Args:
        schedule: A schedule, whose relative durations ``steps`` resolves.
        lr: Peak learning rate (factor 1).
        steps: Number of updates in the table. Defaults to the schedule's length; after it the learning rate is held.

    Returns:
        A function of a whole number or an array of them.

    Raises:
        InputError: If an argument breaks its rule, or the schedule has no end and ``steps`` is not given.
        MissingExtraError: If JAX is not installed.

    Example:
        ```python
        tx = optax.adamw(to_optax(stepsize.schedules.cosine(10_000, warmup="5%"), lr=3e-3))
        ```
    """
    rates = rate_table(schedule, lr, steps)
    with needing("jax"):
        import jax
    table = jax.numpy.asarray(rates)

    def rate(count: ArrayLike) -> Array:
        return table[jax.numpy.clip(jax.numpy.asarray(count), 0, len(rates) - 1)]

    return rate
