"""Another warm-up takes the place of the one that is there, and nothing else moves."""

from __future__ import annotations

import pytest

from stepsize.errors import InputError
from stepsize.schedules import (
    SCHEDULES,
    Schedule,
    Span,
    as_warmup,
    constant,
    cosine,
    decay,
    exponential,
    function,
    linear,
    noam,
    one_cycle,
    parse,
    warmup,
    with_warmup,
    wsd,
)

CHANGED: dict[str, tuple[Schedule, float | str, Schedule]] = {
    "a share": (cosine(warmup="5%"), 0.2, cosine(warmup="20%")),
    "updates": (cosine(warmup="5%"), 30, cosine(warmup=30)),
    "updates as a float": (cosine(warmup="5%"), 30.0, cosine(warmup=30)),
    "written": (cosine(warmup="5%"), "2ep", cosine(warmup="2ep")),
    "put before": (linear(), 0.1, linear(warmup="10%")),
    "put before a lower start": (linear(start=0.5), 0.1, linear(warmup="10%", start=0.5)),
    "put before what leaps": (parse("step every=30%"), 10, warmup(10).then(parse("step every=30%"))),
    "put before a function": (function(float), 0, function(float)),
    "put before what never ends": (constant(), 10, warmup(10).then(constant())),
    "none for none": (linear(), 0, linear()),
    "taken away": (cosine(warmup="5%", end=0.1), 0, cosine(end=0.1)),
    "taken away as a float": (cosine(warmup="5%"), 0.0, cosine()),
    "the stable part gives way": (wsd(), 0.3, wsd(warmup="30%")),
    "shape, start and endpoints stay": (
        warmup("5%", shape="cosine", start=0.1, endpoints="end").then(cosine()),
        0.2,
        warmup("20%", shape="cosine", start=0.1, endpoints="end").then(cosine()),
    ),
    "shares that add up": (
        parse("warmup 10%, constant 50%, cooldown 40%"),
        0.2,
        parse("warmup 20%, constant, cooldown 40%"),
    ),
    "settled": (cosine(100, warmup=5), 20, cosine(100, warmup=20)),
    "settled, by a share": (cosine(100, warmup=5), 0.2, cosine(100, warmup=20)),
    "settled, with a stable part": (wsd(100, warmup=5, cooldown=20), 50, wsd(100, warmup=50, cooldown=20)),
    "settled, taken away": (wsd(100, warmup=5, cooldown=20), 0, wsd(100, warmup=None, cooldown=20)),
    "settled, put before": (cosine(100), 20, cosine(100, warmup=20)),
    "settled, a share too short for an update": (cosine(10), 0.01, cosine(10)),
    "within a length": (cosine("50%", warmup="5%").then(linear()), 7, cosine("50%", warmup=7).then(linear())),
    "scaled": (cosine(warmup="5%").scaled(0.5), 9, cosine(warmup=9).scaled(0.5)),
    "capped": (cosine(50, warmup=5).capped(0.5), 9, cosine(50, warmup=9).capped(0.5)),
    "floored and settled": (cosine(50, warmup=5).floored(0.1), 9, cosine(50, warmup=9).floored(0.1)),
    "a product": (
        linear(warmup="5%").times(exponential(0.5)),
        0.5,
        linear(warmup="50%").times(exponential(0.5)),
    ),
    "a product, on the right": (
        exponential(0.9).times(cosine(40, warmup=4)),
        8,
        exponential(0.9).times(cosine(40, warmup=8)),
    ),
    "milestones stay": (
        parse("multi-step milestones=50%|75%"),
        0.1,
        warmup("10%").then(constant()).times(parse("multi-step milestones=50%|75%")),
    ),
    "before a settled product": (
        cosine(40).times(exponential(0.9)),
        8,
        warmup(8).then(cosine(32).times(exponential(0.9, steps=32))),
    ),
    "Noam's own": (noam(100), 0.2, noam("20%")),
    "one cycle's rise": (one_cycle(), 0.4, one_cycle(rise=0.4)),
    "one cycle's rise in updates": (one_cycle(50), 10, one_cycle(50, rise=0.2)),
    "a rise and nothing more": (decay(start=0.1, end=1.0), 8, decay(8, start=0.1, end=1.0).then(constant())),
}  # fmt: skip


