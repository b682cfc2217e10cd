"""The parts that a schedule is put together from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules.node import Leaf, check_factor, check_positive, plural, whole
from stepsize.schedules.shapes import Array, Shape, as_shape
from stepsize.schedules.units import Span, as_duration

__all__ = [
    "Edges", "Exponential", "Function", "MultiStep", "Noam", "OneCycle", "Points", "PowerLaw", "Ramp", "Restarts",
    "Staircase", "Triangles",
]  # fmt: skip

Edges = Literal["start", "end", "both", "neither"]


@dataclass(frozen=True)
class Ramp(Leaf):
    """From one factor to another along a shape.

    ``edges`` says which of the two ends an update of this part really takes; over N steps, progress p is

    - ``"start"``: t / N, so the end belongs to the next part;
    - ``"end"``: (t + 1) / N, so the start belongs to the part before;
    - ``"both"``: t / (N - 1);
    - ``"neither"``: (t + 1) / (N + 1).
    """

    kind: ClassVar[str] = "ramp"

    start: float
    end: float
    shape: Shape
    edges: Edges = "start"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            start=check_factor("start", self.start), end=check_factor("end", self.end), shape=as_shape(self.shape)
        )
        if self.edges not in get_args(Edges):
            raise InputError("edges", self.edges, f"must be one of: {', '.join(get_args(Edges))}")
        self.shape.check_way(self.start, self.end)
        if self.edges == "both" and self.steps == 1 and self.start != self.end:
            raise InputError("steps", 1, "must be at least 2 where both ends are taken")

    @property
    def endless(self) -> bool:
        return self.start == self.end

    def factors(self, steps: Array) -> Array:
        if self.start == self.end:
            return np.full_like(steps, self.start)
        before = self.edges in ("end", "neither")
        span = whole(self.steps) + {"both": -1, "neither": 1}.get(self.edges, 0)
        progress = (steps + before) / span
        return self.shape.between(self.start, self.end, np.minimum(progress, 1.0))

    def __str__(self) -> str:
        if self.start == self.end:
            height = "" if self.start == 1 else f" at {self.start:.4g}"
            return "constant" + height + _for(self.steps)
        over = f"over {plural(self.steps)}"
        if self.end == 1 and self.start < 1:
            kind = "" if self.shape.name == "linear" else f"{self.shape} "
            edges = "" if self.edges == "neither" else f" (edges: {self.edges})"
            return f"{kind}warm-up {f'from {self.start:.4g} ' if self.start else ''}{over}{edges}"
        begin = "" if self.start == 1 else f" from {self.start:.4g}"
        edges = "" if self.edges == "start" else f" (edges: {self.edges})"
        return f"{self.shape}{begin} to {self.end:.4g} {over}{edges}"


@dataclass(frozen=True)
class Points(Leaf):
    """Through given factors at given steps; before the first and behind the last it holds theirs."""

    kind: ClassVar[str] = "points"

    positions: tuple[int | Span, ...]
    values: tuple[float, ...]
    between: Shape | None  # None holds each value until the next position

    def __post_init__(self) -> None:
        super().__post_init__()
        positions = tuple(as_duration("positions", position, least=0) for position in self.positions)
        values = tuple(check_factor("values", value) for value in self.values)
        if len(positions) != len(values) or not positions:
            counts = f"{len(positions)} positions and {len(values)} values"
            raise InputError("points", counts, "must be as many positions as values, at least one")
        given = [position for position in positions if isinstance(position, int)]
        if any(after <= before for before, after in itertools.pairwise(given)):
            raise InputError("positions", positions, "must increase")
        self._set(positions=positions, values=values)
        if self.between is not None:
            self._set(between=(shape := as_shape(self.between)))
            for before, after in itertools.pairwise(values):
                shape.check_way(before, after)

    def factors(self, steps: Array) -> Array:
        positions, values = self._arrays
        index = np.clip(np.searchsorted(positions, steps, side="right") - 1, 0, None)
        if self.between is None or len(values) == 1:
            return np.asarray(values[index])
        if self.between.name == "linear":
            return np.asarray(np.interp(steps, positions, values))
        result: Array = values[index]
        for i in np.unique(index[(steps >= positions[0]) & (steps < positions[-1])]).tolist():
            inside = (index == i) & (steps >= positions[i])
            progress = (steps[inside] - positions[i]) / (positions[i + 1] - positions[i])
            result[inside] = self.between.between(values[i], values[i + 1], progress)
        return result

    @cached_property  # a table may be long, and is looked into step by step
    def _arrays(self) -> tuple[Array, Array]:
        return np.asarray(self.positions, dtype=np.float64), np.asarray(self.values)

    def jumps(self, until: float) -> Iterator[float]:
        yield from (at for position in self.positions if 0 < (at := whole(position)) < until)

    def __str__(self) -> str:
        shown = ", ".join(f"{p}: {v:g}" for p, v in list(zip(self.positions, self.values, strict=True))[:4])
        more = f", … {len(self.values)} in all" if len(self.values) > 4 else ""
        return f"points {shown}{more} ({self.between or 'held'})"


@dataclass(frozen=True)
class Function(Leaf):
    """Whatever a function of whole steps returns."""

    kind: ClassVar[str] = "function"

    function: Callable[[int], float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.function):
            raise InputError("function", self.function, "must be callable with a step and return a factor")

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
            raise InputError("function", value, f"must return a finite factor >= 0 (it was asked for step {step})")
        return number

    def __str__(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return f"function {name}" + ("" if self.steps is None else f" over {plural(self.steps)}")


@dataclass(frozen=True)
class _Geometric(Leaf):
    """What falls to ``gamma`` of itself ``every`` so many steps."""

    gamma: float
    every: int | Span

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(gamma=check_positive("gamma", self.gamma), every=as_duration("every", self.every))


@dataclass(frozen=True)
class Exponential(_Geometric):
    """gamma^(t / every): the factor falls to ``gamma`` of itself every so many steps, smoothly."""

    kind: ClassVar[str] = "exponential"

    def factors(self, steps: Array) -> Array:
        return self.gamma ** (steps / whole(self.every))

    def __str__(self) -> str:
        return f"× {self.gamma:g} every {plural(self.every)}, smoothly{_for(self.steps)}"


@dataclass(frozen=True)
class Staircase(_Geometric):
    """gamma^floor(t / every): the factor drops to ``gamma`` of itself every so many steps, at once."""

    kind: ClassVar[str] = "staircase"

    def factors(self, steps: Array) -> Array:
        return self.gamma ** np.floor(steps / whole(self.every))

    def jumps(self, until: float) -> Iterator[float]:
        yield from range(whole(self.every), math.ceil(until), whole(self.every))

    def __str__(self) -> str:
        return f"× {self.gamma:g} every {plural(self.every)}{_for(self.steps)}"


@dataclass(frozen=True)
class MultiStep(Leaf):
    """gamma^(number of milestones <= t)."""

    kind: ClassVar[str] = "multi-step"

    milestones: tuple[int | Span, ...]
    gamma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        milestones = tuple(as_duration("milestones", item) for item in self.milestones)
        if not milestones:
            raise InputError("milestones", self.milestones, "must hold at least one step")
        given = [item for item in milestones if isinstance(item, int)]
        if given != sorted(given):
            raise InputError("milestones", self.milestones, "must not decrease")
        self._set(milestones=milestones, gamma=check_positive("gamma", self.gamma))
        if isinstance(self.steps, int) and given and given[-1] >= self.steps:
            raise InputError("milestones", milestones, f"must lie before the end at step {self.steps}")

    def factors(self, steps: Array) -> Array:
        return self.gamma ** np.searchsorted(np.asarray(self.milestones), steps, side="right").astype(np.float64)

    def jumps(self, until: float) -> Iterator[float]:
        yield from (at for item in self.milestones if (at := whole(item)) < until)

    def __str__(self) -> str:
        at = ", ".join(f"{item:,}" if isinstance(item, int) else str(item) for item in self.milestones)
        return f"× {self.gamma:g} at {at}{_for(self.steps)}"


@dataclass(frozen=True)
class PowerLaw(Leaf):
    """(τ / (t + τ))^power with the time scale τ = ``timescale``."""

    kind: ClassVar[str] = "power-law"

    timescale: int | Span
    power: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(timescale=as_duration("timescale", self.timescale), power=check_positive("power", self.power))

    def factors(self, steps: Array) -> Array:
        ratio: Array = whole(self.timescale) / (steps + whole(self.timescale))
        if self.power == 0.5:
            return np.sqrt(ratio)
        return ratio if self.power == 1 else ratio**self.power

    def __str__(self) -> str:
        return f"({self.timescale} / (t + {self.timescale}))^{self.power:g}{_for(self.steps)}"


@dataclass(frozen=True)
class Noam(Leaf):
    """min(n / W, sqrt(W / n)) for the n-th update, n = t + 1, and W = ``warmup``."""

    kind: ClassVar[str] = "noam"

    warmup: int | Span

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(warmup=as_duration("warmup", self.warmup))

    def factors(self, steps: Array) -> Array:
        ratio = (steps + 1) / whole(self.warmup)
        return np.minimum(ratio, 1 / np.sqrt(ratio))

    def __str__(self) -> str:
        return f"linear up over {plural(self.warmup)}, then 1 / √t{_for(self.steps)}"


@dataclass(frozen=True)
class Triangles(Leaf):
    """Up and down between ``low`` and 1, the height shrinking per cycle or per step."""

    kind: ClassVar[str] = "triangles"

    up: int | Span
    down: int | Span
    low: float
    per_cycle: float = 1.0
    per_step: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(up=as_duration("up", self.up), down=as_duration("down", self.down))
        self._set(low=check_factor("low", self.low, most=1.0))
        for name in ("per_cycle", "per_step"):
            self._set(**{name: check_positive(name, getattr(self, name), most=1.0)})

    def factors(self, steps: Array) -> Array:
        up, down = whole(self.up), whole(self.down)
        cycle = np.floor(steps / (up + down))
        within = steps - cycle * (up + down)
        height = np.where(within <= up, within / up, (up + down - within) / down)
        values: Array = self.low + (1 - self.low) * height * self.per_cycle**cycle * self.per_step**steps
        return values

    def __str__(self) -> str:
        decay = "" if self.per_cycle == self.per_step == 1 else ", shrinking"
        return f"triangles {self.up} up, {self.down} down from {self.low:g}{decay}{_for(self.steps)}"


@dataclass(frozen=True)
class Restarts(Leaf):
    """A decay that starts again and again, each cycle ``growth`` times longer, from ``per_cycle`` times the peak."""

    kind: ClassVar[str] = "restarts"

    first: int | Span
    growth: float
    per_cycle: float
    end: float
    shape: Shape

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(first=as_duration("first", self.first), shape=as_shape(self.shape))
        self._set(growth=check_positive("growth", self.growth))
        if self.growth < 1:
            raise InputError("growth", self.growth, "must be at least 1")
        self._set(per_cycle=check_positive("per_cycle", self.per_cycle, most=1.0))
        self._set(end=check_factor("end", self.end, most=1.0))
        self.shape.check_way(1.0, 0.0)  # of which each cycle is a scaled one

    def factors(self, steps: Array) -> Array:
        cycle = self._cycle(steps)
        # The last update of a horizon that ends with a cycle, and what is beyond, stay at the end of that cycle.
        if self.steps is not None:
            last = whole(self.steps)
            cycle = np.where((steps >= last) & (self._begin(cycle) >= last) & (cycle > 0), cycle - 1, cycle)
        begin = self._begin(cycle)
        progress = np.clip((steps - begin) / (self._begin(cycle + 1) - begin), 0.0, 1.0)
        peak = np.maximum(self.per_cycle**cycle, self.end)
        falling = self.shape.between(1.0, 0.0, progress)
        values: Array = self.end + (peak - self.end) * falling
        return values

    def jumps(self, until: float) -> Iterator[float]:
        for cycle in itertools.count(1):
            begin = float(self._begin(np.array([float(cycle)]))[0])
            if begin >= until:
                return
            yield begin

    def _begin(self, cycle: Array) -> Array:
        first = whole(self.first)
        if self.growth == 1:
            return first * cycle
        # Rounded, since a cycle that begins at update 21 must not begin 4e-15 behind it.
        return np.round(first * (self.growth**cycle - 1) / (self.growth - 1), 9)

    def _cycle(self, steps: Array) -> Array:
        first = whole(self.first)
        if self.growth == 1:
            return np.floor(steps / first)
        cycle = np.floor(np.log1p(steps / first * (self.growth - 1)) / math.log(self.growth))
        cycle = np.maximum(cycle, 0.0)
        cycle = np.where(steps >= self._begin(cycle + 1), cycle + 1, cycle)  # logarithms round
        return np.where(steps < self._begin(cycle), cycle - 1, cycle)

    def __str__(self) -> str:
        growth = "" if self.growth == 1 else f", each {self.growth:g} × longer"
        decay = "" if self.per_cycle == 1 else f", each from {self.per_cycle:g} × the peak"
        return f"{self.shape} restarting after {plural(self.first)}{growth}{decay}{_for(self.steps)}"


@dataclass(frozen=True)
class OneCycle(Leaf):
    """From ``start`` to ``peak`` to ``end``; with three phases through ``start`` again on the way down."""

    kind: ClassVar[str] = "one-cycle"
    start: float
    peak: float
    end: float
    rise: float
    shape: Shape
    three_phase: bool
    edges: Literal["start", "both"]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("start", "peak", "end"):
            self._set(**{name: check_factor(name, getattr(self, name))})
        self._set(rise=check_positive("rise", self.rise), shape=as_shape(self.shape))
        if self.edges not in ("start", "both"):
            raise InputError("edges", self.edges, "must be 'start' or 'both'")
        if self.rise >= (0.5 if self.three_phase else 1.0):
            raise InputError("rise", self.rise, f"must be a share below {'one half' if self.three_phase else '1'}")
        self.shape.check_way(self.start, self.peak)
        self.shape.check_way(self.peak, self.end)
        if self.three_phase:
            self.shape.check_way(self.start, self.end)
        if isinstance(self.steps, int) and self._knots(self.steps)[0][1] <= 0:
            raise InputError("steps", self.steps, f"must be more for a rise over {self.rise:g} of them")

    @property
    def endless(self) -> bool:
        return False

    def factors(self, steps: Array) -> Array:
        positions, values = self._knots(whole(self.steps))
        result = np.full_like(steps, values[-1])
        for i in range(len(positions) - 1):
            inside = (steps >= positions[i]) & (steps < positions[i + 1])
            progress = (steps[inside] - positions[i]) / (positions[i + 1] - positions[i])
            result[inside] = self.shape.between(values[i], values[i + 1], progress)
        return result

    def jumps(self, until: float) -> Iterator[float]:
        yield from (knot for knot in self._knots(whole(self.steps))[0][1:-1] if knot < until)

    def _knots(self, steps: int) -> tuple[list[float], list[float]]:
        """Return positions and factors of the corners; with both ends taken, each phase is a step shorter."""
        less = 1 if self.edges == "both" else 0
        top = self.rise * steps - less
        if self.three_phase:
            middle = 2 * self.rise * steps - 2 * less
            return [0.0, top, middle, float(steps - less)], [self.start, self.peak, self.start, self.end]
        return [0.0, top, float(steps - less)], [self.start, self.peak, self.end]

    def __str__(self) -> str:
        phases = (
            f"{self.start:.4g} → {self.peak:g} → {f'{self.start:.4g} → ' if self.three_phase else ''}{self.end:.4g}"
        )
        edges = "" if self.edges == "start" else f", edges: {self.edges}"
        return f"one cycle {phases} ({self.shape}, rise {self.rise:.3g}{edges}){_for(self.steps)}"


def _for(steps: object) -> str:
    return "" if steps is None else f" for {plural(steps)}"
