"""What an adapted optimizer keeps, around several optimizers; its rate against the equations, written down slowly."""

from __future__ import annotations

import copy
import io
import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import stepsize
from stepsize.errors import InputError, UnknownNameError
from stepsize.optimizers.adaptive import Adapted, Adaptive, adapt

OPTIMIZERS: dict[str, Callable[[Iterable[Any], float], Optimizer]] = {
    "sgd": lambda params, lr: SGD(params, lr=lr),
    "momentum": lambda params, lr: SGD(params, lr=lr, momentum=0.9),
    "adam": lambda params, lr: Adam(params, lr=lr),
    "adamw": lambda params, lr: AdamW(params, lr=lr),
}
optimizers = pytest.mark.parametrize("make", list(OPTIMIZERS))


class Problem:
    """A small regression, trained as a user would."""

    def __init__(self, make: str, lr: float = 1e-3, bounds: tuple[float, float] = (1e-6, 1e6)) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
        self.x = torch.randn(64, 4)
        self.y = torch.sin(self.x.sum(1, keepdim=True))
        self.optimizer = adapt(OPTIMIZERS[make](self.model.parameters(), lr), bounds=bounds)

    def loss(self) -> Tensor:
        return nn.functional.mse_loss(self.model(self.x), self.y)

    def train(self, steps: int, after: Callable[[], Any] = lambda: None) -> float:
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.loss()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step(loss=loss)
            after()
        return self.loss().item()

    def weights(self) -> Tensor:
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.model.parameters()])


def square(*weights: Tensor) -> Tensor:
    loss = 0.5 * torch.stack([(weight**2).sum() for weight in weights]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


# ------------------------------------------------------------------------------------------------- the rate


@optimizers
def test_a_rate_a_hundred_times_too_small_is_made_up_for(make: str) -> None:
    lr = 1e-4 if make != "sgd" else 1e-3
    plain = Problem(make, lr, bounds=(1.0, 1.0)).train(200)

    adapted = Problem(make, lr).train(200)

    assert adapted < 0.9 * plain


SCALES = np.array([1.0, 0.3, 0.1, 2.0])
START = np.array([1.0, -2.0, 3.0, 0.5])


def center(t: int) -> np.ndarray[Any, Any]:
    return np.asarray(0.3 * np.sin(np.arange(4) + 1.7 * t))


@pytest.mark.parametrize("lr", [1e-3, 0.7])
def test_the_rates_are_those_of_the_paper_whatever_lr_is(lr: float) -> None:
    target, c, most = 0.5, 2.0, 3.0
    x, rate, expected = START.copy(), math.inf, []
    weight = nn.Parameter(torch.tensor(START))
    optimizer = adapt(SGD([weight], lr=lr), target=target, c=c, bounds=(1e-12, most / lr))
    for t in range(20):
        g, loss = SCALES * (x - center(t)), float(0.5 * (SCALES * (x - center(t)) ** 2).sum() + 1.0)
        now, before = c * math.sqrt(t + 1), c * math.sqrt(t)
        rate = min((loss - target) / float(g @ g), before * rate if t else most) / now
        x = x - rate * g
        expected.append(rate)

        optimizer.zero_grad()
        value = 0.5 * (torch.tensor(SCALES) * (weight - torch.tensor(center(t))) ** 2).sum() + 1.0
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step(loss=value)
        assert optimizer.rates[0] == pytest.approx(expected[-1], rel=1e-8)
        np.testing.assert_allclose(weight.detach().numpy(), x, rtol=1e-8)

    assert len({round(value / expected[0], 3) for value in expected}) > 5, "nothing moved the rate"


@pytest.mark.parametrize("bounds", [(0.5, 2.0)])
def test_the_multiplier_stays_within_its_bounds(bounds: tuple[float, float]) -> None:
    weight = nn.Parameter(torch.full((3,), 5.0))
    optimizer = adapt(SGD([weight], lr=1e-3), bounds=bounds)
    found = []
    for _ in range(60):
        optimizer.zero_grad()
        optimizer.step(loss=square(weight))
        found.append(optimizer.multiplier)

    assert max(found) == bounds[1]
    assert min(found) == bounds[0]


def test_the_ratio_of_groups_is_kept() -> None:
    first, second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = adapt(SGD([{"params": [first], "lr": 0.01}, {"params": [second], "lr": 0.001}], lr=0.01))

    optimizer.step(loss=square(first, second))

    fast, slow = optimizer.rates
    assert fast == pytest.approx(10 * slow)
    moved = [float(1 - weight.detach()[0].double()) for weight in (first, second)]
    assert moved[0] == pytest.approx(10 * moved[1], rel=1e-3)
    assert moved[0] == pytest.approx(fast, rel=1e-3)


def test_a_gradient_that_is_not_finite_does_not_poison_the_rate() -> None:
    problem = Problem("sgd", lr=0.05)
    problem.train(3)
    before = problem.optimizer.multiplier
    for parameter in problem.model.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)

    problem.optimizer.step(loss=problem.loss())

    assert problem.optimizer.multiplier == before


