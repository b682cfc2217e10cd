"""Durations in every unit: read, written, turned into steps and fitted into a horizon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schedules.strategies import CLOCK, HORIZON, open_schedules, settled_schedules, spans

from stepsize.errors import InputError
from stepsize.schedules import (
    Clock,
    Schedule,
    Span,
    constant,
    cooldown,
    cosine,
    decay,
    linear,
    multi_step,
    points,
    step_decay,
    warmup,
    wsd,
)
from stepsize.schedules.units import as_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("500", 500), ("1,000", 1_000), ("1_000", 1_000), ("1e3", 1_000), ("2.0 steps", 2), (" 7 ", 7),
        ("500 steps", 500), ("1 step", 1), ("3 updates", 3), ("1 update", 1), ("2k", 2_000), ("2 K steps", 2_000),
        ("1.5M", 1_500_000), ("1G steps", 10**9), ("1B", 10**9), ("2T", 2 * 10**12),
        ("5%", Span(0.05, "share")), ("12.5 %", Span(0.125, "share")), ("100%", Span(1.0, "share")),
        ("1e-3%", Span(1e-5, "share")),
        ("2ep", Span(2, "epochs")), ("1 epoch", Span(1, "epochs")), ("0.5 Epochs", Span(0.5, "epochs")),
        ("3 eps", Span(3, "epochs")),
        ("64 samples", Span(64, "samples")), ("1 sample", Span(1, "samples")), ("100k examples", Span(1e5, "samples")),
        ("1 example", Span(1, "samples")),
        ("1.5M tok", Span(1.5e6, "tokens")), ("2B tokens", Span(2e9, "tokens")), ("5 toks", Span(5, "tokens")),
        ("1 token", Span(1, "tokens")), ("5 Tokens", Span(5, "tokens")), ("5TOKENS", Span(5, "tokens")),
        ("2T tokens", Span(2e12, "tokens")), ("2 T tok", Span(2e12, "tokens")),
    ],
)  # fmt: skip
def test_every_unit_and_spelling_is_read(text: str, duration: int | Span) -> None:
    read = as_duration("steps", text)

    assert read == duration
    assert type(read) is type(duration)


@pytest.mark.parametrize("value", [7, np.int64(7), np.uint8(7), "7 steps"])
def test_whole_numbers_of_any_kind_are_steps(value: Any) -> None:
    assert as_duration("steps", value) == 7
    assert type(linear(value).length) is int


@given(spans())
def test_a_span_is_read_from_its_own_text(span: Span) -> None:
    assert as_duration("steps", str(span)) == span


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (Span(0.05, "share"), "5%"),
        (Span(0.07, "share"), "7%"),
        (Span(1 / 3, "share"), "33.3333333333%"),
        (Span(2, "epochs"), "2 epochs"),
        (Span(100_000, "samples"), "100k samples"),
        (Span(1.5e6, "tokens"), "1.5M tokens"),
        (Span(2e12, "tokens"), "2000G tokens"),
    ],
)
def test_a_span_is_written_for_people(span: Span, text: str) -> None:
    assert str(span) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "^warmup must be at least 1 step; got 0. Leave it out instead$"),
        (-5, "^warmup must be at least 1 step; got -5"),
        ("0 steps", "^warmup must be at least 1 step; got 0"),
        (2.5, "^warmup must be a whole number of steps or a text with a unit; got 2.5. Write 500, '5%', '2ep'"),
        (100.0, "^warmup must be a whole number of steps or a text with a unit; got 100.0"),
        (math.nan, "^warmup must be a whole number of steps or a text with a unit; got nan"),
        (True, "^warmup must be a whole number of steps or a text with a unit; got True"),
        (np.True_, "^warmup must be a whole number of steps or a text with a unit; got np.True_"),
        (None, "^warmup must be a whole number of steps or a text with a unit; got None"),
        ([3, 4], "^warmup must be a whole number of steps or a text with a unit; got .3, 4."),
        (np.array([3, 4]), "^warmup must be a whole number of steps or a text with a unit; got array"),
        ("1.5 steps", "^warmup must be a whole number of steps; got '1.5 steps'$"),
        ("1e400", "^warmup must be a smaller number; got '1e400'$"),
        ("1e400 tokens", "^warmup must be a smaller number; got '1e400 tokens'$"),
        ("", "^warmup must be a duration; got ''. Write 500"),
        ("-5%", "^warmup must be a duration; got '-5%'"),
        ("5% of it", "^warmup must be a duration; got '5% of it'"),
        ("nan", "^warmup must be a duration; got 'nan'"),
        ("ten", "^warmup must be a duration; got 'ten'"),
        ("0%", "^warmup must be above 0% and at most 100% of the horizon; got '0%'$"),
        ("101%", "^warmup must be above 0% and at most 100% of the horizon; got '101%'$"),
        ("1k%", "^warmup must be above 0% and at most 100% of the horizon; got '1k%'$"),
        ("0 epochs", "^warmup must be positive; got '0 epochs'. Leave it out instead$"),
        ("3 parsecs", "^warmup must have one of the units %, steps, epochs, samples, tokens, not 'parsecs'; got '3 pa"),
        ("5m", "^warmup must have one of the units .*, not 'm'"),
        ("3 h", "^warmup must have one of the units .*, not 'h'"),
    ],
)
def test_what_is_no_duration_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_duration("warmup", value)


@pytest.mark.parametrize(
    ("amount", "unit", "message"),
    [
        (0.0, "epochs", "^duration in epochs must be a positive number; got 0.0$"),
        (-1.0, "tokens", "^duration in tokens must be a positive number; got -1.0$"),
        (math.nan, "share", "^duration in share must be a positive number; got nan$"),
        (math.inf, "samples", "^duration in samples must be a positive number; got inf$"),
        (1.5, "share", "^duration must be at most 1, the whole horizon; got 1.5$"),
        (1.5, "weeks", "^unit must be one of: share, epochs, samples, tokens; got 'weeks'$"),
    ],
)
def test_a_span_of_nothing_known_is_refused(amount: float, unit: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Span(amount, unit)


def test_a_clock_turns_every_unit_into_steps() -> None:
    clock = Clock(horizon=10_000, batch_size=8, accumulate=4, world_size=2, sequence_length=1_024, steps_per_epoch=250)

    assert clock.steps(300) == 300
    assert clock.steps("5%") == 500
    assert clock.steps("2ep") == 500
    assert clock.steps("64k samples") == 1_000  # 8 · 4 · 2 = 64 samples a step
    assert clock.steps("6553600 tokens") == 100  # 64 · 1024 = 65,536 tokens a step
    assert clock.exact("1.5M tok") == pytest.approx(1.5e6 / 65_536, rel=1e-12)
    assert clock.steps("1.5M tok") == 23  # of 22.888
    assert clock.steps("1 sample") == 0


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 16), st.integers(1, 4_096), st.integers(1, 10**6))
def test_a_step_takes_the_samples_of_all_micro_batches_of_all_processes(
    batch: int, accumulate: int, world: int, sequence: int, steps: int
) -> None:
    clock = Clock(batch_size=batch, accumulate=accumulate, world_size=world, sequence_length=sequence)
    samples = steps * batch * accumulate * world

    assert clock.steps(f"{samples} samples") == steps
    assert clock.exact(Span(samples * sequence, "tokens")) == pytest.approx(steps, rel=1e-11)


@pytest.mark.parametrize(("text", "steps"), [("0.4ep", 4), ("0.449ep", 4), ("0.45ep", 5), ("0.04ep", 0)])
def test_steps_are_rounded_to_the_nearest_and_halves_up(text: str, steps: int) -> None:
    assert Clock(steps_per_epoch=10).steps(text) == steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5%", r"^warmup needs the horizon .* Give Clock\(horizon=…\); on the command line --steps N$"),
        (
            "2ep",
            r"^warmup needs steps_per_epoch to be turned into steps; got '2 epochs'. Give Clock\(steps_per_epoch=…",
        ),
        (
            "9 samples",
            r"^warmup needs batch_size to be turned into steps; got '9 samples'. Give Clock\(batch_size=…\)",
        ),
        ("9 tokens", r"^warmup needs batch_size to be turned into steps; got '9 tokens'. Give Clock\(batch_size=…\)"),
    ],
)
def test_a_clock_says_what_it_lacks(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Clock().steps(text, "warmup")


def test_tokens_need_the_sequence_length_too() -> None:
    with pytest.raises(InputError, match=r"^duration needs sequence_length to be turned into steps; got '9 tokens'"):
        Clock(batch_size=4).steps("9 tokens")


@pytest.mark.parametrize("name", ["horizon", "batch_size", "accumulate", "world_size", "sequence_length"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "8", math.nan])
def test_a_clock_counts_in_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^{name} must be a whole number, at least 1; got {value!r}$"):
        Clock(**{name: value})


@pytest.mark.parametrize("value", [0, -2.5, math.nan, math.inf, True, "8"])
def test_an_epoch_has_a_positive_number_of_steps(value: Any) -> None:
    with pytest.raises(
        InputError, match=f"^steps_per_epoch must be a positive, finite number of steps; got {value!r}$"
    ):
        Clock(steps_per_epoch=value)


def test_an_epoch_may_have_a_broken_number_of_steps() -> None:
    assert Clock(steps_per_epoch=12.5).steps("2ep") == 25


# ------------------------------------------------------------------- horizons


@st.composite
def shares_of_everything(draw: st.DrawFn) -> list[int]:
    """Tenths of a percent that add up to all of them."""
    cuts = sorted(draw(st.sets(st.integers(1, 999), max_size=8)))
    return [after - before for before, after in zip([0, *cuts], [*cuts, 1_000], strict=True)]


@given(shares_of_everything(), st.integers(1, 500))
@settings(max_examples=300)
def test_shares_that_make_up_everything_end_with_the_horizon_each_at_its_rounded_place(
    shares: list[int], horizon: int
) -> None:
    plan = constant(f"{shares[0] / 10}%", factor=0)
    for i, share in enumerate(shares[1:], start=1):
        plan = plan.then(constant(f"{share / 10}%", factor=i))

    eta = plan.over(horizon)
    factors = eta.factors().tolist()

    assert eta.length == horizon
    assert factors == sorted(factors)
    ended = 0
    for i, share in enumerate(shares):
        ended += share
        assert abs(sum(factor <= i for factor in factors) - ended * horizon / 1_000) <= 0.5 + 1e-9


@pytest.mark.parametrize("horizon", range(1, 501, 7))
def test_parts_around_the_rest_end_with_the_horizon(horizon: int) -> None:
    for eta in (wsd(), wsd(warmup="33.3%", cooldown="12.5%"), cosine(warmup="10%"), constant().cooled_down(over="20%")):
        assert eta.over(horizon).length == horizon


@pytest.mark.parametrize("horizon", range(4, 60))
def test_parts_that_count_twice_are_rounded_together(horizon: int) -> None:
    half = linear("50%")

    for eta in (
        half.then(half.times(constant())),
        half.then(half.times(half)),
        constant().cooled_down(at="50%", over="50%"),
        half.then(constant().cooled_down(at="25%", over="25%")),
        half.then(constant("25%")).then(linear("25%")),
    ):
        assert eta.over(horizon).length == horizon


def test_a_cooldown_of_a_share_keeps_a_step_where_its_beginning_is_rounded_up_to_its_end() -> None:
    eta = linear("50%").then(constant().cooled_down(at="25%", over="25%"))

    assert eta.over(3) == linear(2).then(constant(1).cooled_down(at=0, over=1))


@given(open_schedules())
@settings(max_examples=40)
def test_what_is_open_fills_its_horizon_once_and_for_all(eta: Schedule) -> None:
    settled = eta.over(HORIZON, CLOCK)

    assert settled.resolved
    assert settled.length == HORIZON
    assert settled.over(HORIZON) == settled


@given(settled_schedules(max_length=60))
@settings(max_examples=30)
def test_what_is_settled_stays_as_it_is_over_its_own_length(eta: Schedule) -> None:
    assert eta.over(eta.length or 0).factors().tolist() == eta.factors().tolist()


def test_the_clock_of_a_horizon_in_other_units_is_replaced() -> None:
    clock = Clock(horizon=7, batch_size=10, steps_per_epoch=100)

    eta = cosine(warmup="10%").over("5ep", clock)

    assert eta == cosine(500, warmup=50)
    assert linear(warmup="1k samples").over(500, clock) == linear(500, warmup=100)
    assert cosine(warmup=9).over("2k samples", clock).length == 200
    assert linear().over("50%", Clock(horizon=80)).length == 40


def test_what_has_no_length_takes_the_horizon() -> None:
    assert constant().over(7).length == 7
    assert step_decay("50%").over(8).factors() == pytest.approx([1.0] * 4 + [0.1] * 4)
    assert points({"0%": 1.0, "100%": 0.0}).over(4).factors().tolist() == [1.0, 0.75, 0.5, 0.25]
    assert multi_step(["25%", 6]).over(8).factors() == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_a_share_shorter_than_half_a_step_is_left_out() -> None:
    assert wsd().over(2) == constant(2)
    assert warmup("10%").then(linear()).over(4) == linear(4)


@pytest.mark.parametrize(
    ("eta", "steps", "message"),
    [
        (
            cosine(warmup=100),
            100,
            "^schedule must leave steps for 'cosine', which takes the rest; got '100 steps of 100'",
        ),
        (
            cosine(warmup=101),
            100,
            "^schedule must not be longer than the horizon; got '101 steps of 100'. Short",
        ),
        (
            cosine(warmup="100%"),
            50,
            "^schedule must leave steps for 'cosine', which takes the rest; got '50 steps of 50'",
        ),
        (
            linear().then(cosine()),
            9,
            "^schedule must have only one phase that takes the rest of the horizon; got \"'linear' and 'cosine'",
        ),
        (
            constant().then(constant()),
            9,
            "^schedule must have only one phase that takes the rest of the horizon; got \"'constant' and 'con",
        ),
        (linear(50), 100, "^schedule must last as long as the horizon; got '50 steps of 100'. Leave its length ou"),
        (linear(150), 100, "^schedule must last as long as the horizon; got '150 steps of 100'"),
        (linear("50%"), 100, "^schedule must last as long as the horizon; got '50 steps of 100'"),
        (linear("50%").scaled(0.5), 100, "^schedule must last as long as the horizon; got '50 steps of 100'"),
        (
            linear("50%").then(linear("25%")),
            100,
            "^schedule must last as long as the horizon; got '75 steps of 100'",
        ),
        (constant().first("50%"), 100, "^schedule must last as long as the horizon; got '50 steps of 100'"),
        (linear("50%").repeated(3), 100, "^schedule must last as long as the horizon; got '150 steps of 100'"),
        (linear().repeated(5), 3, "^times must be at most the 3 steps that are left; got 5$"),
        (linear("2ep"), 100, r"^steps needs steps_per_epoch to be turned into steps; got '2 epochs'. Give Clock"),
        (cosine(warmup="9k tok"), 100, r"^warmup needs batch_size|^steps needs batch_size to be turned into steps"),
        (linear(), "5%", r"^steps needs the horizon to be turned into steps; got '5%'. Give Clock\(horizon=…\)"),
        (linear(), 0, "^steps must be at least 1 step; got 0"),
        (linear(), -3, "^steps must be at least 1 step; got -3"),
        (linear(), math.nan, "^steps must be a whole number of steps or a text with a unit; got nan"),
        (linear(), True, "^steps must be a whole number of steps or a text with a unit; got True"),
        (constant().cooled_down(over=12), 10, "^over must leave at least 0 steps of the 10 that there are; got 12$"),
        (decay(endpoints="both"), 1, "^steps must be at least 2 if both endpoints are taken; got 1$"),
    ],
)
def test_what_does_not_fit_its_horizon_is_refused(eta: Schedule, steps: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        eta.over(steps)


def test_a_share_next_to_a_length_in_steps_is_one_of_that_length() -> None:
    assert cosine(200, warmup="5%") == cosine(200, warmup=10)
    assert wsd(100, warmup="5%", cooldown="20%") == warmup(5).then(constant(75)).then(cooldown(20))
    assert not decay("2ep", warmup="5%").resolved
    assert decay("2ep", warmup="5%").over("2ep", Clock(steps_per_epoch=50)) == decay(100, warmup=5)
