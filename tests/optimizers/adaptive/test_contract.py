"""What every rule that adapts the rate keeps, around several optimizers."""

from __future__ import annotations

import copy
import io
import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

import stepsize
from stepsize.errors import InputError, UnknownNameError
from stepsize.optimizers.adaptive import RULES, Adapted, Adaptive, Hypergradient, Polyak, adapt

OPTIMIZERS: dict[str, Callable[[Iterable[Any], float], Optimizer]] = {
    "sgd": lambda params, lr: SGD(params, lr=lr),
    "momentum": lambda params, lr: SGD(params, lr=lr, momentum=0.9),
    "adam": lambda params, lr: Adam(params, lr=lr),
    "adamw": lambda params, lr: AdamW(params, lr=lr),
}
rules = pytest.mark.parametrize("rule", list(RULES))
optimizers = pytest.mark.parametrize("make", list(OPTIMIZERS.values()), ids=list(OPTIMIZERS))


class Problem:
    """A small regression, trained as a user would."""

    def __init__(
        self,
        make: Callable[[Iterable[Any], float], Optimizer],
        rule: str,
        lr: float = 1e-3,
        bounds: tuple[float, float] = (1e-6, 1e6),
    ) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
        self.x = torch.randn(64, 4)
        self.y = torch.sin(self.x.sum(1, keepdim=True))
        self.optimizer = adapt(make(self.model.parameters(), lr), rule, bounds=bounds)

    def loss(self) -> Tensor:
        return nn.functional.mse_loss(self.model(self.x), self.y)

    def look(self) -> Tensor:
        with torch.no_grad():
            return self.loss()

    def train(self, steps: int, after: Callable[[], Any] = lambda: None) -> float:
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.loss()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step(loss=loss, loss_fn=self.look)
            after()
        return self.look().item()

    def weights(self) -> Tensor:
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.model.parameters()])


@rules
@optimizers
def test_a_rate_a_hundred_times_too_small_is_made_up_for(
    make: Callable[[Iterable[Any], float], Optimizer], rule: str
) -> None:
    lr = 1e-4 if make is not OPTIMIZERS["sgd"] else 1e-3
    plain = Problem(make, rule, lr, bounds=(1.0, 1.0)).train(400)

    adapted = Problem(make, rule, lr).train(400)

    assert adapted < 0.9 * plain


@rules
@optimizers
def test_it_goes_through_a_file_without_pickled_code_and_goes_on(
    make: Callable[[Iterable[Any], float], Optimizer], rule: str
) -> None:
    straight, resumed = Problem(make, rule), Problem(make, rule)
    straight.train(7)
    file = io.BytesIO()
    torch.save({"model": straight.model.state_dict(), "optimizer": straight.optimizer.state_dict()}, file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)
    resumed.model.load_state_dict(stored["model"])
    resumed.optimizer.load_state_dict(stored["optimizer"])

    straight.train(7)
    resumed.train(7)

    assert resumed.optimizer.multiplier == straight.optimizer.multiplier
    torch.testing.assert_close(resumed.weights(), straight.weights(), rtol=0, atol=0)


@rules
def test_a_schedule_writes_the_rates_that_the_rule_multiplies(rule: str) -> None:
    problem = Problem(OPTIMIZERS["sgd"], rule, lr=0.05)
    bound = stepsize.bind(stepsize.schedules.linear(20, end=0.0), problem.optimizer)
    seen = []

    def note() -> None:
        assert problem.optimizer.rates[0] == pytest.approx(
            problem.optimizer.param_groups[0]["lr"] * problem.optimizer.multiplier
        )
        seen.append(float(problem.optimizer.param_groups[0]["lr"]))
        bound.step()

    problem.train(19, note)

    assert seen == pytest.approx([0.05 * (1 - t / 20) for t in range(19)])


@rules
def test_a_scheduled_rate_of_zero_moves_nothing(rule: str) -> None:
    problem = Problem(OPTIMIZERS["sgd"], rule, lr=0.05)
    problem.train(5)
    before = problem.weights()

    problem.optimizer.param_groups[0]["lr"] = 0.0
    problem.train(1)

    torch.testing.assert_close(problem.weights(), before)


