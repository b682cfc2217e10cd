"""A sweep from end to end: real trainings of a small task, a store, and what a on_progress sees."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.study.plane import Counting, make
from torch import nn

from stepsize.errors import InputError, UnknownNameError
from stepsize.store import Store
from stepsize.study.result import SweepResult
from stepsize.study.study import StudyProgress
from stepsize.study.sweeping import sweep
from stepsize.study.workers import Local
from stepsize.training import Metric, TensorBatches


def keys(found: SweepResult) -> list[tuple[int, float, int]]:
    return [outcome.key for outcome in found.runs]


Heard = tuple[SweepResult, list[StudyProgress]]


@pytest.fixture(scope="module")
def heard() -> Heard:
    """A sweep whose range reaches far beyond the rates that work, and its progress."""
    seen: list[StudyProgress] = []
    return sweep(make(), lr=(1e-3, 10.0), seeds=2, on_progress=seen.append), seen


def test_it_finds_the_rate_of_a_plane(heard: Heard) -> None:
    found, _ = heard
    assert found.best is not None
    assert 0.03 < found.best.lr < 1
    assert found.lr is not None
    assert found.as_good is not None
    assert 0.03 < found.lr < 1
    assert found.as_good[0] <= found.lr <= found.as_good[1]
    assert (found.answer.lr, found.answer.verdict, found.answer.next) == (found.lr, found.verdict, found.next)
    assert found.complete
    assert found.summary.diverged > 0
    assert found.untrained > 10 * found.summary.value


def test_population_and_in_order_find_the_same() -> None:
    stacked, plain = (sweep(make(), lr=(1e-3, 1.0), seeds=2, workers=workers) for workers in ("population", "in-order"))
    assert sorted(keys(stacked)) == sorted(keys(plain))
    assert stacked.best == plain.best
    assert stacked.summary.value == pytest.approx(plain.summary.value, rel=1e-3, abs=1e-7)


def test_a_best_rate_at_the_edge_widens_the_range() -> None:
    found = sweep(make(), lr=(1e-4, 1e-2), seeds=1, trials=5)
    assert found.best is not None
    assert found.best.lr > 1e-2
    assert any("idened" in note for note in found.notes)


def test_other_things_are_searched_with_the_rate() -> None:
    found = sweep(
        make(optimizer="momentum"),
        lr=(1e-3, 1.0),
        momentum=(0.1, 0.95),
        batch_size=[8, 16],
        schedule=["cosine", "linear"],
        seeds=1,
        trials=8,
        sampler="sobol",
        repeats=0,
    )
    assert all(set(run.trial.values) == {"lr", "momentum", "batch_size", "schedule"} for run in found.runs)
    assert {run.trial.values["batch_size"] for run in found.runs} == {8, 16}
    assert found.best is not None


def test_the_default_range_lies_around_what_people_start_from() -> None:
    found = sweep(make(8), seeds=1, repeats=0, trials=3)
    rates = sorted({outcome.trial.lr for outcome in found.runs if outcome.trial.number < 3})
    assert rates == pytest.approx([1e-3, 0.1, 10.0])


def test_a_metric_may_judge() -> None:
    metric = Metric(lambda output, y: -(output - y).square().mean(), maximize=True)
    found = sweep(make(metrics={"merit": metric}, objective="merit"), lr=(1e-2, 1.0), seeds=1, repeats=0)
    finite = [outcome.value for outcome in found.runs if not outcome.diverged]
    assert min(finite) == found.summary.value >= 0  # negated: lower is better
    assert found.conditions.objective == "merit"


def test_without_unseen_data_the_training_loss_judges() -> None:
    found = sweep(make(val=None), lr=(1e-2, 1.0), seeds=1, repeats=0, trials=4)
    assert all(outcome.value == outcome.train_loss for outcome in found.runs)
    assert found.conditions.objective == "training loss"


def test_a_stopped_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    where = tmp_path / "s.db"
    asked: dict[str, Any] = {"lr": (1e-3, 10.0), "seeds": 2, "trials": 7}
    straight = sweep(make(), workers="in-order", **asked)
    first = Counting(stop=4)
    with pytest.raises(KeyboardInterrupt):
        sweep(make(), workers=first, store=where, **asked)
    with Store.open(where) as store:
        (study,) = store.studies()
        assert study.status == "interrupted"
    second = Counting()
    found = sweep(make(), workers=second, store=where, **asked)
    assert len(first.trained) == 4
    assert len(first.trained) + len(second.trained) == len(found.runs)
    assert sorted(keys(found)) == sorted(keys(straight))
    assert found.best == straight.best
    assert found.name == study.name
    third = Counting()
    again = sweep(make(), workers=third, store=where, **asked)
    assert third.trained == []
    assert again.summary.value == found.summary.value
    assert again.status == found.status


def test_a_resumed_sweep_proposes_what_it_would_have(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"lr": (1e-3, 1.0), "weight_decay": (1e-6, 1e-1), "seeds": 1, "trials": 14}
    one_by_one: dict[str, Any] = {**asked, "sampler": "tpe"}
    straight = sweep(make(8), workers=Local(make(8), Counting()), **one_by_one)
    with pytest.raises(KeyboardInterrupt):
        sweep(make(8), workers=Local(make(8), Counting(stop=11)), store=tmp_path / "s.db", **one_by_one)
    found = sweep(make(8), workers=Local(make(8), Counting()), store=tmp_path / "s.db", **one_by_one)
    assert [(run.key, run.trial) for run in found.runs] == [(run.key, run.trial) for run in straight.runs]


def test_another_task_is_not_taken_for_the_same(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"lr": (1e-2, 1.0), "seeds": 1, "trials": 3, "repeats": 0, "name": "mine"}
    sweep(make(8), store=tmp_path / "s.db", **asked)
    with pytest.raises(InputError, match="mine"):
        sweep(make(8, batch_size=8), store=tmp_path / "s.db", **asked)


def test_the_watcher_sees_every_outcome_and_the_notes(heard: Heard) -> None:
    found, seen = heard
    outcomes = [progress for progress in seen if progress.run is not None]
    assert [progress.done for progress in outcomes] == list(range(1, len(found.runs) + 1))
    assert outcomes[-1].remaining == 0
    assert outcomes[-1].spent == pytest.approx(found.cost.full_runs)
    values = [run.value for run in found.runs]
    assert [progress.best.value for progress in outcomes if progress.best] == list(itertools.accumulate(values, min))
    assert any(progress.running is not None for progress in seen)


def test_why_a_model_is_not_stacked_is_among_the_notes() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.GRU(6, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.body(x)[0]
            return out

    found = sweep(make(6, model=Recurrent), lr=(1e-2, 1.0), seeds=1, trials=3, repeats=0)
    assert any(note.startswith("Trained sequentially: ") for note in found.notes)


def test_the_result_is_plain_json(heard: Heard) -> None:
    found, _ = heard
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {"best", "lr", "as_good", "sure", "verdict", "next", "curve", "cost", "runs", "notes"} <= set(document)
    assert document["cost"]["full_runs"] == pytest.approx(found.cost.full_runs)
    assert len(document["runs"]) == len(found.runs)
    assert any(run["value"] is None and run["diverged_at_step"] is not None for run in document["runs"])


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"sampler": "tpa"}, UnknownNameError, "tpe"),
        ({"workers": "rays"}, UnknownNameError, "ray"),
        ({"momentun": 0.9}, UnknownNameError, "momentum"),
        ({"seeds": 0}, InputError, "seeds must be a whole number, at least 1"),
        ({"seeds": "12"}, InputError, "seeds must be a whole number or a list of seeds"),
        ({"lr": (1.0, 0.1)}, InputError, "low < high"),
        ({"trials": 0}, InputError, "trials"),
    ],
)
def test_bad_input_is_told_before_anything_is_trained(
    asked: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"lr": (1e-3, 1.0), "workers": Counting(stop=0), "store": tmp_path / "s.db"}
    with pytest.raises(error, match=message):
        sweep(make(), **(given | asked))
    assert not (tmp_path / "s.db").exists()


def test_generators_stay_where_they_were() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    sweep(make(8), lr=(1e-2, 1.0), seeds=1, trials=3, repeats=0, sampler="random")
    assert torch.equal(before, torch.get_rng_state())


def test_nothing_learned_is_said() -> None:
    found = sweep(make(8), lr=(1e-12, 1e-9), seeds=1, trials=3, repeats=0)
    assert (found.verdict, found.lr) == ("no answer", None)
    assert "improved on the loss at initialization" in found.answer.reason
    assert math.isfinite(found.untrained)


def test_the_cost_of_a_batch_size_counts_from_that_of_the_batches() -> None:
    # The batches are the task's own, of 16; its argument batch_size, 32, says nothing about them.
    x, y = torch.randn(64, 6), torch.randn(64, 1)
    task = make(train=TensorBatches((x, y), 16), batch_size=32, val=(x, y))
    same, double = (sweep(task, lr=[0.01], seeds=1, batch_size=[size], repeats=0) for size in (16, 32))
    plain = sweep(task, lr=[0.01], seeds=1, repeats=0)
    assert same.cost.full_runs == pytest.approx(plain.cost.full_runs)
    assert double.cost.full_runs == pytest.approx(
        plain.cost.full_runs, rel=0.2
    )  # half the updates, of twice the examples
