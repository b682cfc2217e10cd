"""A varied task trains as one that was made by hand with the same values; impossible variations say why."""

from __future__ import annotations

import gc
import math
import pickle
import weakref
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from tests.training.small import batches, examples, linear, make_task, network
from torch.optim import SGD, Adagrad, AdamW, Optimizer, RMSprop, Rprop

from stepsize import schedules
from stepsize.errors import InputError, ScheduleSyntaxError, TaskError, UnknownNameError
from stepsize.training import Changes, InOrder, Setting, Task, TensorBatches, train, varied


def grouped(params: Iterable[Any], lr: float) -> Optimizer:
    """Return an AdamW that decays matrices only."""
    params = list(params)
    decaying = [p for p in params if p.ndim > 1]
    others = [p for p in params if p.ndim <= 1]
    return AdamW([{"params": decaying, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=lr)


def same_run(task: Task, changes: Changes, by_hand: Task, *, steps: int | None = None) -> None:
    """See that both trainings agree in every bit."""
    horizon = by_hand.horizon if steps is None else steps
    (run,) = InOrder()(task, [Setting(0.02, 3, horizon, changes=changes)])
    (twin,) = InOrder()(by_hand, [Setting(0.02, 3, horizon)])
    assert run.losses.tolist() == twin.losses.tolist()
    assert run.evaluations == twin.evaluations
    assert run.initial == twin.initial


# What the task has, what is changed, and what the twin has; 50 examples are 7 batches of 8 a pass, 4 of 16, 3 of 20.
BY_HAND: dict[str, tuple[dict[str, Any], Changes, dict[str, Any]]] = {
    "an optimizer": ({}, Changes(optimizer="adamw"), {"optimizer": "adamw"}),
    "a schedule": (
        {"schedule": "cosine"},
        Changes(schedule="linear warmup=10%"),
        {"schedule": "linear warmup=10%"},
    ),
    "a warm-up": (
        {"schedule": "cosine warmup=5%"},
        Changes(warmup=0.25),
        {"schedule": "cosine warmup=25%"},
    ),
    "a warm-up for none": ({}, Changes(warmup=4), {"schedule": "warmup 4, constant"}),
    "schedule and warm-up": ({}, Changes(schedule="wsd", warmup="2ep"), {"schedule": "wsd warmup=14"}),
    "a batch size": (
        {"schedule": "cosine warmup=25%"},
        Changes(batch_size=16),
        {"schedule": "cosine warmup=25%", "batch_size": 16, "steps": 27},
    ),
    "a batch size that does not divide": ({}, Changes(batch_size=20), {"batch_size": 20, "steps": 20}),
    "a batch of all": ({}, Changes(batch_size=99), {"batch_size": 99, "steps": 7}),
    "a smaller batch": ({}, Changes(batch_size=4), {"batch_size": 4, "steps": 87}),
    "a norm": ({}, Changes(clip=0.1), {"clip": 0.1}),
    "momentum of SGD": ({}, Changes(momentum=0.7), {"optimizer": lambda p, lr: SGD(p, lr, momentum=0.7)}),
    "momentum of RMSprop": (
        {"optimizer": "rmsprop"},
        Changes(momentum=0.5),
        {"optimizer": lambda p, lr: RMSprop(p, lr, momentum=0.5)},
    ),
    "betas": (
        {"optimizer": "sgd"},
        Changes(optimizer="adamw", momentum=0.8, beta2=0.95, weight_decay=0.3),
        {"optimizer": lambda p, lr: AdamW(p, lr, betas=(0.8, 0.95), weight_decay=0.3)},
    ),
    "decay where none does": (
        {"optimizer": "adagrad"},
        Changes(weight_decay=0.05),
        {"optimizer": lambda p, lr: Adagrad(p, lr, weight_decay=0.05)},
    ),
}


@pytest.mark.parametrize(("base", "changes", "by_hand"), BY_HAND.values(), ids=BY_HAND)
def test_a_varied_run_equals_that_of_a_task_made_by_hand(
    base: dict[str, Any], changes: Changes, by_hand: dict[str, Any]
) -> None:
    parts: dict[str, Any] = {
        "model": network, "val": batches(), "train": examples(50), "batch_size": 8, "steps": 47, "schedule": None,
    }  # fmt: skip
    parts |= base
    task, twin = make_task(**parts), make_task(**(parts | by_hand))
    assert varied(task, changes).horizon == twin.horizon
    same_run(task, changes, twin)
    same_run(task, changes, twin, steps=9)


def test_no_change_is_the_task_itself() -> None:
    task = make_task()
    assert varied(task, Changes()) is task


def test_the_same_changes_give_the_same_object() -> None:
    task, other = make_task(), make_task()
    one = varied(task, Changes(momentum=0.5))
    assert varied(task, Changes(momentum=0.5)) is one
    assert varied(task, Changes(momentum=0.6)) is not one
    assert varied(other, Changes(momentum=0.5)) is not one
    assert one.model is task.model
    assert one.train is task.train


def test_neither_task_nor_variants_keep_each_other_alive() -> None:
    task = make_task(schedule="cosine warmup=5%")
    variant = varied(task, Changes(momentum=0.5, warmup=0.1, batch_size=4))
    seen, made = weakref.ref(task), weakref.ref(variant)
    gc.collect()
    assert made() is not None
    del task
    gc.collect()
    assert seen() is None  # though its variant is still held
    del variant
    gc.collect()
    assert made() is None


def test_the_task_is_left_as_it_was() -> None:
    task = make_task(schedule="cosine warmup=10%", optimizer="momentum")
    before = train(task, 0.02).losses.tolist()
    InOrder()(task, [Setting(0.02, 0, 10, changes=Changes(momentum=0.1, batch_size=4, warmup=0.5, clip=0.01))])
    assert train(task, 0.02).losses.tolist() == before
    assert (task.name, task.horizon, task.batch_size) == ("task", 20, 32)


def test_variants_of_one_seed_start_from_the_same_weights() -> None:
    task = make_task(model=network)
    every = [Changes(), Changes(optimizer="adam"), Changes(batch_size=8), Changes(schedule="cosine", weight_decay=0.1)]
    runs = InOrder()(task, [Setting(0.01, 5, 4, changes=changes) for changes in every])
    assert len({run.initial for run in runs}) == 1


def test_another_start_of_a_variant_is_still_found_out() -> None:
    model = linear()
    task = make_task(model=lambda: model)
    with pytest.raises(TaskError, match="must return the same new model"):
        InOrder()(task, [Setting(0.1, 0, 3), Setting(0.1, 0, 3, changes=Changes(optimizer="adam"))])


def test_the_name_says_what_was_changed() -> None:
    variant = varied(make_task(name="sums"), Changes(optimizer="adamw", batch_size=16, beta2=0.9))
    assert variant.name == "sums (optimizer=adamw, batch_size=16, beta2=0.9)"
    assert variant.optimizer_name == "AdamW with beta2=0.9"


def test_a_variant_may_be_varied_again() -> None:
    task = make_task(schedule="cosine warmup=10%", steps=40)
    twice = varied(varied(task, Changes(momentum=0.5)), Changes(warmup=0.5, batch_size=16))
    assert twice.horizon == 60  # 48 examples: 2 batches of 32 a pass, 3 of 16
    assert twice.schedule == schedules.cosine(60, warmup=30)


def test_weight_decay_goes_to_the_groups_that_decay() -> None:
    parameters = [torch.ones(2, 2, requires_grad=True), torch.ones(2, requires_grad=True)]

    def decays(optimizer: Any, value: float) -> list[float]:
        make: Any = varied(make_task(optimizer=optimizer), Changes(weight_decay=value)).optimizer
        return [group["weight_decay"] for group in make(parameters, 0.1).param_groups]

    assert decays(grouped, 0.5) == [0.5, 0.0]
    assert decays(grouped, 0.0) == [0.0, 0.0]
    assert decays(lambda params, lr: SGD([{"params": [p]} for p in params], lr), 0.5) == [0.5, 0.5]


def test_other_betas_of_a_group_stay() -> None:
    make: Any = varied(make_task(optimizer="adam"), Changes(beta2=0.9)).optimizer
    assert make([torch.ones(1)], 0.1).param_groups[0]["betas"] == (0.9, 0.9)
    make = varied(make_task(optimizer="adam"), Changes(momentum=0.5)).optimizer
    assert make([torch.ones(1)], 0.1).param_groups[0]["betas"] == (0.5, 0.999)


def test_a_variant_can_be_sent_to_another_process() -> None:
    task = make_task(optimizer="adam", schedule="cosine")
    variant = varied(task, Changes(momentum=0.5, batch_size=16))
    sent = pickle.loads(pickle.dumps(variant))
    assert train(sent, 0.01).losses.tolist() == train(variant, 0.01).losses.tolist()
    assert sent.given_schedule == task.given_schedule


def test_unseen_data_stay_in_their_batches() -> None:
    task = make_task(val=examples(), batch_size=8)
    variant = varied(task, Changes(batch_size=4))
    assert variant.val is task.val
    assert isinstance(variant.train, TensorBatches)
    assert (variant.train.batch_size, variant.batch_size) == (4, 4)


def test_the_size_of_the_batches_counts_not_that_of_the_task() -> None:
    task = make_task(train=TensorBatches(examples(), 4), steps=24)  # whose batch_size says 32
    assert varied(task, Changes(batch_size=8)).horizon == 12


def test_epochs_stay_epochs() -> None:
    task = make_task(epochs=10, batch_size=8, schedule="warmup 2ep, cosine")
    variant = varied(task, Changes(batch_size=16))
    assert variant.horizon == 30
    assert variant.schedule == schedules.warmup(6).then(schedules.cosine(24))


def test_a_schedule_that_brings_its_length_is_stretched_with_the_horizon() -> None:
    task = make_task(schedule=schedules.cosine(20, warmup=4), batch_size=8)
    halved = varied(task, Changes(batch_size=16))
    assert halved.schedule == schedules.cosine(20, warmup=4).extended(to=10)
    assert varied(halved, Changes(momentum=0.5)).schedule == halved.schedule
    for warmup in (0.4, 4, "40%"):
        again = varied(task, Changes(batch_size=16, warmup=warmup))
        assert again.schedule == schedules.cosine(20, warmup=8).extended(to=10)


def test_any_function_is_stretched_with_the_horizon() -> None:
    task = make_task(schedule=lambda step: 1 - step / 20, batch_size=8)
    factor = varied(task, Changes(batch_size=16)).factor
    assert factor is not None
    assert [factor(t) for t in (0, 9)] == pytest.approx([1 - 0.5 / 20, 1 - 18.5 / 20])


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "momentum of 1": ({}, {"momentum": 1.0}, r"^momentum must be a finite number, at least 0, below 1; got 1.0"),
    "a negative momentum": ({}, {"momentum": -0.1}, "^momentum must be a finite number"),
    "beta2 in words": ({"optimizer": "adam"}, {"beta2": "0.9"}, r"^beta2 must be a finite number, .*; got '0.9'"),
    "a momentum that is NaN": ({}, {"momentum": math.nan}, "^momentum must be a finite number"),
    "a negative decay": ({}, {"weight_decay": -1.0}, "^weight_decay must be a finite number, at least 0; got -1.0"),
    "an infinite decay": ({}, {"weight_decay": math.inf}, "^weight_decay must be a finite number"),
    "a norm of 0": ({}, {"clip": 0.0}, "^clip must be a positive, finite gradient norm; got 0.0"),
    "a negative norm": ({}, {"clip": -1}, "^clip must be a positive, finite gradient norm"),
    "no batch": ({}, {"batch_size": 0}, "^batch_size must be a whole number of examples, at least 1; got 0"),
    "half a batch": ({}, {"batch_size": 8.0}, "^batch_size must be a whole number"),
    "a truth value": ({}, {"batch_size": True}, "^batch_size must be a whole number"),
    "batches of their own": (
        {"train": batches()},
        {"batch_size": 4},
        "^batch_size cannot be changed where train is a list, which has its own batches; got 4. Give train as a",
    ),
    "a negative warm-up": ({}, {"warmup": -0.1}, "^warmup must be a fraction between 0 and 1, a whole"),
    "a warm-up without a unit": ({}, {"warmup": "5 foxes"}, "^warmup must have one of the units .*, not 'foxes'"),
    "a warm-up of all": (
        {"schedule": "cosine"},
        {"warmup": 20},
        "^warmup leaves no way to resolve the schedule over 20 updates: .*must leave steps for 'cosine'",
    ),
    "a warm-up of a function": (
        {"schedule": lambda step: 1.0},
        {"warmup": 5},
        r"^warmup cannot be changed in the schedule <lambda>, a function .*'cosine warmup=5%'\)",
    ),
    "a warm-up behind a change of course": (
        {"schedule": schedules.cosine(10, warmup=2).extended(to=20)},
        {"warmup": 5},
        "^warmup does not fit the schedule .*not separate from the rest",
    ),
    "fewer updates than the warm-up": (
        {"schedule": schedules.warmup(15).then(schedules.cosine()), "batch_size": 8},
        {"batch_size": 16},
        "^batch_size leaves no way to resolve the schedule over 10 updates: .*longer than the horizon",
    ),
    "a schedule as a value": ({}, {"schedule": schedules.cosine()}, "^schedule must be the written form"),
    "an optimizer as a function": ({}, {"optimizer": SGD}, "^optimizer must be a name of the catalog"),
    "momentum of Adagrad": (
        {"optimizer": "adagrad"},
        {"momentum": 0.9},
        "^momentum cannot be set: a parameter group of Adagrad has neither 'momentum' nor 'betas'; got 0.9. Leave",
    ),
    "beta2 of SGD": ({}, {"beta2": 0.9}, "^beta2 cannot be set: a parameter group of SGD has no 'betas'; got 0.9"),
}


@pytest.mark.parametrize(("base", "changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_varied_says_why_before_anything_is_trained(
    base: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    task = make_task(**base)
    with pytest.raises(TaskError, match=message) as caught:
        varied(task, Changes(**changes))
    assert caught.value.argument == next(iter(changes))


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"optimizer is not a known name; got 'adamv'. Did you mean"):
        varied(make_task(), Changes(optimizer="adamv"))
    with pytest.raises(ScheduleSyntaxError, match=r"cosin"):
        varied(make_task(), Changes(schedule="cosin"))
    assert issubclass(ScheduleSyntaxError, InputError)


def test_a_factory_without_the_number_is_found_out_before_the_first_update() -> None:
    def make(params: Iterable[Any], lr: float) -> Optimizer:
        return Rprop(params, lr)

    seen: list[int] = []
    with pytest.raises(TaskError, match=r"^weight_decay cannot be set: a parameter group of make has no"):
        InOrder()(
            make_task(optimizer=make),
            [Setting(0.1, 0, 5, changes=Changes(weight_decay=0.1))],
            on_progress=lambda progress: seen.append(progress.step),
        )
    assert not seen