@rules
def test_a_torch_scheduler_takes_it_for_an_optimizer(rule: str) -> None:
    problem = Problem(OPTIMIZERS["momentum"], rule, lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(problem.optimizer, step_size=5, gamma=0.1)

    problem.train(6, scheduler.step)

    assert problem.optimizer.param_groups[0]["lr"] == pytest.approx(0.005)


@rules
def test_the_ratio_of_groups_is_kept(rule: str) -> None:
    first, second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = adapt(SGD([{"params": [first], "lr": 0.01}, {"params": [second], "lr": 0.001}], lr=0.01), rule)

    def value() -> Tensor:
        return 0.5 * (first**2).sum() + 0.5 * (second**2).sum()

    loss = value()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step(loss=loss, loss_fn=lambda: value().detach())

    fast, slow = optimizer.rates
    assert fast == pytest.approx(10 * slow)
    moved = [float(1 - weight.detach()[0].double()) for weight in (first, second)]
    assert moved[0] == pytest.approx(10 * moved[1], rel=1e-3)
    assert moved[0] == pytest.approx(fast, rel=1e-3)


@rules
@pytest.mark.parametrize("bounds", [(0.5, 2.0)])
def test_the_multiplier_stays_within_its_bounds(rule: str, bounds: tuple[float, float]) -> None:
    weight = nn.Parameter(torch.full((3,), 5.0))
    optimizer = adapt(SGD([weight], lr=1e-3), rule, bounds=bounds)

    def value() -> Tensor:
        return 0.5 * (weight**2).sum()

    for _ in range(60):
        optimizer.zero_grad()
        loss = value()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(loss=loss, loss_fn=lambda: value().detach())
        assert optimizer.multiplier <= bounds[1]
        assert optimizer.multiplier >= bounds[0]


@rules
def test_a_gradient_that_is_not_finite_does_not_poison_the_rule(rule: str) -> None:
    problem = Problem(OPTIMIZERS["sgd"], rule, lr=0.05)
    problem.train(3)
    for parameter in problem.model.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    weights = [parameter.detach().clone() for parameter in problem.model.parameters()]

    problem.optimizer.step(loss=problem.look(), loss_fn=problem.look)
    with torch.no_grad():
        for parameter, weight in zip(problem.model.parameters(), weights, strict=True):
            parameter.copy_(weight)

    assert math.isfinite(problem.optimizer.multiplier)


@rules
def test_it_trains_a_real_task(rule: str) -> None:
    task = stepsize.build_task("digits-mlp", steps=60)
    adapted = stepsize.Task(
        model=task.model,
        loss=task.loss,
        train=task.train,
        val=task.val,
        optimizer=Adapted("adamw", rule),
        schedule=task.given_schedule,
        steps=60,
    )

    run = stepsize.train(adapted, 1e-3, evals=[1])

    assert run.evaluations[-1].loss < run.evaluations[0].loss


def test_a_closure_serves_as_with_torch() -> None:
    called, plain = Problem(OPTIMIZERS["sgd"], "polyak"), Problem(OPTIMIZERS["sgd"], "polyak")

    def closure() -> Tensor:
        called.optimizer.zero_grad()
        loss = called.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    returned = [called.optimizer.step(closure) for _ in range(5)]
    plain.train(5)

    assert all(isinstance(loss, Tensor) for loss in returned)
    torch.testing.assert_close(called.weights(), plain.weights(), rtol=0, atol=0)


def test_what_moved_the_rate_is_written_down_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    problem = Problem(OPTIMIZERS["sgd"], "hypergradient", lr=1e-4)

    with caplog.at_level(logging.INFO, logger="stepsize.adaptive"):
        problem.train(60)

    first = problem.optimizer.moves[0]
    assert first.before == 1.0
    assert first.after >= 2.0
    assert first.why.startswith("updates go on in the same direction (cosine +")
    assert f"update {first.step}: rate × {first.after:.3g}, was × 1" in caplog.text


@pytest.mark.parametrize(
    ("rule", "given", "said"),
    [
        ("polyak", {}, r"^loss must be given to a step with Polyak; got None. Call optimizer.step\(loss=loss\)"),
        ("polyak-decaying", {}, r"^loss must be given to a step with Polyak"),
        ("line-search", {"loss": 1.0}, "^loss_fn must be given to a step with LineSearch, which tries rates; got None"),
        ("polyak", {"loss": -0.5}, "^loss must not be below the target 0 of Polyak; got -0.5. Give a target"),
    ],
)
def test_a_step_without_what_the_rule_needs_moves_nothing(rule: str, given: dict[str, Any], said: str) -> None:
    problem = Problem(OPTIMIZERS["momentum"], rule)
    problem.train(2)
    weights, state = problem.weights(), problem.optimizer.state_dict()
    problem.loss().backward()  # type: ignore[no-untyped-call]

    with pytest.raises(InputError, match=said):
        problem.optimizer.step(**given)

    torch.testing.assert_close(problem.weights(), weights, rtol=0, atol=0)
    assert str(problem.optimizer.state_dict()) == str(state)


WEIGHT = nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: adapt(SGD([WEIGHT], lr=0.1), "polyack"), UnknownNameError, "^rule is not a known name; got 'polyack'"),
        (lambda: Adapted("adamw", "line-serch"), UnknownNameError, "Did you mean 'line-search'"),
        (lambda: Adapted("adamv", "polyak"), UnknownNameError, "Did you mean"),
        (lambda: adapt("adamw"), InputError, "^optimizer must be a torch.optim.Optimizer; got 'str'"),  # type: ignore[arg-type]
        (
            lambda: adapt(adapt(SGD([WEIGHT], lr=0.1))),
            InputError,
            "^optimizer must not be adapted already; got 'Adaptive'. Give the optimizer within",
        ),
        (lambda: adapt(SGD([WEIGHT], lr=0.1), bounds=(2.0, 1.0)), InputError, "^bounds must be two positive, finite"),
        (lambda: adapt(SGD([WEIGHT], lr=0.1), "polyak", speed=2), InputError, "^options must be options of the rule"),
        (lambda: adapt(SGD([WEIGHT], lr=0.1), Polyak(), c=2), InputError, "^options are for a rule"),
        (lambda: Polyak("sturdy"), UnknownNameError, "^form is not a known name; got 'sturdy'"),  # type: ignore[arg-type]
        (lambda: Hypergradient(beta=0), InputError, "^beta must be a finite number, above 0, at most 1; got 0"),
        (lambda: Polyak(c=-1), InputError, "^c must be a positive, finite number; got -1"),
        (lambda: Polyak(doubling=0), InputError, "^doubling must be a finite number, at least 1; got 0"),
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], error: type[InputError], said: str) -> None:
    with pytest.raises(error, match=said):
        call()


