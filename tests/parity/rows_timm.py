"""timm.scheduler by formula: timm itself needs torchvision, so its schedules are written here once more, naively.

The formulas are those of timm 1.0.31, one function a file of its folder ``scheduler``; where timm is installed,
``test_peers.py`` holds these twins against it.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.parity.cases import Case, Defect, Peer

from stepsize.schedules import (
    Schedule,
    constant,
    cooldown,
    cosine,
    decay,
    inverse_sqrt,
    multi_step,
    polynomial,
    step_decay,
    warm_restarts,
    warmup,
)

VERSION = "1.0.31"


@dataclass(frozen=True)
class Twin:
    """One of timm's schedulers by formula, at the peak rate 1.

    Args:
        scheduler: Its class in ``timm.scheduler``.
        arguments: Its keyword arguments.
    """

    scheduler: str
    arguments: dict[str, Any]

    def __call__(self, count: int) -> list[float]:
        return [self._rate(step) for step in range(count)]

    def __str__(self) -> str:
        return f"{self.scheduler}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"

    def _rate(self, step: int) -> float:
        given = dict(self.arguments)
        over, start = given.pop("warmup_t", 0), given.pop("warmup_lr_init", 0.0)
        prefix = given.pop("warmup_prefix", self.scheduler in ("StepLRScheduler", "MultiStepLRScheduler"))
        if self.scheduler == "WSDLRScheduler":
            given, prefix = {**given, "warmup_t": over}, True
        law = _LAWS[self.scheduler]
        if step < over:  # tanh without prefix is the one that rises to where its decay will be
            top = law(over, **given) if self.scheduler == "TanhLRScheduler" and not prefix else 1.0
            return float(start + step * (top - start) / over)
        return float(law(step - over if prefix else step, **given))


def _cycle(step: float, first: float, growth: float) -> tuple[int, float, float]:
    """The number of the cycle, the step in it and its length."""
    if growth == 1:
        return int(step // first), step % first, first
    number = math.floor(math.log(1 + step / first * (growth - 1), growth))
    begin = first * (growth**number - 1) / (growth - 1)
    return number, step - begin, first * growth**number


def _in_cycles(
    fall: Callable[[float, float], float],
    step: float,
    t_initial: float,
    lr_min: float,
    cycle_mul: float,
    cycle_decay: float,
    cycle_limit: int,
) -> float:
    number, within, length = _cycle(step, t_initial, cycle_mul)
    if number >= cycle_limit:
        return lr_min
    return float(lr_min + (cycle_decay**number - lr_min) * fall(within, length))


def _cosine(
    step: float, t_initial: float, lr_min: float = 0.0, cycle_mul: float = 1.0, cycle_decay: float = 1.0,
    cycle_limit: int = 1, k_decay: float = 1.0,
) -> float:  # fmt: skip
    def fall(t: float, length: float) -> float:
        return (1 + math.cos(math.pi * t**k_decay / length**k_decay)) / 2

    return _in_cycles(fall, step, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)


def _poly(
    step: float, t_initial: float, power: float = 0.5, lr_min: float = 0.0, cycle_mul: float = 1.0,
    cycle_decay: float = 1.0, cycle_limit: int = 1, k_decay: float = 1.0,
) -> float:  # fmt: skip
    def fall(t: float, length: float) -> float:
        return float((1 - t**k_decay / length**k_decay) ** power)

    return _in_cycles(fall, step, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)


def _tanh(
    step: float, t_initial: float, lb: float = -7.0, ub: float = 3.0, lr_min: float = 0.0, cycle_mul: float = 1.0,
    cycle_decay: float = 1.0, cycle_limit: int = 1,
) -> float:  # fmt: skip
    def fall(t: float, length: float) -> float:
        return (1 - math.tanh(lb * (1 - t / length) + ub * t / length)) / 2

    return _in_cycles(fall, step, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)


def _step(step: float, decay_t: float, decay_rate: float = 1.0) -> float:
    return float(decay_rate ** (step // decay_t))


def _multi_step(step: float, decay_t: list[int], decay_rate: float = 1.0) -> float:
    return float(decay_rate ** bisect.bisect_right(decay_t, step + 1))


def _wsd(
    step: float, t_initial: int, decay_t: int, warmup_t: int = 0, lr_min: float = 0.0, stable_fn: str = "constant",
    decay_fn: str = "1-sqrt", decay_power: float = 0.5, decay_ratio: float = 0.1,
) -> float:  # fmt: skip
    stable = 1.0 if stable_fn == "constant" else (1 + step / warmup_t) ** -0.5
    p = min(max(step - (t_initial - decay_t), 0) / decay_t, 1.0)
    fall = {
        "linear": 1 - p,
        "1-sqrt": 1 - math.sqrt(p),
        "cosine": (1 + math.cos(math.pi * p)) / 2,
        "power": 1 - p**decay_power,
        "exp": (decay_ratio**p - decay_ratio) / (1 - decay_ratio),
    }[decay_fn]
    return float(lr_min + (max(stable, lr_min) - lr_min) * fall)


_LAWS: dict[str, Callable[..., float]] = {
    "CosineLRScheduler": _cosine,
    "PolyLRScheduler": _poly,
    "TanhLRScheduler": _tanh,
    "StepLRScheduler": _step,
    "MultiStepLRScheduler": _multi_step,
    "WSDLRScheduler": _wsd,
}


def _row(
    scheduler: str, ours: Schedule, boundary: int = 50, *, note: str = "", agree: int | None = None, **arguments: Any
) -> Case:
    twin = Twin(f"{scheduler}LRScheduler", arguments)
    return Case(str(twin), twin, ours, 100, boundary, agree, note=note)


def _warmed(rest: Schedule, start: float = 0.0) -> Schedule:
    return warmup(10, start=start, endpoints="start").then(rest)


_PREFIX: dict[str, Any] = {"warmup_t": 10, "warmup_prefix": True}
_CASES = (
    _row("Cosine", cosine(100, end=0.1), t_initial=100, lr_min=0.1),
    _row("Cosine", decay(100, shape="k-decay(2)", end=0.1), t_initial=100, lr_min=0.1, k_decay=2.0),
    _row("Cosine", _warmed(cosine(90), 0.1), 10, t_initial=90, warmup_lr_init=0.1, **_PREFIX),
    _row("Cosine", warm_restarts(30, steps=90), 30, t_initial=30, cycle_limit=3, note="cycle_limit is our steps"),
    _row(
        "Cosine",
        warm_restarts(20, growth=2, per_cycle=0.5, end=0.1, steps=60),
        20,
        t_initial=20,
        lr_min=0.1,
        cycle_mul=2.0,
        cycle_decay=0.5,
        cycle_limit=2,
    ),
    _row("Poly", polynomial(100, power=0.5, end=0.1), t_initial=100, lr_min=0.1),
    _row("Poly", decay(100, shape="1-power(2)"), t_initial=100, power=1.0, k_decay=2.0),
    _row(
        "Poly",
        warm_restarts(20, growth=2, per_cycle=0.5, shape="polynomial(2)", steps=60),
        20,
        t_initial=20,
        power=2.0,
        cycle_mul=2.0,
        cycle_decay=0.5,
        cycle_limit=2,
    ),
    _row("Poly", _warmed(polynomial(90, power=2)), 10, t_initial=90, power=2.0, **_PREFIX),
    _row(
        "Tanh",
        decay(100, shape="tanh", end=0.1).then(constant(factor=0.1)),
        70,
        t_initial=100,
        lr_min=0.1,
        note="the formula stops short of both ends; theirs jumps to the floor after the last update",
    ),
    _row(
        "Tanh",
        _warmed(decay(90, shape="tanh(-6, 2)").then(constant(factor=0.0))),
        10,
        t_initial=90,
        lb=-6.0,
        ub=2.0,
        **_PREFIX,
    ),
    _row("Step", step_decay(30, gamma=0.1), 30, decay_t=30, decay_rate=0.1),
    _row("Step", _warmed(step_decay(30, gamma=0.1)), 40, decay_t=30, decay_rate=0.1, **_PREFIX),
    _row(
        "MultiStep",
        multi_step([29, 79], gamma=0.1),
        29,
        decay_t=[30, 80],
        decay_rate=0.1,
        note="milestones fire an update early; ours are written where they fire",
    ),
    _row("WSD", constant(80).then(cooldown(20)), 80, t_initial=100, decay_t=20),
    _row(
        "WSD",
        _warmed(constant(70).then(cooldown(20, shape="cosine", end=0.1))),
        80,
        t_initial=90,
        decay_t=20,
        warmup_t=10,
        lr_min=0.1,
        decay_fn="cosine",
    ),
    _row(
        "WSD",
        _warmed(constant(70).then(cooldown(20, shape="1-power(3)"))),
        80,
        t_initial=90,
        decay_t=20,
        warmup_t=10,
        decay_fn="power",
        decay_power=3.0,
    ),
    _row(
        "WSD",
        constant(80).then(cooldown(20, shape="halving(0.1)")),
        80,
        t_initial=100,
        decay_t=20,
        decay_fn="exp",
        decay_ratio=0.1,
    ),
    _row(
        "WSD",
        _warmed(inverse_sqrt(10).times(constant(70).then(cooldown(20, shape="linear")).then(constant(factor=0.0)))),
        80,
        t_initial=90,
        decay_t=20,
        warmup_t=10,
        stable_fn="rsqrt",
        decay_fn="linear",
        note="the cooldown multiplies a stable part that goes on falling",
    ),
)

_DEFECTS = (
    Defect(
        "Without warmup_prefix, the default of cosine, decay runs underneath the warmup and never begins at the peak",
        "CosineLRScheduler(t_initial=100, warmup_t=20)",
        (0, 19, 20, 21, 99),
        Twin("CosineLRScheduler", {"t_initial": 100, "warmup_t": 20}),
        (0.0, 0.95, 0.904508497, 0.895077506, 0.000246720),
        cosine(100, warmup=20),
        (1 / 21, 20 / 21, 1.0, 0.999614518, 0.000385482),
        "The warmup is a part of its own, and the decay begins at the peak.",
        "timm source",
    ),
    Defect(
        "A milestone fires one update early",
        "MultiStepLRScheduler(decay_t=[30], decay_rate=0.1)",
        (28, 29, 30),
        Twin("MultiStepLRScheduler", {"decay_t": [30], "decay_rate": 0.1}),
        (1.0, 0.1, 0.1),
        multi_step([30], gamma=0.1),
        (1.0, 1.0, 0.1),
        "A milestone is the first update after the drop.",
        "timm source, which calls it a convention: timm#2745, #2753, #2806",
    ),
    Defect(
        "A rounded logarithm lets a restart come an update late, at the floor",
        "CosineLRScheduler(t_initial=10, cycle_mul=3, cycle_limit=9)",
        (1_209, 1_210, 1_211),
        Twin("CosineLRScheduler", {"t_initial": 10, "cycle_mul": 3.0, "cycle_limit": 9}),
        (3.760582e-6, 0.0, 0.999999582),
        warm_restarts(10, growth=3),
        (3.760582e-6, 1.0, 0.999999582),
        "Cycle c begins at its own first step, to the update.",
        "timm source: floor(log(…, cycle_mul))",
    ),
    Defect(
        "tanh ends above the floor and jumps there after the last update",
        "TanhLRScheduler(t_initial=100)",
        (99, 100),
        Twin("TanhLRScheduler", {"t_initial": 100}),
        (0.003018416, 0.0),
        decay(100, shape="tanh"),
        (0.003018416, 0.002472623),
        "After the end the factor stays what it is at step `length`: no jump at the end.",
        "timm source",
    ),
)

PEER = Peer(
    "timm.scheduler",
    None,
    f"By formula, from the source of timm {VERSION}, in float64 as Python floats at peak rate 1.",
    _CASES,
    _DEFECTS,
    (
        "PlateauLRScheduler follows a metric; noise is random.",
        "PolyLRScheduler with both power and k_decay other than 1, (1 − p^k)^power, is no shape of ours.",
        "WSDLRScheduler's 'exp' with another decay_ratio than 1/2 is no shape of ours.",
        "WSDLRScheduler's falling stable parts with lr_min: its cooldown takes a share of what is above the floor.",
    ),
)
