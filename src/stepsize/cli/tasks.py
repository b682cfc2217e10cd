"""``stepsize tasks``: the catalog of built-in tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from stepsize.cli.options import DataOption, JsonOption
from stepsize.cli.output import give, hint, quiet_table
from stepsize.errors import DataUnavailableError

if TYPE_CHECKING:
    from stepsize.tasks import TaskEntry

NAME = "tasks"
EXAMPLE = "stepsize tasks"


@dataclass(frozen=True)
class Listed:
    """A built-in task, and whether its data files are there."""

    entry: TaskEntry
    ready: bool

    @property
    def data(self) -> str:
        """Whether it can be trained here, in a word."""
        if not self.entry.files:
            return "included"
        return "found" if self.ready else "missing"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        fields = ("name", "title", "source", "steps", "batch_size", "optimizer")
        values = {field: getattr(self.entry, field) for field in fields}
        return {**values, "ready": self.ready, "files": list(self.entry.files)}


def command(*, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List the built-in tasks: small tasks on real data."""
    tasks = listed(data)
    give(lambda: {"tasks": [task.to_json() for task in tasks]}, lambda: render(tasks), as_json=as_json)
    if not as_json and not all(task.ready for task in tasks):
        hint("Tasks with missing data need a folder: --data DIR, or $STEPSIZE_DATA.")


def listed(data: Path | None = None) -> tuple[Listed, ...]:
    """Return the built-in tasks, with whether their data are in ``data`` (default ``$STEPSIZE_DATA``)."""
    from stepsize.tasks import TASKS, data_folder

    if data is not None:
        data_folder(data)
    return tuple(Listed(entry, _ready(entry.files, data)) for entry in TASKS.values())


def render(tasks: tuple[Listed, ...]) -> RenderableType:
    """Return the list as a table, for rich."""
    columns = ("name", "what is learned", "steps", "batch", "optimizer", "data")
    table = quiet_table(*columns, right=("steps", "batch"), gap=1)
    table.columns[0].no_wrap = True
    colors = {"included": "green", "found": "green", "missing": "yellow"}
    for task in tasks:
        entry = task.entry
        title = Text.assemble(entry.title, "\n", (entry.source, "dim"))
        data = Text(task.data, style=colors[task.data])
        table.add_row(
            Text(entry.name, style="cyan"), title, f"{entry.steps}", f"{entry.batch_size}", entry.optimizer, data
        )
    return table


def _ready(files: tuple[str, ...], data: Path | None) -> bool:
    from stepsize.tasks.folder import data_files

    try:
        data_files(files, data)
    except DataUnavailableError:
        return False
    return True
