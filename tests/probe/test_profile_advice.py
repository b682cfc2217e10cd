"""What follows from measured numbers: pure decisions, on numbers made up for them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from stepsize.probe.profiling.advice import advise
from stepsize.probe.profiling.edge import StabilityEdge
from stepsize.probe.profiling.features import Features
from stepsize.probe.profiling.noise import NoiseScale
from stepsize.probe.profiling.readings import read
from stepsize.probe.profiling.result import Advice, Moment, ProfileFacts
from stepsize.probe.profiling.scale import Classes, LossScale, TargetScale

PLAIN = ProfileFacts("toy", "SGD", horizon=1000, batch_size=32, population=50_000, momentum=0.0, exponent=1.0)


def edge(step: int, lr: float, spread: float = 1.1) -> StabilityEdge:
    return StabilityEdge(step, lr, (lr / spread, lr * spread), ())


def moment(step: int, noise: float, *, low: float = 0.9, high: float = 1.1) -> Moment:
    scale = NoiseScale(noise, (noise * low if math.isfinite(noise) else 5e3, noise * high), 1.0, 1.0, 64, 8.0)
    return Moment(step, scale)


def table(**changes: Any) -> Features:
    parts: dict[str, Any] = {"rows": 100, "columns": 4, "low": 0.9, "high": 1.2, "typical": 1.0}
    return Features("input", "column", **(parts | changes))


def about(topic: str, **changes: Any) -> list[Advice]:
    return [advice for advice in advise(replace(PLAIN, **changes)) if advice.about == topic]


def one(topic: str, **changes: Any) -> Advice:
    (advice,) = about(topic, **changes)
    return advice


def test_nothing_measured_is_nothing_advised() -> None:
    assert advise(PLAIN) == ()
    assert read(PLAIN) == ()


def test_the_range_of_rates_is_around_the_median_critical_rate() -> None:
    edges = (edge(0, 10.0), edge(20, 2.0), edge(60, 1.0))
    assert "between 0.02 and 20" in one("rate", edges=edges).sentence
    with_momentum = one("rate", edges=edges, momentum=0.9)
    assert "between 0.002 and 2." in with_momentum.sentence
    assert "times 1 - 0.9" in with_momentum.evidence
    assert "stepsize.find(task" in with_momentum.confirm


def test_a_critical_rate_that_rises_asks_for_a_warm_up_until_it_has_risen() -> None:
    early = one("warmup", edges=(edge(0, 0.1), edge(20, 0.95), edge(60, 1.0)))
    late = one("warmup", edges=(edge(0, 0.1), edge(20, 0.2), edge(60, 1.0)))
    assert "Warm up for at least 20 steps (2% of the horizon)" in early.sentence
    assert "continue to rise" not in early.sentence
    assert "Warm up for at least 60 steps (6% of the horizon)" in late.sentence
    assert "is 10 times that at the start" in late.sentence
    assert "continue to rise" in late.sentence
    assert "warmup=[" in late.confirm


def test_a_critical_rate_that_falls_says_that_the_start_is_no_obstacle() -> None:
    assert (
        "no warmup: the critical learning rate there is 5 times"
        in one("warmup", edges=(edge(0, 5.0), edge(60, 1.0))).sentence
    )


@pytest.mark.parametrize("after", [edge(60, 1.3), edge(60, 4.0, spread=5.0), edge(60, 0.25, spread=5.0)])
def test_a_critical_rate_that_moves_no_more_than_its_updates_differ_settles_nothing(after: StabilityEdge) -> None:
    assert "Keep the usual short warmup" in one("warmup", edges=(edge(0, 1.0), after)).sentence


def test_a_batch_far_below_the_noise_scale_can_grow_and_the_rate_with_it() -> None:
    found = one("batch size", moments=(moment(0, 10.0), moment(60, 3200.0)))
    assert "a batch of 2048 instead of 32" in found.sentence
    assert "about 3% of the steps" in found.sentence  # (1 + 3200 / 2048) / (1 + 3200 / 32)
    assert "about 39 times the present one (linear rule of SGD" in found.sentence
    assert "batch_size=[32, 2048]" in found.confirm
    assert "10 examples (9 to 11) at the start, 3200 examples (2900 to 3500) after 60 steps" in found.evidence


def test_adam_and_its_kin_grow_with_the_square_root_and_the_unknown_in_between() -> None:
    moments = (moment(0, 3200.0),)
    assert (
        "about 6.3 times the present one (square-root rule" in one("batch size", moments=moments, exponent=0.5).sentence
    )
    assert "about 6.3 to 39 times" in one("batch size", moments=moments, exponent=None).sentence


def test_a_batch_never_grows_beyond_half_of_the_data() -> None:
    assert "a batch of 128 instead of 32" in one("batch size", moments=(moment(0, 3200.0),), population=256).sentence
    assert about("batch size", moments=(moment(0, 3200.0),), population=32) == []


def test_a_batch_far_above_the_noise_scale_can_shrink() -> None:
    found = one("batch size", moments=(moment(0, 10.0),), batch_size=512)
    assert "A batch of 32 instead of 512" in found.sentence
    assert "about 8% of the examples (in 1.3 times as many steps)" in found.sentence


def test_a_batch_near_the_noise_scale_stays() -> None:
    found = one("batch size", moments=(moment(0, 40.0),))
    assert "Keep the batch of 32" in found.sentence
    assert "a batch of 64 needs about 72% of them" in found.sentence


def test_a_noise_scale_that_is_open_upwards_lets_the_batch_grow_as_far_as_was_seen() -> None:
    found = one("batch size", moments=(moment(0, math.inf),))
    assert "a batch of 2048 instead of 32 needs about 2% of the steps (and 100% of the examples)" in found.sentence
    assert "more than can be measured" in found.evidence


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (table(low=0.01, high=5.0), "Scale the columns of input to unit deviation"),
        (table(low=100.0, high=200.0, typical=150.0), "Scale input to about unit deviation"),
        (table(offset=30.0), "Center the columns of input"),
        (table(far=2, farthest=44.0), "Shorten the long tails"),
    ],
)
def test_each_fault_of_the_features_has_its_remedy(seen: Features, sentence: str) -> None:
    assert sentence in one("features", features=(seen,)).sentence


def test_sound_features_need_nothing() -> None:
    assert about("features", features=(table(),)) == []
    assert about("data", features=(table(),)) == []


def test_what_no_rate_can_mend_comes_first() -> None:
    facts = replace(PLAIN, features=(table(not_finite=3),), silent=("head.bias",), edges=(edge(0, 1.0),))
    found = advise(facts)
    assert [advice.about for advice in found[:2]] == ["data", "data"]
    assert "3 entries" in found[0].evidence
    assert "head.bias" in found[1].evidence


@pytest.mark.parametrize("target", [TargetScale(1, 0.1, 77.0, 77.0), TargetScale(1, 150.0, 5.0, 5.0)])
def test_a_target_on_another_scale_is_to_be_standardized(target: TargetScale) -> None:
    assert "Standardize the target" in one("target", target=target).sentence
    assert about("target", target=target, classes=Classes(2, 100, 1.0, 0.5, 0.5, 0.69)) == []
    assert about("target", target=TargetScale(1, 0.1, 0.8, 1.2)) == []


def test_a_start_worse_than_zero_outputs_and_one_far_above_a_constant_are_told() -> None:
    worse, biased = LossScale(5.0, 0.1, 2.3, 2.3), LossScale(0.7, 0.01, 0.69, 0.3)
    assert "Begin with smaller outputs" in one("start", loss=worse).sentence
    assert "Begin at the best constant" in one("start", loss=biased).sentence
    assert about("start", loss=LossScale(2.3, 0.1, 2.3, 2.29)) == []
    assert about("start", loss=LossScale(5.0, 2.0, 2.3, 2.3)) == []  # within the noise of the batches
    assert about("start", loss=LossScale(0.32, 0.01, 0.69, 0.3)) == []  # begins there already


def test_classes_out_of_balance_are_told() -> None:
    assert "84% of the labels" in one("classes", classes=Classes(2, 1000, 1.0, 0.84, 0.16, 0.44)).evidence
    rare = one("classes", classes=Classes(5, 50_000, 1.0, 0.4, 0.01, 1.2))
    assert "0.32 examples per batch" in rare.evidence
    assert about("classes", classes=Classes(5, 50_000, 10.0, 0.4, 0.01, 1.2)) == []  # ten labels an example
    assert about("classes", classes=Classes(2, 1000, 1.0, 0.5, 0.5, 0.69)) == []


def test_every_advice_has_evidence_with_a_number_and_an_experiment() -> None:
    facts = replace(
        PLAIN,
        moments=(moment(0, 40.0), moment(60, 900.0)),
        edges=(edge(0, 1.0), edge(60, 0.2)),
        loss=LossScale(5.0, 0.1, 2.3, 1.0),
        classes=Classes(2, 1000, 1.0, 0.84, 0.16, 0.44),
        features=(table(low=0.01, offset=9.0, far=1, farthest=50.0, not_finite=1),),
        silent=("c",),
    )
    found = advise(facts)
    assert {advice.about for advice in found} == {
        "data", "rate", "warmup", "batch size", "features", "start", "classes"
    }  # fmt: skip
    for advice in found:
        assert any(character.isdigit() for character in advice.evidence), advice
        assert advice.sentence.endswith(".")
        assert advice.confirm
    names = [each.name for each in read(facts)]
    assert len(set(names)) == len(names)
