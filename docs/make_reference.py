"""The reference of the site, made from the code: ``python docs/make_reference.py FOLDER`` writes it to look at.

The build of the site makes these pages anew each time (``docs/hooks.py``), so they are never stale and not committed.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from docs import catalog_text, command_text
from docs.docstring_text import linked, read
from docs.object_text import annotated_names, object_text

import stepsize
from stepsize import errors, schedules

_TITLES = {  # of the rooms that people meet; another one is called by its own name
    "study": "find, sweep, compare",
    "training": "Tasks and runs",
    "schedules": "Schedules",
    "monitor": "Watch and guard",
    "probe": "Range test and profile",
    "optimizers": "Optimizers and adaptive rates",
    "curves": "Reading curves",
    "store": "The store",
    "live": "The page in the browser",
    "tasks": "Built-in tasks",
    "frameworks": "Frameworks",
    "errors": "Errors",
}


def reference_pages() -> dict[str, str]:
    """Return the Markdown of each page by its path below ``docs/``."""
    rooms = _by_room(subjects())
    links = {name: f"{room}.md#{name}" for room, things in rooms.items() for name in map(_last, things)}
    pages = {f"reference/api/{room}.md": _room_page(room, things, links) for room, things in rooms.items()}
    pages["reference/commands.md"] = command_text.page()
    pages["reference/optimizers.md"] = catalog_text.optimizers_page()
    pages["reference/tasks.md"] = catalog_text.tasks_page()
    pages["reference/samplers.md"] = catalog_text.samplers_page()
    pages["reference/index.md"] = _index(rooms)
    return pages


def subjects() -> dict[str, Any]:
    """Return everything public by its full name: what ``stepsize`` exports, its schedules, its errors, its results."""
    found = {f"stepsize.{name}": getattr(stepsize, name) for name in stepsize.__all__ if name not in _NOT_OBJECTS}
    found |= {f"schedules.{name}": thing for name, thing in vars(schedules).items() if _is_ours(name, thing)}
    found |= {f"errors.{name}": getattr(errors, name) for name in errors.__all__}
    named = {id(thing) for thing in found.values()}
    waiting = list(found.values())
    while waiting:
        for result in _results(waiting.pop()):
            if id(result) not in named:
                named.add(id(result))
                found[f"{_room(result)}.{result.__name__}"] = result
                waiting.append(result)
    return found


def room_pages() -> dict[str, str]:
    """Return the titles of the pages of the library by their paths, in the order of the menu."""
    rooms = _by_room(subjects())
    return {_title(room): f"reference/api/{room}.md" for room in rooms}


_NOT_OBJECTS = ("__version__", "schedules")


def _is_ours(name: str, thing: Any) -> bool:
    return not name.startswith("_") and (inspect.isfunction(thing) or isinstance(thing, type))


def _results(thing: Any) -> Iterator[type]:
    """Yield the classes of ours that a function returns or a result consists of."""
    home = vars(importlib.import_module(thing.__module__))
    for name in sorted(annotated_names(thing)):
        found = home.get(name)
        if isinstance(found, type) and found.__module__.startswith("stepsize.") and inspect.getdoc(found):
            yield found


def _room(thing: Any) -> str:
    return str(thing.__module__).split(".")[1]


def _by_room(things: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    order = [*_TITLES, *sorted({_room(thing) for thing in things.values()} - set(_TITLES))]
    rooms: dict[str, dict[str, Any]] = {room: {} for room in order}
    for name, thing in things.items():
        rooms[_room(thing)][name] = thing
    return {room: found for room, found in rooms.items() if found}


def _title(room: str) -> str:
    return _TITLES.get(room, room.capitalize())


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _room_page(room: str, things: Mapping[str, Any], links: Mapping[str, str]) -> str:
    module = importlib.import_module(f"stepsize.{room}")
    text = inspect.getdoc(module) or ""
    intro = _with_tree(text)
    sections = [object_text(name, thing, links) for name, thing in _ordered(things)]
    return "\n\n".join([f"# {_title(room)}", intro, *sections]) + "\n"


def _with_tree(text: str) -> str:
    return text if "```" not in text else text.replace("```\n", "```text\n", 1)


def _ordered(things: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Verbs first, then classes; what ``stepsize`` itself exports before the rest."""

    def rank(item: tuple[str, Any]) -> tuple[bool, bool, str]:
        name, thing = item
        return not name.startswith("stepsize."), isinstance(thing, type), name.lower()

    return things.items() if "errors.StepsizeError" in things else sorted(things.items(), key=rank)


def _index(rooms: Mapping[str, Mapping[str, Any]]) -> str:
    parts = ["# Reference", "Generated from the code.", "## Everything that `stepsize` exports"]
    rows = ["| name | what it does |", "|---|---|"]
    exported = sorted(
        (
            (name, room, thing)
            for room, things in rooms.items()
            for name, thing in things.items()
            if name.startswith("stepsize.")
        ),
        key=lambda one: one[0].lower(),
    )
    for name, room, thing in exported:
        summary = linked(read(inspect.getdoc(thing) or "").summary, {}).replace("|", "\\|")
        rows.append(f"| [`{name}`](api/{room}.md#{_last(name)}) | {summary} |")
    rows.append("| [`stepsize.schedules`](api/schedules.md) | Schedules: immutable functions from step to factor. |")
    catalogs = [
        "## Catalogs",
        "[Schedules](../schedules.md) · [Optimizers](optimizers.md) · "
        "[Findings](../findings.md) · [Tasks](tasks.md) · [Samplers and workers](samplers.md)",
        "## Command line",
        " · ".join(f"[`{name}`](commands.md#{command_text.anchor(name)})" for name, _ in command_text.commands()),
    ]
    return "\n\n".join([*parts, "\n".join(rows), *catalogs]) + "\n"


def main(folder: Path) -> None:
    """Write all pages below ``folder``."""
    for name, text in reference_pages().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
