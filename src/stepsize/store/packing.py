"""Curves as compact bytes, and floats that JSON has no word for."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepsize.errors import InputError
from stepsize.store.records import Curve

__all__ = ["MOST_POINTS", "Packed", "json_metrics", "metrics_of", "pack", "unpack"]

MOST_POINTS = 2_000
"""A curve keeps at most so many points: more than any chart shows, and 8 kB of losses."""

Packed = dict[str, object]
_INTEGERS = "<u4", "<u8"


def pack(values: ArrayLike, steps: ArrayLike | None = None) -> Packed:
    """Return the columns of a curve: little-endian bytes, thinned to :data:`MOST_POINTS`.

    Points that are kept are exact: first and last, and between them evenly spaced ones. Values that float32 holds
    exactly, as losses from torch do, take four bytes, all others eight.

    Args:
        values: The points, shape ``(n, …)``.
        steps: The update of each point, whole and >= 0, shape ``(n,)``; default 0, 1, 2, …

    Returns:
        ``length``, ``shape``, ``steps``, ``dtype`` and ``values`` by name; ``steps`` is None where the default holds.

    Raises:
        InputError: If there is not one step a point, or a step is no whole number >= 0.

    Example:
        >>> packed = pack([0.5, 0.25, 0.125])
        >>> packed["dtype"], packed["shape"], len(packed["values"])
        ('<f4', '3', 12)
        >>> unpack(packed).values
        array([0.5  , 0.25 , 0.125])
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim == 0:
        raise InputError("values", values, "must be an array of points")
    at = None if steps is None else _whole(steps, len(points))
    length = len(points)
    if length > MOST_POINTS:
        kept = np.linspace(0, length - 1, MOST_POINTS).round().astype(np.int64)
        points, at = points[kept], kept if at is None else at[kept]
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold becomes infinite and is seen below
        small = points.astype("<f4")
    exact = bool(np.array_equal(small.astype(np.float64), points, equal_nan=True))
    return {
        "length": length,
        "shape": ",".join(map(str, points.shape)),
        "steps": None if at is None else _packed_steps(at),
        "dtype": "<f4" if exact else "<f8",
        "values": (small if exact else points.astype("<f8")).tobytes(),
    }


def unpack(columns: Mapping[str, object]) -> Curve:
    """Return the curve that :func:`pack` made the columns of.

    Raises:
        ValueError: If the bytes do not fit the shape.
    """
    shape = tuple(int(size) for size in str(columns["shape"]).split(","))
    values = np.frombuffer(_bytes(columns["values"]), str(columns["dtype"])).astype(np.float64).reshape(shape)
    return Curve(_unpacked_steps(columns["steps"], shape[0]), values, int(str(columns["length"])))


def json_metrics(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Return metrics as JSON holds them: what is not finite becomes its name.

    Example:
        >>> json_metrics({"accuracy": 0.5, "perplexity": float("inf")})
        {'accuracy': 0.5, 'perplexity': 'inf'}
    """
    return {name: value if math.isfinite(value) else repr(float(value)) for name, value in metrics.items()}


def metrics_of(stored: Mapping[str, float | str]) -> dict[str, float]:
    """Return the metrics that :func:`json_metrics` wrote."""
    return {name: float(value) for name, value in stored.items()}


def _whole(steps: ArrayLike, count: int) -> NDArray[np.int64]:
    given = np.asarray(steps)
    if given.shape != (count,):
        raise InputError("steps", given.shape, f"must hold one step for each of the {count} points")
    whole = given.astype(np.int64)
    if (whole != given).any() or (whole < 0).any():
        raise InputError("steps", steps, "must be whole numbers >= 0")
    return whole


def _packed_steps(steps: NDArray[np.int64]) -> bytes:
    wide = len(steps) > 0 and int(steps.max()) >= 2**32
    return steps.astype(_INTEGERS[wide]).tobytes()


def _unpacked_steps(stored: object, count: int) -> NDArray[np.int64]:
    if stored is None:
        return np.arange(count, dtype=np.int64)
    packed = _bytes(stored)
    return np.frombuffer(packed, _INTEGERS[len(packed) > 4 * count]).astype(np.int64)


def _bytes(stored: object) -> bytes:
    assert isinstance(stored, bytes | memoryview)
    return bytes(stored)
