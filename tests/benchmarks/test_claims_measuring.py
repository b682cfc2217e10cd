"""What the claims measure themselves: real trainings, cut to a few updates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from benchmarks.by_schedule import next_rates
from benchmarks.claims.arms import CHANGES, Arm, Trial, built
from benchmarks.claims.landscapes import FUNCTIONS, descended
from benchmarks.claims.studies import TUNING_SEEDS, due, judging_seeds
from benchmarks.claims.training import train_trial
from benchmarks.claims.updates import measure_updates

from stepsize.training import TensorBatches

ARM = Arm("a", "cancer-mlp", "momentum", 24, "constant")
SEEDS = judging_seeds(5)


def data(arm: Arm) -> TensorBatches:
    train = built(arm).train
    assert isinstance(train, TensorBatches)
    return train


def test_a_change_changes_the_training_data_alone_as_it_says() -> None:
    plain = data(ARM)
    for change in ("noisy targets", "a quarter of the data", "batches of an eighth", "inputs × 10"):
        other = data(replace(ARM, change=change))
        x_same = other.tensors[0].shape == plain.tensors[0].shape and torch.equal(other.tensors[0], plain.tensors[0])
        assert x_same == (change in ("noisy targets", "batches of an eighth")), change
    noisy = data(replace(ARM, change="noisy targets")).tensors[-1]
    wrong = float((noisy != plain.tensors[-1]).float().mean())
    assert 0.08 < wrong < 0.2  # 30 % are shuffled, nearly half of two classes' stay right by chance
    assert data(replace(ARM, change="batches of an eighth")).batch_size == plain.batch_size // 8
    assert len(data(replace(ARM, change="a quarter of the data")).tensors[0]) == len(plain.tensors[0]) // 4
    val, scaled = built(ARM).val, built(replace(ARM, change="inputs × 10")).val
    assert isinstance(val, TensorBatches)
    assert isinstance(scaled, TensorBatches)
    assert torch.equal(scaled.tensors[0], 10 * val.tensors[0])


@pytest.mark.parametrize("change", [None, *CHANGES])
def test_every_change_can_be_trained(change: str | None) -> None:
    row = train_trial(Trial("s", replace(ARM, change=change), 0.003, 1))
    assert row["val"] > 0
    assert 0 <= row["overshoot"] <= 1


def test_the_same_trial_gives_the_same_row() -> None:
    rows = [train_trial(Trial("s", replace(ARM, control="erratic"), 0.01, 1)) for _ in range(2)]
    for row in rows:
        del row["seconds"]
    assert rows[0] == rows[1]


def test_a_control_makes_a_difference() -> None:
    plain, erratic = (train_trial(Trial("s", replace(ARM, control=name), 0.01, 1)) for name in (None, "erratic"))
    assert plain["val"] != erratic["val"]


def test_a_diverged_training_counts_as_untrained() -> None:
    row = train_trial(Trial("s", ARM, 1e6, 1))
    untrained = train_trial(Trial("s", ARM, 1e-12, 1))
    assert row["diverged"]
    assert row["val"] == pytest.approx(untrained["val"], rel=1e-4)


def test_an_update_of_sgd_is_lr_times_the_gradient_and_one_of_adam_is_not() -> None:
    sgd, adam = (measure_updates(("cancer-mlp", name, 1)) for name in ("sgd", "adam"))
    assert sgd["slope"] == pytest.approx(1.0, abs=1e-3)
    assert sgd["off"] < 1e-2
    assert adam["off"] > 0.5
    assert sgd["spread"] < 0.01 < adam["spread"]


def test_descent_finds_the_bottom_of_the_wells_and_too_high_a_rate_does_not() -> None:
    assert descended("tilted wells", 0.05, 0.0, 1) > 0.15  # a quarter of the starts lie in that basin
    assert descended("tilted wells", 100.0, 0.0, 1) < 0.1
    assert set(FUNCTIONS) == {"Rastrigin", "Ackley", "tilted wells"}


def best(_task: str, _optimizer: str) -> float:
    return 0.1


def done(trial: Trial, loss: float) -> dict[str, Any]:
    where = {"study": trial.study, "arm": trial.arm.name, "task": trial.arm.task, "optimizer": trial.arm.optimizer}
    return {**where, "lr": trial.lr, "seed": trial.seed, "val": loss, "diverged": False}


def test_a_study_tunes_before_it_judges_and_ends() -> None:
    rows: list[dict[str, Any]] = []
    rounds = 0
    while trials := due("decays", rows, best, SEEDS):
        rows += [done(trial, 1 + abs(trial.lr - 0.1)) for trial in trials]
        rounds += 1
        assert rounds < 20
    judged = {(row["task"], row["arm"]): row["lr"] for row in rows if row["seed"] in SEEDS}
    assert len(judged) == 4 * 5
    assert all(lr == pytest.approx(0.1, rel=0.3) for lr in judged.values())
    assert all(row["seed"] in (*TUNING_SEEDS, *SEEDS) for row in rows)


def test_what_is_there_is_not_trained_again() -> None:
    first = due("around", [], best, SEEDS)
    rows = [done(trial, 1.0) for trial in first[:7]]
    assert due("around", rows, best, SEEDS) == first[7:]


def test_rates_are_tried_until_the_best_has_neighbours() -> None:
    assert next_rates({}, 0.1, step=0.5, reach=1) == pytest.approx([0.0316228, 0.1, 0.316228])
    assert next_rates({0.0316228: 1.0, 0.1: 2.0, 0.316228: 3.0}, 0.1, step=0.5, reach=1) == [0.01]
    assert next_rates({0.0316228: 2.0, 0.1: 1.0, 0.316228: 3.0}, 0.1, step=0.5, reach=1) == []
