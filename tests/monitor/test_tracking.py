"""Findings are reported once, and withdrawn when later steps refute them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stepsize.monitor.finding import Finding
from stepsize.monitor.record import Facts, Record
from stepsize.monitor.recorder import start_recorder
from stepsize.monitor.report import report_of
from stepsize.monitor.saved_runs import read_findings
from stepsize.monitor.tracking import FindingTracker
from stepsize.store import Store

_STEPS = 800
Signal = Callable[[int], float]


def _constant(step: int) -> float:
    del step
    return 0.1


def _told(
    loss: Signal, lr: Signal = _constant, val_loss: Signal | None = None, steps: int = _STEPS
) -> tuple[list[str], FindingTracker]:
    """Return the codes that were reported along a run, and the tracker after it."""
    told: list[Finding] = []
    tracker, record = FindingTracker(told.append), Record(Facts(steps=_STEPS))
    noise = np.random.default_rng(0).normal(size=steps)
    for step in range(steps):
        record.step = step + 1
        record.add("lr/0", step, lr(step))
        record.add("straightness", step, 0.1)
        record.add_loss(step, loss(step) + 0.01 * noise[step])
        if val_loss is not None and step % 25 == 24:
            record.add("val_loss", step, val_loss(step))
        tracker.check(record, due=tracker.due(record))
    return [one.code for one in told], tracker


def _codes(tracker: FindingTracker) -> set[str]:
    return {one.code for one in tracker.findings}


def _flat_then(later: Signal) -> Signal:
    return lambda step: (1.0 + math.exp(-step / 10)) if step < 450 else later(step)


def test_a_plateau_that_the_run_leaves_is_withdrawn_and_not_reported_again() -> None:
    told, tracker = _told(_flat_then(lambda step: 1.0 - 0.3 * min(1.0, (step - 450) / 100)))
    assert told.count("plateau") == 1
    assert "plateau" not in _codes(tracker)
    assert "plateau" in tracker.withdrawn
    report = report_of(Record(Facts(steps=_STEPS)), tracker)
    assert "plateau" in report.to_json()["withdrawn"]
    assert "Withdrawn, because later steps refuted it: plateau" in str(report)


@pytest.mark.parametrize("decays", [False, True])
def test_a_plateau_stays_if_nothing_falls_or_only_a_decay_lowers_the_loss(decays: bool) -> None:
    later: Signal = (lambda step: 0.7) if decays else (lambda step: 1.0)
    told, tracker = _told(_flat_then(later), lr=lambda step: 0.01 if decays and step >= 450 else 0.1)
    assert told.count("plateau") == 1
    assert "plateau" in _codes(tracker)


def test_noise_alone_does_not_refute_a_plateau() -> None:
    noise = np.random.default_rng(6).normal(0.0, 0.5, _STEPS)  # the mean of a twentieth varies by a tenth

    told, tracker = _told(lambda step: 2.0 + math.exp(-step / 10) + noise[step])

    assert told.count("plateau") == 1
    assert "plateau" in _codes(tracker)


@pytest.mark.parametrize("ends", [0.5, 1.5])
def test_overfitting_is_withdrawn_at_a_new_minimum_of_the_validation_loss(ends: float) -> None:
    def val_loss(step: int) -> float:
        return 2.0 - step / 200 if step < 200 else 1.0 + (step - 200) / 400 if step < 500 else ends

    told, tracker = _told(lambda step: 2.0 * math.exp(-step / 200) + 0.1, val_loss=val_loss)
    assert told.count("overfitting") == 1
    assert ("overfitting" in _codes(tracker)) == (ends > 1.0)


def test_underfitting_is_withdrawn_if_the_rate_decays_after_all() -> None:
    steep: Signal = lambda step: 5.0 - step / 200  # noqa: E731
    _, tracker = _told(steep)
    assert "underfitting" in _codes(tracker)
    told, tracker = _told(steep, lr=lambda step: 0.1 if step < 786 else 0.01)
    assert told.count("underfitting") == 1
    assert "underfitting" not in _codes(tracker)


def test_a_loss_that_falls_steeply_before_the_end_is_not_called_underfitting() -> None:
    told, _ = _told(lambda step: 5.0 - min(step, 600) / 200)
    assert "underfitting" not in told


@pytest.mark.parametrize(
    ("turn", "level", "found"),
    [
        (200, 1.0, True),
        (600, 1.0, False),  # most of the values are before the minimum
        (200, 0.0, False),  # half of what came after it is no higher
    ],
)
def test_overfitting_needs_a_lasting_rise_over_much_of_the_run(turn: int, level: float, found: bool) -> None:
    def val_loss(step: int) -> float:
        wave = 0.3 * (step // 25 % 2)
        return 2.0 - step / turn if step < turn else 1.0 + wave + level * (step - turn) / 400

    told, _ = _told(lambda step: 2.0 * math.exp(-step / 200) + 0.1, val_loss=val_loss)
    assert ("overfitting" in told) == found


def test_overfitting_is_not_reported_before_half_of_the_steps() -> None:
    def val_loss(step: int) -> float:
        return 2.0 - step / 50 if step < 50 else 1.0 + (step - 50) / 100

    told, _ = _told(lambda step: 2.0 * math.exp(-step / 200) + 0.1, val_loss=val_loss, steps=_STEPS // 2 - 10)
    assert "overfitting" not in told
    told, tracker = _told(lambda step: 2.0 * math.exp(-step / 200) + 0.1, val_loss=val_loss)
    (finding,) = (one for one in tracker.findings if one.code == "overfitting")
    assert _STEPS // 2 - 1 <= finding.step < _STEPS // 2 + 15


def test_what_is_withdrawn_is_removed_from_the_store(tmp_path: Path) -> None:
    where = str(tmp_path / "runs.db")
    recorder = start_recorder(where, "net", "a net", Facts(steps=10), control=False)
    assert recorder is not None
    found = [Finding(code, "info", 1, "A message.") for code in ("plateau", "clipping")]
    recorder.found(found)
    recorder.found([], ["plateau"])
    recorder.close("done")
    with Store.open(where) as store:
        assert [one.code for one in read_findings(store, "net")] == ["clipping"]
