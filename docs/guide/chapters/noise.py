"""Chapter 3: the noise of mini-batches, the floor that it puts under a constant rate, and what small batches bring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from docs.guide.charts import Series, line_chart, log_axis
from docs.guide.measuring import (
    Effort,
    Grid,
    Mean,
    Measured,
    decades,
    difference_text,
    pairs,
    small_task,
    table,
    trained,
    tuned,
)  # fmt: skip
from numpy.typing import NDArray
from torch import nn

from stepsize.tasks import build_task
from stepsize.training import Changes, Task, TensorBatches, varied
from stepsize.training.evaluate import evaluate
from stepsize.training.position import preserved
from stepsize.views import number_text

_BATCHES = (8, 32, 128)


def measure(effort: Effort) -> Measured:
    """Start a linear model at its best weights and see how far noise drives it; then train the digits by batch size."""
    lrs, seeds = decades(3e-3, 0.1, effort(5, 2)), range(effort(8, 2))
    task, least = _linear(effort(2_000, 40))
    rows = _rows(task)

    def floor(batches: Any) -> NDArray[np.float64]:
        return _excess(trained(replace(task, train=batches), lrs, seeds), least)

    drawn = {size: floor(_Drawn(rows, size, 100)) for size in _BATCHES}
    shuffled = {size: floor(TensorBatches(rows, size)) for size in _BATCHES}
    still = floor(TensorBatches(rows, len(rows[0])))
    power, power_shuffled = _power(lrs, drawn[8]), _power(lrs, shuffled[8])
    middle = len(lrs) // 2
    shrink = float(drawn[8].mean(0)[middle] / drawn[128].mean(0)[middle])
    order = float(drawn[8].mean(0)[0] / shuffled[8].mean(0)[0])
    ratios = {size: _noise(size, effort(60, 6)) for size in _BATCHES}
    digits = _by_batch(effort)
    smallest, largest = digits[0], digits[-1]
    gain = pairs(smallest[2], largest[2])
    told = difference_text(gain, f"batches of {largest[0]}")
    return Measured(
        gist=f"Even from the best weights, noise drives SGD away. The excess loss grows as the rate to the power "
        f"{number_text(power, 2)} if rows are drawn at random, and {number_text(power_shuffled, 2)} if they are "
        f"shuffled. For the same number of examples, batches of {smallest[0]} ended {told}.",
        numbers={
            "power_drawn": power,
            "power_shuffled": power_shuffled,
            "full_batch_excess": float(still.max()),
            "shrink_8_to_128": shrink,
            "drawn_over_shuffled": order,
            "gain_small_batches": gain.value,
            "noise_start_8": ratios[8][0],
            "noise_end_8": ratios[8][1],
        },
        blocks={
            "ratio": table(
                ("batch size", "noise ÷ gradient at the start", "after training"),
                [(size, before, after) for size, (before, after) in ratios.items()],
            )
            + f"\n\nThe ratio grew by a factor of {number_text(ratios[128][1] / ratios[128][0], 2)} to "
            f"{number_text(ratios[8][1] / ratios[8][0], 2)}: the gradient shrank more than the noise.",
            "floor": f"With all rows in each batch the excess loss stayed below {float(still.max()):.0e} at every "
            f"rate. With batches of 8 rows drawn at random it grew as the rate to the power {number_text(power, 2)}. "
            f"At rate {number_text(lrs[middle])}, it was {number_text(shrink, 2)} times smaller with batches of 128.",
            "order": f"Shuffling, as nearly every data loader does, uses each row once per epoch, so part of the noise "
            f"of an epoch cancels. Here the excess loss then grows as the rate to the power "
            f"{number_text(power_shuffled, 2)}, and at the lowest rate it was {number_text(order, 2)} times smaller "
            "than with rows drawn at random.",
            "digits": table(
                ("batch size", "steps", "best rate", "validation loss"),
                [(size, steps, lr, str(Mean.of(losses))) for size, lr, losses, steps in digits],
            )
            + f"\n\nBatches of {smallest[0]} ended {told}; batches of {digits[1][0]}, "
            f"{difference_text(pairs(digits[1][2], digits[2][2]), f'batches of {digits[2][0]}')}.",
        },
        figures={"noise-floor": (_chart(lrs, drawn, shuffled[8]),)},
    )


@dataclass(frozen=True)
class _Drawn:
    """Batches of rows that are drawn with replacement, so that each gradient's noise is independent of the others."""

    rows: tuple[torch.Tensor, ...]
    size: int
    batches: int

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        for _ in range(self.batches):
            pick = torch.randint(len(self.rows[0]), (self.size,))
            yield tuple(part[pick] for part in self.rows)

    def __len__(self) -> int:
        return self.batches


