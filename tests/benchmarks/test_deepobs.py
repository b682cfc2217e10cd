"""Picks from the beginnings of trainings that others recorded."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from benchmarks.deepobs import PICKERS, Case, deepobs_report, load_cases

RATES = [10 ** (-4 + k / 5) for k in range(20)]  # 1e-4 ... 0.6


def case(best: float = -2.0, edge: float = -1.0) -> Case:
    """Losses fall towards a bowl around ``best``; rates above ``edge`` are lost at once."""

    def loss(x: float, step: int) -> float:
        return math.nan if x > edge else 0.1 + 0.2 * (x - best) ** 2 + 2.0 / (1 + step)

    xs = [math.log10(lr) for lr in RATES]
    steps = [1, 10, 20, 40, 80, 160, 320, 640, 1280]
    curves = {lr: [(1.0, 2.3), *((float(n), loss(x, n)) for n in steps[1:])] for lr, x in zip(RATES, xs, strict=True)}
    finals = {lr: (loss(x, 1280), 0.9 if x <= edge else math.nan) for lr, x in zip(RATES, xs, strict=True)}
    return Case("made up", "SGD", 1280, curves, finals)


@pytest.mark.parametrize("picker", PICKERS)
@pytest.mark.parametrize("share", [1 / 16, 1 / 4])
def test_every_picker_finds_a_bowl_that_does_not_move(picker: str, share: float) -> None:
    assert math.log10(PICKERS[picker](case(), share)) == pytest.approx(-2.0, abs=0.65)


def test_what_was_lost_is_no_choice() -> None:
    falling = case(best=0.0, edge=-1.4)
    for pick in PICKERS.values():
        assert math.log10(pick(falling, 1 / 4)) <= -1.4 + 1e-9


def test_only_what_lies_before_the_share_is_seen() -> None:
    whole = case()
    cut = {lr: [point for point in curve if point[0] <= 80] for lr, curve in whole.curves.items()}
    short = Case(whole.problem, whole.optimizer, whole.steps, cut, whole.finals)
    for pick in PICKERS.values():
        assert pick(short, 1 / 16) == pick(whole, 1 / 16)


@pytest.mark.data
def test_the_records_hold_twelve_cases_of_36_rates() -> None:
    folder = Path(os.environ.get("STEPSIZE_DATA", "../shared/data")) / "deepobs"
    if not folder.is_dir():
        pytest.skip("no DeepOBS records: set STEPSIZE_DATA to the folder that holds deepobs/")
    cases = load_cases(folder)

    assert len(cases) == 12
    assert {len(one.curves) for one in cases} >= {36}
    assert all(0 < one.untrained < math.inf for one in cases)


def test_without_a_record_the_report_says_how_to_make_one(tmp_path: Path) -> None:
    assert "python -m benchmarks deepobs" in deepobs_report(tmp_path / "none.json")
