"""``train`` is the plain loop: bit for bit the naive one, with its ends, its errors and its record."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.small import (
    Frozen,
    ReIterable,
    batches,
    examples,
    inspected,
    linear,
    make_task,
    naive_losses,
    network,
)
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from stepsize.errors import InputError, TaskError
from stepsize.training import Divergence, Evaluation, Metric, Progress, Run, Setting, Task, loop, train
from stepsize.training.loop import train_setting


def same_weights(one: nn.Module | None, two: nn.Module) -> bool:
    assert one is not None
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def broken(batch: tuple[Tensor, Tensor], value: float = math.nan) -> tuple[Tensor, Tensor]:
    """Return ``batch`` with one input that is not finite."""
    x = batch[0].clone()
    x[0, 0] = value
    return x, batch[1]


# ---------------------------------------------------------------- the naive twin

TWINS: dict[str, tuple[str, Callable[[Iterable[Any]], Optimizer], float]] = {
    "momentum": ("momentum", lambda parameters: SGD(parameters, lr=9.0, momentum=0.9), 0.03),
    "adamw": ("adamw", lambda parameters: AdamW(parameters, lr=9.0), 0.01),
}
twins = pytest.mark.parametrize(("name", "optimize", "lr"), TWINS.values(), ids=TWINS)


@twins
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("decays", [True, False])
def test_training_is_the_naive_loop_bit_for_bit(
    name: str, optimize: Callable[[Iterable[Any]], Optimizer], lr: float, clip: float | None, decays: bool
) -> None:
    def schedule(step: int) -> float:
        return 1 - step / 20 if decays else 1.0

    task = make_task(model=network, optimizer=name, clip=clip, schedule=schedule if decays else None, seed=3)

    losses, model = naive_losses(task, optimize, lr, schedule=schedule, clip=clip)
    run = train(task, lr)

    assert run.losses.tolist() == losses
    assert same_weights(run.model, model)


def test_accumulated_batches_are_one_big_batch() -> None:
    small = make_task(train=batches(48, size=8), accumulate=3, steps=6, optimizer="momentum")
    big = make_task(train=batches(48, size=24), steps=6, optimizer="momentum")

    one, two = train(small, 0.05), train(big, 0.05)

    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-5)
    assert one.model is not None
    assert two.model is not None
    torch.testing.assert_close(one.model.state_dict(), two.model.state_dict(), rtol=1e-5, atol=1e-6)


def test_ratios_between_groups_survive_the_schedule() -> None:
    made: list[Optimizer] = []

    def split(params: Iterable[Any], lr: float) -> Optimizer:
        weight, bias = params
        groups: list[dict[str, Any]] = [{"params": [weight]}, {"params": [bias], "lr": 0.1 * lr}]
        made.append(SGD(groups, lr=lr))
        return made[-1]

    rates: list[list[float]] = []
    task = inspected(make_task(optimizer=split, steps=4, schedule=lambda step: (1.0, 0.5, 0.25, 0.0)[step]), made)
    train(task, 0.2, on_progress=lambda progress: rates.append([group["lr"] for group in made[0].param_groups]))

    np.testing.assert_allclose(rates, [[0.2, 0.02], [0.1, 0.01], [0.05, 0.005], [0.0, 0.0]])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_and_keeps_full_precision_weights(precision: str) -> None:
    seen: list[torch.dtype] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.append(output.dtype)
        return mse_loss(output.float(), target)

    task = make_task(precision=precision, loss=loss, steps=60, clip=5.0, val=examples())
    run = train(task, 0.1)

    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert run.train_loss < 0.05 * run.losses[0]
    assert run.val_loss < 0.05 * run.losses[0]
    assert run.model is not None
    assert all(parameter.dtype == torch.float32 for parameter in run.model.parameters())


def test_the_scaler_of_half_precision_does_not_change_the_size_of_an_update() -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return 1e-3 * mse_loss(output.float(), target)  # small enough for the scaler's first scale

    plain, half = (
        train(make_task(precision=precision, loss=loss, steps=10), 50.0).losses for precision in ("fp32", "fp16")
    )

    np.testing.assert_allclose(plain, half, rtol=0.05)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_sees_the_true_gradient(precision: str) -> None:
    run = train(make_task(precision=precision, clip=1e-3, steps=3), 1.0)
    torch.manual_seed(0)
    start = linear().state_dict()

    assert run.model is not None
    moved = math.sqrt(sum(float(((now - start[name]) ** 2).sum()) for name, now in run.model.state_dict().items()))
    assert 0 < moved <= 3.1e-3  # three updates of norm lr * clip at most


# ---------------------------------------------------------------- seeds and the world outside


def test_the_same_seed_gives_the_same_curve_and_another_seed_another() -> None:
    task = make_task(model=network, optimizer="adamw")

    runs = [train(task, 0.01, seed=seed) for seed in (1, 1, 2)]

    assert runs[0].losses.tolist() == runs[1].losses.tolist()
    assert runs[0].initial == runs[1].initial
    assert runs[0].losses.tolist() != runs[2].losses.tolist()
    assert runs[0].initial != runs[2].initial
    assert train(make_task(model=network, optimizer="adamw", seed=1), 0.01).initial == runs[0].initial


def generators() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002  the global generator is what must be left alone
    return random.getstate(), (name, np.asarray(keys).tolist(), *rest), torch.get_rng_state().tolist()


@pytest.mark.parametrize("ends", ["well", "in an error"])
def test_the_global_generators_are_left_as_they_were(ends: str) -> None:
    def noisy(output: Tensor, target: Tensor) -> Tensor:
        random.random()
        np.random.rand()  # noqa: NPY002
        if ends == "in an error":
            raise KeyError("mine")
        return mse_loss(output, target)

    before = generators()
    if ends == "well":
        train(make_task(model=network, loss=noisy), 0.1)
    else:
        with pytest.raises(KeyError, match="mine"):
            train(make_task(model=network, loss=noisy), 0.1)

    assert generators() == before


def test_the_position_of_a_loader_with_its_own_generator_is_put_back() -> None:
    generator = torch.Generator().manual_seed(4)
    loader = DataLoader(TensorDataset(*examples()), batch_size=8, shuffle=True, generator=generator)
    task = make_task(train=loader)
    before = generator.get_state()

    first, second = train(task, 0.1), train(task, 0.1)

    assert torch.equal(generator.get_state(), before)
    assert first.losses.tolist() == second.losses.tolist()
    with pytest.raises(TaskError):
        train(make_task(train=loader, loss=lambda output, target: output), 0.1)
    assert torch.equal(generator.get_state(), before)


# ---------------------------------------------------------------- unseen data


def test_unseen_data_are_looked_at_after_each_mark_and_at_the_end() -> None:
    task = make_task(val=examples(13), steps=10)

    run = train(task, 0.1, evals=[3, 7, 10])
    after_three = train(make_task(val=examples(13), steps=3), 0.1)

    assert [evaluation.step for evaluation in run.evaluations] == [3, 7, 10]
    assert run.evaluations[0].loss == after_three.val_loss
    assert run.val_loss == run.evaluations[-1].loss


@pytest.mark.parametrize("shared", [True, False])
def test_looking_at_unseen_data_does_not_change_the_training(shared: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    loaders = [
        DataLoader(TensorDataset(*examples()), batch_size=8, shuffle=True, generator=generator if shared else None)
        for _ in range(2)
    ]
    task = make_task(model=network, train=loaders[0], val=loaders[1])

    plain, watched = train(task, 0.05), train(task, 0.05, evals=range(1, 20))

    assert plain.losses.tolist() == watched.losses.tolist()
    assert len(watched.evaluations) == 20


@pytest.mark.parametrize("size", [48, 7, 5])
def test_a_ragged_last_batch_counts_by_its_length(size: int) -> None:
    x, y = examples(48)
    metrics = {"mae": lambda output, target: (output - target).abs().mean()}
    run = train(make_task(val=(x, y), batch_size=size, metrics=metrics, steps=2), 0.1)

    assert run.model is not None
    run.model.eval()
    with torch.no_grad():
        output = run.model(x)
        assert run.val_loss == pytest.approx(float(mse_loss(output, y)), rel=1e-5)
        assert run.evaluations[-1].metrics == {"mae": pytest.approx(float((output - y).abs().mean()), rel=1e-5)}


def test_modes_are_the_factorys_for_frozen_layers_and_train_for_a_model_that_comes_in_eval_mode() -> None:
    run = train(make_task(model=Frozen, val=examples(), steps=5), 0.01, evals=[2])

    assert isinstance(run.model, Frozen)
    assert run.model.norm.num_batches_tracked == 0
    assert run.model.body[1].num_batches_tracked == 5  # type: ignore[index]
    run = train(make_task(model=lambda: network().eval(), steps=5), 0.01)
    assert run.model is not None
    assert run.model[1].num_batches_tracked == 5  # type: ignore[index]


def test_the_loss_may_take_the_model_and_a_batch_of_any_shape() -> None:
    def loss(model: nn.Module, batch: dict[str, Any]) -> Tensor:
        return mse_loss(model(batch["in"][0]), batch["out"])

    def mae(model: nn.Module, batch: dict[str, Any]) -> float:
        return float((model(batch["in"][0]) - batch["out"]).abs().mean())

    shaped = [{"in": (x, "ignored"), "out": y} for x, y in batches()]
    metrics = {"mae": Metric(mae, maximize=False)}
    run = train(make_task(loss=loss, train=shaped, val=shaped, metrics=metrics, objective="mae"), 0.05)
    plain = train(make_task(train=batches(), val=batches()), 0.05)

    assert run.losses.tolist() == plain.losses.tolist()
    assert run.val_loss == plain.val_loss
    assert 0 < run.evaluations[-1].metrics["mae"] < 1


def test_without_unseen_data_the_training_loss_judges() -> None:
    run = train(make_task(), 0.05, evals=[4])

    assert run.evaluations == ()
    assert math.isnan(run.val_loss)
    assert run.objective("loss") == run.train_loss


# ---------------------------------------------------------------- divergence


def test_a_nan_ends_the_training_at_its_step() -> None:
    calls: list[int] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        return mse_loss(output, target) * (math.nan if len(calls) == 10 else 1.0)

    run = train(inspected(make_task(loss=loss, val=examples()), calls), 0.01, evals=[3, 12])

    assert run.divergence == Divergence(7, "the loss became nan")
    assert run.status == "Diverged at step 7: the loss became nan."
    assert len(run.losses) == 8
    assert len(calls) == 8 + 2 + 1  # of which two batches of unseen data, at the first mark, and one look at the cause
    assert [evaluation.step for evaluation in run.evaluations] == [3]
    assert run.train_loss == run.val_loss == run.objective("loss") == math.inf


def test_a_rate_that_is_far_too_high_is_given_up_before_it_overflows() -> None:
    run = train(make_task(steps=200), 1.5)

    assert run.divergence is not None
    assert "far above the start" in run.divergence.reason
    assert run.divergence.step == len(run.losses) - 1 < 40
    assert np.isfinite(run.losses).all()


def test_losses_that_are_read_late_tell_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = train(make_task(steps=200), 1.5)
    monkeypatch.setattr(loop, "reading_lag", lambda task: 16)  # as on a device, where each look would stall it
    late = train(make_task(steps=200), 1.5)

    assert prompt.divergence is not None
    assert prompt.divergence == late.divergence
    assert prompt.losses.tolist() == late.losses.tolist()


class Strict(torch.optim.SGD):
    """Checks its gradients, as some packages do."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            assert all(bool(p.grad.isfinite().all()) for p in group["params"]), "the gradients must be finite"
        return super().step(closure)


