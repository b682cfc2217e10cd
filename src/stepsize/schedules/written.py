"""The written form of schedules, a small expression language. ``str(schedule)`` writes it, this reads it.

```
schedule = product { "," product } ;             one after the other
product  = changed { "*" changed } ;             multiplied step by step
changed  = operand { "|" call } ;                a change of what is before the bar: floored, repeated, first, …
operand  = call | number | "(" schedule ")" ;
call     = name { argument } ;
argument = [ parameter "=" ] value | flag ;
value    = duration | number | points | shape | word | "none" | "(" schedule ")" ;
```

- A duration is ``500``, ``5%``, ``2ep``, ``100k samples`` or ``1.5M tok``. Several durations have a bar between them,
  as in ``50%|75%``, and so have points, which are pairs of duration and factor, as in ``0:1|50%:0.1``.
- A value without a name is the first duration that the call takes, or the first number if it takes none. Shapes and
  flags need no name either.
- A shape is a name with its parameters, as in ``polynomial(3)``. At the place of a schedule it is a decay along it.
- A bar binds tighter than ``*``, and ``*`` tighter than the comma: in ``warmup 5%, constant | floored 0.1`` only the
  constant is floored, in ``(warmup 5%, constant) | floored 0.1`` both are.
- ``none`` is Python's None. Spaces and line ends only separate.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stepsize.errors import InputError, ScheduleSyntaxError
from stepsize.schedules.algebra import Then
from stepsize.schedules.ramps import constant
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import SHAPES, as_shape
from stepsize.schedules.units import UNITS, as_duration

Kind = Literal["duration", "durations", "number", "count", "points", "shape", "word", "flag", "schedule"]

_KINDS: Mapping[str, Kind] = {  # of a parameter, by how its annotation begins
    "Sequence[Duration]": "durations",
    "Mapping[Duration": "points",
    "Duration": "duration",
    "float": "number",
    "int": "count",
    "Shape": "shape",
    "bool": "flag",
    "Schedule": "schedule",
}
_EXAMPLES: Mapping[Kind, str] = {
    "duration": "=5%",
    "durations": "=50%|75%",
    "number": "=0.5",
    "count": "=3",
    "points": "=0:1|100%:0",
    "shape": "=cosine",
    "word": "=word",
    "flag": "",
    "schedule": "=(…)",
}
_DEPTH = 64  # of parentheses, and of changes and products around each other: each is a call within a call

_NUMBER = r"[+-]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_UNIT = "|".join(sorted((word for word in UNITS if word != "%"), key=len, reverse=True))
_ITEM = rf"{_NUMBER}(?:\s*%|\s*[kKMGBT]?\s*(?:{_UNIT})(?![\w-])(?!\s*[=(])|[^\W\d]\w*)?(?:\s*:\s*{_NUMBER}%?)?"
_NAME = r"(?:[0-9]+-)?[^\W\d]\w*(?:-\w+)*"  # 1-sqrt is a name as well
_TOKEN = re.compile(
    rf"\s*(?:(?P<name>{_NAME}(?:\([-+0-9.eE_,\s]*\))?)|(?P<value>{_ITEM}(?:\s*\|\s*(?![0-9]+-[^\W\d]){_ITEM})*)"
    rf"|(?P<symbol>[,()|*=])|(?P<unknown>\S))"
)


@dataclass(frozen=True)
class Parameter:
    """An argument of a call that can be written.

    Attributes:
        name: Its name, as in the Python function.
        kind: What it holds; ``durations`` and ``points`` are separated by bars.
        required: Whether it has no default.
    """

    name: str
    kind: Kind
    required: bool

    @property
    def example(self) -> str:
        """How it may be written."""
        return self.name + _EXAMPLES[self.kind]


@functools.cache
def parameters_of(call: Callable[..., Schedule]) -> Mapping[str, Parameter]:
    """Return the parameters of ``call`` by name, without those that a partial has filled."""
    filled = call.keywords if isinstance(call, functools.partial) else {}
    known = inspect.signature(call).parameters.values()
    return {
        each.name: Parameter(each.name, _kind(str(each.annotation)), each.default is inspect.Parameter.empty)
        for each in known
        if each.name != "self" and each.name not in filled
    }


def _kind(annotation: str) -> Kind:
    return next((kind for begin, kind in _KINDS.items() if annotation.startswith(begin)), "word")


@dataclass(frozen=True)
class Token:
    """A name (with parameters in parentheses if it has some), a value or a symbol, and its place in the text."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """The place after its last character."""
        return self.start + len(self.text)

    @property
    def shown(self) -> str:
        """Its text for a message: the beginning if it is long."""
        return self.text if len(self.text) <= 40 else f"{self.text[:39]}…"

    @property
    def name(self) -> str:
        """A name without its parameters."""
        return self.text.partition("(")[0]


@dataclass(frozen=True)
class _Part:
    """A schedule that has been read, where it begins, and how many nodes are around each other in it."""

    schedule: Schedule
    start: int
    height: int = 1


class Reader:
    """Reads one text; each method reads one rule of the grammar.

    Args:
        text: A schedule in its written form.
        schedules: What a schedule may begin with, by name.
        changes: What may follow a bar, by name; each takes the schedule before the bar first.
        shaped: Takes ``shape=``: what a shape at the place of a schedule stands for.
    """

    def __init__(
        self,
        text: str,
        schedules: Mapping[str, Callable[..., Schedule]],
        changes: Mapping[str, Callable[..., Schedule]],
        shaped: Callable[..., Schedule],
    ) -> None:
        self._text = text
        self._schedules = schedules
        self._changes = changes
        self._shaped = shaped
        self._open = 0  # parentheses
        self._token = Token("start", "", 0)  # the present one
        self._last = self._token  # the one before it
        self._take()

    def whole(self) -> Schedule:
        """Return the schedule.

        Raises:
            ScheduleSyntaxError: If the text cannot be read; it points at the fault.
        """
        if self._token.kind == "end":
            raise self._fault(self._token, "the text is empty", f"Write a schedule: {', '.join(self._schedules)}")
        part = self._sequence()
        if self._token.kind != "end":
            raise self._misplaced()
        return part.schedule

    # ------------------------------------------------------------- the grammar

    def _sequence(self) -> _Part:
        parts = [self._product()]
        while self._at(","):
            comma = self._take()
            if self._token.kind == "end" or self._at(")"):
                raise self._fault(comma, "nothing follows this comma", "Write another phase after it, or remove it")
            parts.append(self._product())
        if len(parts) == 1:
            return parts[0]
        whole = Schedule(Then(tuple(part.schedule.node for part in parts)))
        return _Part(whole, parts[0].start, 1 + max(part.height for part in parts))

    def _product(self) -> _Part:
        left = self._changed()
        while self._at("*"):
            star, right = self._take(), self._changed()
            height = self._checked_height(star, left, right)
            try:
                left = _Part(left.schedule.times(right.schedule), left.start, height)
            except InputError as error:
                raise self._refused(error, left.start, self._last.end) from error
        return left

    def _changed(self) -> _Part:
        part = self._operand()
        while self._at("|"):
            bar = self._take()
            if self._token.kind != "name":
                rule = "the name of a change must follow this bar"
                raise self._fault(bar, rule, f"Write one of: {', '.join(self._changes)}")
            name = self._take()
            if name.text not in self._changes:
                raise self._fault(name, f"'{name.shown}' is not a change", _nearest(name.text, self._changes, "Known:"))
            part = self._call(name, self._changes[name.text], part)
        return part

    def _operand(self) -> _Part:
        if self._at("("):
            return self._group()
        in_product = self._last.text == "*"
        begin = self._take()
        if begin.kind == "value" and (in_product or self._at("*")):
            return _Part(self._number_schedule(begin), begin.start)
        if begin.kind != "name":
            raise self._no_schedule(begin)
        if begin.text in self._schedules:
            return self._call(begin, self._schedules[begin.text])
        if begin.name in SHAPES:
            shape = self._value(Parameter("shape", "shape", True), begin)
            return self._call(begin, functools.partial(self._shaped, shape=shape))
        raise self._unknown(begin)

    def _number_schedule(self, token: Token) -> Schedule:
        factor = self._value(Parameter("factor", "number", True), token)
        try:
            return constant(factor=factor)
        except InputError as error:
            raise self._refused(error, token.start, token.end) from error

    def _group(self) -> _Part:
        opening = self._take()
        self._open += 1
        if self._open > _DEPTH:
            raise self._fault(opening, f"more than {_DEPTH} parentheses are around each other", "Simplify it")
        if self._at(")"):
            rule = "these parentheses are empty"
            raise ScheduleSyntaxError(self._text, opening.start, rule, "Write a schedule in them", 2)
        inner = self._sequence()
        if self._token.kind == "end":
            remedy = "Write ) after the last phase that belongs in it"
            raise self._fault(opening, "this parenthesis is not closed", remedy)
        if not self._at(")"):
            raise self._misplaced()
        self._open -= 1
        self._take()
        return _Part(inner.schedule, opening.start, inner.height)

    def _call(self, name: Token, call: Callable[..., Schedule], before: _Part | None = None) -> _Part:
        """Read the arguments of ``call`` and return what it makes of them, and of the schedule before a bar."""
        known = parameters_of(call)
        given: dict[str, Any] = {}
        places: dict[str, tuple[int, int]] = {}
        parts = [] if before is None else [before]
        while (parameter := self._parameter(name, known)) is not None:
            if parameter.name in given:
                raise self._fault(self._last, f"{parameter.name} is given twice", "Remove one of them")
            start = self._token.start
            if parameter.kind == "flag":
                given[parameter.name], start = True, self._last.start
            elif parameter.kind == "schedule":
                parts.append(self._group_of(parameter))
                given[parameter.name] = parts[-1].schedule
            else:
                given[parameter.name] = self._value(parameter, self._take())
            places[parameter.name] = start, self._last.end
        missing = [parameter for parameter in known.values() if parameter.required and parameter.name not in given]
        if missing:
            raise self._fault(name, f"'{name.shown}' needs {missing[0].name}", f"Write {missing[0].example}")
        height = self._checked_height(name, *parts)
        try:
            made = call(*([] if before is None else [before.schedule]), **given)
        except InputError as error:
            raise self._refused(error, *places.get(error.argument, (name.start, self._last.end))) from error
        return _Part(made, name.start if before is None else before.start, height)

    def _parameter(self, call: Token, known: Mapping[str, Parameter]) -> Parameter | None:
        """Take what comes before the next value, and return the parameter that it is for; None if there is none."""
        token = self._token
        if token.kind == "value" or self._at("("):
            kinds = ("schedule",) if self._at("(") else ("duration", "durations", "points", "number", "count")
            found = [each for each in known.values() if each.kind in kinds]
            found.sort(key=lambda each: each.kind in ("number", "count"))
            if not found and self._at("("):
                raise self._misplaced()
            if not found:
                takes = f"It takes {', '.join(known)}"
                raise self._fault(token, f"'{call.shown}' takes no value without a name", takes)
            self._last = token  # for the message, if it is given twice
            return found[0]
        if token.kind != "name":
            return None
        shape = next((each for each in known.values() if each.kind == "shape"), None)
        if shape and token.name in SHAPES and token.text not in known:
            self._last = token
            return shape
        self._take()
        if self._at("="):
            return self._named(call, token, known)
        parameter = known.get(token.text)
        if parameter is None:
            raise self._no_argument(call, token, known)
        if parameter.kind != "flag":
            comma = f", or a comma before '{token.shown}' if it is the next phase" * (token.text in self._schedules)
            rule = f"'{parameter.name}' is a parameter of '{call.shown}' and needs its value"
            raise self._fault(token, rule, f"Write {parameter.example}{comma}")
        return parameter

    def _named(self, call: Token, name: Token, known: Mapping[str, Parameter]) -> Parameter:
        sign, parameter = self._take(), known.get(name.text)
        if parameter is None:
            rule = f"'{call.shown}' has no parameter '{name.shown}'"
            raise self._fault(name, rule, _nearest(name.text, known, "It takes"))
        if parameter.kind == "flag":
            rule = f"'{parameter.name}' is a flag, which takes no value"
            raise self._fault(name, rule, f"Write {parameter.name} alone, or leave it out")
        if self._token.kind == "end" or (self._token.kind == "symbol" and not self._at("(")):
            raise self._fault(sign, f"the value of {parameter.name} is missing", f"Write {parameter.example}")
        self._last = name
        return parameter

    def _group_of(self, parameter: Parameter) -> _Part:
        if not self._at("("):
            rule = f"{parameter.name} must be a schedule in parentheses"
            raise self._fault(self._token, rule, f"Write {parameter.example}")
        return self._group()

    def _value(self, parameter: Parameter, token: Token) -> Any:
        if token.text == "none" and parameter.kind in ("duration", "shape", "count"):
            return None
        try:
            return _READERS[parameter.kind](parameter.name, token.text)
        except InputError as error:
            remedy = error.remedy or f"Write {parameter.example}" * (parameter.kind != "shape")
            raise self._fault(token, f"{error.argument} {error.rule}", remedy) from error

    # ------------------------------------------------------- tokens and faults

    def _take(self) -> Token:
        """Return the present token, and go on to the next."""
        self._last = self._token
        match = _TOKEN.match(self._text, self._token.end)
        if match is None:
            self._token = Token("end", "", len(self._text.rstrip()))
        else:
            kind = str(match.lastgroup)
            self._token = Token(kind, match[kind], match.start(kind))
        return self._last

    def _at(self, symbol: str) -> bool:
        return self._token.kind == "symbol" and self._token.text == symbol

    def _checked_height(self, place: Token, *parts: _Part) -> int:
        height = 1 + max((part.height for part in parts), default=0)
        if height > _DEPTH:
            raise self._fault(place, f"more than {_DEPTH} changes and products are around each other", "Simplify it")
        return height

    def _fault(self, token: Token, rule: str, remedy: str = "") -> ScheduleSyntaxError:
        if token.kind == "unknown":
            rule, remedy = f"'{token.shown}' has no meaning here", "Remove it"
        if token.kind == "end" and self._text.strip():  # nothing to point at but what is before it
            start = max(0, token.start - 1)
            return ScheduleSyntaxError(self._text, start, rule, remedy, 1)
        return ScheduleSyntaxError(self._text, token.start, rule, remedy, max(1, len(token.text)))

    def _refused(self, error: InputError, start: int, end: int) -> ScheduleSyntaxError:
        """Return what a constructor refused, at its place in the text."""
        return ScheduleSyntaxError(
            self._text, start, f"{error.argument} {error.rule}", error.remedy, max(1, end - start)
        )

    def _misplaced(self) -> ScheduleSyntaxError:
        """Return the fault of a token that cannot follow a complete schedule."""
        token = self._token
        if token.text == ")":
            return self._fault(token, "no parenthesis is open here", "Remove it, or open one before it")
        if token.text == "=":
            return self._fault(token, "'=' does not follow a parameter", "Write parameter=value")
        if token.text == "(" and self._last.kind == "name" and self._last.end == token.start:
            return self._fault(token, f"'{self._last.shown}' takes no parentheses here", "Write parameter=value")
        remedy = "Separate phases that follow each other by commas"
        return self._fault(token, f"a comma is missing before '{token.shown}'", remedy)

    def _no_schedule(self, token: Token) -> ScheduleSyntaxError:
        known = f"Known: {', '.join(self._schedules)}"
        if token.kind == "end":
            before = self._text.rstrip()[-1:]
            return self._fault(token, f"a schedule is missing after '{before}'", known)
        return self._fault(token, f"the name of a schedule must stand before '{token.shown}'", known)

    def _unknown(self, name: Token) -> ScheduleSyntaxError:
        if name.text in self._changes:
            remedy = f"Write the schedule, then | {name.text}"
            return self._fault(name, f"'{name.shown}' is a change, which follows a bar", remedy)
        return self._fault(name, f"'{name.shown}' is not a schedule", _nearest(name.text, self._schedules, "Known:"))

    def _no_argument(self, call: Token, token: Token, known: Mapping[str, Parameter]) -> ScheduleSyntaxError:
        if token.text in self._changes:
            return self._fault(token, f"a bar is missing before '{token.shown}'", f"Write | {token.text}")
        if token.text in self._schedules and any(each.kind == "schedule" for each in known.values()):
            rule = f"a schedule that '{call.shown}' takes must be in parentheses"
            return self._fault(token, rule, f"Write ({token.text} …)")
        if token.text in self._schedules:
            remedy = "Separate phases that follow each other by commas"
            return self._fault(token, f"a comma is missing before '{token.shown}'", remedy)
        takes_shape = any(each.kind == "shape" for each in known.values())
        words = {*known, *(SHAPES if takes_shape else ()), "steps", "epochs", "samples", "tokens"}
        rule = f"'{token.shown}' is neither a parameter nor a shape that '{call.shown}' takes"
        return self._fault(token, rule, _nearest(token.text, words, "It takes", known))


def _read_number(argument: str, text: str) -> float:
    if re.fullmatch(_NUMBER, text) is None:
        raise InputError(argument, text, "must be a number without a unit")
    return float(text)


def _read_count(argument: str, text: str) -> int:
    if re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise InputError(argument, text, "must be a whole number")
    return int(text)


def _read_duration(argument: str, text: str) -> Any:
    return as_duration(argument, text, least=0)


def _read_durations(argument: str, text: str) -> list[Any]:
    return [_read_duration(argument, item) for item in text.split("|")]


def _read_points(argument: str, text: str) -> dict[Any, float]:
    found: dict[Any, float] = {}
    for item in text.split("|"):
        at, given, factor = item.partition(":")
        if not given:
            raise InputError(argument, text, "must be pairs of duration and factor", f"Write {at.strip()}:0.5")
        position = _read_duration(argument, at)
        if position in found:
            raise InputError(argument, text, f"must have one factor at {at.strip()}, not two", "Remove one of them")
        found[position] = _read_number(argument, factor.strip())
    return found


def _read_shape(argument: str, text: str) -> Any:  # a word that only the constructor knows passes, such as "constant"
    return as_shape(text) if text.partition("(")[0].strip() in SHAPES else _read_word(argument, text)


def _read_word(argument: str, text: str) -> str:
    if re.fullmatch(_NAME, text) is None:
        raise InputError(argument, text, "must be a word")
    return text


_READERS: Mapping[Kind, Callable[[str, str], Any]] = {
    "duration": _read_duration,
    "durations": _read_durations,
    "number": _read_number,
    "count": _read_count,
    "points": _read_points,
    "shape": _read_shape,
    "word": _read_word,
}


def _nearest(name: str, known: Iterable[str], before: str, listed: Iterable[str] | None = None) -> str:
    names = list(known)
    near = difflib.get_close_matches(name[:40], names, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}{before} {', '.join(names if listed is None else listed)}"
