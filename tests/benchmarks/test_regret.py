from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.combos import GRID, Combo
from benchmarks.peers import TOOLS_OF, Pick
from benchmarks.record import write_record
from benchmarks.regret import PickJob, kept_rows, kept_values, missing_jobs, scored
from benchmarks.truth_curve import TruthCurve

COMBO = Combo("cancer-mlp", "momentum")


def row(tool: str = "fixed default", lr: float | None = 0.1, seed: int = 100, **others: Any) -> dict[str, Any]:
    return {"tool": tool, "task": COMBO.task, "optimizer": COMBO.optimizer, "seed": seed, "lr": lr, **others}


def curve() -> TruthCurve:
    lrs = np.asarray(GRID)
    losses = np.tile(1 + np.abs(np.log10(lrs / 0.01)), (3, 1)).clip(max=3.0)
    return TruthCurve(lrs, losses, np.zeros(losses.shape, dtype=bool), 3.0)


def test_a_pick_is_scored_by_the_truth_of_its_combo() -> None:
    result = scored(row(lr=0.1), {COMBO: curve()})
    assert result["regret"] == pytest.approx(1.0)
    assert result["picked_to_best"] == pytest.approx(10.0)
    assert result["diverged"] is False


def test_no_answer_has_the_regret_of_the_default_rate_and_no_ratio() -> None:
    result = scored(row(tool="Lightning tuner", lr=None), {COMBO: curve()})
    assert result["regret"] == scored(row(lr=0.1), {COMBO: curve()})["regret"]
    assert result["picked_to_best"] is None
    assert result["lr"] is None


def test_without_truth_a_pick_loses_its_old_score() -> None:
    assert scored(row(regret=0.5, regret_error=None, diverged=False, picked_to_best=2.0), {}) == row()


def test_only_picks_that_no_record_holds_are_made() -> None:
    rows = {("fixed default", COMBO.task, COMBO.optimizer, 100): row()}
    assert missing_jobs(rows, [COMBO], [100, 101], ["fixed"]) == [PickJob("fixed", COMBO, 101)]


def test_a_sweep_with_one_rule_missing_is_made_again() -> None:
    tools = TOOLS_OF["sweep"]
    rows = {(tool, COMBO.task, COMBO.optimizer, 100): row(tool) for tool in tools[:-1]}
    assert missing_jobs(rows, [COMBO], [100], ["sweep"]) == [PickJob("sweep", COMBO, 100)]
    rows[tools[-1], COMBO.task, COMBO.optimizer, 100] = row(tools[-1])
    assert missing_jobs(rows, [COMBO], [100], ["sweep"]) == []


def test_a_row_holds_what_the_pick_has_and_always_its_rate_and_cost() -> None:
    nothing = kept_values(Pick("t", None, math.nan, 1.5, "why"))
    assert nothing == {"lr": None, "cost": None, "seconds": 1.5, "note": "why"}
    full = kept_values(Pick("t", 0.123456789, 0.5, 2.0, interval=(0.1, 1 / 3), wall=0.25))
    assert full == {"lr": 0.123457, "cost": 0.5, "seconds": 2.0, "interval": [0.1, 0.333333], "wall": 0.25}


def test_redoing_a_tool_drops_its_rows_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "regret.json"
    write_record(path, {}, [row("stepsize find"), row("stepsize find", seed=101), row("fixed default")])
    kept = kept_rows(path, {"stepsize find"}, [COMBO], [100])
    assert [(key[0], key[3]) for key in kept] == [("stepsize find", 101), ("fixed default", 100)]
    assert len(kept_rows(path, set(), [COMBO], [100])) == 3
    assert kept_rows(tmp_path / "none.json", set(), [COMBO], [100]) == {}
