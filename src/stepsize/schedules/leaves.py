"""The phases that a schedule is put together from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from stepsize.checks import check_number
from stepsize.errors import InputError
from stepsize.schedules.node import (
    CheckedShape,
    Factor,
    Fraction,
    Leaf,
    Length,
    OptionalLength,
    Positive,
    PositiveFraction,
    check_shape,
    each,
    optional,
    whole,
    written,
)
from stepsize.schedules.shapes import COSINE, LINEAR, Array, Shape
from stepsize.schedules.units import Span, as_duration

Endpoints = Literal["start", "end", "both", "neither"]
Steps = tuple[int | Span, ...]


@dataclass(frozen=True)
class Ramp(Leaf):
    """From one factor to another along a shape; ``endpoints`` says which of the two an update takes.

    Over N steps, the progress p of update t is t / N for ``"start"`` (the end belongs to the next phase), (t + 1) / N
    for ``"end"``, t / (N - 1) for ``"both"`` and (t + 1) / (N + 1) for ``"neither"``.
    """

    kind: ClassVar[str] = "decay"

    start: Factor
    end: Factor
    shape: CheckedShape = LINEAR
    endpoints: Endpoints = "start"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.shape.check_way(self.start, self.end)
        if self.start == self.end:  # all constants of one factor and length are equal
            self._set("shape", LINEAR)
            self._set("endpoints", "start")
        if self.endpoints == "both" and self.steps == 1:
            raise InputError("steps", 1, "must be at least 2 if both endpoints are taken")

    @property
    def endless(self) -> bool:
        return self.start == self.end

    def factors(self, steps: Array) -> Array:
        if self.start == self.end:
            return np.full_like(steps, self.start)
        before = self.endpoints in ("end", "neither")
        span = whole(self.steps) + {"both": -1, "neither": 1}.get(self.endpoints, 0)
        progress = (steps + before) / span
        return self.shape.between(self.start, self.end, np.minimum(progress, 1.0))

    def __str__(self) -> str:
        words = [] if self.steps is None else [str(self.steps)]
        if self.start == self.end:
            return " ".join(["constant", *words] + [f"factor={written(self.start)}"] * (self.start != 1))
        shape = [] if self.shape == LINEAR else [str(self.shape)]
        name, start, end, endpoints = "decay", 1.0, 0.0, "start"
        if self.end == 1 > self.start and words:
            name, start, end, endpoints = "warmup", 0.0, 1.0, "neither"
        elif (self.start, self.endpoints) == (1.0, "start"):
            name, shape = "cooldown" if self.shape.name == "1-sqrt" else str(self.shape), []
        given = (("start", self.start, start), ("end", self.end, end), ("endpoints", self.endpoints, endpoints))
        return " ".join(
            [name, *words, *shape, *(f"{key}={written(value)}" for key, value, usual in given if value != usual)]
        )


@dataclass(frozen=True)
class Points(Leaf):
    """Through given factors at given steps; before the first and after the last it holds theirs."""

    kind: ClassVar[str] = "points"

    positions: Annotated[Steps, each(partial(as_duration, least=0))]
    values: Annotated[tuple[float, ...], each(partial(check_number, least=0))]
    between: Annotated[Shape | None, optional(check_shape)] = LINEAR  # None holds each factor until the next position

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.positions) != len(self.values) or not self.positions:
            counts = f"{len(self.positions)} positions and {len(self.values)} values"
            raise InputError("points", counts, "must be as many positions as values, at least one")
        known = [position for position in self.positions if isinstance(position, int)]
        if any(after <= before for before, after in itertools.pairwise(known)):
            raise InputError("positions", self.positions, "must increase")
        if self.between is not None:
            for before, after in itertools.pairwise(self.values):
                self.between.check_way(before, after)

    def factors(self, steps: Array) -> Array:
        positions, values = self._arrays
        if self.between is not None and self.between.name == "linear":
            return np.asarray(np.interp(steps, positions, values))
        return _through(steps, positions, values, self.between)

    @cached_property  # a table may be long, and is read step by step
    def _arrays(self) -> tuple[Array, Array]:
        return np.asarray(self.positions, dtype=np.float64), np.asarray(self.values)

    def __str__(self) -> str:
        points = "|".join(f"{at}:{written(value)}" for at, value in zip(self.positions, self.values, strict=True))
        between = [] if self.between == LINEAR else [f"between={written(self.between)}"]
        return " ".join(["points", points, *between] + [f"steps={self.steps}"] * (self.steps is not None))


@dataclass(frozen=True)
class Function(Leaf):
    """Whatever a function of whole steps returns."""

    kind: ClassVar[str] = "function"

    function: Callable[[int], float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.function):
            raise InputError("function", self.function, "must be callable with a step and return a factor")

    @property
    def holds_function(self) -> bool:
        return True

    def factors(self, steps: Array) -> Array:
        values = [self._checked(int(step)) for step in np.floor(steps).ravel()]
        return np.asarray(values, dtype=np.float64).reshape(steps.shape)

    def _checked(self, step: int) -> float:
        value: Any = self.function(step)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise InputError("function", value, f"must return a finite factor >= 0 (it was called with step {step})")
        return number

    def __str__(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return f"function {name}" + ("" if self.steps is None else f" {self.steps}")


@dataclass(frozen=True)
class Exponential(Leaf):
    """gamma^(t / every)."""

    kind: ClassVar[str] = "exp"
    unnamed: ClassVar[str] = "every"

    gamma: Positive
    every: Length = 1

    def factors(self, steps: Array) -> Array:
        return self.gamma ** (steps / whole(self.every))


@dataclass(frozen=True)
class Staircase(Leaf):
    """gamma^floor(t / every)."""

    kind: ClassVar[str] = "step"
    unnamed: ClassVar[str] = "every"

    every: Length
    gamma: Positive = 0.1

    def factors(self, steps: Array) -> Array:
        return self.gamma ** np.floor(steps / whole(self.every))


@dataclass(frozen=True)
class MultiStep(Leaf):
    """gamma^(number of milestones <= t)."""

    kind: ClassVar[str] = "multi-step"
    unnamed: ClassVar[str] = "milestones"

    milestones: Annotated[Steps, each(as_duration)]
    gamma: Positive = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.milestones:
            raise InputError("milestones", self.milestones, "must hold at least one step")
        known = [item for item in self.milestones if isinstance(item, int)]
        if known != sorted(known):
            raise InputError("milestones", self.milestones, "must not decrease")
        if isinstance(self.steps, int) and known and known[-1] >= self.steps:
            raise InputError("milestones", self.milestones, f"must be before the end at step {self.steps}")

    def factors(self, steps: Array) -> Array:
        return self.gamma ** np.searchsorted(np.asarray(self.milestones), steps, side="right").astype(np.float64)


@dataclass(frozen=True)
class PowerLaw(Leaf):
    """(τ / (t + τ))^power with the time scale τ = ``timescale``."""

    kind: ClassVar[str] = "power-law"
    unnamed: ClassVar[str] = "timescale"

    timescale: Length
    power: Positive = 0.5

    def factors(self, steps: Array) -> Array:
        ratio: Array = whole(self.timescale) / (steps + whole(self.timescale))
        if self.power == 0.5:
            return np.sqrt(ratio)
        return ratio if self.power == 1 else ratio**self.power


@dataclass(frozen=True)
class Noam(Leaf):
    """min(n / W, sqrt(W / n)) for the n-th update, n = t + 1, and W = ``warmup``."""

    kind: ClassVar[str] = "noam"
    unnamed: ClassVar[str] = "warmup"

    warmup: Length

    def factors(self, steps: Array) -> Array:
        ratio = (steps + 1) / whole(self.warmup)
        return np.minimum(ratio, 1 / np.sqrt(ratio))


@dataclass(frozen=True)
class Triangles(Leaf):
    """Up and down between ``low`` and 1; the height may shrink per cycle or per step."""

    kind: ClassVar[str] = "triangular"
    unnamed: ClassVar[str] = "up"

    up: Length
    down: OptionalLength = None  # None: as long as up
    low: Fraction = 0.1
    per_cycle: PositiveFraction = 1.0
    per_step: PositiveFraction = 1.0

    def factors(self, steps: Array) -> Array:
        up, down = whole(self.up), whole(self.up if self.down is None else self.down)
        cycle = np.floor(steps / (up + down))
        within = steps - cycle * (up + down)
        height = np.where(within <= up, within / up, (up + down - within) / down)
        values: Array = self.low + (1 - self.low) * height * self.per_cycle**cycle * self.per_step**steps
        return values


@dataclass(frozen=True)
class Restarts(Leaf):
    """A decay that starts again and again, each cycle ``growth`` times longer, from ``per_cycle`` times the peak."""

    kind: ClassVar[str] = "warm-restarts"
    unnamed: ClassVar[str] = "first"

    first: Length
    growth: Positive = 1.0
    per_cycle: PositiveFraction = 1.0
    end: Fraction = 0.0
    shape: CheckedShape = COSINE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.growth < 1:
            raise InputError("growth", self.growth, "must be at least 1")
        self.shape.check_way(1.0, 0.0)  # of which each cycle is a scaled copy

    def factors(self, steps: Array) -> Array:
        cycle = self._cycle(steps)
        # The end of a horizon that ends with a cycle, and what comes after, stay at the end of that cycle.
        if self.steps is not None:
            last = whole(self.steps)
            cycle = np.where((steps >= last) & (self._begin(cycle) >= last) & (cycle > 0), cycle - 1, cycle)
        begin = self._begin(cycle)
        progress = np.clip((steps - begin) / (self._begin(cycle + 1) - begin), 0.0, 1.0)
        peak = np.maximum(self.per_cycle**cycle, self.end)
        values: Array = self.end + (peak - self.end) * self.shape.between(1.0, 0.0, progress)
        return values

    def _begin(self, cycle: Array) -> Array:
        first = whole(self.first)
        if self.growth == 1:
            return first * cycle
        # Rounded, since a cycle that begins at update 21 must not begin 4e-15 later.
        return np.round(first * (self.growth**cycle - 1) / (self.growth - 1), 9)

    def _cycle(self, steps: Array) -> Array:
        first = whole(self.first)
        if self.growth == 1:
            return np.floor(steps / first)
        cycle = np.floor(np.log1p(steps / first * (self.growth - 1)) / math.log(self.growth))
        cycle = np.maximum(cycle, 0.0)
        cycle = np.where(steps >= self._begin(cycle + 1), cycle + 1, cycle)  # logarithms round
        return np.where(steps < self._begin(cycle), cycle - 1, cycle)


@dataclass(frozen=True)
class OneCycle(Leaf):
    """From ``start`` to ``peak`` to ``end``; with three phases through ``start`` again on the way down."""

    kind: ClassVar[str] = "one-cycle"

    rise: Positive = 0.3
    start: Factor = 1 / 25
    peak: Factor = 1.0
    end: Factor = 1 / 25e4
    shape: CheckedShape = COSINE
    three_phase: bool = False
    endpoints: Literal["start", "both"] = "start"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rise >= (0.5 if self.three_phase else 1.0):
            raise InputError("rise", self.rise, f"must be below {'0.5 with three phases' if self.three_phase else '1'}")
        corners = [self.start, self.peak, *[self.start] * self.three_phase, self.end]
        for before, after in itertools.pairwise(corners):
            self.shape.check_way(before, after)
        if isinstance(self.steps, int) and self._corners[0][1] <= 0:
            raise InputError("steps", self.steps, f"must be more for a rise over {self.rise:g} of them")

    @property
    def endless(self) -> bool:
        return False

    def factors(self, steps: Array) -> Array:
        return _through(steps, *self._corners, self.shape)

    @cached_property
    def _corners(self) -> tuple[Array, Array]:
        """Positions and factors of the corners; if both endpoints are taken, each phase is a step shorter."""
        steps, less = whole(self.steps), 1 if self.endpoints == "both" else 0
        positions, values = [0.0, self.rise * steps - less], [self.start, self.peak]
        if self.three_phase:
            positions.append(2 * self.rise * steps - 2 * less)
            values.append(self.start)
        return np.array([*positions, float(steps - less)]), np.array([*values, self.end])


def _through(steps: Array, positions: Array, values: Array, shape: Shape | None) -> Array:
    """Return the factors at ``steps`` between corners along ``shape``, or held until the next corner."""
    index = np.clip(np.searchsorted(positions, steps, side="right") - 1, 0, None)
    result: Array = values[index]
    if shape is not None:
        for i in np.unique(index[(steps >= positions[0]) & (steps < positions[-1])]).tolist():
            inside = (index == i) & (steps >= positions[i])
            progress = (steps[inside] - positions[i]) / (positions[i + 1] - positions[i])
            result[inside] = shape.between(values[i], values[i + 1], progress)
    return result
