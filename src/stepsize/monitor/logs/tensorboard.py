"""Scalars from TensorBoard's event files, without TensorBoard."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from stepsize.errors import InputError
from stepsize.monitor.logs.texts import Row, Rows

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FORMS = {1: ("<f", 5), 2: ("<d", 6)}  # dtype of a TensorProto: how a number is packed, and the field of its values


def read_events(path: Path) -> Rows:
    """Return the scalars of an event file, a row for each, in the order of writing.

    Records are framed by their length (8 bytes), its checksum (4), and the checksum of the content (4); a torn last
    record is left out. Each is an ``Event`` message with a step and a summary of tagged values.
    """
    rows: list[Row] = []
    try:
        for event in _records(path.read_bytes()):
            parts = list(fields(event))
            step = next((value for field, value in parts if field == 2 and isinstance(value, int)), 0)
            for summary in (value for field, value in parts if field == 5 and isinstance(value, bytes)):
                for field, value in fields(summary):
                    if field == 1 and isinstance(value, bytes):
                        tag, number = _value(value)
                        if number is not None:
                            rows.append({"global step": float(step), tag: number})
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise InputError("log", str(path), "must be a TensorBoard event file", "Pass a CSV of its scalars") from error
    return Rows(rows, "TensorBoard events")


def _records(content: bytes) -> Iterator[bytes]:
    at = 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        if at + 16 + length > len(content):
            return
        yield content[at + 12 : at + 12 + length]
        at += 16 + length


def _value(message: bytes) -> tuple[str, float | None]:
    """Return tag and number of a value: a float, or a tensor that holds one float or double."""
    tag, number = "", None
    for field, value in fields(message):
        if field == 1 and isinstance(value, bytes):
            tag = value.decode()
        elif field == 2 and isinstance(value, bytes) and len(value) == 4:
            number = float(struct.unpack("<f", value)[0])
        elif field == 8 and isinstance(value, bytes):
            number = _tensor(list(fields(value)))
    return tag, number


def _tensor(parts: list[tuple[int, int | bytes]]) -> float | None:
    dtype = next((value for field, value in parts if field == 1 and isinstance(value, int)), 0)
    form, place = _FORMS.get(dtype, ("", 0))
    for field, value in parts:
        if form and field in (4, place) and isinstance(value, bytes) and len(value) == struct.calcsize(form):
            return float(struct.unpack(form, value)[0])
    return None


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a protocol-buffer message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield field, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise IndexError(f"field kind {kind}")
        if at + length > len(message):
            raise IndexError("a field ends after its message")
        yield field, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
