"""Texts for next-character prediction: the sources and docstrings of Python's own modules, and Markov chains."""

from __future__ import annotations

import ast
import sysconfig
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["draw_text"]

Array: TypeAlias = NDArray[Any]
_MODULES = (
    "abc", "argparse", "ast", "base64", "bisect", "calendar", "cmd", "codecs", "colorsys", "configparser", "contextlib",
    "copy", "csv", "dataclasses", "decimal", "difflib", "dis", "doctest", "enum", "fileinput", "fnmatch", "fractions",
    "ftplib", "functools", "getopt", "gettext", "glob", "graphlib", "gzip", "heapq", "hmac", "imaplib", "inspect",
    "ipaddress", "locale", "mailbox", "mimetypes", "netrc", "ntpath", "numbers", "operator", "optparse", "pdb",
    "pickle", "pickletools", "platform", "plistlib", "poplib", "posixpath", "pprint", "profile", "pstats", "queue",
    "quopri", "random", "reprlib", "sched", "secrets", "selectors", "shelve", "shlex", "shutil", "smtplib", "socket",
    "sqlite3/dump", "ssl", "stat", "statistics", "string", "stringprep", "subprocess", "symtable", "tabnanny",
    "tarfile", "tempfile", "textwrap", "this", "threading", "timeit", "tokenize", "trace", "traceback", "turtle",
    "types", "typing", "uuid", "warnings", "wave", "weakref", "webbrowser", "zipapp", "zipfile", "zipimport",
)  # fmt: skip
_MOST_CHARACTERS = 20_000


def draw_text(rng: Generator) -> tuple[str, Array, int]:
    """Draw a text; return its name, its characters as ids, int64, and how many ids there are."""
    if rng.random() < 0.25:
        return _markov(rng)
    kind = "source" if rng.random() < 0.5 else "docstrings"
    text, names = "", []
    while len(text) < 3_000:
        name = _MODULES[int(rng.integers(len(_MODULES)))]
        part = _source(name) if kind == "source" else _docstrings(name)
        names.append(name)
        text += part
    begin = int(rng.integers(0, max(1, len(text) - _MOST_CHARACTERS)))
    text = text[begin : begin + _MOST_CHARACTERS]
    if rng.random() < 0.7:
        text = text.lower()
    vocabulary = int(rng.integers(20, 49))
    common = {character: place for place, (character, _) in enumerate(Counter(text).most_common(vocabulary - 1))}
    ids = np.array([common.get(character, vocabulary - 1) for character in text], dtype=np.int64)
    return f"python/{kind} of {'+'.join(names)}", ids, vocabulary


@cache
def _source(name: str) -> str:
    path = Path(sysconfig.get_path("stdlib")) / f"{name}.py"
    return path.read_text(encoding="utf-8", errors="replace")


@cache
def _docstrings(name: str) -> str:
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(ast.parse(_source(name))) if isinstance(node, nodes))
    return "\n".join(text for text in found if text)


def _markov(rng: Generator) -> tuple[str, Array, int]:
    """Return characters each drawn by the one or two before it."""
    vocabulary, order = int(rng.integers(4, 25)), int(rng.integers(1, 3))
    table = rng.dirichlet(np.full(vocabulary, rng.uniform(0.02, 0.3)), size=vocabulary**order)
    ids = list(rng.integers(0, vocabulary, order))
    cumulative, draws = table.cumsum(axis=1), rng.random(8_000)
    for draw in draws:
        state = ids[-1] if order == 1 else ids[-2] * vocabulary + ids[-1]
        ids.append(min(vocabulary - 1, int(np.searchsorted(cumulative[state], draw))))
    return f"procedural/markov order {order}", np.array(ids, dtype=np.int64), vocabulary
