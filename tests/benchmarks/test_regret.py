from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.combos import GRID
from benchmarks.peers import TOOLS_OF, Pick
from benchmarks.record import read_rows, write_record
from benchmarks.regret import (
    PickJob,
    compute_replays,
    kept_rows,
    kept_values,
    missing_jobs,
    score_picks,
    scored,
)
from benchmarks.replay import Case, Truth
from benchmarks.searches import SEARCHES
from benchmarks.truth_curve import TruthCurve

CASE = Case("cancer-mlp", "momentum")


def row(tool: str = "fixed default", lr: float | None = 0.1, seed: int = 100, **others: Any) -> dict[str, Any]:
    return {"tool": tool, "task": CASE.task, "optimizer": CASE.optimizer, "seed": seed, "lr": lr, **others}


def truth() -> Truth:
    lrs = np.asarray(GRID)
    losses = np.tile(1 + np.abs(np.log10(lrs / 0.01)), (3, 1)).clip(max=3.0)
    curve = TruthCurve(lrs, losses, np.zeros(losses.shape, dtype=bool), 3.0)
    return Truth(CASE, 100, 3.0, {100: curve})


def test_a_pick_is_scored_by_the_truth_of_its_training() -> None:
    result = scored(row(lr=0.1), {CASE: truth()})
    assert result["regret"] == pytest.approx(1.0)
    assert result["picked_to_best"] == pytest.approx(10.0)
    assert result["diverged"] is False


def test_no_answer_has_the_regret_of_the_default_rate_and_no_ratio() -> None:
    result = scored(row(tool="Lightning tuner", lr=None), {CASE: truth()})
    assert result["regret"] == scored(row(lr=0.1), {CASE: truth()})["regret"]
    assert result["picked_to_best"] is None
    assert result["lr"] is None


def test_without_truth_a_pick_loses_its_old_score() -> None:
    assert scored(row(regret=0.5, regret_error=None, diverged=False, picked_to_best=2.0), {}) == row()


def test_only_picks_that_no_record_holds_are_made() -> None:
    rows = {("fixed default", CASE, 100): row()}
    assert missing_jobs(rows, [CASE], [100, 101], ["fixed"]) == [PickJob("fixed", CASE, 101)]


def test_a_sweep_with_one_rule_missing_is_made_again() -> None:
    tools = TOOLS_OF["sweep"]
    rows = {(tool, CASE, 100): row(tool) for tool in tools[:-1]}
    assert missing_jobs(rows, [CASE], [100], ["sweep"]) == [PickJob("sweep", CASE, 100)]
    rows[tools[-1], CASE, 100] = row(tools[-1])
    assert missing_jobs(rows, [CASE], [100], ["sweep"]) == []


def test_a_row_holds_what_the_pick_has_and_always_its_rate_and_cost() -> None:
    nothing = kept_values(Pick("t", None, math.nan, 1.5, "why"))
    assert nothing == {"lr": None, "cost": None, "seconds": 1.5, "note": "why"}
    full = kept_values(Pick("t", 0.123456789, 0.5, 2.0, interval=(0.1, 1 / 3), wall=0.25))
    assert full == {"lr": 0.123457, "cost": 0.5, "seconds": 2.0, "interval": [0.1, 0.333333], "wall": 0.25}


def test_redoing_a_tool_drops_its_rows_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "regret.json"
    write_record(path, {}, [row("stepsize find"), row("stepsize find", seed=101), row("fixed default")])
    kept = kept_rows(path, {"stepsize find"}, [CASE], [100])
    assert [(key[0], key[2]) for key in kept] == [("stepsize find", 101), ("fixed default", 100)]
    assert len(kept_rows(path, set(), [CASE], [100])) == 3
    assert kept_rows(tmp_path / "none.json", set(), [CASE], [100]) == {}


def test_a_range_holds_the_best_rate_or_not() -> None:
    assert scored(row(interval=[1e-3, 0.1]), {CASE: truth()})["holds_best"] is True
    assert scored(row(interval=[0.05, 0.1]), {CASE: truth()})["holds_best"] is False
    assert "holds_best" not in scored(row(), {CASE: truth()})


def test_kept_picks_are_scored_again_without_a_call(tmp_path: Path) -> None:
    path = tmp_path / "regret.json"
    write_record(path, {}, [row(regret=7.0)])
    score_picks({CASE: truth()}, path)
    assert [kept["regret"] for kept in read_rows(path)] == [pytest.approx(1.0)]


def test_replays_are_made_once_and_anew_where_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in SEARCHES if name not in ("grid", "random")]:
        monkeypatch.delitem(SEARCHES, name)
    path = tmp_path / "searches.json"
    compute_replays([truth()], path=path)
    made = read_rows(path)
    assert [(kept["search"], kept["trials"]) for kept in made] == [
        (n, t) for n in ("grid", "random") for t in (3, 10, 30)
    ]
    assert [kept["spent"] for kept in made[:3]] == [3, 10, 30]
    assert len(made[0]["regret"]) == 3  # the grid draws nothing: once for each seed of the truth

    write_record(path, {}, [kept | {"regret": [7.0]} for kept in made])
    compute_replays([truth()], redo=["grid"], path=path)
    assert [kept["regret"] == [7.0] for kept in read_rows(path)] == [False] * 3 + [True] * 3
