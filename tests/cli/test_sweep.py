"""``stepsize sweep``: from the command line to an answer, a chart and a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepsize.cli import main
from stepsize.cli.sweep.run import read_dimension
from stepsize.errors import InputError

_SMALL = ["sweep", "cancer-mlp", "--steps", "12", "--lr", "1e-4:0.3", "--trials", "4", "--seeds", "2"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_it_answers_keeps_its_runs_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*_SMALL, "--json", "--plot", "s.svg") in (0, 3)
    first: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {"best", "lr", "as_good", "sure", "verdict", "next", "curve", "sensitivity", "cost"} <= set(first)
    assert (tmp_path / "stepsize.db").is_file()
    assert (tmp_path / "s.svg").read_text(encoding="utf-8").startswith("<svg")
    assert run(*_SMALL, "--json") in (0, 3)
    again = json.loads(capsys.readouterr().out)
    assert again["name"] == first["name"]
    assert again["runs"] == first["runs"]  # taken over, costs to the last digit


def test_no_answer_has_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["sweep", "cancer-mlp", "--steps", "3", "--lr", "1e-12:1e-9", "--trials", "3", "--seeds", "1"]
    assert run(*given, "--store", "none") == 3
    output = capsys.readouterr()
    assert "No answer. " in output.out
    assert "as good from" not in output.out
    assert run(*given, "--store", "none", "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["lr"], told["as_good"]) == ("no answer", None, None)


def test_without_a_store_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*_SMALL, "--store", "none") in (0, 3)
    assert not list(tmp_path.iterdir())


def test_it_is_readable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(*_SMALL, "--store", str(tmp_path / "own.db"), "--name", "mine")
    output = capsys.readouterr()
    assert code == 0
    for words in ("learning rate ", "as good from ", "best configuration", "full runs in", "mine in"):
        assert words in output.out
    assert any(f"\n{word}. " in output.out for word in ("Settled", "Flat", "Open"))
    assert "Next: " in output.err
    assert (tmp_path / "own.db").is_file()
    assert "sweep cancer-mlp: 100%, " in output.err


def test_a_dimension_is_a_range_a_list_or_a_number() -> None:
    assert read_dimension("lr", "0.1") == [0.1]
    assert read_dimension("momentum", "0.5:0.99") == (0.5, 0.99)
    assert read_dimension("batch_size", "32,64") == [32, 64]
    with pytest.raises(InputError, match="--batch-size must be LOW:HIGH, or comma-separated values; got '32,x'"):
        read_dimension("batch_size", "32,x")
