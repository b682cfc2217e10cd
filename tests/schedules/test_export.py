"""The table of a schedule."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from stepsize import schedules
from stepsize.errors import InputError
from stepsize.schedules import (
    HyperparameterSchedule,
    Peaks,
    Schedule,
    linear,
    preview,
    to_csv,
)


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
    with pytest.raises(
        InputError, match=r"schedule must be a Schedule, its written form or a HyperparameterSchedule; got 3"
    ):
        to_csv(3, Peaks(lr=1.0), tmp_path / "lr.csv")  # type: ignore[arg-type]
