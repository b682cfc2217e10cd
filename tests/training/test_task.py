"""A task is checked in full when it is made: every rule has its message, and the message names the argument."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from tests.training.small import batches, examples, inspected, linear, make_task
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from stepsize import schedules
from stepsize.errors import InputError, TaskError, UnknownNameError
from stepsize.training import Metric, TensorBatches, train


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    return (output - target).abs().mean()


class Unsized:
    """Batches without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(batches())


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "a model instead of its factory": ({"model": nn.Linear(3, 1)}, "model must be a function .*got 'Linear instance'"),
    "a model that cannot be called": ({"model": 3}, "model must be callable; got 3"),
    "a class as model": ({"model": nn.Linear}, r"model must be a function without .*missing a required argument"),
    "a class as loss": ({"loss": nn.MSELoss}, r"loss must be an instance; got 'MSELoss'. Write MSELoss\(\)"),
    "an optimizer of one argument": (
        {"optimizer": lambda params: torch.optim.SGD(params, lr=0.1)},
        r"optimizer must be a function f\(params, lr\)",
    ),
    "a dict for data": ({"train": {"x": torch.ones(3)}}, r"train must be a re-iterable .* Give \(x, y\)"),
    "an array for data": ({"train": torch.ones(3).numpy()}, "train must be a re-iterable"),
    "a loss that cannot be called": ({"loss": "mse"}, "loss must be callable; got 'mse'"),
    "an optimizer that is already built": (
        {"optimizer": torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)},
        r"optimizer must be a name \(sgd, .*\) or a function f\(params, lr\)",
    ),
    "an optimizer that cannot be called": ({"optimizer": 0.1}, "optimizer must be a name .*got 0.1"),
    "a schedule that cannot be called": (
        {"schedule": 0.5},
        "schedule must be a Schedule, its written form",
    ),
    "a clip of zero": ({"clip": 0.0}, "clip must be a positive, finite gradient norm; got 0.0"),
    "a clip that is NaN": ({"clip": math.nan}, "clip must be a positive, finite gradient norm; got nan"),
    "a clip that is text": ({"clip": "1"}, "clip must be a positive, finite gradient norm; got '1'"),
    "no accumulation": ({"accumulate": 0}, "accumulate must be a whole number of batches, at least 1; got 0"),
    "half an accumulation": ({"accumulate": 1.5}, "accumulate must be a whole number of batches"),
    "a truth value for accumulation": ({"accumulate": True}, "accumulate must be a whole number .*got True"),
    "an unknown precision": ({"precision": "fp8"}, "precision must be 'fp32', 'bf16' or 'fp16'; got 'fp8'"),
    "a negative seed": ({"seed": -1}, "seed must be a whole number, at least 0; got -1"),
    "a fraction for a seed": ({"seed": 0.5}, "seed must be a whole number, at least 0; got 0.5"),
    "empty batches": ({"batch_size": 0}, "batch_size must be a whole number of examples, at least 1; got 0"),
    "an unknown device": ({"device": "nowhere"}, "device must be a torch device, .*got 'nowhere'"),
    "a number for a device": ({"device": 0.5}, "device must be a torch device, .*got 0.5"),
    "no steps": ({"steps": 0}, "steps must be a whole number of steps, at least 1; got 0"),
    "a truth value for steps": ({"steps": True}, "steps must be a whole number of steps.*got True"),
    "half a step": ({"steps": 2.5}, "steps must be a whole number of steps.*got 2.5"),
    "steps and epochs": ({"steps": 5, "epochs": 1}, r"steps or epochs must be given, and not both; got \(5, 1\)"),
    "neither steps nor epochs": (
        {"epochs": None},
        r"steps or epochs must be given, and not both; got \(None, None\). For example steps=1_000",
    ),
    "no epochs": ({"epochs": 0}, "epochs must be a positive, finite number of passes; got 0"),
    "endless epochs": ({"epochs": math.inf}, "epochs must be a positive, finite number of passes; got inf"),
    "epochs in words": ({"epochs": "two"}, "epochs must be a positive, finite number of passes; got 'two'"),
    "epochs of data without a length": (
        {"epochs": 1, "train": Unsized()},
        "epochs needs training data with a length.*Give steps instead",
    ),
    "train that is read once": ({"train": iter(batches())}, "train must be iterable more than once"),
    "val that is read once": ({"val": (b for b in batches())}, "val must be iterable more than once.*got 'generator'"),
    "an empty list": ({"train": []}, "train must yield at least one batch"),
    "an empty list of unseen data": ({"val": []}, "val must yield at least one batch"),
    "a tensor for data": ({"train": torch.ones(4, 3)}, "train must be a re-iterable of batches or a tuple of tensors"),
    "a number for data": ({"train": 3}, "train must be a re-iterable of batches or a tuple of tensors; got 3"),
    "tensors of unequal length": (
        {"train": (torch.ones(4, 3), torch.ones(5, 1))},
        r"train given as tensors must share their first dimension; got \[4, 5\]",
    ),
    "tensors without examples": (
        {"val": (torch.ones(0, 3), torch.ones(0, 1))},
        r"val must hold at least one example; got \[0, 0\]",
    ),
    "an unknown form of loss": ({"loss_takes": "batch"}, "loss_takes must be 'auto', 'output' or 'model'"),
    "a schedule that is NaN": (
        {"schedule": lambda step: math.nan},
        r"schedule must return a finite factor >= 0 \(here for step 0\); got nan",
    ),
    "a schedule that is infinite": ({"schedule": lambda step: math.inf}, "schedule must return a finite factor"),
    "a schedule that ends below zero": (
        {"schedule": lambda step: 1 - step / 18},
        r"schedule must return a finite factor >= 0 \(here for step 19\)",
    ),
    "a schedule that returns nothing": (
        {"schedule": lambda step: None if step == 10 else 1.0},
        r"schedule must return a finite factor >= 0 \(here for step 10\); got None",
    ),
    "an unknown judge": (
        {"objective": "f1", "metrics": {"mae": Metric(absolute_error, maximize=False)}, "val": examples()},
        "objective must be one of: loss, mae; got 'f1'",
    ),
    "a judge without a direction": (
        {"objective": "mae", "metrics": {"mae": absolute_error}, "val": examples()},
        "objective must name a metric that says which direction is better.*Metric",
    ),
    "a judge without unseen data": (
        {"objective": "mae", "metrics": {"mae": Metric(absolute_error, maximize=False)}},
        "objective needs validation data; got 'mae'. Give val",
    ),
    "a metric that cannot be called": ({"metrics": {"mae": 3}}, "metrics must hold functions or stepsize.Metric"),
    "a metric called loss": ({"metrics": {"loss": absolute_error}}, "metrics must not be called 'loss'"),
}


