"""What a sweep's losses say: every shape its own verdict, and answers that nothing irrelevant moves."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.curves.range_reading import RangeReading, suggest
from stepsize.errors import InputError

Array = NDArray[np.float64]
LRS = np.logspace(-6, 1, 225)
CLEAN = 2.3 - 2 / (1 + (0.01 / LRS) ** 1.5) + LRS**2  # falls at 0.01, rises at 1


def noise(size: float, seed: int = 0, count: int = len(LRS)) -> Array:
    return np.asarray(size * np.random.default_rng(seed).standard_normal(count))


REASONS = {
    "flat": "does not respond to the learning rate",
    "diverged at once": "the range starts too high",
    "level before it diverges": "may be trained already",
    "no divergence": "still falls or is flat at the end of the range",
    "too noisy": "noise alone could explain",
    "too few steps": "losses are too few",
}


def assert_no_answer(found: RangeReading, reason: str) -> None:
    assert found.verdict == "no answer"
    assert REASONS[reason] in found.reason
    assert found.lr is None
    assert found.interval is None
    assert found.reason.endswith(".")
    assert found.status == f"No answer. {found.reason}"


def test_a_clear_descent_and_its_loss_give_ordered_rates() -> None:
    found = suggest(LRS, CLEAN + noise(0.02))
    assert found.verdict == "open"
    assert found.low
    assert found.lr
    assert found.high
    assert found.diverged_at
    assert found.interval
    assert "first steps at a constant rate only; the best rate of a full run can differ" in found.reason
    assert found.low < found.interval[0] < found.lr < found.interval[1] < found.high < found.diverged_at
    assert found.low == pytest.approx(0.0023, rel=0.3)  # a tenth of the descent: 0.01 / 9 ** (1 / 1.5)
    assert found.diverged_at == pytest.approx(1.0, rel=0.15)
    assert found.start_loss == pytest.approx(2.3, abs=0.02)
    assert found.noise == pytest.approx(0.02, rel=0.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_tail_that_is_not_finite_ends_the_range_and_the_sentence_says_so(bad: float) -> None:
    losses = np.where(LRS > 0.4, bad, CLEAN + noise(0.02))
    found = suggest(LRS, losses)
    first = float(LRS[LRS > 0.4][0])
    assert found.verdict == "open"
    assert f"not finite at {number_text(first)} and above" in found.reason
    assert found.diverged_at == pytest.approx(first)
    assert found.lr
    assert found.lr < 0.4


def test_what_comes_after_the_first_nan_is_not_believed() -> None:
    losses = CLEAN + noise(0.02)
    cut = suggest(LRS[:180], np.where(LRS[:180] > 0.2, math.nan, losses[:180]))
    wild = suggest(LRS, np.where(LRS > 0.2, np.where(LRS > 0.3, -1e9, math.nan), losses))
    assert (cut.lr, cut.verdict, cut.reason) == (wild.lr, wild.verdict, wild.reason)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("places", [[60], [20, 60, 110], [60, 215]])
def test_losses_that_are_not_finite_among_finite_ones_are_left_out(repeats: int, places: list[int]) -> None:
    """fastai#3476: one NaN ended the range at its rate."""
    lrs = np.tile(LRS, repeats)
    losses = np.tile(CLEAN, repeats) + noise(0.02, count=len(lrs))
    holed = losses.copy()
    holed[places] = math.nan
    plain, found = suggest(lrs, losses, repeats=repeats), suggest(lrs, holed, repeats=repeats)
    assert found.lr == pytest.approx(plain.lr, rel=0.03)
    assert found.diverged_at == pytest.approx(plain.diverged_at, rel=0.05)
    assert f"Left out, since they are isolated: {len(places)} of the losses" in found.reason


@pytest.mark.parametrize("fall", [5, 12, 1_000])
def test_a_linear_ramp_is_read_by_steps(fall: float) -> None:
    """Criteo's example: 56 rates from 0.00183 on, of which most lie in the last decade; the last three explode."""
    step = np.arange(1, 57)
    losses = (0.15 + 0.56 * np.exp(-step / fall) if fall < 100 else 0.71 - 0.01 * step) + noise(0.01, count=56)
    losses[-3:] = [0.9, 3.0, 20.0]
    found = suggest(0.00183 * step, losses)
    assert found.verdict == "open"
    assert found.lr
    assert found.diverged_at == pytest.approx(0.095, rel=0.06)
    assert 0.01 < found.lr < 0.09
    assert found.fit_lrs[-1] == pytest.approx(0.00183 * 56)


@pytest.mark.parametrize("position", [0, 3, 30])
def test_an_early_spike_is_ignored_and_counted(position: int) -> None:
    losses = CLEAN + noise(0.02)
    spiked = losses.copy()
    spiked[position] += 60
    plain, found = suggest(LRS, losses), suggest(LRS, spiked)
    assert found.verdict == "open"
    assert "1 spike was ignored" in found.reason
    assert plain.lr
    assert found.lr
    assert abs(math.log10(found.lr / plain.lr)) < 0.02


