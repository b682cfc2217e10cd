"""How schedules are put together: one after the other, multiplied, repeated."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stepsize.checks import is_whole
from stepsize.errors import InputError
from stepsize.schedules.leaves import Ramp
from stepsize.schedules.node import Factor, Length, Node, Positive, plural, whole, written
from stepsize.schedules.shapes import Array
from stepsize.schedules.units import Clock


@dataclass(frozen=True)
class Then(Node):
    """One phase after the other, each counting its own steps from 0."""

    kind: ClassVar[str] = "then"

    phases: tuple[Node, ...]

    def __post_init__(self) -> None:
        flat: list[Node] = []
        for phase in self.phases:
            flat += phase.phases if isinstance(phase, Then) else (phase,)
        self._set("phases", tuple(flat))

    @property
    def relative(self) -> str | None:
        for i, phase in enumerate(self.phases, start=1):
            reason = phase.relative
            if reason is None and i < len(self.phases) and phase.length is None:
                reason = f"'{phase}' takes the rest of the horizon"
            if reason is not None:
                return reason
        return None

    @property
    def length(self) -> int | None:
        lengths = [phase.length for phase in self.phases]
        return None if lengths[-1] is None else sum(length for length in lengths if length is not None)

    def factors(self, steps: Array) -> Array:
        begins = self._begins()
        if steps.size == 1:
            only = int(np.searchsorted(begins, steps.ravel()[0], side="right")) - 1
            return self.phases[only].held(steps - begins[only])
        result = np.empty_like(steps)
        index: NDArray[np.intp] = np.searchsorted(begins, steps, side="right") - 1
        for i, phase in enumerate(self.phases):
            inside = index == i
            if inside.any():
                result[inside] = phase.held(steps[inside] - begins[i])
        return result

    def span(self, clock: Clock) -> float | None:
        spans = [phase.span(clock) for phase in self.phases]
        return None if None in spans else sum(span for span in spans if span is not None)

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        spans = self._filled([phase.span(clock) for phase in self.phases], steps)
        ends, position = [], 0.0
        for span in spans:  # ends are rounded, not lengths: percentages that add up to 100% end at the horizon
            position += math.inf if span is None else span
            ends.append(None if math.isinf(position) else math.floor(position + 0.5))
        resolved, begin = [], 0
        for phase, end in zip(self.phases, ends, strict=True):
            if end is None:
                resolved.append(phase.resolve(clock, None))
            elif end > begin:  # a phase that is shorter than half a step is left out
                resolved.append(phase.resolve(clock, end - begin))
                begin = end
        if not resolved:
            raise InputError("schedule", str(self), "must have at least one step", "Use a longer horizon")
        return joined(*resolved)

    def _begins(self) -> Array:
        return np.cumsum([0.0, *(float(phase.length or 0) for phase in self.phases[:-1])])

    def _filled(self, spans: list[float | None], steps: int | None) -> list[float | None]:
        """Return the spans with the one that takes the rest filled in, and check that they add up to ``steps``."""
        if steps is None:
            return spans
        taken = sum(span for span in spans if span is not None)
        rest = [str(phase) for phase, span in zip(self.phases, spans, strict=True) if span is None]
        if len(rest) > 1:
            names = " and ".join(f"'{phase}'" for phase in rest)
            rule = "must have only one phase that takes the rest of the horizon"
            raise InputError("schedule", names, rule, "Give the others a length")
        received = f"{taken:,.6g} steps of {steps:,}"
        if math.floor(taken + 0.5) > steps - len(rest):
            rule = "must not be longer than the horizon"
            if taken <= steps:
                rule = f"must leave steps for '{rest[0]}', which takes the rest"
            raise InputError("schedule", received, rule, "Shorten the warmup or another phase")
        if not rest and math.floor(taken + 0.5) < steps:
            remedy = "Leave out the length of one phase, which then takes the rest"
            raise InputError("schedule", received, "must last as long as the horizon", remedy)
        return [steps - taken if span is None else span for span in spans]

    def __str__(self) -> str:
        return ", ".join(map(str, self.phases))


@dataclass(frozen=True)
class Times(Node):
    """The product of two schedules of one length; one of them may be endless."""

    kind: ClassVar[str] = "times"

    left: Node
    right: Node

    def __post_init__(self) -> None:
        if self.relative is None:
            left, right = self.left.length, self.right.length
            if None not in (left, right) and left != right:
                remedy = "Continue the shorter one with .then(constant())"
                raise InputError(
                    "times", f"{plural(left)} and {plural(right)}", "needs schedules of one length", remedy
                )

    @property
    def length(self) -> int | None:
        left = self.left.length  # asked once: twice at each of n levels would be 2^n times
        return self.right.length if left is None else left

    def factors(self, steps: Array) -> Array:
        return self.left.factors(steps) * self.right.factors(steps)

    def span(self, clock: Clock) -> float | None:
        left = self.left.span(clock)
        return self.right.span(clock) if left is None else left

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        if is_number(self.right) and not is_number(self.left):
            return Times(self.left.resolve(clock, steps), self.right)
        if is_number(self.left):
            return Times(self.left, self.right.resolve(clock, steps))
        spans = [side.span(clock) for side in (self.left, self.right)]
        # What was rounded otherwise, to within 1, takes the steps that there are.
        lengths = [
            steps if span is None or (steps is not None and abs(span - steps) < 1) else max(1, math.floor(span + 0.5))
            for span in spans
        ]
        if steps is not None:  # a side without a length of its own takes that of the other
            shorter = [length for length, span in zip(lengths, spans, strict=True) if span is not None]
            lengths = [
                shorter[0] if span is None and shorter else own for own, span in zip(lengths, spans, strict=True)
            ]
        return Times(self.left.resolve(clock, lengths[0]), self.right.resolve(clock, lengths[1]))

    def __str__(self) -> str:
        left = str(self.left) if isinstance(self.left, Times) else _operand(self.left)
        return f"{left} * {_operand(self.right)}"


@dataclass(frozen=True)
class Change(Node):
    """A node around ``inner``, written after a bar."""

    unnamed: ClassVar[str]

    inner: Node

    @property
    def length(self) -> int | None:
        return self.inner.length

    def factors(self, steps: Array) -> Array:
        return self.inner.factors(steps)

    def span(self, clock: Clock) -> float | None:
        return self.inner.span(clock)

    def __str__(self) -> str:
        inner = f"({self.inner})" if isinstance(self.inner, Then | Times) else str(self.inner)
        return f"{inner} | {self._words(self.unnamed, 'shape')}"


@dataclass(frozen=True)
class Lasting(Change):
    """A change with a length of its own: the field that is written without its name."""

    @property
    def length(self) -> int | None:
        return whole(getattr(self, self.unnamed))

    def span(self, clock: Clock) -> float | None:
        return clock.exact(getattr(self, self.unnamed), self.unnamed)

    def _lasts(self, clock: Clock, steps: int | None) -> int:
        """Return ``steps``, or else its own length in steps."""
        return max(1, clock.steps(getattr(self, self.unnamed), self.unnamed)) if steps is None else steps


@dataclass(frozen=True)
class Within(Lasting):
    """The inner schedule over a length that is not in steps yet; it is gone once it is resolved."""

    kind: ClassVar[str] = "within"
    unnamed: ClassVar[str] = "steps"

    steps: Length

    @property
    def relative(self) -> str | None:
        return self.inner.relative or f"{self.kind}: steps is {self.steps}"

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        return self.inner.resolve(clock, self._lasts(clock, steps))


@dataclass(frozen=True)
class Limited(Change):
    """A change that limits each factor by itself."""

    unnamed: ClassVar[str] = "at"

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        return dataclasses.replace(self, inner=self.inner.resolve(clock, steps))


@dataclass(frozen=True)
class Floored(Limited):
    """The factor, or ``at`` if it is below."""

    kind: ClassVar[str] = "floored"

    at: Factor

    def factors(self, steps: Array) -> Array:
        return np.maximum(self.inner.factors(steps), self.at)


@dataclass(frozen=True)
class Capped(Limited):
    """The factor, or ``at`` if it is above."""

    kind: ClassVar[str] = "capped"

    at: Positive

    def factors(self, steps: Array) -> Array:
        return np.minimum(self.inner.factors(steps), self.at)


@dataclass(frozen=True)
class First(Lasting):
    """The first steps of the inner schedule."""

    kind: ClassVar[str] = "first"
    unnamed: ClassVar[str] = "steps"

    steps: Length

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.relative is None:
            check_inside("steps", whole(self.steps), self.inner)

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        return First(on_its_own(self.inner, clock), self._lasts(clock, steps))


@dataclass(frozen=True)
class After(Change):
    """The inner schedule without its first steps."""

    kind: ClassVar[str] = "after"
    unnamed: ClassVar[str] = "steps"

    steps: Length

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.relative is None and self.inner.length is not None:
            left_over(self.inner.length, whole(self.steps), "steps")

    @property
    def length(self) -> int | None:
        return None if self.inner.length is None else self.inner.length - whole(self.steps)

    def factors(self, steps: Array) -> Array:
        return self.inner.factors(steps + whole(self.steps))

    def span(self, clock: Clock) -> float | None:
        inner = self.inner.span(clock)
        return None if inner is None else inner - clock.exact(self.steps, "steps")

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        begin = max(1, clock.steps(self.steps, "steps"))
        if self.inner.span(clock) is None:
            return After(self.inner.resolve(clock, None if steps is None else steps + begin), begin)
        inner = on_its_own(self.inner, clock)
        if steps is not None and inner.length is not None:
            begin = left_over(inner.length, steps, "steps")
        return After(inner, begin)


@dataclass(frozen=True)
class Repeated(Change):
    """The inner schedule again and again, each time ``per_cycle`` times the one before."""

    kind: ClassVar[str] = "repeated"
    unnamed: ClassVar[str] = "times"

    times: int | None = None
    per_cycle: Positive = 1.0

    def __post_init__(self) -> None:
        if self.times is not None and not is_whole(self.times, 1):
            raise InputError("times", self.times, "must be a whole number, at least 1, or None for endless")
        super().__post_init__()
        check_bounded("repeated", self.inner)

    @property
    def length(self) -> int | None:
        return None if self.times is None else self.times * int(self.inner.length or 0)

    def factors(self, steps: Array) -> Array:
        each = float(self.inner.length or 0)
        cycle = np.floor(steps / each)
        if self.times is not None:  # the end stays at the end of the last cycle
            cycle = np.minimum(cycle, self.times - 1)
        return self.inner.factors(steps - cycle * each) * self.per_cycle**cycle

    def span(self, clock: Clock) -> float | None:
        inner = self.inner.span(clock)
        return None if inner is None or self.times is None else self.times * inner

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        if self.inner.span(clock) is None:
            return self._shared(clock, steps)
        repeated = dataclasses.replace(self, inner=on_its_own(self.inner, clock))
        if steps in (None, repeated.length):
            return repeated
        assert steps is not None
        each = int(repeated.inner.length or 0)
        if self.times is None and steps % each == 0:  # the end stays at the end of a cycle
            return dataclasses.replace(repeated, times=steps // each)
        return First(dataclasses.replace(repeated, times=None), steps)

    def _shared(self, clock: Clock, steps: int | None) -> Node:
        """Return what shares ``steps`` between the repetitions of an inner schedule without a length."""
        if self.times is None or steps is None:
            raise InputError("repeated", str(self.inner), "must have a length of its own", "Give it a length")
        if steps < self.times:
            raise InputError("times", self.times, f"must be at most the {plural(steps)} that are left")
        ends = [math.floor(steps * (i + 1) / self.times + 0.5) for i in range(self.times)]
        cycles = [
            scaled(self.inner.resolve(clock, end - begin), self.per_cycle**i)
            for i, (begin, end) in enumerate(zip([0, *ends], ends, strict=False))
        ]
        return joined(*cycles)


def joined(*nodes: Node) -> Node:
    """Return ``nodes`` one after the other; a single one as it is."""
    return Then(nodes) if len(nodes) > 1 else nodes[0]


def scaled(node: Node, by: float) -> Node:
    """Return ``node`` times a number."""
    return node if by == 1 else Times(node, Ramp(by, by))


def is_number(node: Node) -> bool:
    """Return whether ``node`` is a constant without a length, which a product has as a number."""
    return isinstance(node, Ramp) and node.start == node.end and node.steps is None


def on_its_own(node: Node, clock: Clock) -> Node:
    """Resolve ``node`` by its own durations; one that takes the rest takes the whole horizon."""
    if node.relative is None:
        return node
    span = node.span(clock)
    return node.resolve(clock, clock.horizon if span is None else max(1, math.floor(span + 0.5)))


def left_over(steps: int, taken: int, argument: str, least: int = 1) -> int:
    """Return how many of ``steps`` are left after ``taken``, at least ``least``."""
    if steps - taken < least:
        raise InputError(argument, taken, f"must leave at least {plural(least)} of the {steps:,} that there are")
    return steps - taken


def check_bounded(argument: str, node: Node) -> None:
    """Raise InputError if ``node`` is resolved and has no end."""
    if node.relative is None and node.length is None:
        raise InputError(argument, str(node), "needs a schedule with an end", "End it with .first(steps)")


def check_inside(argument: str, step: int, node: Node) -> None:
    """Raise InputError if ``step`` is after the end of a resolved ``node``."""
    if node.length is not None and step > node.length:
        raise InputError(argument, step, f"must not be after the end of the schedule at step {node.length:,}")


def _operand(node: Node) -> str:
    if isinstance(node, Ramp) and is_number(node):
        return written(node.start)
    return f"({node})" if isinstance(node, Then | Times) else str(node)
