from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
from benchmarks.combos import DESIGN, GRID, HELD_OUT, Combo, all_combos, build, midpoints
from benchmarks.runlog import FingerprintError, Row, RunLog
from benchmarks.truth import SHORT, SHORT_FOLDER, TRUTH_FOLDER, Job, fingerprint, missing, near_best
from tests.benchmarks.small_tasks import plain_task
from torch import nn

COMBO = Combo("cancer-mlp", "adamw")


def row(lr: float, val: float | None, seed: int = 0) -> Row:
    return Row(lr, seed, 800, val, val, None, None if val is not None else 1, 1.0)


def test_the_grid_has_21_rates_from_1e_5_to_10() -> None:
    assert len(GRID) == 21
    assert (GRID[0], GRID[-1]) == (1e-5, 10.0)


def test_midpoints_lie_between_the_grid_around_the_best_rate() -> None:
    logs = [round(math.log10(lr), 3) for lr in midpoints(1e-2)]
    assert logs == [-2.45, -2.15, -1.85, -1.55]
    assert len(midpoints(GRID[0])) == 2  # nothing lies below the grid


def test_every_built_in_task_is_measured_and_none_twice() -> None:
    from stepsize.tasks import TASKS

    assert sorted(DESIGN + HELD_OUT) == sorted(TASKS)
    assert len(all_combos()) == 2 * len(TASKS)


def test_a_group_of_tasks_has_a_name() -> None:
    assert {combo.task for combo in all_combos(["design"])} == set(DESIGN)
    assert {combo.task for combo in all_combos(["held-out"])} == set(HELD_OUT)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(SystemExit, match="not among the tasks measured here: digits"):
        all_combos(["digits"])


def test_every_built_in_task_has_short_runs_of_the_same_training() -> None:
    for combo in all_combos():
        full, short = (RunLog.read(folder / f"{combo.name}.json") for folder in (TRUTH_FOLDER, SHORT_FOLDER))
        assert short.fingerprint == full.fingerprint
        horizons = [full.fingerprint["steps"] // fraction for fraction in SHORT]
        made = {(row.steps, row.seed, row.lr) for row in short.rows}
        assert made == set(itertools.product(horizons, (0, 1), GRID))


def test_midpoints_follow_the_mean_over_seeds() -> None:
    rows = [row(0.01, 1.0), row(0.1, 2.0), row(0.01, 5.0, seed=1), row(0.1, 2.5, seed=1)]
    assert near_best(rows[:2]) == midpoints(0.01)
    assert near_best(rows) == midpoints(0.1)


def test_a_rate_that_diverges_with_one_seed_is_not_the_best() -> None:
    rows = [row(0.01, 1.0), row(0.1, 2.0), row(0.01, None, seed=1), row(0.1, 2.5, seed=1)]
    assert near_best(rows) == midpoints(0.1)
    assert near_best([row(0.1, None)]) == ()


def test_only_runs_that_no_log_holds_are_made_and_each_once(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.json", {})
    log.add([row(0.1, 1.0)])
    jobs = [Job(COMBO, lr, seed, steps) for lr, seed, steps in [(0.1, 0, 800), (0.1, 1, 800), (0.1, 0, 400)]]
    assert missing([*jobs, *jobs], {COMBO: log}) == jobs[1:]


def test_the_fingerprint_is_that_of_the_definition_not_of_the_seed() -> None:
    task = plain_task()
    assert fingerprint(task) == fingerprint(plain_task(seed=7))


def test_the_name_of_a_schedule_does_not_matter_but_its_numbers_do() -> None:
    def named(step: int) -> float:
        return 1 - step / 200

    lambdas = dataclasses.replace(plain_task(), schedule=lambda step: 1 - step / 200)
    steeper = dataclasses.replace(plain_task(), schedule=lambda step: (1 - step / 200) ** 2)
    known = fingerprint(dataclasses.replace(plain_task(), schedule=named))
    assert fingerprint(lambdas) == known
    assert fingerprint(steeper) != known


@pytest.mark.parametrize(
    "change", [{"steps": 201}, {"clip": 1.0}, {"optimizer": "momentum"}, {"schedule": lambda s: 0.5}]
)
def test_a_changed_definition_has_another_fingerprint(change: dict[str, object]) -> None:
    task = plain_task()
    assert fingerprint(dataclasses.replace(task, **change)) != fingerprint(task)  # type: ignore[arg-type]


def test_a_changed_model_makes_the_cache_refused(tmp_path: Path) -> None:
    task = plain_task()
    RunLog(tmp_path / "plain.json", fingerprint(task)).add([row(0.1, 1.0)])
    smaller = dataclasses.replace(task, model=lambda: nn.Linear(4, 1))
    with pytest.raises(FingerprintError, match="parameters: 97 there, 5 now"):
        RunLog(tmp_path / "plain.json", fingerprint(smaller))


def test_a_built_in_task_takes_the_seed_that_is_asked_for() -> None:
    assert build(COMBO, seed=102).seed == 102
    assert build(COMBO).horizon == build(COMBO, seed=102).horizon
