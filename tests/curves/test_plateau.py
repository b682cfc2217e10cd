"""The plateau rule: sure of what it says, deaf to a lucky value, to offset, scale and sign."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from stepsize.curves.plateau import PlateauDecision, PlateauRule
from stepsize.errors import InputError

Curve = NDArray[np.float64]
RULE = PlateauRule()
BARE = PlateauRule(cooldown=0)
STEADY = np.arange(60) / (RULE.window - 1)  # gains one noise in a window


def gauss(generator: np.random.Generator, n: int) -> Curve:
    return np.asarray(generator.normal(size=n))


def heavy(generator: np.random.Generator, n: int) -> Curve:
    """Return noise without a variance, Student's t of two degrees, as wide in its middle as a standard normal."""
    return np.asarray(generator.standard_t(2, size=n) / 1.2105)


def first_plateau(values: Curve, rule: PlateauRule = RULE) -> int | None:
    """Return at how many observations the rule first asks for a drop, judged after each."""
    return next((n for n in range(1, len(values) + 1) if rule.judge(values[:n]).plateau), None)


def first_torch_drop(values: Curve, **options: Any) -> int | None:
    """Return at how many observations torch's ReduceLROnPlateau first lowers the rate."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    for n, value in enumerate(values, 1):
        scheduler.step(float(value))
        if optimizer.param_groups[0]["lr"] < 1.0:
            return n
    return None


# --- how often it is right


@pytest.mark.parametrize(("noise", "at_once", "missed"), [(gauss, 0.35, 0.03), (heavy, 0.30, 0.06)])
def test_a_flat_noisy_metric_is_recognised_within_a_window_more(
    noise: Callable[[np.random.Generator, int], Curve], at_once: float, missed: float
) -> None:
    """Measured: Gaussian / heavy-tailed, at the first decision 45 % / 46 %, within ten more 98.0 % / 98.3 %."""
    generator = np.random.default_rng(0)
    found = [first_plateau(noise(generator, RULE.needs + 10)) for _ in range(300)]

    assert np.mean([n == RULE.needs for n in found]) > at_once
    assert np.mean([n is None for n in found]) < missed


@pytest.mark.parametrize(
    ("noise", "gain", "limit"),
    [(gauss, 1.5, 0.14), (gauss, 3, 0.015), (gauss, 4, 0.005), (heavy, 3, 0.05), (heavy, 6, 0.01)],
)
def test_one_decision_seldom_takes_real_progress_for_a_plateau(
    noise: Callable[[np.random.Generator, int], Curve], gain: float, limit: float
) -> None:
    """Measured: Gaussian 7.9 %, 0.2 %, 0.0 % at 1.5, 3, 4 noises a window; heavy-tailed 1.0 %, 0.0 % at 3, 6."""
    generator = np.random.default_rng(1)
    series = (noise(generator, 10) - gain * STEADY[:10] for _ in range(1000))

    assert np.mean([BARE.judge(values).plateau for values in series]) < limit


@pytest.mark.parametrize(("noise", "gain", "limit"), [(gauss, 4, 0.03), (gauss, 6, 0.01), (heavy, 8, 0.05)])
def test_sixty_observations_of_steady_progress_are_almost_never_cut_short(
    noise: Callable[[np.random.Generator, int], Curve], gain: float, limit: float
) -> None:
    """Measured, in all 49 decisions of a run together: 0 %, 0 % and 1 %."""
    generator = np.random.default_rng(2)
    found = [first_plateau(noise(generator, 60) - gain * STEADY) for _ in range(100)]

    assert np.mean([n is not None for n in found]) < limit


def test_a_rising_loss_is_worse_and_a_plateau() -> None:
    generator = np.random.default_rng(3)
    decisions = [BARE.judge(gauss(generator, 10) + 6 * STEADY[:10]) for _ in range(200)]

    assert all(decision.plateau for decision in decisions)
    assert np.mean([decision.code == "worse" for decision in decisions]) > 0.97
    assert "getting worse, rising with 90% confidence: overfitting" in decisions[0].reason


def test_more_confidence_asks_for_more_evidence() -> None:
    generator = np.random.default_rng(4)
    series = [gauss(generator, 10) - 1.5 * STEADY[:10] for _ in range(400)]
    rates = [
        np.mean([PlateauRule(confidence=c, cooldown=0).judge(v).plateau for v in series]) for c in (0.7, 0.9, 0.97)
    ]

    assert rates[0] > 2 * rates[1] > 4 * rates[2]


# --- shapes without noise, and with the noise that hides them


@pytest.mark.parametrize("window", [4, 5, 10, 30])
def test_a_constant_metric_is_a_plateau(window: int) -> None:
    decision = PlateauRule(window=window, cooldown=0).judge([0.1] * window)

    assert (decision.code, decision.slope, decision.slope_error, decision.noise) == ("plateau", 0, 0, 0)
    assert math.copysign(1, decision.slope) == 1


@pytest.mark.parametrize("window", [5, 10, 30])
@pytest.mark.parametrize(
    "shape",
    [lambda t: 3 - 1e-6 * t, lambda t: 0.97**t, lambda t: 0.3**t, lambda t: 1e9 - t**2, lambda t: 1 / (1 + t)],
    ids=["slow line", "slow decay", "fast decay", "ever steeper", "hyperbola"],
)
def test_a_metric_that_falls_without_noise_is_progress(shape: Callable[[Curve], Curve], window: int) -> None:
    rule = PlateauRule(window=window, cooldown=0)
    values = shape(np.arange(window, dtype=np.float64))

    assert rule.judge(values).code == "progress"
    assert rule.judge(-values).code == "worse"


@pytest.mark.parametrize("seed", range(5))
def test_an_approach_to_an_asymptote_is_a_plateau_once_the_rest_drowns_in_noise(seed: int) -> None:
    time = np.arange(150)
    approach = 1 + 30 * np.exp(-time / 12)
    n = first_plateau(approach + 0.3 * gauss(np.random.default_rng(seed), 150))

    assert n is not None
    gain = (approach[n - 10] - approach[n - 1]) / 0.3
    assert gain < 3
    assert n < 100


def test_a_step_in_an_otherwise_constant_accuracy_is_not_called_a_plateau() -> None:
    rule = PlateauRule(maximize=True, cooldown=0)

    assert rule.judge([0.9] * 10).code == "plateau"
    assert {rule.judge([0.9] * (10 - new) + [0.92] * new).code for new in range(2, 9)} == {"undecided"}


# --- spikes


@pytest.mark.parametrize("at", range(10))
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_spike_of_any_size_at_any_place_changes_no_clear_decision(at: int, sign: int) -> None:
    generator = np.random.default_rng(5)
    for _ in range(4):
        noise = gauss(generator, 10)
        for gain in (8, -8):
            values = noise - gain * STEADY[:10]
            clean = BARE.judge(values)
            for size in (2, 4, 8, 1e2, 1e6, 1e300):
                spiked = values.copy()
                spiked[at] += sign * size
                assert BARE.judge(spiked).plateau == clean.plateau


def test_a_constant_metric_with_one_spike_is_a_plateau() -> None:
    for at in range(5):
        values = [1.0] * 5
        values[at] = -7.0
        assert PlateauRule(window=5, cooldown=0).judge(values).code == "plateau"


def test_half_a_window_on_a_new_level_is_no_spike() -> None:
    decision = BARE.judge([5.0, 5.1, 4.9, 5.0, 5.1, 1.0, 1.1, 0.9, 1.0, 1.1])

    assert decision.code == "progress"
    assert "spike" not in decision.reason


# --- against torch's ReduceLROnPlateau


@pytest.mark.parametrize("seed", range(5))
def test_a_lucky_value_before_slow_progress_deceives_torch_and_not_this_rule(seed: int) -> None:
    """torch compares with the single best value ever seen (pytorch issue 30873)."""
    values = 2 - 0.01 * np.arange(60) + 0.01 * gauss(np.random.default_rng(seed), 60)
    values[5] = 0.5

    assert first_torch_drop(values, patience=10) is not None
    assert first_plateau(values) is None


@pytest.mark.parametrize("seed", range(5))
def test_torch_never_ends_a_plateau_below_zero_and_this_rule_ends_it_anywhere(seed: int) -> None:
    """torch's relative threshold turns round below zero: there, slightly worse counts as better."""
    flat = 1e-3 * gauss(np.random.default_rng(seed), 40)

    assert first_torch_drop(flat - 100, patience=10) is None
    assert first_torch_drop(flat + 100, patience=10) is not None
    drops = {first_plateau(flat + level) for level in (-100, 0, 100)}
    assert len(drops) == 1
    assert None not in drops


