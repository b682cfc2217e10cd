"""What to do about what was measured: sentences, each standing on numbers and on an experiment that confirms it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stepsize.probe.profiling.advice_on_data import (
    on_classes,
    on_data,
    on_features,
    on_layers,
    on_start,
    on_target,
)
from stepsize.probe.profiling.advice_on_steps import on_batch_size, on_clipping, on_rate, on_warmup
from stepsize.probe.profiling.facts import Facts
from stepsize.probe.profiling.result import Advice

__all__ = ["advise"]

_TOPICS: tuple[Callable[[Facts], Iterator[Advice]], ...] = (
    on_data, on_rate, on_warmup, on_batch_size, on_features, on_target, on_start, on_clipping, on_classes, on_layers,
)  # fmt: skip


def advise(facts: Facts) -> tuple[Advice, ...]:
    """Return the advice on a task, the most consequential first."""
    return tuple(advice for topic in _TOPICS for advice in topic(facts))
