"""The written form of schedules: a line that people type, read here and written by ``write``.

```
schedule  = product { "," product } ;                     one after the other: then
product   = changed { "*" changed } ;                     step by step: times
changed   = ( piece | "(" schedule ")" ) { again | "|" change } ;
again     = "x" count ;                                   "x 3" or "x3": repeated
piece     = name { argument } | shaped { argument } ;     a name of SCHEDULES
change    = name { argument } ;                           scaled, floored, delayed, repeated, stretched, first,
                                                          cooled-down, extended, switched, within
argument  = [ parameter "=" ] value | flag ;
value     = duration | durations | points | number | shape | word | "none" | "(" schedule ")" ;
durations = duration { "|" duration } ;
points    = duration ":" number { "|" duration ":" number } ;
duration  = number [ unit ] ;                             500, 5%, 2ep, 100k samples, 1.5M tok
shape     = name | shaped ;                               a name of SHAPES
shaped    = name "(" [ number { "," number } ] ")" ;      polynomial(3), no space before the parenthesis
```

- The product binds tighter than the comma, and what stands behind a piece (``x 3``, a bar) tighter than both: in
  ``warmup 5%, constant | floored 0.1`` only the constant is floored, in ``(warmup 5%, constant) | floored 0.1`` both.
- A value without a name is the first parameter that holds durations, or the first number where none does; a shape
  and a flag need no name either. Everything else is ``parameter=value``, in any order.
- ``none`` is Python's None: ``wsd warmup=none``, ``points 0:1|50%:0.1 between=none``.
- A schedule named as a shape takes the shape's parameters: ``polynomial(3)`` is ``polynomial power=3``.
- ``switched`` takes the other schedule in parentheses; ``within`` gives a group a length in any unit.
- Spaces, tabs and line ends only separate. Commas never stand within a number.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stepsize.errors import InputError, ScheduleSyntaxError
from stepsize.schedules.algebra import Then
from stepsize.schedules.forms import CHANGES, PIECES, Form, Slot
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import SHAPES, Shape
from stepsize.schedules.tokens import Token, Tokens
from stepsize.schedules.units import as_duration

__all__ = ["parse"]

_DEPTH = 64  # of parentheses, and of changes and products around each other: each is a call within a call
_AGAIN = re.compile(r"x([0-9]*)")
_UNITS = ("steps", "epochs", "samples", "tokens")
_T = TypeVar("_T")


def parse(text: str) -> Schedule:
    """Return the schedule that ``text`` describes; its durations may be open until ``.over`` settles them.

    Args:
        text: Pieces with a comma between them, ``*`` for products, ``(…) x 3`` for repetitions and changes behind a
            bar, which applies to the piece or group right before it. The grammar stands in this module's docstring.

    Returns:
        A schedule, equal to the one that the constructors and methods of the same names make.

    Raises:
        ScheduleSyntaxError: If the text cannot be read, or a piece breaks a rule; it points at the fault.

    Example:
        >>> str(parse("warmup 5% linear, constant 75%, cooldown 20% 1-sqrt"))
        'warm-up over 5%, then constant for 75%, then 1-sqrt to 0 over 20%'
        >>> parse("(linear 4) x 2 | floored 0.5").factors().tolist()
        [1.0, 0.75, 0.5, 0.5, 1.0, 0.75, 0.5, 0.5]
        >>> parse("warmup 5%, constan")
        Traceback (most recent call last):
        stepsize.errors.ScheduleSyntaxError: the schedule cannot be read at character 12:
          warmup 5%, constan
                     ^^^^^^^
        'constan' is not a schedule. Did you mean 'constant'? Known: ...
    """
    if not isinstance(text, str):
        raise InputError("text", text, "must be a str", "Write a schedule down with stepsize.schedules.write")
    return _Reader(text).whole()


@dataclass(frozen=True)
class _Part:
    """A schedule that has been read, where it stands, and how many nodes are around each other in it."""

    schedule: Schedule
    start: int
    end: int
    height: int = 1


@dataclass
class _Arguments:
    """The values given to a form, and where each stands."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    height: int = 0

    def blamed(self, error: InputError) -> tuple[int, int] | None:
        """Return the place of the value that ``error`` is about; None if that is not clear."""
        if error.argument in self.places:
            return self.places[error.argument]
        found = [name for name, value in self.values.items() if value is error.received or value == error.received]
        found = found or list(self.values)
        return self.places[found[0]] if len(found) == 1 else None


