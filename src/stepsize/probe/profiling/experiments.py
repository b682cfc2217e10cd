"""Experiments that would confirm a reading, as code that runs as it is if ``task`` is the task."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from stepsize.curves.numerals import number_text
from stepsize.probe.profiling.result import ProfileFacts

_BELOW, _ABOVE = 100.0, 10.0  # × the critical rate: where the best rates of the built-in tasks were found
_ANY_RANGE = (1e-5, 1.0)  # without a critical rate


def rate_range(facts: ProfileFacts) -> tuple[float, float]:
    """Return the rates worth a search: from a hundredth of the median critical rate to ten times it."""
    if not facts.steady:
        return _ANY_RANGE
    middle = statistics.median(facts.steady)
    return middle / _BELOW, middle * _ABOVE


def _span(low: float, high: float) -> str:
    return f"({number_text(low, 2)}, {number_text(high, 2)})"


def search(facts: ProfileFacts) -> str:
    """Return the search that settles the rate."""
    return f"stepsize.find(task, budget=1.0)  # its answer should lie in {_span(*rate_range(facts))}"


def _sweep(facts: ProfileFacts, further: str) -> str:
    return f"stepsize.sweep(task, lr={_span(*rate_range(facts))}, {further})"


def batch_sizes(facts: ProfileFacts, sizes: Sequence[int]) -> str:
    """Return the sweep that shows how the best rate changes with the batch size."""
    return _sweep(facts, f"batch_size={list(sizes)}")


def warmups(facts: ProfileFacts) -> str:
    """Return the sweep that shows whether a longer warmup lets the peak rate be higher."""
    return _sweep(facts, "warmup=[0.01, 0.05, 0.15]")


def clips(facts: ProfileFacts, norms: Sequence[float]) -> str:
    """Return the sweep that compares clipping thresholds."""
    return _sweep(facts, f"clip=[{', '.join(number_text(norm, 2) for norm in norms)}]")


def optimizers(facts: ProfileFacts) -> str:
    """Return the sweep that compares SGD, whose layers move by their gradients, with Adam, whose move equally."""
    low, high = rate_range(facts)
    span = _span(min(low, 1e-4), max(high, 1.0))  # their rates differ by decades
    return f'stepsize.sweep(task, lr={span}, optimizer=["momentum", "adamw"])'
