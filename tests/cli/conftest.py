"""A command line in this process, and small task files for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import typer.testing
from typer.main import get_command
from typer.testing import CliRunner, Result

from stepsize.cli.app import app

Invoke = Callable[..., Result]
WriteTask = Callable[..., str]

_HEAD = """\
import torch
from torch import nn
import stepsize

torch.manual_seed(0)
x = torch.randn(64, 3)
y = x.sum(1, keepdim=True) + 0.3 * torch.randn(64, 1)

def make(**changes):
    parts = {"model": lambda: nn.Linear(3, 1), "loss": nn.functional.mse_loss, "train": (x, y), "val": (x, y)}
    parts |= {"optimizer": "sgd", "steps": 60, "name": "small"}
    return stepsize.Task(**{**parts, **changes})

"""


_made_once = cache(get_command)  # all commands of the app, which the runner would make anew for each call


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Run the command line from an empty folder, with wide lines and without a data folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delenv("STEPSIZE_DATA", raising=False)
    monkeypatch.setattr(typer.testing, "_get_command", _made_once)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def write_task(tmp_path: Path) -> WriteTask:
    """Write a task file that begins with small data and ``make(**changes)``; return its name."""

    def write(code: str = "task = make()", name: str = "mine.py", head: str = _HEAD) -> str:
        (tmp_path / name).write_text(f"{head}{code}\n", encoding="utf-8")
        return name

    return write
