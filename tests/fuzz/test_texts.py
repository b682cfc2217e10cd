"""Whatever text or value comes in, a sentence comes out: no traceback, no hang, no memory that fills."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD

from stepsize import bind
from stepsize.cli.options import TaskOptions, fraction, number, pair
from stepsize.cli.resolve import opened_task
from stepsize.cli.sweep.run import read_dimension
from stepsize.errors import StepsizeError
from stepsize.monitor import diagnose
from stepsize.schedules import Clock, Schedule, cosine, parse
from stepsize.store import Store
from stepsize.store.address import as_address
from stepsize.store.packing import pack_arrays, unpack_arrays
from stepsize.study.finding import as_budget
from stepsize.study.space import as_space
from stepsize.study.sweeping import read_sweep
from stepsize.views import check_plot_path

EXAMPLES = int(os.environ.get("STEPSIZE_FUZZ", "250"))
many = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
SWEEP = {
    "task": {
        "name": "digits-mlp",
        "source": None,
        "start": "44",
        "untrained": 2.3,
        "usual": {"lr": 0.001, "family": "adamw"},
        "conditions": {
            "task": "digits-mlp",
            "optimizer": "AdamW",
            "schedule": "cosine 19",
            "horizon": 20,
            "batch_size": 128,
            "objective": "validation loss",
        },
    },
    "space": {
        "dimensions": [
            {"name": "lr", "low": 1e-05, "high": 0.1, "scale": "log", "whole": False},
        ]
    },
    "sampler": "random",
    "trials": 3,
    "seed": 0,
    "seeds": [0],
    "repeats": 2,
    "asked": {"task": "digits-mlp", "steps": 20},
}
WORDS = st.sampled_from(
    [
        "cosine",
        "linear",
        "wsd",
        "warmup=",
        "cooldown=",
        "end=",
        "steps=",
        "5%",
        "1e400",
        "-1",
        "nan",
        "inf",
        "0",
        "ep",
        "tok",
        "(",
        ")",
        ",",
        "|",
        "*",
        "+",
        "then",
        "\x00",
        "\n",
        "☃",
        "9e999",
    ]
)
LISTED = st.lists(WORDS, max_size=8)
TEXTS = st.one_of(st.text(max_size=60), LISTED.map(" ".join), LISTED.map("".join))
NUMBERS = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=8))
KEYS = st.text(max_size=8)
JSON = st.recursive(NUMBERS, lambda one: st.lists(one, max_size=3) | st.dictionaries(KEYS, one, max_size=4))
CELLS = st.one_of(st.floats().map(str), st.integers().map(str), st.text(max_size=6))


def ends_in_a_sentence(call: Callable[[], object]) -> None:
    text = "an answer"
    try:
        call()
    except StepsizeError as error:
        text = str(error)
    assert 0 < len(text.strip()) < 2_000


@many
@given(TEXTS)
@example("(" * 5_000)
@example("cosine(" * 2_000)
@example("cosine then " * 2_000)
@example("linear(" + "9" * 5_000 + ")")
def test_written_schedules(text: str) -> None:
    ends_in_a_sentence(lambda: parse(text))


@many
@given(TEXTS, NUMBERS)
def test_written_schedules_over_a_horizon(text: str, steps: Any) -> None:
    def settled() -> None:
        found = parse(text).over(steps, Clock(batch_size=8, steps_per_epoch=10))
        found(3)

    ends_in_a_sentence(settled)


def changed(document: Any, draw: Any) -> Any:
    """Return ``document`` with one value somewhere in it exchanged."""
    document = copy.deepcopy(document)
    place, path = document, []
    while isinstance(place, dict | list) and place:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        path.append((place, key))
        place = place[key]
    holder, key = path[draw(st.integers(0, len(path) - 1))]
    holder[key] = draw(JSON)
    return document


@many
@given(st.data())
def test_states_of_a_bound_schedule(data: st.DataObject) -> None:
    bound = bind(cosine(100), SGD([nn.Parameter(nn.Linear(1, 1).weight.detach())], lr=0.1))
    before = bound.state_dict()
    for state in (changed(before, data.draw), data.draw(JSON)):
        try:
            bound.load_state_dict(state)  # type: ignore[arg-type]
            bound.get_lr()
        except StepsizeError:
            assert bound.state_dict() == before
        else:
            bound.load_state_dict(before, on_change="continue")


@pytest.mark.parametrize("step", [2**63, 2**64, 10**400])
def test_a_clock_beyond_all_numbers(step: int) -> None:
    bound = bind(cosine(100), SGD([nn.Parameter(nn.Linear(1, 1).weight.detach())], lr=0.1))
    ends_in_a_sentence(lambda: bound.load_state_dict({**bound.state_dict(), "step": step}))
    ends_in_a_sentence(bound.get_lr)


@many
@given(TEXTS)
@example("~nobody9/x")
@example("a\0b")
@example("postgresql://[::1")
@example("/" * 5_000)
def test_addresses_of_stores(text: str) -> None:
    ends_in_a_sentence(lambda: as_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "postgresql:/ann:hunter2@host/db",
        "postgres:ann:hunter2@host/db",
        "postgresql//ann:hunter2@host/db",
        "Postgresql:///ann:hunter2@host/db:x:y",
        "mysql://ann:hunter2@host/db",
        "postgresql://ann:hunter2@host:port/db",
    ],
)
def test_a_password_is_never_shown(text: str) -> None:
    try:
        shown = f"{as_address(text)} {as_address(text)!r}"
    except StepsizeError as error:
        shown = f"{error} {error!r} {error.args}"
    assert "hunter2" not in shown


@many
@given(st.lists(st.lists(CELLS, max_size=4), max_size=24))
def test_logs(tmp_path: Path, rows: list[list[str]]) -> None:
    path = tmp_path / "log.csv"
    head = "step,loss,lr\n"
    path.write_text(head + "\n".join(",".join(row) for row in rows), encoding="utf-8", errors="replace")
    ends_in_a_sentence(lambda: diagnose(path))


@many
@given(st.data())
def test_json_logs(tmp_path: Path, data: st.DataObject) -> None:
    whole = {"log_history": [{"step": step, "loss": 2 - step / 20, "lr": 0.1} for step in range(20)], "best": None}
    document = changed(whole, data.draw) if data.draw(st.booleans()) else data.draw(JSON)
    path = tmp_path / data.draw(st.sampled_from(["trainer_state.json", "log.jsonl", "log.txt"]))
    lines = document if isinstance(document, list) else [document]
    text = json.dumps(document) if path.suffix == ".json" else "\n".join(map(json.dumps, lines))
    path.write_text(text[: data.draw(st.integers(0, len(text)))], encoding="utf-8", errors="replace")
    ends_in_a_sentence(lambda: diagnose(path))


@many
@given(TEXTS, st.sampled_from(["lr", "momentum", "batch_size", "optimizer", "schedule"]))
@example("1e-3:1" + "0" * 400, "lr")
@example("1e-3:0.1,", "lr")
def test_searched_spaces(text: str, name: str) -> None:
    def space() -> None:
        given = read_dimension(name, text)
        found = as_space(**{"lr": (1e-3, 1.0), name: given})
        found.from_units([0.5] * len(found.dimensions))

    ends_in_a_sentence(lambda: ends_as_typed(space))


@many
@given(NUMBERS | st.lists(NUMBERS, max_size=3) | st.tuples(NUMBERS, NUMBERS))
def test_searched_values(given: Any) -> None:
    ends_in_a_sentence(lambda: as_space(lr=given))


@many
@given(TEXTS | CELLS | st.tuples(CELLS, st.sampled_from(["s", "min", "h", "%", "ep", "k"])).map("".join))
def test_numbers_with_units(text: str) -> None:
    ends_in_a_sentence(lambda: as_budget(text))
    for read in (number, fraction):
        ends_as_typed(lambda read=read: read(text))  # type: ignore[misc]
    ends_in_a_sentence(lambda: ends_as_typed(lambda: pair("--lr", text, float, "1:2")))


def ends_as_typed(call: Callable[[], object]) -> None:
    """Call what reads a command line, where typer shows its own errors."""
    with contextlib.suppress(typer.BadParameter):
        call()


@many
@given(st.tuples(TEXTS, st.sampled_from(["", ":", ".py", ".py:", ".py:task", ":task", "."]), TEXTS).map("".join))
@example("~nobody9/x.py:task")
@example("a" * 5_000 + ".py:task")
def test_references_to_tasks(text: str) -> None:
    def opened() -> None:
        with opened_task(TaskOptions(text)):
            pass

    ends_in_a_sentence(opened)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("fuzz") / "s.db") as store:
        yield store


@many
@given(st.data())
def test_saved_sweeps(store: Store, data: st.DataObject) -> None:
    """What the store holds of a sweep, with one value exchanged: it is read, or named."""
    spec, name = changed(SWEEP, data.draw), uuid.uuid4().hex
    try:
        store.begin(name, "sweep", spec).close()
    except StepsizeError:
        return
    ends_in_a_sentence(lambda: read_sweep(store, name))


@many
@given(st.binary(max_size=200))
def test_event_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(content)
    ends_in_a_sentence(lambda: diagnose(path))


@pytest.mark.parametrize("step", ["9223372036854775808", "1e300", "-9e30"])
def test_steps_in_logs_beyond_all_numbers(tmp_path: Path, step: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n" + "".join(f"{step},{2 - n / 20}\n" for n in range(20)))
    ends_in_a_sentence(lambda: diagnose(path))


def test_logs_that_never_end() -> None:
    ends_in_a_sentence(lambda: diagnose("/dev/zero"))
    ends_in_a_sentence(lambda: diagnose("a\0b"))


@many
@given(st.binary(max_size=200))
def test_payloads(content: bytes) -> None:
    try:
        unpack_arrays(content)
    except ValueError:
        return


def test_a_payload_that_unpacks_to_gigabytes_is_refused() -> None:
    import zlib

    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(40)) + packer.flush()
    with pytest.raises(ValueError, match="unpack to more than signals ever take"):
        unpack_arrays(bomb)
    assert unpack_arrays(pack_arrays({})) == {}


@many
@given(TEXTS)
@example("a\0b.png")
@example("x" * 5_000 + ".png")
def test_paths_of_charts(text: str) -> None:
    ends_in_a_sentence(lambda: check_plot_path(text))


@many
@given(st.integers(1, 10**30))
def test_horizons(steps: int) -> None:
    ends_in_a_sentence(lambda: Schedule.over(parse("cosine warmup=5%"), steps))
