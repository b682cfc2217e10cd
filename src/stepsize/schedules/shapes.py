"""How a factor goes from one value to another: the shapes of warmups, decays and cooldowns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError, UnknownNameError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ShapeEntry:
    """A shape in the catalog."""

    decay: Callable[..., Array]  # d(p, *parameters) on progress p in [0, 1], falling from d(0) = 1 to d(1) = 0
    title: str  # the formula, for people
    parameters: tuple[tuple[str, float, float], ...] = ()  # names, defaults and exclusive lower limits
    exact: bool = True  # whether it reaches 1 and 0; a few published formulas stop short
    source: str = ""


def _tanh(p: Array, lower: float, upper: float) -> Array:
    return 0.5 * (1 - np.tanh(lower * (1 - p) + upper * p))


SHAPES: dict[str, ShapeEntry] = {
    "linear": ShapeEntry(lambda p: 1 - p, "1 − p"),
    "cosine": ShapeEntry(
        lambda p, power: 0.5 * (1 + np.cos(math.pi * p)) if power == 1 else (0.5 * (1 + np.cos(math.pi * p))) ** power,
        "((1 + cos πp) / 2)^power",
        (("power", 1.0, 0.0),),
        source="Loshchilov and Hutter, SGDR, 2017",
    ),
    "k-decay": ShapeEntry(
        lambda p, k: 0.5 * (1 + np.cos(math.pi * p**k)),
        "(1 + cos πp^k) / 2",
        (("k", 2.0, 0.0),),
        source="Zhang and Li, k-decay: A new method for learning rate schedule, 2020",
    ),
    "waves": ShapeEntry(
        lambda p, cycles: 0.5 * (1 + np.cos(2 * math.pi * cycles * p)),
        "(1 + cos 2π·cycles·p) / 2",
        (("cycles", 1.5, 0.0),),
        exact=False,
    ),
    "exponential": ShapeEntry(lambda p: 1 - p, "start^(1 − p) · end^p"),  # geometric: see Shape.between
    "1-sqrt": ShapeEntry(
        lambda p: 1 - np.sqrt(p),
        "1 − √p",
        source="Hägele et al., Scaling laws and compute-optimal training beyond fixed training durations, 2024",
    ),
    "1-square": ShapeEntry(lambda p: 1 - p * p, "1 − p²"),
    "polynomial": ShapeEntry(lambda p, power: (1 - p) ** power, "(1 − p)^power", (("power", 2.0, 0.0),)),
    "1-power": ShapeEntry(lambda p, power: 1 - p**power, "1 − p^power", (("power", 2.0, 0.0),)),
    "halving": ShapeEntry(
        lambda p, ratio: 1 - p if ratio == 1 else (ratio**p - ratio) / (1 - ratio),
        "(ratio^p − ratio) / (1 − ratio)",
        (("ratio", 0.5, 0.0),),
    ),
    "rex": ShapeEntry(
        lambda p: (1 - p) / (1 - p / 2),
        "(1 − p) / (1 − p/2)",
        source="Chen, Wolfe and Kyrillidis, REX: Revisiting budgeted training with an improved schedule, 2022",
    ),
    "tanh": ShapeEntry(
        _tanh,
        "(1 − tanh(lower·(1 − p) + upper·p)) / 2",
        (("lower", -7.0, -math.inf), ("upper", 3.0, -math.inf)),
        exact=False,
        source="Hsueh, Li and Wu, Stochastic gradient descent with hyperbolic-tangent decay, 2019",
    ),
}
_TEXT = re.compile(r"\s*(?P<name>[A-Za-z0-9-]+)\s*(?:\((?P<arguments>[^()]*)\))?\s*")


@dataclass(frozen=True)
class Shape:
    """One of :data:`SHAPES` with its parameters.

    Args:
        name: A key of :data:`SHAPES`.
        parameters: Values in the order of the entry; missing ones take their defaults.

    Raises:
        UnknownNameError: If there is no such shape.
        InputError: If a parameter breaks its rule.

    Example:
        >>> Shape("polynomial", (3.0,)), str(Shape("tanh"))
        (Shape('polynomial(3)'), 'tanh')
        >>> Shape("1-sqrt").between(1.0, 0.0, np.array([0.0, 0.25, 1.0]))
        array([1. , 0.5, 0. ])
    """

    name: str
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in SHAPES:
            raise UnknownNameError("shape", self.name, SHAPES)
        known = SHAPES[self.name].parameters
        if len(self.parameters) > len(known):
            names = ", ".join(name for name, _, _ in known) or "none"
            raise InputError("shape", str(self.parameters), f"'{self.name}' takes {len(known)} parameters ({names})")
        given = [self._number(value) for value in self.parameters]
        given += [default for _, default, _ in known[len(given) :]]
        for (name, _, above), value in zip(known, given, strict=True):
            if not (math.isfinite(value) and value > above):
                raise InputError(f"shape '{self.name}'", value, f"needs {name} to be a finite number above {above:g}")
        object.__setattr__(self, "parameters", tuple(given))

    def _number(self, value: object) -> float:
        if isinstance(value, bool | str) or not hasattr(value, "__float__"):
            raise InputError(f"shape '{self.name}'", value, "needs numbers as parameters")
        return float(value) + 0.0  # which turns -0.0 into 0.0

    def __str__(self) -> str:
        if self.parameters == tuple(value for _, value, _ in SHAPES[self.name].parameters):
            return self.name
        return f"{self.name}({', '.join(repr(value).removesuffix('.0') for value in self.parameters)})"

    def __repr__(self) -> str:
        return f"Shape({str(self)!r})"

    def check_way(self, start: float, end: float) -> None:
        """Raise InputError if it cannot go from ``start`` to ``end``."""
        if self.name == "exponential" and start != end and min(start, end) == 0:
            raise InputError(
                "shape", "exponential", "cannot start or end at the factor 0", "Use a small factor instead"
            )

    def between(self, start: float, end: float, progress: Array) -> Array:
        """Return the factors from ``start`` to ``end``.

        With d the decay of :data:`SHAPES`: ``end`` + (``start`` - ``end``) d(p) if the factor falls, and the same
        mirrored in time, ``start`` + (``end`` - ``start``) d(1 - p), if it rises. ``exponential`` is
        ``start``^(1 - p) ``end``^p in both directions.

        Args:
            start: The factor at progress 0.
            end: The factor at progress 1.
            progress: p, in [0, 1], any shape.

        Returns:
            Factors of the same shape.
        """
        entry = SHAPES[self.name]
        if start == end:
            return np.full_like(progress, start)
        if self.name == "linear":
            values = start + (end - start) * progress
        elif self.name == "exponential":
            values = start * (end / start) ** progress
        elif start > end:
            values = end + (start - end) * entry.decay(progress, *self.parameters)
        else:
            values = start + (end - start) * entry.decay(1 - progress, *self.parameters)
        if entry.exact:  # both ends to the last bit, despite rounding
            values = np.where(progress <= 0, start, np.where(progress >= 1, end, values))
        return values


LINEAR, COSINE, ROOT = Shape("linear"), Shape("cosine"), Shape("1-sqrt")


def as_shape(value: object) -> Shape:
    """Return ``value`` as a shape; a text is its name, with its parameters in parentheses if it has any."""
    if isinstance(value, Shape):
        return value
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise InputError(
            "shape", value, "must be a name like 'cosine' or 'polynomial(2)'", f"Known: {', '.join(SHAPES)}"
        )
    try:
        parameters = tuple(float(part) for part in (match["arguments"] or "").split(",") if part.strip())
    except ValueError:
        raise InputError("shape", value, "must have numbers as parameters") from None
    return Shape(match["name"], parameters)
