"""What an optimizer is given: momentum and weight decay beside the rate, each rule against plain arithmetic."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schedules.strategies import settled_schedules

from stepsize.errors import InputError
from stepsize.schedules import (
    HyperparameterSchedule,
    Peaks,
    Schedule,
    constant,
    cosine,
    linear,
    one_cycle,
    one_cycle_momentum,
    points,
    wsd,
)

STEPS = np.arange(11.0)
PEAKS = Peaks(lr=0.4, momentum=0.9, weight_decay=0.1)
RATE = linear(10)
MOMENTUM = points({0: 0.9, 10: 0.5})


def momentum(t: float) -> float:
    return 0.9 - 0.04 * t


def close(values: np.ndarray | None, expected: list[float]) -> None:
    assert values is not None
    assert values.dtype == np.float64
    assert values.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_the_rate_is_the_peak_times_the_factor_and_all_else_stays() -> None:
    values = HyperparameterSchedule(RATE).values(PEAKS, STEPS)

    close(values.lr, [0.4 * (1 - t / 10) for t in range(11)])
    close(values.momentum, [0.9] * 11)
    close(values.weight_decay, [0.1] * 11)


def test_a_scheduled_momentum_is_a_momentum_and_no_factor() -> None:
    values = HyperparameterSchedule(RATE, momentum=MOMENTUM).values(PEAKS, STEPS)

    close(values.momentum, [momentum(t) for t in range(11)])
    close(values.lr, [0.4 * (1 - t / 10) for t in range(11)])
    close(values.effective_lr, [0.4 * (1 - t / 10) / (1 - momentum(t)) for t in range(11)])


def test_keeping_the_effective_rate_holds_lr_over_1_minus_momentum_on_the_schedule() -> None:
    values = HyperparameterSchedule(RATE, momentum=MOMENTUM, keep_effective=True).values(PEAKS, STEPS)

    close(values.effective_lr, [4.0 * (1 - t / 10) for t in range(11)])  # 0.4 / (1 − 0.9) = 4
    close(values.lr, [0.4 * (1 - t / 10) * (1 - momentum(t)) / 0.1 for t in range(11)])


def test_independent_decay_shrinks_by_the_same_at_every_rate() -> None:
    values = HyperparameterSchedule(RATE, weight_decay="independent").values(PEAKS, STEPS)

    close(values.weight_decay, [0.1 / (1 - t / 10) for t in range(10)] + [0.0])  # no update, no decay
    close(values.lr * values.weight_decay if values.weight_decay is not None else None, [0.04] * 10 + [0.0])


def test_corrected_decay_goes_with_the_square_of_the_rate() -> None:
    values = HyperparameterSchedule(RATE, weight_decay="corrected").values(PEAKS, STEPS)

    close(values.weight_decay, [0.1 * (1 - t / 10) for t in range(11)])
    close(values.lr * values.weight_decay if values.weight_decay is not None else None, [
        0.4 * 0.1 * (1 - t / 10) ** 2 for t in range(11)
    ])  # fmt: skip


def test_a_schedule_of_the_decay_multiplies_it() -> None:
    values = HyperparameterSchedule(RATE, weight_decay=cosine(10)).values(PEAKS, STEPS)

    close(values.weight_decay, [0.1 * 0.5 * (1 + math.cos(math.pi * t / 10)) for t in range(11)])


def test_the_time_scale_is_that_of_decoupled_decay() -> None:
    values = HyperparameterSchedule(RATE).values(PEAKS, STEPS)

    close(values.timescale, [1 / (0.04 * (1 - t / 10)) for t in range(10)] + [math.inf])
    assert HyperparameterSchedule(RATE).values(Peaks(0.1, weight_decay=0.0), STEPS).timescale == pytest.approx(
        [math.inf] * 11
    )


def test_what_an_optimizer_has_not_is_none() -> None:
    values = HyperparameterSchedule(RATE).values(Peaks(lr=0.4), STEPS)

    assert values.momentum is None
    assert values.weight_decay is None
    assert values.effective_lr is None
    assert values.timescale is None


@given(settled_schedules(max_length=30), st.sampled_from(["follows", "independent", "corrected"]))
@settings(max_examples=40)
def test_rules_agree_with_arithmetic_on_any_schedule(rate: Schedule, rule: Any) -> None:
    steps = np.arange(float(rate.length or 0) + 2)

    values = HyperparameterSchedule(rate, weight_decay=rule).values(PEAKS, steps)

    for step, lr, decay in zip(steps, values.lr, values.weight_decay, strict=True):  # type: ignore[arg-type]
        factor = rate(float(step))
        twin = {"follows": 0.1, "corrected": 0.1 * factor, "independent": 0.1 / factor if factor else 0.0}[rule]
        assert lr == 0.4 * factor
        assert decay == pytest.approx(twin, rel=1e-12)


def test_values_have_the_shape_of_the_steps() -> None:
    course = HyperparameterSchedule(
        one_cycle(10), momentum=one_cycle_momentum(10), keep_effective=True, weight_decay="independent"
    )

    values = course.values(PEAKS, np.zeros((2, 3)))

    assert all(array.shape == (2, 3) for array in (values.lr, values.momentum, values.weight_decay))  # type: ignore[union-attr]


def test_it_resolves_all_its_schedules_over_one_horizon() -> None:
    course = HyperparameterSchedule(wsd(), momentum=one_cycle_momentum(), weight_decay=linear())

    settled = course.over(200)

    assert not course.resolved
    assert settled == HyperparameterSchedule(wsd(200), momentum=one_cycle_momentum(200), weight_decay=linear(200))
    assert settled.resolved
    assert settled.length == 200
    assert HyperparameterSchedule(constant()).length is None


def test_it_is_a_value() -> None:
    course = HyperparameterSchedule(wsd(), momentum=one_cycle_momentum(), weight_decay="independent")

    for same in (copy.deepcopy(course), pickle.loads(pickle.dumps(course))):
        assert same == course
        assert hash(same) == hash(course)
    assert course != HyperparameterSchedule(wsd(), momentum=one_cycle_momentum())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": lambda t: 1.0}, "^rate must be a Schedule; got .*Wrap a function with stepsize.schedules.function$"),
        ({"rate": RATE, "momentum": 0.9}, "^momentum must be a Schedule of momenta, or None; got 0.9$"),
        ({"rate": RATE, "weight_decay": "constant"}, "^weight_decay must be one of 'follows', 'independent', 'correct"),
        (
            {"rate": RATE, "keep_effective": True},
            "^keep_effective needs a schedule of the momentum; got True. Give mom",
        ),
        (
            {"rate": RATE, "momentum": linear(9)},
            "^schedule must have rate, momentum and decay of one length; got 'lengths of 9, 10 steps",
        ),
        (
            {"rate": RATE, "weight_decay": linear(11)},
            "^schedule must have rate, momentum and decay of one length; got 'lengths of 10, 11",
        ),
    ],
)
def test_schedules_that_do_not_fit_together_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        HyperparameterSchedule(**arguments)


@pytest.mark.parametrize(
    ("course", "peaks", "message"),
    [
        (
            HyperparameterSchedule(RATE, momentum=MOMENTUM),
            Peaks(0.1),
            "^momentum cannot be scheduled without momentum or betas; got ",
        ),
        (
            HyperparameterSchedule(RATE, momentum=linear(10)),
            PEAKS,
            r"^momentum must stay in \[0, 1\): it is a momentum, not a factor; ",
        ),
        (
            HyperparameterSchedule(RATE, weight_decay="corrected"),
            Peaks(0.1),
            "^weight_decay cannot be scheduled without a weight decay;",
        ),
        (
            HyperparameterSchedule(RATE, weight_decay=cosine(10)),
            Peaks(0.1),
            "^weight_decay cannot be scheduled without a weight decay;",
        ),
        (HyperparameterSchedule(linear()), PEAKS, "^schedule must be in steps; got "),
    ],
)
def test_a_schedule_that_moves_what_is_not_there_is_refused(
    course: HyperparameterSchedule, peaks: Peaks, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        course.values(peaks, STEPS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -0.1}, "^lr must be a finite number, at least 0; got -0.1$"),
        ({"lr": math.nan}, "^lr must be a finite number, at least 0; got nan$"),
        ({"lr": math.inf}, "^lr must be a finite number, at least 0; got inf$"),
        ({"lr": 0.1, "momentum": 1.0}, r"^momentum must be a finite number, at least 0, below 1; got 1.0$"),
        ({"lr": 0.1, "momentum": math.nan}, r"^momentum must be a finite number, at least 0, below 1; got nan$"),
        ({"lr": 0.1, "weight_decay": -1.0}, "^weight_decay must be a finite number, at least 0; got -1.0$"),
    ],
)
def test_peaks_that_no_optimizer_takes_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Peaks(**arguments)
