"""One line watches and guards every update, and its state goes through checkpoints: the same in every trainer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.frameworks.plain import STEERED, needs, ordering, rows, spoiled_rows, steered_well
from tests.frameworks.trainers import TRAINERS, Trainer

import stepsize
from stepsize.errors import InputError
from stepsize.frameworks.session import Session

every_trainer = pytest.mark.parametrize(
    "trainer", [pytest.param(TRAINERS[name], marks=needs(name), id=name) for name in TRAINERS]
)


@every_trainer
def test_validation_findings_loggers_and_the_store(trainer: Trainer, tmp_path: Path) -> None:
    found: list[Any] = []
    logged: list[int] = []
    seen = trainer.callback(
        store=tmp_path / "runs.db", name="net", on_finding=found.append, log_to=lambda _, step: logged.append(step)
    )
    trainer.fit(tmp_path, seen, epochs=3, validated=True)
    record = seen.watching.record
    assert (record.step, record.skipped) == (72, 0)
    assert record.recent("val_loss").steps.tolist() == [23, 47, 71]
    with stepsize.Store.open(tmp_path / "runs.db") as store:
        from stepsize.monitor.saved_runs import read_run

        kept = read_run(store, "net")
    assert (kept.head.status, kept.head.steps) == ("done", 72)
    assert [one.code for one in found] == [one.code for one in seen.findings]
    assert seen.verdict.code
    assert seen.report().steps == 72
    assert {0, 23, 47, 71} <= set(logged)


@every_trainer
@pytest.mark.parametrize("accumulate", [1, 2])
def test_guard_rolls_back_across_epochs_and_the_training_ends_well(
    trainer: Trainer, accumulate: int, tmp_path: Path
) -> None:
    data = spoiled_rows(20)
    assert not trainer.fit(tmp_path, data=data, accumulate=accumulate).finite
    seen = trainer.callback(guard=True, every=5)
    fitted = trainer.fit(tmp_path, seen, data=data, accumulate=accumulate, epochs=4)
    assert [act.kind for act in seen.actions] == ["rollback"] * 4  # the bad batch comes in each epoch
    assert all(act.done for act in seen.actions)
    assert fitted.steps == seen.watching.record.step == 96 // accumulate
    assert seen.stopped is None
    assert fitted.loss < 1


@every_trainer
def test_a_guard_that_gives_up_stops_the_trainer(trainer: Trainer, tmp_path: Path) -> None:
    x, y = rows()
    seen = trainer.callback(guard=True, every=5, retries=2)
    fitted = trainer.fit(tmp_path, seen, data=(torch.cat([x[:100], x[100:] * math.nan]), y), epochs=4)
    assert seen.stopped is not None
    assert fitted.steps < 40
    assert fitted.finite


@every_trainer
def test_its_state_goes_through_the_checkpoints(trainer: Trainer, tmp_path: Path) -> None:
    whole = trainer.callback(guard=True)
    trainer.fit(tmp_path / "whole", whole, epochs=4)
    resumed = trainer.resume(tmp_path / "part", lambda **options: trainer.callback(guard=True, **options))
    one, two = whole.watching.record, resumed.watching.record
    assert one.step == two.step == two.facts.steps == 96
    assert two.history("loss").values == pytest.approx(one.history("loss").values, rel=1e-5)
    assert two.recent("grad_norm").values[:64] == pytest.approx(one.recent("grad_norm").values[:64], rel=1e-3)


@every_trainer
@pytest.mark.parametrize("guard", [False, True])
def test_orders_change_the_rate_and_stop_the_trainer_well(trainer: Trainer, guard: bool, tmp_path: Path) -> None:
    seen = ordering(trainer.callback(guard=guard), dict(STEERED))
    fitted = trainer.fit(tmp_path, seen, epochs=2)
    steered_well(seen)
    assert fitted.steps == 11


def test_unknown_options_are_told_before_the_training() -> None:
    with pytest.raises(InputError, match=r"option must be one of: .*got 'stpes'"):
        Session(stpes=3)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="Pass guard=True with it"):
        Session(every=3)
    Session(guard=True, skip=False, scaler=None, distributed=False)  # all that watch and guard take is taken
