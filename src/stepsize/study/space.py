"""Spaces: what a sweep varies, over which values, and how each dimension maps onto [0, 1]."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from stepsize.checks import check_lr
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError, UnknownNameError
from stepsize.schedules import Schedule, write
from stepsize.training.runs import Changes, Value
from stepsize.training.variation import check_changes

NAMES = ("lr", *(field.name for field in fields(Changes)))

Scale = Literal["log", "linear", "complement"]


@dataclass(frozen=True)
class Range:
    """All numbers from ``low`` to ``high``.

    The scale ``"complement"`` is log (1 − x), for momentum and betas, with 0.9, 0.99 and 0.999 equally far apart.
    """

    name: str
    low: float
    high: float
    scale: Scale = "log"
    whole: bool = False

    def __post_init__(self) -> None:
        bounds = (self.low, self.high)
        if self.scale not in _FORWARD:
            raise UnknownNameError("scale", self.scale, _FORWARD)
        rules = (
            (all(math.isfinite(bound) for bound in bounds), "a range between finite numbers", ""),
            (self.low != self.high, "a range with low < high", "Write a single value alone"),
            (self.low < self.high, "a range with low < high", f"Write ({self.high!r}, {self.low!r})"),
            (self.scale != "log" or self.low > 0, "a range of positive numbers", "Its scale is logarithmic"),
            (self.scale != "complement" or self.high < 1, "a range below 1", ""),
            (not self.whole or all(bound == round(bound) for bound in bounds), "a range between whole numbers", ""),
        )
        for holds, rule, remedy in rules:
            if not holds:
                raise InputError(self.name, bounds, f"must be {rule}", remedy)

    def to_unit(self, value: Value) -> float:
        """Return the place of ``value`` between ``low`` (0.0) and ``high`` (1.0), within them."""
        forward = _FORWARD[self.scale]
        start, end = forward(self.low), forward(self.high)
        inside = min(max(float(value), self.low), self.high)
        return min(1.0, max(0.0, (forward(inside) - start) / (end - start)))

    def from_unit(self, unit: float) -> Value:
        """Return the value at ``unit`` in [0, 1]; whole if the range is."""
        if unit <= 0 or unit >= 1:  # the ends themselves, without a rounding error
            bound = self.low if unit <= 0 else self.high
            return int(bound) if self.whole else float(bound)
        forward, back = _FORWARD[self.scale], _BACK[self.scale]
        start, end = forward(self.low), forward(self.high)
        value = min(max(_tidy(back(start + unit * (end - start))), self.low), self.high)
        return round(value) if self.whole else value

    def grid(self, points: int) -> tuple[Value, ...]:
        """Return ``points`` values at equal steps of the scale with both ends, or the middle; whole numbers once."""
        units = (0.5,) if points == 1 else tuple(np.linspace(0, 1, points).tolist())
        return tuple(dict.fromkeys(self.from_unit(unit) for unit in units))

    def __str__(self) -> str:
        return f"{self.name} {number_text(self.low)} to {number_text(self.high)}"


@dataclass(frozen=True)
class Choice:
    """One of several values, each once; a single one is fixed."""

    name: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError(self.name, list(self.values), "must have at least one value to choose from")
        if len(set(self.values)) < len(self.values):
            raise InputError(self.name, list(self.values), "must not have the same value twice")

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.values) == 1

    def from_unit(self, unit: float) -> Value:
        """Return the value whose part of [0, 1] contains ``unit``."""
        return self.values[min(max(int(unit * len(self.values)), 0), len(self.values) - 1)]

    def grid(self, points: int) -> tuple[Value, ...]:
        """Return ``points`` of the values, evenly spread over their order; all if there are not more."""
        if points >= len(self.values):
            return self.values
        places = np.linspace(0, len(self.values) - 1, points) if points > 1 else [(len(self.values) - 1) / 2]
        return tuple(self.values[int(place + 0.5)] for place in places)

    def __str__(self) -> str:
        shown = [value if isinstance(value, str) else number_text(value) for value in self.values]
        return f"{self.name} {shown[0]}" if self.fixed else f"{self.name} one of {', '.join(shown)}"


Dimension: TypeAlias = Range | Choice
DimensionT = TypeVar("DimensionT", bound=Dimension)


@dataclass(frozen=True)
class Space:
    """What a sweep varies: the learning rate and, of :class:`~stepsize.training.Changes`, what is searched with it.

    Args:
        dimensions: The dimensions, the rate first.

    Example:
        >>> space = as_space(lr=(1e-4, 1.0), momentum=(0.0, 0.99), optimizer=["sgd", "nesterov"])
        >>> space.names
        ('lr', 'momentum', 'optimizer')
        >>> str(space)
        'lr 1e-4 to 1, momentum 0 to 0.99, optimizer one of sgd, nesterov'
        >>> space.from_units((0.5, 0.5, 0.0))
        {'lr': 0.01, 'momentum': 0.9, 'optimizer': 'sgd'}
    """

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What is varied or fixed, the rate first."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def lr(self) -> Dimension:
        """The rates."""
        return self["lr"]

    @property
    def free(self) -> tuple[Dimension, ...]:
        """The dimensions in which there is something to choose."""
        return tuple(one for one in self.dimensions if isinstance(one, Range) or not one.fixed)

    def __getitem__(self, name: str) -> Dimension:
        for dimension in self.dimensions:
            if dimension.name == name:
                return dimension
        raise UnknownNameError("dimension", name, self.names)

    def from_units(self, units: Sequence[float]) -> dict[str, Value]:
        """Return the values at ``units``, one number in [0, 1] a dimension."""
        return {
            dimension.name: dimension.from_unit(unit) for dimension, unit in zip(self.dimensions, units, strict=True)
        }

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values: the fields of each dimension."""
        return {"dimensions": [asdict(dimension) for dimension in self.dimensions]}

    def __str__(self) -> str:
        return ", ".join(map(str, self.dimensions))


