"""``stepsize sweep show``, ``resume`` and ``export``: what was kept, and what is wrong with a store."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from tests.cli.conftest import Invoke, WriteTask
from tests.cli.test_sweep import run

_SMALL = ["cancer-mlp", "--steps", "12", "--lr", "1e-4:0.3", "--trials", "4", "--seeds", "2"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("sweep", *_SMALL, "--name", "mine", "--json") in (0, 3)
    return folder


@pytest.fixture
def store(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one sweep named ``mine``, in the folder in which the test runs."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    return tmp_path / "stepsize.db"


def shown(capsys: Captured) -> Any:
    return json.loads(capsys.readouterr().out)


def test_the_sweeps_of_a_store_are_listed(store: Path, capsys: Captured) -> None:
    assert run("sweep", "show", "--json") == 0
    (row,) = shown(capsys)["sweeps"]
    assert (row["name"], row["task"], row["status"]) == ("mine", "cancer-mlp", "done")
    assert row["runs"] >= row["trials"] >= 4
    assert run("sweep", "show") == 0
    printed = capsys.readouterr()
    assert "mine" in printed.out
    assert "stepsize sweep show mine" in printed.err


def test_one_is_shown_drawn_and_given_again_without_training(store: Path, capsys: Captured) -> None:
    assert run("sweep", "show", "mine", "--json", "--plot", "c.svg", "--chart", "cost") in (0, 3)
    first = shown(capsys)
    assert (store.parent / "c.svg").read_text(encoding="utf-8").startswith("<svg")
    before = store.read_bytes()
    assert run("sweep", "show", "mine", "--json") in (0, 3)
    assert shown(capsys) == first
    assert store.read_bytes() == before
    assert run("sweep", "resume", "mine", "--json") in (0, 3)
    assert shown(capsys)["runs"] == first["runs"]


def test_curves_are_read_only_to_be_drawn_or_given(store: Path, capsys: Captured) -> None:
    with closing(sqlite3.connect(store)) as raw:
        raw.execute("UPDATE stepsize_runs SET losses = x'00'")
        raw.commit()
    assert run("sweep", "show", "mine") in (0, 3)
    for asked in (("--json",), ("--plot", "c.svg", "--chart", "curves")):
        assert run("sweep", "show", "mine", *asked) == 1
    assert "damaged" in capsys.readouterr().err


def test_runs_are_exported_as_tables_as_json_and_to_optuna(store: Path, capsys: Captured) -> None:
    assert run("sweep", "export", "mine", "runs.csv") == 0
    assert run("sweep", "export", "mine", "runs.json") == 0
    assert run("sweep", "export", "mine", "optuna") == 0
    assert "the study mine" in capsys.readouterr().err
    with Path("runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    runs = json.loads(Path("runs.json").read_text())["runs"]
    assert [float(row["lr"]) for row in rows] == [row["lr"] for row in runs]
    assert {row["status"] for row in rows} == {"Trained for 12 steps."}
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{store}")
    assert len(study.trials) == len({row["trial"] for row in runs})


def test_lists_of_optimizers_and_schedules_are_searched(tmp_path: Path, capsys: Captured) -> None:
    where = str(tmp_path / "s.db")
    several = ["--optimizer", "sgd,adamw", "--schedule", "cosine", "--schedule", "linear", "--sampler", "random"]
    assert run("sweep", *_SMALL, *several, "--store", where, "--json") in (0, 3)
    runs = shown(capsys)["runs"]
    assert {row["optimizer"] for row in runs} == {"sgd", "adamw"}
    assert {row["schedule"] for row in runs} <= {"cosine", "linear"}
    assert run("sweep", *_SMALL, "--optimizer", "sgd,adamv", "--store", where) == 2
    assert "adamw" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "mien"], "has no study 'mien'; it holds mine. Did you mean 'mine'?"),
        (["resume", "mien"], "Did you mean 'mine'?"),
        (["export", "mine", "runs.xlsx"], "TO must end in .csv or .json; got 'runs.xlsx'. Name it 'runs.csv'"),
        (["export", "mine", "nowhere/runs.csv"], "TO must be in a folder that exists; got 'nowhere/runs.csv'. Create"),
        (["show", "--store", "none.db"], "no store at none.db"),
        (["show", "mine", "--plot", "a.xyz"], "plot must end in"),
        (["show", "mine", "--plot", "a.svg", "--chart", "map"], "needs a second dimension, and only lr was searched"),
    ],
)
def test_bad_input_is_told(arguments: list[str], message: str, store: Path, capsys: Captured) -> None:
    before = store.read_bytes()
    assert run("sweep", *arguments) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert store.read_bytes() == before


def test_a_store_that_is_none_is_left_as_it_is(tmp_path: Path, capsys: Captured) -> None:
    place = tmp_path / "notes.db"
    place.write_text("not a database, but somebody's notes, long enough to be taken for one " * 20)
    before = place.read_bytes()
    for command in (["show"], ["resume", "mine"], [*_SMALL]):
        assert run("sweep", *command, "--store", str(place)) in (1, 2)
        assert "notes.db" in capsys.readouterr().err
    assert place.read_bytes() == before


def test_a_store_of_a_newer_stepsize_is_refused_by_every_command(store: Path, capsys: Captured) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE stepsize_version SET version = 99")
    connection.close()
    for command in (["show"], ["show", "mine"], ["resume", "mine"], ["export", "mine", "a.csv"], _SMALL):
        assert run("sweep", *command) in (1, 2)
        assert "written by a newer stepsize (tables of version 99" in capsys.readouterr().err.replace("\n", " ")


def test_a_sweep_that_another_process_writes_is_not_touched(store: Path, capsys: Captured) -> None:
    from stepsize.store import Store

    with Store.open(store) as mine:
        study = mine.study("mine")
    assert study is not None
    with Store.open(store) as mine, mine.begin("mine", "sweep", study.spec):
        assert run("sweep", "resume", "mine") in (1, 2)
        assert "mine" in capsys.readouterr().err
    assert run("sweep", "resume", "mine") in (0, 3)


def test_a_sweep_begun_in_python_is_not_resumed_here(tmp_path: Path, capsys: Captured) -> None:
    from stepsize import sweep
    from stepsize.tasks import build_task

    sweep(build_task("cancer-mlp", steps=8), lr=[0.01, 0.1], seeds=1, store=tmp_path / "s.db", name="own")
    assert run("sweep", "resume", "own", "--store", str(tmp_path / "s.db")) == 2
    assert "must be a sweep that was begun on the command line" in capsys.readouterr().err


def test_ctrl_c_says_the_command_that_goes_on_and_that_command_does(invoke: Invoke, write_task: WriteTask) -> None:
    task = write_task(
        "import pathlib\n"
        "ends = []\n"
        "def loss(output, target):\n"
        "    ends.append(1)\n"
        "    if len(ends) == 200 and not pathlib.Path('stopped').exists():\n"
        "        pathlib.Path('stopped').touch()\n"
        "        raise KeyboardInterrupt\n"
        "    return nn.functional.mse_loss(output, target)\n"
        "task = make(loss=loss, steps=40)"
    )
    given = ("--lr", "1e-3:0.1", "--trials", "6", "--workers", "in-order", "--store", "own.db", "--json")
    stopped = invoke("sweep", task, *given)
    assert (stopped.exit_code, stopped.stdout) == (130, "")
    (told,) = [line for line in stopped.stderr.splitlines() if "Continue with" in line]
    command = told.partition("Continue with: stepsize ")[2].split()
    assert command[:2] == ["sweep", "resume"]
    assert command[3:] == ["--yes", "--workers", "in-order", "--store", "own.db"]
    kept = len(json.loads(invoke("sweep", "show", command[2], "--store", "own.db", "--json").stdout)["runs"])
    assert 1 <= kept < 6
    ended = invoke(*command, "--json")
    assert ended.exit_code in (0, 3), ended.stderr
    assert len(json.loads(ended.stdout)["runs"]) >= 6


def test_code_that_a_store_names_is_run_only_where_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, write_task: WriteTask
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_task()
    small = [str(path), "--steps", "8", "--lr", "1e-3:0.1", "--trials", "2", "--seeds", "1"]
    assert run("sweep", *small, "--name", "mine", "--json") in (0, 3)
    capsys.readouterr()
    ran = tmp_path / "ran"
    file = Path(str(path).partition(".py")[0] + ".py")
    file.write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n" + file.read_text())

    assert run("sweep", "resume", "mine") == 2
    assert "add --yes to run it" in capsys.readouterr().err
    assert not ran.exists()
    assert run("sweep", "resume", "mine", "--yes", "--json") in (0, 3)
    assert ran.exists()


def test_a_sweep_that_was_killed_is_interrupted(store: Path, capsys: Captured) -> None:
    with sqlite3.connect(store) as raw:
        raw.execute("UPDATE stepsize_studies SET status = 'running'")
    assert run("sweep", "show", "--json") == 0
    assert shown(capsys)["sweeps"][0]["status"] == "interrupted"


def test_a_sweep_that_is_not_complete_says_how_far_it_came_and_how_to_go_on(store: Path, capsys: Captured) -> None:
    assert run("sweep", "show", "mine") in (0, 3)
    printed = capsys.readouterr()
    assert "planned runs" not in printed.out
    assert "sweep resume" not in printed.err
    with closing(sqlite3.connect(store)) as raw:
        [[count]] = raw.execute("SELECT count(*) FROM stepsize_runs")
        raw.execute("DELETE FROM stepsize_runs WHERE id > (SELECT min(id) FROM stepsize_runs) + 2")
        raw.commit()
    assert run("sweep", "show", "mine") in (0, 3)
    printed = capsys.readouterr()
    assert f"ended after 3 of {count} planned runs" in printed.out
    assert "Continue it: stepsize sweep resume mine" in printed.err
