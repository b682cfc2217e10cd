"""The step of each row of a log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from stepsize.errors import InputError
from stepsize.monitor.logs.names import counter_in, plain_name
from stepsize.monitor.logs.texts import Row

_LARGEST = 2**53  # steps below are exact


def steps_of(rows: Sequence[Row], loss: Sequence[str]) -> tuple[list[int | None], bool]:
    """Return the step of each row, None of those that a resumed run replaced, and whether a counter says it.

    The rows with a training loss decide. A counter that is not whole, repeats or starts again (an epoch, a batch within
    it) is not a step: then these rows are counted. One that returns to an earlier step and continues is a run that was
    resumed, and its later rows count. Other rows lie where they stand among those with a loss.
    """
    trained = [place for place, row in enumerate(rows) if any(name in row for name in loss)]
    counters = [_counted(rows[place]) for place in trained]
    known = [value for value in counters if math.isfinite(value)]
    if any(abs(value) >= _LARGEST for value in known):
        raise InputError("log", max(known, key=abs), "must count steps below 2**53, which numbers hold exactly")
    levels = [rows[place].get(loss[0], math.nan) for place in trained]
    steps: list[int | None] = list(range(len(trained)))
    counted = len(known) == len(counters) and _counts_steps(known, levels, any(map(_has_epoch, rows)))
    if counted:
        steps, lowest = [None] * len(trained), math.inf
        for place in range(len(trained) - 1, -1, -1):
            if counters[place] < lowest:
                steps[place], lowest = int(counters[place]), counters[place]
    return _placed(rows, dict(zip(trained, steps, strict=True))), counted


def _counted(row: Row) -> float:
    counter = counter_in(row)
    return math.nan if counter is None else row[counter]


def _has_epoch(row: Row) -> bool:
    counter = counter_in(row)
    return counter is not None and plain_name(counter) != "epoch" and any(plain_name(name) == "epoch" for name in row)


def _counts_steps(values: Sequence[float], losses: Sequence[float], epochs: bool) -> bool:
    """Return whether a counter counts steps, possibly of a run that was resumed."""
    if any(value != int(value) for value in values):
        return False
    pairs = list(pairwise(values))
    backs = [place + 1 for place, (before, after) in enumerate(pairs) if after < before]
    if any(after == before for before, after in pairs) or len(backs) > max(2, len(values) // 50):
        return False
    anew = [place for place in backs if values[place] <= values[0]]
    return not any(epochs or _continues(losses, place) for place in anew)


def _continues(losses: Sequence[float], place: int) -> bool:
    """Return whether the loss goes on at ``place`` where it was, so that only the counter began again."""
    level = [float(np.nanmedian(part)) for part in (losses[:5], losses[max(0, place - 5) : place], losses[place:][:5])]
    return bool(abs(level[2] - level[1]) < abs(level[2] - level[0]))


def _placed(rows: Sequence[Row], trained: dict[int, int | None]) -> list[int | None]:
    """Return the step of every row: its own counter if that lies between the rows around it with a loss."""
    steps: list[int | None] = []
    after = {}
    following: int | None = None
    for place in range(len(rows) - 1, -1, -1):
        following = trained[place] if trained.get(place) is not None else following
        after[place] = following
    before: int | None = None
    for place, row in enumerate(rows):
        if place in trained:
            steps.append(trained[place])
            before = trained[place] if trained[place] is not None else before
            continue
        own, end = _counted(row), after[place]
        begin = before if before is not None else 0
        fits = math.isfinite(own) and begin <= own and (end is None or own <= end) and own < _LARGEST
        steps.append(int(own) if fits and own == int(own) else begin)
    return steps
