"""Samplers: pure functions of what was seen, within the space."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.study.landscapes import SPACES, Values, all_values, bowl, fell, holds, outcome, swept, units_of

from stepsize.errors import InputError, UnknownNameError
from stepsize.study.samplers import SAMPLERS, Sampler
from stepsize.study.samplers.guided import points_of
from stepsize.study.space import Space, as_space
from stepsize.training.runs import Run, Trial, Value

LR = as_space(lr=(1e-5, 1.0))
JOINT = as_space(lr=(1e-4, 1.0), momentum=(0.0, 0.99), optimizer=["sgd", "nesterov"])
# A Gaussian process takes a tenth of a second a proposal: the longer tests of it run with -m slow.
EACH = [pytest.param(name, marks=pytest.mark.slow) if name == "gp" else name for name in SAMPLERS]
LEARNING = [one for one, entry in zip(EACH, SAMPLERS.values(), strict=True) if entry.learns]


def critical(values: Values) -> float:
    """Return a loss that is infinite above 0.1."""
    return bowl(values, critical=0.1)


def global_states() -> tuple[object, ...]:
    """Return the states of the random generators that everybody shares."""
    numpys = np.random.mtrand._rand.__getstate__()["state"]
    return random.getstate(), str(numpys), torch.random.get_rng_state().tolist()


def lr_of(values: Values | None) -> float:
    assert values is not None
    return float(values["lr"])


# ── what holds for every sampler ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", EACH)
@settings(max_examples=5)
@given(space=SPACES, seed=st.integers(0, 99), share=st.floats(0.2, 0.9))
def test_every_proposal_lies_in_the_space(name: str, space: Space, seed: int, share: float) -> None:
    lr = float(space.lr.from_unit(share))
    seen = swept(SAMPLERS[name].make(seed, 12), space, 12, lambda values: bowl(values, critical=lr))

    assert all(holds(space, values) for values in all_values(seen))


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("space", [LR, JOINT], ids=["lr", "joint"])
def test_a_sampler_made_anew_in_the_middle_goes_on_as_the_old_one(name: str, space: Space) -> None:
    def resumed(seen: list[Run]) -> list[Run]:
        return swept(SAMPLERS[name].make(7, 14), space, 14, lambda values: bowl(values, critical=0.02), seen=seen)

    whole = resumed([])
    assert any(one.diverged for one in whole)

    for done in (1, 11, 13):
        assert resumed(whole[:done]) == whole, done


@pytest.mark.parametrize("name", SAMPLERS)
def test_trials_proposed_at_once_and_told_in_any_order_resume_too(name: str) -> None:
    def batch(sampler: Sampler, seen: list[Run], start: int) -> list[Run]:
        running: list[Trial] = []
        for number in range(start, start + 4):
            values = sampler(number, list(seen), LR, running)
            assert values is not None
            running.append(Trial(number, values))
        told = [outcome(trial.number, trial.values, critical(trial.values)) for trial in running]
        return [told[2], told[0], told[3], told[1]]

    entry = SAMPLERS[name]
    kept, seen = entry.make(3, 16), list[Run]()
    for start in range(0, 16, 4):
        expected = batch(kept, seen, start)
        assert batch(entry.make(3, 16), seen, start) == expected
        seen += expected


@pytest.mark.parametrize("name", EACH)
def test_a_proposal_asked_for_again_is_the_same(name: str) -> None:
    sampler = SAMPLERS[name].make(0, 20)
    seen = swept(sampler, JOINT, 12, critical)

    first = [sampler(number, seen, JOINT, []) for number in (12, 13, 14)]

    assert [sampler(number, seen, JOINT, []) for number in (14, 12, 13)] == [first[2], first[0], first[1]]
    assert sampler(5, seen[:5], JOINT, []) == seen[5].trial.values


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "grid"])
def test_another_seed_proposes_other_trials(name: str) -> None:
    runs = [all_values(swept(SAMPLERS[name].make(seed, 12), LR, 12, critical)) for seed in (0, 1)]

    assert all(one != other for one, other in zip(*runs, strict=True))


@pytest.mark.parametrize("name", EACH)
def test_trials_proposed_at_once_differ(name: str) -> None:
    sampler = SAMPLERS[name].make(0, 24)
    seen = swept(sampler, LR, 12, bowl)

    running: list[Trial] = []
    for number in range(12, 18):
        running.append(Trial(number, sampler(number, seen, LR, running) or {}))

    units = sorted(units_of(LR, trial.values)[0] for trial in running)
    assert np.diff(units).min() > 1e-4
    assert units[-1] - units[0] > 0.01


@pytest.mark.parametrize("name", EACH)
def test_sampling_touches_no_global_state_and_prints_nothing(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.INFO)  # another test may have asked for less
    states = global_states()

    swept(SAMPLERS[name].make(0, 14), JOINT, 14, critical)

    assert global_states() == states
    assert optuna.logging.get_verbosity() == logging.INFO
    optuna.logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", EACH)
def test_a_space_of_lists_alone_is_sampled(name: str) -> None:
    space = as_space(lr=[0.001, 0.01, 0.1], momentum=0.9)

    found = all_values(swept(SAMPLERS[name].make(0, 14), space, 14, critical))

    assert {lr_of(values) for values in found} == {0.001, 0.01, 0.1}


# ── those that learn ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", LEARNING)
def test_a_learning_sampler_comes_closer_to_the_best(name: str) -> None:
    def distances(seen: list[Run]) -> list[float]:
        return [abs(math.log10(lr_of(one.trial.values) / 0.01)) for one in seen]

    found = distances(swept(SAMPLERS[name].make(1, 24), LR, 24, bowl))

    assert np.median(found[14:]) < 0.6 * np.median(found[:10])


@pytest.mark.parametrize("name", LEARNING)
def test_divergence_is_a_side_to_keep_off(name: str) -> None:
    def rising(values: Values) -> float:  # better and better up to where it explodes
        return math.inf if lr_of(values) > 0.01 else -math.log10(lr_of(values))

    seen = swept(SAMPLERS[name].make(2, 22), LR, 22, rising)

    assert sum(one.diverged for one in seen[12:]) <= 6
    assert min(abs(math.log10(lr_of(one.trial.values) / 0.01)) for one in seen if not one.diverged) < 0.25


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_how_large_a_lost_loss_became_does_not_matter(name: str) -> None:
    seen = swept(SAMPLERS[name].make(0, 20), LR, 11, critical)
    huge = [replace(one, train_loss=1e30, cost=3.0) if one.diverged else replace(one, seconds=9.0) for one in seen]

    proposed = [SAMPLERS[name].make(0, 20)(11, outcomes, LR, []) for outcomes in (seen, huge)]

    assert proposed[0] == proposed[1]


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("loss", [math.inf, 1.0], ids=["diverged", "flat"])
def test_it_goes_on_where_there_is_nothing_to_learn(name: str, loss: float) -> None:
    seen = swept(SAMPLERS[name].make(0, 13), LR, 13, lambda values: loss)

    assert len(set(map(lr_of, all_values(seen)))) >= 12
    assert all(holds(LR, values) for values in all_values(seen))


def test_tpe_is_that_of_optuna_in_the_coordinates_of_the_space() -> None:
    import optuna

    seen = swept(SAMPLERS["tpe"].make(5, 20), LR, 15, bowl)
    unit = {"lr": optuna.distributions.FloatDistribution(0.0, 1.0)}
    seed = int(np.random.SeedSequence((5, 15)).generate_state(1)[0])
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    optuna.logging.set_verbosity(level)
    for one in seen:
        place = {"lr": units_of(LR, one.trial.values)[0]}
        study.add_trial(optuna.trial.create_trial(params=place, distributions=dict(unit), value=one.value))

    expected = LR.lr.from_unit(study.ask(dict(unit)).params["lr"])

    assert SAMPLERS["tpe"].make(5, 20)(15, seen, LR, []) == {"lr": expected}


def told(*runs: Run) -> dict[int, float | None]:
    """Return the value of each trial that a model is told."""
    return {point.trial.number: point.value for point in points_of(runs)}


def test_a_model_is_told_the_mean_over_seeds_every_divergence_and_never_nan() -> None:
    values: Values = {"lr": 0.1}

    assert told(outcome(0, values, 1.0), outcome(0, values, 3.0, seed=1)) == {0: 2.0}
    fallen = (fell(1, values), outcome(2, values, 2.0), fell(2, values, seed=1))
    found = told(outcome(0, values, 2.0), *fallen, outcome(3, values, math.nan))
    assert found == {0: 2.0, 1: None, 2: None}
    assert told(fell(0, values), fell(1, values)) == {}


# ── the grid ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def grid(trials: int, space: Space) -> list[dict[str, Value]]:
    """Return all its points in their order."""
    sampler = SAMPLERS["grid"].make(0, trials)
    points = [sampler(number, [], space, []) for number in range(trials * 4)]
    found = [point for point in points if point is not None]
    assert points[len(found) :] == [None] * (len(points) - len(found))
    return found


def test_a_grid_of_rates_is_spaced_evenly_in_the_log() -> None:
    rates = sorted(lr_of(point) for point in grid(11, LR))

    assert rates == pytest.approx(np.logspace(-5, 0, 11).tolist())


@given(st.integers(1, 70))
def test_a_grid_is_useful_early(trials: int) -> None:
    units = [units_of(LR, point)[0] for point in grid(trials, LR)]

    assert len(units) == trials
    for half in (count for count in (4, 8, 16, 32) if count <= trials):
        gaps = np.diff([0.0, *sorted(units[:half]), 1.0])
        assert gaps.max() < 4.2 / half


@settings(max_examples=30)
@given(SPACES, st.integers(1, 20))
def test_a_grid_has_no_more_points_than_trials(space: Space, trials: int) -> None:
    points = grid(12 * trials, space)  # the lists have 12 combinations at most

    assert 1 <= len(points) <= 12 * trials
    assert len({tuple(point.values()) for point in points}) == len(points)


def test_a_grid_over_several_dimensions_is_a_product_in_which_the_rate_has_the_most_points() -> None:
    points = grid(32, JOINT)

    axes = {name: {point[name] for point in points} for name in JOINT.names}
    assert {name: len(axis) for name, axis in axes.items()} == {"lr": 5, "momentum": 3, "optimizer": 2}
    assert len(points) == 30
    assert {point["optimizer"] for point in points[:4]} == {"sgd", "nesterov"}
    assert len({point["lr"] for point in points[:10]}) == 4


def test_a_grid_that_cannot_hold_its_lists_says_so() -> None:
    space = as_space(lr=[0.1, 0.2], optimizer=["sgd", "adam", "adamw"], momentum=0.9)

    with pytest.raises(InputError, match=r"trials must be enough .* 6 combinations \(2 × lr, 3 × optimizer\)"):
        SAMPLERS["grid"].make(0, 5)(0, [], space, [])


# ── draws ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_random_draws_are_uniform_in_the_scales() -> None:
    units = np.array(
        [units_of(JOINT, values) for values in all_values(swept(SAMPLERS["random"].make(0, 1), JOINT, 800, bowl))]
    )

    for column in units[:, :2].T:
        assert np.abs(np.sort(column) - (np.arange(800) + 0.5) / 800).max() < 1.36 / math.sqrt(800)
    assert 340 < (units[:, 2] < 0.5).sum() < 460


def test_sobol_leaves_no_hole() -> None:
    units = [units_of(JOINT, values) for values in all_values(swept(SAMPLERS["sobol"].make(0, 1), JOINT, 64, bowl))]

    assert np.diff([0.0, *sorted(unit[0] for unit in units), 1.0]).max() < 2.1 / 64
    cells = {(int(unit[0] * 4), int(unit[1] * 4)) for unit in units}
    assert len(cells) == 16


# ── the catalog ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_catalog_names_its_entries() -> None:
    assert list(SAMPLERS) == ["grid", "random", "sobol", "tpe", "gp"]
    assert all(entry.name == name and entry.title for name, entry in SAMPLERS.items())


def test_an_unknown_sampler_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'sobol'"):
        SAMPLERS["sobel"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAMPLERS["random"].make(-1, 5), "seed must be a whole number, at least 0; got -1"),
        (lambda: SAMPLERS["grid"].make(0, 0), "trials must be a whole number, at least 1; got 0"),
        (lambda: SAMPLERS["grid"].make(0, True), "trials must be a whole number"),
    ],
)
def test_a_seed_and_a_number_of_trials_are_checked(make: Callable[[], Sampler], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
