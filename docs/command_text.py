"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

from typer.main import get_command

from stepsize.cli.app import app

_HEAD = """# Commands

Every function of the library has a command with the same name. `TASK` is a built-in name ([Tasks](tasks.md)),
`file.py:attribute` or `package.module:attribute`. Exit codes: 0 success, 1 error while running, 2 invalid input, 3 no
answer or the run diverged, 130 interrupted (Ctrl-C). `NO_COLOR=1` turns colors off.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command by its full name, ``"stepsize sweep show"``."""
    yield from _within("stepsize", get_command(app))


def page() -> str:
    """Return the page of all commands."""
    return "\n\n".join([_HEAD.strip(), *(_section(name, command) for name, command in commands())]) + "\n"


def anchor(name: str) -> str:
    """Return the anchor of a command on its page."""
    return name.replace(" ", "-")


def options(command: Any) -> list[Any]:
    """Return the options and arguments of a command that its help shows."""
    return [one for one in command.params if not getattr(one, "hidden", False)]


def _within(name: str, group: Any) -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        full = f"{name} {word}"
        if hasattr(command, "commands"):
            first, *others = command.commands.items()
            yield full, first[1]  # the group's own arguments are those of its first command
            for other, inner in others:
                yield f"{full} {other}", inner
        else:
            yield full, command


def _section(name: str, command: Any) -> str:
    arguments = [one.metavar or one.name.upper() for one in options(command) if not _is_option(one)]
    usage = " ".join([name, *arguments, "[OPTIONS]"])
    parts = [f"## {name} {{ #{anchor(name)} }}", _help(command.help or ""), f"```text\n{usage}\n```"]
    rows = [_row(one) for one in options(command)]
    if rows:
        parts.append("\n".join(["| | what | default |", "|---|---|---|", *rows]))
    example = re.sub(r"^Example: ", "", command.epilog or "")
    if example:
        parts.append(f"```sh\n{example}\n```")
    return "\n\n".join(parts)


def _is_option(one: Any) -> bool:
    return any(word.startswith("-") for word in one.opts)


def _row(one: Any) -> str:
    if _is_option(one):
        value = "" if getattr(one, "is_flag", False) else f" {one.metavar or _choices(one)}"
        words = ", ".join(f"`{word}{value}`" for word in one.opts)
    else:
        words = f"`{one.metavar or one.name.upper()}`"
    default = "required" if one.required else _default(one.default)
    return f"| {_cell(words)} | {_cell(_help(one.help or ''))} | {default} |"


def _choices(one: Any) -> str:
    """Return the words that an option takes, from its annotation."""
    return "|".join(map(str, get_args(one.type_descriptor.annotation))) or one.name.upper()


def _default(value: Any) -> str:
    if value is None or value is False or callable(value):
        return ""
    value = getattr(value, "value", value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _help(text: str) -> str:
    return re.sub(r"\n(?!\n)", " ", text.strip()).replace("\n ", "\n\n")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
