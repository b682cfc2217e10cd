"""The signals that verdicts rest on: values by hand, none with a unit, and unknown ones that are NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stepsize.monitor.rate_signals import RATE_SIGNALS, rate_signals, signal_text
from stepsize.monitor.record import Facts, Record

FACTS = Facts(steps=320, usual_lr=0.1, adaptive=False, momentum=0.9)


def recorded(scale: float = 1.0, facts: Facts = FACTS, *, steps: int = 80) -> Record:
    """Return a run whose loss falls from 4 to 1 within its first half, with slopes and validation losses."""
    record = Record(facts)
    losses = [scale * max(1.0, 4 - 6 * n / steps) for n in range(steps)]
    record.add_losses(range(steps), losses)
    record.extend("lr/0", range(steps), [0.01] * steps)
    record.extend("slope_then", range(steps), [-0.02 * scale] * steps)
    record.extend("slope_now", range(steps), [-0.01 * scale] * steps)
    record.extend("update_ratio", range(steps), [0.001] * steps)
    seen = range(9, steps, 10)
    record.extend("val_loss", seen, [scale * (2 if step < 40 else 3) for step in seen])
    record.step = steps
    return record


def test_the_signals_are_those_by_hand() -> None:
    found = rate_signals(recorded())
    assert list(found) == list(RATE_SIGNALS)
    expected = {
        "over usual": -1.0,  # 0.01 over 0.1
        "adaptive": 0.0,
        "momentum": 1.0,  # 1 / (1 - 0.9)
        "progress": -2.0,
        "rate now": 1.0,
        "fall": (4 - 0.15 - 1) / 3.85,  # the start is the median of the first five losses
        "log fall": math.log10(1 / 3.85),
        "late fall": (1.75 - 1) / 2.85,  # the second quarter's median is 4 - 6 * 30 / 80, or 1.75
        "promise": math.log10(0.02 * 240 / 1),
        "promised": math.log10(0.02 * 80 / 3.85),
        "alpha": -0.5,
        "update": -3.0,
        "updates": math.log10(0.001 * 320),
        "val fall": math.log10(3 / 2),
        "val best": 10 / 80,
        "val rise": math.log10(3 / 2),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.02)
    assert math.isnan(found["straightness"])


def test_a_loss_in_other_units_gives_the_same_signals() -> None:
    one, other = rate_signals(recorded()), rate_signals(recorded(1e-3))
    assert other == pytest.approx(one, nan_ok=True, abs=1e-6)


@pytest.mark.parametrize("losses", [[], [1.0] * 3, [0.0] * 80, [-1.0] * 80, [math.nan] * 80, [1e300] * 80])
def test_odd_runs_give_numbers_or_nan(losses: list[float]) -> None:
    record = Record()
    record.add_losses(range(len(losses)), losses)
    record.step = len(losses)
    with np.errstate(all="raise"):
        found = rate_signals(record)
    assert all(math.isnan(value) or abs(value) <= 320 for value in found.values())


def test_signals_are_told_in_words() -> None:
    assert signal_text("over usual", -1.5) == "learning rate over the usual one of the optimizer 0.032"
    assert signal_text("progress", -2.0) == "fraction of the steps that is done 0.25"
    assert signal_text("late fall", 0.304) == "share of the decrease in the second half of the steps so far 0.3"