@pytest.mark.parametrize(("schedule", "length", "expected"), CHANGED.values(), ids=CHANGED)
def test_only_the_warm_up_changes(schedule: Schedule, length: float | str, expected: Schedule) -> None:
    changed = with_warmup(schedule, length)
    if not schedule.resolved or schedule.length is None:
        assert changed.node == expected.node
    else:
        assert changed.length == schedule.length
        assert changed(range(changed.length or 0)).tolist() == expected(range(changed.length or 0)).tolist()


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_of_the_catalog_takes_a_warm_up_of_the_length_asked_for(name: str) -> None:
    for schedule in (SCHEDULES[name].example, SCHEDULES[name].typical(1_000)):
        changed = with_warmup(schedule, 0.25)
        assert parse(str(changed)) == changed
        settled = changed if changed.resolved and changed.length else changed.over(1_000)
        assert settled.length == ((schedule.resolved and schedule.length) or 1_000)
        rise = settled.factors()[: round(0.25 * (settled.length or 0))]
        assert (rise[1:] > rise[:-1]).all()
        assert with_warmup(settled, 0.5).length == settled.length


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_same_warm_up_again_changes_nothing(name: str) -> None:
    once = with_warmup(SCHEDULES[name].typical(1_000), 0.25)
    assert with_warmup(once, 250).factors().tolist() == pytest.approx(once.factors().tolist(), rel=1e-12)


def test_lengths_are_shares_updates_or_written() -> None:
    assert as_warmup(0.5) == as_warmup("50%") == Span(0.5, "share")
    assert as_warmup(1) == as_warmup(1.0) == as_warmup("1 step") == 1
    assert as_warmup(0) == as_warmup(0.0) == 0


REFUSED: dict[str, tuple[Schedule, object, str]] = {
    "half an update": (cosine(), 2.5, "^warmup must be a fraction between 0 and 1, a whole number of updates"),
    "below nothing": (cosine(), -1, "^warmup must be at least 0 steps; got -1"),
    "NaN": (cosine(), float("nan"), "^warmup must be a fraction"),
    "infinite": (cosine(), float("inf"), "^warmup must be a fraction"),
    "a truth value": (cosine(), True, "^warmup must be a whole number of steps"),
    "nothing": (cosine(), None, "^warmup must be a whole number of steps"),
    "no length": (cosine(), "long", "^warmup must be a duration"),
    "all of it": (cosine(10), 10, "must leave steps for 'cosine', which takes the rest"),
    "more than the stable part has": (wsd(100, warmup=5, cooldown=20), 85, "longer than the horizon|must leave steps"),
    "Noam without": (noam(9), 0, "^warmup cannot be removed from .*, whose decay begins with it"),
    "one cycle in updates": (one_cycle(), 10, "^warmup must be a fraction of the horizon for 'one-cycle"),
    "one cycle without": (one_cycle(10), 0, "^rise must be a finite number, above 0"),
    "a change that hides the warmup": (
        cosine(warmup=5).first(100),
        3,
        r"^schedule has a warmup that is not separate from the rest.*before \.cooled_down",
    ),
    "what cannot be shortened": (linear(10).repeated(2), 3, "has no phase that can get shorter for another warmup"),
    "a start at zero": (parse("points values=0:0|50%:1|90%:0"), 3, "^warmup cannot be put before .*begins at factor 0"),
}  # fmt: skip


@pytest.mark.parametrize(("schedule", "length", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_says_why(schedule: Schedule, length: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_warmup(schedule, length)
