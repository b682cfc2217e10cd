"""Reference runs: features equal those by hand, votes equal a slow count, and no judged task is among them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from benchmarks.combos import HELD_OUT

from stepsize.monitor.record import Facts, Record
from stepsize.monitor.reference_runs import FEATURES, REFERENCE_FILE, SIDES, VALIDATION, features_of, vote
from stepsize.monitor.verdict import rate_verdict

ROWS = json.loads(REFERENCE_FILE.read_text())["rows"]


def _record(*, steps: int = 400, made: int = 100) -> Record:
    record = Record(Facts(steps=steps))
    for step in range(made):
        record.step = step + 1
        record.add("lr/0", step, 0.1)
        record.add_loss(step, 3.0 - step / 50)
    record.add("straightness", made - 1, 0.75)
    record.add("distance", made - 1, 0.1)
    return record


def test_signals_are_those_by_hand() -> None:
    seen = features_of(_record())
    # medians of the second and the last quarter, at steps 37 and 87; the start is that of the first five
    start, second, last = (3 - step / 50 for step in (2, 37, 87))
    noise = 1.4826 * (1 / 50) / math.sqrt(2)  # that of differences of 1/50
    gain = (second - last) / (start - last)
    known = {
        "straightness": 0.75,
        "log10 distance": -1.0,
        "late decrease": gain,
        "log10 noise": math.log10(noise / last),
    }
    assert seen == pytest.approx(known)
    record = _record()
    for step in range(9, 100, 10):
        record.add("val_loss", step, 3.5 - step / 50)
    seen = features_of(record)
    unseen = math.log((3.5 - 79 / 50) / (3.5 - 99 / 50))  # at 79, the look nearest to three quarters
    assert seen == pytest.approx({**known, VALIDATION: unseen})


def test_the_noise_is_that_of_single_losses_however_long_the_training() -> None:
    seen = []
    for made in (400, 20_000):
        record = Record(Facts(steps=4 * made))
        losses = 1.0 + 0.1 * np.random.default_rng(0).normal(size=made)
        for step, loss in enumerate(losses.tolist()):
            record.step = step + 1
            record.add_loss(step, loss)
        record.add("straightness", made - 1, 0.9)
        record.add("distance", made - 1, 0.1)
        seen.append(features_of(record))
    assert seen[0] is not None
    assert seen[1] is not None
    assert seen[0]["log10 noise"] == pytest.approx(-1, abs=0.1)
    assert seen[1]["log10 noise"] == pytest.approx(-1, abs=0.1)


def test_where_nothing_was_gained_beyond_the_noise_all_of_it_is_yet_to_come() -> None:
    record = Record(Facts(steps=400))
    for step in range(100):
        record.step = step + 1
        record.add_loss(step, 1.0 + 0.1 * (-1) ** step - 1e-5 * step)
    record.add("straightness", 99, 0.9)
    record.add("distance", 99, 1e-9)
    seen = features_of(record)
    assert seen is not None
    assert (seen["late decrease"], seen["log10 distance"]) == (1.0, -3.0)


def test_without_the_way_of_the_weights_there_is_no_verdict() -> None:
    record = _record()
    del record.traces["straightness"]
    assert features_of(record) is None
    assert rate_verdict(record).reason == "No weight trajectory: a log does not contain it."


@pytest.mark.parametrize("names", [FEATURES, (*FEATURES, VALIDATION)])
@pytest.mark.parametrize("place", [3, 111, 222])
def test_the_vote_is_that_of_a_slow_count(names: tuple[str, ...], place: int) -> None:
    columns = ("task", "optimizer", "times", "ended", *FEATURES, VALIDATION)
    rows = [dict(zip(columns, row, strict=True)) for row in ROWS]
    me = {name: rows[place][name] for name in names}
    spread = {name: np.std([row[name] for row in rows]) for name in names}
    distances = [sum(((row[name] - me[name]) / spread[name]) ** 2 for name in names) for row in rows]
    width = sorted(distances)[29]
    votes = dict.fromkeys(SIDES, 0.0)
    for row, distance in zip(rows, distances, strict=True):
        votes[row["ended"]] += math.exp(-2 * distance / width)
    found = vote(me)
    assert found is not None
    assert found.distance == 0
    assert found.shares == pytest.approx([votes[side] / sum(votes.values()) for side in SIDES])
    for edge, share in zip(found.between, (0.1, 0.9), strict=True):  # the vote for best rates below each edge
        weights = [
            (1 / row["times"], math.exp(-2 * distance / width)) for row, distance in zip(rows, distances, strict=True)
        ]
        whole = sum(weight for _, weight in weights)
        assert sum(weight for best, weight in weights if best < edge) <= share * whole
        assert sum(weight for best, weight in weights if best <= edge) >= share * whole * (1 - 1e-9)


def test_the_record_is_sound_and_holds_no_task_that_verdicts_are_judged_on() -> None:
    assert len(ROWS) > 300
    assert {row[3] for row in ROWS} == set(SIDES)
    assert not {row[0].split()[0] for row in ROWS} & set(HELD_OUT)
    for row in ROWS:
        assert (row[2] < 1) >= (row[3] == "too low")
        assert (row[2] > 1) >= (row[3] == "too high")


def test_rates_far_too_low_are_recognised_with_their_task_left_out() -> None:
    far = [row for row in ROWS if row[2] <= 0.03]
    named = [(dict(zip((*FEATURES, VALIDATION), row[4:], strict=True)), row[0].split()[0]) for row in far]
    answers = [vote(signals, without=task) for signals, task in named]
    right = [found is not None and found.shares[0] > 0.5 and found.factor > 2 for found in answers]
    assert np.mean(right) > 0.9


def test_a_verdict_is_given_from_a_fifth_of_the_steps_to_a_third() -> None:
    reasons = {made: rate_verdict(_record(made=made)).reason for made in (79, 100, 150)}
    assert reasons[79] == "Too early: the learning rate is evaluated after 20% of the steps."
    assert reasons[150] == "Too late: the learning rate is evaluated until 35% of the steps."
    assert "imilar reference runs" in reasons[100]


def test_nothing_is_told_of_what_looks_like_nothing_on_record() -> None:
    record = _record()
    record.add("straightness", 99, -1.0)
    record.add("distance", 99, 1e-9)
    verdict = rate_verdict(record)
    assert verdict.code == "inconclusive"
    assert verdict.reason.startswith("No reference run is similar to this one")
