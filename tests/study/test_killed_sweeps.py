"""A sweep that is killed at any moment goes on where it was: nothing is lost, and nothing trained twice."""

from __future__ import annotations

import random
import sys
import textwrap
from pathlib import Path

import pytest
from tests.beside import Program

from stepsize.store import Store
from stepsize.study.sweeping import read_sweep, sweep
from stepsize.tasks import build_task

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is sent as POSIX does")

SCRIPT = """
    import sys
    from stepsize import sweep
    from stepsize.tasks import build_task

    where, log, asked = sys.argv[1], sys.argv[2], eval(sys.argv[3])
    def watch(progress):
        if progress.run is None:
            return
        trial, share, seed = progress.run.key
        with open(log, "a") as file:
            file.write(f"{trial} {share} {seed}\\n")
    print("begun", flush=True)
    sweep(build_task("cancer-mlp", steps=40), name="killed", store=where, on_progress=watch, **asked)
    print("done", flush=True)
"""
WAYS: dict[str, dict[str, object]] = {
    "tpe, in order": {
        "lr": (1e-5, 1.0), "weight_decay": (1e-6, 0.1), "sampler": "tpe", "workers": "in-order", "seeds": 2,
        "trials": 60,
    },
    "sobol, a population": {
        "lr": (1e-5, 1.0), "sampler": "sobol", "workers": "population", "trials": 12,
    },
}  # fmt: skip


def lived(process: Program, seconds: float) -> bool:
    """Kill the process so long after it began; return whether it had ended before."""
    with process:
        assert process.stdout.readline() == "begun\n"
        process.wait(seconds)
        process.kill()
        return "done" in process.stdout.read()


def killed_often(folder: Path, asked: dict[str, object], kills: int, *, seed: int) -> Path:
    """Kill a sweep ``kills`` times, or as often as it lives long enough, and let it end; return its store."""
    script, where, log = folder / "sweep.py", folder / "killed.db", folder / "log.txt"
    script.write_text(textwrap.dedent(SCRIPT))
    draw = random.Random(seed)
    for _ in range(kills):
        if lived(Program(script, str(where), str(log), repr(asked)), draw.uniform(0.0, 0.8)):
            break
    assert lived(Program(script, str(where), str(log), repr(asked)), 300.0)
    trained = log.read_text().splitlines()
    assert len(trained) == len(set(trained)), "a run that was kept was trained again"
    return where


def check_kills(folder: Path, asked: dict[str, object], kills: int) -> None:
    with Store.open(killed_often(folder, asked, kills, seed=kills)) as store:
        killed = read_sweep(store, "killed")
    whole = sweep(build_task("cancer-mlp", steps=40), **asked)  # type: ignore[arg-type, call-overload, unused-ignore]

    keys = [outcome.key for outcome in killed.runs]
    assert len(keys) == len(set(keys))
    assert killed.complete
    assert sorted(keys) == sorted(outcome.key for outcome in whole.runs)
    settings = {outcome.key: outcome.trial.values for outcome in whole.runs}
    assert {outcome.key: outcome.trial.values for outcome in killed.runs} == settings
    values = {outcome.key: (outcome.value, outcome.diverged) for outcome in whole.runs}
    for outcome in killed.runs:  # cohorts of another size round otherwise
        assert outcome.value == pytest.approx(values[outcome.key][0], rel=1e-4)
    assert killed.best == whole.best


def test_a_sweep_that_is_killed_a_few_times_loses_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, {**WAYS["tpe, in order"], "trials": 12}, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", WAYS)
def test_a_sweep_that_is_killed_at_fifty_random_moments_loses_nothing(way: str, tmp_path: Path) -> None:
    check_kills(tmp_path, WAYS[way], kills=50)
