"""Schedules of training scripts and frameworks that are not run here: their formulas, written naively."""

from __future__ import annotations

import math
from collections.abc import Callable

from tests.parity.cases import Case, Peer

from stepsize.schedules import (
    Schedule,
    constant,
    cooldown,
    cosine,
    decay,
    exponential,
    inverse_sqrt,
    linear,
    noam,
    one_cycle,
    points,
    polynomial,
    warm_restarts,
    warmup,
)

_STEPS, _WARMUP = 100, 10


def _row(name: str, law: Callable[[int], float], ours: Schedule, boundary: int, note: str = "") -> Case:
    return Case(name, lambda count: [law(step) for step in range(count)], ours, _STEPS, boundary, note=note)


def _noam(t: int) -> float:
    return min(1 / math.sqrt(t + 1), (t + 1) / math.sqrt(_WARMUP) ** 3) * math.sqrt(_WARMUP)


def _nanogpt(t: int) -> float:
    if t < _WARMUP:
        return (t + 1) / (_WARMUP + 1)
    p = min(1.0, (t - _WARMUP) / (_STEPS - _WARMUP))
    return 0.1 + 0.9 * (1 + math.cos(math.pi * p)) / 2


def _megatron(fall: Callable[[float], float]) -> Callable[[int], float]:
    """Warmup t / W up to and with t = W, then a fall over N - W to 0.1, where it stays."""

    def law(t: int) -> float:
        if t <= _WARMUP:
            return t / _WARMUP
        return 0.1 + 0.9 * fall(min(1.0, (t - _WARMUP) / (_STEPS - _WARMUP)))

    return law


def _megatron_inverse_sqrt(t: int) -> float:
    if t <= _WARMUP:
        return t / _WARMUP
    return 0.1 if t > _STEPS else max(0.1, math.sqrt(_WARMUP / t))


def _megatron_wsd(fall: Callable[[float], float]) -> Callable[[int], float]:
    """Warmup, then the peak up to and with t = N - 20, then a fall over 20 to 0.1."""

    def law(t: int) -> float:
        if t <= _WARMUP:
            return t / _WARMUP
        p = max(0.0, min(1.0, (t - 80) / 20))
        return 0.1 + 0.9 * fall(p)

    return law


def _modded_nanogpt(t: int) -> float:
    batches = 1.52 if 33 <= t < 66 else 1.73 if t >= 66 else 1.0
    p = min(1.0, max(0.0, (t - 40) / 60))
    return batches * (1 - p + 0.15 * p)


def _fastai_one_cycle(t: int) -> float:
    p = min(1.0, t / _STEPS)
    if p < 0.25:
        return 0.04 + (1 - 0.04) * (1 - math.cos(math.pi * p / 0.25)) / 2
    return 1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi * (p - 0.25) / 0.75)) / 2


def _fastai_flat_cos(t: int) -> float:
    p = min(1.0, t / _STEPS)
    return 1.0 if p < 0.75 else 1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi * (p - 0.75) / 0.25)) / 2


def _sgdr(t: int, first: int, cycles: int) -> float:
    """Cosines of first, 2 first, 4 first, ... updates; behind the last it stays at 0."""
    for cycle in range(cycles):
        length = first * 2**cycle
        if t < length:
            return (1 + math.cos(math.pi * t / length)) / 2
        t -= length
    return 0.0


def _ignite_piecewise(t: int) -> float:
    if t <= 10:
        return 0.1
    return 0.1 + 0.9 * (t - 10) / 20 if t < 30 else max(0.0, 1 - (t - 30) / 70)


def _composer(fall: Callable[[float], float], end: float = 0.0) -> Callable[[int], float]:
    """From 1 to ``end`` by the share of t_max; then it stays."""
    return lambda t: end + (1 - end) * fall(min(1.0, t / _STEPS))


def _cosine(p: float) -> float:
    return (1 + math.cos(math.pi * p)) / 2


def _after(rest: Schedule) -> Schedule:
    return warmup(_WARMUP, endpoints="start").then(rest)


