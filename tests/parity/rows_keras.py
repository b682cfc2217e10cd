"""keras.optimizers.schedules: rows."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tests.parity.cases import Case, Defect, Evaluate, Peer

from stepsize.schedules import (
    Schedule,
    cosine,
    decay,
    exponential,
    linear,
    points,
    polynomial,
    power_law,
    step_decay,
    warm_restarts,
    warmup,
)

KERAS_BACKEND = "torch"  # the one backend that is there anyway, and computes in float64 when asked to


def keras() -> Any:
    """Keras, on a backend that is there."""
    os.environ.setdefault("KERAS_BACKEND", KERAS_BACKEND)
    import keras

    return keras


def other_backend() -> str | None:
    """The backend that keras has, or would get, if it is not the one the rows are for."""
    loaded = sys.modules.get("keras")
    backend = str(loaded.backend.backend()) if loaded else os.environ.get("KERAS_BACKEND", KERAS_BACKEND)
    return None if backend == KERAS_BACKEND else backend


@contextlib.contextmanager
def precision(floatx: str) -> Iterator[Any]:
    """Let keras compute in ``floatx``, for as long as this lasts."""
    found = keras()
    before = found.config.floatx()
    found.config.set_floatx(floatx)
    try:
        yield found
    finally:
        found.config.set_floatx(before)


def theirs(make: Callable[[Any], Any], floatx: str = "float64") -> Evaluate:
    """What a schedule returns for whole steps."""

    def evaluate(count: int) -> list[float]:
        with precision(floatx) as found:
            schedule = make(found.optimizers.schedules)
            return [float(schedule(step)) for step in range(count)]

    return evaluate


def _row(
    name: str, make: Callable[[Any], Any], ours: Schedule, boundary: int = 50, steps: int = 100, note: str = ""
) -> Case:
    return Case(name, theirs(make), ours, steps, boundary, note=note)


def _sawtooth() -> Schedule:
    """Cycle c = 1, 2, ... of 30 updates falls from 1 / c^2 to 0, and the update at its end is still its own."""
    eta = decay(31, shape="polynomial(2)", endpoints="both")
    for cycle in (2, 3, 4):
        eta = eta.then(decay(30, shape="polynomial(2)", endpoints="end", start=1 / cycle**2))
    return eta


def _restarts_above_a_floor() -> Schedule:
    """Cycle c falls from 0.9 * 0.8^c + 0.1 to 0.1: the shrinking is of what is above the floor."""
    peaks = [0.9 * 0.8**cycle + 0.1 for cycle in range(4)]
    eta = cosine(10, end=0.1)
    for cycle, peak in itertools.islice(enumerate(peaks), 1, None):
        eta = eta.then(decay(10 * 2**cycle, shape="cosine", start=peak, end=0.1))
    return eta


_CASES = (
    _row("ExponentialDecay(1, 10, 0.5)", lambda s: s.ExponentialDecay(1.0, 10, 0.5), exponential(0.5, every=10)),
    _row(
        "ExponentialDecay(1, 10, 0.5, staircase=True)",
        lambda s: s.ExponentialDecay(1.0, 10, 0.5, staircase=True),
        step_decay(10, gamma=0.5),
        boundary=10,
    ),
    _row("InverseTimeDecay(1, 10, 0.5)", lambda s: s.InverseTimeDecay(1.0, 10, 0.5), power_law(20, power=1.0)),
    _row(
        "InverseTimeDecay(1, 10, 0.3)",
        lambda s: s.InverseTimeDecay(1.0, 10, 0.3),
        power_law(100, power=1.0, steps=390).extended(to=130),
        note="a time scale of 100 / 3 steps: ours takes whole ones and is stretched",
    ),
    _row(
        "InverseTimeDecay(1, 10, 0.5, staircase=True)",
        lambda s: s.InverseTimeDecay(1.0, 10, 0.5, staircase=True),
        points({10 * n: 1 / (1 + 0.5 * n) for n in range(13)}, between=None),
        boundary=10,
        note="a table in ours",
    ),
    _row(
        "PiecewiseConstantDecay([30, 80], [1, 0.1, 0.05])",
        lambda s: s.PiecewiseConstantDecay([30, 80], [1.0, 0.1, 0.05]),
        points({0: 1.0, 31: 0.1, 81: 0.05}, between=None),
        boundary=30,
        note="step == boundary keeps the old value: one later than ours, torch and optax",
    ),
    _row("PolynomialDecay(1, 100, 0)", lambda s: s.PolynomialDecay(1.0, 100, 0.0), linear(100)),
    _row(
        "PolynomialDecay(1, 100, 0.1, power=0.5)",
        lambda s: s.PolynomialDecay(1.0, 100, 0.1, power=0.5),
        polynomial(100, power=0.5, end=0.1),
    ),
    _row(
        "PolynomialDecay(1, 30, 0, power=2, cycle=True)",
        lambda s: s.PolynomialDecay(1.0, 30, 0.0, power=2.0, cycle=True),
        _sawtooth(),
        boundary=30,
        note="the update at the end of a cycle still belongs to it",
    ),
    _row("CosineDecay(1, 100, alpha=0.1)", lambda s: s.CosineDecay(1.0, 100, alpha=0.1), cosine(100, end=0.1)),
    _row(
        "CosineDecay(0.1, 90, alpha=0.1, warmup_target=1, warmup_steps=10)",
        lambda s: s.CosineDecay(0.1, 90, alpha=0.1, warmup_target=1.0, warmup_steps=10),
        warmup(10, start=0.1, endpoints="start").then(cosine(90, end=0.1)),
        boundary=10,
        note="initial_learning_rate is where the warmup starts; decay_steps does not count the warmup in",
    ),
    _row(
        "CosineDecayRestarts(1, 10)",
        lambda s: s.CosineDecayRestarts(1.0, 10),
        warm_restarts(10, growth=2),
        boundary=30,
    ),
    _row(
        "CosineDecayRestarts(1, 20, t_mul=1, m_mul=0.8)",
        lambda s: s.CosineDecayRestarts(1.0, 20, t_mul=1.0, m_mul=0.8),
        warm_restarts(20, per_cycle=0.8),
        boundary=20,
    ),
    _row(
        "CosineDecayRestarts(1, 10, m_mul=0.8, alpha=0.1)",
        lambda s: s.CosineDecayRestarts(1.0, 10, m_mul=0.8, alpha=0.1),
        _restarts_above_a_floor(),
        boundary=30,
        note="m_mul shrinks what is above the floor; our per_cycle shrinks the peak itself",
    ),
)


def _accumulating(count: int) -> list[float]:
    """The rates of the updates of an SGD that accumulates four micro-batches an update."""
    with precision("float32") as found:
        schedule = found.optimizers.schedules.PolynomialDecay(1.0, 100, 0.0)
        sgd = found.optimizers.SGD(schedule, gradient_accumulation_steps=4)
        variable = found.Variable(np.zeros(1, dtype=np.float32))
        sgd.build([variable])
        gradient = found.ops.convert_to_tensor(np.array([-1.0], dtype=np.float32))
        places = [0.0]
        for _ in range(count):
            for _ in range(4):
                sgd.apply([gradient], [variable])
            places.append(float(found.ops.stop_gradient(variable.value)[0]))
        return np.diff(places).tolist()


_DEFECTS = (
    Defect(
        "Under gradient accumulation schedules run as many times too fast as micro-batches are accumulated, and update "
        "0 does not have the rate of step 0",
        "SGD(PolynomialDecay(1, 100, 0), gradient_accumulation_steps=4): the rate of each update",
        (0, 1, 9, 24),
        _accumulating,
        (0.97, 0.93, 0.61, 0.01),
        linear(100),
        (1.0, 0.99, 0.91, 0.76),
        "A step is one optimizer update; a `Clock` with `accumulate` turns other units into updates.",
        "keras source: `_iterations` counts micro-batches",
    ),
    Defect(
        "A boundary is one update later than elsewhere",
        "PiecewiseConstantDecay([30], [1, 0.1])",
        (29, 30, 31),
        theirs(lambda s: s.PiecewiseConstantDecay([30], [1.0, 0.1])),
        (1.0, 1.0, 0.1),
        points({0: 1.0, 30: 0.1}, between=None),
        (1.0, 0.1, 0.1),
        "A phase of N steps covers the updates t < N; step N belongs to the next phase.",
        "keras source: `step <= boundary`",
    ),
)

PEER = Peer(
    "keras.optimizers.schedules",
    "keras",
    "Called with steps 0, 1, … under `keras.config.set_floatx('float64')`; by default keras computes "
    "in float32, which is right to 1e-7. On its torch backend.",
    _CASES,
    _DEFECTS,
    ("LearningRateScheduler calls any function of the epoch; ReduceLROnPlateau follows a metric.",),
)