@pytest.mark.parametrize(("changes", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_told_by_its_argument(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match="^" + message) as caught:
        make_task(**changes)
    assert caught.value.argument == re.split(r"\W", message)[0]


def test_an_unknown_optimizer_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"optimizer is not a known name; got 'adamv'. Did you mean 'adam.?'"):
        make_task(optimizer="adamv")


def test_the_remedy_for_a_model_instance_works() -> None:
    model = nn.Linear(3, 1)

    task = make_task(model=lambda: copy.deepcopy(model))

    assert torch.equal(task.model().weight, model.weight)  # type: ignore[arg-type]


FORMS: dict[str, tuple[Any, str]] = {
    "model": (lambda model, batch: model(batch).mean(), "model"),
    "module": (lambda module, batch: module(batch).mean(), "model"),
    "net": (lambda net, batch: net(batch).mean(), "model"),
    "output": (lambda output, target: (output - target).mean(), "output"),
    "another name": (lambda prediction, truth: (prediction - truth).mean(), "output"),
    "torch's function": (mse_loss, "output"),
    "torch's module": (nn.MSELoss(), "output"),
    "a builtin without a signature": (max, "output"),
}


@pytest.mark.parametrize(("loss", "form"), FORMS.values(), ids=FORMS)
def test_the_form_of_the_loss_is_read_from_its_first_parameter(loss: Any, form: str) -> None:
    assert make_task(loss=loss).loss_takes == form


def test_the_form_of_the_loss_can_be_settled() -> None:
    assert make_task(loss=lambda output, target: output, loss_takes="model").loss_takes == "model"
    assert make_task(loss=lambda model, batch: model, loss_takes="output").loss_takes == "output"


@pytest.mark.parametrize(
    ("epochs", "accumulate", "horizon"),
    [(1, 1, 6), (2, 1, 12), (2, 3, 4), (0.5, 1, 3), (1, 4, 2), (0.01, 1, 1)],
)
def test_epochs_become_updates(epochs: float, accumulate: int, horizon: int) -> None:
    task = make_task(epochs=epochs, accumulate=accumulate, train=batches(n=48, size=8))

    assert task.horizon == horizon


def test_a_tuple_of_tensors_is_cut_into_batches() -> None:
    x, y = examples(10)
    task = make_task(train=(x, y), val=(x, y), batch_size=4, epochs=1)

    assert isinstance(task.train, TensorBatches)
    assert isinstance(task.val, TensorBatches)
    assert task.horizon == 3
    assert [len(batch[0]) for batch in task.train] == [4, 4, 2]
    assert torch.equal(torch.cat([batch[1] for batch in task.val]), y)  # unseen data are not shuffled
    assert not torch.equal(torch.cat([batch[1] for batch in task.train]), y)


def test_any_other_re_iterable_is_kept_as_it_is() -> None:
    train, val = batches(), Unsized()

    task = make_task(train=train, val=val)

    assert task.train is train
    assert task.val is val


def test_the_device_defaults_to_what_the_machine_has() -> None:
    assert make_task().device == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert make_task(device="cpu").device == torch.device("cpu")


def test_the_direction_of_the_judge_is_that_of_its_metric() -> None:
    metrics = {"mae": Metric(absolute_error, maximize=False), "score": Metric(absolute_error, maximize=True)}

    assert not make_task(metrics=metrics).maximize
    assert not make_task(metrics=metrics, val=examples(), objective="mae").maximize
    assert make_task(metrics=metrics, val=examples(), objective="score").maximize


def test_parts_have_names_for_reports() -> None:
    def tuned(params: Any, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=lr)

    def halving(step: int) -> float:
        return float(0.5**step)

    assert make_task(optimizer="adamw").optimizer_name == "AdamW"
    assert make_task(optimizer=tuned).optimizer_name == "tuned"
    assert make_task().schedule_name == "constant"
    assert make_task(schedule=halving).schedule_name == "halving"


def test_batches_without_a_target_need_the_second_form_of_the_loss() -> None:
    task = make_task()

    with pytest.raises(TaskError, match=r"train must yield .*got 'dict'. .*give loss\(model, batch\)"):
        task.compute_loss(linear(), {"x": torch.ones(1, 3)})


def test_all_but_the_last_part_of_a_batch_are_inputs() -> None:
    class Sum(nn.Module):
        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            return one + 2 * two

    one, two, target = torch.ones(2), torch.full((2,), 3.0), torch.full((2,), 5.0)

    assert make_task().compute_loss(Sum(), (one, two, target)) == 4.0


def test_open_durations_are_settled_over_the_horizon() -> None:
    eta = schedules.warmup("2ep").then(schedules.cosine()).then(schedules.constant("10%", factor=0.0))
    task = make_task(train=batches(48, 8), steps=None, epochs=10, accumulate=2, schedule=eta)

    # 6 batches a pass, 2 an update: 30 updates in all, 2 passes are 6 of them, 10 % are 3
    assert task.schedule == schedules.warmup(6).then(schedules.cosine(21)).then(schedules.constant(3, factor=0.0))


def test_a_schedule_may_be_written_down() -> None:
    task = make_task(steps=100, schedule="cosine warmup=5%")

    assert task.schedule == schedules.cosine(100, warmup=5)


def test_a_schedule_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="schedule must last as long as the horizon; got '10 steps of 20'"):
        make_task(steps=20, schedule=schedules.cosine(10))


def test_what_is_trained_is_what_the_schedule_says() -> None:
    seen: list[float] = []

    def optimizer(params: Iterable[Any], lr: float) -> torch.optim.Optimizer:
        made = torch.optim.SGD(params, lr)
        made.register_step_pre_hook(lambda each, *_: seen.append(each.param_groups[0]["lr"]))
        return made

    task = make_task(steps=20, optimizer=optimizer, schedule="wsd")
    train(inspected(task, seen), 0.01)

    eta = schedules.wsd(20)
    assert seen == [0.01 * factor for factor in eta.factors().tolist()]
