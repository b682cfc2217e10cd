"""The greedy rule against its definition, and what makes it move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stepsize.errors import InputError
from stepsize.optimizers.adaptive import Greedy
from stepsize.optimizers.adaptive.rule import Now


def multipliers(losses: Sequence[float] | Any, **options: Any) -> list[float]:
    rule, found = Greedy(**options), []
    for loss in losses:
        now = Now([], [], 1.0, 0.1, float(loss), None, (1e-6, 1e6))
        found.append(rule.multiplier(now))
        rule.learn(now, [], found[-1])
    return found


def twin(losses: Any, w: int = 10, c: float = 1.0) -> list[float]:
    """The definition with numpy, window by window; no loss jumps."""
    s, still, found = 1.0, 0, [1.0] * (w - 1)
    rows = np.asarray(losses).reshape(-1, w)
    for number in range(len(rows)):
        if number:
            a, b = rows[number - 1], rows[number]
            z = (a.mean() - b.mean()) / math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / w)
            still = still + 1 if abs(z) <= c else 0
            if z > c:
                s *= 1.5
            elif z < -c:
                s *= 0.5
            elif still == 3:
                s, still = s * 0.5, 0
        found += [s] * w
    return found[: len(losses)]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    course = np.concatenate([np.linspace(3, 2, 60), np.full(80, 2.0), np.linspace(2, 2.5, 60)])
    losses = course + 0.1 * rng.normal(size=len(course))
    assert multipliers(losses) == pytest.approx(twin(losses))


def test_it_rises_while_the_loss_falls() -> None:
    assert multipliers(np.linspace(2.0, 1.0, 40))[-1] == pytest.approx(1.5**3)


def test_it_falls_where_the_loss_rises_or_stands_still() -> None:
    assert multipliers(np.linspace(1.0, 2.0, 40))[-1] == pytest.approx(0.5**3)
    assert multipliers([1.0] * 70) == [1.0] * 39 + [0.5] * 30 + [0.25]


def test_a_jump_does_not_wait_for_the_window() -> None:
    losses = [1.0, 1.1] * 5 + [1.0, 20.0, 1.0]
    assert multipliers(losses)[-3:] == [1.0, 0.5, 0.5]
    assert multipliers([1.0, math.nan, 1.0]) == [1.0, 0.5, 0.5]


def test_its_memory_is_plain_and_goes_on() -> None:
    losses = np.linspace(2.0, 1.0, 40)
    rule, other = Greedy(), Greedy()
    for loss in losses[:25]:
        rule.multiplier(Now([], [], 1.0, 0.1, float(loss), None, (1e-6, 1e6)))
    other.memory = dict(rule.memory)
    after = [
        [one.multiplier(Now([], [], 1.0, 0.1, float(loss), None, (1e-6, 1e6))) for loss in losses[25:]]
        for one in (rule, other)
    ]
    assert after[0] == after[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 3}, "window must be a whole number of at least 4"),
        ({"patience": 0}, "patience must be a whole number of at least 1"),
        ({"up": 1.0}, "up must be a number above 1"),
        ({"down": 0.0}, "down must be a number above 0, at most 1"),
        ({"confidence": 0.0}, "confidence must be a number above 0"),
    ],
)
def test_bad_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Greedy(**options)
