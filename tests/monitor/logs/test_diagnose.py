"""Logs of other tools: CSV files and TensorBoard's events, and what is said of broken ones."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from stepsize.errors import InputError
from stepsize.monitor import diagnose
from stepsize.monitor.logs.tensorboard import read_events


def _csv(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _event(step: int, tag: str, value: float, *, as_tensor: bool = False) -> bytes:
    """One record as the format's description has it: framed, wall time, step, and a summary with one value."""
    number = _varint(2 << 3 | 5) + struct.pack("<f", value)
    if as_tensor:  # dtype float, one float_val, packed
        number = _field(8, _varint(1 << 3) + _varint(1) + _field(5, struct.pack("<f", value)))
    summary = _field(1, _field(1, tag.encode()) + number)
    event = _varint(1 << 3 | 1) + struct.pack("<d", 1.7e9) + _varint(2 << 3) + _varint(step) + _field(5, summary)
    return struct.pack("<Q", len(event)) + b"\0" * 4 + event + b"\0" * 4


def test_a_csv_that_diverges(tmp_path: Path) -> None:
    rows = [f"{step},{2.0 - step / 100 if step < 80 else 40.0},0.1" for step in range(160)]
    report = diagnose(_csv(tmp_path / "log.csv", ["step,train_loss,lr", *rows]))
    found = {one.code: one for one in report.findings}
    assert "diverging" in found
    assert 80 <= found["diverging"].step <= 100
    assert report.verdict.code == "diverged"


def test_an_overfitting_log(tmp_path: Path) -> None:
    rows = [f"{step},{math.exp(-step / 50)},{1 + abs(step - 60) / 60 if step % 10 == 0 else ''}" for step in range(300)]
    report = diagnose(_csv(tmp_path / "log.csv", ["step,loss,val_loss", *rows]))
    (found,) = [one for one in report.findings if one.code == "overfitting"]
    assert "at step 60" in found.message


def test_a_schedule_that_ends_early_is_seen_when_the_steps_are_told(tmp_path: Path) -> None:
    rows = [f"{step},1.0,{max(0.0, 0.1 - step / 1000)}" for step in range(200)]
    path = _csv(tmp_path / "log.csv", ["step,loss,lr", *rows])
    codes = {one.code for one in diagnose(path, steps=400).findings}
    assert codes >= {"schedule-end", "zero-rate"}


@pytest.mark.parametrize("as_tensor", [False, True])
def test_tensorboard_events(tmp_path: Path, as_tensor: bool) -> None:
    path = tmp_path / "events.out.tfevents.1700000000.host"
    records = [_event(step, "train/loss", 2.0 - step / 200, as_tensor=as_tensor) for step in range(100)]
    records += [_event(step, "train/lr", 0.5) for step in range(300, 302)]
    torn = _event(999, "train/loss", 9.0)[:-7]
    path.write_bytes(b"".join(records) + torn)
    rows = read_events(path).rows
    assert rows[100:] == [{"global step": 300, "train/lr": 0.5}, {"global step": 301, "train/lr": 0.5}]
    assert rows[50] == {"global step": 50, "train/loss": pytest.approx(1.75)}
    assert diagnose(tmp_path).steps == 100


def test_bad_logs_are_told(tmp_path: Path) -> None:
    nothing = tmp_path / "none.csv"
    with pytest.raises(InputError, match="log must be an existing file or folder"):
        diagnose(nothing)
    short = _csv(tmp_path / "short.csv", ["step,loss", "0,1.0"])
    with pytest.raises(InputError, match=r"log must hold at least 16; got \"1 losses in 'loss'\"\. Log"):
        diagnose(short)
    other = _csv(tmp_path / "other.csv", ["step,score", *(f"{n},1.0" for n in range(20))])
    with pytest.raises(InputError, match=r"log must hold a column of numbers named like loss, .*; got 'score'"):
        diagnose(other)
    many = _csv(tmp_path / "many.csv", ["step,loss", *(f"{n},1.0" for n in range(20))])
    with pytest.raises(InputError, match="steps must be at least the 20 steps of the log; got 10"):
        diagnose(many, steps=10)
    words = _csv(tmp_path / "words.csv", ["loss", *("low" for _ in range(20))])
    with pytest.raises(
        InputError,
        match=r"a column of numbers .*; got 'no numbers'\. Name it: .* --loss NAME",
    ):
        diagnose(words)
    with pytest.raises(InputError, match="loss must be a column of the log; those are score"):
        diagnose(other, loss="error")
    broken = tmp_path / "events.out.tfevents.1"
    broken.write_bytes(struct.pack("<Q", 3) + b"\0" * 4 + b"\xff\xff\xff" + b"\0" * 4)
    with pytest.raises(InputError, match="log must be a TensorBoard event file"):
        diagnose(broken)
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(InputError, match=r"log must hold a header and rows; got .* For example: step,loss,lr"):
        diagnose(empty)
