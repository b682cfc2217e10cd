"""Linear warm-up followed by half a cosine: the schedule of the built-in tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stepsize.errors import InputError

__all__ = ["WarmupCosine", "warmup_cosine"]


@dataclass(frozen=True)
class WarmupCosine:
    """The value behind :func:`warmup_cosine`; call it with a step to get the factor."""

    steps: int
    warmup_steps: int
    floor: float

    def __str__(self) -> str:
        end = f" to {self.floor:g}" if self.floor else ""
        return f"warm-up over {self.warmup_steps} steps, then cosine{end}"

    def __call__(self, step: float) -> float:
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        decay = max(1, self.steps - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / decay)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_cosine(steps: int, *, warmup: float = 0.05, floor: float = 0.0) -> WarmupCosine:
    """Return a schedule that rises linearly to 1, then falls along half a cosine to ``floor``.

    With W = round(``warmup`` * ``steps``), the factor of update t is (t + 1) / (W + 1) for t < W, else
    f + (1 - f) (1 + cos(pi (t - W) / (``steps`` - W))) / 2 with f = ``floor``. The first update therefore
    never has rate 0, the peak is reached at t = W, and the end is reached after the last update.

    Args:
        steps: The horizon, in optimizer updates, >= 1.
        warmup: The share of the horizon that warms up, in [0, 1).
        floor: The factor that the decay ends at, in [0, 1].

    Returns:
        A picklable callable from step to factor.

    Raises:
        InputError: If an argument lies outside its range.

    Example:
        >>> eta = warmup_cosine(100, warmup=0.05)
        >>> [round(eta(t), 3) for t in (0, 5, 52, 100)]
        [0.167, 1.0, 0.508, 0.0]

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.
    """
    if steps < 1:
        raise InputError("steps", steps, "must be at least 1")
    if not 0 <= warmup < 1:
        raise InputError("warmup", warmup, "must be a share of the horizon in [0, 1)")
    if not 0 <= floor <= 1:
        raise InputError("floor", floor, "must be a factor in [0, 1]")
    return WarmupCosine(steps, round(warmup * steps), floor)
