"""The tiny tasks: each of them can be trained as a crowd."""

from __future__ import annotations

import pytest
from benchmarks.small import small_tasks

from stepsize import Task, train
from stepsize.training import Population, Setting

TASKS = list(small_tasks())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_can_be_stacked_and_trains_as_it_does_alone(task: Task) -> None:
    population = Population()
    runs = population(task, [Setting(lr, 0, 20, 16) for lr in (1e-3, 1e-2)])

    assert population.reasons == []
    alone = train(task, 1e-3, seed=0, steps=20)
    assert runs[0].losses[-1] == pytest.approx(alone.losses[-1], rel=1e-2)
