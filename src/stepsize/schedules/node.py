"""The base of every part of a schedule: a frozen value that knows its length, its factors and its text."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import numpy as np

from stepsize.checks import check_number, check_word
from stepsize.schedules.shapes import Array, Shape, as_shape
from stepsize.schedules.units import Clock, Span, as_duration

Check = Callable[[str, Any], Any]  # from the name of a field and its value to what is kept


def check_shape(_argument: str, value: Any) -> Shape:
    """Return ``value`` as a shape."""
    return as_shape(value)


def each(check: Check) -> Check:
    """Return the check of a sequence whose items pass ``check``."""
    return lambda argument, value: tuple(check(argument, item) for item in value)


def optional(check: Check) -> Check:
    """Return the check that None passes, too."""
    return lambda argument, value: None if value is None else check(argument, value)


# Types of fields that check themselves.
Length = Annotated[int | Span, as_duration]
Position = Annotated[int | Span, partial(as_duration, least=0)]
OptionalLength = Annotated[int | Span | None, optional(as_duration)]
OptionalPosition = Annotated[int | Span | None, optional(partial(as_duration, least=0))]
Factor = Annotated[float, partial(check_number, least=0)]
Fraction = Annotated[float, partial(check_number, least=0, most=1)]
Positive = Annotated[float, partial(check_number, above=0)]
PositiveFraction = Annotated[float, partial(check_number, above=0, most=1)]
CheckedShape = Annotated[Shape, check_shape]


@cache
def _checks(node: type[Node]) -> dict[str, Check]:
    hints = get_type_hints(node, include_extras=True)
    checks = {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}
    words = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
    return checks | {name: partial(check_word, known=known) for name, known in words.items()}


@dataclass(frozen=True)
class Node(ABC):
    """A part of a schedule; it has a length and factors once all its durations are whole steps (resolved)."""

    kind: ClassVar[str]  # what the written form calls it

    def __post_init__(self) -> None:
        for name, check in _checks(type(self)).items():
            self._set(name, check(name, getattr(self, name)))

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Steps until its end; None if it has none."""

    @abstractmethod
    def factors(self, steps: Array) -> Array:
        """Return the factor of each of ``steps``, real numbers in [0, length], as a new array of the same shape."""

    @abstractmethod
    def span(self, clock: Clock) -> float | None:
        """Return how many steps it asks for, not rounded; None if it takes the rest of the horizon."""

    @abstractmethod
    def resolve(self, clock: Clock, steps: int | None) -> Node:
        """Return it with all durations in steps, over ``steps`` steps; None leaves an endless one endless."""

    @property
    def relative(self) -> str | None:
        """The first duration that is not in steps, for a message; None if there is none."""
        for name, value in self.fields():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Span):
                    return f"{self.kind}: {name} is {part}"
                if isinstance(part, Node) and (reason := part.relative):
                    return reason
        return None

    def held(self, steps: Array) -> Array:
        """Return the factors of ``steps`` >= 0, holding the last one after the end."""
        length = self.length
        return self.factors(steps if length is None else np.minimum(steps, length))

    def value(self, step: float) -> float:
        """Return the factor of one step."""
        return float(self.held(np.array([step], dtype=np.float64))[0])

    def fields(self) -> Iterator[tuple[str, Any]]:
        """Yield the names and values of what it was made from."""
        for field in dataclasses.fields(self):
            yield field.name, getattr(self, field.name)

    def parts(self) -> Iterator[Node]:
        """Yield the nodes that it is directly made from."""
        for _, value in self.fields():
            yield from (part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, Node))

    @property
    def holds_function(self) -> bool:
        """Whether a function of the user's is in it."""
        return any(part.holds_function for part in self.parts())

    @cached_property
    def height(self) -> int:
        """How many nodes are around each other in it."""
        return 1 + max((part.height for part in self.parts()), default=0)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # the dataclass is frozen for everyone else

    def _words(self, *unnamed: str) -> str:
        """Return its name and arguments as they are written, without those that have their default."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        given = {name: value for name, value in self.fields() if not _same(value, defaults[name]) and name != "inner"}
        bare = [written(given.pop(name)) for name in unnamed if given.get(name) is not None]
        if "steps" in given:
            given["steps"] = given.pop("steps")  # last
        named = [name if value is True else f"{name}={written(value)}" for name, value in given.items()]
        return " ".join([self.kind, *bare, *named])


@dataclass(frozen=True)
class Leaf(Node):
    """A node without parts; ``steps`` is its length, None takes the rest of the horizon or never ends."""

    unnamed: ClassVar[str] = "steps"  # the field whose value is written without its name

    steps: OptionalLength = dataclasses.field(default=None, kw_only=True)

    @property
    def endless(self) -> bool:
        """Whether it is defined without a length."""
        return True

    @property
    def relative(self) -> str | None:
        if self.steps is None and not self.endless:
            return f"'{self}' takes the rest of the horizon"
        return super().relative

    @property
    def length(self) -> int | None:
        return None if self.steps is None else whole(self.steps)

    def span(self, clock: Clock) -> float | None:
        return None if self.steps is None else clock.exact(self.steps, "steps")

    def resolve(self, clock: Clock, steps: int | None) -> Self:
        own = {name: _resolved(name, value, clock) for name, value in self.fields() if name != "steps"}
        return dataclasses.replace(self, **own, steps=steps)

    def __str__(self) -> str:
        return self._words(self.unnamed, "shape")


def whole(duration: int | Span | None) -> int:
    """Return ``duration`` as the whole number of steps that it is in a resolved node."""
    assert isinstance(duration, int)
    return duration


def plural(steps: object) -> str:
    """Return ``steps`` for people: ``"1 step"``, ``"9,500 steps"``, ``"5%"``."""
    return f"{steps:,} step{'s' * (steps != 1)}" if isinstance(steps, int) else str(steps)


def written(value: Any) -> str:
    """Return a value as the written form has it."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return repr(value + 0.0).removesuffix(".0")  # 0 for -0.0
    if isinstance(value, tuple):
        return "|".join(map(written, value))
    return f"({value})" if isinstance(value, Node) else str(value)


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _resolved(name: str, value: Any, clock: Clock) -> Any:
    if isinstance(value, tuple):
        return tuple(_resolved(name, part, clock) for part in value)
    return max(1, clock.steps(value, name)) if isinstance(value, Span) else value