@pytest.mark.parametrize("level", [2.3, 0.0, -7.0, 1e-12, 1e12])
def test_a_level_is_flat(level: float) -> None:
    found = suggest(LRS, np.full_like(LRS, level))
    assert_no_answer(found, "flat")
    assert found.diverged_at is None
    assert "does not respond" in found.reason


@pytest.mark.parametrize("size", [0.0, 0.02])
@pytest.mark.parametrize("power", [0.5, 2.0])
def test_a_loss_that_only_rises_has_diverged_at_once(size: float, power: float) -> None:
    found = suggest(LRS, 2.3 + (LRS / 1e-5) ** power + noise(size))
    assert_no_answer(found, "diverged at once")
    assert found.diverged_at
    assert 1e-6 < found.diverged_at < 2e-5
    assert f"diverges at {number_text(found.diverged_at)}" in found.reason
    assert "lower range" in found.reason


@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize(("begin", "reason"), [(0, "level before it diverges"), (115, "diverged at once")])
def test_a_level_that_jumps_up_is_a_fault_of_the_range_only_if_it_is_short(
    copies: int, begin: int, reason: str
) -> None:
    """Lightning#4846: a model that is trained already is level up to the rate that destroys it."""
    lrs = LRS[begin:]
    found = suggest(np.tile(lrs, copies), np.tile(np.where(lrs > 0.01, 100.0, 2.3), copies), repeats=copies)
    assert_no_answer(found, reason)
    assert found.diverged_at == pytest.approx(0.01, rel=1.0)
    assert found.diverged_at
    assert number_text(found.diverged_at) in found.reason


@pytest.mark.parametrize("ramps", [1, 5, 16])
def test_equal_ramps_without_noise_that_only_rise_have_diverged_at_once(ramps: int) -> None:
    rates = np.tile(LRS[:18], ramps)  # what several ramps over one batch give, cut where they were lost
    found = suggest(rates, 1 + (rates / 1e-6) ** 0.3, repeats=ramps)
    assert_no_answer(found, "diverged at once")


@pytest.mark.parametrize("finite", [0, 1, 9, 10, 40])
def test_nan_after_a_level_has_diverged_at_once(finite: int) -> None:
    found = suggest(LRS, np.where(np.arange(len(LRS)) < finite, 2.3, math.nan))
    assert_no_answer(found, "level before it diverges" if finite > 32 else "diverged at once")
    assert found.diverged_at == pytest.approx(LRS[finite])


def test_an_explosion_from_the_first_step_on_gives_no_warning() -> None:
    losses = np.concatenate([10.0 ** np.linspace(170, 305, 20), [math.inf] * 205])
    assert_no_answer(suggest(LRS, losses), "diverged at once")


def test_without_divergence_the_end_of_the_range_is_named() -> None:
    found = suggest(LRS, CLEAN - LRS**2 + noise(0.02))
    assert_no_answer(found, "no divergence")
    assert found.diverged_at is None
    assert found.high is None
    assert found.low == pytest.approx(0.0023, rel=0.3)
    assert "Raise the end" in found.reason


def test_a_bounded_loss_that_returns_to_chance_is_lost_there() -> None:
    losses = np.where(LRS > 0.3, 2.3, CLEAN - LRS**2) + noise(0.02)
    found = suggest(LRS, losses)
    assert found.verdict == "open"
    assert found.diverged_at == pytest.approx(0.3, rel=0.15)
    assert found.lr
    assert 0.01 < found.lr < 0.3


def test_a_descent_that_is_not_certain_is_not_denied() -> None:
    losses = 2.4 - 1.8 / (1 + (0.01 / LRS[::3]) ** 1.5) + LRS[::3] ** 2 + noise(1.3, 1, len(LRS[::3]))
    assert_no_answer(suggest(LRS[::3], losses), "too noisy")


def test_noise_alone_is_hardly_ever_taken_for_an_answer() -> None:
    found = [suggest(LRS, 2.3 + noise(0.3, seed)) for seed in range(100)]
    assert sum(REASONS["too noisy"] in reading.reason for reading in found) >= 98
    assert not any(reading.lr for reading in found)


def test_the_sentence_on_noise_says_what_noise_alone_could_bring() -> None:
    found = suggest(LRS, 2.3 + noise(0.3))
    assert_no_answer(found, "too noisy")
    assert found.diverged_at is None
    figures = re.search(r"falls by (\S+) over the range, and noise alone could explain (\S+)\.", found.reason)
    assert figures
    assert 0 <= float(figures[1]) < float(figures[2]) < 1.0


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_points_say_how_many_are_needed(count: int) -> None:
    found = suggest(LRS[:count], CLEAN[:count])
    assert_no_answer(found, "too few steps")
    assert f"{count} losses" in found.reason
    assert "10" in found.reason


