"""Scalars from TensorBoard's event files, read without TensorBoard."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from stepsize.errors import InputError

__all__ = ["read_events"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT, _DOUBLE = 1, 2  # of TensorProto


def read_events(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars of an event file: by tag, the steps and values in the order of writing.

    Records are framed by their length (8 bytes), its checksum (4), and the checksum of the content (4); a torn last
    record is left out. Each is an ``Event`` message with a step and a summary of tagged values.

    Raises:
        InputError: If it is no event file.
    """
    scalars: dict[str, list[tuple[int, float]]] = {}
    try:
        for event in _records(path.read_bytes()):
            _take(event, scalars)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise InputError("log", str(path), "must be a TensorBoard event file", "Give a CSV of its scalars") from error
    return scalars


def _records(content: bytes) -> Iterator[bytes]:
    at = 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        if at + 16 + length > len(content):
            return
        yield content[at + 12 : at + 12 + length]
        at += 16 + length


def _take(event: bytes, scalars: dict[str, list[tuple[int, float]]]) -> None:
    step, summaries = 0, []
    for field, _, value in _fields(event):
        if field == 2 and isinstance(value, int):
            step = value
        elif field == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for field, _, value in _fields(summary):
            if field == 1 and isinstance(value, bytes):
                tag, number = _value(value)
                if number is not None:
                    scalars.setdefault(tag, []).append((step, number))


def _value(message: bytes) -> tuple[str, float | None]:
    tag, number = "", None
    for field, kind, value in _fields(message):
        if field == 1 and isinstance(value, bytes):
            tag = value.decode()
        elif field == 2 and kind == _FIXED32 and isinstance(value, bytes):
            (number,) = struct.unpack("<f", value)
        elif field == 8 and isinstance(value, bytes):
            number = _tensor(value)
    return tag, number


def _tensor(message: bytes) -> float | None:
    """Return the number of a tensor that holds one float or double."""
    fields = [(field, value) for field, _, value in _fields(message)]
    kind = next((value for field, value in fields if field == 1), None)
    form = {_FLOAT: "<f", _DOUBLE: "<d"}.get(kind) if isinstance(kind, int) else None
    place = {_FLOAT: 5, _DOUBLE: 6}
    for field, value in fields:
        held = isinstance(value, bytes) and form is not None and len(value) == struct.calcsize(form)
        if held and isinstance(kind, int) and field in (4, place[kind]):
            return float(struct.unpack(form or "", value)[0])  # type: ignore[arg-type]
    return None


def _fields(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield number, kind and value of each field of a protocol-buffer message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield field, kind, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise IndexError(f"field kind {kind}")
        if at + length > len(message):
            raise IndexError("a field ends behind its message")
        yield field, kind, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