def test_heads_that_are_used_in_turn_move_on_their_own() -> None:
    torch.manual_seed(0)
    heads = [nn.Linear(3, 2), nn.Linear(3, 5)]
    before = [head.weight.detach().clone() for head in heads]
    optimizer = adapt(SGD([p for head in heads for p in head.parameters()], lr=0.01))
    x = torch.randn(8, 3)
    for step in range(12):
        optimizer.zero_grad()
        loss = heads[step % 2](x).square().mean()
        loss.backward()
        optimizer.step(loss=loss)

    for head, old in zip(heads, before, strict=True):
        # On the way to zero no weight moves further than it was away from it.
        assert 0 < float((head.weight.detach() - old).norm()) < float(old.norm())


# ------------------------------------------------------------------------------------- schedules and closures


def test_a_schedule_writes_the_rates_that_the_rule_multiplies() -> None:
    problem = Problem("sgd", lr=0.05)
    bound = stepsize.bind(stepsize.schedules.linear(20, end=0.0), problem.optimizer)
    seen = []

    def note() -> None:
        rate = problem.optimizer.param_groups[0]["lr"]
        assert problem.optimizer.rates[0] == pytest.approx(rate * problem.optimizer.multiplier)
        seen.append(float(rate))
        bound.step()

    problem.train(19, note)

    assert seen == pytest.approx([0.05 * (1 - t / 20) for t in range(19)])


def test_the_rate_is_found_for_the_peak_and_the_factor_of_the_schedule_multiplies_it() -> None:
    rates = []
    for factor in (1.0, 0.25):
        weight = nn.Parameter(torch.full((3,), 5.0, dtype=torch.float64))
        optimizer = adapt(SGD([{"params": [weight], "lr": 0.1 * factor, "initial_lr": 0.1}]))
        optimizer.step(loss=square(weight))
        rates.append(optimizer.rates[0])

    assert rates[1] == pytest.approx(0.25 * rates[0])


def test_a_scheduled_rate_of_zero_moves_nothing() -> None:
    problem = Problem("sgd", lr=0.05)
    problem.train(5)
    before = problem.weights()

    problem.optimizer.param_groups[0]["lr"] = 0.0
    problem.train(1)

    torch.testing.assert_close(problem.weights(), before)


