"""The policy on known curves: what it asks for, what it spends, and where it ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepsize.curves.lr_curve import Observation, Prior
from stepsize.study.policy import Policy, Proposal
from stepsize.study.trust import recommended

HORIZON = 800


def cost(steps: int) -> float:
    """A training with an evaluation that is a tenth of it; short ones are evaluated on less."""
    return (steps + min(80, 0.15 * steps)) / (HORIZON + 80)


def valley(optimum: float, *, drift: float = 0.1, cliff: float = math.inf) -> Callable[[Proposal], float]:
    """Loss after a run: the optimum falls by ``drift`` decades a doubling; infinite from the cliff on."""

    def reached(proposal: Proposal) -> float:
        x = math.log10(proposal.lr)
        if x >= cliff:
            return math.inf
        doublings = math.log2(HORIZON / proposal.steps)
        return math.exp(0.5 * (x - optimum - drift * doublings) ** 2) * (1 + 0.2 * doublings)

    return reached


def play(
    reached: Callable[[Proposal], float],
    *,
    budget: float,
    center: float = -2.0,
    horizon: int = HORIZON,
    gain: float = 1.0,
) -> tuple[Policy, list[Proposal]]:
    prior = Prior(center=center)
    policy = Policy(horizon=horizon, budget=budget, cost=cost, untrained=100.0, prior=prior, crowd=8, gain=gain)
    asked: list[Proposal] = []
    while proposals := policy.ask():
        asked += proposals
        share = policy.price(proposals[0].steps, len(proposals)) / len(proposals)
        for proposal in proposals:
            value = reached(proposal)
            seen = Observation(proposal.steps, proposal.lr, value, value == math.inf, seed=proposal.seed)
            policy.tell(seen, share)
        assert len(asked) < 200, "the policy does not end"
    return policy, asked


@settings(max_examples=40)
@given(budget=st.floats(0.01, 6), optimum=st.floats(-4, 0), center=st.floats(-3, -1))
def test_the_budget_is_never_exceeded_whatever_the_curve(budget: float, optimum: float, center: float) -> None:
    policy, asked = play(valley(optimum), budget=budget, center=center)

    assert policy.spent <= budget + 1e-9
    assert all(1 <= proposal.steps <= HORIZON and proposal.lr > 0 for proposal in asked)


@pytest.mark.parametrize("optimum", [-3.0, -2.2, -1.5, -1.0])
@pytest.mark.parametrize(("budget", "tolerance"), [(1.0, 0.45), (3.5, 0.3)])
def test_the_optimum_of_the_full_horizon_is_approached(optimum: float, budget: float, tolerance: float) -> None:
    policy, _ = play(valley(optimum), budget=budget)

    assert math.log10(recommended(policy.observations, policy.curve())) == pytest.approx(optimum, abs=tolerance)


def test_scouts_come_first_then_three_runs_at_the_horizon_that_the_rest_pays_for() -> None:
    policy, asked = play(valley(-2.2), budget=1.0)
    lengths = [proposal.steps for proposal in asked]
    scouts, final = [n for n in lengths if n == HORIZON // 16], [n for n in lengths if n != HORIZON // 16]

    assert lengths == scouts + final
    assert len(scouts) >= 3
    assert len(set(final)) == 1
    assert len(final) == 3
    assert 3 * cost(final[0] + 2) + len(scouts) * cost(HORIZON // 16) > 1.0  # no longer one was affordable
    assert policy.spent > 0.97


def test_rich_budgets_end_at_the_full_horizon() -> None:
    _, asked = play(valley(-2.2), budget=5.0)

    assert asked[-1].steps == HORIZON
    assert sum(proposal.steps == HORIZON for proposal in asked) >= 3


def test_the_best_of_each_horizon_gets_a_worse_neighbour_on_both_sides() -> None:
    reached = valley(-3.4)
    _, asked = play(reached, budget=4.0, center=-1.0)

    for steps in {proposal.steps for proposal in asked}:
        rung = sorted((proposal for proposal in asked if proposal.steps == steps), key=lambda proposal: proposal.lr)
        best = min(range(len(rung)), key=lambda index: reached(rung[index]))
        assert 0 < best < len(rung) - 1


def test_a_diverged_run_counts_as_the_worse_neighbour_above() -> None:
    _, asked = play(valley(-1.0, cliff=-1.8), budget=1.0, center=-2.0)
    scouts = sorted(math.log10(proposal.lr) for proposal in asked if proposal.steps == HORIZON // 16)

    assert scouts[-1] >= -1.8
    assert sum(x >= -1.8 for x in scouts) == 1


def test_where_the_start_diverges_the_search_goes_down_in_strides() -> None:
    policy, asked = play(valley(-4.0, cliff=-3.0), budget=1.0, center=-1.0)

    assert math.log10(asked[1].lr) == pytest.approx(-2.0)
    assert any(math.isfinite(seen.value) for seen in policy.observations)


def test_where_everything_diverges_the_search_ends_within_its_budget() -> None:
    policy, asked = play(lambda proposal: math.inf, budget=1.0)

    assert policy.spent <= 1.0
    assert [proposal.lr for proposal in asked] == sorted((proposal.lr for proposal in asked), reverse=True)


def test_a_budget_that_pays_for_nothing_asks_for_nothing() -> None:
    policy, asked = play(valley(-2.0), budget=1e-3)

    assert asked == []
    assert policy.spent == 0


def test_a_small_budget_belongs_to_the_scouts() -> None:
    _, asked = play(valley(-2.0), budget=0.25)

    assert {proposal.steps for proposal in asked} == {HORIZON // 16}
    assert len(asked) == 3


def test_the_search_ends_early_where_a_long_horizon_shows_no_difference() -> None:
    flat, _ = play(lambda proposal: 1.0 + 1e-6 * math.log10(proposal.lr) ** 2, budget=20.0)
    steep, _ = play(valley(-2.2), budget=20.0)

    assert flat.spent < steep.spent
    assert flat.spent < 5.0


@pytest.mark.parametrize("horizon", [1, 5, 8, 40])
def test_tiny_horizons_are_trained_in_full_or_not_at_all(horizon: int) -> None:
    policy = Policy(
        horizon=horizon, budget=4.0, cost=lambda steps: steps / horizon, untrained=100.0, prior=Prior(center=-2.0)
    )
    while proposals := policy.ask():
        (proposal,) = proposals
        assert min(8, horizon) <= proposal.steps <= horizon
        value = (math.log10(proposal.lr) + 2) ** 2 + 1
        policy.tell(Observation(proposal.steps, proposal.lr, value), proposal.steps / horizon)

    assert policy.spent <= 4.0
    assert policy.observations


def test_the_same_answers_bring_the_same_questions() -> None:
    assert play(valley(-1.7), budget=2.0)[1] == play(valley(-1.7), budget=2.0)[1]


# Crowds: several rates at once


@pytest.mark.parametrize("gain", [2.0, 4.0, 8.0, 16.0])
@pytest.mark.parametrize("optimum", [-3.0, -2.2, -1.5, -1.0])
def test_crowds_find_the_optimum_within_the_budget(optimum: float, gain: float) -> None:
    policy, asked = play(valley(optimum), budget=1.0, gain=gain)

    assert policy.spent <= 1.0 + 1e-9
    assert sum(cost(proposal.steps) for proposal in asked) > 1.0  # what one after the other does not pay for
    assert math.log10(recommended(policy.observations, policy.curve())) == pytest.approx(optimum, abs=0.3)


def test_the_cheaper_members_are_the_longer_a_crowd_trains() -> None:
    lengths = [max(run.steps for run in play(valley(-2.2), budget=1.0, gain=gain)[1]) for gain in (2.0, 4.0, 8.0)]

    assert lengths == sorted(lengths)
    assert lengths[-1] > 2.5 * lengths[0]


def test_a_crowd_keeps_below_a_rate_that_diverged() -> None:
    _, asked = play(valley(-1.0, cliff=-1.8), budget=1.0, gain=4.0)
    scouts = [run for run in asked if run.steps == HORIZON // 16]
    final = [run for run in asked if run.steps != HORIZON // 16]
    lowest_lost = min(run.lr for run in scouts if math.log10(run.lr) >= -1.8)

    assert final
    assert all(run.lr < lowest_lost * 1.001 for run in final)


def test_further_crowds_on_the_full_horizon_have_other_seeds() -> None:
    _, asked = play(valley(-2.2), budget=6.0, gain=4.0)
    full = [run.seed for run in asked if run.steps == HORIZON]

    assert full[:8] == [0] * 8
    assert max(full) >= 1


@settings(max_examples=30)
@given(budget=st.floats(0.01, 6), optimum=st.floats(-4, 0), gain=st.sampled_from([2.0, 2.83, 8.0]))
def test_crowds_never_exceed_the_budget(budget: float, optimum: float, gain: float) -> None:
    assert play(valley(optimum), budget=budget, gain=gain)[0].spent <= budget + 1e-9
