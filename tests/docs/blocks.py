"""The code blocks of the pages, as a reader would run them."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^([ \t]*)```(\w+)[^\n]*\n(.*?)^\1```[ \t]*$", flags=re.MULTILINE | re.DOTALL)
_ENVIRONMENT = re.compile(r"^[A-Z_]+=\S*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: The word behind the fence.
        code: What stands in it, without the fence's own indentation.
        line: The line of the page on which ``code`` begins, from 1.
    """

    language: str
    code: str
    line: int

    def missing(self) -> set[str]:
        """Return the packages that the block imports and that are not installed."""
        imported = set()
        for node in ast.walk(ast.parse(self.code)):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
        return {name for name in imported if find_spec(name) is None}


def blocks(path: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page that are in one of some languages."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(found[2], textwrap.dedent(found[3]), text.count("\n", 0, found.start(3)) + 1)
        for found in _FENCE.finditer(text)
        if found[2] in languages
    ]


def commands(code: str) -> Iterator[list[str]]:
    """Yield the words behind each ``stepsize`` of a shell block."""
    lines = code.replace("\\\n", " ").splitlines()
    for part in (part for line in lines for part in re.split(r"&&|;|\|\|", line)):
        words = shlex.split(part.removeprefix("$ "), comments=True)
        while words and _ENVIRONMENT.match(words[0]):
            words.pop(0)
        if words and Path(words[0]).name == "stepsize":
            yield words[1:]


def name_of(path: Path) -> str:
    """Return what to call a page in the names of tests."""
    return str(path.relative_to(ROOT))
