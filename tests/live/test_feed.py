"""What a page hears: everything once, then what is new, and never more than it can draw."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.live.serving import served, writing
from tests.views.chart_specs import flat_layers, values

import stepsize
from stepsize.errors import InputError
from stepsize.live.feed import Feed, Page
from stepsize.store import ProgressRecord, Store
from stepsize.study.finding import read_found
from stepsize.study.study import StudyProgress
from stepsize.views.theme import ROLE_DASHES

LATE = 3.0  # seconds on a busy machine; by design one


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def until(events: Iterator[tuple[str, dict[str, Any]]], key: str) -> tuple[str, Any]:
    """Return the mark and the part ``key`` of the next event that has one."""
    return next((mark, news[key]) for mark, news in events if key in news)


def heard(page: Page, key: str) -> Any:
    """Return the part ``key`` of what is new, as soon as there is one."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if key in (news := page.news()):
            return news[key]
        time.sleep(0.1)
    raise AssertionError(f"no {key} came")


def steps_of(points: Any, run: str = "net") -> list[int]:
    found: list[int] = points[run]["signals"]["loss"][0]
    return found


def test_a_page_hears_everything_once_and_then_only_what_is_new(path: Path) -> None:
    with writing(path) as run, served(path) as page, page.events("?run=net&run=no-such-run") as events:
        run.write({"loss": ([0, 1, 2], [3.0, np.nan, 2.0]), "lr/0": ([0, 1, 2], [0.1] * 3)})
        _, first = next(events)
        assert first["page"] == {"store": str(path), "readOnly": False, "shown": ["net"]}
        points = first["points"] if "points" in first else until(events, "points")[1]
        assert points["net"] == {
            "replaces": True,
            "signals": {"loss": [[0, 1, 2], [3.0, None, 2.0]], "lr/0": [[0, 1, 2], [0.1] * 3]},
        }

        written = time.monotonic()
        run.write({"loss": ([3, 4], [1.5, 1.4])})
        mark, points = until(events, "points")
        assert time.monotonic() - written < LATE
        assert points == {"net": {"replaces": False, "signals": {"loss": [[3, 4], [1.5, 1.4]]}}}

    with writing(path, "other"), served(path) as page, page.events("?run=net", Last_Event_ID=mark) as events:
        _, first = next(events)  # connected again, and nothing was written meanwhile
        assert "points" not in first
        assert first["runs"]["net"]["steps"] == 5
    with served(path) as page, page.events("?run=net", Last_Event_ID="0") as events:
        assert steps_of(until(events, "points")[1]) == [3, 4]


def test_blocks_replace_what_a_page_has(path: Path) -> None:
    with writing(path) as run, Store.open(path) as store:
        feed = Feed(store)
        run.write({"loss": (np.arange(10), np.ones(10))})
        page = Page(feed, ["net"])
        assert heard(page, "points")["net"]["replaces"]
        run.write({}, instead=True)
        points = heard(page, "points")
        assert (points["net"]["replaces"], steps_of(points)) == (True, list(range(10)))
        run.write({"loss": ([10], [0.5])})
        points = heard(page, "points")
        assert (points["net"]["replaces"], steps_of(points)) == (False, [10])
        assert page.news() == {}


def test_the_end_of_a_run_and_a_killed_one_are_heard(path: Path) -> None:
    with Store.open(path) as store:
        with writing(path) as run:
            page = Page(Feed(store), ["net"])
            news = page.news()
            assert (news["list"]["runs"][0]["status"], news["list"]["runs"][0]["control"]) == ("running", True)
            run.write({"loss": ([0], [1.0])})
            run.end()
            assert heard(page, "runs")["net"]["control"] is False
            assert page.news() == {}
        with writing(path, "killed"):
            pass
        assert [one["status"] for one in Feed(store).listed()["runs"]] == ["interrupted", "done"]


def test_orders_and_their_replies_are_heard(path: Path) -> None:
    with writing(path), served(path) as page, page.events("?run=net") as events:
        assert until(events, "runs")[1]["net"]["orders"] == []
        page.order("net", "scale", {"factor": 0.5})
        [order] = until(events, "runs")[1]["net"]["orders"]
        assert (order["verb"], order["state"], order["who"]) == ("scale", "sent", "page at 127.0.0.1")


