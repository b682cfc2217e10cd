"""Rungs: the arithmetic of brackets, sizes and costs."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction
from math import ceil, floor

import pytest

from stepsize.errors import InputError, UnknownNameError
from stepsize.study.rungs import RUNGS, Bracket, Rungs


def paper_brackets(longest: int, eta: int) -> list[list[tuple[int, int]]]:
    """Algorithm 1 of Li et al. (2018), whose shortest resource is 1: (trials, resource) of each rung by bracket."""
    most = 0
    while eta ** (most + 1) <= longest:
        most += 1
    brackets = []
    for s in range(most, -1, -1):
        first = ceil(Fraction((most + 1) * eta**s, s + 1))
        brackets.append([(floor(Fraction(first, eta**i)), longest // eta ** (s - i)) for i in range(s + 1)])
    return brackets


@pytest.mark.parametrize(("eta", "rungs"), [(2, 1), (2, 4), (3, 2), (3, 4), (4, 2), (5, 2)])
def test_hyperband_has_the_brackets_of_the_paper(eta: int, rungs: int) -> None:
    longest = eta**rungs
    paper = paper_brackets(longest, eta)
    made = RUNGS["hyperband"].make(1 / longest, eta)
    trials = sum(bracket[0][0] for bracket in paper)

    turns = made.assigned(trials)

    assert [turns.count(at) for at in range(len(paper))] == [bracket[0][0] for bracket in paper]
    for bracket, expected in zip(made.brackets, paper, strict=True):
        assert bracket.shares == pytest.approx([resource / longest for _, resource in expected])


def test_the_brackets_of_hyperband_share_their_rungs_exactly() -> None:
    made = RUNGS["hyperband"].make(1 / 27, 3)
    assert all(bracket.shares == made.shares[-len(bracket.shares) :] for bracket in made.brackets)


@pytest.mark.parametrize("name", RUNGS)
@pytest.mark.parametrize("trials", [0, 1, 2, 3, 7, 10, 25, 26, 100])
def test_brackets_take_all_trials_in_proportion_and_in_turns(name: str, trials: int) -> None:
    rungs = RUNGS[name].make(1 / 16, 4)
    turns = rungs.assigned(trials)
    total = sum(bracket.weight for bracket in rungs.brackets)

    assert len(turns) == trials
    for at, bracket in enumerate(rungs.brackets):
        for told in range(trials + 1):  # no bracket waits for its turn long
            assert abs(turns[:told].count(at) - told * bracket.weight / total) < 1


def test_rungs_rise_by_eta_and_end_on_the_full_horizon() -> None:
    assert RUNGS["halving"].make(1 / 64, 4).shares == (1 / 64, 1 / 16, 1 / 4, 1.0)
    assert RUNGS["halving"].make(0.25, 2).shares == (0.25, 0.5, 1.0)
    assert RUNGS["halving"].make(0.2, 4).shares == (0.2, 1.0)  # 0.8 would cost nearly as much as the whole
    assert RUNGS["full"].make().shares == (1.0,)


@pytest.mark.parametrize("name", RUNGS)
def test_every_way_of_the_catalog_is_a_plain_value_that_ends_on_the_full_horizon(name: str) -> None:
    entry = RUNGS[name]
    rungs = entry.make(1 / 16, 4)

    assert rungs.name == entry.name == name
    assert entry.title
    assert all(bracket.shares[-1] == 1.0 for bracket in rungs.brackets)
    assert pickle.loads(pickle.dumps(rungs)) == rungs == entry.make(1 / 16, 4)
    assert hash(rungs) == hash(entry.make(1 / 16, 4))


@pytest.mark.parametrize("name", RUNGS)
@pytest.mark.parametrize("start", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_a_start_that_is_no_share_is_refused(name: str, start: float) -> None:
    with pytest.raises(InputError, match="start must be a fraction of the horizon between 0 and 1"):
        RUNGS[name].make(start, 4)


@pytest.mark.parametrize("eta", [1, 0, -2, 2.5, True])
def test_an_eta_that_keeps_everyone_is_refused(eta: int) -> None:
    with pytest.raises(InputError, match="eta must be a whole number, at least 2"):
        RUNGS["halving"].make(1 / 16, eta)


def test_an_unknown_way_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'hyperband'"):
        RUNGS["hyprband"]


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.25, 1.0), (0.0, 1.0), (0.5, 2.0), (math.nan, 1.0)])
def test_a_bracket_that_does_not_rise_to_the_full_horizon_is_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="shares must be rising fractions of the horizon that end with 1"):
        Bracket(shares)


def test_rungs_of_no_bracket_and_a_bracket_of_no_weight_are_refused() -> None:
    with pytest.raises(InputError, match="brackets must hold at least one"):
        Rungs("own", ())
    with pytest.raises(InputError, match="weight must be a whole number, at least 1"):
        Bracket((1.0,), weight=0)
