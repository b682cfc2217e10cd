"""``stepsize tasks``: the catalog of built-in tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.failures import reporting_failures
from stepsize.cli.options import DataOption, JsonOption
from stepsize.cli.output import hint, print_json, show
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
    with reporting_failures():
        tasks = listed(data)
        if as_json:
            print_json({"tasks": [task.to_json() for task in tasks]})
            return
        show(render(tasks))
        if not all(task.ready for task in tasks):
            hint("Tasks with missing data need a folder: --data DIR, or $STEPSIZE_DATA.")


def listed(data: Path | None = None) -> tuple[Listed, ...]:
    """Return the built-in tasks, with whether their data are in ``data`` (default ``$STEPSIZE_DATA``).

    Example:
        >>> listed()[0].entry.name, listed()[0].data
        ('digits-mlp', 'included')
    """
    from stepsize.tasks import TASKS, data_folder

    if data is not None:
        data_folder(data)
    return tuple(Listed(entry, _ready(entry.files, data)) for entry in TASKS.values())


def render(tasks: tuple[Listed, ...]) -> RenderableType:
    """Return the list as a table, for rich."""
    table = Table("name", "what is learned", box=None, padding=(0, 2, 1, 0), header_style="bold")
    table.columns[0].no_wrap = True
    for name in ("steps", "batch"):
        table.add_column(name, justify="right")
    table.add_column("optimizer")
    table.add_column("data")
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