def test_a_torch_scheduler_takes_it_for_an_optimizer() -> None:
    problem = Problem("momentum", lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(problem.optimizer, step_size=5, gamma=0.1)

    problem.train(6, scheduler.step)

    assert problem.optimizer.param_groups[0]["lr"] == pytest.approx(0.005)


def test_loading_an_earlier_state_under_a_schedule_goes_on_from_there() -> None:
    problem = Problem("sgd", lr=0.1)
    bound = stepsize.bind("linear", problem.optimizer, steps=10, counts="calls")
    saved = copy.deepcopy(problem.optimizer.state_dict())
    problem.train(5, bound.step)

    problem.optimizer.load_state_dict(saved)

    assert problem.optimizer.param_groups[0]["lr"] == bound.get_lr()[0] == 0.05
    problem.train(1)
    problem.optimizer.load_state_dict(saved)  # which the update has not changed
    assert problem.optimizer.multiplier == 1.0


def test_a_closure_serves_as_with_torch() -> None:
    called, plain = Problem("sgd"), Problem("sgd")

    def closure() -> Tensor:
        called.optimizer.zero_grad()
        loss = called.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    returned = [called.optimizer.step(closure) for _ in range(5)]
    plain.train(5)

    assert all(isinstance(loss, Tensor) for loss in returned)
    torch.testing.assert_close(called.weights(), plain.weights(), rtol=0, atol=0)


def test_global_hooks_run_once_per_update() -> None:
    seen: list[str] = []
    handles = [
        register_optimizer_step_pre_hook(lambda *_: seen.append("before")),
        register_optimizer_step_post_hook(lambda *_: seen.append("after")),
    ]
    try:
        weight = nn.Parameter(torch.ones(2))
        adapt(SGD([weight], lr=0.1)).step(loss=square(weight))
        assert seen == ["before", "after"]
        SGD([weight], lr=0.1).step()
        assert seen == ["before", "after"] * 2
    finally:
        for handle in handles:
            handle.remove()


def test_it_trains_a_real_task() -> None:
    task = stepsize.build_task("digits-mlp", steps=60)
    adapted = stepsize.Task(
        model=task.model,
        loss=task.loss,
        train=task.train,
        val=task.val,
        optimizer=Adapted("adamw"),
        schedule=task.given_schedule,
        steps=60,
    )

    run = stepsize.train(adapted, 1e-3, evals=[1])

    assert run.evaluations[-1].loss < run.evaluations[0].loss
    assert Adapted("adamw").__name__ == "AdamW, adapted"


def test_what_moved_the_rate_is_written_down_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    problem = Problem("sgd", lr=1e-4)

    with caplog.at_level(logging.INFO, logger="stepsize.adaptive"):
        problem.train(60)

    first = problem.optimizer.moves[0]
    assert first.before == 1.0
    assert first.after >= 2.0
    assert f"update {first.step}: rate × {first.after:.3g}, was × 1" in caplog.text


# ------------------------------------------------------------------------------------------- state and copies


def through_a_file(problem: Problem) -> tuple[Problem, Callable[[], None]]:
    other, file = Problem("momentum", lr=0.01), io.BytesIO()
    torch.save({"model": problem.model.state_dict(), "optimizer": problem.optimizer.state_dict()}, file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)
    other.model.load_state_dict(stored["model"])
    other.optimizer.load_state_dict(stored["optimizer"])
    return other, lambda: None


def snapshot(problem: Problem) -> tuple[Problem, Callable[[], None]]:
    taken = stepsize.Snapshot(modules=[problem.model], optimizers=[problem.optimizer])

    def restore() -> None:
        taken.restore()
        assert taken.intact()

    return problem, restore


def copied(problem: Problem) -> tuple[Problem, Callable[[], None]]:
    return copy.deepcopy(problem), lambda: None


@pytest.mark.parametrize("keep", [through_a_file, snapshot, copied])
def test_what_was_kept_goes_on_as_the_original(
    keep: Callable[[Problem], tuple[Problem, Callable[[], None]]],
) -> None:
    problem = Problem("momentum", lr=0.01)
    problem.train(4)
    other, restore = keep(problem)
    problem.train(6)
    straight, multiplier = problem.weights(), problem.optimizer.multiplier

    restore()
    other.train(6)

    assert other.optimizer.multiplier == multiplier != 1.0
    torch.testing.assert_close(other.weights(), straight, rtol=0, atol=0)


def test_hooks_on_the_state_run() -> None:
    seen: list[str] = []
    optimizer = adapt(SGD([nn.Parameter(torch.ones(2))], lr=0.1))
    optimizer.register_state_dict_pre_hook(lambda one: seen.append("before saving"))
    optimizer.register_state_dict_post_hook(lambda one, state: {**state, "mine": 1})
    optimizer.register_load_state_dict_pre_hook(lambda one, state: seen.append("before loading"))
    optimizer.register_load_state_dict_post_hook(lambda one: seen.append("after loading"))

    state = optimizer.state_dict()
    assert state.pop("mine") == 1
    optimizer.load_state_dict(state)
    assert seen == ["before saving", "before loading", "after loading"]


def test_a_group_that_is_added_later_adapts_too() -> None:
    problem = Problem("sgd")
    late = nn.Parameter(torch.ones(2))
    problem.train(2)

    problem.optimizer.add_param_group({"params": [late], "lr": 0.5})
    problem.train(1)

    assert isinstance(problem.optimizer, Adaptive)
    assert len(problem.optimizer.rates) == len(problem.optimizer.within.param_groups) == 2
    assert not hasattr(problem.optimizer, "optimizer"), "Lightning logs such a one apart, and each rate twice"


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (None, r"^loss must be given to an adapted step; got None. Call optimizer.step\(loss=loss\)"),
        (-0.5, "^loss must not be below the target 0; got -0.5. Give a target"),
    ],
)
def test_a_step_without_a_possible_loss_moves_nothing(loss: float | None, said: str) -> None:
    problem = Problem("momentum")
    problem.train(2)
    weights, state = problem.weights(), str(problem.optimizer.state_dict())
    problem.loss().backward()  # type: ignore[no-untyped-call]

    with pytest.raises(InputError, match=said):
        problem.optimizer.step(loss=loss)

    torch.testing.assert_close(problem.weights(), weights, rtol=0, atol=0)
    assert str(problem.optimizer.state_dict()) == state