@pytest.mark.timeout(300)
def test_sixty_runs_of_a_hundred_thousand_steps_are_thinned_and_spikes_stay(path: Path) -> None:
    steps, count = np.arange(100_000), 60
    names = [f"net {index}" for index in range(count)]
    for index, name in enumerate(names):
        with writing(path, name) as run:
            values = np.full(len(steps), 1.0 + index)
            values[77_777] = 500.0
            run.write({"loss": (steps, values), "lr/0": (steps, values), "distance": (steps, values)})
    with Store.open(path) as store:
        feed = Feed(store)
        begun = time.process_time()
        news = Page(feed, feed.known(names)).news()
        took = time.process_time() - begun
        size = len(json.dumps(news))
        [points] = [one for name, one in news["points"].items() if name == "net 59"]
        assert max(points["signals"]["loss"][1]) == 500.0
        assert set(points["signals"]) == {"loss", "lr/0"}  # what is not drawn is not sent
        assert sum(len(one["signals"]["loss"][0]) for one in news["points"].values()) < 50_000
        assert size < 6_000_000
        assert took < 10
        again = time.process_time()
        assert Page(feed, names, [0] * count).news()["list"]["runs"]
        assert time.process_time() - again < 2


def test_a_store_that_fails_is_told_and_asked_again(path: Path) -> None:
    with writing(path) as run:
        run.write({"loss": ([0], [1.0])})
    whole = path.read_bytes()
    with served(path) as page, page.events("?run=net") as events:
        next(events)
        path.write_bytes(b"no database" * 1_000)
        assert "damaged" in until(events, "trouble")[1]
        path.write_bytes(whole)
        assert until(events, "trouble")[1] == ""


# ---------------------------------------------------------------- searches and sweeps


def test_a_search_is_answered_as_find_answers_it_with_its_chart(path: Path) -> None:
    task = stepsize.build_task("cancer-mlp", steps=40)
    found = stepsize.find(task, budget=3, store=path, name="f")

    rows = [{"lr": lr, "steps": 40, "share": 1.0, "seed": 1} for lr in (0.02, 0.02, 3.0)]
    with served(path) as page:
        with Store.open(path) as store:
            asked = store.known("f").spec
            with store.begin("f", "find", asked) as writer:
                writer.set_progress(ProgressRecord(datetime.now(UTC), rows))
                tried = page.ask("/api/study?name=f").json["spec"]
        read = page.ask("/api/study?name=f&width=500&dark=1").json
        assert page.ask("/api/study?name=f&width=9").status == 400
        assert page.ask("/api/study?name=g").status == 404

    assert found.lr is not None
    assert (read["verdict"], read["reason"], read["next"]) == (found.verdict, found.answer.reason, found.next)
    assert float(read["lr"]) == pytest.approx(found.lr, rel=0.02)
    assert read["runs"] == len(found.runs)
    spec = json.dumps(read["spec"])
    assert "title" not in read["spec"]
    assert '"width": 500' in spec
    assert '"width": 640' not in spec
    assert '"white"' not in spec
    assert tried_rates(tried) == [0.02, 3.0]
    assert tried_rates(read["spec"]) == []  # it has ended
    with Store.open(path) as store:
        again = read_found(store, "f")
        assert (again.lr, again.as_good, again.verdict) == (found.lr, found.as_good, found.verdict)


def tried_rates(spec: Any) -> list[float]:
    """Return the rates at which the chart has a dotted rule."""
    dotted = [layer for layer in flat_layers(spec) if layer["mark"].get("strokeDash") == ROLE_DASHES["tried"]]
    return [row["x"] for layer in dotted for row in values(spec, layer)]


