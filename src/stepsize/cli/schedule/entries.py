"""``stepsize schedule list``: the catalog of schedules and of shapes."""

from __future__ import annotations

from typing import Annotated, Any

from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.options import JsonOption, argument
from stepsize.cli.output import facts, hint, print_json, quiet_table, show

NAME = "list"
EXAMPLE = "stepsize schedule list"


def command(
    name: Annotated[str | None, argument("NAME", "Show only this one, with its parameters.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List the schedules that can be written, with an example of each, and the shapes."""
    from stepsize.schedules import SCHEDULES

    listed = document()
    if name is not None:
        known = SCHEDULES[name].name
        listed = next(entry for entry in listed["schedules"] if entry["name"] == known)
    if as_json:
        print_json(listed)
        return
    show(render(listed) if name is None else _details(listed))
    hint("t: the step; p: the fraction of its steps that is done, from 0 to 1.")
    if name is None:
        hint('Join them with commas: stepsize schedule "warmup 5%, constant, cooldown 20%" --steps 1000')
        hint("Parameters of one of them: stepsize schedule list cosine")


def document() -> dict[str, Any]:
    """Return the answer of ``--json``; its keys are stable."""
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


def render(listed: dict[str, Any]) -> RenderableType:
    """Return the catalog for people."""
    table = quiet_table("name", "what it is, its factor, and how it is written", gap=1)
    for entry in listed["schedules"]:
        what = Text.assemble(entry["title"], "\n", (entry["formula"], "dim"), "\n", (entry["written"], "green"))
        table.add_row(Text(entry["name"], style="cyan"), what)
    shapes = quiet_table("shape", "from 1 down to 0", "parameters")
    for each in (table, shapes):
        each.columns[0].no_wrap = True
    for shape in listed["shapes"]:
        parameters = ", ".join(f"{each['name']}={each['default']:g}" for each in shape["parameters"])
        shapes.add_row(Text(shape["name"], style="cyan"), Text(shape["formula"]), parameters)
    return Group(table, shapes)


def _details(entry: dict[str, Any]) -> RenderableType:
    takes = ", ".join(f"{parameter['name']} ({parameter['kind']})" for parameter in entry["parameters"])
    rows = [
        ("what it is", entry["title"]),
        ("formula", entry["formula"]),
        ("parameters", takes),
        ("example", entry["written"]),
        ("source", entry["source"]),
    ]
    return Group(Text(entry["name"], style="bold underline"), facts([row for row in rows if row[1]]))
