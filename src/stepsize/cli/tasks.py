"""``stepsize tasks``: the catalog of built-in tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.failures import reporting_failures
from stepsize.cli.options import DataOption, JsonOption
from stepsize.cli.output import hint, print_json, show
from stepsize.errors import DataUnavailableError

__all__ = ["EXAMPLE", "NAME", "Listed", "command", "listed", "render"]

NAME = "tasks"
EXAMPLE = "stepsize tasks"


@dataclass(frozen=True)
class Listed:
    """A built-in task as it can be had here.

    Attributes:
        name: What it is called.
        title: What is learned.
        source: Where the data come from.
        steps: Its horizon.
        batch_size: Examples a batch.
        optimizer: Its default optimizer.
        files: What it needs from the data folder.
        ready: Whether these files are there.
    """

    name: str
    title: str
    source: str
    steps: int
    batch_size: int
    optimizer: str
    files: tuple[str, ...]
    ready: bool

    @property
    def data(self) -> str:
        """Whether it can be trained here, in a word."""
        if not self.files:
            return "included"
        return "found" if self.ready else "missing"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        fields = ("name", "title", "source", "steps", "batch_size", "optimizer", "ready")
        return {**{field: getattr(self, field) for field in fields}, "files": list(self.files)}


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
    """Return the built-in tasks, with whether their data are there.

    Args:
        data: The data folder; None asks ``$STEPSIZE_DATA``.

    Returns:
        One entry a task, in the order of the catalog.

    Raises:
        DataUnavailableError: If ``data`` is no folder.

    Example:
        >>> listed()[0].name, listed()[0].data
        ('digits-mlp', 'included')
    """
    from stepsize.tasks import TASKS, data_folder

    if data is not None:
        data_folder(data)
    return tuple(
        Listed(
            entry.name,
            entry.title,
            entry.source,
            entry.steps,
            entry.batch_size,
            entry.optimizer,
            entry.files,
            _ready(entry.files, data),
        )
        for entry in TASKS.values()
    )


def render(tasks: tuple[Listed, ...]) -> RenderableType:
    """Return the list as something that rich can show."""
    table = Table("name", "what is learned", box=None, padding=(0, 2, 1, 0), header_style="bold")
    table.columns[0].no_wrap = True
    for name in ("steps", "batch"):
        table.add_column(name, justify="right")
    table.add_column("optimizer")
    table.add_column("data")
    colors = {"included": "green", "found": "green", "missing": "yellow"}
    for task in tasks:
        title = Text.assemble(task.title, "\n", (task.source, "dim"))
        data = Text(task.data, style=colors[task.data])
        table.add_row(Text(task.name, style="cyan"), title, f"{task.steps}", f"{task.batch_size}", task.optimizer, data)
    return table


def _ready(files: tuple[str, ...], data: Path | None) -> bool:
    from stepsize.tasks.folder import data_files

    try:
        data_files(files, data)
    except DataUnavailableError:
        return False
    return True