def as_space(*, lr: Any, **others: Any) -> Space:
    """Return the space that the arguments describe, the rate first.

    A tuple of two numbers is a range, a list is a choice, a single value is fixed, None is left to the task. Ranges
    are logarithmic, except those of ``momentum`` and ``beta2``, logarithmic in 1 − x, and of ``warmup``, linear; those
    of ``batch_size``, and of ``warmup`` between two whole numbers (steps), hold whole numbers.

    Example:
        >>> str(as_space(lr=(1e-4, 1.0), weight_decay=(1e-5, 0.1), batch_size=[32, 64], clip=1.0))
        'lr 1e-4 to 1, weight_decay 1e-5 to 0.1, batch_size one of 32, 64, clip 1'
    """
    unknown = next((name for name in others if name not in NAMES), None)
    if unknown is not None:
        raise UnknownNameError("space", unknown, NAMES)
    lr = lr.tolist() if hasattr(lr, "tolist") else lr
    if lr is None or isinstance(lr, str | Real):
        raise InputError("lr", lr, "must be a range or a list of rates to search", "For example lr=(1e-5, 1.0)")
    given = {"lr": lr, **others}
    return Space(tuple(_dimension(name, value) for name, value in given.items() if value is not None))


def _dimension(name: str, given: Any) -> Dimension:
    if isinstance(given, Range | Choice):
        if given.name != name:
            raise InputError(name, given, f"must be a dimension of that name, not of '{given.name}'")
        return _checked(given)
    if isinstance(given, tuple):
        return _range(name, given)
    values = given if isinstance(given, list) else [given]
    return _checked(Choice(name, tuple(_plain(name, value) for value in values)))


def _range(name: str, given: tuple[Any, ...]) -> Range:
    if name in _WORDS:
        raise InputError(name, given, "cannot be a range", "Write a list to choose from")
    if len(given) != 2 or any(isinstance(value, bool) or not isinstance(value, Real) for value in given):
        raise InputError(name, given, "must be a range of two numbers, (low, high)", "Write a list to choose from")
    bounds = [_plain(name, value) for value in given]
    whole = name == "batch_size" or (name == "warmup" and all(isinstance(value, int) for value in bounds))
    low, high = (float(value) for value in bounds)
    if name == "warmup" and not whole and high >= 1:
        raise InputError(name, given, "must be a range of fractions below 1, or of whole numbers of steps")
    return _checked(Range(name, low, high, scale_of(name), whole))


def scale_of(name: str) -> Scale:
    """Return the scale of a dimension by its name."""
    return _SCALES.get(name, "log")


def _checked(dimension: DimensionT) -> DimensionT:
    """Return ``dimension`` if the field of its name may have all its values."""
    if isinstance(dimension, Choice):
        values: tuple[Value, ...] = dimension.values
    else:
        values = (dimension.from_unit(0.0), dimension.from_unit(1.0))
    for value in values:
        _check_value(dimension.name, value)
    return dimension


def _plain(name: str, value: Any) -> Value:
    """Return ``value`` as a plain number or text: NumPy's numbers and Schedules are taken too."""
    if name == "schedule" and isinstance(value, Schedule):
        return write(value)
    if isinstance(value, bool) or not isinstance(value, str | Real):
        kind = "a text" if name in _WORDS else "a number"
        raise InputError(name, value, f"must be {kind}, a list of them or a range of two numbers")
    if isinstance(value, str):
        return value
    if isinstance(value, Integral) and abs(int(value)) > sys.float_info.max:
        raise InputError(name, value, "must be a finite number")
    return int(value) if isinstance(value, Integral) else float(value)


def _check_value(name: str, value: Value) -> None:
    if name == "lr":
        check_lr(name, value)
    else:
        check_changes(Changes(**{name: value}))  # type: ignore[arg-type]


_SCALES: dict[str, Scale] = {"momentum": "complement", "beta2": "complement", "warmup": "linear"}
_WORDS = ("optimizer", "schedule")


_FORWARD: dict[str, Callable[[float], float]] = {
    "log": math.log10,
    "linear": float,
    "complement": lambda x: -math.log1p(-x),
}
_BACK: dict[str, Callable[[float], float]] = {
    "log": lambda y: 10.0**y,
    "linear": float,
    "complement": lambda y: -math.expm1(-y),
}


def _tidy(value: float) -> float:
    """Return ``value`` to 12 digits: 0.001 rather than 0.0010000000000000002, for those who read it."""
    return float(f"{value:.12g}")
