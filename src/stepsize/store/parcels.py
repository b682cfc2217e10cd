"""Named arrays as one piece of compact bytes."""

from __future__ import annotations

import json
import zlib

import numpy as np
from numpy.typing import NDArray

from stepsize.store.records import Arrays

__all__ = ["pack_arrays", "unpack_arrays"]

_LEVEL = 1  # of zlib: the quickest, which leaves two thirds of typical signals
_MOST_BYTES = 1 << 28  # unpacked: a hundred times what a write of signals takes
_HEAD = 4  # bytes of the length of the head


def pack_arrays(arrays: Arrays) -> bytes:
    """Return named arrays as bytes: a head of JSON with names, types and lengths, then the numbers, little-endian.

    Values come back exactly: what fits into four bytes without loss takes four, all else eight.

    Args:
        arrays: One-dimensional, of whole numbers or floats.

    Example:
        >>> packed = pack_arrays({"loss": [np.array([0, 7]), np.array([0.5, np.nan])]})
        >>> unpack_arrays(packed)
        {'loss': (array([0, 7]), array([0.5, nan]))}
    """
    told: list[tuple[str, list[tuple[str, int]]]] = []
    parts: list[bytes] = []
    for name, several in arrays.items():
        small = [_small(one) for one in several]
        told.append((name, [(one.dtype.str, len(one)) for one in small]))
        parts += [one.tobytes() for one in small]
    head = json.dumps(told, separators=(",", ":")).encode()
    return zlib.compress(b"".join([len(head).to_bytes(_HEAD, "little"), head, *parts]), _LEVEL)


def unpack_arrays(packed: bytes) -> dict[str, tuple[NDArray[np.int64] | NDArray[np.float64], ...]]:
    """Return the arrays that :func:`pack_arrays` packed, as int64 and float64.

    Raises:
        ValueError: If the bytes are no such arrays.
    """
    try:
        if not isinstance(packed, bytes | memoryview):  # a cell that was edited; bytes(2**62) would ask for as many
            raise TypeError(f"a payload must be bytes, not {type(packed).__name__}")
        unpacking = zlib.decompressobj()
        whole = unpacking.decompress(packed, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacking.eof:
        raise ValueError("it is cut off, or unpacks to more than signals ever take")
    at = _HEAD + int.from_bytes(whole[:_HEAD], "little")
    found: dict[str, tuple[NDArray[np.int64] | NDArray[np.float64], ...]] = {}
    for name, several in json.loads(whole[_HEAD:at]):
        held: list[NDArray[np.int64] | NDArray[np.float64]] = []
        for code, length in several:
            kind = np.dtype(code)
            one = np.frombuffer(whole, kind, length, at)
            at += length * kind.itemsize
            held.append(one.astype(np.float64) if kind.kind == "f" else one.astype(np.int64))
        found[name] = tuple(held)
    return found


def _small(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if array.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold differs below
            small = array.astype("<f4")
        exact = np.array_equal(small.astype(np.float64), array, equal_nan=True)
        return small if exact else array.astype("<f8")
    fits = not len(array) or (int(array.min()) >= 0 and int(array.max()) < 2**32)
    return array.astype("<u4" if fits else "<i8")
