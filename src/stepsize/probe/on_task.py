"""A task seen as a step function: what lets the range test sweep it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stepsize.errors import TaskError
from stepsize.probe.range_test import DEFAULT_RANGE, RangeTest, check_range_test, range_test_around
from stepsize.probe.reach import Reach
from stepsize.training.border import undisturbed
from stepsize.training.stepping import Stepper
from stepsize.training.task import Task

__all__ = ["range_test_task"]


def range_test_task(
    task: Task,
    *,
    lr: tuple[float, float] = DEFAULT_RANGE,
    steps: int = 300,
    seed: int | None = None,
    watch: Callable[[float, float], None] | None = None,
) -> RangeTest:
    """Run the range test on a new model of ``task``, at constant rate, with its clipping, accumulation and precision.

    Args:
        task: What to train; its schedule and horizon play no part.
        lr: The lowest and highest rate to consider, absolute.
        steps: Updates to spend on ramps, >= 10.
        seed: Of initial weights, batch order and dropout; default the task's.
        watch: Called with rate and loss after each step.

    Returns:
        What :func:`stepsize.range_test` found.

    Raises:
        InputError: If an argument breaks its rule.
        TaskError: If the parts of the task turn out not to fit together.

    Example:
        >>> from stepsize.tasks import build_task
        >>> range_test_task(build_task("cancer-mlp")).verdict
        'open'
    """
    seed = task.seed if seed is None else seed
    with undisturbed(task, seed):
        stepper = Stepper(task, 1e-3, task.horizon)

        def step(batches: list[Any]) -> Tensor:
            return stepper.update(batches)

        check_range_test(step, lr, steps)
        return range_test_around(
            Reach([stepper.model], [stepper.optimizer], stepper.stateful),
            step,
            [stepper.optimizer],
            _Grouped(task.train, task.accumulate),
            lr=lr,
            steps=steps,
            seed=seed,
            watch=watch,
        )


@dataclass(frozen=True, eq=False)
class _Grouped:
    """The batches of ``source`` in lists of ``size``, those of one update each."""

    source: Iterable[Any]
    size: int

    def __iter__(self) -> Iterator[list[Any]]:
        group: list[Any] = []
        empty = True
        for batch in self.source:
            empty = False
            group.append(batch)
            if len(group) == self.size:
                yield group
                group = []
        if group:
            yield group
        elif empty:
            raise TaskError("train", type(self.source).__name__, "must yield at least one batch")