def test_a_state_of_another_rule_or_of_none_is_refused() -> None:
    problem, other = Problem(OPTIMIZERS["sgd"], "hypergradient"), Problem(OPTIMIZERS["sgd"], "polyak")
    problem.train(2)

    with pytest.raises(InputError, match=r"^state_dict must be of the rule Hypergradient; got 'Polyak'"):
        problem.optimizer.load_state_dict(other.optimizer.state_dict())
    with pytest.raises(InputError, match=r"^state_dict must come from an Adaptive; got \['param_groups', 'state'\]"):
        problem.optimizer.load_state_dict(SGD(problem.model.parameters(), lr=0.1).state_dict())


@rules
def test_a_snapshot_takes_the_rule_along(rule: str) -> None:
    problem = Problem(OPTIMIZERS["momentum"], rule, lr=0.01)
    problem.train(4)
    snapshot = stepsize.Snapshot(modules=[problem.model], optimizers=[problem.optimizer])
    problem.train(6)
    straight, multiplier = problem.weights(), problem.optimizer.multiplier

    snapshot.restore()
    snapshot.check()
    problem.train(6)

    assert problem.optimizer.multiplier == multiplier
    torch.testing.assert_close(problem.weights(), straight, rtol=0, atol=0)


@rules
def test_a_copy_goes_on_as_the_original(rule: str) -> None:
    problem = Problem(OPTIMIZERS["momentum"], rule, lr=0.01)
    problem.train(4)
    twin = copy.deepcopy(problem)

    problem.train(6)
    twin.train(6)

    assert twin.optimizer.multiplier == problem.optimizer.multiplier
    torch.testing.assert_close(twin.weights(), problem.weights(), rtol=0, atol=0)


@rules
def test_what_is_loaded_goes_to_the_device_of_the_parameters(rule: str) -> None:
    problem = Problem(OPTIMIZERS["momentum"], rule)
    problem.train(3)
    elsewhere = adapt(SGD([nn.Parameter(p.detach().to("meta")) for p in problem.model.parameters()], lr=0.1), rule)

    elsewhere.load_state_dict(problem.optimizer.state_dict())

    kept = [one for value in elsewhere.rule.memory.values() if isinstance(value, list) for one in value]
    tensors = [one for one in (*kept, *elsewhere.rule.memory.values()) if isinstance(one, Tensor)]
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert tensors or rule.startswith(("polyak", "line-search")), "nothing was looked at"


def test_a_group_that_is_added_later_adapts_too() -> None:
    problem = Problem(OPTIMIZERS["sgd"], "polyak")
    late = nn.Parameter(torch.ones(2))
    problem.train(2)

    problem.optimizer.add_param_group({"params": [late], "lr": 0.5})
    problem.train(1)

    assert isinstance(problem.optimizer, Adaptive)
    assert len(problem.optimizer.rates) == len(problem.optimizer.within.param_groups) == 2
    assert not hasattr(problem.optimizer, "optimizer"), "Lightning logs such a one apart, and each rate twice"
