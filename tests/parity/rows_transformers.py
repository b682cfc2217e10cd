"""transformers.get_scheduler: rows."""

from __future__ import annotations

import math
from typing import Any

from tests.parity.cases import Case, Defect, Evaluate, Peer
from tests.parity.torch_loop import PEAK, rates

from stepsize.schedules import (
    Schedule,
    constant,
    cosine,
    decay,
    inverse_sqrt,
    linear,
    polynomial,
    warm_restarts,
    warmup,
)

_STEPS, _WARMUP = 100, 10
_ZERO_FIRST = "update 0 has rate 0"
_RISES = "theirs rises again after the end, ours stays"


def _theirs(name: str, **specific: Any) -> Evaluate:
    return rates(lambda on: _scheduler(name, on, **specific))


def _scheduler(name: str, on: Any, **specific: Any) -> Any:
    from transformers import get_scheduler

    return get_scheduler(
        name,
        on,
        num_warmup_steps=None if name == "constant" else _WARMUP,
        num_training_steps=_STEPS,
        scheduler_specific_kwargs=specific,
    )


def _after_warmup(rest: Schedule) -> Schedule:
    return warmup(_WARMUP, endpoints="start").then(rest)


def _row(
    name: str, ours: Schedule, *, agree: int | None = None, note: str = "", boundary: int = _WARMUP, **specific: Any
) -> Case:
    arguments = "".join(f", {key}={value!r}" for key, value in specific.items())
    theirs = _theirs(
        name, **{key: value * PEAK if key in ("min_lr", "lr_end") else value for key, value in specific.items()}
    )
    return Case(f"'{name}'{arguments}", theirs, ours, _STEPS, boundary, agree, note=note)


def _wsd(start: float, up: str, down: Schedule) -> Schedule:
    return warmup(_WARMUP, shape=up, start=start, endpoints="start").then(constant(70)).then(down)


_CASES = (
    _row("constant", constant(), boundary=50),
    _row("constant_with_warmup", _after_warmup(constant()), note=_ZERO_FIRST),
    _row("linear", _after_warmup(linear(90)), note=_ZERO_FIRST),
    _row("cosine", _after_warmup(cosine(90)), agree=_STEPS + 1, note=f"{_ZERO_FIRST}; {_RISES}"),
    _row(
        "cosine",
        _after_warmup(decay(90, shape="waves(1.5)")),
        num_cycles=1.5,
        boundary=40,
        agree=_STEPS + 1,
        note=f"{_ZERO_FIRST}; {_RISES}",
    ),
    _row(
        "cosine_with_restarts", _after_warmup(warm_restarts(30, steps=90)), num_cycles=3, boundary=40, note=_ZERO_FIRST
    ),
    _row("polynomial", _after_warmup(linear(90, end=1e-7 / PEAK)), note=f"{_ZERO_FIRST}; lr_end is an absolute rate"),
    _row("polynomial", _after_warmup(polynomial(90, power=2, end=0.1)), power=2.0, lr_end=0.1, note=_ZERO_FIRST),
    _row("inverse_sqrt", _after_warmup(inverse_sqrt(_WARMUP)), note=f"{_ZERO_FIRST}; the timescale is the warmup"),
    _row("inverse_sqrt", _after_warmup(inverse_sqrt(50)), timescale=50, note=_ZERO_FIRST),
    _row(
        "cosine_with_min_lr",
        _after_warmup(cosine(90, end=0.1)),
        min_lr_rate=0.1,
        agree=_STEPS + 1,
        note=f"{_ZERO_FIRST}; {_RISES}",
    ),
    _row(
        "cosine_with_min_lr",
        _after_warmup(cosine(90, end=0.1)),
        min_lr=0.1,
        agree=_STEPS + 1,
        note=f"{_ZERO_FIRST}; {_RISES}",
    ),
    _row(
        "cosine_warmup_with_min_lr",
        warmup(_WARMUP, endpoints="end").then(decay(90, shape="cosine", end=0.1, endpoints="end")),
        min_lr_rate=0.1,
        boundary=9,
        agree=_STEPS,
        note=f"peak at update W - 1, floor at update N - 1; {_RISES}",
    ),
    _row(
        "cosine_warmup_with_min_lr",
        warmup(_WARMUP, start=0.2, endpoints="both").then(decay(90, shape="cosine", end=0.1, endpoints="end")),
        min_lr_rate=0.1,
        warmup_lr_rate=0.2,
        boundary=9,
        agree=_STEPS,
        note=f"start at update 0, peak at update W - 1, floor at update N - 1; {_RISES}",
    ),
    _row(
        "warmup_stable_decay",
        _wsd(0.0, "linear", cosine(20)),
        num_decay_steps=20,
        boundary=80,
        note=f"{_ZERO_FIRST}; decays by cosine unless told otherwise",
    ),
    _row(
        "warmup_stable_decay",
        _wsd(0.1, "1-sqrt", decay(20, shape="1-sqrt", end=0.1)),
        num_decay_steps=20,
        warmup_type="1-sqrt",
        decay_type="1-sqrt",
        min_lr_ratio=0.1,
        boundary=80,
        note="the floor is also where the warmup starts",
    ),
    _row(
        "warmup_stable_decay",
        _wsd(0.1, "cosine", linear(20, end=0.1)),
        num_decay_steps=20,
        warmup_type="cosine",
        decay_type="linear",
        min_lr_ratio=0.1,
        boundary=80,
        note="the floor is also where the warmup starts",
    ),
)


