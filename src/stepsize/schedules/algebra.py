"""How schedules are put together: nodes around other nodes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError
from stepsize.schedules.changes import First, left_over
from stepsize.schedules.node import Node, check_factor, check_positive, plural, whole
from stepsize.schedules.shapes import Array
from stepsize.schedules.units import Clock, Span, as_duration

__all__ = ["Delayed", "Floored", "Repeated", "Scaled", "Then", "Times", "Within"]


@dataclass(frozen=True)
class Then(Node):
    """One part after the other, each counting its own steps from 0."""

    kind: ClassVar[str] = "then"

    parts: tuple[Node, ...]

    def __post_init__(self) -> None:
        flat: list[Node] = []
        for part in self.parts:
            flat += part.parts if isinstance(part, Then) else (part,)
        if not flat:
            raise InputError("parts", self.parts, "must hold at least one schedule")
        self._set(parts=tuple(flat))

    @property
    def open(self) -> str | None:
        for i, part in enumerate(self.parts, start=1):
            reason = part.open
            if reason is None and i < len(self.parts) and part.length is None:
                reason = f"'{part}' takes what is left of the horizon"
            if reason is not None:
                return reason
        return None

    @property
    def length(self) -> int | None:
        lengths = [part.length for part in self.parts]
        return None if lengths[-1] is None else sum(length for length in lengths if length is not None)

    def factors(self, steps: Array) -> Array:
        begins = self._begins()
        if steps.size == 1:
            only = int(np.searchsorted(begins, steps.ravel()[0], side="right")) - 1
            return self.parts[only].held(steps - begins[only])
        result = np.empty_like(steps)
        index: NDArray[np.intp] = np.searchsorted(begins, steps, side="right") - 1
        for i, part in enumerate(self.parts):
            inside = index == i
            if inside.any():
                result[inside] = part.held(steps[inside] - begins[i])
        return result

    def jumps(self, until: float) -> Iterator[float]:
        for begin, part in zip(self._begins().tolist(), self.parts, strict=True):
            if 0 < begin < until:
                yield begin
            left = until - begin if part.length is None else min(until - begin, part.length)
            yield from (begin + jump for jump in part.jumps(left))

    def span(self, clock: Clock) -> float | None:
        spans = [part.span(clock) for part in self.parts]
        return None if None in spans else sum(span for span in spans if span is not None)

    def settle(self, clock: Clock, steps: int | None) -> Node:
        spans = [part.span(clock) for part in self.parts]
        spans = _with_the_rest(self.parts, spans, steps)
        ends, position = [], 0.0
        for span in spans:  # rounded ends, not lengths: shares that add up to 100% end at the horizon
            position += math.inf if span is None else span
            ends.append(None if math.isinf(position) else math.floor(position + 0.5))
        settled, begin = [], 0
        for part, end in zip(self.parts, ends, strict=True):
            if end is None:
                settled.append(part.settle(clock, None))
            elif end > begin:  # a share that is shorter than half a step is left out
                settled.append(part.settle(clock, end - begin))
                begin = end
        if not settled:
            raise InputError("schedule", str(self), "would have no step at all here", "Give a longer horizon")
        return Then(tuple(settled)) if len(settled) > 1 else settled[0]

    def _begins(self) -> Array:
        return np.cumsum([0.0, *(float(part.length or 0) for part in self.parts[:-1])])

    def __str__(self) -> str:
        return ", then ".join(str(part) for part in self.parts)


@dataclass(frozen=True)
class Within(Node):
    """The inner schedule over a length that is not in steps yet; it dissolves when it is settled."""

    kind: ClassVar[str] = "within"

    inner: Node
    steps: int | Span

    def __post_init__(self) -> None:
        self._set(steps=as_duration("steps", self.steps))

    @property
    def open(self) -> str | None:
        return self.inner.open or f"{self.kind}: steps is {self.steps}"

    @property
    def length(self) -> int | None:
        return whole(self.steps)

    def factors(self, steps: Array) -> Array:
        return self.inner.factors(steps)

    def span(self, clock: Clock) -> float | None:
        return clock.exact(self.steps, "steps")

    def settle(self, clock: Clock, steps: int | None) -> Node:
        return self.inner.settle(clock, max(1, clock.steps(self.steps, "steps")) if steps is None else steps)

    def __str__(self) -> str:
        return f"{plural(self.steps)} of ({self.inner})"


@dataclass(frozen=True)
class Times(Node):
    """The product of two schedules of one length, or of which one has no end."""

    kind: ClassVar[str] = "times"

    left: Node
    right: Node

    def __post_init__(self) -> None:
        if self.open is None and self._unequal():
            raise InputError(
                "times",
                f"{plural(self.left.length)} and {plural(self.right.length)}",
                "needs schedules of one length",
                "Go on with .then(constant()) where the shorter one ends",
            )

    def _unequal(self) -> bool:
        lengths = self.left.length, self.right.length
        return None not in lengths and lengths[0] != lengths[1]

    @property
    def length(self) -> int | None:
        left = self.left.length  # asked once: twice at each of n levels would be 2^n times
        return self.right.length if left is None else left

    def factors(self, steps: Array) -> Array:
        return self.left.factors(steps) * self.right.factors(steps)

    def jumps(self, until: float) -> Iterator[float]:
        yield from self.left.jumps(until)
        yield from self.right.jumps(until)

    def span(self, clock: Clock) -> float | None:
        left = self.left.span(clock)
        return self.right.span(clock) if left is None else left

    def settle(self, clock: Clock, steps: int | None) -> Node:
        parts = []
        for part in (self.left, self.right):
            own = part.span(clock)
            if own is None or (steps is not None and abs(own - steps) < 1):  # which may have been rounded otherwise
                parts.append(part.settle(clock, steps))
            else:
                parts.append(part.settle(clock, max(1, math.floor(own + 0.5))))
        return Times(*parts)

    def __str__(self) -> str:
        return f"({self.left}) × ({self.right})"


@dataclass(frozen=True)
class _Around(Node):
    """A node that keeps the steps of the one inside."""

    inner: Node

    @property
    def length(self) -> int | None:
        return self.inner.length

    def jumps(self, until: float) -> Iterator[float]:
        yield from self.inner.jumps(until)

    def span(self, clock: Clock) -> float | None:
        return self.inner.span(clock)

    def settle(self, clock: Clock, steps: int | None) -> Node:
        return dataclasses.replace(self, inner=self.inner.settle(clock, steps))


@dataclass(frozen=True)
class Scaled(_Around):
    """``by`` times the factor."""

    kind: ClassVar[str] = "scaled"

    by: float

    def __post_init__(self) -> None:
        self._set(by=check_positive("by", self.by))

    def factors(self, steps: Array) -> Array:
        return self.by * self.inner.factors(steps)

    def __str__(self) -> str:
        return f"{self.by:.6g} × ({self.inner})"


@dataclass(frozen=True)
class Floored(_Around):
    """The factor, or ``at`` where it is below."""

    kind: ClassVar[str] = "floored"

    floor: float

    def __post_init__(self) -> None:
        self._set(floor=check_factor("floor", self.floor))

    def factors(self, steps: Array) -> Array:
        return np.maximum(self.inner.factors(steps), self.floor)

    def __str__(self) -> str:
        return f"({self.inner}), never below {self.floor:g}"


@dataclass(frozen=True)
class Delayed(Node):
    """``by`` steps at a factor, then the inner schedule."""

    kind: ClassVar[str] = "delayed"

    inner: Node
    by: int | Span
    factor: float | None  # None: the factor that the inner one starts with

    def __post_init__(self) -> None:
        self._set(by=as_duration("by", self.by))
        if self.factor is not None:
            self._set(factor=check_factor("factor", self.factor))

    @property
    def length(self) -> int | None:
        inner = self.inner.length
        return None if inner is None else inner + whole(self.by)

    def factors(self, steps: Array) -> Array:
        by = whole(self.by)
        values = self.inner.held(np.maximum(steps - by, 0.0))
        return values if self.factor is None else np.where(steps < by, self.factor, values)

    def jumps(self, until: float) -> Iterator[float]:
        by = whole(self.by)
        if by < until:
            yield by
        yield from (by + jump for jump in self.inner.jumps(until - by))

    def span(self, clock: Clock) -> float | None:
        inner = self.inner.span(clock)
        return None if inner is None else inner + clock.exact(self.by, "by")

    def settle(self, clock: Clock, steps: int | None) -> Node:
        by = max(1, clock.steps(self.by, "by"))
        left = None if steps is None else left_over(steps, by, "by")
        return Delayed(self.inner.settle(clock, left), by, self.factor)

    def __str__(self) -> str:
        return f"after {plural(self.by)}: {self.inner}"


@dataclass(frozen=True)
class Repeated(Node):
    """The inner schedule again and again, each time ``per_cycle`` times the one before."""

    kind: ClassVar[str] = "repeated"

    inner: Node
    times: int | None
    per_cycle: float

    def __post_init__(self) -> None:
        if self.times is not None and (
            isinstance(self.times, bool) or not isinstance(self.times, int) or self.times < 1
        ):
            raise InputError("times", self.times, "must be a whole number, at least 1, or None for endless")
        self._set(per_cycle=check_positive("per_cycle", self.per_cycle))
        if self.inner.open is None and self.inner.length is None:
            raise InputError("repeated", str(self.inner), "must have an end", "Cut it with .first(steps)")

    @property
    def length(self) -> int | None:
        return None if self.times is None else self.times * int(self.inner.length or 0)

    def factors(self, steps: Array) -> Array:
        each = float(self.inner.length or 0)
        cycle = np.floor(steps / each)
        if self.times is not None:  # the end stays at the end of the last cycle
            cycle = np.minimum(cycle, self.times - 1)
        return self.inner.factors(steps - cycle * each) * self.per_cycle**cycle

    def jumps(self, until: float) -> Iterator[float]:
        each = int(self.inner.length or 0)
        for begin in range(0, math.ceil(min(until, self.length or until)), each):
            if begin:
                yield begin
            yield from (begin + jump for jump in self.inner.jumps(min(each, until - begin)))

    def span(self, clock: Clock) -> float | None:
        inner = self.inner.span(clock)
        return None if inner is None or self.times is None else self.times * inner

    def settle(self, clock: Clock, steps: int | None) -> Node:
        inner = self.inner.span(clock)
        if inner is not None:
            whole = Repeated(self.inner.settle(clock, max(1, math.floor(inner + 0.5))), self.times, self.per_cycle)
            if steps in (None, whole.length):
                return whole
            each = int(whole.inner.length or 0)
            if self.times is None and steps % each == 0:  # the end stays at the end of a cycle
                return dataclasses.replace(whole, times=steps // each)
            return First(dataclasses.replace(whole, times=None), steps)
        if self.times is None or steps is None:
            raise InputError("repeated", str(self.inner), "must have a length of its own", "Give the piece its steps")
        if steps < self.times:
            raise InputError("times", self.times, f"must be at most the {plural(steps)} that there are for all")
        ends = [math.floor(steps * (i + 1) / self.times + 0.5) for i in range(self.times)]
        parts = [
            _scaled(self.inner.settle(clock, end - begin), self.per_cycle**i)
            for i, (begin, end) in enumerate(zip([0, *ends], ends, strict=False))
        ]
        return Then(tuple(parts)) if len(parts) > 1 else parts[0]

    def __str__(self) -> str:
        times = "for ever" if self.times is None else f"{self.times} times"
        decay = "" if self.per_cycle == 1 else f", each {self.per_cycle:g} × the last"
        return f"({self.inner}) {times}{decay}"


def _with_the_rest(parts: tuple[Node, ...], spans: list[float | None], steps: int | None) -> list[float | None]:
    """Return the spans with the one that takes the rest filled in, and check that they add up to the horizon."""
    if steps is None:
        return spans
    taken = sum(span for span in spans if span is not None)
    missing = [i for i, span in enumerate(spans) if span is None]
    if len(missing) > 1:
        names = " and ".join(f"'{parts[i]}'" for i in missing)
        raise InputError("schedule", names, "cannot both take the rest of the horizon", "Give one of them a length")
    if math.floor(taken + 0.5) > steps - (1 if missing else 0):
        raise InputError(
            "schedule",
            f"{taken:,.6g} steps of {steps:,}",
            "has parts that are longer than the horizon"
            if taken > steps
            else "leaves nothing for the part that takes the rest",
            "Shorten the warm-up or another part",
        )
    if missing:
        return [steps - taken if span is None else span for span in spans]
    if math.floor(taken + 0.5) < steps:
        raise InputError(
            "schedule",
            f"{taken:,.6g} steps of {steps:,}",
            "does not last as long as the horizon",
            "Leave one part without a length so that it takes the rest",
        )
    return spans


def _scaled(node: Node, by: float) -> Node:
    return node if by == 1 else Scaled(node, by)
