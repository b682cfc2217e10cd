"""``stepsize schedule list``: the catalog of schedules and of shapes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.failures import reporting_failures
from stepsize.cli.options import JsonOption
from stepsize.cli.output import facts, hint, print_json, show

__all__ = ["EXAMPLE", "NAME", "command", "document", "render"]

NAME = "list"
EXAMPLE = "stepsize schedule list"


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show this one with all it takes.", show_default=False)
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List the schedules that can be written, with an example of each, and the shapes."""
    with reporting_failures():
        told = document() if name is None else _one(name)
        if as_json:
            print_json(told)
            return
        show(render(told) if name is None else _details(told))
        hint("t: the step; p: the share of its steps that is done, from 0 to 1.")
        if name is None:
            hint('Join them with commas: stepsize schedule "warmup 5%, constant, cooldown 20%" --steps 1000')
            hint("What one of them takes: stepsize schedule list cosine")


def document() -> dict[str, Any]:
    """Return the catalog as plain values for ``json.dumps``; its keys are stable.

    Returns:
        ``schedules``: objects with ``name``, ``title``, ``formula``, ``written``, ``parameters`` (``name`` and
        ``kind`` of each) and ``source``; ``shapes``: objects with ``name``, ``formula``, ``parameters`` (``name`` and
        ``default``) and ``source``.

    Example:
        >>> document()["schedules"][0]["name"]
        'constant'
    """
    from stepsize.schedules import SCHEDULES, SHAPES

    schedules = [
        {
            **{key: getattr(entry, key) for key in ("name", "title", "formula", "written", "source")},
            "parameters": [{"name": parameter.name, "kind": parameter.kind} for parameter in entry.parameters],
        }
        for entry in SCHEDULES.values()
    ]
    shapes = [
        {
            "name": name,
            "formula": shape.title,
            "parameters": [{"name": parameter, "default": default} for parameter, default, _ in shape.parameters],
            "source": shape.source,
        }
        for name, shape in SHAPES.items()
    ]
    return {"schedules": schedules, "shapes": shapes}


def render(told: dict[str, Any]) -> RenderableType:
    """Return the catalog as something that rich can show.

    Args:
        told: What :func:`document` returned.

    Returns:
        A table of schedules and one of shapes.
    """
    table = _table("name", "what it is, its factor, and how it is written")
    for entry in told["schedules"]:
        what = Text.assemble(entry["title"], "\n", (entry["formula"], "dim"), "\n", (entry["written"], "green"))
        table.add_row(Text(entry["name"], style="cyan"), what)
    shapes = _table("shape", "from 1 down to 0", "parameters", gap=0)
    for shape in told["shapes"]:
        parameters = ", ".join(f"{each['name']}={each['default']:g}" for each in shape["parameters"])
        shapes.add_row(Text(shape["name"], style="cyan"), Text(shape["formula"]), parameters)
    return Group(table, shapes)


def _one(name: str) -> dict[str, Any]:
    from stepsize.schedules import SCHEDULES

    known = SCHEDULES[name].name
    return next(entry for entry in document()["schedules"] if entry["name"] == known)


def _details(told: dict[str, Any]) -> RenderableType:
    takes = ", ".join(f"{parameter['name']} ({parameter['kind']})" for parameter in told["parameters"])
    rows = [
        ("what it is", told["title"]),
        ("formula", told["formula"]),
        ("takes", takes),
        ("for example", told["written"]),
        ("source", told["source"]),
    ]
    return Group(Text(told["name"], style="bold underline"), facts([row for row in rows if row[1]]))


def _table(*columns: str, gap: int = 1) -> Table:
    table = Table(*columns, box=None, padding=(0, 2, gap, 0), header_style="bold")
    table.columns[0].no_wrap = True
    return table