# --- symmetries


def same(one: PlateauDecision, other: PlateauDecision, factor: float, relative: float) -> None:
    assert one.code == other.code
    for name in ("slope", "slope_error", "noise"):
        expected = factor * getattr(one, name) if name == "slope" else abs(factor) * getattr(one, name)
        assert getattr(other, name) == pytest.approx(expected, rel=relative, abs=relative * abs(factor), nan_ok=True)


whole = st.lists(st.integers(-1000, 1000), min_size=8, max_size=12)


@given(values=whole, power=st.integers(-40, 40), offset=st.integers(-(10**6), 10**6), window=st.integers(4, 10))
def test_scaling_and_shifting_the_metric_change_nothing(
    values: list[int], power: int, offset: int, window: int
) -> None:
    """Whole numbers and powers of two, so that no rounding blurs a decision on the edge."""
    rule = PlateauRule(window=window, cooldown=0)
    moved = [math.ldexp(value + offset, power) for value in values]

    same(rule.judge(values), rule.judge(moved), 2.0**power, 0.0)


@given(values=whole, window=st.integers(4, 10))
def test_maximising_mirrors_minimising(values: list[int], window: int) -> None:
    down = PlateauRule(window=window, cooldown=0).judge(values)
    up = PlateauRule(window=window, cooldown=0, maximize=True).judge([-value for value in values])

    same(down, up, -1.0, 0.0)
    assert up.slope == (-down.slope if down.slope else 0.0) or math.isnan(up.slope)


