"""A population's optimizer gives every member what its own torch optimizer would have given it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import LBFGS, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop

from stepsize.errors import NotStackableError
from stepsize.training.population import StackedOptimizer, stack_optimizers
from stepsize.training.population.stacked import STACKABLE

MEMBERS = 5
SHAPES = ((6, 4), (6,), (3, 6), (3,), (), (3, 2, 5))
RATES = (0.001, 0.003, 0.01, 0.02, 0.05)
DECAYS = (0.0, 0.01, 0.1, 0.3, 0.5)
MOMENTA = (0.9, 0.0, 0.5, 0.99, 0.8)
BETAS = ((0.9, 0.999), (0.8, 0.99), (0.95, 0.9), (0.0, 0.5), (0.9, 0.75))

# Class, what all members share, and what each has for itself.
SETTINGS: dict[str, tuple[type[Optimizer], dict[str, Any], dict[str, Sequence[Any]]]] = {
    "SGD": (SGD, {}, {}),
    "SGD decay": (SGD, {}, {"weight_decay": DECAYS}),
    "SGD momentum": (SGD, {"momentum": 0.9}, {}),
    "SGD momenta, some none": (SGD, {}, {"momentum": MOMENTA, "weight_decay": DECAYS}),
    "SGD dampening": (SGD, {}, {"momentum": MOMENTA, "dampening": (0.0, 0.5, 0.3, 0.9, 1.0)}),
    "SGD Nesterov": (SGD, {"nesterov": True}, {"momentum": (0.9, 0.1, 0.5, 0.99, 0.8), "weight_decay": DECAYS}),
    "SGD maximize": (SGD, {"maximize": True, "momentum": 0.9, "weight_decay": 0.1}, {}),
    "Adagrad": (Adagrad, {}, {"weight_decay": DECAYS}),
    "Adagrad with all": (
        Adagrad,
        {},
        {
            "lr_decay": (0.0, 0.1, 0.01, 1.0, 0.5),
            "initial_accumulator_value": (0.0, 0.1, 1.0, 0.5, 2.0),
            "eps": (1e-10, 1e-8, 1e-3, 0.1, 1e-6),
        },
    ),
    "RMSprop": (RMSprop, {}, {"alpha": (0.99, 0.9, 0.5, 0.999, 0.0), "eps": (1e-8, 1e-6, 1e-3, 0.1, 1e-10)}),
    "RMSprop momentum": (RMSprop, {}, {"momentum": MOMENTA, "weight_decay": DECAYS}),
    "RMSprop centered": (RMSprop, {"centered": True}, {"alpha": (0.99, 0.9, 0.5, 0.999, 0.95), "weight_decay": DECAYS}),
    "RMSprop centered momentum": (RMSprop, {"centered": True, "momentum": 0.9}, {}),
    "Adam": (Adam, {}, {"betas": BETAS, "eps": (1e-8, 1e-6, 1e-3, 0.1, 1e-10)}),
    "Adam decay": (Adam, {}, {"weight_decay": DECAYS}),
    "Adam decoupled": (Adam, {"decoupled_weight_decay": True}, {"weight_decay": DECAYS}),
    "Adam AMSGrad": (Adam, {"amsgrad": True}, {"betas": BETAS, "weight_decay": DECAYS}),
    "AdamW": (AdamW, {}, {"betas": BETAS, "weight_decay": DECAYS}),
    "AdamW AMSGrad": (AdamW, {"amsgrad": True, "maximize": True}, {"betas": BETAS}),
    "Adam, all different": (
        Adam,
        {},
        {
            "amsgrad": (True, False, True, True, False),
            "maximize": (False, True, True, True, False),
            "decoupled_weight_decay": (True, True, False, False, True),
            "weight_decay": DECAYS,
        },
    ),
    "Adadelta": (Adadelta, {}, {"weight_decay": DECAYS}),
    "Adamax": (Adamax, {"betas": (0.9, 0.99)}, {}),
    "NAdam": (NAdam, {"decoupled_weight_decay": True}, {"weight_decay": (0.1, 0.1, 0.3, 0.3, 0.3)}),
    "RAdam": (RAdam, {}, {"betas": BETAS}),
}
every_setting = pytest.mark.parametrize("setting", SETTINGS)


@dataclass
class Population:
    """The same members twice: stacked, and each with an optimizer of its own, the naive twin."""

    setting: str
    dtype: torch.dtype = torch.float64
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(3))

    def __post_init__(self) -> None:
        self.stacked = [self.random(MEMBERS, *shape) for shape in SHAPES]
        self.members = [[whole[k].clone() for whole in self.stacked] for k in range(MEMBERS)]
        self.naive = [self.make(k, member) for k, member in enumerate(self.members)]
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.naive]
        read = [self.make(k, member) for k, member in enumerate(self.members)]
        self.optimizer: StackedOptimizer = stack_optimizers(read, self.members, self.stacked)

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64).to(self.dtype)

    def make(self, k: int, member: list[Tensor]) -> Optimizer:
        """Return member k's optimizer: matrices in one group, the rest in another with three times the rate."""
        kind, shared, own = SETTINGS[self.setting]
        options = shared | {name: values[k] for name, values in own.items()}
        others = [member[1], member[3], member[4], member[5]]
        groups = [
            {"params": [member[0], member[2]]},
            {"params": others, "lr": 3 * RATES[k]},
        ]
        make: Callable[..., Optimizer] = kind
        return make(groups, lr=RATES[k], **options)

    def step(self, t: int, factors: float | Tensor = 1.0, scale: float = 1.0) -> None:
        """Step both with the same gradients; now and then, one parameter has none."""
        gradients: list[Tensor | None] = [scale * self.random(*whole.shape) for whole in self.stacked]
        if t % 3 == 1:
            gradients[2] = None
        each = factors.tolist() if isinstance(factors, Tensor) else [factors] * len(self.members)
        for k, (member, optimizer) in enumerate(zip(self.members, self.naive, strict=True)):
            for parameter, gradient in zip(member, gradients, strict=True):
                parameter.grad = None if gradient is None else gradient[k].clone()
            for group, peak in zip(optimizer.param_groups, self.peaks[k], strict=True):
                group["lr"] = peak * each[k]
            optimizer.step()
        self.optimizer.step(gradients, factors)

    def keep(self, *members: int) -> None:
        chosen = torch.tensor(members)
        self.stacked = [whole[chosen].clone() for whole in self.stacked]
        self.optimizer = self.optimizer.forked(chosen, self.stacked)
        self.members = [self.members[k] for k in members]
        self.naive = [self.naive[k] for k in members]
        self.peaks = [self.peaks[k] for k in members]

    def agree(self, rtol: float) -> None:
        for i, whole in enumerate(self.stacked):
            for k, member in enumerate(self.members):
                scale = float(member[i].abs().max())
                torch.testing.assert_close(whole[k], member[i], rtol=rtol, atol=rtol * scale)


