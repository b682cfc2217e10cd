"""How large the code is: ``python docs/size.py [FOLDER]`` prints the numbers of the table in docs/architecture.md."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

_BLANK = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
_LONG = 40  # lines of a function


def size(folder: Path) -> dict[str, int]:
    """Return what there is of each kind in the Python files below ``folder``.

    Lines of code are those that hold anything but blanks, comments and docstrings. Public names are those that the
    ``__init__.py`` of a package takes from its modules for others.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*.py")}
    nodes = {path: list(ast.walk(ast.parse(text))) for path, text in texts.items()}
    every = [node for found in nodes.values() for node in found]
    functions = [node for node in every if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    public = {
        (path.parent, each.name)
        for path, found in nodes.items()
        if path.name == "__init__.py"
        for node in found
        if isinstance(node, ast.ImportFrom)
        for each in node.names
        if each.name == each.asname
    }
    return {
        "files": len(texts),
        "lines": sum(text.count("\n") for text in texts.values()),
        "lines of code": sum(len(_code(text) - set(_docstrings(nodes[path]))) for path, text in texts.items()),
        "public names": len(public),
        "classes": sum(isinstance(node, ast.ClassDef) for node in every),
        "functions": len(functions),
        f"functions over {_LONG} lines": sum((node.end_lineno or 0) - node.lineno + 1 > _LONG for node in functions),
        "lines of the largest file": max(text.count("\n") for text in texts.values()),
    }


def _code(text: str) -> set[int]:
    """Return the numbers of the lines with a word or a sign."""
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    return {line for one in found if one.type not in _BLANK for line in range(one.start[0], one.end[0] + 1)}


def _docstrings(nodes: list[ast.AST]) -> Iterator[int]:
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            yield from range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)


if __name__ == "__main__":
    for name, number in size(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[1] / "src").items():
        sys.stdout.write(f"{name:28}{number:>8,}\n")