def test_an_optimizer_that_refuses_what_is_not_finite_is_a_divergence_too() -> None:
    x = torch.ones(32, 2)
    task = Task(
        model=lambda: nn.Linear(2, 1), loss=lambda p, t: (p - t).square().mean() * 1e20, train=(x, x[:, :1]),
        optimizer=lambda parameters, lr: Strict(parameters, lr=lr), steps=40, batch_size=16,
    )  # fmt: skip
    run = train(task, 1e10, seed=0)
    assert run.divergence is not None


def test_an_error_of_an_optimizer_with_finite_gradients_is_one() -> None:
    class Broken(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            raise RuntimeError("broken")

    x = torch.ones(32, 2)
    task = Task(
        model=lambda: nn.Linear(2, 1), loss=nn.functional.mse_loss, train=(x, x[:, :1]),
        optimizer=lambda parameters, lr: Broken(parameters, lr=lr), steps=4, batch_size=16,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="broken"):
        train(task, 0.1, seed=0)


def test_unseen_data_with_a_loss_that_is_not_finite_are_a_divergence() -> None:
    def loss(model: nn.Module, batch: Any) -> Tensor:
        value = mse_loss(model(batch[0]), batch[1])
        return value if model.training else value * math.inf

    run = train(make_task(loss=loss, val=examples(), steps=5), 0.1)

    assert run.status == "Diverged at step 5: the validation loss is inf."
    assert run.evaluations == ()


# ---------------------------------------------------------------- whose fault it is


def with_a_bad_one(place: int, value: float = math.nan) -> list[tuple[Tensor, Tensor]]:
    parts = [*batches(), *batches()]
    parts[place] = broken(parts[place], value)
    return parts


DATA_TO_BLAME: dict[str, tuple[dict[str, Any], str]] = {
    "the first batch": ({"train": with_a_bad_one(0)}, "train must hold finite numbers.*infinity in the first batch'"),
    "infinity": (
        {"train": with_a_bad_one(0, math.inf)},
        "train must hold finite numbers.*infinity in the first batch'",
    ),
    "a later batch": ({"train": with_a_bad_one(2)}, "train must .*infinity in the batch of step 2'.*no learning rate"),
    "one of two": ({"train": with_a_bad_one(2), "accumulate": 2}, "train must .*infinity in the batch of step 1'"),
    "the last of three": (
        {"train": with_a_bad_one(2), "accumulate": 3},
        "train must .*infinity in the batch of step 0'",
    ),
    "validation data": ({"val": with_a_bad_one(1)}, "val must hold finite numbers; got 'NaN or infinity in the data'"),
    "no data, but the first loss": (
        {"loss": lambda output, target: mse_loss(output, target) * math.inf},
        "loss must be finite on the first batch, before any update; got inf",
    ),
}


@pytest.mark.parametrize("lag", [1, 16])  # as on a CPU, and as on a device, where each look would stall it
@pytest.mark.parametrize(("changes", "message"), DATA_TO_BLAME.values(), ids=DATA_TO_BLAME)
def test_what_no_rate_can_mend_is_blamed_where_it_is(
    changes: dict[str, Any], message: str, lag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "reading_lag", lambda task: lag)
    with pytest.raises(TaskError, match=message):
        train(make_task(**changes), 0.1)


def test_infinities_that_are_meant_do_not_take_the_blame() -> None:
    calls: list[int] = []

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        x, y, mask = batch
        calls.append(1)
        return (mse_loss(model(x), y) + mask.exp().mean()) * (math.nan if len(calls) == 4 else 1.0)

    masked = [(x, y, torch.full((4,), -math.inf)) for x, y in batches()]

    task = inspected(make_task(loss=loss, train=masked), calls)
    assert train(task, 0.1).status == "Diverged at step 3: the loss became nan."


# ---------------------------------------------------------------- parts that do not fit together


def frozen() -> nn.Module:
    return linear().requires_grad_(False)


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "a model without trainable parameters": ({"model": frozen}, "model must have at least one trainable parameter"),
    "a factory of something else": ({"model": lambda: "net"}, "model must return a torch.nn.Module; got 'net'"),
    "a loss per example": (
        {"loss": lambda output, target: (output - target).square()},
        r"loss must return a scalar tensor of shape \(\); got \(32, 1\)",
    ),
    "a loss that is a number": (
        {"loss": lambda output, target: 0.5},
        r"loss must return a scalar tensor of shape \(\); got 'float'",
    ),
    "a loss without a gradient": (
        {"loss": lambda output, target: mse_loss(output.detach(), target)},
        "loss must depend on the model's trainable parameters; got 'a constant'",
    ),
    "an optimizer of other parameters": (
        {"optimizer": lambda params, lr: SGD([nn.Parameter(torch.ones(1))], lr=lr)},
        "optimizer must hold parameters of the task's model, but holds only others; got 'SGD'",
    ),
    "an optimizer that ignores the rate": (
        {"optimizer": lambda params, lr: SGD(params, lr=0.1)},
        "optimizer must give its groups rates proportional to the lr that it is called with",
    ),
    "a factory of no optimizer": (
        {"optimizer": lambda params, lr: None},
        "optimizer must return a torch.optim.Optimizer; got None",
    ),
    "nothing to train on": ({"train": ReIterable()}, "train must yield at least one batch"),
    "nothing to judge by": ({"val": ReIterable()}, "val must yield at least one batch"),
    "batches without targets": ({"train": [torch.ones(4, 3)]}, r"train must yield \(input, ..., target\) batches"),
}


