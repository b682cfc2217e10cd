"""The words of a written schedule, with their places in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from stepsize.errors import InputError
from stepsize.schedules.units import as_duration

__all__ = ["Token", "Tokens"]

TokenKind = Literal["name", "number", "quantity", "symbol", "unknown", "end"]

_NAME = r"[0-9]+-[^\W\d]\w*(?:-\w+)*|[^\W\d]\w*(?:-\w+)*"  # 1-sqrt is a name as well
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<name>{_NAME})
    | (?P<number>[+-]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?P<unit>\s*%|[^\W\d]\w*%?)?
    | (?P<symbol>[,()|*=:])
    | (?P<unknown>\S)
    )""",
    re.VERBOSE,
)
_UNIT_BEHIND = re.compile(rf"\s+({_NAME})(?![\w-])(?!\s*=|\()")  # the whole word, and no parameter


@dataclass(frozen=True)
class Token:
    """A word, a number, a number with a unit (a quantity) or a symbol.

    Attributes:
        kind: Which of them.
        text: As it was written.
        start: Its first character's place in the whole.
    """

    kind: TokenKind
    text: str
    start: int

    @property
    def end(self) -> int:
        """The place behind its last character."""
        return self.start + len(self.text)

    @property
    def shown(self) -> str:
        """Its text for a message: the beginning, where it is long."""
        return self.text if len(self.text) <= 40 else f"{self.text[:39]}…"


class Tokens:
    """The words of a text by their numbers, an end behind them; each is looked for when it is first asked for.

    What belongs to no word is unknown, and no error yet: a fault before it is told first.

    Example:
        >>> words = Tokens("warmup 100k samples 1-sqrt")
        >>> [words[i].text for i in range(4)]
        ['warmup', '100k samples', '1-sqrt', '']
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: list[Token] = []
        self._place = 0

    def __getitem__(self, number: int) -> Token:
        while len(self._found) <= number:
            self._found.append(self._following())
        return self._found[number]

    def _following(self) -> Token:
        match = _TOKEN.match(self._text, self._place)
        if match is None:
            return Token("end", "", len(self._text.rstrip()))
        kind = str(match.lastgroup)
        start, self._place = match.start("number" if kind == "unit" else kind), match.end()
        if kind in ("number", "unit"):
            self._place = _behind_unit(self._text, self._place)
            kind = "quantity" if self._place > match.end("number") else "number"
        return Token(kind, self._text[start : self._place], start)  # type: ignore[arg-type]


def _behind_unit(text: str, place: int) -> int:
    """Return the place behind the unit that follows a number at a distance: ``100k samples``, ``1.5 M tok``."""
    words = ""
    while match := _UNIT_BEHIND.match(text, place):
        words = f"{words} {match[1]}"
        if not _is_unit(words):
            break
        place = match.end()
    return place


@lru_cache(maxsize=256)
def _is_unit(words: str) -> bool:
    try:
        as_duration("unit", f"1{words}")
    except InputError:
        return False
    return True