EXACT = 1e-12
STEPS = 30


@every_setting
def test_each_member_moves_as_its_own_torch_optimizer_moves_it(setting: str) -> None:
    population = Population(setting)
    for t in range(STEPS):
        population.step(t)
    population.agree(rtol=EXACT)


@every_setting
def test_factors_of_steps_and_of_members_multiply_the_peak_rates(setting: str) -> None:
    population = Population(setting)
    for t in range(STEPS):
        by_member = 1 + torch.rand(MEMBERS, generator=population.generator, dtype=torch.float64)
        population.step(t, t / STEPS if t % 2 else by_member * (1 - t / STEPS))
    population.agree(rtol=EXACT)


@every_setting
def test_single_precision_agrees_within_its_noise(setting: str) -> None:
    population = Population(setting, torch.float32)
    for t in range(30):
        population.step(t)
    population.agree(rtol=2e-5)


@every_setting
def test_members_that_are_kept_go_on_as_if_they_had_been_alone(setting: str) -> None:
    population = Population(setting)
    for t in range(8):
        population.step(t)
    population.keep(4, 0, 2)
    for t in range(8, 16):
        population.step(t, torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64))
    population.agree(rtol=EXACT)


@every_setting
def test_gradients_that_vanish_are_no_exception(setting: str) -> None:
    population = Population(setting)
    for t in range(6):
        population.step(t, scale=0.0 if t < 4 else 1e-20)
    population.agree(rtol=EXACT)


def test_keeping_members_changes_no_bit_of_their_updates() -> None:
    whole, cut = Population("AdamW"), Population("AdamW")
    for t in range(10):
        whole.step(t)
        cut.step(t)
    cut.keep(3, 1)
    gradients = [whole.random(*parameter.shape) for parameter in whole.stacked]
    some = [gradient[[3, 1]] for gradient in gradients]
    whole.optimizer.step(gradients)
    cut.optimizer.step(some)
    assert all(torch.equal(a[[3, 1]], b) for a, b in zip(whole.stacked, cut.stacked, strict=True))


def test_every_class_is_compared_with_torch() -> None:
    assert {kind for kind, _, _ in SETTINGS.values()} == set(STACKABLE)


def test_a_rate_of_zero_stands_still() -> None:
    population = Population("Adam")
    before = [whole.clone() for whole in population.stacked]
    population.step(0, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, population.stacked, strict=True))


def test_a_member_that_diverged_leaves_the_others_alone() -> None:
    population = Population("AdamW")
    population.stacked[0][2].fill_(float("inf"))
    population.members[2][0].fill_(float("inf"))
    for t in range(5):
        population.step(t)
    del population.members[2]
    population.stacked = [whole[[0, 1, 3, 4]] for whole in population.stacked]
    population.agree(rtol=EXACT)


