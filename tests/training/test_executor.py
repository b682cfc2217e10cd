"""Runs in order: from the same start, on the same batches, and none touches another."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.training.small import batches, examples, inspected, make_task, network
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from stepsize.errors import TaskError
from stepsize.training import InOrder, Progress, Setting, train

SETTINGS = [Setting(lr, seed, 12) for seed in (0, 1) for lr in (0.1, 0.001, 0.03)]


def test_runs_come_in_the_order_of_their_settings_and_equal_single_trainings() -> None:
    task = make_task(model=network, val=examples(), optimizer="adamw", schedule=lambda step: 1 - step / 20)

    runs = InOrder()(task, SETTINGS)

    assert [run.setting for run in runs] == SETTINGS
    for run in runs:
        alone = train(task, run.setting.lr, seed=run.setting.seed, steps=run.setting.steps)
        assert run.losses.tolist() == alone.losses.tolist()
        assert run.evaluations == alone.evaluations
        assert run.initial == alone.initial
        assert run.model is None


def test_runs_of_one_seed_share_their_start_and_their_batches() -> None:
    seen: list[list[float]] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.append(target.flatten().tolist())
        return mse_loss(output, target)

    runs = InOrder()(inspected(make_task(loss=loss), seen), SETTINGS)
    drawn = [seen[start : start + 12] for start in range(0, len(seen), 12)]

    assert len({run.initial for run in runs[:3]}) == len({run.initial for run in runs[3:]}) == 1
    assert runs[0].initial != runs[3].initial
    assert drawn[0] == drawn[1] == drawn[2]
    assert drawn[3] == drawn[4] == drawn[5]
    assert drawn[0] != drawn[3]


def test_a_run_that_diverges_does_not_touch_the_next() -> None:
    task = make_task(model=network, val=examples(), steps=60)
    calm, wild = Setting(0.05, 0, 60), Setting(1e6, 0, 60)

    before, lost, after = InOrder()(task, [calm, wild, calm])

    assert lost.divergence is not None
    assert before.losses.tolist() == after.losses.tolist()
    assert before.evaluations == after.evaluations


def test_a_share_of_unseen_data_may_judge() -> None:
    task = make_task(train=batches(48, size=8), val=batches(48, size=8))

    part, whole = InOrder()(task, [Setting(0.1, 0, 5, val_examples=8), Setting(0.1, 0, 5)])

    assert part.val_loss != whole.val_loss
    assert (part.passes, whole.passes) == (15 + 1, 15 + 6)


def test_the_start_is_compared_over_calls_too() -> None:
    model = nn.Linear(3, 1)
    task, executor = inspected(make_task(model=lambda: copy.deepcopy(model))), InOrder()

    executor(task, [Setting(0.1, 0, 5)])
    nn.init.zeros_(model.weight)
    with pytest.raises(TaskError, match="must return the same new model"):
        executor(task, [Setting(0.1, 0, 5)])


def test_the_watcher_hears_of_all_runs_in_order() -> None:
    heard: list[Progress] = []

    InOrder()(make_task(), SETTINGS[:2], on_progress=heard.append)

    assert [(progress.setting, progress.step) for progress in heard] == [
        (setting, step) for setting in SETTINGS[:2] for step in range(1, 13)
    ]


def test_no_settings_are_no_runs() -> None:
    made: list[Any] = []

    assert InOrder()(make_task(model=lambda: made.append(1)), []) == []
    assert not made
