"""``stepsize tasks``: the catalog of built-in tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from stepsize.cli.options import DataOption, JsonOption
from stepsize.cli.output import give, hint, quiet_table
from stepsize.errors import DataUnavailableError

NAME = "tasks"
EXAMPLE = "stepsize tasks"


_FIELDS = ("name", "title", "source", "steps", "batch_size", "optimizer", "files")


def command(*, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the built-in tasks: small tasks on real data."""
    tasks = listed(data)
    give(lambda: {"tasks": tasks}, lambda: render(tasks), as_json=as_json)
    if not as_json and not all(task["ready"] for task in tasks):
        hint("Tasks with missing data need a folder: --data DIR, or $STEPSIZE_DATA.")


def listed(data: Path | None = None) -> list[dict[str, Any]]:
    """Return the built-in tasks as plain values, with whether their files are in ``data``, default $STEPSIZE_DATA."""
    from stepsize.tasks import TASKS, data_folder

    if data is not None:
        data_folder(data)
    return [
        {name: getattr(entry, name) for name in _FIELDS} | {"ready": _ready(entry.files, data)}
        for entry in TASKS.values()
    ]


def render(tasks: list[dict[str, Any]]) -> RenderableType:
    """Return the list as a table, for rich."""
    columns = ("name", "what is learned", "steps", "batch", "optimizer", "data")
    table = quiet_table(*columns, right=("steps", "batch"), gap=1)
    table.columns[0].no_wrap = True
    for task in tasks:
        title = Text.assemble(task["title"], "\n", (task["source"], "dim"))
        found = "found" if task["ready"] else "missing"
        data = Text(found if task["files"] else "included", style="green" if task["ready"] else "yellow")
        name, numbers = Text(task["name"], style="cyan"), (str(task["steps"]), str(task["batch_size"]))
        table.add_row(name, title, *numbers, task["optimizer"], data)
    return table


def _ready(files: tuple[str, ...], data: Path | None) -> bool:
    from stepsize.tasks.folder import data_files

    try:
        data_files(files, data)
    except DataUnavailableError:
        return False
    return True
