"""Orders as changes of a schedule: each continues from the present factor, and a replay has the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from stepsize.errors import InputError
from stepsize.schedules import Schedule, constant, cosine, from_journal, linear, parse, warmup, wsd
from stepsize.schedules.steering import Steered


@dataclass(frozen=True)
class Sent:
    verb: str
    arguments: dict[str, Any]
    step: int | None = None
    state: str = "applied"


def steered(schedule: Schedule, *orders: tuple[str, Any, int]) -> Schedule:
    names = {"scale": "factor", "cooldown": "steps", "extend": "steps"}
    whole = Steered(schedule)
    for verb, value, step in orders:
        whole = whole.ordered(verb, {names[verb]: value} if verb in names else {}, step)
    return whole.schedule


@pytest.mark.parametrize(
    ("schedule", "orders", "expected"),
    [
        (linear(4), [("scale", 0.5, 2)], [1, 0.75, 0.25, 0.125, 0]),
        (linear(4), [("scale", 0.5, 0), ("scale", 2.0, 0), ("scale", 4.0, 3)], [1, 0.75, 0.5, 1.0, 0]),
        (linear(4), [("hold", None, 1), ("scale", 2.0, 3)], [1, 0.75, 0.75, 1.5, 1.5]),
        (linear(4), [("hold", None, 1), ("resume", None, 3)], [1, 0.75, 0.75, 0.75, 0]),  # from the held rate
        (linear(8), [("hold", None, 0), ("resume", None, 4)], [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]),
        (constant(), [("cooldown", 4, 1)], [1, 1, 0.75, 0.5, 0.25, 0, 0]),
        (constant(), [("cooldown", 4, 1), ("scale", 2.0, 3)], [1, 1, 0.75, 1.0, 0.5, 0, 0]),
        (constant(), [("cooldown", 4, 1), ("resume", None, 3)], [1, 1, 0.75, 0.5, 0.5]),
        (constant(3), [("scale", 0.5, 5), ("cooldown", 2, 6)], [1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0]),  # after its end
        (linear(4), [("extend", 2, 2)], [1, 0.75, 0.5, 0.375, 0.25, 0.125, 0]),
        (linear(4), [("hold", None, 1), ("extend", 4, 2), ("resume", None, 5)], [1, *[0.75] * 5, 0.5, 0.25, 0]),
        (linear(4), [("scale", 4.0, 1), ("undo", None, 2)], [1, 3, 0.5, 0.25, 0]),
        (linear(4), [("hold", None, 1), ("scale", 2.0, 2), ("undo", None, 3), ("undo", None, 3)], [1, 0.75, 1.5, 0.25]),
        (linear(4), [("snapshot", None, 1), ("scale", 2.0, 2), ("undo", None, 3)], [1, 0.75, 1, 0.25]),
        (linear(2), [("scale", 2.0, 1), ("undo", None, 3)], [1, 1, 0, 0]),
        (linear(4), [("stop", None, 2)], [1, 0.75, 0.5, 0.25]),
        (linear(4), [("scale", 0.5, 3), ("scale", 0.5, 1)], [1, 0.75, 0.5, 0.0625]),  # steps that come again
    ],
)
def test_an_order_continues_from_the_present_factor(
    schedule: Schedule, orders: list[Any], expected: list[float]
) -> None:
    whole = steered(schedule, *orders)
    assert whole(np.arange(len(expected))) == pytest.approx(expected, abs=1e-15)
    assert parse(str(whole)) == whole  # so a bound scheduler saves it


def test_a_factor_that_was_not_ordered_keeps_its_bits() -> None:
    base = cosine(1_000, warmup=50)
    steps = np.arange(1_001)
    whole = steered(base, ("scale", 0.3, 333), ("hold", None, 500), ("resume", None, 600), ("snapshot", None, 700))
    np.testing.assert_array_equal(whole(steps)[:333], base(steps)[:333])
    np.testing.assert_array_equal(whole(steps)[333:500], base(steps)[333:500] * 0.3)
    np.testing.assert_array_equal(whole(steps)[500:601], np.full(101, base(500) * 0.3))
    assert whole.length == 1_000
    assert whole(1_000) == 0


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ([("resume", None, 1)], "verb must follow a hold or a cooldown; got 'resume'"),
        ([("undo", None, 1)], "verb needs a change before it; got 'undo'"),
        ([("cooldown", 2, 0), ("hold", None, 2)], "verb needs a learning rate that is not zero; got 'hold'"),
        ([("hold", None, 1), ("resume", None, 4)], "verb needs a schedule that has not ended"),
        ([("extend", 2, 4)], "at must be before the end of the schedule at step 4"),
    ],
)
def test_what_is_not_possible_is_refused(orders: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        steered(linear(4), *orders)
    with pytest.raises(InputError, match="verb needs a schedule with an end; got 'extend'"):
        steered(constant(), ("extend", 2, 1))


def test_many_orders_stay_small_and_fast() -> None:
    whole = Steered(wsd(10_000))
    for step in range(0, 200, 4):
        for at, verb in enumerate(("hold", "resume", "scale")):
            whole = whole.ordered(verb, {"factor": 0.999}, step + at)
    assert len(str(whole.schedule)) < 12_000
    assert len(whole.schedule(np.arange(10_000))) == 10_000


def test_a_journal_is_the_schedule_of_the_run() -> None:
    journal = [
        Sent("scale", {"factor": 0.5, "group": None}, 100),
        Sent("scale", {"factor": 3.0, "group": "1"}, 200),
        Sent("hold", {}, None, "refused"),
        Sent("hold", {}, None, "sent"),
        Sent("cooldown", {"steps": 100}, 300),
        Sent("stop", {}, 350),
    ]
    base = warmup("5%").then(constant())
    run = from_journal(journal, base, steps=1_000)
    assert run == steered(base.over(1_000), ("scale", 0.5, 100), ("cooldown", 100, 300))
    assert from_journal(journal, str(base), steps=1_000) == run
    one = from_journal(journal, base, steps=1_000, group=1)
    assert one(250) == 1.5
    assert run(250) == from_journal(journal, base, steps=1_000, group=0)(250) == 0.5
    assert from_journal([])(10**9) == 1.0
    with pytest.raises(InputError, match="orders must hold no undo, which restores weights as no schedule can"):
        from_journal([*journal, Sent("undo", {}, 400)])
