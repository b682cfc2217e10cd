"""Docstrings in the form of this project to Markdown: sections become lists, formulas and examples code blocks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example|Examples|Reference|References|Note):\s*$")
_ITEM = re.compile(r"^(\*{0,2}[A-Za-z_][\w., *]*):\s+(.*)$")
_ROLE = re.compile(r":\w+:`~?([\w.]+)`")
_TITLES = {"Args": "Arguments", "Example": "Example", "Examples": "Example", "References": "Reference"}


@dataclass(frozen=True)
class Docstring:
    """A docstring, cut into its parts.

    Attributes:
        summary: The first sentence.
        body: What follows it, as Markdown.
        sections: The lines of each section by its title.
    """

    summary: str
    body: str
    sections: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read(text: str) -> Docstring:
    """Cut a docstring into its parts."""
    lines = inspect.cleandoc(text).splitlines()
    head: list[str] = []
    sections: dict[str, list[str]] = {}
    current = head
    for line in lines:
        match = _SECTION.match(line)
        if match:
            current = sections.setdefault(match[1], [])
        else:
            current.append(line)
    summary, _, body = "\n".join(head).partition("\n\n")
    return Docstring(" ".join(summary.split()), _prose(body), sections)


def sections_text(doc: Docstring, links: Mapping[str, str]) -> list[str]:
    """Return the sections as Markdown, one text each."""
    made = []
    for name, lines in doc.sections.items():
        title = _TITLES.get(name, name)
        if name in ("Args", "Attributes", "Raises"):
            made.append(f"**{title}**\n\n{_items(lines, links)}")
        elif name.startswith("Example"):
            made.append(f"**{title}**\n\n{_example(lines)}")
        else:
            made.append(f"**{title}.** {linked(' '.join(' '.join(lines).split()), links)}")
    return made


def linked(text: str, links: Mapping[str, str]) -> str:
    """Turn references to other objects into links where there is a place for them, else into code."""

    def one(match: re.Match[str]) -> str:
        name = match[1].rpartition(".")[2] or match[1]
        return f"[`{name}`]({links[name]})" if name in links else f"`{name}`"

    return _ROLE.sub(one, text)


def _prose(text: str) -> str:
    """Keep paragraphs and lists; what is indented by itself is a formula."""
    made = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        if all(line.startswith("    ") for line in part.splitlines()) and part.strip():
            made.append(f"```text\n{inspect.cleandoc(part)}\n```")
        else:
            made.append(part)
    return "\n\n".join(made)


def _example(lines: Sequence[str]) -> str:
    text = inspect.cleandoc("\n".join(["", *lines]))
    return text if "```" in text else f"```pycon\n{text}\n```"


def _items(lines: Sequence[str], links: Mapping[str, str]) -> str:
    items: list[list[str]] = []
    for line in inspect.cleandoc("\n".join(["", *lines])).splitlines():
        match = None if line.startswith(" ") else _ITEM.match(line)
        if match:
            items.append([f"`{match[1]}`", match[2]])
        elif items:
            items[-1].append(line.strip())
    return "\n".join(f"- {name}: {linked(' '.join(rest), links)}" for name, *rest in items)
