"""The learned ceiling: where it lies, what it follows, and how little it believes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.study.landscapes import fell, outcome

from stepsize.study.ceiling import learn_ceiling
from stepsize.study.space import Space, as_space
from stepsize.training.runs import Run, Value

LR = as_space(lr=(1e-5, 10.0))


def judged(rows: Sequence[tuple[float, bool]]) -> list[Run]:
    """Return outcomes of rates that diverged or did not."""
    return [(fell if diverged else outcome)(number, {"lr": lr}) for number, (lr, diverged) in enumerate(rows)]


def bound(outcomes: Sequence[Run], space: Space = LR, **values: Value) -> float:
    """Return the bound that was learned; there must be one."""
    found = learn_ceiling(outcomes, space).bound(values)
    assert found is not None
    return found


def with_momentum(space: Space, count: int, seed: int = 0) -> list[Run]:
    """Return outcomes of random trials that diverge above 0.5 · (1 − momentum), as those of SGD do."""
    rng = np.random.default_rng(seed)
    drawn = [space.from_units(rng.random(len(space.dimensions)).tolist()) for _ in range(count)]
    return [
        (fell if float(values["lr"]) > critical(float(values["momentum"])) else outcome)(number, values)
        for number, values in enumerate(drawn)
    ]


def critical(momentum: float) -> float:
    return 0.5 * (1 - momentum)


def test_where_nothing_diverged_nothing_is_bounded() -> None:
    ceiling = learn_ceiling(judged([(0.1, False), (1.0, False)]), LR)

    assert ceiling.bound({"lr": 5.0}) is None
    assert ceiling.describe() == ""


def test_a_narrow_gap_is_met() -> None:
    rates = 10 ** np.linspace(-4, 1, 40)

    found = bound(judged([(lr, lr > 0.3) for lr in rates.tolist()]))

    assert 0.25 < found < 0.45


@pytest.mark.parametrize(("low", "high"), [(1e-3, 10.0), (0.01, 1.0), (0.1, 0.3)])
def test_most_of_a_gap_is_left_open(low: float, high: float) -> None:
    found = bound(judged([(low, False), (high, True)]))

    assert math.sqrt(low * high) < found < 1.3 * high


def test_the_first_divergence_bounds_below_itself() -> None:
    found = bound(judged([(1.0, True)]))

    assert 1e-3 < found < 1.0


def test_more_survivors_raise_the_bound_and_more_divergences_lower_it() -> None:
    start = [(1e-3, False), (3.0, True)]

    assert bound(judged([*start, (0.3, True)])) < bound(judged(start)) < bound(judged([*start, (1.0, False)]))


def test_one_odd_divergence_among_survivors_forbids_nothing_of_them() -> None:
    rows = [(1e-3, False), (1e-2, False), (0.1, True), (0.3, False), (1.0, False)]

    assert bound(judged(rows)) > 1.0


def test_where_both_happen_the_ceiling_lies_among_them() -> None:
    rows = [(0.05, False), (0.1, False), (0.1, True), (0.2, False), (0.2, True), (0.3, True), (1.0, True)]

    assert 0.1 < bound(judged(rows)) < 0.5


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_bound_follows_momentum(momentum: float, seed: int) -> None:
    space = as_space(lr=(1e-5, 10.0), momentum=(0.0, 0.99))

    found = bound(with_momentum(space, 40, seed), space, momentum=momentum)

    assert critical(momentum) / 2 < found < critical(momentum) * 2.5


def test_the_bound_follows_one_dimension_out_of_four() -> None:
    space = as_space(lr=(1e-5, 10.0), weight_decay=(1e-5, 0.1), momentum=(0.0, 0.99), beta2=(0.9, 0.999))
    outcomes = with_momentum(space, 100)

    for momentum in (0.0, 0.9):
        found = bound(outcomes, space, momentum=momentum, weight_decay=1e-3, beta2=0.99)
        assert critical(momentum) / 2.5 < found < critical(momentum) * 2.5


def test_what_was_learned_at_one_momentum_leaves_room_at_others() -> None:
    space = as_space(lr=(1e-5, 10.0), momentum=(0.0, 0.99))
    rates = 10 ** np.linspace(-4, 0, 20)
    outcomes = [(fell if lr > 0.05 else outcome)(n, {"lr": lr, "momentum": 0.9}) for n, lr in enumerate(rates.tolist())]

    assert bound(outcomes, space, momentum=0.9) < 0.1
    assert bound(outcomes, space, momentum=0.0) > 0.1


@pytest.mark.parametrize(("name", "bad", "good"), [("optimizer", "sgd", "adamw"), ("batch_size", 16, 64)])
def test_what_is_chosen_from_a_list_has_a_ceiling_of_its_own(name: str, bad: Value, good: Value) -> None:
    space = as_space(lr=(1e-5, 10.0), **{name: [bad, good]})
    outcomes = [fell(number, {"lr": lr, name: bad}) for number, lr in enumerate((0.1, 1.0, 10.0))]
    outcomes += [outcome(3, {"lr": 1e-3, name: good}), outcome(4, {"lr": 1e-3, name: bad})]

    ceiling = learn_ceiling(outcomes, space)

    assert ceiling.bound({name: bad}) is not None
    assert ceiling.bound({name: good}) is None
    assert f"with {name} {bad} (3 of 4 did)" in ceiling.describe()


def test_a_trial_counts_once_a_seed_by_its_longest_rung() -> None:
    values: dict[str, Value] = {"lr": 1.0}
    short = outcome(0, values, share=1 / 16)
    later = [short, fell(0, values), outcome(1, {"lr": 0.01})]

    assert bound(later) == bound([fell(0, values), outcome(1, {"lr": 0.01})])
    assert bound([*later, fell(0, values, seed=1)]) != bound(later)


def test_a_longer_survival_does_not_make_good_a_short_divergence() -> None:
    values: dict[str, Value] = {"lr": 1.0}

    assert bound([fell(0, values, share=1 / 16), outcome(0, values)]) == bound([fell(0, values, share=1 / 16)])


def test_what_could_not_be_judged_has_survived() -> None:
    assert bound(judged([(1.0, True)])) < bound([*judged([(1.0, True)]), outcome(1, {"lr": 0.5}, math.nan)])


@given(st.lists(st.tuples(st.floats(1e-6, 100.0), st.booleans()), min_size=1, max_size=30))
def test_any_outcomes_give_one_finite_bound_again_and_again(rows: list[tuple[float, bool]]) -> None:
    outcomes = judged(rows)

    found = learn_ceiling(outcomes, LR).bound({})

    if any(diverged for _, diverged in rows):
        assert found is not None
        assert 0 < found < math.inf
    assert learn_ceiling(outcomes, LR).bound({}) == found


@pytest.mark.parametrize(
    "rows", [[(0.01, False), (1.0, True)], [(0.1, False), (0.1, True), (0.3, True), (0.02, False)]]
)
def test_the_bound_is_that_of_a_naive_sum_over_everything_possible(rows: list[tuple[float, bool]]) -> None:
    def diverges(lr: float) -> float:
        above = total = 0.0
        for place in np.linspace(-5.5, 2.5, 400).tolist():
            for width, odds in ((0.05, 0.65), (0.15, 0.3), (0.5, 0.05)):
                weight = odds
                for rate, diverged in rows:
                    fall = 0.01 + 0.98 * sigmoid((math.log10(rate) - place) / width)
                    weight *= fall if diverged else 1 - fall
                total += weight
                above += weight * sigmoid((math.log10(lr) - place) / width)
        return above / total

    assert diverges(bound(judged(rows))) == pytest.approx(0.75, abs=0.02)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, x))))


def test_the_sentence_tells_on_what_the_ceiling_depends() -> None:
    space = as_space(lr=(1e-5, 10.0), momentum=(0.0, 0.99))

    text = learn_ceiling(with_momentum(space, 40), space).describe()

    assert text.startswith("runs diverge at lr 0.0")
    assert " and above, depending on momentum (" in text


def test_learning_from_a_thousand_outcomes_takes_less_than_a_training() -> None:
    space = as_space(lr=(1e-5, 10.0), weight_decay=(1e-5, 0.1), momentum=(0.0, 0.99))
    outcomes = with_momentum(space, 1_000)
    start = time.perf_counter()

    learn_ceiling(outcomes, space)

    assert time.perf_counter() - start < 3
