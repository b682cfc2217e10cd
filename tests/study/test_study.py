"""The driver: budget, time, interruption, and what it leaves behind, with real workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.study.listed import Listed
from tests.study.plane import Counting, make

from stepsize.errors import InputError
from stepsize.store import Store
from stepsize.study.outcome import StudyOutcome
from stepsize.study.strategy import Job
from stepsize.study.study import StudyProgress, run_study
from stepsize.study.workers import Local
from stepsize.training import InOrder, Run, Setting, Task
from stepsize.training.runs import Trial, Watcher
from stepsize.training.start import look_at_start
from stepsize.training.threads import training_threads

RATES = (0.01, 0.03, 0.1, 0.3)


def listed(share: float = 1.0, rates: Sequence[float] = RATES) -> Listed:
    return Listed([Job(Trial(number, {"lr": lr}), share, 0) for number, lr in enumerate(rates)])


def studied(strategy: Listed | None = None, task: Task | None = None, **others: Any) -> StudyOutcome:
    task = task or make()
    others = {"workers": Local(task, Counting()), **others}
    return run_study(task, strategy or listed(), **others)


def test_a_study_trains_what_its_strategy_asks_for_and_says_what_it_cost() -> None:
    found = studied(listed(0.5))

    assert [run.lr for run in found.runs] == list(RATES)
    assert [(run.trial.number, run.share, run.setting.steps) for run in found.runs] == [(n, 0.5, 12) for n in range(4)]
    assert (found.complete, found.stopped, found.where) == (True, "", None)
    price = look_at_start(make(), 0).costs.run(12)
    assert [run.cost for run in found.runs] == pytest.approx([price] * 4)
    assert found.cost.full_runs == pytest.approx(4 * price)


def test_no_run_is_begun_that_does_not_fit_the_budget() -> None:
    found = studied(budget=2.5)

    assert len(found.runs) == 2
    assert found.cost.full_runs <= 2.5
    assert (found.complete, found.stopped) == (False, "budget")
    assert studied(budget=4.0).stopped == ""


def test_a_diverged_run_leaves_its_rest_of_the_budget_to_others() -> None:
    early = listed(rates=(1e6, *RATES))
    found = studied(early, budget=4.2, workers="population")

    assert found.runs[0].diverged
    assert len(found.runs) == 5, "all but the rest of the diverged one"
    assert found.cost.full_runs <= 4.2


def test_jobs_under_way_are_counted_against_the_budget() -> None:
    task = make()
    handed = Counting()
    studied(task=task, workers=Local(task, handed, capacity=4), budget=2.5)

    assert len(handed.trained) == 2


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(tmp_path: Path) -> None:
    where, task = tmp_path / "s.db", make()
    first = studied(budget=2.5, store=where, name="rates")
    second = Counting()
    again = studied(task=task, workers=Local(task, second), budget=9.0, store=where, name="rates")

    assert [setting.lr for setting in second.trained] == list(RATES[2:])
    assert (again.resumed, again.complete, len(again.runs)) == (2, True, 4)
    assert [run.value for run in again.runs[:2]] == [run.value for run in first.runs]
    with Store.open(where) as store:
        assert [study.status for study in store.studies()] == ["done"]


class Slow(InOrder):
    """Takes its time between two runs, and notes which were begun."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.begun: list[float] = []
        self._seconds = seconds

    def stream(
        self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        for place, setting in enumerate(settings):
            self.begun.append(setting.lr)
            for _, run in super().stream(task, [setting], on_progress=on_progress):
                time.sleep(self._seconds)
                yield place, run


def test_after_its_time_nothing_is_begun_and_what_runs_is_finished() -> None:
    task, slow = make(), Slow(0.3)
    found = studied(task=task, workers=Local(task, slow), seconds=0.45)

    assert 1 <= len(found.runs) == len(slow.begun) < 4
    assert (found.complete, found.stopped) == (False, "seconds")


def test_what_was_handed_in_at_once_is_not_begun_after_the_time_either() -> None:
    slow = Slow(0.5)
    found = studied(workers=slow, seconds=0.6)  # all four are handed in together

    assert 1 <= len(found.runs) == len(slow.begun) - 1 < 4, "the one that began too late was left"
    assert found.stopped == "seconds"


def test_a_run_that_overruns_is_finished() -> None:
    task = make(steps=60)

    def heavy(model: Any, batch: Any) -> torch.Tensor:
        time.sleep(0.01)
        loss: torch.Tensor = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
        return loss

    task = make(steps=60, loss=heavy)
    found = run_study(task, listed(), workers="in-order", seconds=0.3)

    assert found.stopped == "seconds"
    assert len(found.runs) == 1


def test_ctrl_c_is_passed_on_or_answered(tmp_path: Path) -> None:
    task = make()
    with pytest.raises(KeyboardInterrupt):
        studied(task=task, workers=Local(task, Counting(stop=2)))
    found = studied(
        task=task, workers=Local(task, Counting(stop=2)), on_interrupt="answer", store=tmp_path / "s.db", name="rates"
    )

    assert (len(found.runs), found.stopped, found.complete) == (2, "interrupted", False)
    with Store.open(tmp_path / "s.db") as store:
        assert [study.status for study in store.studies()] == ["interrupted"]
        assert len(store.runs("rates")) == 2
    assert studied(store=tmp_path / "s.db", name="rates").complete


def test_a_run_is_stored_before_its_strategy_is_told(tmp_path: Path) -> None:
    where = tmp_path / "s.db"

    class Looking(Listed):
        def tell(self, run: Run) -> None:
            with Store.open(where) as store:
                assert run.key in {kept.key for kept in store.runs("rates")}
            super().tell(run)

    jobs = [Job(Trial(number, {"lr": lr}), 1.0, 0) for number, lr in enumerate(RATES)]
    assert studied(Looking(jobs), store=where, name="rates").complete


def test_what_watches_is_told_of_every_run_and_update() -> None:
    seen: list[StudyProgress] = []
    task = make(steps=6)
    run_study(task, listed(), workers="in-order", on_progress=seen.append)

    assert [progress.done for progress in seen if progress.run is not None] == [1, 2, 3, 4]
    assert [p.running.step for p in seen if p.running is not None] == [1, 2, 3, 4, 5, 6] * 4
    assert seen[-1].remaining == 0
    assert seen[-1].best is not None
    assert seen[-1].best.value == min(p.run.value for p in seen if p.run is not None)


@pytest.mark.parametrize("limit", ["budget", "seconds"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), True, "1"])
def test_a_limit_must_be_positive(limit: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{limit} must be a positive, finite number"):
        studied(**{limit: value})


def test_a_small_training_takes_one_thread_and_gives_the_others_back() -> None:
    seen: list[int] = []

    def loss(model: Any, batch: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        found: torch.Tensor = torch.nn.functional.mse_loss(model(batch[0]), batch[1])
        return found

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        task = make(loss=loss)
        start = look_at_start(task, 0)
        seen.clear()
        studied(task=task, start=start)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
        with pytest.raises(KeyboardInterrupt):
            studied(task=task, workers=Local(task, Counting(stop=1)))
        assert torch.get_num_threads() == 2
        with training_threads(1e12):
            assert torch.get_num_threads() == 2, "a large one takes what there is"
    finally:
        torch.set_num_threads(before)


def test_the_work_of_a_pass_is_counted_by_its_layers() -> None:
    assert look_at_start(make(), 0).operations == 16 * (6 + 1)
    convolution = make(
        model=lambda: torch.nn.Sequential(
            torch.nn.Unflatten(1, (1, 6)),
            torch.nn.Conv1d(1, 4, 3, bias=False),
            torch.nn.Flatten(),
            torch.nn.Linear(16, 1),
        )
    )
    assert look_at_start(convolution, 0).operations == 16 * (4 * 3 * 4 + 17)


def test_processes_take_one_thread_each_for_a_small_training() -> None:
    def threads(*_: Any) -> torch.Tensor:
        return torch.tensor(float(torch.get_num_threads()))

    task = make(steps=4, metrics={"threads": threads})
    found = run_study(task, listed(rates=RATES[:1]), workers="processes")

    assert [run.evaluations[-1].metrics["threads"] for run in found.runs] == [1.0]
