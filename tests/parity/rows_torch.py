"""torch.optim.lr_scheduler and torch.optim.swa_utils: rows."""

from __future__ import annotations

import math
from typing import Any

import torch
from tests.parity.cases import Case, Defect, Evaluate, Peer
from tests.parity.torch_loop import PEAK, momenta, optimizer, rates
from torch.optim import lr_scheduler as lrs
from torch.optim.swa_utils import SWALR

from stepsize.schedules import (
    Schedule,
    constant,
    cosine,
    decay,
    exponential,
    function,
    linear,
    multi_step,
    one_cycle,
    one_cycle_momentum,
    points,
    polynomial,
    step_decay,
    triangular,
    warm_restarts,
    warmup,
)

NAN = math.nan


def _row(name: str, make: Any, ours: Schedule, boundary: int = 50, *, agree: int | None = None, note: str = "") -> Case:
    return Case(name, rates(make), ours, 100, boundary, agree, note=note)


def _wave(steps: int) -> Schedule:
    down = cosine(steps, end=0.1)
    return down.then(decay(steps, shape="cosine", start=0.1, end=1.0)).repeated()


def _sequence(*parts: Any, milestones: list[int]) -> Any:
    return lambda on: lrs.SequentialLR(on, [part(on) for part in parts], milestones)


def _one_cycle(**changes: Any) -> Any:
    return lambda on: lrs.OneCycleLR(on, PEAK, total_steps=100, **changes)


def _cyclic(**changes: Any) -> Any:
    return lambda on: lrs.CyclicLR(on, 0.1 * PEAK, PEAK, 10, **changes)


def _inverse_time(step: int) -> float:
    return 1 / (1 + step / 10)


_ALL_OF_IT = "raises after the last update; the peak is at update 0.3 N - 1 and the floor at update N - 1"

