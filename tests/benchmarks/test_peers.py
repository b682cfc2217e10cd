from __future__ import annotations

import dataclasses
import math
import sys
from functools import partial

import pytest
import torch
from benchmarks.peers import PICKERS, TOOLS_OF, Conditions, answer, pick_with, sweep
from tests.benchmarks.small_tasks import dict_task, plain_task

from stepsize.training import Task


def test_what_is_reported_changes_and_the_gradient_does_not() -> None:
    x = torch.tensor(3.0, requires_grad=True)
    seen = Conditions(scale=1000.0, offset=7.0).report(x**2)
    seen.backward()  # type: ignore[no-untyped-call]
    assert seen.item() == pytest.approx(9007.0)
    assert x.grad is not None
    assert x.grad.item() == 6.0


def test_a_sweep_rises_exponentially_over_the_shifted_range() -> None:
    made = sweep(plain_task(), Conditions(shift=-2.0))
    assert made.lrs[0] == pytest.approx(1e-9)
    assert made.lrs[1] / made.lrs[0] == pytest.approx(10**0.08)


def test_a_sweep_stops_at_four_times_its_best() -> None:
    values = [1.0] * 20 + [4.5 + 0.01 * k for k in range(200)]  # the average creeps up to 4 and beyond
    task = Task(
        model=lambda: torch.nn.Linear(1, 1),
        loss=lambda model, batch: 0 * model.weight.sum() + batch["loss"],
        train=[{"loss": torch.tensor(value)} for value in values],
        optimizer="sgd",
        steps=400,
    )
    made = sweep(task, Conditions(more_steps=2))
    assert made.raw == pytest.approx(values[: len(made.raw)])
    assert made.smoothed[-1] > 4 >= made.smoothed[-2]
    assert len(made.lrs) < 200


def test_a_sweep_repeats_itself_and_another_order_of_batches_changes_it() -> None:
    task = plain_task()
    first, again = sweep(task, Conditions()), sweep(task, Conditions())
    shuffled = sweep(task, Conditions(shuffle=5))
    assert first.raw == again.raw
    assert first.raw != shuffled.raw


def test_a_sweep_leaves_the_random_generators_alone() -> None:
    before = torch.get_rng_state()
    sweep(plain_task(), Conditions())
    assert torch.equal(before, torch.get_rng_state())


def test_fixed_defaults_are_what_people_take() -> None:
    assert [pick.lr for pick in pick_with("fixed", plain_task("adamw"))] == [1e-3]
    assert [pick.lr for pick in pick_with("fixed", plain_task("momentum"))] == [0.1]


def test_a_sweep_of_100_steps_costs_half_a_training_of_200() -> None:
    assert all(0 < pick.cost <= 0.5 for pick in pick_with("sweep", plain_task()))


def test_every_picker_names_the_tools_that_it_answers_for() -> None:
    assert PICKERS.keys() == TOOLS_OF.keys()
    assert tuple(pick.tool for pick in pick_with("sweep", plain_task())) == TOOLS_OF["sweep"]


def test_a_tool_that_raises_is_recorded_as_no_answer() -> None:
    def broken(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError("by design")

    x = torch.zeros(8, 1)
    task = Task(model=lambda: torch.nn.Linear(1, 1), loss=broken, train=(x, x), val=(x, x), optimizer="sgd", steps=5)
    picks = answer("sweep", task)
    assert [pick.lr for pick in picks] == [None] * len(TOOLS_OF["sweep"])
    assert {pick.note for pick in picks} == {"ZeroDivisionError: by design"}


def test_a_tool_that_is_not_installed_gives_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(ImportError):
        answer("lightning", plain_task())


def test_the_usual_rate_of_an_optimizer_made_by_a_function_is_that_of_its_family() -> None:
    sgd = dataclasses.replace(plain_task(), optimizer=partial(torch.optim.SGD, momentum=0.95), epochs=None)
    adam = dataclasses.replace(plain_task(), optimizer=partial(torch.optim.AdamW, weight_decay=0.1), epochs=None)
    assert [pick_with("fixed", task)[0].lr for task in (sgd, adam)] == [0.1, 1e-3]


@pytest.mark.parametrize(("picker", "package"), [("torch-lr-finder", "torch_lr_finder"), ("lightning", "lightning")])
@pytest.mark.parametrize("task", [plain_task(), dict_task()], ids=["pairs", "dicts"])
def test_the_real_tools_answer_on_any_form_of_batch(picker: str, package: str, task: Task) -> None:
    pytest.importorskip(package, reason="needs the extra bench")
    first, again = pick_with(picker, task), pick_with(picker, task)
    assert [pick.lr for pick in first] == [pick.lr for pick in again]
    for pick in first:
        assert pick.tool in TOOLS_OF[picker]
        assert pick.lr is not None, pick.note
        assert 1e-8 <= pick.lr <= 10
        assert 0 < pick.cost <= 0.51


def test_torch_lr_finder_without_enough_points_gives_no_answer() -> None:
    pytest.importorskip("torch_lr_finder", reason="needs the extra bench")
    x = torch.ones(16, 1)
    task = Task(  # a negative loss is at once above five times its best
        model=lambda: torch.nn.Linear(1, 1, bias=False),
        loss=lambda output, target: (output - target).square().mean() - 100.0,
        train=(x, x),
        val=(x, x),
        optimizer="sgd",
        steps=100,
    )
    (pick,) = answer("torch-lr-finder", task)
    assert pick.lr is None
    assert "Need at least 17 iterations" in pick.note
    assert not math.isnan(pick.cost)


def test_the_range_test_of_stepsize_answers_whatever_the_unit_of_the_loss() -> None:
    (plain,) = pick_with("range-test", plain_task())
    (scaled,) = pick_with("range-test", plain_task(), Conditions(scale=1000.0))
    assert plain.lr is not None
    assert scaled.lr is not None
    assert abs(math.log10(scaled.lr / plain.lr)) <= 0.15
    assert plain.interval is not None
    assert 0 < plain.cost < 2


def test_find_answers_within_the_budget_that_its_picker_stands_for() -> None:
    (one,) = pick_with("stepsize-1", plain_task())
    assert one.lr is not None, one.note
    assert 0 < one.cost <= 1.0
    assert one.code == "open"
    assert one.note
