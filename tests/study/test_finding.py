"""`find` on small tasks: what it promises whatever its plan is."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.views.chart_specs import flat_layers, values
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stepsize.errors import InputError
from stepsize.study import Found, find
from stepsize.training import InOrder, Metric, Run, Setting, Task
from stepsize.training.population.gain import Gain

mse = nn.functional.mse_loss


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
        "steps": 240, "batch_size": 16, "name": "tiny", **changes,
    }  # fmt: skip
    return Task(**settings)


def worked(found: Found) -> list[float]:
    """The rates of the runs that did not diverge."""
    return [run.setting.lr for run in found.curve.runs if run.divergence is None]


@pytest.fixture(scope="module")
def found() -> Found:
    return find(tiny())


# The promises of an answer


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("budget", [0.3, 1.0, 2.0])
def test_the_budget_is_kept(budget: float, optimizer: str) -> None:
    found = find(tiny(optimizer=optimizer), budget=budget)
    assert 0 < found.cost.trainings <= budget + 1e-9
    assert found.cost.runs == len(found.curve.runs)


def test_the_cost_is_what_the_runs_and_the_range_test_took() -> None:
    task = tiny()
    found = find(task, gain=1.0)  # a crowd is charged by its price, not by its passes
    assert found.range_test
    full = 3 * task.horizon + 64 / 16
    runs = sum(run.passes for run in found.curve.runs)
    assert found.cost.trainings >= (runs + 3 * found.range_test.calls) / full - 1e-9
    assert found.cost.trainings <= (runs + 3 * found.range_test.calls + 4) / full + 1e-9


def test_members_of_a_crowd_are_charged_what_they_cost_together() -> None:
    task = tiny()
    found = find(task, gain=5.0)
    full = 3 * task.horizon + 64 / 16
    passes = sum(run.passes for run in found.curve.runs) / full
    alone = find(task, gain=1.0)

    assert found.cost.gain == pytest.approx(5.0)
    assert found.cost.trainings < 1.0 < passes
    assert max(run.setting.steps for run in found.curve.runs) > max(run.setting.steps for run in alone.curve.runs)
    assert len(found.curve.runs) >= 16


def test_a_gain_that_is_given_makes_the_plan_of_one_that_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(task: Task, seed: int) -> Gain:
        del seed
        return Gain(5.0, 3 * 4 * task.accumulate * (1 + 8 / 5.0))

    module = sys.modules["stepsize.study.finding"]  # the package has the function of that name
    monkeypatch.setattr(module, "measure_gain", measured)  # a busy machine measures something else
    first, again = find(tiny()), find(tiny(), gain=5.0)

    assert first.cost.gain == again.cost.gain == 5.0
    assert [run.setting for run in again.curve.runs] == [run.setting for run in first.curve.runs]


@pytest.mark.parametrize("gain", [0.5, -1, math.inf, math.nan, True, "4"])
def test_a_gain_below_one_is_refused(gain: Any) -> None:
    with pytest.raises(InputError, match=r"gain must be a number of at least 1; got .*\. None measures it"):
        find(tiny(), gain=gain)


def test_the_answer_is_near_the_best_rate(found: Found) -> None:
    assert found.verdict.trustworthy, found.verdict
    assert found.lr
    task = tiny()
    grid = {lr: InOrder()(task, [Setting(lr, 0, 240)])[0].val_loss for lr in (1e-4, 1e-3, 1e-2, 0.1, 1.0, found.lr)}
    assert grid[found.lr] < 1.3 * min(grid.values())


def test_the_interval_holds_the_rate(found: Found) -> None:
    assert found.interval
    assert found.lr
    assert found.interval[0] <= found.lr <= found.interval[1]
    assert found.regret is not None
    assert found.regret >= 0


def test_the_rate_is_never_above_the_highest_that_was_seen_to_work() -> None:
    for optimizer in ("adamw", "sgd"):
        for budget in (0.3, 1.0):
            found = find(tiny(optimizer=optimizer), budget=budget)
            if found.lr is not None:
                assert found.lr <= max(worked(found)) * (1 + 1e-9)


@pytest.mark.parametrize("gain", [1.0, 3.6])
def test_the_same_seed_gives_the_same_answer_bit_for_bit(gain: float) -> None:
    def answer(seed: int) -> Any:
        torch.manual_seed(torch.seed() % 999)  # whatever the generators stood at before
        found = find(tiny(), budget=0.6, seed=seed, gain=gain)
        runs = [(run.setting, run.losses.tolist()) for run in found.curve.runs]
        return found.lr, found.interval, found.verdict, found.cost.trainings, runs

    assert answer(3) == answer(3)
    assert answer(3) != answer(4)


def test_it_says_what_the_rate_is_for(found: Found) -> None:
    conditions = found.conditions
    assert (conditions.task, conditions.horizon, conditions.batch_size) == ("tiny", 240, 16)
    assert conditions.judge == "validation loss"
    assert "AdamW" in conditions.optimizer
    assert "240 steps" in str(conditions)


def test_the_result_survives_json_strictly(found: Found) -> None:
    back = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {"lr", "interval", "verdict", "cost", "curve", "restored"} <= set(back)
    assert back["lr"] == found.lr
    assert back["verdict"] == found.verdict.code
    assert back["cost"]["trainings"] == found.cost.trainings
    assert len(back["curve"]["runs"]) == found.cost.runs
    assert back["restored"] is True


def test_the_chart_holds_every_run(found: Found) -> None:
    spec = found.plot().to_dict()
    rows = [row for layer in flat_layers(spec) if "data" in layer for row in values(spec, layer)]
    drawn = {row["x"] for row in rows if "x" in row}
    assert {run.setting.lr for run in found.curve.runs} <= drawn
    assert spec["title"]["text"] == "lr curve of tiny"


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
    return tiny(train=loader, steps=240, **changes)


def assert_untouched(task: Task, act: Callable[[], Any]) -> None:
    before = world(task)
    act()
    assert all(torch.equal(one, other) for one, other in zip(before, world(task), strict=True))


def test_generators_and_the_loaders_position_are_as_they_were() -> None:
    task = loaded()

    def act() -> None:
        assert find(task, budget=0.5).restored is True

    assert_untouched(task, act)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", [1, 40, 90])
def test_they_are_so_after_an_exception_too(error: BaseException, call: int) -> None:
    calls = 0

    def loss(output: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls >= call:
            raise error
        return mse(output, target)

    task = loaded(loss=loss)

    def act() -> None:
        with pytest.raises(type(error)) as caught:
            find(task)
        assert caught.value is error

    assert_untouched(task, act)
    assert calls == call


# Verdicts


def test_without_unseen_data_the_training_loss_judges_and_the_verdict_says_so() -> None:
    found = find(tiny(val=None))
    assert found.conditions.judge == "training loss"
    assert found.verdict.code == "no answer" or "no unseen data" in found.verdict.reason.lower()
    assert found.verdict.trustworthy


def test_where_every_rate_diverges_there_is_no_answer() -> None:
    class Bomb(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 1)
            self.calls = 0

        def forward(self, x: Tensor) -> Any:
            if self.training:
                self.calls += 1
            return self.inner(x) * (float("nan") if self.calls > 3 else 1.0)

    found = find(tiny(model=Bomb))
    assert found.verdict.code == "no answer"
    assert "diverged" in found.verdict.reason
    assert (found.lr, found.interval, found.regret, found.train_optimum) == (None, None, None, None)
    json.dumps(found.to_json(), allow_nan=False)
    found.plot().to_dict()


def test_where_nothing_can_be_learned_it_is_not_confident() -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(320, 4, generator=generator), torch.randn(320, 1, generator=generator)

    def silent() -> nn.Module:
        net = nn.Linear(4, 1)
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)
        return net

    found = find(tiny(model=silent, train=(x[:256], noise[:256]), val=(x[256:], noise[256:]), steps=32))
    assert found.verdict.code != "confident"
    assert found.lr is None or found.verdict.code in ("uncertain", "flat", "at the edge", "fair")


@pytest.mark.parametrize("steps", [1, 8, 20, 80])
def test_a_short_horizon_has_an_answer_or_a_reason_why_not(steps: int) -> None:
    found = find(tiny(steps=steps))
    assert (found.lr is None) == (not found.verdict.trustworthy)
    assert found.restored
    json.dumps(found.to_json(), allow_nan=False)


def test_a_budget_that_pays_for_no_run_gives_no_answer() -> None:
    found = find(tiny(), budget=1e-3)
    assert found.verdict.code == "no answer"
    assert "Raise it" in found.verdict.reason
    assert found.lr is None
    json.dumps(found.to_json(), allow_nan=False)


# What it takes


def test_a_metric_can_judge_and_more_can_be_better() -> None:
    x, y = data()
    labels = (y[:, 0] > 0).long()
    accuracy = Metric(lambda output, target: (output.argmax(-1) == target).float().mean(), maximize=True)
    task = tiny(
        model=lambda: nn.Linear(4, 2), loss=nn.functional.cross_entropy, train=(x[:256], labels[:256]),
        val=(x[256:], labels[256:]), metrics={"accuracy": accuracy}, judge="accuracy", optimizer="sgd",
    )  # fmt: skip
    found = find(task)
    assert found.conditions.judge == "accuracy"
    judged = [value for value in found.curve.judged if math.isfinite(value)]
    assert all(-1 <= value <= 0 for value in judged), "turned so that lower is better"
    assert found.lr
    assert InOrder()(task, [Setting(found.lr, 0, 240)])[0].judged("accuracy", maximize=True) < -0.85


def test_accumulated_batches_count_as_the_work_that_they_are() -> None:
    found = find(tiny(accumulate=4, steps=120))
    assert found.conditions.batch_size == 64
    assert found.cost.trainings <= 1 + 1e-9
    longest = max(found.curve.runs, key=lambda run: len(run.losses))
    assert longest.passes >= 3 * 4 * len(longest.losses)
    assert found.lr


class Again:
    """Unseen data that can be iterated any number of times and has no length."""

    def __init__(self, size: int = 32) -> None:
        x, y = data()
        self._batches = [(x[k : k + size], y[k : k + size]) for k in range(256, 320, size)]

    def __iter__(self) -> Iterator[Any]:
        yield from self._batches


def test_unseen_data_need_no_length() -> None:
    again, sized = find(tiny(val=Again()), budget=0.6), find(tiny(val=list(Again())), budget=0.6)
    assert again.lr == sized.lr
    assert again.cost.trainings == pytest.approx(sized.cost.trainings)
    assert again.cost.trainings <= 0.6


def test_the_executor_that_is_given_trains_every_run_under_one_seed() -> None:
    asked: list[Setting] = []
    inner = InOrder()

    def executor(task: Task, settings: Sequence[Setting], *, watcher: Any = None) -> list[Run]:
        asked.extend(settings)
        return inner(task, settings, watcher=watcher)

    found = find(tiny(), budget=0.6, seed=7, executor=executor)
    assert [run.setting for run in found.curve.runs] == asked
    assert {setting.seed for setting in asked} == {7}
    assert len({run.initial for run in found.curve.runs}) == 1
    for steps in {setting.steps for setting in asked}:
        rung = [setting for setting in asked if setting.steps == steps]
        assert len({setting.lr for setting in rung}) == len(rung), "no rate is trained twice"
        assert len({setting.val_examples for setting in rung}) == 1, "all are judged alike"


def test_the_watcher_hears_of_every_run() -> None:
    heard: set[float] = set()
    found = find(tiny(), budget=0.4, watcher=lambda progress: heard.add(progress.setting.lr))
    assert heard >= set(worked(found))


# Bad input


@pytest.mark.parametrize("budget", [0, -1.0, math.nan, math.inf, True, None, "1"])
def test_a_budget_that_is_no_positive_number_is_refused_before_any_training(budget: Any) -> None:
    built = 0

    def model() -> nn.Module:
        nonlocal built
        built += 1
        return network()

    with pytest.raises(InputError, match="budget must be a positive number of trainings; got"):
        find(tiny(model=model), budget=budget)
    assert built == 0