def test_a_store_is_read_again_only_if_something_was_written_or_a_run_was_killed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(path) as store:
        with writing(path) as run:
            monkeypatch.setattr("stepsize.live.feed._LOCKS", 300.0)
            feed = Feed(store)
            feed.reads()
            time.sleep(0.2)
            first = feed.reads()
            time.sleep(0.2)
            assert feed.reads() == first
            run.write({"loss": ([0, 1], [2.0, 1.0])})
            while feed.reads() == first:
                time.sleep(0.01)
            monkeypatch.setattr("stepsize.live.feed._LOCKS", 0.2)
            feed = Feed(store)
            line = feed.listed()["runs"][0]
            assert (line["steps"], line["status"]) == (2, "running")
        end = time.monotonic() + LATE  # its writer has let go without a word
        while feed.listed()["runs"][0]["status"] == "running" and time.monotonic() < end:
            time.sleep(0.1)
        assert feed.listed()["runs"][0]["status"] == "interrupted"


def listed(page: Page) -> dict[str, Any]:
    """Return the only study of the list, as a page hears it."""
    [study] = page.news()["list"]["studies"]
    return dict(study)


@pytest.mark.parametrize(("limit", "at_most"), [({"budget": 9.0}, True), ({}, False)])
def test_what_is_being_tried_and_the_time_left_are_heard(
    path: Path, limit: dict[str, Any], at_most: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepsize.study.study._BRIEF", 0.0)  # these runs are shorter than what is saved less often
    task = stepsize.build_task("cancer-mlp", steps=40)
    seen: list[tuple[int, float, dict[str, Any]]] = []

    def look(progress: StudyProgress) -> None:
        if progress.running is not None and progress.running.step == 1:
            pace = progress.seconds / progress.spent if progress.spent else math.nan
            left = (limit["budget"] - progress.spent if limit else 3 - progress.done) * pace
            seen.append((progress.running.setting.seed, left, listed(Page(Feed(store), []))))

    with Store.open(path) as store:
        rates, options = [1e-3, 1e-2, 1e-1], {"seeds": 1, "workers": "in-order"}
        stepsize.sweep(task, lr=rates, store=store, name="s", on_progress=look, **options, **limit)  # type: ignore[arg-type, call-overload, unused-ignore]
        ended = listed(Page(Feed(store), []))

    tried = [study["tried"] for _, _, study in seen]
    assert sorted(tried) == [[f"lr {lr} (full run, seed {seen[0][0]})"] for lr in ("0.001", "0.01", "0.1")]
    assert seen[0][2]["secondsLeft"] is None
    for _, left, study in seen[1:]:
        assert study["atMost"] is at_most
        assert study["secondsLeft"] == pytest.approx(left, rel=0.3)
    assert (ended["status"], "tried" in ended) == ("done", False)


def test_many_that_are_tried_at_once_are_counted_and_a_killed_search_tries_nothing(path: Path) -> None:
    running = [{"lr": 0.1, "momentum": 0.9, "steps": 500 + place, "share": 0.5, "seed": 3} for place in range(20)]
    with Store.open(path) as store:
        with store.begin("s", "sweep", {}) as writer:
            writer.set_progress(ProgressRecord(datetime.now(UTC), running))
            study = listed(Page(Feed(store), []))
            assert study["tried"][0] == "lr 0.1, momentum 0.9 (500 steps, seed 3)"
            assert (len(study["tried"]), study["tried"][-1]) == (9, "12 more")
        assert "tried" not in listed(Page(Feed(store), []))


def test_a_sweep_is_answered_as_sweep_answers_it_and_a_run_is_no_study(path: Path) -> None:
    task = stepsize.build_task("cancer-mlp", steps=20)
    found = stepsize.sweep(task, lr=[1e-3, 1e-2, 1e-1], seeds=1, store=path, name="s")
    with writing(path), served(path) as page:
        read = page.ask("/api/study?name=s").json
        with page.events() as events:
            _, listed = until(events, "list")
        assert page.ask("/api/study?name=net").json["error"].startswith("name must be a search or a sweep")
    assert (read["verdict"], read["reason"], read["runs"]) == (found.verdict, found.answer.reason, 3)
    assert [(one["name"], one["kind"], one["runs"]) for one in listed["studies"]] == [("s", "sweep", 3)]
    with Store.open(path) as store, pytest.raises(InputError, match="must be a search"):
        read_found(store, "s")