def test_reasons_name_the_direction_of_the_metric() -> None:
    accuracy = PlateauRule(maximize=True, cooldown=0)

    assert accuracy.judge(np.arange(10.0)).reason.startswith("progress: rising with 90% confidence (last 10: slope 1 ±")
    assert accuracy.judge(-np.arange(10.0)).reason.startswith("getting worse, falling")
    assert BARE.judge(-np.arange(10.0)).reason.startswith("progress: falling")


@pytest.mark.parametrize("size", [1e-308, 1e-200, 1.0, 1e307])
def test_any_finite_magnitude_is_judged_alike(size: float) -> None:
    values = gauss(np.random.default_rng(7), 10) + 6 * STEADY[:10]
    decision = BARE.judge(values / 10 * size)

    assert decision.code == "worse"
    assert decision.slope / size == pytest.approx(BARE.judge(values / 10).slope, rel=1e-6)


def test_differences_too_large_for_a_float_are_judged_too() -> None:
    decision = BARE.judge(
        [1.5e308, 1.6e308, 1.4e308, 1.5e308, 1.6e308, -1.5e308, -1.6e308, -1.4e308, -1.5e308, -1.6e308]
    )

    assert decision.code == "progress"
    assert math.isfinite(decision.slope)


# --- what it looks at


def test_it_waits_for_the_cooldown_and_for_a_full_window_after_a_drop() -> None:
    rule = PlateauRule(window=5, cooldown=3)
    codes = [rule.judge([1.0] * n).code for n in range(11)]

    assert codes == ["waiting"] * 8 + ["plateau"] * 3
    assert rule.judge([1.0] * 2).reason == "waiting: 2 of the 3 observations of the cooldown"
    assert rule.judge([1.0] * 5).reason == "waiting: 2 of the 5 observations that a decision needs"
    assert math.isnan(rule.judge([1.0] * 2).slope)
    assert rule.judge([]).code == "waiting"


@given(seed=st.integers(0, 1000), length=st.integers(0, 40), cooldown=st.integers(0, 4))
def test_the_values_that_it_needs_suffice(seed: int, length: int, cooldown: int) -> None:
    rule = PlateauRule(window=6, cooldown=cooldown)
    values = gauss(np.random.default_rng(seed), length)

    assert repr(rule.judge(values[-rule.needs :])) == repr(rule.judge(values))


