"""optax.schedules: rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tests.parity.cases import Case, Defect, Evaluate, Factors, Peer

from stepsize.schedules import (
    constant,
    cosine,
    decay,
    exponential,
    linear,
    one_cycle,
    points,
    polynomial,
    step_decay,
    warmup,
)


def _theirs(make: Callable[[Any], Any]) -> Evaluate:
    """What the schedule gives in float64, all counts at once; the precision is changed in here alone."""

    def evaluate(count: int) -> Factors:
        import jax
        import optax

        with jax.enable_x64(True):
            values = jax.vmap(make(optax))(jax.numpy.arange(count))
            return np.asarray(values, dtype=np.float64)

    return evaluate


def _used(make: Callable[[Any, Any], Any]) -> Evaluate:
    """The rates that updates of an optimizer really use, for gradients of -1."""

    def evaluate(count: int) -> list[float]:
        import jax
        import optax

        with jax.enable_x64(True):
            transform = make(optax, optax.linear_schedule(1.0, 0.0, 100))
            parameters = jax.numpy.zeros(())
            state, values = transform.init(parameters), []
            step = jax.jit(transform.update)
            for _ in range(count):
                update, state = step(-jax.numpy.ones(()), state, parameters)
                values.append(float(update))
            return values

    return evaluate


def _row(
    name: str, make: Callable[[Any], Any], ours: Any, steps: int = 100, boundary: int = 50, note: str = ""
) -> Case:
    return Case(name, _theirs(make), ours, steps, boundary, note=note)


_INCLUDES = "decay_steps counts the warmup in"
_NARROW = "an optimizer counts in int32, and then jax divides in float32 whatever its default is"
_THREE = points({0: 1 / 25, 30: 1.0, 85: 1 / 25, 100: 1 / 25e4})
_CYCLES: list[dict[str, float]] = [
    {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 5, "decay_steps": 40, "end_value": 0.1},
    {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 10, "decay_steps": 60, "end_value": 0.0},
]

_CASES = (
    _row("constant_schedule(0.5)", lambda o: lambda t: t * 0 + o.constant_schedule(0.5)(t), constant(factor=0.5)),
    _row("linear_schedule(1, 0.1, 100)", lambda o: o.linear_schedule(1.0, 0.1, 100), linear(100, end=0.1)),
    _row(
        "linear_schedule(1, 0, 60, transition_begin=40)",
        lambda o: o.linear_schedule(1.0, 0.0, 60, 40),
        constant(40).then(linear(60)),
        boundary=40,
    ),
    _row(
        "polynomial_schedule(1, 0.1, 3, 80, transition_begin=20)",
        lambda o: o.polynomial_schedule(1.0, 0.1, 3, 80, 20),
        constant(20).then(polynomial(80, power=3, end=0.1)),
        boundary=20,
    ),
    _row(
        "piecewise_constant_schedule(1, {30: 0.1, 80: 0.5})",
        lambda o: o.piecewise_constant_schedule(1.0, {30: 0.1, 80: 0.5}),
        points({0: 1.0, 30: 0.1, 80: 0.05}, between=None),
        boundary=30,
        note="the new value from t = boundary on, as ours",
    ),
    _row(
        "piecewise_interpolate_schedule('linear', 0.1, {20: 10, 100: 0.05})",
        lambda o: o.piecewise_interpolate_schedule("linear", 0.1, {20: 10.0, 100: 0.05}),
        points({0: 0.1, 20: 1.0, 100: 0.05}),
        boundary=20,
    ),
    _row(
        "piecewise_interpolate_schedule('cosine', 0.1, {20: 10, 100: 0.05})",
        lambda o: o.piecewise_interpolate_schedule("cosine", 0.1, {20: 10.0, 100: 0.05}),
        points({0: 0.1, 20: 1.0, 100: 0.05}, between="cosine"),
        boundary=20,
    ),
    _row("exponential_decay(1, 10, 0.5)", lambda o: o.exponential_decay(1.0, 10, 0.5), exponential(0.5, every=10)),
    _row(
        "exponential_decay(1, 10, 0.5, staircase=True)",
        lambda o: o.exponential_decay(1.0, 10, 0.5, staircase=True),
        step_decay(10, gamma=0.5),
        boundary=10,
    ),
    _row(
        "exponential_decay(1, 10, 0.5, transition_begin=20, end_value=0.1)",
        lambda o: o.exponential_decay(1.0, 10, 0.5, transition_begin=20, end_value=0.1),
        constant(20).then(exponential(0.5, every=10)).floored(at=0.1),
        boundary=20,
        note="end_value cuts off, it is no asymptote",
    ),
    Case(
        "sgd(linear_schedule(1, 0, 100)): what updates use",
        _used(lambda o, eta: o.sgd(eta)),
        linear(100),
        100,
        50,
        tolerance=1e-7,
        note=_NARROW,
    ),
    Case(
        "inject_hyperparams(sgd)(linear_schedule(1, 0, 100)): what updates use",
        _used(lambda o, eta: o.inject_hyperparams(o.sgd)(learning_rate=eta)),
        linear(100),
        100,
        50,
        tolerance=1e-7,
        note=f"{_NARROW}; optax#415, a count that began at 1, is fixed",
    ),
    _row("cosine_decay_schedule(1, 100)", lambda o: o.cosine_decay_schedule(1.0, 100), cosine(100)),
    _row(
        "cosine_decay_schedule(1, 100, alpha=0.1, exponent=2)",
        lambda o: o.cosine_decay_schedule(1.0, 100, alpha=0.1, exponent=2.0),
        cosine(100, end=0.1, power=2.0),
    ),
    _row(
        "linear_onecycle_schedule(100, 1)",
        lambda o: o.linear_onecycle_schedule(100, 1.0),
        _THREE.first(100),
        boundary=85,
        note="the middle corner at 0.85 N is their own; the final rate is start / final_div_factor",
    ),
    _row(
        "cosine_onecycle_schedule(100, 1)",
        lambda o: o.cosine_onecycle_schedule(100, 1.0),
        one_cycle(100),
        boundary=30,
        note="peak at update 0.3 N, floor after the last update, as ours",
    ),
    _row(
        "warmup_constant_schedule(0.1, 1, 10)",
        lambda o: o.warmup_constant_schedule(0.1, 1.0, 10),
        warmup(10, start=0.1, endpoints="start").then(constant()),
        boundary=10,
    ),
    _row(
        "warmup_cosine_decay_schedule(0, 1, 10, 100, end_value=0.1, exponent=2)",
        lambda o: o.warmup_cosine_decay_schedule(0.0, 1.0, 10, 100, 0.1, 2.0),
        warmup(10, endpoints="start").then(cosine(90, end=0.1, power=2.0)),
        boundary=10,
        note=f"{_INCLUDES}; update 0 has init_value",
    ),
    _row(
        "warmup_exponential_decay_schedule(0, 1, 10, 20, 0.5, end_value=0.1)",
        lambda o: o.warmup_exponential_decay_schedule(0.0, 1.0, 10, 20, 0.5, end_value=0.1),
        warmup(10, endpoints="start").then(exponential(0.5, every=20).floored(at=0.1)),
        boundary=10,
    ),
    _row(
        "warmup_exponential_decay_schedule(0, 1, 10, 20, 0.5, transition_begin=10, staircase=True)",
        lambda o: o.warmup_exponential_decay_schedule(0.0, 1.0, 10, 20, 0.5, 10, True),
        warmup(10, endpoints="start").then(constant(10)).then(step_decay(20, gamma=0.5)),
        boundary=40,
    ),
    _row(
        "sgdr_schedule([1 over 40 with 5 up, 0.5 over 60 with 10 up])",
        lambda o: o.sgdr_schedule(_CYCLES),
        warmup(5, endpoints="start")
        .then(cosine(35, end=0.1))
        .then(warmup(10, start=0.2, endpoints="start").then(cosine(50)).scaled(0.5)),
        boundary=40,
    ),
    _row(
        "join_schedules([constant(1), exponential(10, 0.5), linear(0.3, 0, 20)], [20, 80])",
        lambda o: o.join_schedules(
            [o.constant_schedule(1.0), o.exponential_decay(1.0, 10, 0.5), o.linear_schedule(0.3, 0.0, 20)], [20, 80]
        ),
        constant(20).then(exponential(0.5, every=10, steps=60)).then(decay(20, start=0.3)),
        boundary=20,
    ),
)


_DEFECTS = (
    Defect(
        "A corner is cut down to a whole step: 0.29 of 100 steps is step 28",
        "cosine_onecycle_schedule(100, 1, pct_start=0.29)",
        (28, 29, 30),
        _theirs(lambda o: o.cosine_onecycle_schedule(100, 1.0, pct_start=0.29)),
        (1.0, 0.999524113, 0.998097357),
        one_cycle(100, rise=0.29),
        (0.997186201, 1.0, 0.999510620),
        "A corner lies where the share says; ends of phases are rounded, not cut.",
        "optax source: int(pct_start * transition_steps)",
    ),
    Defect(
        "A short one-cycle loses its rise",
        "cosine_onecycle_schedule(3, 1)",
        (0, 1, 2),
        _theirs(lambda o: o.cosine_onecycle_schedule(3, 1.0)),
        (1.0, 0.750001, 0.250003),
        one_cycle(3),
        (0.04, 0.994415115, 0.462637103),
        "Update 0 has the factor `start`.",
        "optax source: int(pct_start * transition_steps)",
    ),
)

PEER = Peer(
    "optax.schedules",
    "optax",
    "Called with counts 0, 1, …, under `jax.enable_x64(True)`: float64. By default jax computes in float32.",
    _CASES,
    _DEFECTS,
    ("contrib.reduce_on_plateau follows a metric, not the step.",),
)