class _Reader:
    """One reading of one text, from its first word to its last; each method reads one rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = Tokens(text)
        self._next = 0
        self._open = 0  # parentheses

    def whole(self) -> Schedule:
        if not self._text.strip():
            raise self._fault(0, 0, "the text is empty", f"Write a schedule: {_listed(PIECES)}")
        part = self._sequence()
        if self._peek.kind != "end":
            raise self._misplaced(self._peek)
        return part.schedule

    # -------------------------------------------------------- words and faults

    @property
    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._peek
        self._next += token.kind != "end"
        return token

    def _taken(self, symbol: str) -> bool:
        """Take the next word if it is this symbol, and say whether it was."""
        found = self._at(symbol)
        self._next += found
        return found

    def _at(self, symbol: str) -> bool:
        return self._peek.kind == "symbol" and self._peek.text == symbol

    def _fault(self, start: int, end: int, rule: str, remedy: str = "") -> ScheduleSyntaxError:
        return ScheduleSyntaxError(self._text, start, rule, remedy, max(1, end - start))

    def _bad(self, token: Token, rule: str, remedy: str = "") -> ScheduleSyntaxError:
        if token.kind == "unknown":
            rule, remedy = f"'{token.shown}' has no meaning here", "Remove it"
        return self._fault(token.start, token.end, rule, remedy)

    def _misplaced(self, token: Token) -> ScheduleSyntaxError:
        """Return the fault of a word that cannot follow a complete part."""
        if token.text == ")":
            return self._bad(token, "no parenthesis is open here", "Remove it, or open one before it")
        if token.text in ("=", ":"):
            return self._bad(token, f"'{token.shown}' does not follow a parameter", "Write parameter=value")
        return self._bad(
            token,
            f"a comma is missing before '{token.shown}'",
            "Parts that follow each other have a comma between them",
        )

    def _checked(self, part: _Part, place: Token) -> _Part:
        if part.height > _DEPTH:
            raise self._bad(place, f"more than {_DEPTH} changes and products are around each other", "Simplify it")
        return part

    # ------------------------------------------------------------- the algebra

    def _sequence(self) -> _Part:
        parts = [self._product()]
        while self._at(","):
            comma = self._take()
            if self._peek.kind == "end" or self._at(")"):
                raise self._bad(comma, "nothing follows this comma", "Write another part behind it, or remove it")
            parts.append(self._product())
        if len(parts) == 1:
            return parts[0]
        whole = Schedule(Then(tuple(part.schedule.node for part in parts)))
        return _Part(whole, parts[0].start, parts[-1].end, 1 + max(part.height for part in parts))

    def _product(self) -> _Part:
        left = self._changed()
        while self._at("*"):
            star, right = self._take(), self._changed()
            try:
                both = left.schedule.times(right.schedule)
            except InputError as error:
                raise self._fault(left.start, right.end, f"{error.argument} {error.rule}", error.remedy) from error
            left = self._checked(_Part(both, left.start, right.end, 1 + max(left.height, right.height)), star)
        return left

    def _changed(self) -> _Part:
        part = self._group() if self._at("(") else self._piece()
        while True:
            token = self._peek
            again = _AGAIN.fullmatch(token.text) if token.kind == "name" else None
            if again is not None:
                part = self._again(part, again[1])
            elif self._taken("|"):
                part = self._change(part)
            else:
                return part

    def _group(self) -> _Part:
        opening = self._take()
        if self._at(")"):
            raise self._fault(opening.start, self._peek.end, "these parentheses are empty", "Write a schedule in them")
        self._open += 1
        if self._open > _DEPTH:
            raise self._bad(opening, f"more than {_DEPTH} parentheses are around each other", "Simplify it")
        inner = self._sequence()
        if self._peek.kind == "end":
            raise self._bad(
                opening, "this parenthesis is not closed", "Write ) behind the last part that belongs in it"
            )
        if not self._at(")"):
            raise self._misplaced(self._peek)
        self._open -= 1
        return _Part(inner.schedule, opening.start, self._take().end, inner.height)

    def _again(self, part: _Part, count: str) -> _Part:
        """Read ``x 3`` or ``x3``."""
        times, form = self._take(), CHANGES["repeated"]
        given = _Arguments()
        if count:
            place = times.start + 1, times.end
            given.values["times"], given.places["times"] = self._whole(count, Slot("times", "count"), place), place
        else:
            self._fill(given, Slot("times", "count"), times)
        return self._made(form, part, given, times, times)

    def _change(self, part: _Part) -> _Part:
        name = self._take()
        if name.kind != "name":
            bar = self._tokens[self._next - (2 if name.kind != "end" else 1)]
            rule = "the name of a change must follow this bar"
            raise self._bad(bar, rule, f"Write one of: {_listed(CHANGES)}")
        if name.text not in CHANGES:
            raise self._unknown(name, "a change", CHANGES)
        form = CHANGES[name.text]
        return self._made(form, part, self._arguments(form), name, self._tokens[self._next - 1])

    # ------------------------------------------------------------------ pieces

    def _piece(self) -> _Part:
        name = self._take()
        if name.kind != "name":
            raise self._no_piece(name)
        if name.text not in PIECES:
            raise self._unknown(name, "a schedule", PIECES)
        form, given = PIECES[name.text], _Arguments()
        if self._at("(") and self._peek.start == name.end:
            self._shape_as_piece(form, name, given)
        given = self._arguments(form, given)
        return self._made(form, None, given, name, self._tokens[self._next - 1])

    def _no_piece(self, token: Token) -> ScheduleSyntaxError:
        if token.kind == "end":
            before = self._tokens[self._next - 1]
            return self._bad(before, f"a schedule is missing behind '{before.text}'", f"Known: {_listed(PIECES)}")
        if token.kind in ("number", "quantity") and self._next >= 3:
            before, comma = self._tokens[self._next - 3], self._tokens[self._next - 2]
            if comma.text == "," and before.kind == "number" and before.end == comma.start == token.start - 1:
                return self._fault(
                    before.start,
                    token.end,
                    "a comma separates parts and cannot stand within a number",
                    f"Write {before.text}{token.text}",
                )
        return self._bad(
            token, f"the name of a schedule must stand before '{token.shown}'", f"Known: {_listed(PIECES)}"
        )

    def _shape_as_piece(self, form: Form, name: Token, given: _Arguments) -> None:
        """Read the parameters of a schedule that is named as a shape, such as polynomial(3)."""
        if name.text not in SHAPES:
            raise self._bad(
                self._peek, f"'{name.shown}' takes no parentheses", f"Its parameters are {_listed(form.by_name)}"
            )
        shape = self._parameters(name)
        place = name.start, self._tokens[self._next - 1].end
        slot = form.slot("shape")
        own = [parameter for parameter, _, _ in SHAPES[shape.name].parameters]
        filled = {slot.name: shape} if slot else dict(zip(own, shape.parameters, strict=True))
        if not set(filled) <= set(form.by_name):
            raise self._fault(*place, f"'{name.shown}' takes no parentheses", f"It takes {_listed(form.by_name)}")
        given.values.update(filled)
        given.places.update(dict.fromkeys(filled, place))

    def _made(self, form: Form, before: _Part | None, given: _Arguments, first: Token, last: Token) -> _Part:
        """Return what ``form`` makes of the arguments, behind a bar also of the part before it."""
        missing = [name for name in form.required if name not in given.values]
        if missing:
            raise self._bad(first, f"'{form.name}' needs {missing[0]}", f"Write {_example(form.by_name[missing[0]])}")
        try:
            made = form.call(*([before.schedule] if before else []), **given.values)
        except InputError as error:
            start, end = given.blamed(error) or (first.start, last.end)
            raise self._fault(start, end, f"{error.argument} {error.rule}", error.remedy) from error
        start = before.start if before else first.start
        height = 1 + max(before.height if before else 0, given.height)
        return self._checked(_Part(made, start, last.end, height), first)

    # --------------------------------------------------------------- arguments

    def _arguments(self, form: Form, given: _Arguments | None = None) -> _Arguments:
        given = given or _Arguments()
        while True:
            token = self._peek
            if token.kind == "name":
                if self._tokens[self._next + 1].text == "=":
                    self._named(form, given)
                elif _AGAIN.fullmatch(token.text):
                    return given
                else:
                    self._bare_name(form, given)
            elif token.kind in ("number", "quantity"):
                if form.unnamed is None:
                    takes = f"It takes {_listed(form.by_name)}"
                    raise self._bad(token, f"'{form.name}' takes no value without a name", takes)
                self._fill(given, form.unnamed, token)
            elif self._at("(") and (slot := form.slot("schedule")):
                self._fill(given, slot, token)
            else:
                return given

    def _named(self, form: Form, given: _Arguments) -> None:
        name, sign = self._take(), self._take()
        slot = form.by_name.get(name.text)
        if slot is None:
            rule = f"'{form.name}' has no parameter '{name.shown}'"
            raise self._bad(name, rule, _nearest(name.text, form.by_name, "It takes"))
        if slot.kind == "flag":
            rule = f"'{slot.name}' is a flag, which takes no value"
            raise self._fault(name.start, sign.end, rule, f"Write {slot.name} alone, or leave it out")
        self._fill(given, slot, name)

    def _bare_name(self, form: Form, given: _Arguments) -> None:
        """Read a flag or a shape without its name; any other word here is a fault."""
        token = self._peek
        slot, shape = form.by_name.get(token.text), form.slot("shape")
        if slot and slot.kind == "flag":
            self._once(given, slot, token)
            self._take()
            given.values[slot.name], given.places[slot.name] = True, (token.start, token.end)
        elif slot:
            rule = f"'{slot.name}' is a parameter of '{form.name}' and needs its value"
            raise self._bad(token, rule, f"Write {_example(slot)}" + _or_comma(token))
        elif (other := form.slot("schedule")) and other.name not in given.values and token.text in PIECES:
            raise self._bad(token, f"{other.name} must be a schedule in parentheses", f"Write ({token.text} …)")
        elif shape and token.text in SHAPES:
            self._fill(given, shape, token)
        elif token.text in PIECES:
            raise self._misplaced(token)
        elif token.text in CHANGES:
            raise self._bad(token, f"a bar is missing before '{token.shown}'", f"Write | {token.text}")
        else:
            raise self._no_argument(form, token)

    def _no_argument(self, form: Form, token: Token) -> ScheduleSyntaxError:
        known = {*form.by_name, *(SHAPES if form.slot("shape") else ())}
        before = self._tokens[self._next - 1]
        if before.kind == "number":
            known |= set(_UNITS)
        rule = f"'{token.shown}' is neither a parameter nor a shape that '{form.name}' takes"
        near = difflib.get_close_matches(token.text[:40], sorted(known | set(PIECES)), n=1, cutoff=0.75)
        if near and near[0] not in known:
            return self._bad(token, rule, f"Did you mean ', {near[0]}'? It takes {_listed(form.by_name)}")
        return self._bad(token, rule, _nearest(token.text, known, "It takes", _listed(form.by_name)))

    def _once(self, given: _Arguments, slot: Slot, token: Token) -> None:
        if slot.name in given.values:
            raise self._bad(token, f"{slot.name} is given twice", "Remove one of them" + _or_comma(token))

    def _fill(self, given: _Arguments, slot: Slot, begin: Token) -> None:
        """Read the value of a parameter; ``begin`` is the word that it begins with, for a fault."""
        self._once(given, slot, begin)
        token = self._peek
        if token.kind == "end" or (token.kind == "symbol" and token.text != "("):
            before = self._tokens[self._next - 1]
            raise self._bad(before, f"the value of {slot.name} is missing", f"Write {_example(slot)}")
        value = self._value(slot, given)
        given.values[slot.name] = value
        given.places[slot.name] = token.start, self._tokens[self._next - 1].end

    # ------------------------------------------------------------------ values

    def _value(self, slot: Slot, given: _Arguments) -> Any:
        if slot.kind in ("duration", "shape") and self._peek.text == "none":
            self._take()
            return None
        if slot.kind == "duration":
            return self._duration(slot)
        if slot.kind == "durations":
            return tuple(self._series(lambda: self._duration(slot)))
        if slot.kind == "points":
            return dict(self._points(slot))
        if slot.kind in ("number", "count"):
            return self._number(slot)
        if slot.kind == "shape":
            return self._shape(slot)
        if slot.kind == "schedule":
            if not self._at("("):
                raise self._bad(self._peek, f"{slot.name} must be a schedule in parentheses", f"Write {_example(slot)}")
            part = self._group()
            given.height = max(given.height, part.height)
            return part.schedule
        if self._peek.kind != "name":
            raise self._bad(self._peek, f"{slot.name} must be a word", f"Write {_example(slot)}")
        return self._take().text

    def _series(self, read: Callable[[], _T]) -> list[_T]:
        """Read values with bars between them; a bar before a name begins a change instead."""
        values = [read()]
        while self._at("|") and self._tokens[self._next + 1].kind in ("number", "quantity"):
            self._take()
            values.append(read())
        return values

    def _points(self, slot: Slot) -> list[tuple[Any, float]]:
        seen: set[Any] = set()

        def point() -> tuple[Any, float]:
            token, position = self._peek, self._duration(slot)
            if position in seen:
                raise self._bad(token, f"there are two points at {token.text}", "Remove one of them")
            seen.add(position)
            if not self._taken(":"):
                raise self._bad(token, "a factor must follow this position", f"Write {token.text}:0.5")
            return position, self._number(slot)

        return self._series(point)

    def _duration(self, slot: Slot) -> Any:
        token = self._take()
        if token.kind not in ("number", "quantity"):
            raise self._bad(token, f"{slot.name} must be a duration", f"Write {_example(slot)}")
        try:
            return as_duration(slot.name, token.text, least=0)
        except InputError as error:
            unit = re.search(r"[^\W\d]\w*$", token.text)
            near = difflib.get_close_matches(unit[0][:40], _UNITS, n=1) if unit and unit[0] not in _UNITS else []
            hint = f"Did you mean '{near[0]}'? " if near else ""
            remedy = error.remedy or f"Write {_example(slot)}"
            raise self._bad(token, f"{error.argument} {error.rule}", hint + remedy) from error

    def _number(self, slot: Slot) -> float:
        token = self._take()
        if token.kind == "end":
            token = self._tokens[self._next - 1]
        elif slot.kind == "count":
            return self._whole(token.text, slot, (token.start, token.end))
        try:
            if token.kind == "number":
                return float(token.text)
        except ValueError:
            pass  # 1__0
        raise self._bad(token, f"{slot.name} must be a number without a unit", f"Write {_example(slot)}")

    def _whole(self, text: str, slot: Slot, place: tuple[int, int]) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text):
            rule = f"{slot.name} must be a whole number"
            raise self._fault(*place, rule, f"Write {_example(slot)}")
        return int(text)

    def _shape(self, slot: Slot) -> Shape | str:
        name = self._take()
        if name.kind != "name":
            raise self._bad(name, f"{slot.name} must be the name of a shape", f"Known: {_listed(SHAPES)}")
        if name.text in SHAPES:
            return self._parameters(name)
        return name.text  # a word that only the constructor knows, or its error

    def _parameters(self, name: Token) -> Shape:
        """Read the parameters of a shape, if any; without a space, or the parenthesis would be a group."""
        given: list[float] = []
        if self._at("(") and self._peek.start == name.end:
            opening = self._take()
            while not self._taken(")"):
                if given and not self._taken(","):
                    if self._peek.kind == "number":
                        raise self._misplaced(self._peek)
                    raise self._bad(opening, "this parenthesis is not closed", "Write ) behind the last parameter")
                if self._peek.kind == "end":
                    raise self._bad(opening, "this parenthesis is not closed", "Write ) behind the last parameter")
                if self._peek.kind != "number":
                    raise self._bad(self._peek, "the parameters of a shape must be numbers", f"Write {name.shown}(2)")
                given.append(self._number(Slot(name.text, "number")))
        try:
            return Shape(name.text, tuple(given))
        except InputError as error:
            end = self._tokens[self._next - 1].end
            raise self._fault(name.start, end, f"{error.argument} {error.rule}", error.remedy) from error

    def _unknown(self, name: Token, what: str, known: Iterable[str]) -> ScheduleSyntaxError:
        if what == "a schedule" and name.text in SHAPES:
            takers = [form.name for form in PIECES.values() if form.slot("shape")]
            return self._bad(
                name,
                f"'{name.shown}' is a shape and stands behind a schedule that takes one",
                f"Write it behind one of: {_listed(takers)}",
            )
        if what == "a schedule" and name.text in CHANGES:
            return self._bad(
                name, f"'{name.shown}' is a change and stands behind a bar", f"Write the schedule, then | {name.text}"
            )
        return self._bad(name, f"'{name.shown}' is not {what}", _nearest(name.text, known, "Known:"))


_EXAMPLES = {
    "duration": "=5%",
    "durations": "=50%|75%",
    "points": "=0:1|100%:0",
    "number": "=0.5",
    "count": "=3",
    "shape": "=cosine",
    "word": "=word",
    "flag": "",
    "schedule": "=(…)",
}


def _example(slot: Slot) -> str:
    return f"{slot.name}{_EXAMPLES[slot.kind]}"


def _or_comma(token: Token) -> str:
    return f", or a comma before '{token.shown}' if it is the next part" if token.text in PIECES else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _nearest(name: str, known: Iterable[str], before: str, listed: str = "") -> str:
    names = list(known)
    near = difflib.get_close_matches(name[:40], names, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}{before} {listed or _listed(names)}"
