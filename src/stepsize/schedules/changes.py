"""Changes of a running schedule: a cooldown, another horizon, another schedule from some step on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules.algebra import Change, Lasting, check_bounded, check_inside, left_over, on_its_own
from stepsize.schedules.leaves import Ramp
from stepsize.schedules.node import CheckedShape, Factor, Length, Node, OptionalPosition, Position, whole
from stepsize.schedules.shapes import ROOT, Array
from stepsize.schedules.units import Clock, Span

ExtendedBy = Literal["stretching", "holding"]


@dataclass(frozen=True)
class CooledDown(Change):
    """The inner schedule up to ``at``, from there along ``shape`` to ``end``."""

    kind: ClassVar[str] = "cooled-down"
    unnamed: ClassVar[str] = "over"

    over: Length
    at: OptionalPosition = None  # None: so that it ends with the horizon
    shape: CheckedShape = ROOT
    end: Factor = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end == 0:
            self.shape.check_way(1.0, 0.0)
        if self.relative is None:
            check_inside("at", whole(self.at), self.inner)
            _ = self._down  # which checks its shape

    @property
    def relative(self) -> str | None:
        return f"{self.kind}: at is left to the horizon" if self.at is None else super().relative

    @property
    def length(self) -> int | None:
        return whole(self.at) + whole(self.over)

    def factors(self, steps: Array) -> Array:
        at = whole(self.at)
        return np.where(steps < at, self.inner.held(steps), self._down.held(np.maximum(steps - at, 0.0)))

    @cached_property  # computed at each call, n changes one after the other would take 2^n calls
    def _down(self) -> Ramp:
        return Ramp(self.inner.value(whole(self.at)), self.end, self.shape, steps=self.over)

    def span(self, clock: Clock) -> float | None:
        return None if self.at is None else clock.exact(self.at, "at") + clock.exact(self.over, "over")

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        over = max(1, clock.steps(self.over, "over"))
        if self.at is not None:
            at = clock.steps(self.at, "at")
            ends = math.floor(float(self.span(clock) or 0) + 0.5) if steps is None else steps
            if isinstance(self.at, Span):  # ends are rounded, not lengths
                at = max(0, min(at, ends - 1) if isinstance(self.over, Span) else ends - over)
            if isinstance(self.over, Span):
                over = max(1, ends - at)
        elif steps is None:
            raise InputError("at", None, "needs a horizon to end with", "Give at, or a horizon")
        else:
            at = left_over(steps, over, "over", least=0)
        inner = self.inner.resolve(clock, steps) if self.inner.span(clock) is None else on_its_own(self.inner, clock)
        return CooledDown(inner, over, at, self.shape, self.end)


@dataclass(frozen=True)
class Extended(Lasting):
    """The inner schedule up to ``at``; what was left of it then ends at ``to``."""

    kind: ClassVar[str] = "extended"
    unnamed: ClassVar[str] = "to"

    to: Length
    at: Position = 0
    by: ExtendedBy = "stretching"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounded("extended", self.inner)
        if self.relative is None:
            self._check()

    def _check(self) -> None:
        length, to, at = int(self.inner.length or 0), whole(self.to), whole(self.at)
        if at >= length:
            raise InputError("at", at, f"must be before the end of the schedule at step {length:,}")
        if to <= at:
            raise InputError("to", to, f"must be after step {at:,}, where the schedule changes")
        if self.by == "holding" and to < length:
            raise InputError(
                "to", to, f"must be at least the present {length:,} steps to hold the rate", "Stretch instead"
            )

    def factors(self, steps: Array) -> Array:
        length, to, at = float(self.inner.length or 0), whole(self.to), whole(self.at)
        if self.by == "holding":
            after = np.maximum(steps - (to - length), at)
        else:
            after = at + (steps - at) * (length - at) / (to - at)
        return self.inner.held(np.where(steps < at, steps, after))

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        inner = on_its_own(self.inner, clock)
        return Extended(inner, self._lasts(clock, steps), clock.steps(self.at, "at"), self.by)


@dataclass(frozen=True)
class Switched(Change):
    """One schedule up to ``at``, from there the ``other``, scaled so that the factor does not jump."""

    kind: ClassVar[str] = "switched"
    unnamed: ClassVar[str] = "other"

    other: Node
    at: Position

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.relative is None:
            for side in (self.inner, self.other):
                check_inside("at", whole(self.at), side)
            _ = self._ratio

    @cached_property
    def _ratio(self) -> float:
        before, after = self.inner.value(whole(self.at)), self.other.value(whole(self.at))
        for factor, which in ((before, "present"), (after, "new")):
            if factor == 0:
                rule = f"must be a step at which the {which} schedule is not at factor 0"
                raise InputError("at", self.at, rule, "Choose an earlier step")
        return before / after

    @property
    def length(self) -> int | None:
        return self.other.length

    def factors(self, steps: Array) -> Array:
        at = whole(self.at)
        return np.where(steps < at, self.inner.held(steps), self._ratio * self.other.held(steps))

    def span(self, clock: Clock) -> float | None:
        return self.other.span(clock)

    def resolve(self, clock: Clock, steps: int | None) -> Node:
        return Switched(on_its_own(self.inner, clock), self.other.resolve(clock, steps), clock.steps(self.at, "at"))