_STEPS = (
    _row("LambdaLR(f)", lambda on: lrs.LambdaLR(on, _inverse_time), function(_inverse_time)),
    _row("MultiplicativeLR(lambda t: 0.95)", lambda on: lrs.MultiplicativeLR(on, lambda t: 0.95), exponential(0.95)),
    _row("StepLR(30, 0.1)", lambda on: lrs.StepLR(on, 30, 0.1), step_decay(30, gamma=0.1), 30),
    _row(
        "MultiStepLR([30, 80], 0.1)", lambda on: lrs.MultiStepLR(on, [30, 80], 0.1), multi_step([30, 80], gamma=0.1), 30
    ),
    _row(
        "MultiStepLR([30, 30, 80], 0.5)",
        lambda on: lrs.MultiStepLR(on, [30, 30, 80], 0.5),
        multi_step([30, 30, 80], gamma=0.5),
        30,
        note="a milestone given twice counts twice, in both",
    ),
    _row("ExponentialLR(0.95)", lambda on: lrs.ExponentialLR(on, 0.95), exponential(0.95)),
)
_RAMPS = (
    _row("ConstantLR(1/3, 5)", lambda on: lrs.ConstantLR(on, 1 / 3, 5), constant(5, factor=1 / 3).then(constant()), 5),
    _row(
        "LinearLR(1/3, 1, 5)", lambda on: lrs.LinearLR(on, 1 / 3, 1.0, 5), warmup(5, start=1 / 3, endpoints="start"), 5
    ),
    _row("LinearLR(1, 0.1, 100)", lambda on: lrs.LinearLR(on, 1.0, 0.1, 100), linear(100, end=0.1)),
    _row(
        "PolynomialLR(100, power=2)",
        lambda on: lrs.PolynomialLR(on, 100, power=2),
        polynomial(100, power=2),
        note="theirs has no floor; `end` is ours",
    ),
    _row(
        "CosineAnnealingLR(100, eta_min=0.1)",
        lambda on: lrs.CosineAnnealingLR(on, 100, 0.1 * PEAK),
        cosine(100, end=0.1),
        agree=101,
        note="theirs rises again after T_max, ours stays",
    ),
    _row(
        "CosineAnnealingLR(30, eta_min=0.1) as a wave",
        lambda on: lrs.CosineAnnealingLR(on, 30, 0.1 * PEAK),
        _wave(30),
        30,
        note="whoever wants the wave can say so",
    ),
    _row(
        "SWALR(0.05, anneal_epochs=20, 'cos')",
        lambda on: SWALR(on, 0.05 * PEAK, anneal_epochs=20),
        decay(20, shape="cosine", end=0.05),
        20,
    ),
    _row(
        "SWALR(0.05, anneal_epochs=20, 'linear')",
        lambda on: SWALR(on, 0.05 * PEAK, anneal_epochs=20, anneal_strategy="linear"),
        linear(20, end=0.05),
        20,
    ),
)
_CYCLES = (
    _row(
        "CosineAnnealingWarmRestarts(20, eta_min=0.1)",
        lambda on: lrs.CosineAnnealingWarmRestarts(on, 20, eta_min=0.1 * PEAK),
        warm_restarts(20, end=0.1),
        20,
    ),
    _row(
        "CosineAnnealingWarmRestarts(10, T_mult=2)",
        lambda on: lrs.CosineAnnealingWarmRestarts(on, 10, T_mult=2),
        warm_restarts(10, growth=2),
        30,
        note="no decay of the peak per cycle in theirs; `per_cycle` is ours",
    ),
    _row("CyclicLR(0.1, 1, 10)", _cyclic(), triangular(10, low=0.1), 10),
    _row(
        "CyclicLR(0.1, 1, 10, 30, 'triangular2')",
        _cyclic(step_size_down=30, mode="triangular2"),
        triangular(10, 30, low=0.1, per_cycle=0.5),
    ),
    _row(
        "CyclicLR(0.1, 1, 10, mode='exp_range', gamma=0.99)",
        _cyclic(mode="exp_range", gamma=0.99),
        triangular(10, low=0.1, per_step=0.99),
        10,
    ),
    Case(
        "CyclicLR(0.1, 1, 10).momentum",
        momenta(_cyclic()),
        points({0: 0.9, 10: 0.8, 20: 0.9}, steps=20).repeated(),
        100,
        10,
        note="a momentum, not a factor",
    ),
    _row(
        "OneCycleLR(1, total_steps=100)", _one_cycle(), one_cycle(100, endpoints="both"), 29, agree=100, note=_ALL_OF_IT
    ),
    _row(
        "OneCycleLR(1, total_steps=100, 'linear', pct_start=0.4, div_factor=10, final_div_factor=100)",
        _one_cycle(anneal_strategy="linear", pct_start=0.4, div_factor=10, final_div_factor=100),
        one_cycle(100, rise=0.4, start=0.1, end=0.001, shape="linear", endpoints="both"),
        39,
        agree=100,
        note=_ALL_OF_IT,
    ),
    _row(
        "OneCycleLR(1, total_steps=100, three_phase=True)",
        _one_cycle(three_phase=True),
        one_cycle(100, three_phase=True, endpoints="both"),
        58,
        agree=100,
        note=_ALL_OF_IT,
    ),
    Case(
        "OneCycleLR(1, total_steps=100).momentum",
        momenta(_one_cycle()),
        one_cycle_momentum(100, endpoints="both"),
        100,
        29,
        agree=100,
        note="a momentum, not a factor; raises after the last update",
    ),
)
_TREES = (
    _row(
        "SequentialLR([LinearLR(0.1, 1, 10), CosineAnnealingLR(90)], [10])",
        _sequence(
            lambda on: lrs.LinearLR(on, 0.1, 1.0, 10),
            lambda on: lrs.CosineAnnealingLR(on, 90),
            milestones=[10],
        ),
        warmup(10, start=0.1, endpoints="start").then(cosine(90)),
        10,
        agree=101,
        note="theirs rises again after the end, ours stays",
    ),
    _row(
        "SequentialLR([ConstantLR(0.1, 9), ExponentialLR(0.9), StepLR(20)], [20, 60])",
        _sequence(
            lambda on: lrs.ConstantLR(on, 0.1, 9),
            lambda on: lrs.ExponentialLR(on, 0.9),
            lambda on: lrs.StepLR(on, 20),
            milestones=[20, 60],
        ),
        constant(9, factor=0.1).then(constant(11)).then(exponential(0.9, steps=40)).then(step_decay(20)),
        20,
    ),
    _row(
        "ChainedScheduler([ConstantLR(0.5, 3), ExponentialLR(0.9)])",
        lambda on: lrs.ChainedScheduler([lrs.ConstantLR(on, 0.5, 3), lrs.ExponentialLR(on, 0.9)]),
        constant(3, factor=0.5).then(constant()).times(exponential(0.9)),
        3,
    ),
)


