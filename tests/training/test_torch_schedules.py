"""Torch schedulers as values: factor times peak is what torch does, at every update."""

from __future__ import annotations

import functools
import json
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.optim import lr_scheduler as lrs
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer
from torch.optim.swa_utils import SWALR

from stepsize.errors import InputError
from stepsize.schedules import cosine, parse
from stepsize.training import bind, from_torch

STEPS = 60
Maker = Callable[[Optimizer], LRScheduler]


def played(scheduler: LRScheduler, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rates and β₁ of the groups at each update that a training with ``scheduler`` would make."""
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch misses the call of optimizer.step()
        for step in range(steps):
            groups = scheduler.optimizer.param_groups
            rows.append([[float(group["lr"]) for group in groups], [group["betas"][0] for group in groups]])
            if step < steps - 1:
                scheduler.step()
    lrs, momenta = np.array(rows).transpose(1, 0, 2)
    return lrs, momenta


def halved_each_ten(step: int) -> float:
    return float(0.5 ** (step // 10))


def averaging(optimizer: Optimizer, by: float, steps: int, shape: Any = "cos") -> LRScheduler:
    rates: Any = [group["lr"] * by for group in optimizer.param_groups]
    return SWALR(optimizer, rates, anneal_epochs=steps, anneal_strategy=shape)


def falling(step: int) -> float:
    return 0.9 if step % 3 else 1.05


MAKERS: dict[str, Maker] = {
    "lambda": lambda o: lrs.LambdaLR(o, halved_each_ten),
    "lambda per group": lambda o: lrs.LambdaLR(o, [halved_each_ten, halved_each_ten]),
    "lambda that multiplies": lambda o: lrs.MultiplicativeLR(o, falling),
    "lambda that multiplies first": lambda o: lrs.SequentialLR(
        o, [lrs.MultiplicativeLR(o, falling), lrs.StepLR(o, 9)], [11]
    ),
    "lambda in a chain": lambda o: lrs.ChainedScheduler([lrs.StepLR(o, 5), lrs.MultiplicativeLR(o, falling)]),
    "averaging": lambda o: averaging(o, 0.5, 7),
    "averaging, linear": lambda o: averaging(o, 2.0, 12, "linear"),
    "averaging at once": lambda o: averaging(o, 0.5, 0),
    "step": lambda o: lrs.StepLR(o, 7, gamma=0.3),
    "multi step": lambda o: lrs.MultiStepLR(o, [30, 9, 9]),
    "multi step from 0 on": lambda o: lrs.MultiStepLR(o, [0, 9]),
    "multi step at 0 alone": lambda o: lrs.MultiStepLR(o, [0, 0]),
    "multi step nowhere": lambda o: lrs.MultiStepLR(o, []),
    "constant": lambda o: lrs.ConstantLR(o, factor=0.25, total_iters=12),
    "linear up": lambda o: lrs.LinearLR(o, total_iters=12),
    "linear down": lambda o: lrs.LinearLR(o, start_factor=0.9, end_factor=0.1, total_iters=33),
    "linear to zero": lambda o: lrs.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=33),
    "exponential": lambda o: lrs.ExponentialLR(o, 0.93),
    "polynomial": lambda o: lrs.PolynomialLR(o, 45, power=1.7),
    "cosine": lambda o: lrs.CosineAnnealingLR(o, STEPS),
    "warm restarts": lambda o: lrs.CosineAnnealingWarmRestarts(o, 7),
    "growing warm restarts": lambda o: lrs.CosineAnnealingWarmRestarts(o, 4, T_mult=3),
    "triangular": lambda o: lrs.CyclicLR(o, [0.01, 0.02], [0.1, 0.2], 6, 9),
    "triangular2": lambda o: lrs.CyclicLR(o, 0.0, [0.1, 0.2], 6, mode="triangular2"),
    "exp_range": lambda o: lrs.CyclicLR(o, 0.03, 0.1, 5, mode="exp_range", gamma=0.98),
    "triangular alone": lambda o: lrs.CyclicLR(o, 0.03, 0.1, 7, cycle_momentum=False),
    "one cycle": lambda o: lrs.OneCycleLR(o, [0.1, 0.2], STEPS),
    "one cycle, other": lambda o: lrs.OneCycleLR(
        o, 0.1, STEPS, pct_start=0.45, anneal_strategy="linear", div_factor=5, final_div_factor=10
    ),
    "one cycle, broken corner": lambda o: lrs.OneCycleLR(o, 0.1, STEPS, pct_start=0.33),
    "one cycle in three": lambda o: lrs.OneCycleLR(o, 0.1, STEPS, three_phase=True, pct_start=0.4),
    "one cycle alone": lambda o: lrs.OneCycleLR(o, 0.1, STEPS, cycle_momentum=False),
    "one cycle by epochs": lambda o: lrs.OneCycleLR(o, 0.1, epochs=6, steps_per_epoch=10),
    "warm-up and cosine": lambda o: lrs.SequentialLR(
        o, [lrs.LinearLR(o, total_iters=10), lrs.CosineAnnealingLR(o, STEPS - 10)], [10]
    ),
    "four in a row": lambda o: lrs.SequentialLR(
        o,
        [
            lrs.ConstantLR(o, 0.5, 100),
            lrs.ExponentialLR(o, 0.9),
            lrs.PolynomialLR(o, 5),
            lrs.CosineAnnealingWarmRestarts(o, 9),
        ],
        [8, 20, 31],
    ),
    "steps in a row": lambda o: lrs.SequentialLR(
        o, [lrs.StepLR(o, 3), lrs.MultiStepLR(o, [4, 8]), lrs.LambdaLR(o, halved_each_ten)], [10, 25]
    ),
    "one part of a sequence": lambda o: lrs.SequentialLR(o, [lrs.StepLR(o, 3)], []),
    "chain": lambda o: lrs.ChainedScheduler(
        [lrs.LinearLR(o, total_iters=9), lrs.StepLR(o, 20), lrs.ExponentialLR(o, 0.97)]
    ),
    "chain that ends": lambda o: lrs.ChainedScheduler(
        [lrs.ConstantLR(o, 0.3, 9), lrs.PolynomialLR(o, 40), lrs.CosineAnnealingLR(o, STEPS), lrs.MultiStepLR(o, [5])]
    ),
    "chain of a chain": lambda o: lrs.ChainedScheduler(
        [lrs.ChainedScheduler([lrs.ExponentialLR(o, 0.97), lrs.StepLR(o, 9)]), lrs.LinearLR(o, total_iters=9)]
    ),
    "chain of one": lambda o: lrs.ChainedScheduler([lrs.CosineAnnealingWarmRestarts(o, 9)]),
}
OWN_PEAK = {name for name in MAKERS if "cycle" in name or name.startswith(("triangular", "exp_range"))}


def adam(*rates: float) -> Optimizer:
    return torch.optim.AdamW([{"params": [torch.zeros(1)], "lr": rate} for rate in rates or (0.1, 0.02)])


def peaks(name: str, optimizer: Optimizer) -> list[float]:
    if name in OWN_PEAK:
        two = name in ("triangular", "triangular2", "one cycle")
        return [0.1, 0.2] if two else [0.1, 0.1]
    return [group["initial_lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize("name", MAKERS)
def test_factor_times_peak_is_what_torch_does(name: str) -> None:
    optimizer = adam()
    scheduler = MAKERS[name](optimizer)
    course = from_torch(scheduler)
    expected = course.rate.factors(STEPS)[:, None] * np.array(peaks(name, optimizer))

    seen, momenta = played(scheduler, STEPS)

    np.testing.assert_allclose(expected, seen, rtol=1e-12, atol=1e-12)
    assert (course.momentum is None) == bool((momenta == momenta[0]).all())
    if course.momentum is not None:
        wanted = course.momentum.factors(STEPS)[:, None].repeat(2, axis=1)
        np.testing.assert_allclose(wanted, momenta, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MAKERS)
def test_the_position_of_the_scheduler_does_not_matter_and_it_is_only_read_and_becomes_a_value(name: str) -> None:
    optimizer = adam()
    scheduler = MAKERS[name](optimizer)
    fresh = from_torch(scheduler)
    for _ in range(23):
        optimizer.step()
        scheduler.step()
    state = json.dumps(scheduler.state_dict(), default=str)

    assert pickle.loads(pickle.dumps(from_torch(scheduler))) == from_torch(scheduler) == fresh
    if "lambda" not in name and name != "steps in a row":
        assert parse(str(fresh.rate)) == fresh.rate
    assert json.dumps(scheduler.state_dict(), default=str) == state


def test_cosine_keeps_its_floor_where_torch_rises_again() -> None:
    optimizer = adam(0.1, 0.1)
    scheduler = lrs.CosineAnnealingLR(optimizer, 20, eta_min=0.01)

    rate = from_torch(scheduler).rate
    seen = played(scheduler, 41)[0][:, 0]

    assert rate == cosine(20, end=0.01 / 0.1)
    np.testing.assert_allclose(0.1 * rate.factors(21), seen[:21], rtol=0, atol=1e-12)
    assert seen[40] == pytest.approx(0.1)
    assert rate(40) == pytest.approx(0.1)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("phases", [False, True])
@pytest.mark.parametrize("momentum", [False, True])
def test_a_cycle_of_a_few_steps_begins_within_its_fall(steps: int, phases: bool, momentum: bool) -> None:
    rise = 0.15 if steps == 5 else 0.3
    scheduler = lrs.OneCycleLR(adam(), [0.1, 0.2], steps, pct_start=rise, three_phase=phases, cycle_momentum=momentum)
    course = from_torch(scheduler)
    seen, momenta = played(scheduler, steps)
    np.testing.assert_allclose(course.rate.factors(steps)[:, None] * [0.1, 0.2], seen, rtol=1e-12)
    assert course.rate.length == steps
    if momentum:
        assert course.momentum is not None
        np.testing.assert_allclose(course.momentum.factors(steps), momenta[:, 0], rtol=1e-12)


def test_one_cycle_keeps_its_end_where_torch_raises() -> None:
    scheduler = lrs.OneCycleLR(adam(), 0.1, 20)
    rate = from_torch(scheduler).rate

    assert rate.length == 20
    assert rate(19) == rate(1_000) == pytest.approx(1 / 25e4)


def test_a_sequence_refers_to_the_highest_of_its_parts() -> None:
    optimizer = adam(0.05, 0.1)
    parts: list[LRScheduler] = [
        lrs.ConstantLR(optimizer, 1.0, 9),
        lrs.CyclicLR(optimizer, [0.05, 0.1], [0.2, 0.4], 5, cycle_momentum=False),
    ]
    scheduler = lrs.SequentialLR(optimizer, parts, [10])

    rate = from_torch(scheduler).rate

    expected = rate.factors(STEPS)[:, None] * [0.2, 0.4]
    np.testing.assert_allclose(expected, played(scheduler, STEPS)[0], rtol=0, atol=1e-12)
    assert rate.factors(STEPS).max() == 1


def test_the_rate_of_a_tensor_converts_like_that_of_a_float() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=torch.tensor(0.5, dtype=torch.float64))

    rate = from_torch(lrs.CosineAnnealingLR(optimizer, 10, eta_min=0.05)).rate

    assert rate == cosine(10, end=0.1)


def test_groups_that_are_frozen_at_zero_do_not_count() -> None:
    assert from_torch(lrs.CosineAnnealingLR(adam(0.1, 0.0), 10)).rate == cosine(10)
    assert from_torch(lrs.CosineAnnealingLR(adam(0.0, 0.0), 10)).rate == cosine(10)


class Stepping(lrs.StepLR):
    """A subclass may do anything."""


def nested(optimizer: Optimizer) -> LRScheduler:
    inner = lrs.SequentialLR(optimizer, [lrs.LinearLR(optimizer), lrs.StepLR(optimizer, 4)], [5])
    optimizer.step()  # or torch warns that the outer one steps the inner one
    return lrs.SequentialLR(optimizer, [inner, lrs.ExponentialLR(optimizer, 0.9)], [20])


def overwritten(optimizer: Optimizer) -> LRScheduler:
    first = lrs.LinearLR(optimizer)
    second = lrs.OneCycleLR(optimizer, 0.1, 20, cycle_momentum=False)
    return lrs.SequentialLR(optimizer, [first, second], [5])


REFUSED: dict[str, tuple[Maker, str]] = {
    "subclass": (
        lambda o: Stepping(o, 3),
        r"no known closed form; got 'Stepping'\. Write its rates with stepsize\.schedules\.points or function",
    ),
    "averaging at one rate": (lambda o: SWALR(o, 0.01), "swa_lr is not in proportion to the lr"),
    "a later part that multiplies": (
        lambda o: lrs.SequentialLR(o, [lrs.StepLR(o, 3), lrs.MultiplicativeLR(o, falling)], [5]),
        "holds a MultiplicativeLR, which torch begins at whatever rate",
    ),
    "bound": (
        lambda o: bind(cosine(9), o),
        r"follows a schedule of stepsize; got 'BoundScheduler'.*attribute \.schedule",
    ),
    "plateau": (lrs.ReduceLROnPlateau, "waits for a metric"),
    "two lambdas": (
        lambda o: lrs.LambdaLR(o, [halved_each_ten, lambda _: 1.0]),
        "has 2 functions, but a schedule is one for all groups",
    ),
    "floor": (
        lambda o: lrs.CosineAnnealingLR(o, 9, eta_min=0.01),
        r"eta_min is not in proportion to the lr \(group 0: 0.01 of 0.1, group 1: 0.01 of 0.02\).*CosineAnnealingLR",
    ),
    "floor of restarts": (
        lambda o: lrs.CosineAnnealingWarmRestarts(o, 9, eta_min=0.01),
        r"eta_min is not in proportion .*WarmRestarts",
    ),
    "corners": (lambda o: lrs.CyclicLR(o, 0.01, [0.1, 0.2], 5), "base_lr is not in proportion"),
    "base of a frozen peak": (lambda o: lrs.CyclicLR(o, [0.0, 0.1], [0.1, 0.0], 5), "base_lr is not in proportion"),
    "momenta": (
        lambda o: lrs.OneCycleLR(o, 0.1, 9, base_momentum=[0.8, 0.85]),
        r"another base_momentum for each parameter group \(0.8, 0.85\)",
    ),
    "scale_fn": (lambda o: lrs.CyclicLR(o, 0.01, 0.1, 5, scale_fn=lambda _: 0.5), "has its own scale_fn"),
    "no steps": (lambda o: lrs.ConstantLR(o, total_iters=0), r"has total_iters=0, which must be a whole number"),
    "broken steps": (lambda o: lrs.CosineAnnealingLR(o, 10.5), r"has T_max=10.5, which must be a whole"),  # type: ignore[arg-type]
    "nested": (nested, "holds a SequentialLR, in which torch is a step ahead or stops; got 'SequentialLR'"),
    "milestone 0": (
        lambda o: lrs.SequentialLR(o, [lrs.LinearLR(o), lrs.StepLR(o, 3)], [0]),
        r"has the milestones \[0\], which must increase from 1 on",
    ),
    "overwritten": (overwritten, "begins at 0.004, 0.004, where its LinearLR was made for 0.1, 0.02"),
    "momentum in a part": (
        lambda o: lrs.SequentialLR(o, [lrs.OneCycleLR(o, 0.1, 5), lrs.StepLR(o, 3)], [5]),
        "holds a OneCycleLR that moves the momentum in a part of the run only",
    ),
    "chain with a lambda": (
        lambda o: lrs.ChainedScheduler([lrs.StepLR(o, 3), lrs.LambdaLR(o, halved_each_ten)]),
        r"holds a LambdaLR that overwrites what the others make of the rate; got 'ChainedScheduler'.*\.times",
    ),
    "chain with a floor": (
        lambda o: lrs.ChainedScheduler([lrs.StepLR(o, 3), lrs.CosineAnnealingWarmRestarts(o, 5)]),
        "holds a CosineAnnealingWarmRestarts that overwrites",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_closed_form_for_all_groups_is_refused(name: str) -> None:
    make, message = REFUSED[name]

    with pytest.raises(InputError, match=message):
        from_torch(make(adam()))


def test_torch_runs_a_nested_sequence_one_step_ahead() -> None:
    """The defect behind the refusal: the inner warm-up of five updates has four."""
    seen = played(nested(adam()), 20)[0][:, 0]
    inner = played(lrs.LinearLR(adam()), 5)[0][:, 0]

    np.testing.assert_array_equal(seen[:4], inner[:4])
    assert inner[4] < 0.09
    assert seen[4] == 0.1


def test_torch_loses_what_comes_before_a_lambda_in_a_chain() -> None:
    """The defect behind the other refusal."""
    optimizer = adam()
    alone = played(lrs.LambdaLR(adam(), halved_each_ten), 20)[0]
    parts = [lrs.StepLR(optimizer, 3), lrs.LambdaLR(optimizer, halved_each_ten)]

    np.testing.assert_array_equal(played(lrs.ChainedScheduler(parts), 20)[0], alone)


@pytest.mark.parametrize("anything", [None, 3, cosine(10), functools.partial(print)])
def test_what_is_no_scheduler_is_refused(anything: Any) -> None:
    with pytest.raises(InputError, match=r"scheduler must be a torch LRScheduler"):
        from_torch(anything)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # torch's own, while it builds the chain
def test_a_sequence_may_begin_with_a_chain() -> None:
    optimizer = adam(0.8)
    chain = lrs.ChainedScheduler([lrs.LinearLR(optimizer, 0.5, 1.0, 4), lrs.ConstantLR(optimizer, 0.5, 3)])
    scheduler = lrs.SequentialLR(optimizer, [chain, lrs.ConstantLR(optimizer, 0.25, 3)], [5])
    rate = from_torch(scheduler).rate
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    np.testing.assert_allclose(rates, [0.8 * rate(step) for step in range(12)])
