"""Changes of horizon and course: another length, an end, a cooldown, another schedule from some step on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules.leaves import Ramp
from stepsize.schedules.node import Node, check_factor, plural, whole
from stepsize.schedules.shapes import Array, Shape, as_shape
from stepsize.schedules.units import Clock, Span, as_duration

__all__ = ["CooledDown", "Extended", "First", "Stretched", "Switched", "left_over", "on_its_own"]


@dataclass(frozen=True)
class Stretched(Node):
    """The inner schedule at t · length / ``to``."""

    kind: ClassVar[str] = "stretched"

    inner: Node
    to: int | Span

    def __post_init__(self) -> None:
        self._set(to=as_duration("to", self.to))
        _check_bounded("stretched", self.inner)

    @property
    def length(self) -> int | None:
        return whole(self.to)

    def factors(self, steps: Array) -> Array:
        return self.inner.held(steps * float(self.inner.length or 0) / whole(self.to))

    def jumps(self, until: float) -> Iterator[float]:
        ratio = whole(self.to) / float(self.inner.length or 1)
        yield from (jump * ratio for jump in self.inner.jumps(until / ratio))

    def span(self, clock: Clock) -> float | None:
        return clock.exact(self.to, "to")

    def settle(self, clock: Clock, steps: int | None) -> Node:
        to = max(1, clock.steps(self.to, "to")) if steps is None else steps
        return Stretched(on_its_own(self.inner, clock), to)

    def __str__(self) -> str:
        return f"({self.inner}) stretched to {plural(self.to)}"


@dataclass(frozen=True)
class First(Node):
    """The first steps of the inner schedule."""

    kind: ClassVar[str] = "first"

    inner: Node
    steps: int | Span

    def __post_init__(self) -> None:
        self._set(steps=as_duration("steps", self.steps))
        if self.open is None:
            _check_within("steps", self.steps, self.inner)

    @property
    def length(self) -> int | None:
        return whole(self.steps)

    def factors(self, steps: Array) -> Array:
        return self.inner.factors(steps)

    def jumps(self, until: float) -> Iterator[float]:
        yield from self.inner.jumps(min(until, whole(self.steps)))

    def span(self, clock: Clock) -> float | None:
        return clock.exact(self.steps, "steps")

    def settle(self, clock: Clock, steps: int | None) -> Node:
        own = max(1, clock.steps(self.steps, "steps")) if steps is None else steps
        return First(on_its_own(self.inner, clock), own)

    def __str__(self) -> str:
        return f"the first {plural(self.steps)} of ({self.inner})"


@dataclass(frozen=True)
class CooledDown(Node):
    """The inner schedule up to ``at``, from there along ``shape`` to ``end``."""

    kind: ClassVar[str] = "cooled-down"

    inner: Node
    at: int | Span | None  # None: so that it ends with the horizon
    over: int | Span
    shape: Shape
    end: float

    def __post_init__(self) -> None:
        if self.at is not None:
            self._set(at=as_duration("at", self.at, least=0))
        self._set(over=as_duration("over", self.over), shape=as_shape(self.shape), end=check_factor("end", self.end))
        if self.end == 0:
            self.shape.check_way(1.0, 0.0)
        if self.open is None:
            _check_within("at", self.at, self.inner)
            _ = self._down  # which knows whether it can go there

    @property
    def open(self) -> str | None:
        return f"{self.kind}: at is left to the horizon" if self.at is None else super().open

    @property
    def length(self) -> int | None:
        return whole(self.at) + whole(self.over)

    def factors(self, steps: Array) -> Array:
        at = whole(self.at)
        return np.where(steps < at, self.inner.held(steps), self._down.held(np.maximum(steps - at, 0.0)))

    @cached_property  # asked at each call, n changes of course one after the other would ask 2^n times
    def _down(self) -> Ramp:
        return Ramp(self.over, self.inner.value(whole(self.at)), self.end, self.shape)

    def jumps(self, until: float) -> Iterator[float]:
        at = whole(self.at)
        yield from self.inner.jumps(min(until, at))
        if 0 < at < until:
            yield at

    def span(self, clock: Clock) -> float | None:
        if self.at is None:
            return None
        return (clock.exact(self.at, "at") if self.at else 0.0) + clock.exact(self.over, "over")

    def settle(self, clock: Clock, steps: int | None) -> Node:
        over = max(1, clock.steps(self.over, "over"))
        if self.at is not None:
            at = clock.steps(self.at, "at") if self.at else 0
            ends = math.floor(float(self.span(clock) or 0) + 0.5) if steps is None else steps
            if isinstance(self.at, Span):  # rounded ends, not lengths
                at = max(0, min(at, ends - 1) if isinstance(self.over, Span) else ends - over)
            if isinstance(self.over, Span):
                over = max(1, ends - at)
        elif steps is None:
            raise InputError("at", None, "needs a horizon to end with", "Give at, or a horizon")
        else:
            at = left_over(steps, over, "over", least=0)
        inner = self.inner.settle(clock, steps) if self.inner.span(clock) is None else on_its_own(self.inner, clock)
        return CooledDown(inner, at, over, self.shape, self.end)

    def __str__(self) -> str:
        at = "the end" if self.at is None else plural(self.at)
        return f"({self.inner}) until {at}, then {self.shape} to {self.end:g} over {plural(self.over)}"


@dataclass(frozen=True)
class Extended(Node):
    """The inner schedule up to ``at``; what was left of it then ends at ``to``."""

    kind: ClassVar[str] = "extended"

    inner: Node
    to: int | Span
    at: int | Span
    by: Literal["stretching", "holding"]

    def __post_init__(self) -> None:
        self._set(to=as_duration("to", self.to), at=as_duration("at", self.at, least=0))
        if self.by not in ("stretching", "holding"):
            raise InputError("by", self.by, "must be 'stretching' or 'holding'")
        _check_bounded("extended", self.inner)
        if self.open is None:
            self._check()

    def _check(self) -> None:
        length, to, at = int(self.inner.length or 0), whole(self.to), whole(self.at)
        if at >= length:
            raise InputError("at", at, f"must lie before the end of the schedule at step {length:,}")
        if to <= at:
            raise InputError("to", to, f"must lie behind step {at:,}, from which on the schedule changes")
        if self.by == "holding" and to < length:
            raise InputError(
                "to", to, f"must be at least the present {length:,} steps where the rate is held", "Stretch instead"
            )

    @property
    def length(self) -> int | None:
        return whole(self.to)

    def factors(self, steps: Array) -> Array:
        length, to, at = float(self.inner.length or 0), whole(self.to), whole(self.at)
        if self.by == "holding":
            after = np.maximum(steps - (to - length), at)
        else:
            after = at + (steps - at) * (length - at) / (to - at)
        return self.inner.held(np.where(steps < at, steps, after))

    def jumps(self, until: float) -> Iterator[float]:
        length, to, at = int(self.inner.length or 0), whole(self.to), whole(self.at)
        ratio = 1.0 if self.by == "holding" else (to - at) / (length - at)
        begin = at + to - length if self.by == "holding" else at
        moved = (begin + (jump - at) * ratio for jump in self.inner.jumps(length) if jump > at)
        yield from (jump for jump in (*self.inner.jumps(at), at, begin, *moved) if 0 < jump < until)

    def span(self, clock: Clock) -> float | None:
        return clock.exact(self.to, "to")

    def settle(self, clock: Clock, steps: int | None) -> Node:
        to = max(1, clock.steps(self.to, "to")) if steps is None else steps
        at = clock.steps(self.at, "at") if self.at else 0
        return Extended(on_its_own(self.inner, clock), to, at, self.by)

    def __str__(self) -> str:
        return f"({self.inner}), from {plural(self.at)} on ending at {plural(self.to)} by {self.by}"


@dataclass(frozen=True)
class Switched(Node):
    """One schedule up to ``at``, from there the ``other``, scaled so that the factor does not jump."""

    kind: ClassVar[str] = "switched"

    inner: Node
    other: Node
    at: int | Span

    def __post_init__(self) -> None:
        self._set(at=as_duration("at", self.at, least=0))
        if self.open is None:
            for side in (self.inner, self.other):
                _check_within("at", self.at, side)
            _ = self._ratio

    @cached_property
    def _ratio(self) -> float:
        before, after = self.inner.value(whole(self.at)), self.other.value(whole(self.at))
        for factor, which in ((before, "present"), (after, "new")):
            if factor == 0:
                raise InputError(
                    "at", self.at, f"must not be where the {which} schedule is at factor 0", "Choose an earlier step"
                )
        return before / after

    @property
    def length(self) -> int | None:
        return self.other.length

    def factors(self, steps: Array) -> Array:
        at = whole(self.at)
        return np.where(steps < at, self.inner.held(steps), self._ratio * self.other.held(steps))

    def jumps(self, until: float) -> Iterator[float]:
        at = whole(self.at)
        yield from self.inner.jumps(min(until, at))
        if 0 < at < until:
            yield at
        yield from (jump for jump in self.other.jumps(until) if jump > at)

    def span(self, clock: Clock) -> float | None:
        return self.other.span(clock)

    def settle(self, clock: Clock, steps: int | None) -> Node:
        at = clock.steps(self.at, "at") if self.at else 0
        return Switched(on_its_own(self.inner, clock), self.other.settle(clock, steps), at)

    def __str__(self) -> str:
        return f"({self.inner}) until {plural(self.at)}, then without a jump ({self.other})"


def left_over(steps: int, taken: int, argument: str, least: int = 1) -> int:
    """Return how many of ``steps`` are left when some are taken, and see that they are enough."""
    if steps - taken < least:
        raise InputError(argument, taken, f"must leave at least {plural(least)} of the {steps:,} there are")
    return steps - taken


def on_its_own(node: Node, clock: Clock) -> Node:
    """Settle ``node`` by its own durations alone; one that takes the rest takes the whole horizon."""
    if node.open is None:
        return node
    span = node.span(clock)
    if span is None:
        return node.settle(clock, clock.horizon)
    return node.settle(clock, max(1, math.floor(span + 0.5)))


def _check_bounded(verb: str, node: Node) -> None:
    if node.open is None and node.length is None:
        raise InputError(verb, str(node), "needs a schedule with an end", "Cut it with .first(steps)")


def _check_within(argument: str, step: int | Span | None, node: Node) -> None:
    if node.length is not None and whole(step) > node.length:
        raise InputError(argument, step, f"must not lie behind the end of the schedule at step {node.length:,}")
