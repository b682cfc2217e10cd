"""`find` on small tasks: what it promises whatever its plan is."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.study.plane import Counting
from tests.views.chart_specs import flat_layers, values
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stepsize.errors import InputError
from stepsize.study.finding import FindProgress, Found, find
from stepsize.training import InOrder, Metric, Run, Setting, Task
from stepsize.training.runs import Watcher

mse = nn.functional.mse_loss
SHORT = 0.24


def data(count: int = 320) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(count, 4, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]) + 0.5 * torch.randn(count, 1, generator=generator)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))


def tiny(**changes: Any) -> Task:
    x, y = data()
    settings: dict[str, Any] = {
        "model": network, "loss": mse, "train": (x[:256], y[:256]), "val": (x[256:], y[256:]), "optimizer": "adamw",
        "steps": 80, "batch_size": 16, "name": "tiny", **changes,
    }  # fmt: skip
    return Task(**settings)


def plan(found: Found) -> list[tuple[float, float, int]]:
    """What was asked for, in this order."""
    return [(run.lr, run.share, run.seed) for run in found.runs]


def outcome(found: Found) -> Any:
    return plan(found), [run.value for run in found.runs], found.answer


@pytest.fixture(scope="module")
def found() -> Found:
    return find(tiny(), budget=8)


@pytest.fixture(scope="module")
def heard() -> list[FindProgress]:
    return []


@pytest.fixture(scope="module")
def smaller(heard: list[FindProgress]) -> Found:
    return find(tiny(), budget=5, on_progress=heard.append)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    store = tmp_path_factory.mktemp("stored") / "s.db"
    return store, find(tiny(optimizer="sgd"), until=0.3, budget=30, store=store)


# The promises of an answer


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("budget", [0.02, 0.3, 1.0, 2.5, 6])
def test_the_budget_is_kept_and_the_range_holds_a_rate_that_was_seen_to_work(budget: float, optimizer: str) -> None:
    found = find(tiny(optimizer=optimizer), budget=budget)
    assert found.cost.full_runs <= budget + 1e-9
    assert found.cost.runs == len(found.runs)
    assert found.cost.stopped == ("" if found.answer.decided else "budget")
    if not found.runs:
        assert budget < 0.1
        return
    assert found.lr
    assert found.as_good
    assert found.as_good[0] <= found.lr <= found.as_good[1]
    worked = [run.lr for run in found.runs if not run.diverged]
    assert found.lr <= max(worked) * 1.15  # half a step of the tabulated rates, and two digits
    assert 0 <= found.sure <= 1
    assert found.answer.decided == (found.verdict in ("settled", "flat"))


def test_a_time_is_kept() -> None:
    began = time.perf_counter()
    found = find(tiny(steps=2000), budget="2s", until=1e-6)
    longest = max(run.seconds for run in found.runs)
    assert time.perf_counter() - began < 2 + 2 * longest + 1.0
    assert found.runs
    assert sum(run.seconds for run in found.runs[:-1]) < 2, "no run is begun after it"
    assert found.cost.stopped == "seconds"


def test_the_cost_is_that_of_the_runs(found: Found) -> None:
    task = tiny()
    full = 3 * task.horizon + 64 / 16
    assert found.cost.full_runs == pytest.approx(sum(run.passes for run in found.runs) / full)
    assert found.cost.full_runs == pytest.approx(sum(run.cost for run in found.runs))


def test_the_answer_is_near_the_best_rate(found: Found) -> None:
    assert found.lr
    task = tiny()
    grid = {lr: InOrder()(task, [Setting(lr, 0, 80)])[0].val_loss for lr in (1e-4, 1e-3, 1e-2, 0.1, 1.0, found.lr)}
    assert grid[found.lr] < 1.25 * min(grid.values())  # a tenth of it is the noise of a run


def test_it_stops_when_it_is_sure(stored: tuple[Path, Found]) -> None:
    searches = [stored[1], *(find(tiny(optimizer="sgd", seed=seed), until=0.3, budget=30) for seed in (1, 2))]
    for found in searches:
        assert found.verdict in ("settled", "flat")
        assert found.cost.stopped == ""
        assert found.sure >= 0.9
    assert sum(found.cost.full_runs for found in searches) / 3 < 15


def test_short_runs_come_first_and_then_full_ones_only(found: Found) -> None:
    shares = [run.share for run in found.runs]
    short = shares.count(SHORT)
    assert shares == [SHORT] * short + [1.0] * (len(shares) - short)
    assert 0 < short < len(shares)
    assert found.runs[0].lr == pytest.approx(1e-3), "it begins at the usual rate"
    assert len(set(plan(found))) == len(plan(found)), "no rate is trained twice on a seed"


# The same again


class Slow(InOrder):
    def stream(
        self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        time.sleep(0.2)
        yield from super().stream(task, settings, on_progress=on_progress)


def test_the_same_seed_gives_the_same_plan_and_answer_bit_for_bit_however_long_a_run_takes(smaller: Found) -> None:
    torch.manual_seed(torch.seed() % 999)  # whatever the generators stood at before
    assert outcome(find(tiny(), budget=5, workers=Slow())) == outcome(smaller)
    assert plan(find(tiny(), budget=2, seed=4)) != plan(smaller)[:4]


def test_runs_trained_together_are_asked_for_as_those_one_by_one(smaller: Found) -> None:
    together = find(tiny(), budget=5, workers="population")
    assert [run.key for run in together.runs] == [run.key for run in smaller.runs]
    assert [run.lr for run in together.runs] == pytest.approx([run.lr for run in smaller.runs], rel=1e-6)
    assert [run.value for run in together.runs] == pytest.approx([run.value for run in smaller.runs], rel=1e-4)
    assert together.lr == pytest.approx(smaller.lr, rel=1e-3)
    assert together.verdict == smaller.verdict


def test_a_larger_budget_follows_the_same_plan_further(found: Found, smaller: Found) -> None:
    assert 0 < len(smaller.runs) < len(found.runs)
    assert plan(smaller) == plan(found)[: len(smaller.runs)]


# Stopped and continued


class KilledError(Exception):
    """Whatever ends a process."""


class Mortal(Counting):
    """Trains some runs and is killed."""

    def stream(
        self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        try:
            yield from super().stream(task, settings, on_progress=on_progress)
        except KeyboardInterrupt:
            raise KilledError from None


@pytest.mark.parametrize("after", [1, 3, 5, 8])
def test_a_search_that_was_killed_asks_for_the_same_runs(found: Found, tmp_path: Path, after: int) -> None:
    store = tmp_path / "s.db"
    with pytest.raises(KilledError):
        find(tiny(), budget=8, store=store, workers=Mortal(after))

    rest = Counting()
    again = find(tiny(), budget=8, store=store, workers=rest)

    assert plan(again) == plan(found)
    assert again.answer == found.answer
    assert len(rest.trained) == len(found.runs) - after
    assert again.cost.full_runs == pytest.approx(found.cost.full_runs)


def test_a_larger_budget_continues_a_stored_search(found: Found, tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    first = find(tiny(), budget=4, store=store)
    rest = Counting()
    again = find(tiny(), budget=8, store=store, workers=rest)

    assert plan(again) == plan(found)
    assert len(rest.trained) == len(found.runs) - len(first.runs) > 0
    assert again.name == first.name
    assert again.where == str(store)


def test_a_finished_search_trains_nothing_again(stored: tuple[Path, Found]) -> None:
    store, first = stored
    rest = Counting()
    again = find(tiny(optimizer="sgd"), until=0.3, budget=30, store=store, workers=rest)
    assert rest.trained == []
    assert again.answer == first.answer


def test_another_question_under_the_same_name_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "s.db"
    find(tiny(), budget=1, store=store, name="mine")
    with pytest.raises(InputError, match="mine"):
        find(tiny(), until=0.05, budget=1, store=store, name="mine")


def test_ctrl_c_answers_with_what_is_known(found: Found) -> None:
    stopped = find(tiny(), budget=8, workers=Counting(stop=7))
    assert stopped.cost.stopped == "interrupted"
    assert plan(stopped) == plan(found)[:7]
    assert stopped.lr
    assert stopped.restored


def test_ctrl_c_before_the_first_run_ends_is_no_answer() -> None:
    stopped = find(tiny(), budget=8, workers=Counting(stop=0))
    assert stopped.cost.stopped == "interrupted"
    assert stopped.verdict == "no answer"
    assert "No run has finished yet" in stopped.answer.reason
    json.dumps(stopped.to_json(), allow_nan=False)


# What it says


def test_it_says_what_the_rate_is_for(found: Found) -> None:
    conditions = found.conditions
    assert (conditions.task, conditions.horizon, conditions.batch_size) == ("tiny", 80, 16)
    assert conditions.objective == "validation loss"
    assert "AdamW" in conditions.optimizer


def test_the_result_survives_json_strictly(found: Found) -> None:
    back = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {"lr", "as_good", "sure", "verdict", "reason", "cost", "conditions", "curve", "next", "restored"} <= set(
        back
    )
    assert back["lr"] == found.lr
    assert back["as_good"] == list(found.as_good or ())
    assert (back["verdict"], back["sure"]) == (found.verdict, found.sure)
    assert back["cost"]["full_runs"] == found.cost.full_runs
    assert len(back["runs"]) == found.cost.runs
    assert len(back["curve"]["lr"]) == len(back["curve"]["loss"]) == len(back["curve"]["expected_excess"]) <= 160
    assert all(low <= mid <= high for low, mid, high in zip(*(back["curve"][k] for k in ("low", "loss", "high"))))  # noqa: B905
    assert back["restored"] is True


def test_the_chart_holds_every_run_and_the_answer(found: Found) -> None:
    spec = found.plot().to_dict()
    rows = [row for layer in flat_layers(spec) if "data" in layer for row in values(spec, layer)]
    drawn = {row["x"] for row in rows if "x" in row}
    assert {run.lr for run in found.runs} <= drawn
    assert spec["title"]["text"] == "Loss vs. learning rate: tiny"
    assert spec["title"]["subtitle"][0].startswith(f"lr {found.lr}, as good from ")
    assert "Valid for AdamW, constant, 80 steps, batch size 16." in spec["title"]["subtitle"]


def test_progress_is_told_with_the_present_answer(smaller: Found, heard: list[FindProgress]) -> None:
    fractions = [one.fraction for one in heard]
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(smaller.cost.full_runs / 5)
    assert len(set(fractions)) > 100, "a run under way counts"
    assert [one.study.run.lr for one in heard if one.study.run] == [run.lr for run in smaller.runs]
    assert heard[0].answer.verdict == "no answer"
    assert heard[-1].answer == smaller.answer
    assert {one.budget for one in heard} == {"5 full runs"}


# The world is left alone


def world(task: Task) -> list[Any]:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    states = [torch.get_rng_state(), torch.tensor(legacy[1].astype(np.int64))]
    generator = getattr(task.train, "generator", None)
    return [*states, generator.get_state()] if generator is not None else states


def loaded(**changes: Any) -> Task:
    x, y = data()
    loader = DataLoader(
        TensorDataset(x[:256], y[:256]), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(3)
    )
    return tiny(train=loader, **changes)


def assert_untouched(task: Task, act: Callable[[], Any]) -> None:
    before = world(task)
    act()
    assert all(torch.equal(one, other) for one, other in zip(before, world(task), strict=True))


def test_generators_and_the_loaders_position_are_as_they_were() -> None:
    task = loaded()

    def act() -> None:
        assert find(task, budget=1.5).restored is True

    assert_untouched(task, act)


def broken(call: int, error: BaseException) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss that raises from its n-th call on."""
    calls = 0

    def loss(output: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls >= call:
            raise error
        return mse(output, target)

    return loss


@pytest.mark.parametrize("call", [1, 40, 90])
def test_they_are_so_after_an_exception_too(call: int) -> None:
    error = RuntimeError("out of memory")
    task = loaded(loss=broken(call, error))

    def act() -> None:
        with pytest.raises(RuntimeError) as caught:
            find(task)
        assert caught.value is error

    assert_untouched(task, act)


@pytest.mark.parametrize("call", [10, 40, 90])
def test_they_are_so_after_ctrl_c_too(call: int) -> None:
    task = loaded(loss=broken(call, KeyboardInterrupt()))

    def act() -> None:
        stopped = find(task)
        assert stopped.cost.stopped == "interrupted"
        assert stopped.restored

    assert_untouched(task, act)


# Verdicts


def test_without_validation_data_the_training_loss_selects_and_the_reason_says_so() -> None:
    found = find(tiny(val=None), budget=4)
    assert found.conditions.objective == "training loss"
    assert found.lr
    assert "No validation data: the training loss selected" in found.answer.reason


class Bomb(nn.Module):
    """Diverges at every rate."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 1)
        self.calls = 0

    def forward(self, x: Tensor) -> Any:
        if self.training:
            self.calls += 1
        return self.inner(x) * (float("nan") if self.calls > 3 else 1.0)


def test_where_every_rate_diverges_there_is_no_answer() -> None:
    found = find(tiny(model=Bomb), budget=3)
    assert found.verdict == "no answer"
    assert "Every run diverged" in found.answer.reason
    assert (found.lr, found.as_good, found.sure) == (None, None, 0.0)
    assert found.cost.full_runs <= 3
    json.dumps(found.to_json(), allow_nan=False)
    found.plot().to_dict()


def test_where_nothing_is_learned_there_is_no_answer() -> None:
    found = find(tiny(loss=lambda output, target: 0 * output.sum() + 1), budget=6)
    assert found.verdict == "no answer"
    assert "improved on the loss at initialization" in found.answer.reason
    assert found.lr is None
    json.dumps(found.to_json(), allow_nan=False)
    found.plot().to_dict()


def test_where_there_is_nothing_but_noise_it_is_not_settled() -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(320, 4, generator=generator), torch.randn(320, 1, generator=generator)

    def silent() -> nn.Module:
        net = nn.Linear(4, 1)
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)
        return net

    found = find(tiny(model=silent, train=(x[:256], noise[:256]), val=(x[256:], noise[256:]), steps=32), budget=6)
    assert found.verdict != "settled"


def test_a_start_that_is_nearly_good_is_improved_not_ruined() -> None:
    trained = network()
    optimizer = torch.optim.Adam(trained.parameters(), 0.01)
    x, y = data()
    for _ in range(300):
        optimizer.zero_grad()
        loss = mse(trained(x[:256]), y[:256] + 1.0)  # another task of the kind: all targets one higher
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    weights = {name: value.clone() for name, value in trained.state_dict().items()}

    def tuned() -> nn.Module:
        net = network()
        net.load_state_dict(weights)
        return net

    task = tiny(model=tuned)
    found = find(task, budget=8)
    assert found.lr
    grid = {lr: InOrder()(task, [Setting(lr, 0, 80)])[0].val_loss for lr in (1e-4, 1e-3, 1e-2, 0.1, found.lr)}
    assert grid[found.lr] < 1.15 * min(grid.values())


@pytest.mark.parametrize("steps", [1, 8, 20, 80])
def test_a_short_horizon_has_an_answer_or_a_reason_why_not(steps: int) -> None:
    found = find(tiny(steps=steps), budget=4)
    assert (found.lr is None) == (found.verdict == "no answer")
    assert all(run.setting.steps >= min(16, steps) for run in found.runs), "shorter runs say nothing"
    assert found.answer.reason
    assert found.restored
    json.dumps(found.to_json(), allow_nan=False)
    found.plot().to_dict()


def test_a_hundred_examples_are_enough() -> None:
    x, y = data(110)
    found = find(tiny(train=(x[:80], y[:80]), val=(x[80:], y[80:])), budget=6)
    assert found.lr
    assert 1e-3 < found.lr < 1


def test_below_a_full_run_shorter_ones_answer_and_it_stays_open() -> None:
    found = find(tiny(), budget=0.6)
    assert found.lr
    assert found.verdict == "open"
    assert max(run.share for run in found.runs) < 1
    assert "of the steps were trained" in found.answer.reason


def test_a_budget_that_pays_for_no_run_gives_no_answer() -> None:
    found = find(tiny(), budget=1e-3)
    assert found.verdict == "no answer"
    assert found.runs == ()
    assert "larger budget" in found.next
    json.dumps(found.to_json(), allow_nan=False)


# What it takes


def test_a_metric_can_select_and_more_can_be_better() -> None:
    x, y = data()
    labels = (y[:, 0] > 0).long()
    accuracy = Metric(lambda output, target: (output.argmax(-1) == target).float().mean(), maximize=True)
    task = tiny(
        model=lambda: nn.Linear(4, 2), loss=nn.functional.cross_entropy, train=(x[:256], labels[:256]),
        val=(x[256:], labels[256:]), metrics={"accuracy": accuracy}, objective="accuracy", optimizer="sgd",
    )  # fmt: skip
    found = find(task, budget=6)
    assert found.conditions.objective == "accuracy"
    assert all(-1 <= run.value <= 0 for run in found.runs if math.isfinite(run.value)), "turned: lower is better"
    assert found.lr
    assert InOrder()(task, [Setting(found.lr, 0, 80)])[0].objective("accuracy", maximize=True) < -0.85
    found.plot().to_dict()


def test_accumulated_batches_count_as_the_work_that_they_are() -> None:
    found = find(tiny(accumulate=4, steps=40), budget=2.5)
    assert found.conditions.batch_size == 64
    assert found.cost.full_runs <= 2.5 + 1e-9
    longest = max(found.runs, key=lambda run: run.share)
    assert longest.passes >= 3 * 4 * longest.setting.steps
    assert found.lr


class Again:
    """Validation data that can be iterated any number of times and have no length."""

    def __init__(self, size: int = 32) -> None:
        x, y = data()
        self._batches = [(x[k : k + size], y[k : k + size]) for k in range(256, 320, size)]

    def __iter__(self) -> Iterator[Any]:
        yield from self._batches


def test_validation_data_need_no_length() -> None:
    again, sized = find(tiny(val=Again()), budget=2.5), find(tiny(val=list(Again())), budget=2.5)
    assert again.lr == sized.lr
    assert again.cost.full_runs == pytest.approx(sized.cost.full_runs)


# Bad input


@pytest.mark.parametrize("budget", [0, "10 parsecs"])
def test_a_budget_that_is_none_is_refused_before_any_training(budget: Any) -> None:
    built = 0

    def model() -> nn.Module:
        nonlocal built
        built += 1
        return network()

    with pytest.raises(InputError, match="budget must be a positive number of full runs, or a time such as"):
        find(tiny(model=model), budget=budget)
    assert built == 0


@pytest.mark.parametrize("until", [0, 1, -0.1, 2.0, math.nan, True, "2%", None])
def test_a_tolerance_that_is_no_fraction_is_refused_before_any_training(until: Any) -> None:
    with pytest.raises(InputError, match=r"until must be a fraction between 0 and 1; got .*\. Write 2% as 0.02"):
        find(tiny(), until=until)