def _stable(shape: str) -> Schedule:
    return _after(constant(70).then(cooldown(20, shape=shape, end=0.1)))


_LINEAR_UP = "update 0 has rate 0, update W the peak"
_CASES = (
    _row("Attention is all you need, over its peak", _noam, noam(_WARMUP), 9, "the peak is at update W - 1"),
    _row("nanoGPT", _nanogpt, cosine(_STEPS, warmup=_WARMUP, end=0.1), _WARMUP, "warmup (t + 1) / (W + 1), as ours"),
    _row("Megatron-LM linear", _megatron(lambda p: 1 - p), _after(linear(90, end=0.1)), _WARMUP, _LINEAR_UP),
    _row("Megatron-LM cosine", _megatron(_cosine), _after(cosine(90, end=0.1)), _WARMUP, _LINEAR_UP),
    _row(
        "Megatron-LM inverse-square-root",
        _megatron_inverse_sqrt,
        _after(inverse_sqrt(_WARMUP, steps=91).floored(at=0.1).then(constant(factor=0.1))),
        _WARMUP,
        "jumps to the floor behind update N",
    ),
    _row("Megatron-LM WSD linear", _megatron_wsd(lambda p: 1 - p), _stable("linear"), 80, _LINEAR_UP),
    _row("Megatron-LM WSD cosine", _megatron_wsd(_cosine), _stable("cosine"), 80, _LINEAR_UP),
    _row("Megatron-LM WSD exponential", _megatron_wsd(lambda p: 2 * 0.5**p - 1), _stable("halving"), 80, _LINEAR_UP),
    _row("Megatron-LM WSD minus_sqrt", _megatron_wsd(lambda p: 1 - math.sqrt(p)), _stable("1-sqrt"), 80, _LINEAR_UP),
    _row(
        "modded-nanogpt, stages at 33 and 66",
        _modded_nanogpt,
        constant(40).then(linear(60, end=0.15)).times(points({0: 1.0, 33: 1.52, 66: 1.73}, between=None, steps=100)),
        66,
    ),
    _row("fastai fit_one_cycle", _fastai_one_cycle, one_cycle(_STEPS, rise=0.25, end=1e-5), 25),
    _row("fastai fit_flat_cos", _fastai_flat_cos, constant(75).then(cosine(25, end=1e-5)), 75),
    _row("fastai fit_sgdr(3, 10)", lambda t: _sgdr(t, 10, 3), warm_restarts(10, growth=2, steps=70), 30),
    _row(
        "Ignite PiecewiseLinear([(10, 0.1), (30, 1), (100, 0)])",
        _ignite_piecewise,
        points({10: 0.1, 30: 1.0, 100: 0.0}),
        30,
    ),
    _row("Composer LinearScheduler(1, 0.1)", _composer(lambda p: 1 - p, 0.1), linear(_STEPS, end=0.1), 50),
    _row("Composer CosineAnnealingScheduler(alpha_f=0.1)", _composer(_cosine, 0.1), cosine(_STEPS, end=0.1), 50),
    _row(
        "Composer PolynomialScheduler(power=2, alpha_f=0.1)",
        _composer(lambda p: (1 - p) ** 2, 0.1),
        polynomial(_STEPS, power=2, end=0.1),
        50,
    ),
    _row("Composer ExponentialScheduler(gamma=0.5, '10ba')", lambda t: 0.5 ** (t / 10), exponential(0.5, every=10), 50),
    _row(
        "REX, (1 - p) / (1 - p / 2)",
        lambda t: max(0.0, (1 - t / _STEPS) / (1 / 2 + (1 - t / _STEPS) / 2)),
        decay(_STEPS, shape="rex"),
        50,
    ),
)

PEER = Peer(
    "Others, by formula",
    None,
    "These are not run: each formula is written once more in `tests/parity/rows_formulas.py`, step by step as its "
    "paper or source gives it, N = 100 and W = 10.",
    _CASES,
)
