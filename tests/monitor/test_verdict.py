"""The words of a verdict about the learning rate."""

from __future__ import annotations

import pytest

from stepsize.monitor.record import Facts, Record
from stepsize.monitor.reference_runs import NeighborVote
from stepsize.monitor.verdict import _compared_by, _verdict


def _features(distance: float = 0.5, late: float = 0.5) -> dict[str, float]:
    return {"straightness": 0.05, "log10 distance": distance, "late decrease": late}


@pytest.mark.parametrize(("late", "text"), [(-0.001, ", 0% of"), (-0.02, ", -2% of"), (0.304, ", 30% of")])
def test_a_decrease_of_nearly_nothing_has_no_sign(late: float, text: str) -> None:
    assert text in _compared_by(_features(late=late))


def test_the_text_gives_the_median_and_the_suggestion_is_bounded() -> None:
    found = NeighborVote((0.97, 0.02, 0.01), factor=46.5, between=(4.6, 100.0), distance=0.1)
    verdict = _verdict(found, _features(distance=-2.0), Record(Facts(steps=400)))
    assert str(verdict).startswith(
        "Too low. Similar reference runs ended better at a higher learning rate, by a median factor of 46.5 (97% of "
        "their vote). For four out of five of them the best learning rate was 4.6 to 100 times the one used. Compared "
        "by: straightness"
    )
    assert verdict.factor == 20.0


@pytest.mark.parametrize(
    ("log10", "text"),
    [(-3.0, "initialization less than 0.001,"), (-1.0, "initialization 0.1,"), (1.4772, "more than 30,")],
)
def test_a_distance_beyond_the_reference_runs_is_given_as_their_end(log10: float, text: str) -> None:
    assert text in _compared_by(_features(distance=log10))