def sgd() -> SGD:
    return SGD([nn.Parameter(torch.ones(1))], lr=0.1)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: Adapted("adamv"), UnknownNameError, "Did you mean"),
        (lambda: adapt("adamw"), InputError, "^optimizer must be a torch.optim.Optimizer; got 'str'"),  # type: ignore[arg-type]
        (
            lambda: adapt(adapt(sgd())),
            InputError,
            "^optimizer must not be adapted already; got 'Adaptive'. Give the optimizer within",
        ),
        (lambda: adapt(sgd(), bounds=(2.0, 1.0)), InputError, "^bounds must be two positive, finite"),
        (lambda: adapt(sgd(), c=-1), InputError, "^c must be a positive, finite number; got -1"),
        (lambda: adapt(sgd(), target=math.nan), InputError, "^target must be a finite number; got nan"),
        (
            lambda: adapt(LBFGS([nn.Parameter(torch.ones(2))])),
            InputError,
            "optimizer must make its update without a closure; got 'LBFGS'",
        ),
        (
            lambda: adapt(SGD([nn.Parameter(torch.ones(2, dtype=torch.complex64))], lr=0.1)),
            InputError,
            "cannot be adapted; got 'complex parameters'",
        ),
        (
            lambda: adapt(sgd()).load_state_dict(sgd().state_dict()),
            InputError,
            r"^state_dict must come from an Adaptive; got \['param_groups', 'state'\]",
        ),
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], error: type[InputError], said: str) -> None:
    with pytest.raises(error, match=said):
        call()


def test_a_sparse_gradient_is_refused_before_anything_moves() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    before = table.weight.detach().clone()
    optimizer = adapt(SGD(table.parameters(), lr=0.1))
    loss = table(torch.tensor([1])).square().sum()
    loss.backward()
    with pytest.raises(InputError, match="cannot be adapted; got 'a sparse gradient'"):
        optimizer.step(loss=loss)
    assert torch.equal(table.weight, before)