def _second_group(name: str, **specific: Any) -> Evaluate:
    """The factor of a group at a tenth of the default rate."""
    return rates(lambda on: _scheduler(name, on, **specific), groups=(PEAK, PEAK / 10), group=1)


_DEFECTS = (
    Defect(
        "The first update has rate 0: its batch and its gradient are thrown away",
        "'linear', W = 10, N = 100",
        (0, 1, 9, 10),
        _theirs("linear"),
        (0.0, 0.1, 0.9, 1.0),
        linear(100, warmup=10),
        (1 / 11, 2 / 11, 10 / 11, 1.0),
        "A warmup takes neither of its ends unless `endpoints` says so: (t + 1) / (W + 1).",
        "transformers#34754, torchtitan#1261, torchtune#2010, verl#3674",
    ),
    Defect(
        "cosine rises again after the end",
        "'cosine', N = 100",
        (99, 100, 110, 145, 190),
        _theirs("cosine"),
        (0.000304587, 0.0, 0.030153690, 0.5, 1.0),
        warmup(10, endpoints="start").then(cosine(90)),
        (0.000304587, 0.0, 0.0, 0.0, 0.0),
        "After the end the factor stays what it is at step `length`.",
        "transformers source: the progress is not clipped",
    ),
    Defect(
        "min_lr is turned into a share by the default rate, not the group's: a group at a tenth of it gets a tenth of "
        "the floor",
        "'cosine_with_min_lr', min_lr=0.05, second group with peak 0.05",
        (10, 100),
        _second_group("cosine_with_min_lr", min_lr=0.05),
        (1.0, 0.1),
        _after_warmup(cosine(90, end=1.0)),
        (1.0, 1.0),
        "A floor is a share of each group's own peak; an absolute one is the share of the group that it is meant for.",
        "transformers source: `optimizer.defaults['lr']`",
    ),
    Defect(
        "lr_end likewise: a second group ends at lr_end over ten",
        "'polynomial', lr_end=0.005, second group with peak 0.05",
        (10, 100, 110),
        _second_group("polynomial", lr_end=0.005),
        (1.0, 0.01, 0.01),
        _after_warmup(linear(90, end=0.1)),
        (1.0, 0.1, 0.1),
        "A floor is a share of each group's own peak.",
        "transformers source: `optimizer.defaults['lr']`",
    ),
    Defect(
        "A cooldown of a whole number of waves ends at the peak and drops to the floor at once",
        "'warmup_stable_decay', num_decay_steps=20, num_cycles=1",
        (90, 99, 100),
        _theirs("warmup_stable_decay", num_decay_steps=20, num_cycles=1.0),
        (0.0, 0.5 * (1 + math.cos(2 * math.pi * 0.95)), 0.0),
        _wsd(0.0, "linear", decay(20, shape="waves(1)")),
        (0.0, 0.5 * (1 + math.cos(2 * math.pi * 0.95)), 1.0),
        "After the end the factor stays what it is at step `length`: no jump at the end.",
        "transformers source",
    ),
)

PEER = Peer(
    "transformers.get_scheduler",
    "transformers",
    "Run on an SGD with peak rate 0.5, in float64 as Python floats; N = 100 with W = 10 warmup updates.",
    _CASES,
    _DEFECTS,
    (
        "reduce_lr_on_plateau and greedy follow a metric, not the step.",
        "AdafactorSchedule reads the rate that Adafactor computes from its own state.",
    ),
)
