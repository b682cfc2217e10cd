"""Factors that were worked out by hand, and every shape against its formula in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from stepsize.errors import InputError, UnknownNameError
from stepsize.schedules import (
    SHAPES,
    Schedule,
    Shape,
    adam_warmup,
    constant,
    cooldown,
    cosine,
    decay,
    exponential,
    inverse_sqrt,
    linear,
    multi_step,
    noam,
    one_cycle,
    one_cycle_momentum,
    points,
    polynomial,
    power_law,
    step_decay,
    triangular,
    warm_restarts,
    warmup,
    wsd,
)
from stepsize.schedules.shapes import as_shape

ROOT = math.sqrt(0.5)

GOLDEN: list[tuple[str, Schedule, dict[float, float]]] = [
    ("constant", constant(), {0: 1, 10**9: 1}),
    ("constant with an end", constant(5, factor=0.3), {0: 0.3, 4: 0.3, 5: 0.3, 99: 0.3}),
    # (t + 1) / 5 over 4 steps, held from step 4 at 5/5
    ("warm-up between its ends", warmup(4), {0: 0.2, 1: 0.4, 3: 0.8, 4: 1, 9: 1}),
    ("warm-up from its start", warmup(4, endpoints="start"), {0: 0, 1: 0.25, 3: 0.75, 4: 1, 9: 1}),
    ("warm-up to its end", warmup(4, endpoints="end"), {0: 0.25, 1: 0.5, 3: 1, 4: 1, 9: 1}),
    # t / 4 over 5 steps
    ("warm-up with both ends", warmup(5, endpoints="both"), {0: 0, 1: 0.25, 3: 0.75, 4: 1, 9: 1}),
    # 0.5 + 0.5 · (t + 1) / 5
    ("warm-up from one half", warmup(4, start=0.5), {0: 0.6, 3: 0.9, 4: 1}),
    # 1 − (1 + cos π(1 − p)) / 2 rising has (1 + cos π(1 − p)) / 2 at p = 1/2: one half
    (
        "cosine warm-up",
        warmup(4, shape="cosine", endpoints="start"),
        {0: 0, 1: (1 - ROOT) / 2, 2: 0.5, 3: (1 + ROOT) / 2},
    ),
    # 0.01 · 100^p: a factor 10 on the half of the way
    ("exponential warm-up", warmup(4, shape="exponential", start=0.01, endpoints="start"), {0: 0.01, 2: 0.1, 4: 1}),
    ("constant warm-up", warmup(4, shape="constant", start=0.2).then(constant(2)), {0: 0.2, 3: 0.2, 4: 1, 6: 1}),
    # 2 / (1 − 0.99) = 200 steps, the peak at the last of them
    ("Adam's warm-up", adam_warmup(0.99), {0: 0.005, 99: 0.5, 199: 1, 200: 1}),
    # 2 / 0.3 = 6.67: 7 steps
    ("Adam's warm-up, rounded", adam_warmup(0.7), {0: 1 / 7, 6: 1, 7: 1}),
    ("linear", linear(4), {0: 1, 1: 0.75, 2: 0.5, 3: 0.25, 4: 0, 9: 0}),
    ("linear to a floor", linear(4, end=0.2), {0: 1, 2: 0.6, 3: 0.4, 4: 0.2, 9: 0.2}),
    ("linear from another factor", linear(4, start=2.0, end=1.0), {0: 2, 1: 1.75, 4: 1}),
    # update 2 is the first of 8 steps down: 1 − (t − 2) / 8
    ("linear behind a warm-up", linear(10, warmup=2), {0: 1 / 3, 1: 2 / 3, 2: 1, 6: 0.5, 9: 0.125, 10: 0}),
    ("linear behind a share", linear(10, warmup="20%"), {0: 1 / 3, 1: 2 / 3, 2: 1, 6: 0.5, 9: 0.125, 10: 0}),
    # cos π/4 = √½
    ("cosine", cosine(4), {0: 1, 1: (1 + ROOT) / 2, 2: 0.5, 3: (1 - ROOT) / 2, 4: 0, 9: 0}),
    ("cosine squared", cosine(4, power=2), {0: 1, 1: (1.5 + 2 * ROOT) / 4, 2: 0.25, 4: 0}),
    ("cosine to a floor", cosine(4, end=0.5), {0: 1, 2: 0.75, 4: 0.5, 9: 0.5}),
    # 0.2 + 0.8 (1 − t/4)²
    ("polynomial", polynomial(4, end=0.2), {0: 1, 1: 0.65, 2: 0.4, 3: 0.25, 4: 0.2, 9: 0.2}),
    # 1 − √(t/4)
    ("cooldown", cooldown(4), {0: 1, 1: 0.5, 3: 1 - math.sqrt(0.75), 4: 0, 9: 0}),
    # t / 3: the last update takes the end
    ("decay with both ends", decay(4, endpoints="both"), {0: 1, 1: 2 / 3, 3: 0, 4: 0}),
    ("decay to its end", decay(4, endpoints="end"), {0: 0.75, 3: 0, 4: 0}),
    ("decay between its ends", decay(4, endpoints="neither"), {0: 0.8, 3: 0.2, 4: 0}),
    # 5 steps up, 75 at the peak, 20 down as 1 − √p: at p = 5/20 one half
    ("wsd", wsd(100, warmup=5), {0: 1 / 6, 4: 5 / 6, 5: 1, 79: 1, 80: 1, 85: 0.5, 99: 1 - math.sqrt(0.95), 100: 0}),
    ("wsd without warm-up", wsd(10, warmup=None, cooldown=4, shape="linear"), {0: 1, 6: 1, 7: 0.75, 9: 0.25, 10: 0}),
    # ½ each 10 steps, smoothly: √½ after 5
    ("exponential", exponential(0.5, every=10), {0: 1, 5: ROOT, 10: 0.5, 20: 0.25}),
    ("exponential with an end", exponential(0.5, every=10, steps=20), {19: 0.5**1.9, 20: 0.25, 90: 0.25}),
    ("step", step_decay(3, gamma=0.5), {0: 1, 2: 1, 2.9: 1, 3: 0.5, 5: 0.5, 6: 0.25}),
    ("step with an end", step_decay(3, gamma=0.5, steps=6), {5: 0.5, 6: 0.25, 99: 0.25}),
    ("multi-step", multi_step([2, 5], gamma=0.5), {0: 1, 1: 1, 2: 0.5, 4: 0.5, 5: 0.25, 99: 0.25}),
    ("multi-step, two drops at once", multi_step([2, 2], gamma=0.5), {1: 1, 2: 0.25}),
    # 100 / (t + 100) and its root
    ("power law", power_law(100, power=1), {0: 1, 100: 0.5, 300: 0.25}),
    ("power law, square", power_law(100, power=2), {0: 1, 100: 0.25, 300: 0.0625}),
    # t counts from the end of the warm-up: √(100 / (300 + 100)) at update 400
    ("inverse square root", inverse_sqrt(100, warmup=100), {0: 1 / 101, 100: 1, 200: ROOT, 400: 0.5}),
    ("inverse square root with an end", inverse_sqrt(100, steps=300), {0: 1, 300: 0.5, 900: 0.5}),
    # (t + 1) / 4 up to update 3, then √(4 / (t + 1))
    ("noam", noam(4), {0: 0.25, 3: 1, 7: ROOT, 15: 0.5}),
    ("points", points({0: 0.1, 2: 1.0, 4: 0.0}), {0: 0.1, 1: 0.55, 2: 1, 3: 0.5, 4: 0, 9: 0}),
    ("points that begin later", points({2: 0.4, 4: 0.8}, steps=3), {0: 0.4, 2: 0.4, 3: 0.6, 9: 0.6}),
    ("points that are held", points({1: 0.5, 3: 0.2}, between=None), {0: 0.5, 2.9: 0.5, 3: 0.2, 9: 0.2}),
    ("points along a cosine", points({0: 0.0, 4: 1.0, 8: 0.5}, between="cosine"), {1: (1 - ROOT) / 2, 2: 0.5, 6: 0.75}),
    # 1 − p² down from 1 to ½: ½ + ½ · ¾
    ("points along 1-square", points({0: 1.0, 4: 0.5}, between="1-square"), {0: 1, 2: 0.875, 4: 0.5}),
    ("one point", points({3: 0.7}), {0: 0.7, 3: 0.7, 9: 0.7}),
    ("triangles", triangular(2, low=0.2), {0: 0.2, 1: 0.6, 2: 1, 3: 0.6, 4: 0.2, 6: 1}),
    ("lopsided triangles", triangular(1, 4, low=0.0), {0: 0, 1: 1, 2: 0.75, 4: 0.25, 5: 0, 6: 1}),
    ("triangles of half the height", triangular(2, low=0.2, per_cycle=0.5), {2: 1, 4: 0.2, 5: 0.4, 6: 0.6, 10: 0.4}),
    # low + (1 − low) · h · 0.5^t at t = 2 and 6
    ("triangles that shrink by the step", triangular(2, low=0.0, per_step=0.5), {1: 0.25, 2: 0.25, 6: 1 / 64}),
    ("triangles with an end", triangular(2, low=0.2, steps=6), {5: 0.6, 6: 1, 7: 1}),
    # 3 of 10 steps up, 7 down; (0.04 + 1) / 2 after half of the way up and ½ after half of the way down
    ("one cycle", one_cycle(10, end=0.0), {0: 0.04, 1.5: 0.52, 3: 1, 6.5: 0.5, 10: 0, 99: 0}),
    # knots at 0.3 · 10 − 1 = 2 and 9
    (
        "one cycle with both ends",
        one_cycle(10, end=0.0, endpoints="both"),
        {0: 0.04, 1: 0.52, 2: 1, 5.5: 0.5, 9: 0, 10: 0},
    ),
    # up to 3, down to the start at 6, to the end at 10
    (
        "one cycle in three phases",
        one_cycle(10, start=0.2, end=0.0, shape="linear", three_phase=True),
        {0: 0.2, 3: 1, 4.5: 0.6, 6: 0.2, 8: 0.1, 10: 0},
    ),
    # knots at 2, at 2 · 3 − 2 = 4 and 9
    (
        "one cycle in three phases with both ends",
        one_cycle(10, start=0.2, end=0.0, shape="linear", three_phase=True, endpoints="both"),
        {0: 0.2, 2: 1, 3: 0.6, 4: 0.2, 6.5: 0.1, 9: 0, 10: 0},
    ),
    ("one cycle of momenta", one_cycle_momentum(10), {0: 0.95, 1.5: 0.9, 3: 0.85, 6.5: 0.9, 10: 0.95}),
    ("restarts", warm_restarts(4), {0: 1, 2: 0.5, 4: 1, 6: 0.5, 8: 1}),
    ("restarts that end with a cycle", warm_restarts(4, steps=8), {4: 1, 7: (1 - ROOT) / 2, 8: 0, 9: 0}),
    ("restarts that end within one", warm_restarts(4, steps=6), {4: 1, 5: (1 + ROOT) / 2, 6: 0.5, 9: 0.5}),
    # cycles of 2, 4, 8 steps begin at 0, 2, 6, 14
    ("longer restarts", warm_restarts(2, growth=2, shape="linear"), {1: 0.5, 2: 1, 4: 0.5, 6: 1, 10: 0.5, 14: 1}),
    # the third begins at 10 + 12 = 22 exactly, which (1.2² − 1) / (1.2 − 1) misses by a rounding
    ("slightly longer restarts", warm_restarts(10, growth=1.2, shape="linear"), {10: 1, 21: 1 / 12, 22: 1}),
    # ½ then ¼ of the peak, above the floor 0.1
    (
        "lower restarts",
        warm_restarts(2, per_cycle=0.5, end=0.1, shape="linear"),
        {0: 1, 1: 0.55, 2: 0.5, 3: 0.3, 4: 0.25, 5: 0.175, 8: 0.1, 9: 0.1},
    ),
]


@pytest.mark.parametrize(("eta", "expected"), [pytest.param(*row[1:], id=row[0]) for row in GOLDEN])
def test_factors_are_those_worked_out_by_hand(eta: Schedule, expected: dict[float, float]) -> None:
    assert eta(list(expected)) == pytest.approx(list(expected.values()), abs=1e-12)


PROGRESS = [i / 97 for i in range(98)]

# shape, its decay in plain Python, d(1/2) as worked out by hand
TWINS: list[tuple[str, Callable[[float], float], float]] = [
    ("linear", lambda p: 1 - p, 0.5),
    ("cosine", lambda p: 0.5 * (1 + math.cos(math.pi * p)), 0.5),
    ("cosine(3)", lambda p: (0.5 * (1 + math.cos(math.pi * p))) ** 3, 0.125),
    ("cosine(0.5)", lambda p: math.sqrt(0.5 * (1 + math.cos(math.pi * p))), ROOT),
    ("k-decay", lambda p: 0.5 * (1 + math.cos(math.pi * p * p)), (1 + ROOT) / 2),
    ("k-decay(1)", lambda p: 0.5 * (1 + math.cos(math.pi * p)), 0.5),
    ("waves", lambda p: 0.5 * (1 + math.cos(3 * math.pi * p)), 0.5),
    ("waves(2)", lambda p: 0.5 * (1 + math.cos(4 * math.pi * p)), 1.0),
    ("1-sqrt", lambda p: 1 - math.sqrt(p), 1 - ROOT),
    ("1-square", lambda p: 1 - p**2, 0.75),
    ("polynomial", lambda p: (1 - p) ** 2, 0.25),
    ("polynomial(0.5)", lambda p: math.sqrt(1 - p), ROOT),
    ("1-power", lambda p: 1 - p**2, 0.75),
    ("1-power(3)", lambda p: 1 - p**3, 0.875),
    ("halving", lambda p: 2 * 0.5**p - 1, 2 * ROOT - 1),
    ("halving(0.25)", lambda p: (0.25**p - 0.25) / 0.75, 1 / 3),  # (1/2 − 1/4) / (3/4) at p = ½
    ("halving(1)", lambda p: 1 - p, 0.5),  # the limit
    ("rex", lambda p: (1 - p) / (0.5 + 0.5 * (1 - p)), 2 / 3),
    # tanh of −7 (1 − p) + 3 p, at p = ½ of −2
    ("tanh", lambda p: 0.5 * (1 - math.tanh(-7 * (1 - p) + 3 * p)), 1 / (1 + math.exp(-4))),
    ("tanh(-6, 6)", lambda p: 0.5 * (1 - math.tanh(-6 + 12 * p)), 0.5),
]
decays = pytest.mark.parametrize(("name", "twin", "middle"), TWINS, ids=[row[0] for row in TWINS])
INEXACT = {"waves", "tanh"}  # stop short of 0, or of 1 and 0, as their publications do


def test_every_shape_has_a_twin_here() -> None:
    assert {as_shape(name).name for name, _, _ in TWINS} | {"exponential"} == set(SHAPES)
    assert {name for name, entry in SHAPES.items() if not entry.exact} == INEXACT


@decays
def test_a_shape_follows_its_formula_down_and_mirrored_up(
    name: str, twin: Callable[[float], float], middle: float
) -> None:
    shape, p = as_shape(name), np.array(PROGRESS)

    down, up = shape.between(1.0, 0.0, p), shape.between(0.2, 1.5, p)

    assert down.tolist() == pytest.approx([twin(x) for x in PROGRESS], abs=1e-12)
    assert up.tolist() == pytest.approx([0.2 + 1.3 * twin(1 - x) for x in PROGRESS], abs=1e-12)
    assert shape.between(1.0, 0.0, np.array([0.5]))[0] == pytest.approx(middle, abs=1e-12)
    assert shape.between(0.7, 0.7, p).tolist() == [0.7] * len(p)


@decays
def test_a_shape_falls_from_1_to_0(name: str, twin: Callable[[float], float], middle: float) -> None:
    shape, p = as_shape(name), np.linspace(0, 1, 2_001)
    values = shape.between(1.0, 0.0, p)

    assert values.min() >= 0
    assert values.max() <= 1
    if shape.name != "waves":
        assert (np.diff(values) <= 1e-15).all()
    if shape.name in INEXACT:
        assert values[0] == pytest.approx(1, abs=1e-5)
        assert values[-1] == pytest.approx(twin(1.0), abs=1e-15)
    else:
        assert values[[0, -1]].tolist() == [1.0, 0.0]
        assert shape.between(0.1, 0.7, np.array([0.0, 1.0])).tolist() == [0.1, 0.7]


def test_tanh_stops_where_its_formula_does() -> None:
    # tanh 3 = 0.99505…, so (1 − tanh 3) / 2 = 1 / (1 + e⁶)
    assert decay(4, shape="tanh")(4) == pytest.approx(1 / (1 + math.exp(6)), abs=1e-15)


def test_one_and_a_half_waves_end_at_0_and_two_at_1() -> None:
    assert decay(6, shape="waves").factors() == pytest.approx([1, 0.5, 0, 0.5, 1, 0.5], abs=1e-12)
    assert decay(4, shape="waves(2)")([2, 4]) == pytest.approx([1, 1], abs=1e-12)


def test_an_exponential_is_geometric_both_ways() -> None:
    shape, p = Shape("exponential"), np.array(PROGRESS)

    assert shape.between(1.0, 0.01, p).tolist() == pytest.approx([0.01**x for x in PROGRESS], abs=1e-12)
    assert shape.between(0.01, 1.0, p).tolist() == pytest.approx([0.01 ** (1 - x) for x in PROGRESS], abs=1e-12)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("rex", Shape("rex")),
        (" polynomial ( 3 ) ", Shape("polynomial", (3.0,))),
        ("polynomial", Shape("polynomial", (2.0,))),
        ("tanh(-6)", Shape("tanh", (-6.0, 3.0))),
        ("cosine(0.3333333333333333)", Shape("cosine", (1 / 3,))),
    ],
)
def test_a_shape_is_read_from_its_text_and_written_to_it(text: str, same: Shape) -> None:
    assert as_shape(text) == same
    assert as_shape(str(same)) == same
    assert as_shape(same) is same


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("cosin", "^shape is not a known name; got 'cosin'. Did you mean 'cosine'"),
        ("cosine(", r"^shape must be a name like 'cosine' or 'polynomial\(2\)'; got 'cosine\('. Known: linear, "),
        ("", "^shape must be a name like 'cosine'"),
        (7, "^shape must be a name like 'cosine' .* got 7"),
        ("cosine(high)", "^shape must have numbers as parameters; got 'cosine.high.'$"),
        ("linear(2)", r"^shape 'linear' takes 0 parameters \(none\); got '\(2.0,\)'$"),
        ("tanh(1,2,3)", r"^shape 'tanh' takes 2 parameters \(lower, upper\); got"),
        ("polynomial(0)", "^shape 'polynomial' needs power to be a finite number above 0; got 0.0$"),
        ("cosine(nan)", "^shape 'cosine' needs power to be a finite number above 0; got nan$"),
        ("tanh(-inf, 3)", "^shape 'tanh' needs lower to be a finite number above -inf; got -inf$"),
        ("exponential", "^shape cannot start or end at the factor 0; got 'exponential'. Use a small factor instead$"),
    ],
)
def test_a_shape_that_does_not_exist_or_fit_is_refused(shape: str, message: str) -> None:
    for make in (
        decay,
        lambda n, shape: one_cycle(n, shape=shape, end=0),
        lambda n, shape: warm_restarts(n, shape=shape),
    ):
        with pytest.raises(InputError, match=message):
            make(10, shape=shape)


def test_an_unknown_shape_is_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="Known: 1-power, 1-sqrt"):
        Shape("quadratic-ish")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant(factor=-1), "^factor must be a finite number, at least 0; got -1$"),
        (lambda: constant(factor=math.nan), "^factor must be a finite number, at least 0; got nan$"),
        (lambda: linear(4, start=math.inf), "^start must be a finite number, at least 0; got inf$"),
        (lambda: linear(4, end="0.1"), "^end must be a finite number, at least 0; got '0.1'$"),  # type: ignore[arg-type]
        (lambda: linear(4, end=True), "^end must be a finite number, at least 0; got True$"),
        (lambda: cosine(4, power=0), "^shape 'cosine' needs power to be a finite number above 0; got 0.0$"),
        (lambda: cosine(4, power="2"), "^shape 'cosine' needs numbers as parameters; got '2'$"),  # type: ignore[arg-type]
        (lambda: warmup(4, endpoints="middle"), "^endpoints must be one of: start, end, both, neither; got 'middle'$"),  # type: ignore[arg-type]
        (lambda: warmup(1, endpoints="both"), "^steps must be at least 2 if both endpoints are taken; got 1$"),
        (lambda: cosine(10, warmup=10), "^warmup must be shorter than all 10 steps; got 10. Shorten it$"),
        (lambda: adam_warmup(1.0), r"^beta2 must be in \[0, 1\); got 1.0$"),
        (lambda: exponential(0), "^gamma must be a finite number, above 0; got 0$"),
        (lambda: step_decay(3, gamma=math.nan), "^gamma must be a finite number, above 0; got nan$"),
        (lambda: multi_step([]), r"^milestones must hold at least one step; got \(\)$"),
        (lambda: multi_step([5, 3]), r"^milestones must not decrease; got \(5, 3\)$"),
        (lambda: multi_step([5, 9]).over(9), r"^milestones must be before the end at step 9; got \(5, 9\)$"),
        (lambda: power_law(3, power=-1), "^power must be a finite number, above 0; got -1$"),
        (lambda: noam(0), "^warmup must be at least 1 step; got 0. Leave it out instead$"),
        (lambda: points({}), "^points must be as many positions as values, at least one; got '0 positions and 0 v"),
        (lambda: points({5: 1.0, 2: 0.5}), r"^positions must increase; got \(5, 2\)$"),
        (lambda: points({0: 1.0, 5: -0.5}), "^values must be a finite number, at least 0; got -0.5$"),
        (lambda: points({0: 0.0, 5: 1.0}, between="exponential"), "^shape cannot start or end at the factor 0"),
        (lambda: triangular(4, low=1.5), r"^low must be a finite number, at least 0, at most 1; got 1.5$"),
        (lambda: triangular(4, per_cycle=0), "^per_cycle must be a finite number, above 0, at most 1; got 0$"),
        (lambda: triangular(4, per_step=1.1), "^per_step must be a finite number, above 0, at most 1; got 1.1$"),
        (lambda: warm_restarts(4, growth=0.5), "^growth must be at least 1; got 0.5$"),
        (lambda: warm_restarts(4, per_cycle=2), "^per_cycle must be a finite number, above 0, at most 1; got 2$"),
        (lambda: one_cycle(10, rise=1.0), "^rise must be below 1; got 1.0$"),
        (lambda: one_cycle(10, rise=0.5, three_phase=True), "^rise must be below 0.5 with three phases; got 0.5$"),
        (lambda: one_cycle(3, endpoints="both"), "^steps must be more for a rise over 0.3 of them; got 3$"),
        (lambda: one_cycle(10, endpoints="end"), "^endpoints must be one of: start, both; got 'end'$"),  # type: ignore[arg-type]
        (lambda: one_cycle(10, start=0, shape="exponential"), "^shape cannot start or end at the factor 0; got 'exp"),
        (lambda: one_cycle_momentum(10, high=1.0), r"^high must be a momentum in \[0, 1\); got 1.0$"),
        (
            lambda: wsd(10, warmup="50%", cooldown="50%"),
            "^schedule must leave steps for 'constant', which takes the rest",
        ),
    ],
)
def test_arguments_that_break_a_rule_are_refused(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