@pytest.mark.parametrize(("changes", "message"), MISFITS.values(), ids=MISFITS)
def test_parts_that_do_not_fit_are_told_by_their_argument(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match="^" + message):
        train(make_task(**changes), 0.1)


@pytest.mark.parametrize("lr", [0, -0.1, math.nan, math.inf, True, "0.1", None])
def test_a_rate_is_a_positive_finite_number(lr: Any) -> None:
    with pytest.raises(InputError, match="lr must be a positive, finite learning rate"):
        train(make_task(), lr)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no steps": ({"steps": 0}, "steps must be a whole number, at least 1; got 0"),
    "half a step": ({"steps": 2.5}, "steps must be a whole number, at least 1; got 2.5"),
    "a negative seed": ({"seed": -1}, "seed must be a whole number, at least 0; got -1"),
    "a mark before the start": ({"evals": [0, 3]}, r"evals must lie in 1 … 20, the number of steps; got \[0, 3\]"),
    "a mark after the end": ({"evals": [6], "steps": 5}, r"evals must lie in 1 … 5"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_arguments_out_of_range_are_told_before_anything_is_made(arguments: dict[str, Any], message: str) -> None:
    made: list[int] = []

    def factory() -> nn.Module:
        made.append(1)
        return linear()

    with pytest.raises(InputError, match=message):
        train(make_task(model=factory, val=examples()), 0.1, **arguments)
    assert not made


def test_a_loader_of_one_batch_is_enough() -> None:
    run = train(make_task(train=batches(8, size=8), val=batches(8, size=8), steps=50), 0.1)

    assert run.status == "Trained for 50 steps."
    assert run.val_loss < 0.1 * run.losses[0]


# ---------------------------------------------------------------- horizon, watchers and the record


def rates_of(task_steps: int, steps: int | None) -> list[float]:
    made: list[Optimizer] = []
    rates: list[float] = []

    def optimizer(params: Iterable[Any], lr: float) -> Optimizer:
        made.append(SGD(params, lr=lr))
        return made[-1]

    task = inspected(make_task(optimizer=optimizer, steps=task_steps, schedule=lambda step: 1 - step / 20), made)
    train(task, 0.1, steps=steps, on_progress=lambda progress: rates.append(made[0].param_groups[0]["lr"]))
    return rates


def test_another_horizon_stretches_the_schedule_so_that_it_decays_in_full() -> None:
    np.testing.assert_allclose(rates_of(20, None), [0.1 * (1 - step / 20) for step in range(20)])
    np.testing.assert_allclose(rates_of(20, 5), [0.0925, 0.0725, 0.0525, 0.0325, 0.0125])


def test_the_watcher_hears_of_every_update() -> None:
    heard: list[Progress] = []

    run = train(make_task(), 0.1, on_progress=heard.append)

    assert [progress.step for progress in heard] == list(range(1, 21))
    assert [progress.loss for progress in heard] == run.losses.tolist()
    assert {progress.setting for progress in heard} == {Setting(0.1, 0, 20)}


def test_the_model_is_kept_where_it_was_asked_for() -> None:
    task = make_task()

    kept, dropped = train(task, 0.1), train_setting(task, Setting(0.1, 0, 20))

    assert isinstance(kept.model, nn.Linear)
    assert dropped.model is None
    assert kept.losses.tolist() == dropped.losses.tolist()


def test_work_is_counted_in_forward_passes() -> None:
    plain = train(make_task(train=batches(48, size=8), steps=10), 0.1)
    accumulated = train(make_task(train=batches(48, size=8), steps=10, accumulate=2), 0.1)
    judged = train(make_task(train=batches(48, size=8), val=examples(48), steps=10), 0.1, evals=[5])

    assert plain.passes == 30
    assert accumulated.passes == 60
    assert judged.passes == 30 + 2 * 48 / 8
    assert plain.seconds > 0


def record(losses: list[float], evaluations: tuple[Evaluation, ...] = (), divergence: Divergence | None = None) -> Run:
    return Run(Setting(0.1, 0, len(losses)), np.asarray(losses), evaluations, divergence, 0.1, 3.0, "")


def test_a_run_says_how_it_ended_and_what_it_reached() -> None:
    losses = [float(30 - step) for step in range(30)]
    run = record(losses, (Evaluation(10, 9.0, {"f1": 0.1}), Evaluation(30, 5.0, {"f1": 0.7, "mae": 0.2})))

    assert run.status == "Trained for 30 steps."
    assert run.train_loss == 2.0  # the mean of 3, 2, 1: the last tenth
    assert run.val_loss == 5.0
    assert run.objective("loss") == 5.0
    assert run.objective("mae") == 0.2
    assert run.objective("f1", maximize=True) == -0.7
    assert record([4.0, 2.0]).train_loss == 2.0


def test_a_run_that_diverged_is_worse_than_any_other() -> None:
    run = record([1.0, 2.0], (Evaluation(1, 0.0, {"f1": 1.0}),), Divergence(1, "the loss became inf"))

    assert run.status == "Diverged at step 1: the loss became inf."
    assert run.train_loss == run.val_loss == run.objective("loss") == run.objective("f1", maximize=True) == math.inf


def test_the_judge_picks_by_the_metric_of_the_task() -> None:
    metrics = {"r2": Metric(lambda output, target: 1 - mse_loss(output, target) / target.var(), maximize=True)}
    task: Task = make_task(val=examples(), metrics=metrics, objective="r2", steps=60)

    good, bad = train(task, 0.1), train(task, 1e-4)

    assert good.value < bad.value
    assert good.value == good.objective("r2", maximize=True) == -good.evaluations[-1].metrics["r2"]


def test_a_run_that_ends_above_its_start_says_so() -> None:
    setting = Setting(0.1, 0, 40)
    falling, rising = np.linspace(2.0, 1.0, 40), np.linspace(2.0, 2.6, 40)
    assert Run(setting=setting, losses=falling).status == "Trained for 40 steps."
    assert Run(setting=setting, losses=rising).status == (
        "Trained for 40 steps. The training loss ended above its start: 2.58, 2.03 at the start."
    )
    assert Run(setting=setting, losses=rising[:9]).status == "Trained for 9 steps."  # too few to compare
