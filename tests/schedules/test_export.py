"""Schedules for others: the callable of torch and Hugging Face, and the table."""

from __future__ import annotations

import copy
import csv
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.schedules.strategies import settled_schedules

from stepsize import schedules
from stepsize.errors import InputError
from stepsize.schedules import (
    SCHEDULES,
    HyperparameterSchedule,
    Peaks,
    Schedule,
    cosine,
    function,
    linear,
    preview,
    to_csv,
    to_lambda,
)


def sgd(lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


# ----------------------------------------------------------------------- to_lambda


@given(eta=settled_schedules(), steps=st.lists(st.integers(0, 5_000), min_size=1, max_size=20))
def test_the_callable_is_the_schedule_in_any_order_of_steps(eta: Schedule, steps: list[int]) -> None:
    factor = to_lambda(eta)

    assert [factor(step) for step in steps] == [eta(step) for step in steps]


@pytest.mark.parametrize("name", [entry.name for entry in SCHEDULES.values()])
def test_every_schedule_of_the_catalog_goes_through_lambda_lr(name: str) -> None:
    eta = SCHEDULES[name].typical(400)
    optimizer = sgd(lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, to_lambda(eta))
    seen = []
    for _ in range(60):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()

    assert seen == eta(np.arange(60)).tolist()


def test_the_callable_pickles_copies_and_compares_by_value() -> None:
    factor = to_lambda(cosine(100))
    factor(3)

    for other in (pickle.loads(pickle.dumps(factor)), copy.deepcopy(factor), to_lambda(cosine(100))):
        assert other == factor
        assert hash(other) == hash(factor)
        assert other(3) == factor(3)
    assert factor != to_lambda(cosine(101))
    assert repr(factor) == "to_lambda(Schedule('cosine 100'))"


def test_it_returns_python_floats() -> None:
    factor = to_lambda(cosine(100))

    assert {type(factor(step)) for step in (0, 5, 100, 5_000)} == {float}
    assert factor(np.int64(50)) == factor(50)  # type: ignore[arg-type]


def test_a_resumed_lambda_lr_follows_the_schedule_it_is_given_and_its_state_is_plain() -> None:
    optimizer = sgd()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, to_lambda(linear(10)))
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)

    longer = torch.optim.lr_scheduler.LambdaLR(sgd(), to_lambda(linear(20)))
    longer.load_state_dict(torch.load(file, weights_only=True))
    longer.optimizer.step()
    longer.step()

    assert longer.last_epoch == 4
    assert longer.get_last_lr() == [0.1 * linear(20)(4)]


def test_a_function_is_asked_for_the_wanted_step_alone() -> None:
    asked: list[int] = []

    def factor(step: int) -> float:
        asked.append(step)
        return 1 / (1 + step)

    plain = to_lambda(linear(5).then(function(factor, 100)))
    plain(7)

    assert asked == [2]


def test_a_step_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match=r"step must be .*at least 0; got -1"):
        to_lambda(linear(5))(-1)


@pytest.mark.parametrize("anything", [None, 3.0, HyperparameterSchedule(linear(5)), lambda t: t])
def test_only_schedules_become_callables(anything: Any) -> None:
    with pytest.raises(InputError, match=r"schedule must be a Schedule; got .*of a HyperparameterSchedule use \.rate"):
        to_lambda(anything)


def test_an_open_schedule_is_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"must be in steps; got .* Call .over\(steps\) first"):
        to_lambda(cosine(warmup="5%"))


# -------------------------------------------------------------------------- to_csv


def written(course: HyperparameterSchedule | Schedule, peaks: Peaks, steps: int | None = None) -> list[list[str]]:
    text = io.StringIO()
    assert to_csv(course, peaks, text, steps=steps) is None
    return list(csv.reader(io.StringIO(text.getvalue())))


def test_the_table_is_the_preview_to_the_last_bit() -> None:
    course = HyperparameterSchedule(
        schedules.one_cycle(40),
        momentum=schedules.one_cycle_momentum(40),
        weight_decay="independent",
        keep_effective=True,
    )
    peaks = Peaks(lr=0.3, momentum=0.9, weight_decay=0.05)
    seen = preview(course, peaks)
    values = seen.values

    head, *rows = written(course, peaks)

    assert head == ["step", "factor", "lr", "momentum", "weight_decay", "effective_lr", "timescale"]
    assert [int(row[0]) for row in rows] == list(range(40))
    expected = [seen.factors, values.lr, values.momentum, values.weight_decay, values.effective_lr, values.timescale]
    for place, column in enumerate(expected, start=1):
        assert column is not None
        assert [float(row[place]) for row in rows] == column[:40].tolist()


def test_columns_without_a_peak_stay_empty_and_no_decay_is_endless() -> None:
    assert written(linear(2), Peaks(lr=0.5))[1:] == [
        ["0", "1.0", "0.5", "", "", "", ""],
        ["1", "0.5", "0.25"] + [""] * 4,
    ]
    assert written(linear(1), Peaks(lr=0.5, weight_decay=0.0))[1] == ["0", "1.0", "0.5", "", "0.0", "", "inf"]


def test_an_endless_schedule_needs_steps() -> None:
    eta = schedules.inverse_sqrt(100)

    assert len(written(eta, Peaks(lr=0.5), steps=7)) == 8
    with pytest.raises(InputError, match="steps must be given for a schedule without an end"):
        written(eta, Peaks(lr=0.5))


def test_a_file_is_written_whole_and_its_place_returned(tmp_path: Path) -> None:
    place = tmp_path / "lr.csv"
    place.write_text("old")

    assert to_csv(linear(3), Peaks(lr=1.0), place) == place.resolve()
    assert place.read_bytes().count(b"\n") == 4
    assert b"\r" not in place.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["lr.csv"]


def test_a_failure_leaves_the_older_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "lr.csv"
    place.write_text("old")
    with pytest.raises(InputError, match="cannot be scheduled without momentum"):
        to_csv(HyperparameterSchedule(linear(3), momentum=schedules.constant(3, factor=0.5)), Peaks(lr=1.0), place)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        to_csv(linear(3), Peaks(lr=1.0), place)

    assert place.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["lr.csv"]


def test_a_place_that_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"target must be in a folder that exists; got .*lr.csv'. Create '"):
        to_csv(linear(3), Peaks(lr=1.0), tmp_path / "none" / "lr.csv")
    with pytest.raises(InputError, match=r"target must be a file, not a folder"):
        to_csv(linear(3), Peaks(lr=1.0), tmp_path)
    with pytest.raises(InputError, match=r"target must be a path or a file open for writing text; got 3"):
        to_csv(linear(3), Peaks(lr=1.0), 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"schedule must be a HyperparameterSchedule or a Schedule; got 3"):
        to_csv(3, Peaks(lr=1.0), tmp_path / "lr.csv")  # type: ignore[arg-type]