def _restarted_by_last_epoch(count: int) -> list[float]:
    """SequentialLR after 8 updates, made anew with last_epoch=7 on the optimizer as it was saved."""

    def make(on: torch.optim.Optimizer, last_epoch: int) -> Any:
        parts: list[Any] = [lrs.LinearLR(on, 0.1, 1.0, 5), lrs.ExponentialLR(on, 0.9)]
        return lrs.SequentialLR(on, parts, [5], last_epoch=last_epoch)

    first = optimizer()
    walked = make(first, -1)
    values = []
    for _ in range(8):
        values.append(first.param_groups[0]["lr"] / PEAK)
        first.step()
        walked.step()
    second = optimizer()
    second.load_state_dict(first.state_dict())
    resumed = make(second, 7)
    while len(values) < count:
        values.append(second.param_groups[0]["lr"] / PEAK)
        second.step()
        resumed.step()
    return values


def _longer_horizon_on_resume(count: int) -> list[float]:
    """CosineAnnealingLR(10) saved after 5 updates and loaded into CosineAnnealingLR(20)."""
    first = optimizer()
    short = lrs.CosineAnnealingLR(first, 10)
    values = []
    for _ in range(5):
        values.append(first.param_groups[0]["lr"] / PEAK)
        first.step()
        short.step()
    second = optimizer()
    long = lrs.CosineAnnealingLR(second, 20)
    second.load_state_dict(first.state_dict())
    long.load_state_dict(short.state_dict())
    while len(values) < count:
        values.append(second.param_groups[0]["lr"] / PEAK)
        second.step()
        long.step()
    return values


def _edited_on_the_way(count: int) -> list[float]:
    """CosineAnnealingLR(10) after someone set the rate to a tenth at update 5 and back at update 6."""
    on = optimizer()
    scheduler = lrs.CosineAnnealingLR(on, 10)
    values = []
    for update in range(count):
        if update == 5:
            on.param_groups[0]["lr"] *= 0.1
        values.append(on.param_groups[0]["lr"] / PEAK)
        on.step()
        scheduler.step()
    return values


def _nested(inner_first: bool) -> Evaluate:
    def hold(on: Any) -> Any:
        return lrs.ConstantLR(on, 1.0, 1)

    def down(on: Any) -> Any:
        return lrs.LinearLR(on, 1.0, 0.1, 9)

    def low(on: Any) -> Any:
        return lrs.ConstantLR(on, 0.1, 1_000)

    if inner_first:
        return rates(_sequence(_sequence(hold, down, milestones=[3]), low, milestones=[7]))
    return rates(_sequence(hold, _sequence(down, low, milestones=[4]), milestones=[3]))


_HOLD_DOWN_LOW = constant(3).then(linear(9, end=0.1).first(4)).then(constant(factor=0.1))

