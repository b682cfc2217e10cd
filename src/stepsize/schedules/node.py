"""What every part of a schedule is: a frozen value that knows its length and its factors."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules.shapes import Array, Shape
from stepsize.schedules.units import Clock, Span, as_duration

__all__ = ["Leaf", "Node", "check_factor", "check_positive", "plural", "whole"]


@dataclass(frozen=True)
class Node(ABC):
    """A part of a schedule; :class:`~stepsize.schedules.Schedule` wraps the outermost one for users.

    A node is *settled* when all its durations are whole steps. Only then has it a length and factors.
    """

    kind: ClassVar[str]  # its name in JSON

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Steps until its end; None if it goes on for ever. Settled nodes only."""

    @abstractmethod
    def factors(self, steps: Array) -> Array:
        """Return the factor of each of ``steps``, real numbers in [0, length], as a new array of the same shape."""

    @abstractmethod
    def span(self, clock: Clock) -> float | None:
        """Return how many steps it asks for, not rounded; None if it takes whatever is left."""

    @abstractmethod
    def settle(self, clock: Clock, steps: int | None) -> Node:
        """Return it settled, over ``steps`` steps; None leaves an endless one endless."""

    @property
    def open(self) -> str | None:
        """What is not settled about it, for a message; None if it is settled."""
        for name, value in self.fields():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Span):
                    return f"{self.kind}: {name} is {part}"
                if isinstance(part, Node) and (reason := part.open):
                    return reason
        return None

    def held(self, steps: Array) -> Array:
        """Return the factors of ``steps`` >= 0, holding the last one beyond the end."""
        length = self.length
        return self.factors(steps if length is None else np.minimum(steps, length))

    def value(self, step: float) -> float:
        """Return the factor of one step."""
        return float(self.held(np.array([step], dtype=np.float64))[0])

    def jumps(self, until: float) -> Iterator[float]:  # noqa: ARG002
        """Yield where in (0, ``until``) another part begins: where to look at closely. Settled nodes only."""
        yield from ()

    def fields(self) -> Iterator[tuple[str, Any]]:
        """Yield the names and values of what it was made from."""
        for field in dataclasses.fields(self):
            yield field.name, getattr(self, field.name)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        return {"kind": self.kind, **{name: _plain(value) for name, value in self.fields()}}

    def _set(self, **values: Any) -> None:
        for name, value in values.items():  # the dataclass is frozen for everyone else
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Leaf(Node):
    """A node without parts, whose field ``steps`` is its length; None takes what is left, or never ends."""

    steps: int | Span | None

    def __post_init__(self) -> None:
        if self.steps is not None:
            self._set(steps=as_duration("steps", self.steps))

    @property
    def endless(self) -> bool:
        """Whether it is defined without a length."""
        return True

    @property
    def open(self) -> str | None:
        if self.steps is None and not self.endless:
            return f"{self.kind}: it takes what is left of the horizon"
        return super().open

    @property
    def length(self) -> int | None:
        return None if self.steps is None else whole(self.steps)

    def span(self, clock: Clock) -> float | None:
        return None if self.steps is None else clock.exact(self.steps, "steps")

    def settle(self, clock: Clock, steps: int | None) -> Self:
        own = {name: _settled(name, value, clock) for name, value in self.fields() if name != "steps"}
        return dataclasses.replace(self, **own, steps=steps)


def check_factor(argument: str, value: object, *, most: float = math.inf) -> float:
    """Return ``value`` if it is a factor: a finite number in [0, most]."""
    number = _number(argument, value)
    if not (math.isfinite(number) and 0 <= number <= most):
        bound = "a finite factor >= 0" if most == math.inf else f"a factor in [0, {most:g}]"
        raise InputError(argument, value, f"must be {bound}")
    return number


def check_positive(argument: str, value: object, *, most: float = math.inf) -> float:
    """Return ``value`` if it is a finite number in (0, most]."""
    number = _number(argument, value)
    if not (math.isfinite(number) and 0 < number <= most):
        raise InputError(
            argument, value, "must be a positive number" + (f", at most {most:g}" if most < math.inf else "")
        )
    return number


def whole(duration: int | Span | None) -> int:
    """Return ``duration`` as the whole number of steps that it is in a settled node."""
    assert isinstance(duration, int)
    return duration


def plural(steps: object) -> str:
    """Return ``steps`` for people: ``"1 step"``, ``"9,500 steps"``, ``"5%"``, ``"the rest"``."""
    if steps is None:
        return "the rest"
    if isinstance(steps, int):
        return f"{steps:,} step{'s' * (steps != 1)}"
    return str(steps)


def _number(argument: str, value: object) -> float:
    if isinstance(value, bool | str):
        raise InputError(argument, value, "must be a number")
    try:
        return float(value) + 0.0  # type: ignore[arg-type]  # 0.0 for -0.0, which is another text in JSON
    except (TypeError, ValueError):
        raise InputError(argument, value, "must be a number") from None


def _settled(name: str, value: Any, clock: Clock) -> Any:
    if isinstance(value, tuple):
        return tuple(_settled(name, part, clock) for part in value)
    return max(1, clock.steps(value, name)) if isinstance(value, Span) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Node):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Span | Shape):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError("schedule", value, "holds a function, which cannot be written down", "Write .tabulated() instead")
