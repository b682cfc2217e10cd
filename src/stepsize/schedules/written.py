"""The written form of schedules, a small expression language. ``str(schedule)`` writes it, this reads it.

```
schedule = product { "," product } ;             one after the other
product  = changed { "*" changed } ;             multiplied step by step
changed  = operand { "|" call } ;                a change of what is before the bar: floored, capped, repeated, …
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
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from stepsize.errors import InputError, ScheduleSyntaxError
from stepsize.schedules.algebra import joined
from stepsize.schedules.ramps import constant
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import SHAPES, as_shape
from stepsize.schedules.units import UNITS, as_duration

Kind = Literal["duration", "durations", "number", "count", "points", "shape", "word", "flag", "schedule"]

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
    required: bool = True

    @property
    def example(self) -> str:
        """How to write it."""
        return f"Write {self.name}" + f"={_KINDS[self.kind].example}" * (self.kind != "flag")


@functools.cache
def parameters_of(call: Callable[..., Schedule]) -> Mapping[str, Parameter]:
    """Return the parameters of ``call`` by name, without those that a partial has filled."""
    filled = call.keywords if isinstance(call, functools.partial) else {}
    return {
        each.name: Parameter(each.name, _kind(str(each.annotation)), each.default is inspect.Parameter.empty)
        for each in inspect.signature(call).parameters.values()
        if each.name != "self" and each.name not in filled
    }


def _kind(annotation: str) -> Kind:
    return next(name for name, kind in _KINDS.items() if annotation.startswith(kind.annotation))


@dataclass(frozen=True)
class Token:
    """A name (with parameters in parentheses if it has some), a value or a symbol, and its place in the text."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def shown(self) -> str:
        """Its text for a message: the beginning if it is long."""
        return self.text if len(self.text) <= 40 else f"{self.text[:39]}…"


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
        self._tokens: list[Token] = []  # those read so far
        self._schedules = schedules
        self._changes = changes
        self._shaped = shaped
        self._place = 0
        self._open = 0  # parentheses

    def whole(self) -> Schedule:
        """Return the schedule, or raise ScheduleSyntaxError, which points at the fault."""
        if self._token.kind == "end":
            raise self._fault(self._token, "the text is empty", f"Write a schedule: {', '.join(self._schedules)}")
        schedule = self._sequence()
        if self._token.kind != "end":
            raise self._misplaced()
        return schedule

    # ------------------------------------------------------------- the grammar

    def _sequence(self) -> Schedule:
        phases = [self._product().node]
        while self._taken(","):
            phases.append(self._product().node)
        return Schedule(joined(*phases))

    def _product(self) -> Schedule:
        start, left = self._token.start, self._changed()
        while self._taken("*"):
            left = self._made(left.times, {"other": self._changed()}, start)
        return left

    def _changed(self) -> Schedule:
        schedule = self._operand()
        while self._taken("|"):
            name = self._take()
            if name.text not in self._changes:
                rule = f"'{name.shown}' is not a change" if name.kind == "name" else "a change must follow this bar"
                place = name if name.kind == "name" else self._tokens[self._place - 1 - (name.kind != "end")]
                raise self._fault(place, rule, _nearest(name.text, self._changes, "Known:"))
            schedule = self._call(name, self._changes[name.text], schedule)
        return schedule

    def _operand(self) -> Schedule:
        if self._at("("):
            return self._group()
        before = self._tokens[self._place - 1] if self._place else None
        begin = self._take()
        shape = begin.text.partition("(")[0]
        if begin.kind == "value" and (self._at("*") or (before is not None and before.text == "*")):
            factor = self._value(Parameter("factor", "number"), begin)
            return self._made(constant, {"factor": factor}, begin.start)
        if begin.text in self._schedules:
            return self._call(begin, self._schedules[begin.text])
        if begin.kind == "name" and shape in SHAPES:
            along = self._value(Parameter("shape", "shape"), begin)
            return self._call(begin, functools.partial(self._shaped, shape=along))
        if begin.text in self._changes:
            remedy = f"Write the schedule, then | {begin.text}"
            raise self._fault(begin, f"'{begin.shown}' is a change, which follows a bar", remedy)
        if begin.kind == "name":
            raise self._fault(
                begin, f"'{begin.shown}' is not a schedule", _nearest(begin.text, self._schedules, "Known:")
            )
        what = f"the name of a schedule must stand before '{begin.shown}'"
        if begin.kind == "end" and before is not None:
            what = f"a schedule is missing after '{before.shown}'"
        raise self._fault(begin, what, f"Known: {', '.join(self._schedules)}")

    def _group(self) -> Schedule:
        opening = self._take()
        self._open += 1
        if self._open > _DEPTH:
            raise self._fault(opening, f"more than {_DEPTH} parentheses are around each other", "Simplify it")
        inner = self._sequence()
        if self._token.kind == "end":
            raise self._fault(
                opening, "this parenthesis is not closed", "Write ) after the last phase that belongs in it"
            )
        if not self._taken(")"):
            raise self._misplaced()
        self._open -= 1
        return inner

    def _call(self, name: Token, call: Callable[..., Schedule], *before: Schedule) -> Schedule:
        """Read the arguments of ``call`` and return what it makes of them, and of the schedule before a bar."""
        known = parameters_of(call)
        given: dict[str, Any] = {}
        places: dict[str, tuple[int, int]] = {}
        while (parameter := self._parameter(name, known)) is not None:
            token = self._token
            if parameter.name in given:
                raise self._fault(token, f"{parameter.name} is given twice", "Remove one of them")
            if parameter.kind == "schedule" and self._at("("):
                given[parameter.name] = self._group()
            elif token.kind not in ("name", "value"):
                raise self._fault(token, f"the value of {parameter.name} is missing", parameter.example)
            else:
                given[parameter.name] = self._value(parameter, self._take())
            places[parameter.name] = token.start, self._tokens[self._place - 1].end
        missing = [parameter for parameter in known.values() if parameter.required and parameter.name not in given]
        if missing:
            raise self._fault(name, f"'{name.shown}' needs {missing[0].name}", missing[0].example)
        return self._made(functools.partial(call, *before), given, name.start, places)

    def _parameter(self, call: Token, known: Mapping[str, Parameter]) -> Parameter | None:
        """Return the parameter that the next value is for, its name taken; None if there is none."""
        token = self._token
        if token.kind == "name" and self._token_at(self._place + 1).text == "=":
            if token.text not in known:
                rule = f"'{call.shown}' has no parameter '{token.shown}'"
                raise self._fault(token, rule, _nearest(token.text, known, "It takes"))
            self._place += 2
            return known[token.text]
        if token.kind == "value":
            kinds = ("duration", "durations", "points"), ("number", "count")
            found = [each for group in kinds for each in known.values() if each.kind in group]
            if not found:
                takes = f"It takes {', '.join(known)}"
                raise self._fault(token, f"'{call.shown}' takes no value without a name", takes)
            return found[0]
        by_kind = {each.kind: each for each in known.values()}
        if self._at("("):
            return by_kind.get("schedule")
        if token.kind != "name":
            return None
        if token.text in known and known[token.text].kind == "flag":
            return known[token.text]
        if "shape" in by_kind and token.text.partition("(")[0] in SHAPES:
            return by_kind["shape"]
        raise self._foreign(call, token, known)

    def _value(self, parameter: Parameter, token: Token) -> Any:
        if token.text == "none" and parameter.kind in ("duration", "shape", "count"):
            return None
        try:
            return _KINDS[parameter.kind].read(parameter.name, token.text)
        except InputError as error:
            remedy = error.remedy or parameter.example * (parameter.kind != "shape")
            raise self._fault(token, f"{error.argument} {error.rule}", remedy) from error

    def _made(
        self,
        call: Callable[..., Schedule],
        given: Mapping[str, Any],
        start: int,
        places: Mapping[str, tuple[int, int]] = MappingProxyType({}),
    ) -> Schedule:
        """Return what ``call`` makes of the arguments; what it refuses is shown at its place in the text."""
        end = self._tokens[self._place - 1].end
        try:
            made = call(**given)
        except InputError as error:
            first, last = places.get(error.argument, (start, end))
            rule = f"{error.argument} {error.rule}"
            raise ScheduleSyntaxError(self._text, first, rule, error.remedy, max(1, last - first)) from error
        if made.node.height > _DEPTH:
            rule = f"more than {_DEPTH} changes and products are around each other"
            raise ScheduleSyntaxError(self._text, end - 1, rule, "Simplify it")
        return made

    # ------------------------------------------------------- tokens and faults

    @property
    def _token(self) -> Token:
        return self._token_at(self._place)

    def _token_at(self, place: int) -> Token:
        while len(self._tokens) <= place:
            match = _TOKEN.match(self._text, self._tokens[-1].end if self._tokens else 0)
            if match is None:
                return Token("end", "", len(self._text.rstrip()))
            kind = str(match.lastgroup)
            self._tokens.append(Token(kind, match[kind], match.start(kind)))
        return self._tokens[place]

    def _take(self) -> Token:
        token = self._token
        self._place += token.kind != "end"
        return token

    def _at(self, symbol: str) -> bool:
        return self._token.kind == "symbol" and self._token.text == symbol

    def _taken(self, symbol: str) -> bool:
        """Take the next token if it is this symbol, and return whether it was."""
        found = self._at(symbol)
        self._place += found
        return found

    def _fault(self, token: Token, rule: str, remedy: str) -> ScheduleSyntaxError:
        if token.kind == "unknown":
            rule, remedy = f"'{token.shown}' has no meaning here", "Remove it"
        start = token.start - (token.kind == "end" and token.start > 0)  # nothing to point at but what is before it
        return ScheduleSyntaxError(self._text, start, rule, remedy, max(1, len(token.text)))

    def _misplaced(self) -> ScheduleSyntaxError:
        """Return the fault of a token that cannot follow a complete schedule."""
        token = self._token
        if token.text == ")":
            return self._fault(token, "no parenthesis is open here", "Remove it, or open one before it")
        return self._fault(token, f"'{token.shown}' cannot follow a schedule", "Separate phases by commas")

    def _foreign(self, call: Token, token: Token, known: Mapping[str, Parameter]) -> ScheduleSyntaxError:
        """Return the fault of a name that is no argument of ``call``."""
        if token.text in known:
            rule = f"'{token.shown}' is a parameter of '{call.shown}' and needs its value"
            comma = f", or a comma before '{token.shown}' if it is the next phase" * (token.text in self._schedules)
            return self._fault(token, rule, known[token.text].example + comma)
        if token.text in self._changes:
            return self._fault(token, f"a bar is missing before '{token.shown}'", f"Write | {token.text}")
        if token.text in self._schedules:
            return self._fault(token, f"a comma is missing before '{token.shown}'", "Separate phases by commas")
        shapes = SHAPES if any(each.kind == "shape" for each in known.values()) else ()
        rule = f"'{token.shown}' is neither a parameter nor a shape that '{call.shown}' takes"
        words = {*known, *shapes, "steps", "epochs", "samples", "tokens"}
        return self._fault(token, rule, _nearest(token.text, words, "It takes", known))


