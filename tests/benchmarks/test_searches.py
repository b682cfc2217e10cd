"""Searches replayed on a truth: what they pick, and that they are judged by what they did not see."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from benchmarks.searches import SEARCHES, replayed, searches_report
from benchmarks.truth_curve import TruthCurve

LRS = np.logspace(-5, 1, 21)


def curve(seeds: int = 3, wrong: int | None = None) -> TruthCurve:
    """A bowl whose lowest point is 0.01; with one seed that says 1e-4 instead."""
    x = np.log10(LRS)
    losses = np.array([1 + 0.1 * (x + (4 if seed == wrong else 2)) ** 2 for seed in range(seeds)])
    return TruthCurve(LRS, losses, np.zeros_like(losses, dtype=bool), cap=10.0)


@pytest.mark.parametrize("search", SEARCHES)
def test_more_trials_come_closer(search: str) -> None:
    regret = {trials: np.mean([replayed(curve(), search, trials, seed)[1] for seed in range(6)]) for trials in (3, 30)}

    assert regret[30] < regret[3]
    assert regret[30] < 0.05


def test_a_pick_is_judged_by_the_seeds_that_the_search_did_not_see() -> None:
    picked, regret = replayed(curve(wrong=0), "grid", 31, seed=0)

    assert math.log10(picked) == pytest.approx(-4, abs=0.2)  # the seed that it trained on says so
    assert regret == pytest.approx(0.1 * 2**2, abs=0.08)  # the others do not


def test_without_a_record_the_report_says_how_to_make_one(tmp_path: Path) -> None:
    assert "python -m benchmarks searches" in searches_report(tmp_path / "none.json")
