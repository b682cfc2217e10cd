"""The words of a verdict about the rate."""

from __future__ import annotations

import pytest

from stepsize.monitor.precedents import Precedent
from stepsize.monitor.record import Facts, Record
from stepsize.monitor.verdict import _described, _told


@pytest.mark.parametrize(("gain", "told"), [(-0.001, "and 0% of"), (-0.02, "and -2% of"), (0.304, "and 30% of")])
def test_a_gain_of_nearly_nothing_has_no_sign(gain: float, told: str) -> None:
    assert told in _described({"straightness": 0.05, "log10 distance": 0.5, "loss gain": gain})


def test_what_is_told_is_the_median_and_what_is_advised_is_bounded() -> None:
    signals = {"straightness": 0.95, "log10 distance": -2.0, "loss gain": 0.5}
    found = Precedent((0.97, 0.02, 0.01), factor=46.5, between=(4.6, 100.0), alike=0.1)
    verdict = _told(found, signals, Record(Facts(steps=400)))
    assert "97% were too low, by 46.5× in the median; for four in five the best rate was 4.6 to 100 × theirs" in str(
        verdict
    )
    assert verdict.factor == 20.0


@pytest.mark.parametrize(
    ("log10", "told"), [(-3.0, "less than 0.001 ×"), (-1.0, "leads 0.1 ×"), (1.4772, "more than 30 ×")]
)
def test_a_distance_beyond_the_record_is_told_as_its_edge(log10: float, told: str) -> None:
    assert told in _described({"straightness": 0.5, "log10 distance": log10, "loss gain": 0.5})
