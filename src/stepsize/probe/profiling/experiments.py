"""Experiments that would confirm a reading, as code that runs as it stands where ``task`` is the task."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from stepsize.curves.numerals import number_text
from stepsize.probe.profiling.facts import Facts

__all__ = ["batch_sizes", "clips", "optimizers", "rate_range", "search", "warmups"]

_BELOW, _ABOVE = 100.0, 10.0  # times the critical rate: where the best rates of the built-in tasks were found
_ANY_RANGE = (1e-5, 1.0)  # where no critical rate was seen


def rate_range(facts: Facts) -> tuple[float, float]:
    """Return the rates worth a search: from a hundredth of the median critical rate to ten times it."""
    if not facts.steady:
        return _ANY_RANGE
    middle = statistics.median(facts.steady)
    return middle / _BELOW, middle * _ABOVE


def search(facts: Facts) -> str:
    """Return the search that settles the rate."""
    return f"stepsize.find(task, budget=1.0)  # its answer should lie in {_range_text(facts)}"


def batch_sizes(facts: Facts, sizes: Sequence[int]) -> str:
    """Return the sweep that shows how the best rate moves with the batch size."""
    return f"stepsize.sweep(task, lr={_range_text(facts)}, batch_size={list(sizes)})"


def warmups(facts: Facts, shares: Sequence[float] = (0.01, 0.05, 0.15)) -> str:
    """Return the sweep that shows whether a longer warm-up lets the peak rate be higher."""
    return f"stepsize.sweep(task, lr={_range_text(facts)}, warmup={list(shares)})"


def clips(facts: Facts, norms: Sequence[float]) -> str:
    """Return the sweep that compares largest gradient norms."""
    return f"stepsize.sweep(task, lr={_range_text(facts)}, clip=[{', '.join(number_text(norm, 2) for norm in norms)}])"


def optimizers(facts: Facts) -> str:
    """Return the sweep that compares SGD, whose layers move by their gradients, with Adam, whose move alike."""
    low, high = rate_range(facts)
    span = f"({number_text(min(low, 1e-4), 2)}, {number_text(max(high, 1.0), 2)})"  # their rates differ by decades
    return f'stepsize.sweep(task, lr={span}, optimizer=["momentum", "adamw"])'


def _range_text(facts: Facts) -> str:
    low, high = rate_range(facts)
    return f"({number_text(low, 2)}, {number_text(high, 2)})"
