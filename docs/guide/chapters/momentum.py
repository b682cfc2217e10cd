"""Chapter 6: momentum and rate are one choice: where the best rate goes, and what momentum brings at its own rate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from docs.guide.charts import Series, line_chart, log_axis, plain_axis
from docs.guide.measuring import (
    Effort,
    Measured,
    Tuned,
    decades,
    difference_text,
    pairs,
    per_cent,
    small_task,
    table,
    trained,
    tuned,
)  # fmt: skip
from torch import nn

import stepsize
from stepsize import Conditions
from stepsize.tasks import build_task
from stepsize.training import Changes, TensorBatches
from stepsize.views import number_text

_MOMENTA = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)
_EXACT = 1e-6  # share of a loss below which 32 bits tell nothing
_RANGE = (0.003, 10)


def measure(effort: Effort) -> Measured:
    """Tune the rate for each momentum, with mini-batches and with all rows, and hold the rule against it."""
    steps = effort(200, 20)
    heavy, nesterov = ({m: _tuned(name, m, steps, effort) for m in _MOMENTA} for name in ("momentum", "nesterov"))
    whole = {m: _tuned("momentum", m, effort(100, 10), effort, whole=True) for m in (0.0, 0.9)}
    effective = {m: one.lr / (1 - m) for m, one in heavy.items()}
    spread_lr = max(one.lr for one in heavy.values()) / min(one.lr for one in heavy.values())
    middle = [m for m in _MOMENTA if m < 0.99]
    spread_effective = max(effective[m] for m in middle) / min(effective[m] for m in middle)
    moved = _kept_rate(heavy)
    rule = stepsize.translate(heavy[0.0].lr, from_=Conditions("momentum", 0.0), to=Conditions("momentum", 0.9))
    assert rule.lr is not None
    gain = pairs(heavy[0.9].losses, heavy[0.0].losses)
    whole_gain = pairs(whole[0.9].losses, whole[0.0].losses)
    beats = pairs(nesterov[0.9].losses, heavy[0.9].losses)
    long = pairs(heavy[0.99].losses, heavy[0.9].losses)
    valley = {steps: _valley(steps, effort) for steps in (effort(50, 10), effort(200, 20))}
    return Measured(
        gist=f"The best rate changes by a factor of {number_text(spread_lr, 2)} between momentum 0 and 0.99, and rate "
        f"÷ (1 − momentum) by a factor of {number_text(spread_effective, 2)} between 0 and 0.95. Each at its own best "
        f"rate, momentum 0.9 ended {difference_text(gain, 'no momentum')}.",
        numbers={
            "spread_lr": spread_lr,
            "spread_effective": spread_effective,
            "gain_batches": gain.value,
            "gain_whole": whole_gain.value,
            "nesterov": beats.value,
            "rule": rule.lr / heavy[0.9].lr,
            "kept_rate": moved,
            **{
                f"valley_{place}": of[0.0] / of[0.9]
                for place, of in zip(("soon", "late"), valley.values(), strict=True)
            },
        },
        blocks={
            "table": table(
                (
                    "momentum",
                    "best rate",
                    "rate ÷ (1 − m)",
                    "validation loss",
                    "Nesterov: best rate",
                    "validation loss",
                ),
                [
                    (
                        number_text(m),
                        heavy[m].lr,
                        effective[m],
                        str(heavy[m].mean),
                        nesterov[m].lr,
                        str(nesterov[m].mean),
                    )
                    for m in _MOMENTA
                ],
            ),
            "rule": f"`stepsize.translate` rescales {number_text(heavy[0.0].lr)} at momentum 0 to "
            f"{number_text(rule.lr)} at 0.9. The measured best rate is {number_text(heavy[0.9].lr)}. Raising momentum "
            f"from 0 to 0.9 without changing the rate ends {per_cent(moved)} above the best (a diverged run counts "
            "with the loss at initialization).",
            "gain": f"Each at its own best rate: momentum 0.9 ended {difference_text(gain, 'momentum 0')}; Nesterov "
            f"momentum ended {difference_text(beats, 'plain momentum')}; momentum 0.99 ended "
            f"{difference_text(long, 'momentum 0.9')}. With all rows in each batch (no noise) and {effort(100, 10)} "
            f"steps, momentum 0.9 ended {difference_text(whole_gain, 'momentum 0')}.",
            "valley": table(
                ("steps", "excess without momentum", "excess with 0.9"),
                [(steps, _excess_text(of[0.0]), _excess_text(of[0.9])) for steps, of in valley.items()],
            ),
        },
        figures={"momentum": _charts(heavy)},
    )


def _tuned(name: str, momentum: float, steps: int, effort: Effort, *, whole: bool = False) -> Tuned:
    # Nesterov's form needs a momentum: at 0 both are plain SGD.
    task = small_task("digits", name if momentum else "momentum", steps=steps)
    if whole:
        assert isinstance(task.train, TensorBatches)
        rows = task.train.tensors
        task = small_task("digits", "momentum", steps=steps, train=TensorBatches(rows, len(rows[0])))
    low, high = _RANGE if momentum < 0.95 else (_RANGE[0] / 10, _RANGE[1] / 10)
    lrs = decades(low, high, effort(5, 2))
    return tuned(task, lrs, effort, changes=Changes(momentum=momentum))


def _valley(steps: int, effort: Effort) -> dict[float, float]:
    """Return the excess over the least loss that a linear regression on correlated inputs ends with, by momentum."""
    built = build_task("diabetes-regression", optimizer="momentum", steps=steps, device="cpu")
    assert isinstance(built.train, TensorBatches)
    x, y = built.train.tensors
    ones = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    least = float((ones @ torch.linalg.lstsq(ones, y.double()).solution - y).square().mean())
    rows = TensorBatches((x, y), len(x), False)
    task = replace(built, model=lambda: nn.Linear(x.shape[1], 1), schedule=None, train=rows, val=rows, epochs=None)
    found = {}
    for momentum in (0.0, 0.9):
        grid = trained(task, decades(0.001, 1, effort(10, 4)), effort.tuning, changes=Changes(momentum=momentum))
        found[momentum] = max(_EXACT, float(grid.losses(grid.best()).mean()) / least - 1)
    return found


def _excess_text(excess: float) -> str:
    return number_text(excess, 2) if excess > _EXACT else f"below {number_text(_EXACT)}"


def _kept_rate(heavy: dict[float, Tuned]) -> float:
    """Return the excess at momentum 0.9 of the rate that was best without."""
    grid, lr = heavy[0.9].grid, heavy[0.0].lr
    near = min(grid.lrs, key=lambda one: abs(math.log(one / lr)))
    return float(grid.losses(near).mean() / grid.losses(heavy[0.9].lr).mean() - 1)


def _charts(heavy: dict[float, Tuned]) -> tuple[Any, ...]:
    levels = np.concatenate([one.grid.means() for one in heavy.values()])
    y = plain_axis([levels.min(), min(levels.max(), 6 * levels.min())], "validation loss")
    charts = []
    for title, scaled in (
        ("Loss vs. learning rate, by momentum", False),
        ("Loss vs. learning rate ÷ (1 − momentum)", True),
    ):
        series = [
            Series(number_text(m), [lr / (1 - m if scaled else 1) for lr in one.grid.lrs], one.grid.means())
            for m, one in heavy.items()
        ]
        x = log_axis(
            [0.003, 10] if not scaled else [0.01, 20], "learning rate ÷ (1 − momentum)" if scaled else "learning rate"
        )
        charts.append(line_chart(series, x, y, title, ordered=True, columns=3))
    return tuple(charts)
