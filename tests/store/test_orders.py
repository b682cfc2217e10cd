"""Orders to a running training: checked before they are sent, numbered, answered, and read by anyone."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepsize.errors import InputError, StoreError, UnknownStudyError
from stepsize.store import Store, WatchRecord, Writer

NOW = datetime.now(UTC)


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    with store.begin("net", "watch", {}) as begun:
        begun.add_signals(WatchRecord(0, NOW, control=True))
        yield begun


def test_an_order_is_numbered_complete_and_answered(where: str, store: Store, writer: Writer) -> None:
    with Store.open(where) as other:  # while the writer has its lock
        assert other.send("net", "scale", {"factor": 0.5}, who="ann") == 1
        assert other.send("net", "cooldown", {"steps": 200}) == 2
    first, second = store.orders("net")
    assert (first.number, first.verb, first.who, first.state, first.reply) == (1, "scale", "ann", "sent", "")
    assert first.arguments == {"factor": 0.5, "group": None, "confirmed": False}
    assert abs(first.sent - datetime.now(UTC)) < timedelta(minutes=1)
    assert store.orders("net", after=1) == (second,)
    done = replace(first, state="applied", reply="rate × 0.5", step=30, loss_before=0.5, loss_after=math.inf)
    writer.answer([done])
    assert store.orders("net") == (done, second)
    assert store.study("net").status == "running"  # type: ignore[union-attr]


def test_the_writer_sees_each_new_order(store: Store, writer: Writer) -> None:
    assert writer.orders() == ()
    writer.add_signals(WatchRecord(1, NOW, control=True))
    for number in (1, 2):
        assert store.send("net", "hold") == number
        assert [one.number for one in writer.orders(number - 1)] == [number]
        assert [one.number for one in writer.orders(number - 1)] == [number]  # until it asks for later ones
    assert writer.orders(2) == ()


def test_two_senders_at_once_get_numbers_of_their_own(where: str, store: Store, writer: Writer) -> None:
    numbers: list[int] = []

    def send() -> None:
        with Store.open(where) as other:
            numbers.extend(other.send("net", "hold") for _ in range(5))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(numbers) == list(range(1, 21)) == [one.number for one in store.orders("net")]


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("explode", {}, "verb is not a known name; got 'explode'. Known: cooldown, extend"),
        ("__class__", {}, "verb is not a known name"),
        (["scale"], {}, "verb must be one of: scale, hold"),
        ("scale", {}, "factor must be a positive, finite factor; got None"),
        ("scale", {"factor": 10.5}, "factor must be between 0.1 and 10, unless it is confirmed; got 10.5"),
        ("scale", {"factor": 0.05}, "factor must be between 0.1 and 10"),
        *(("scale", {"factor": bad, "confirmed": True}, "factor must be a positive, finite factor")
          for bad in (math.nan, math.inf, -1.0, 0.0, True, "2", None, 10**400)),
        ("scale", {"factor": 2.0, "confirmed": 1}, "confirmed must be True or False; got 1"),
        ("scale", {"factor": 2.0, "group": 0}, "group must be the name or the number of a parameter group"),
        ("scale", {"factor": 2.0, "group": "a\x00b"}, "group must be the name"),
        ("scale", {"factor": 2.0, "times": 3}, "arguments must be what 'scale' takes: factor, group, confirmed; got"),
        ("hold", {"steps": 3}, "arguments must be what 'hold' takes: nothing; got 'steps'"),
        ("hold", [], "arguments must be a mapping"),
        *(("cooldown", {"steps": bad}, "steps must be a whole number of steps, at least 1")
          for bad in (0, -1, 2.0, math.nan, True, None)),
        ("extend", {"steps": 10**30}, "steps must be a finite number, at most 1e\\+09"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_not_sent(store: Store, writer: Writer, verb: Any, arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        store.send("net", verb, arguments)
    assert store.orders("net") == ()


def test_a_factor_beyond_ten_is_sent_if_it_is_confirmed(store: Store, writer: Writer) -> None:
    assert store.send("net", "scale", {"factor": 100, "confirmed": True}) == 1
    assert store.send("net", "scale", {"factor": 10}) == 2
    assert store.send("net", "scale", {"factor": 0.1}) == 3


def test_only_a_running_run_that_was_started_with_control_takes_orders(where: str, store: Store) -> None:
    with pytest.raises(UnknownStudyError, match="no study 'net'"):
        store.send("net", "hold")
    with store.begin("net", "watch", {}) as writer:
        with pytest.raises(InputError, match="name must be a run that was started with control=True; got 'net'"):
            store.send("net", "hold")
        writer.add_signals(WatchRecord(1, NOW))
        with pytest.raises(InputError, match="started with control=True"):
            store.send("net", "hold")
        writer.add_signals(WatchRecord(2, NOW, control=True))
        with pytest.raises(InputError, match="who must be printable text"):
            store.send("net", "hold", who="a\nb")
        assert store.send("net", "hold") == 1
        writer.add_signals(WatchRecord(3, NOW, control=True), status="done")
        with pytest.raises(InputError, match="must be a run that is still running; this one has ended"):
            store.send("net", "hold")
        writer.add_signals(WatchRecord(4, NOW, control=True))
    with pytest.raises(InputError, match="must be a run that is still running"):  # its writer is gone: it was killed
        store.send("net", "hold")
    assert len(store.orders("net")) == 1


def test_orders_that_wait_are_bounded(store: Store, writer: Writer) -> None:
    for _ in range(20):
        store.send("net", "hold")
    with pytest.raises(InputError, match="name must have answered some of the 20 orders that wait"):
        store.send("net", "hold")
    writer.answer([replace(store.orders("net")[0], state="refused", reply="no")])
    assert store.send("net", "hold") == 21


def test_a_store_that_cannot_be_written_takes_no_order(without_power: Any) -> None:
    file = without_power / "runs.db"
    with Store.open(file) as store, store.begin("net", "watch", {}) as writer:
        writer.add_signals(WatchRecord(1, NOW, control=True))
        file.chmod(0o444)
        with Store.open(file) as other, pytest.raises(StoreError, match="may not be written"):
            other.send("net", "hold")
        file.chmod(0o644)