def test_values_that_are_not_finite_are_ignored_in_their_place_and_counted() -> None:
    line = 5 - 0.5 * np.arange(10.0)
    line[[2, 3, 7]] = math.nan, math.inf, -math.inf
    decision = BARE.judge(line)

    assert (decision.code, decision.ignored) == ("progress", 3)
    assert decision.slope == pytest.approx(-0.5)
    assert "not finite: 3" in decision.reason


def test_too_few_finite_values_are_no_ground_for_a_decision() -> None:
    decision = BARE.judge([1.0, 2.0, math.nan, math.nan, math.nan, 1.0, math.nan, math.inf, 2.0, 1.0])

    assert (decision.code, decision.plateau, decision.ignored) == ("waiting", False, 5)
    assert decision.reason == "waiting: only 5 of the last 10 observations are finite, too few for a decision"


# --- a slow twin


def naive(values: Curve, rule: PlateauRule) -> tuple[str, float, float, float]:
    """Return code, slope, error and noise by the formulas of the documentation, for a window without spikes."""
    n, better = len(values), [float(v) if rule.maximize else -float(v) for v in values]
    slopes = sorted((better[j] - better[i]) / (j - i) for i, j in combinations(range(n), 2))
    b = statistics.median(slopes)
    level = statistics.median(better[i] - b * i for i in range(n))
    m = math.ceil(0.68 * n)
    magnitude = sorted(abs(better[i] - b * i - level) for i in range(n))[m - 1]
    noise = magnitude / norm.ppf((1 + (m - 0.3) / (n + 0.4)) / 2) / (1 - 1.3 / n)
    error = math.sqrt(math.pi / 3) * noise / math.sqrt(sum((i - (n - 1) / 2) ** 2 for i in range(n)))
    kendall = norm.ppf(rule.confidence) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    edges = []
    for side in (-1, 1):
        rank = (len(slopes) - 1 + side * kendall) / 2
        below = min(max(math.floor(rank), 0), len(slopes) - 2)
        share = min(max(rank - below, 0.0), 1.0)
        edges.append((1 - share) * slopes[below] + share * slopes[below + 1])
    reach = student.ppf(rule.confidence, n - 2) * error
    low, high, bar = min(edges[0], b - reach), max(edges[1], b + reach), rule.worth * noise
    if high < 0 and -b * (n - 1) >= bar:
        code = "worse"
    elif high * (n - 1) <= bar:
        code = "plateau"
    else:
        code = "progress" if low > 0 else "undecided"
    return code, b if rule.maximize else -b, error, noise


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("window", [4, 7, 10, 25])
def test_the_decision_is_that_of_the_formulas_written_out(window: int, maximize: bool) -> None:
    rule = PlateauRule(window=window, maximize=maximize, cooldown=0)
    generator = np.random.default_rng(window)
    compared = set()
    for _ in range(60):
        values = generator.uniform(-1, 1, window) + generator.uniform(-4, 4) * np.arange(window) / window
        decision = rule.judge(values)
        if "spike" in decision.reason:
            continue
        code, slope, error, noise = naive(values, rule)
        assert decision.code == code
        assert (decision.slope, decision.slope_error, decision.noise) == pytest.approx((slope, error, noise), rel=1e-9)
        compared.add(code)
    assert len(compared) >= 3


# --- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 3}, "window must be an integer of at least 4; got 3"),
        ({"window": 8.0}, "window must be an integer"),
        ({"confidence": 0.5}, "confidence must lie between 0.5 and 1; got 0.5"),
        ({"confidence": 1.0}, "confidence must lie"),
        ({"worth": -0.1}, "worth must be finite and not negative"),
        ({"worth": math.inf}, "worth must be finite"),
        ({"cooldown": -1}, "cooldown must be an integer of at least 0"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PlateauRule(**options)


def test_values_that_are_no_row_of_numbers_are_refused() -> None:
    with pytest.raises(InputError, match=r"values must be one row of numbers; got 'shape \(2, 3\)'"):
        RULE.judge(np.zeros((2, 3)))
    with pytest.raises(InputError, match="values must be numbers"):
        RULE.judge(["low", "high"])  # type: ignore[list-item]
