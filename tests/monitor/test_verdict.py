"""The words of a verdict about the learning rate, and when it is given."""

from __future__ import annotations

import dataclasses

import pytest
from tests.monitor.test_rate_signals import FACTS, recorded

from stepsize.monitor.record import Facts, Record
from stepsize.monitor.verdict import _verdict, rate_verdict, verdicts_at_looks
from stepsize.monitor.verdict_model import Judgment

SIGNALS = {"progress": -2.0, "over usual": -2.0, "late fall": 0.8}


def judged(*chances: float, between: tuple[float, float, float] = (4.6, 46.5, 100.0)) -> Judgment:
    low, fine, high = chances
    return Judgment((low, fine, high), between, (), ("progress", "over usual", "late fall"))


def test_a_low_rate_is_told_with_a_bounded_factor_its_range_and_what_speaks_for_it() -> None:
    verdict = _verdict(judged(0.99, 0.01, 0.0), SIGNALS, Record(Facts(steps=400)))
    assert str(verdict) == (
        "Too low. A learning rate about 20× higher would end better (99% sure). The best learning rate is "
        "probably 4.6 to 100 times the one in use. Main evidence: learning rate over the usual one of the optimizer "
        "0.01; share of the decrease in the second half of the steps so far 0.8."
    )
    assert verdict.factor == 20.0
    assert verdict.to_json()["chances"] == [0.99, 0.01, 0.0]


@pytest.mark.parametrize(
    ("chances", "code", "text"),
    [
        ((0.0, 0.99, 0.01), "fine", "Another learning rate would hardly end better (99% sure)"),
        ((0.0, 0.005, 0.995), "too high", "A learning rate about 1.5× lower would end better"),
        (
            (0.5, 0.49, 0.01),
            "inconclusive",
            "Not too high (99% sure), but whether it is too low is not clear yet: 50% ",
        ),
        ((0.01, 0.49, 0.5), "inconclusive", "Not too low (99% sure), but whether it is too high is not clear yet: 1% "),
        ((0.3, 0.4, 0.3), "inconclusive", "No side is clear yet: 30% too low, 40% fine, 30% too high"),
        ((0.2, 0.6, 0.2), "inconclusive", "Probably fine, but this is not clear yet: 20% too low, 60% fine, "),
    ],
)
def test_each_side_has_its_words(chances: tuple[float, float, float], code: str, text: str) -> None:
    verdict = _verdict(judged(*chances, between=(0.5, 1.0, 2.0)), SIGNALS, Record(Facts(steps=400)))
    assert verdict.code == code
    assert verdict.reason.startswith(text)


def test_too_early_too_late_and_without_weights_there_is_none() -> None:
    early, late = recorded(), recorded()
    early.facts, late.facts = dataclasses.replace(FACTS, steps=1_000), dataclasses.replace(FACTS, steps=100)
    assert rate_verdict(early).reason == "Too early: the learning rate is evaluated after 12.5% of the steps."
    assert rate_verdict(late).reason == "Too late: the learning rate is evaluated until 60% of the steps."
    log = Record(Facts(steps=400))
    log.add_losses(range(100), [1.0] * 100)
    log.step = 100
    assert rate_verdict(log).reason == "No weight trajectory: a log does not contain it."
    assert rate_verdict(recorded()).chances is not None


@pytest.mark.parametrize(
    ("steps", "at", "looks"), [(400, 49, 0), (400, 50, 1), (400, 200, 5), (None, 99, 0), (None, 400, 3)]
)
def test_a_run_is_judged_at_few_moments(steps: int | None, at: int, looks: int) -> None:
    record = recorded(facts=dataclasses.replace(FACTS, steps=steps), steps=at)
    for _ in range(3):
        assert len(verdicts_at_looks(record)) == min(looks, 1)
    assert record.looks == looks