def _power(lrs: tuple[float, ...], excess: NDArray[np.float64]) -> float:
    return float(np.polyfit(np.log(lrs), np.log(excess.mean(0)), 1)[0])


def _rows(task: Task) -> tuple[torch.Tensor, ...]:
    assert isinstance(task.train, TensorBatches)
    return task.train.tensors


def _linear(steps: int) -> tuple[Task, float]:
    """Return a linear regression that starts at its best weights and is judged on its own rows, and its least loss."""
    built = build_task("diabetes-regression", optimizer="sgd", steps=steps, device="cpu")
    x, y = _rows(built)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / len(x))).T  # decorrelated: no direction takes for ever
    ones = torch.cat([x, torch.ones(len(x), 1)], 1)
    found = torch.linalg.lstsq(ones.double(), y.double()).solution.float()

    def model() -> nn.Module:
        layer = nn.Linear(x.shape[1], 1)
        with torch.no_grad():
            layer.weight.copy_(found[:-1].T)
            layer.bias.copy_(found[-1])
        return layer

    task = replace(
        built, model=model, schedule=None, train=TensorBatches((x, y), 32), val=TensorBatches((x, y), len(x), False)
    )
    with preserved(seed=0):
        return task, float(evaluate(task, model(), step=0).evaluation.loss)


def _excess(grid: Grid, least: float) -> NDArray[np.float64]:
    """Return the excess loss ÷ the least one, shape (seeds, rates); of all rows, so it cannot be below zero."""
    found = [[grid.runs[lr, seed].val_loss / least - 1 for lr in grid.lrs] for seed in grid.seeds]
    excess: NDArray[np.float64] = np.maximum(np.asarray(found), 1e-12)
    return excess


def _noise(size: int, batches: int) -> tuple[float, float]:
    """Return noise ÷ gradient in length, before training and after it."""
    task = small_task("digits")
    with preserved(seed=0):
        model = task.model()
        before = _noise_of(task, model, size, batches)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        stream = iter(task.train)
        for _ in range(task.horizon):
            batch = next(stream, None)
            if batch is None:
                stream = iter(task.train)
                batch = next(stream)
            optimizer.zero_grad()
            task.compute_loss(model, batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return before, _noise_of(task, model, size, batches)


def _noise_of(task: Task, model: nn.Module, size: int, batches: int) -> float:
    x, y = _rows(task)
    full = _gradient(task, model, (x, y))
    picks = [torch.randint(len(x), (size,)) for _ in range(batches)]
    errors = [float((_gradient(task, model, (x[pick], y[pick])) - full).square().sum()) for pick in picks]
    return float(np.sqrt(np.mean(errors)) / float(full.norm()))


def _gradient(task: Task, model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    parts = torch.autograd.grad(task.compute_loss(model, batch), list(model.parameters()))
    return torch.cat([part.flatten() for part in parts]).double()


def _by_batch(effort: Effort) -> list[tuple[int, float, NDArray[np.float64], int]]:
    """Return (batch, best rate, losses of the judging seeds, updates) for the same number of examples."""
    task = small_task("digits", steps=effort(200, 20))
    found = []
    for size in (8, 32, 128, 512):
        changes = Changes(batch_size=size)
        one = tuned(task, decades(0.01, 10, effort(5, 2)), effort, changes=changes)
        found.append((size, one.lr, one.losses, varied(task, changes).horizon))
    return found


def _chart(lrs: tuple[float, ...], drawn: dict[int, NDArray[np.float64]], shuffled: NDArray[np.float64]) -> Any:
    series = [
        Series(f"batches of {size}, drawn at random", lrs, found.mean(0), points=True) for size, found in drawn.items()
    ]
    series.append(Series("batches of 8, shuffled", lrs, shuffled.mean(0), points=True))
    y = log_axis(np.concatenate([np.asarray(one.y) for one in series]), "excess loss ÷ lowest loss")
    return line_chart(series, log_axis(lrs), y, "Excess loss due to noise vs. learning rate", columns=1)
