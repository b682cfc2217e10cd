"""Named arrays as compact bytes, and long curves thinned."""

from __future__ import annotations

import json
import zlib

import numpy as np
from numpy.typing import NDArray

from stepsize.store.records import Arrays

MOST_POINTS = 2_000  # of a curve: more than any chart shows, and 8 kB of losses
_LEVEL = 1  # of zlib: the fastest, which leaves two thirds of typical signals
_MOST_BYTES = 1 << 28  # unpacked: a hundred times what one write of signals takes
_HEAD = 4  # bytes that hold the length of the head
_JSON = json.JSONEncoder(separators=(",", ":"))
_FEW = 16  # numbers that are not worth a search for a smaller type
_SHORT = 256  # bytes that are not worth a compression


def thinned(values: NDArray[np.float64], steps: NDArray[np.int64]) -> Arrays:
    """Return a curve as arrays, cut to evenly spaced points with the first and last; consecutive steps are left out."""
    length = len(values)
    if length > MOST_POINTS:
        kept = np.linspace(0, length - 1, MOST_POINTS).round().astype(np.int64)
        values, steps = values[kept], steps[kept]
    if not length or int(steps[-1]) + 1 == len(steps):
        return {"losses": [values]}
    return {"losses": [values], "steps": [steps]}


def pack_arrays(arrays: Arrays) -> bytes:
    """Return one-dimensional arrays as bytes: a JSON head with names, types and lengths, then the numbers.

    Values come back exactly: numbers that fit into four bytes without loss take four, all others eight.

    Example:
        >>> packed = pack_arrays({"loss": [np.array([0, 7]), np.array([0.5, np.nan])]})
        >>> unpack_arrays(packed)
        {'loss': (array([0, 7]), array([0.5, nan]))}
    """
    head: list[tuple[str, list[tuple[str, int]]]] = []
    parts: list[bytes] = []
    for name, several in arrays.items():
        small = [_small(one) for one in several]
        head.append((name, [(one.dtype.str, len(one)) for one in small]))
        parts += [one.tobytes() for one in small]
    written = _JSON.encode(head).encode()
    whole = b"".join([len(written).to_bytes(_HEAD, "little"), written, *parts])
    return b"\0" + whole if len(whole) < _SHORT else zlib.compress(whole, _LEVEL)  # which begins with another byte


def unpack_arrays(packed: bytes) -> dict[str, tuple[NDArray[np.int64] | NDArray[np.float64], ...]]:
    """Return the arrays that :func:`pack_arrays` packed, as int64 and float64; raises ValueError for other bytes."""
    if not isinstance(packed, bytes | memoryview):  # a cell that was edited; bytes(2**62) would allocate as many
        raise TypeError(f"packed arrays must be bytes, not {type(packed).__name__}")
    whole = bytes(packed[1:]) if bytes(packed[:1]) == b"\0" else _decompressed(packed)
    at = _HEAD + int.from_bytes(whole[:_HEAD], "little")
    found: dict[str, tuple[NDArray[np.int64] | NDArray[np.float64], ...]] = {}
    for name, several in json.loads(whole[_HEAD:at]):
        arrays: list[NDArray[np.int64] | NDArray[np.float64]] = []
        for code, length in several:
            kind = np.dtype(code)
            one = np.frombuffer(whole, kind, length, at)
            at += length * kind.itemsize
            arrays.append(one.astype(np.float64) if kind.kind == "f" else one.astype(np.int64))
        found[name] = tuple(arrays)
    return found


def _decompressed(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        whole = unpacking.decompress(packed, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacking.eof:
        raise ValueError("packed arrays are cut off, or unpack to more than signals ever take")
    return whole


def _small(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if len(array) < _FEW:
        return array.astype("<f8" if array.dtype.kind == "f" else "<i8")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # a value that float32 cannot hold differs below
            small = array.astype("<f4")
        exact = np.array_equal(small.astype(np.float64), array, equal_nan=True)
        return small if exact else array.astype("<f8")
    fits = int(array.min()) >= 0 and int(array.max()) < 2**32
    return array.astype("<u4" if fits else "<i8")