def _read_flag(argument: str, text: str) -> bool:
    if text != argument:
        raise InputError(argument, text, "is a flag, which takes no value")
    return True


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


def _read_schedule(argument: str, text: str) -> Any:
    raise InputError(argument, text, "must be a schedule in parentheses", f"Write ({text} …)")


class _Kind(NamedTuple):
    annotation: str  # how that of a parameter of this kind begins
    example: str
    read: Callable[[str, str], Any]  # argument, text


_KINDS: Mapping[Kind, _Kind] = {
    "durations": _Kind("Sequence[Duration]", "50%|75%", _read_durations),
    "points": _Kind("Mapping[Duration", "0:1|100%:0", _read_points),
    "duration": _Kind("Duration", "5%", _read_duration),
    "number": _Kind("float", "0.5", _read_number),
    "count": _Kind("int", "3", _read_count),
    "shape": _Kind("Shape", "cosine", _read_shape),
    "flag": _Kind("bool", "", _read_flag),
    "schedule": _Kind("Schedule", "(…)", _read_schedule),
    "word": _Kind("", "word", _read_word),  # any other one
}


def _nearest(name: str, known: Iterable[str], before: str, listed: Iterable[str] | None = None) -> str:
    names = list(known)
    near = difflib.get_close_matches(name[:40], names, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}{before} {', '.join(names if listed is None else listed)}"