_DEFECTS = (
    Defect(
        "CosineAnnealingLR rises again after T_max",
        "CosineAnnealingLR(100)",
        (99, 100, 110, 150, 200),
        rates(lambda on: lrs.CosineAnnealingLR(on, 100)),
        (0.000246720, 0.0, 0.024471742, 0.5, 1.0),
        cosine(100),
        (0.000246720, 0.0, 0.0, 0.0, 0.0),
        "After the end the factor stays what it is at step `length`.",
        "UniRL#223",
    ),
    Defect(
        "OneCycleLR raises when it is asked for one more update than planned",
        "OneCycleLR(1, total_steps=10)",
        (9, 10, 11),
        rates(lambda on: lrs.OneCycleLR(on, PEAK, total_steps=10)),
        (4e-6, 0.04951937, NAN),
        one_cycle(10, endpoints="both"),
        (4e-6, 4e-6, 4e-6),
        "After the end the factor stays at `end`; theirs even rises for one update before it raises.",
        "pytorch#91765, hearai#98",
    ),
    Defect(
        "A SequentialLR inside a SequentialLR, as its first part, begins its second part an update too far",
        "SequentialLR([SequentialLR([ConstantLR(1), LinearLR(1, 0.1, 9)], [3]), ConstantLR(0.1)], [7])",
        (2, 3, 4, 6, 7),
        _nested(inner_first=True),
        (1.0, 0.9, 0.8, 0.6, 0.1),
        _HOLD_DOWN_LOW,
        (1.0, 1.0, 0.9, 0.7, 0.1),
        "`then` is associative: nesting changes nothing.",
        "pytorch#196243",
    ),
    Defect(
        "A SequentialLR inside a SequentialLR, as a later part, raises NotImplementedError",
        "SequentialLR([ConstantLR(1), SequentialLR([LinearLR(1, 0.1, 9), ConstantLR(0.1)], [4])], [3])",
        (2, 3, 6, 7),
        _nested(inner_first=False),
        (1.0, NAN, NAN, NAN),
        _HOLD_DOWN_LOW,
        (1.0, 1.0, 0.7, 0.1),
        "`then` is associative: nesting changes nothing.",
        "pytorch#196243",
    ),
    Defect(
        "SequentialLR made with last_epoch=N goes on from a wrong rate",
        "SequentialLR([LinearLR(0.1, 1, 5), ExponentialLR(0.9)], [5], last_epoch=7) at update 8",
        (7, 8, 9, 10),
        _restarted_by_last_epoch,
        (0.81, 0.1, 0.09, 0.081),
        warmup(5, start=0.1, endpoints="start").then(exponential(0.9)),
        (0.81, 0.729, 0.6561, 0.59049),
        "A schedule is a pure function of the step: it has nothing to restore.",
        "pytorch#162591",
    ),
    Defect(
        "load_state_dict brings the old horizon back, silently",
        "CosineAnnealingLR(10) saved at update 5, loaded into CosineAnnealingLR(20)",
        (5, 10, 15, 20),
        _longer_horizon_on_resume,
        (0.5, 0.0, 0.5, 1.0),
        cosine(10).extended(to=20, at=5),
        (0.5, 0.25, 0.066987298, 0.0),
        "A horizon changes by `extended(to=…, at=…)`, without a jump and never silently.",
        "torch source: `__dict__.update`; the like of transformers#4383 and open_clip#413",
    ),
    Defect(
        "ChainedScheduler with a LambdaLR behind another forgets the other",
        "ChainedScheduler([ExponentialLR(0.5), LambdaLR(1 / (1 + t))])",
        (1, 2, 3),
        rates(lambda on: lrs.ChainedScheduler([lrs.ExponentialLR(on, 0.5), lrs.LambdaLR(on, lambda t: 1 / (1 + t))])),
        (0.5, 1 / 3, 0.25),
        exponential(0.5).times(function(lambda t: 1 / (1 + t))),
        (0.25, 0.083333333, 0.03125),
        "`times` is the product of both, whatever they are made of.",
        "pytorch#82859",
    ),
    Defect(
        "ChainedScheduler with a LambdaLR before another forgets what the other did before",
        "ChainedScheduler([LambdaLR(1 / (1 + t)), ExponentialLR(0.5)])",
        (1, 2, 3),
        rates(lambda on: lrs.ChainedScheduler([lrs.LambdaLR(on, lambda t: 1 / (1 + t)), lrs.ExponentialLR(on, 0.5)])),
        (0.25, 1 / 6, 0.125),
        function(lambda t: 1 / (1 + t)).times(exponential(0.5)),
        (0.25, 0.083333333, 0.03125),
        "`times` is the product of both, in either order.",
        "pytorch#82859",
    ),
    Defect(
        "Recursive forms take an edit of the rate into account for ever",
        "CosineAnnealingLR(10), and group['lr'] *= 0.1 at update 5",
        (4, 5, 6, 9),
        _edited_on_the_way,
        (0.654508497, 0.05, 0.034549150, 0.002447174),
        cosine(10),
        (0.654508497, 0.5, 0.345491503, 0.024471742),
        "The factor depends on the step alone.",
        "pytorch#168044, #60265",
    ),
)

PEER = Peer(
    "torch.optim.lr_scheduler",
    "torch",
    "Run on an SGD with peak rate 0.5, in float64 as Python floats; the rate of each update is read before it.",
    (*_STEPS, *_RAMPS, *_CYCLES, *_TREES),
    _DEFECTS,
    ("ReduceLROnPlateau follows a metric, not the step: no function of the step equals it.",),
)