def test_many_losses_at_a_single_rate_are_no_sweep() -> None:
    found = suggest(np.full(50, 1e-3), 2.3 + noise(0.1, count=50))
    assert found.lr is None
    assert found.verdict == "no answer"


@given(
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
    seed=st.integers(0, 20),
    size=st.sampled_from([0.0, 0.02, 0.2]),
)
def test_scale_and_offset_move_nothing(scale: float, offset: float, seed: int, size: float) -> None:
    losses = CLEAN + noise(size, seed)
    plain, moved = suggest(LRS, losses), suggest(LRS, scale * losses + offset)
    assert plain.verdict == moved.verdict == "open"
    for name in ("low", "lr", "high", "diverged_at"):
        assert abs(math.log10(getattr(plain, name) / getattr(moved, name))) < 1e-6, name


def test_the_order_of_the_points_does_not_matter() -> None:
    losses, generator = CLEAN + noise(0.1), np.random.default_rng(0)
    plain = suggest(LRS, losses)
    for _ in range(20):
        order = generator.permutation(len(LRS))
        mixed = suggest(LRS[order], losses[order])
        assert (plain.lr, plain.interval, plain.reason) == (mixed.lr, mixed.interval, mixed.reason)


def test_the_answer_moves_with_the_rates() -> None:
    losses = CLEAN + noise(0.05)
    plain, moved = suggest(LRS, losses), suggest(LRS * 100, losses)
    assert plain.lr
    assert moved.lr
    assert moved.lr == pytest.approx(100 * plain.lr, rel=1e-6)


def test_the_same_seed_gives_the_same_interval_bit_for_bit() -> None:
    losses = CLEAN + noise(0.2)
    one, two, other = (suggest(LRS, losses, seed=seed) for seed in (1, 1, 2))
    assert one.interval == two.interval
    assert one.lr == other.lr


def bowl_ramp(speed: float, seed: int) -> tuple[Array, Array]:
    """Gradient descent on a noisy bowl whose steepest direction has curvature 2: its edge is at lr 1."""
    generator = np.random.default_rng(seed)
    curvature = 2 * np.logspace(-2, 0, 30)
    w = np.ones(30)
    lrs = 10 ** np.arange(-4, 1.5, 1 / speed)
    losses: list[float] = []
    for lr in lrs:
        losses.append(0.5 * float(np.sum(curvature * w**2)) * (1 + 0.05 * generator.standard_normal()) + 0.1)
        if losses[-1] > 1e6:
            break
        w = w - lr * curvature * (w + 0.3 * generator.standard_normal(30))
    return lrs[: len(losses)], np.array(losses)


def test_the_speed_of_the_ramp_moves_the_answer_little() -> None:
    def decades(speed: float) -> float:
        found = [suggest(*bowl_ramp(speed, seed)) for seed in range(8)]
        return float(np.mean([math.log10(reading.lr) for reading in found if reading.lr]))

    at = {speed: decades(speed) for speed in (8, 16, 32, 64, 128)}
    assert max(abs(at[speed] - at[32]) for speed in (16, 64, 128)) < 0.15, at
    assert abs(at[8] - at[32]) < 0.2, at
    assert -1.2 < at[32] < -0.3, at  # well below the edge at 0


def test_mixed_ramps_are_read_at_their_own_speed() -> None:
    single = suggest(LRS, CLEAN + noise(0.02)).lr
    mixed = suggest(np.tile(LRS, 4), np.tile(CLEAN, 4) + noise(0.02, count=4 * len(LRS)), repeats=4).lr
    assert single
    assert mixed
    assert abs(math.log10(mixed / single)) < 0.03


@pytest.mark.parametrize("size", [0.05, 0.3])
def test_the_interval_covers_the_answer_about_as_often_as_it_claims(size: float) -> None:
    truth = suggest(LRS, CLEAN).lr
    assert truth
    found = [suggest(LRS, CLEAN + noise(size, seed)).interval for seed in range(100)]
    covered = sum(interval is not None and interval[0] <= truth <= interval[1] for interval in found)
    widths = [math.log10(interval[1] / interval[0]) for interval in found if interval]
    assert covered >= 75
    assert np.median(widths) < 0.3  # and not by being wide


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"losses must be one for each rate; got '3 losses for 2 rates'"):
        suggest([1e-3, 1e-2], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("bad", [0.0, -1e-3, math.nan, math.inf])
def test_rates_that_are_not_positive_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match=rf"lrs must be positive and finite; got \[{bad}\]"):
        suggest([1e-3, bad], [1.0, 2.0])


def test_any_iterables_will_do() -> None:
    losses = CLEAN + noise(0.02)
    assert suggest(iter(LRS.tolist()), (loss for loss in losses)).lr == suggest(LRS, losses).lr
