"""A task is named in one of three ways; what is wrong with a task file is told with file and line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import WriteTask

import stepsize
from stepsize.cli.options import RunOptions
from stepsize.cli.resolve import opened_task
from stepsize.errors import InputError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def notes_of(error: pytest.ExceptionInfo[InputError]) -> str:
    return "\n".join(error.value.__notes__)


def opened(spec: str, *, steps: int | None = None, schedule: str | None = None, **options: Any) -> stepsize.Task:
    with opened_task(RunOptions(spec, **options, schedule=schedule, steps=steps)) as task:
        return task


def test_a_built_in_task_can_be_changed() -> None:
    task = opened("digits-mlp", optimizer="momentum", steps=50, device="cpu")

    assert (task.name, task.horizon, task.optimizer) == ("digits-mlp", 50, "momentum")


@pytest.mark.parametrize(
    "spec", ["mine.py", "mine.py:task", "mine.py:build", "./mine.py:other", "mine:other", "mine:build"]
)
def test_a_file_or_module_names_a_task_or_a_function_that_returns_one(write_task: WriteTask, spec: str) -> None:
    write_task("task = make()\nother = make()\ndef build():\n    return make()")

    assert opened(spec).name == "small"


@pytest.mark.parametrize("spec", ["digits-mlp", "mine.py"])
def test_a_written_schedule_takes_the_place_of_the_tasks_own(write_task: WriteTask, spec: str) -> None:
    write_task("task = make()")

    task = opened(spec, schedule="wsd cooldown=30%", steps=40)

    assert task.schedule == stepsize.schedules.wsd(40, cooldown="30%")


def test_a_schedule_is_read_before_the_task(write_task: WriteTask) -> None:
    write_task("raise RuntimeError('was run')")

    with pytest.raises(InputError, match=r"'cooldwn'\. Did you mean 'cooldown'\?"):
        opened("mine.py", schedule="wsd cooldwn=30%")


def test_a_module_of_a_package_is_found_from_the_present_folder(write_task: WriteTask, tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    write_task("task = make()", name="kit/trainings.py")

    assert opened("kit.trainings").name == "small"


def test_a_file_can_import_its_neighbours_also_while_it_trains(write_task: WriteTask, tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "bricks.py").write_text("from torch.nn import Linear\n", encoding="utf-8")
    late = "def late():\n    import bricks\n    return bricks.Linear(3, 1)\ntask = make(model=late, steps=2)"
    write_task(late, name="nets/mine.py")

    with opened_task(RunOptions("nets/mine.py")) as task:
        run = stepsize.train(task, 0.1)

    assert len(run.losses) == 2


def test_nothing_is_left_behind(write_task: WriteTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "bricks.py").write_text("width = 3\n", encoding="utf-8")
    write_task("import bricks\ntask = make()")
    before = list(sys.path)

    opened("mine.py")

    assert not list(tmp_path.rglob("*.pyc"))
    assert sys.path == before
    assert {"bricks", "mine"}.isdisjoint(sys.modules)
    assert sys.dont_write_bytecode is False


def test_a_file_that_bears_the_name_of_a_library_hides_it_from_nobody(write_task: WriteTask) -> None:
    write_task(name="json.py")
    import json

    assert opened("json.py").name == "small"
    assert sys.modules["json"] is json


def test_what_a_task_prints_goes_to_stderr(write_task: WriteTask, capsys: pytest.CaptureFixture[str]) -> None:
    write_task("print('hello from the file')\ntask = make()")

    opened("mine.py")

    assert capsys.readouterr() == ("", "hello from the file\n")


def test_a_task_of_ones_own_can_be_changed(write_task: WriteTask) -> None:
    write_task("task = make(steps=None, epochs=30, schedule=lambda step: 1 - step / 60)")

    task = opened("mine.py", steps=15, optimizer="adam")

    assert (task.horizon, task.optimizer) == (15, "adam")
    assert task.factor is not None
    assert task.factor(0) > 0.9
    assert task.factor(14) < 0.1  # the same shape, complete within the shorter horizon


@pytest.mark.parametrize(
    ("spec", "message", "note"),
    [
        (
            "digits-mpl",
            r"got 'digits-mpl'. Did you mean 'digits-mlp'\?",
            "A task of your own is written file.py:task",
        ),
        ("mine", "got 'mine'", "There is a file mine.py here."),
        ("mime.py:task", r"must be a file that exists; got 'mime.py'. Did you mean 'mine.py'\?", ""),
        ("x/nothing.py", r"must be a file that exists; got 'x/nothing.py'. Looked in /.*/x$", ""),
        ("nowhere.inside:task", "must be a module that can be imported from here; got 'nowhere", ""),
        ("nowhere:task", "must be a module that can be imported from here; got 'nowhere", ""),
        ("broken.inside:task", "It raised ZeroDivisionError: division by zero", ""),
    ],
)
def test_what_is_not_there_is_named_with_what_is_near(
    write_task: WriteTask, tmp_path: Path, spec: str, message: str, note: str
) -> None:
    write_task()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text("1 / 0\n", encoding="utf-8")

    with pytest.raises(InputError, match=message) as error:
        opened(spec)

    assert note in "".join(getattr(error.value, "__notes__", ()))


def test_a_syntax_error_shows_its_line_and_the_caret(write_task: WriteTask, tmp_path: Path) -> None:
    write_task("import torch\nmodel = torch.nn.Linear(3,\n", head="")

    with pytest.raises(InputError, match=r"must be valid Python; got 'mine.py'. SyntaxError: '\(' was never") as error:
        opened("mine.py")

    lines = notes_of(error).splitlines()
    assert lines[0] == f'  File "{tmp_path / "mine.py"}", line 2'
    assert lines[1].strip() == "model = torch.nn.Linear(3,"
    assert lines[2].index("^") == lines[1].index("(")


def test_a_syntax_error_in_a_neighbour_names_the_neighbour(write_task: WriteTask, tmp_path: Path) -> None:
    (tmp_path / "bricks.py").write_text("  width = 3\n", encoding="utf-8")
    write_task("import bricks")

    with pytest.raises(InputError, match="IndentationError: unexpected indent") as error:
        opened("mine.py")

    assert "bricks.py" in notes_of(error)


def test_an_exception_while_importing_is_named_with_its_line(write_task: WriteTask, tmp_path: Path) -> None:
    write_task("import torch\ntask = unknown_thing\n", head="")

    with pytest.raises(InputError, match="It raised NameError: name 'unknown_thing' is not defined") as error:
        opened("mine.py")

    assert notes_of(error) == f"Raised in {tmp_path / 'mine.py'}, line 2:\n    task = unknown_thing"


@pytest.mark.parametrize(
    ("code", "message", "note"),
    [
        ("def task(): return {}['key']", "It raised KeyError: 'key'", "return {}['key']"),
        ("task = make(steps=0)", "steps must be a whole number of steps, at least 1; got 0", "mine.py, line"),
        ("raise SystemExit(2)", 'if __name__ == "__main__"', ""),
        (
            "one = make()\ntwo = make()",
            r"'task' does not exist; got 'mine.py'. There is: mine.py:one, mine.py:two",
            "",
        ),
        ("number = 3", r"It holds no Task; define one, for example: task = stepsize.Task\(...\)", ""),
        ("task = 3", "must be a stepsize.Task, .* It is of type int", ""),
        ("task = nn.Linear", "It is the class Linear", ""),
        ("def task(): return None", "It is None", ""),
        ("def task(size, *, depth): return make()", r"without arguments; .* It takes \(size, \*, depth\)", ""),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(
    write_task: WriteTask, code: str, message: str, note: str
) -> None:
    write_task(code)

    with pytest.raises(InputError, match=message) as error:
        opened("mine.py")

    notes = "".join(getattr(error.value, "__notes__", ()))
    assert note in notes
    assert "dataclass" not in notes


def test_a_data_folder_is_never_ignored_in_silence(
    write_task: WriteTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="--data must be an existing folder; got '/nope'"):
        opened("digits-mlp", data=Path("/nope"))
    with pytest.raises(InputError, match="--data is for built-in tasks only"):
        opened(write_task(), data=Path())

    assert opened("digits-mlp", data=tmp_path).name == "digits-mlp"
    assert "--data is not used: digits-mlp needs no data files." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "message"),
    [("mps:7", "device must be one that this machine has"), ("abacus", "device must be a torch device")],
)
def test_a_device_that_is_not_there_is_told_before_training(write_task: WriteTask, device: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(write_task(), device=device)
