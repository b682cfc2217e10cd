"""The plan of a sweep: what is trained next, and that a killed sweep goes on as if nothing had happened."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.study.runs import ran

from stepsize.errors import InputError
from stepsize.study.plan import Plan
from stepsize.study.samplers import SAMPLERS, Sampler
from stepsize.study.space import Range, Space, as_space
from stepsize.study.strategy import Job
from stepsize.training.runs import Run, Trial, Value

Judge = Callable[[Job], float]
SPACE = as_space(lr=(1e-4, 1.0))
GOLDEN = (math.sqrt(5) - 1) / 2


def listed(*rates: float | dict[str, Value]) -> Sampler:
    """Propose the rates, or the configurations, that are given, in that order."""

    def propose(number: int, seen: Sequence[Run], space: Space, running: Sequence[Trial]) -> dict[str, Value] | None:
        if number >= len(rates):
            return None
        given = rates[number]
        return given if isinstance(given, dict) else {"lr": given}

    return propose


def mindful(end: int = 10**9) -> Sampler:
    """Make proposals that depend on everything that is told, so that any difference in the past shows."""

    def propose(number: int, seen: Sequence[Run], space: Space, running: Sequence[Trial]) -> dict[str, Value] | None:
        if number >= end:
            return None
        assert isinstance(space.lr, Range)
        past = [(outcome.key, outcome.value, outcome.diverged) for outcome in seen]
        draw = random.Random(repr((number, past, space))).random()
        return {"lr": space.lr.from_unit((number * GOLDEN + 0.2 * draw) % 1.0)}

    return propose


def plan_of(
    sampler: Sampler,
    *,
    trials: int = 8,
    seeds: Sequence[int] = (0,),
    space: Space = SPACE,
    repeats: int = 2,
    widen: int = 0,
) -> Plan:
    return Plan(space, sampler, trials=trials, seeds=seeds, repeats=repeats, widen=widen)


def outcome_of(job: Job, value: float) -> Run:
    """Infinite means diverged."""
    return ran(job, value, diverged_at=0.5 if value == math.inf else None, cost=job.share)


def in_turns(plan: Plan, judge: Judge) -> Iterator[Job]:
    """Ask and tell in turns until nothing is left; yields each job before it is told."""
    while (job := plan.ask()) is not None:
        yield job
        plan.tell(outcome_of(job, judge(job)))


def keys(jobs: Sequence[Job]) -> list[tuple[float, float, int]]:
    return [(job.trial.lr, job.share, job.seed) for job in jobs]


def inside(job: Job) -> float:
    """A bowl whose lowest point lies well within the range."""
    return (math.log10(job.trial.lr) + 2) ** 2


# ------------------------------------------------------------------ what is trained


def test_every_trial_is_trained_on_the_first_seed_and_the_best_on_the_others_seed_by_seed() -> None:
    plan = plan_of(listed(1e-4, 0.1, 0.01, 1.0), trials=4, seeds=(3, 5, 7))
    jobs = list(in_turns(plan, inside))
    assert keys(jobs) == [
        *[(lr, 1.0, 3) for lr in (1e-4, 0.1, 0.01, 1.0)],
        *[(lr, 1.0, seed) for seed in (5, 7) for lr in (0.01, 0.1)],
    ]
    assert plan.done
    assert plan.notes == ["Repeated the 2 best trials on 2 further seeds."]


@pytest.mark.parametrize(("seeds", "repeats"), [((0,), 2), ((0, 1), 0)])
def test_nothing_is_repeated_without_further_seeds_or_repeats(seeds: tuple[int, ...], repeats: int) -> None:
    plan = plan_of(listed(0.001, 0.01, 0.1), trials=3, seeds=seeds, repeats=repeats)
    assert len(list(in_turns(plan, inside))) == 3
    assert plan.done


def test_a_best_trial_that_diverged_or_could_not_be_judged_is_not_repeated() -> None:
    values = {0.001: math.nan, 0.01: 1.0, 0.1: math.inf}
    plan = plan_of(listed(0.001, 0.01, 0.1), trials=3, seeds=(0, 1))
    jobs = list(in_turns(plan, lambda job: values[job.trial.lr]))
    assert keys(jobs)[3:] == [(0.01, 1.0, 1)]
    assert plan.notes[-1] == "Repeated the best trial on 1 further seed."


def test_nothing_is_repeated_if_everything_diverged() -> None:
    plan = plan_of(listed(0.01, 0.1, 0.2, 0.3), trials=4, seeds=(0, 1))
    assert len(list(in_turns(plan, lambda job: math.inf))) == 4
    assert plan.done
    assert plan.notes[-1] == "No trial ended with a finite loss, so none was repeated."


def test_of_equal_losses_the_earlier_trial_is_repeated() -> None:
    plan = plan_of(listed(0.001, 0.01, 0.1), trials=3, seeds=(0, 1), repeats=1)
    assert keys(list(in_turns(plan, lambda job: 1.0)))[3:] == [(0.001, 1.0, 1)]


def test_fewer_proposals_than_trials_end_the_round_and_are_told() -> None:
    plan = plan_of(listed(0.001, 0.01, 0.1), trials=10)
    jobs = list(in_turns(plan, inside))
    assert keys(jobs) == [(lr, 1.0, 0) for lr in (0.001, 0.01, 0.1)]
    assert "The sampler had no more proposals after 3 trials." in plan.notes


# ------------------------------------------------------------------ widening


def test_a_grid_whose_best_is_its_lowest_point_goes_on_with_its_spacing_until_the_best_lies_inside() -> None:
    plan = plan_of(SAMPLERS["grid"].make(0, 9), trials=9, seeds=(0, 1), widen=2)
    jobs = list(in_turns(plan, lambda job: abs(math.log10(job.trial.lr) + 4.5)))
    rates = sorted({job.trial.lr for job in jobs})
    assert [math.log10(lr) for lr in rates] == pytest.approx([-5 + k / 2 for k in range(11)])
    assert plan.space.lr == Range("lr", 1e-5, 1.0)
    assert plan.notes == [
        "No rate below the best one, 1e-4, was clearly worse, so the range was widened to 1e-5 to 1.",
        "Repeated the 2 best trials on 1 further seed.",
    ]


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_what_other_samplers_add_lies_in_the_new_decade(name: str) -> None:
    plan = plan_of(SAMPLERS[name].make(0, 16), trials=16, widen=1)
    jobs = list(in_turns(plan, lambda job: -job.trial.lr))
    added = jobs[16:]
    assert len(added) == 4  # as many as there were on a decade
    assert all(1.0 < job.trial.lr <= 10.0 for job in added)
    assert "was clearly worse, so the range was widened to 1e-4 to 10." in plan.notes[0]


def test_the_range_is_widened_no_more_often_than_allowed() -> None:
    for limit in (0, 1, 2):
        plan = plan_of(SAMPLERS["grid"].make(0, 5), trials=5, widen=limit)
        jobs = list(in_turns(plan, lambda job: job.trial.lr))
        assert min(job.trial.lr for job in jobs) == pytest.approx(1e-4 / 10**limit)
        assert plan.notes[-1].endswith(f"; the range was not widened further (limit: {limit}).")
        assert plan.done


def test_rates_that_diverge_close_the_range() -> None:
    rates = [10 ** (-4 + 4 * k / 40) for k in range(40)] + [0.85 + k / 80 for k in range(13)]
    plan = plan_of(listed(*rates), trials=len(rates), widen=2)
    jobs = list(in_turns(plan, lambda job: math.inf if job.trial.lr > 0.84 else -job.trial.lr))
    assert len(jobs) == len(rates)
    assert plan.space == SPACE
    assert plan.notes == []


def test_a_range_in_which_everything_diverges_is_widened_downwards() -> None:
    plan = plan_of(SAMPLERS["grid"].make(0, 5), trials=5, widen=2)
    jobs = list(in_turns(plan, lambda job: math.inf if job.trial.lr > 2e-5 else 1.0))
    assert jobs[5].trial.lr == pytest.approx(1e-5)
    assert any(note.startswith("Every run diverged, so the range was widened to 1e-5") for note in plan.notes)


@pytest.mark.parametrize(("downwards", "added"), [(1, 1e-6), (-1, 100.0)])
def test_a_coarse_grid_is_widened_by_its_spacing(downwards: int, added: float) -> None:
    plan = plan_of(SAMPLERS["grid"].make(0, 3), trials=3, widen=1)
    jobs = list(in_turns(plan, lambda job: downwards * job.trial.lr))
    assert [job.trial.lr for job in jobs[3:]] == pytest.approx([added])


def test_where_a_grid_is_widened_its_other_values_come_again() -> None:
    space = as_space(lr=(1e-4, 1.0), optimizer=["sgd", "adam"])
    plan = plan_of(SAMPLERS["grid"].make(0, 18), trials=18, space=space, widen=1)
    jobs = list(in_turns(plan, lambda job: -job.trial.lr))
    added = [job.trial.values for job in jobs[18:]]
    assert [values["lr"] for values in added] == pytest.approx([10**0.25, 10**0.5, 10**0.75, 10.0])
    assert {values["optimizer"] for values in added} == {"sgd", "adam"}


def test_rates_from_a_list_and_a_best_in_the_middle_widen_nothing() -> None:
    rates = as_space(lr=[0.1, 0.2, 0.3])
    plan = plan_of(SAMPLERS["grid"].make(0, 3), trials=3, space=rates, widen=2)
    assert len(list(in_turns(plan, lambda job: job.trial.lr))) == 3
    plan = plan_of(listed(0.01), trials=1, widen=2)
    assert len(list(in_turns(plan, inside))) == 1
    assert plan.space == SPACE
    assert plan.notes == []


@pytest.mark.parametrize(("lowest", "widened"), [(1e-4, False), (3e-4, True)])
def test_rates_a_factor_of_ten_apart_that_are_as_good_widen_nothing(lowest: float, widened: bool) -> None:
    losses = {lowest: 1.01, 1e-3: 1.0, 1e-2: 1.5, 1e-1: 2.0, 1.0: 3.0}
    plan = plan_of(listed(*losses), trials=5, widen=1)
    list(in_turns(plan, lambda job: losses.get(job.trial.lr, 3.0)))
    assert (plan.space != SPACE) is widened


@pytest.mark.parametrize(("bad", "widened"), [(2, True), (3, False)])
def test_two_bad_configurations_do_not_close_a_side_where_other_values_vary(bad: int, widened: bool) -> None:
    space = as_space(lr=(1e-4, 1.0), momentum=(0.0, 0.99))
    points: list[dict[str, Value]] = [
        {"lr": lr, "momentum": 0.1 * n} for n, lr in enumerate((1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.7, 1.0)[: 4 + bad])
    ]
    plan = plan_of(listed(*points), trials=4 + bad, space=space, widen=1)
    list(in_turns(plan, lambda job: 9.0 if job.trial.lr > 0.1 else 1 - math.log10(job.trial.lr)))
    assert (plan.space != space) is widened
    assert ("No rate above the best one, 0.1, was clearly worse" in " ".join(plan.notes)) is widened


# ------------------------------------------------------------------ being killed


def landscape(salt: int, diverging: float, lowest: float) -> Judge:
    """A bowl in log lr with noise by trial and seed; beyond a rate trainings diverge."""

    def judge(job: Job) -> float:
        noise = random.Random(repr((salt, job.key))).random()
        if job.trial.lr * (0.5 + noise) > diverging:
            return math.inf
        return math.nan if noise > 0.97 else (math.log10(job.trial.lr) - lowest) ** 2 + noise

    return judge


MAKES: dict[str, Callable[[], Sampler]] = {
    "mindful": mindful,
    "ends early": lambda: mindful(end=9),
    "grid": lambda: SAMPLERS["grid"].make(0, 12),
    "sobol": lambda: SAMPLERS["sobol"].make(0, 12),
    "tpe": lambda: SAMPLERS["tpe"].make(0, 12),
}
LANDSCAPES = st.builds(
    landscape,
    st.integers(0, 10**6),
    st.sampled_from([1e-6, 0.01, 0.5, 1e9]),
    st.sampled_from([-6.0, -4.0, -2.0, 0.0, 1.5]),
)
SETUPS = st.tuples(st.sampled_from(sorted(MAKES)), st.sampled_from([1, 2, 12, 17]))


def setup(sampler: str, trials: int) -> Plan:
    return plan_of(MAKES[sampler](), trials=trials, seeds=(0, 1, 2), widen=2)


@settings(max_examples=120, deadline=None)
@given(SETUPS, LANDSCAPES, st.floats(0, 1), st.booleans())
def test_a_plan_that_was_killed_goes_on_with_the_jobs_of_one_that_was_not(
    made: tuple[str, int], judge: Judge, moment: float, pending: bool
) -> None:
    whole = setup(*made)
    jobs = list(in_turns(whole, judge))
    told = int(moment * len(jobs))
    outcomes = whole.runs[:told]
    begun = jobs[: told + pending]  # the next one was asked for, or not yet
    numbers = {job.trial.number for job in begun}

    again = setup(*made)
    again.restore([trial for trial in whole.trials if trial.number in numbers], outcomes)
    assert list(in_turns(again, judge)) == jobs[told:]
    assert [(run.key, run.trial, run.value) for run in again.runs] == [
        (run.key, run.trial, run.value) for run in whole.runs
    ]
    assert again.notes == whole.notes
    assert again.space == whole.space
    assert again.done


@settings(max_examples=120, deadline=None)
@given(SETUPS, LANDSCAPES, st.integers(1, 7), st.integers(0, 10**6), st.lists(st.integers(1, 25), max_size=4))
def test_many_workers_killed_many_times_lose_no_job_and_train_none_twice(
    made: tuple[str, int], judge: Judge, capacity: int, luck: int, kills: list[int]
) -> None:
    draw = random.Random(luck)
    trials: dict[int, Trial] = {}
    outcomes: list[Run] = []
    plan = setup(*made)
    for patience in [*kills, 10**9]:
        running: list[Job] = []
        while len(outcomes) < patience or patience == 10**9:
            while len(running) < capacity and (job := plan.ask()) is not None:
                running.append(job)
                assert trials.setdefault(job.trial.number, job.trial) == job.trial  # once proposed, a trial stays
            asked = [job.key for job in running] + [outcome.key for outcome in outcomes]
            assert len(set(asked)) == len(asked)
            assert plan.done == (not running)
            if not running:
                break
            job = running.pop(draw.randrange(len(running)))
            outcomes.append(outcome_of(job, judge(job)))
            plan.tell(outcomes[-1])
        if patience < 10**9:
            plan, probe = setup(*made), setup(*made)
            plan.restore(list(trials.values()), outcomes)
            probe.restore(list(trials.values()), outcomes)
            again = set()
            while (next_job := probe.ask()) is not None and next_job.trial.number in trials:
                again.add(next_job.key)
            assert {job.key for job in running} <= again  # before anything new
    assert plan.done
    assert plan.remaining() == 0
    assert plan.runs == tuple(outcomes)
    assert {outcome.trial.number for outcome in outcomes} == set(trials) == set(range(len(plan.trials)))


def test_lost_jobs_are_asked_for_again_before_what_was_decided_meanwhile() -> None:
    plan = plan_of(listed(0.01, 0.02, 0.03), trials=4)
    jobs = [job for job in (plan.ask() for _ in range(3)) if job is not None]
    again = plan_of(listed(0.01, 0.02, 0.03, 0.04), trials=4)
    again.restore([job.trial for job in jobs], [outcome_of(jobs[2], 3.0), outcome_of(jobs[0], 1.0)])
    assert again.ask() == jobs[1]
    assert again.ask() == Job(Trial(3, {"lr": 0.04}), 1.0, 0)


# ------------------------------------------------------------------ what is refused


def test_an_outcome_is_taken_once_and_only_of_what_was_asked_for() -> None:
    plan = plan_of(listed(0.001, 0.01), trials=2)
    job = plan.ask()
    assert job is not None
    plan.tell(outcome_of(job, 1.0))
    with pytest.raises(InputError, match=r"run was reported before; got \(0, 1.0, 0\)"):
        plan.tell(outcome_of(job, 1.0))
    with pytest.raises(InputError, match="is of a job that was not asked for"):
        plan.tell(outcome_of(Job(job.trial, 0.5, 0), 1.0))
    assert len(plan.runs) == 1


def test_only_a_fresh_plan_is_restored_and_only_from_its_own_record() -> None:
    trials = [Trial(number, {"lr": 0.01}) for number in range(3)]
    strange = [ran(Job(trials[0], 0.5, 0), 1.0)]
    with pytest.raises(InputError, match="trials must be numbered from 0 without gaps"):
        plan_of(mindful()).restore([trials[0], trials[2]], [])
    with pytest.raises(InputError, match=r"runs must follow from this plan; got \(0, 0.5, 0\)"):
        plan_of(mindful()).restore(trials, strange)
    plan = plan_of(mindful())
    assert plan.ask() is not None
    with pytest.raises(InputError, match="restore needs a plan that has not begun"):
        plan.restore(trials, [])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"trials": 0}, "trials must be a whole number, at least 1; got 0"),
        ({"seeds": ()}, "seeds must hold at least one seed"),
        ({"seeds": (1, 2, 1)}, "seeds must hold at least one seed, each once"),
        ({"repeats": -1}, "repeats must be a whole number, at least 0"),
        ({"widen": -1}, "widen must be a whole number, at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused(bad: dict[str, int], said: str) -> None:
    arguments = {"trials": 4, "seeds": (0,)} | bad
    with pytest.raises(InputError, match=said):
        Plan(SPACE, mindful(), **arguments)  # type: ignore[arg-type]


# ------------------------------------------------------------------ what is foreseen, and the price of it all


@pytest.mark.parametrize("trials", [1, 7, 25])
def test_what_remains_is_foreseen_exactly_where_nothing_unforeseen_happens(trials: int) -> None:
    plan = plan_of(mindful(), trials=trials, seeds=(0, 1, 2))
    jobs, foreseen = [], [plan.remaining()]
    for job in in_turns(plan, inside):
        jobs.append(job)
        assert plan.remaining() == foreseen[-1]  # a job that runs is still to come
        foreseen.append(foreseen[-1] - 1)
    assert plan.remaining() == foreseen[-1] == 0
    assert foreseen[0] == len(jobs)


def test_a_thousand_trials_cost_the_plan_a_few_milliseconds() -> None:
    def seconds(trials: int) -> float:
        rates = [10 ** (-4 + 4 * ((number * GOLDEN) % 1.0)) for number in range(trials)]
        plan = plan_of(listed(*rates), trials=trials)
        start = time.process_time()
        while (job := plan.ask()) is not None:
            plan.tell(ran(job, inside(job)))
        return time.process_time() - start

    best = min(seconds(1000) for _ in range(3))
    assert best < 0.1, f"{1000 * best:.0f} ms"  # about 10 on an idle machine: nothing is computed anew each time
