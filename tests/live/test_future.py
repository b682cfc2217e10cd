"""The future of the rate: the rest of the schedule, with the orders that the run has followed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import stepsize
from stepsize.live.future import future_of
from stepsize.store import OrderRecord

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def order(
    verb: str, step: int | None, *, state: Any = "applied", group: str | None = None, **given: Any
) -> OrderRecord:
    arguments = {**given, "group": group} if verb == "scale" else given
    return OrderRecord(1, verb, arguments, "test", WHEN, state, step=step)


def ratio(orders: list[OrderRecord], at: int, group: str = "0", now: int = 50) -> float:
    """Return the rate at a step in multiples of the one of step 50, for a schedule that falls to zero in 100."""
    steps, ratios = future_of("linear 100", orders, now, 100, ["0", "1"])[group]
    return ratios[steps.index(at)]


def test_it_is_the_rest_of_the_schedule() -> None:
    schedule = stepsize.schedules.parse("linear 100")
    assert ratio([], 75) == pytest.approx(float(schedule(75)) / float(schedule(50)), abs=1e-4)
    assert ratio([order("scale", 40, factor=0.5)], 75) == ratio([], 75)  # in multiples of the present one
    assert ratio([order("hold", None, state="sent")], 75) == ratio([order("hold", None, state="refused")], 75)


def test_orders_change_it_for_all_groups_or_one() -> None:
    assert ratio([order("hold", 40)], 75) == 1.0
    assert ratio([order("hold", 40), order("resume", 45)], 75) == ratio([], 75)
    assert ratio([order("cooldown", 40, steps=20)], 59) == pytest.approx(0.1)
    assert ratio([order("hold", 40), order("undo", 45)], 75) == ratio([], 75)
    later = [order("scale", 60, factor=0.5, group="1")]
    assert ratio(later, 80, group="1") == pytest.approx(ratio(later, 80) / 2, abs=1e-4)
    assert future_of("linear 100", [order("extend", 40, steps=60)], 50, 100, ["0"])["0"][0][-1] == 159


@pytest.mark.parametrize("written", ["", "no schedule 1", "linear 100"])
def test_there_is_none_if_it_is_unknown_or_over(written: str) -> None:
    assert future_of(written, [], 100 if written == "linear 100" else 5, 100, ["0"]) == {}
    assert future_of(written, [], 5, None, ["0"]) == {}


def test_a_watched_run_stores_its_schedule_as_text(tmp_path: Any) -> None:
    import torch

    net = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    bound = stepsize.bind("cosine warmup=10%", optimizer, steps=50)
    with stepsize.watch(net, optimizer, schedule=bound, steps=50, store=tmp_path / "a.db", name="net"):
        pass
    with stepsize.Store.open(tmp_path / "a.db") as store:
        study = store.study("net")
    assert study is not None
    assert stepsize.schedules.parse(study.spec["written"]).factors().tolist() == [
        float(bound.schedule.rate(step)) for step in range(50)
    ]