def test_members_may_differ_in_class_and_in_groups() -> None:
    def one(own: list[Tensor]) -> Optimizer:
        groups: list[dict[str, Any]] = [{"params": own[:1]}, {"params": own[1:], "lr": 0.01}]
        return SGD(groups, lr=0.1)

    pairs: tuple[tuple[Callable[[list[Tensor]], Optimizer], ...], ...] = ((SGD, Adam), (SGD, one), (one, SGD))
    for makes in pairs:
        members = [[torch.ones(2), torch.ones(3)] for _ in makes]
        optimizers = [make(own) for make, own in zip(makes, members, strict=True)]
        stacked = [torch.ones(2, 2), torch.ones(2, 3)]
        stack_optimizers(optimizers, members, stacked).step([torch.ones(2, 2), torch.ones(2, 3)])
        for k, (own, optimizer) in enumerate(zip(members, optimizers, strict=True)):
            for parameter in own:
                parameter.grad = torch.ones_like(parameter)
            optimizer.step()
            for whole, parameter in zip(stacked, own, strict=True):
                torch.testing.assert_close(whole[k], parameter)


def test_a_rate_that_overflows_leaves_the_others_alone() -> None:
    members = [[torch.ones(2)] for _ in range(2)]
    stacked = [torch.ones(2, 2)]
    optimizers = [SGD(own, lr=lr) for own, lr in zip(members, (0.1, 1e38), strict=True)]
    stack_optimizers(optimizers, members, stacked).step([torch.full((2, 2), 5.0)])
    torch.testing.assert_close(stacked[0][0], torch.full((2,), 0.5))
    assert not torch.isfinite(stacked[0][1]).any()


def test_parameters_that_no_optimizer_holds_stay_as_they_are() -> None:
    members = [[torch.ones(2), torch.ones(3)] for _ in range(2)]
    stacked = [torch.ones(2, 2), torch.ones(2, 3)]
    optimizer = stack_optimizers([SGD(own[:1], lr=0.1) for own in members], members, stacked)
    optimizer.step([torch.ones(2, 2), torch.ones(2, 3)])
    assert torch.equal(stacked[1], torch.ones(2, 3))
    assert torch.equal(stacked[0], torch.full((2, 2), 0.9))


def test_the_given_optimizers_and_members_are_only_read() -> None:
    members = [[torch.ones(2)] for _ in range(2)]
    optimizers = [Adam(own, lr=0.1) for own in members]
    stack_optimizers(optimizers, members, [torch.ones(2, 2)]).step([torch.ones(2, 2)])
    assert not optimizers[0].state
    assert torch.equal(members[0][0], torch.ones(2))


def test_optimizers_that_were_stepped_before_are_refused() -> None:
    def stepped(own: list[Tensor], make: Callable[..., Optimizer], **options: Any) -> Optimizer:
        optimizer = make(own, lr=0.1, **options)
        for parameter in own:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        return optimizer

    for make, options in ((SGD, {"momentum": 0.9}), (Adam, {}), (Adagrad, {})):
        with pytest.raises(NotStackableError, match=r"^an optimizer was stepped before, and its state would be"):
            stack(lambda own, make=make: make(own, lr=0.1), lambda own, make=make, o=options: stepped(own, make, **o))  # type: ignore[misc]


class Mine(SGD):
    pass


def stack(*makes: Callable[[list[Tensor]], Optimizer], dtype: torch.dtype = torch.float32) -> StackedOptimizer:
    """Return two members' optimizers as one; a single maker makes both."""
    members = [[torch.ones(2, dtype=dtype), torch.ones(3, dtype=dtype)] for _ in range(2)]
    optimizers = [make(own) for make, own in zip(makes * (3 - len(makes)), members, strict=True)]
    return stack_optimizers(optimizers, members, [torch.ones(2, 2, dtype=dtype), torch.ones(2, 3, dtype=dtype)])


def hooked(own: list[Tensor]) -> Optimizer:
    optimizer = SGD(own)
    optimizer.register_step_post_hook(lambda *_: None)
    return optimizer


REFUSED: dict[str, tuple[tuple[Callable[[list[Tensor]], Optimizer], ...], str]] = {
    "a subclass": ((Mine,), r"Mine has no stacked form; these do: SGD, Adadelta, Adagrad, RMSprop, Adam, AdamW, "),
    "a class that is not elementwise": ((torch.optim.Adafactor,), "Adafactor has no stacked form"),
    "a class for sparse gradients": ((torch.optim.SparseAdam,), "SparseAdam has no stacked form"),
    "a closure": ((LBFGS,), "LBFGS has no stacked form"),
    "differentiable": ((lambda own: SGD(own, differentiable=True),), "differentiable=True"),
    "another's parameters": ((lambda own: SGD([*own, torch.ones(1)]),), "not the member's own"),
    "hooks": ((hooked,), "step hooks"),
}


@pytest.mark.parametrize(("makes", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_stacked_says_why_in_one_line(
    makes: tuple[Callable[[list[Tensor]], Optimizer], ...], reason: str
) -> None:
    with pytest.raises(NotStackableError, match=reason) as caught:
        stack(*makes)
    assert "\n" not in str(caught.value)


def test_half_precision_is_not_stacked() -> None:
    with pytest.raises(NotStackableError, match=r"torch\.bfloat16 cannot be stacked"):
        stack(SGD, dtype=torch.bfloat16)
