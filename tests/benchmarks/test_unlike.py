"""The sixteen trainings: that they run, that their ground truth is whole, and how it is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.replay import SETS, all_cases, load_truth
from benchmarks.runlog import RunLog
from benchmarks.unlike import truth as measuring
from benchmarks.unlike.trainings import DESIGN, HELD_OUT, TRAININGS, Unlike
from tests.benchmarks.small_tasks import plain_task

from stepsize.errors import DataUnavailableError
from stepsize.training import train

MEASURED = {known.case.task: known for known in load_truth(case for case in all_cases() if case.set != SETS[0])}


@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_takes_its_first_steps_and_starts_the_same_each_time(name: str) -> None:
    try:
        task = TRAININGS[name].task()
    except DataUnavailableError as absent:
        pytest.skip(f"needs the data folder: {absent}")
    first, again = (train(task, TRAININGS[name].usual / 100, seed=7, steps=2) for _ in range(2))

    assert np.isfinite(first.val_loss)
    assert first.val_loss == again.val_loss


def test_eight_and_eight_use_other_optimizers_and_schedules() -> None:
    assert len(DESIGN) == len(HELD_OUT) == 8
    assert len({one.optimizer for one in TRAININGS.values()}) >= 12


@pytest.mark.parametrize("name", TRAININGS)
def test_the_best_rate_of_the_truth_lies_well_inside(name: str) -> None:
    known = MEASURED[name]
    plain = [measuring.rate(TRAININGS[name], 2 * k) for k in range(-20, 21)]
    grid = [lr for lr in known.full.lrs if lr in plain]
    place = int(np.argmin(np.abs(np.log(np.asarray(grid) / known.full.best_lr))))

    assert 3 <= place < len(grid) - 3
    assert len(grid) >= 21
    assert known.full.seeds == 5
    assert [curve.seeds for steps, curve in known.curves.items() if steps != known.horizon] == [3] * 4


def test_the_grid_is_shifted_to_the_best_rate_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = plain_task("sgd", steps=16)
    one = Unlike("tiny", "SGD", 1e-4, False, dict, "sgd")  # its best rate lies three decades above the usual one
    monkeypatch.setattr(Unlike, "task", lambda _self: task)
    monkeypatch.setitem(TRAININGS, "tiny", one)
    monkeypatch.setattr(measuring, "_SEEDS", range(2))
    monkeypatch.setattr(measuring, "_SHORT_SEEDS", range(1))
    measuring.compute_unlike_truth(["tiny"], tmp_path)
    log = RunLog.read(tmp_path / "tiny.json")
    full = sorted({row.lr for row in log.rows if row.steps == 16 and row.seed == 1})
    means = {lr: np.mean([row.val or np.inf for row in log.rows if row.steps == 16 and row.lr == lr]) for lr in full}
    best = min(full, key=lambda lr: means[lr])

    assert full[0] * 10**0.75 <= best <= full[-1] / 10**0.75
    assert best > 1e-2
    assert {row.steps for row in log.rows} == {1, 2, 4, 8, 16}
    around = [lr for lr in full if abs(np.log10(lr / best)) < 0.51]
    assert len(around) >= 8  # nine around the best of the plain grid, which may be a place beside it

    monkeypatch.setattr(measuring, "trained", lambda *_: pytest.fail("trained again"))
    measuring.compute_unlike_truth(["tiny"], tmp_path)
