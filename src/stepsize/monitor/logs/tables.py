"""Training logs of many tools as rows of numbers, and the step of each row."""

from __future__ import annotations

import ast
import csv
import json
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from stepsize.errors import InputError

Row = dict[str, float]
Columns = dict[str, list[tuple[int, float]]]
"""Steps and values by name."""

_COUNTERS = ("step", "global step", "train global step", "iteration", "iter", "it", "batch", "epoch")
_PAIR = re.compile(
    r"([A-Za-z_][\w/ .-]*?)\s*[:=]\s*([-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|nan|inf|NaN|Inf))(?![\w.])"
)
_SPACED = re.compile(r"([A-Za-z_][\w/.-]*)\s+([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))(?![\w.])")


def read_table(path: Path) -> Columns:
    """Return the columns of a text log: CSV with any delimiter, JSON lines, ``trainer_state.json``, or named numbers.

    Raises:
        InputError: If it is none of these.
    """
    rows = read_rows(path)
    steps, counter = steps_of(rows)
    columns: Columns = {}
    for step, row in zip(steps, rows, strict=True):
        if step is None:
            continue
        if abs(step) >= 2**53:
            raise InputError("log", step, "must count steps below 2**53, which numbers hold exactly")
        for name, value in row.items():
            if name != counter:
                columns.setdefault(name, []).append((step, value))
    return columns


def plain_name(name: str) -> str:
    """Return a column's name in lower case, with one space for each run of other signs.

    Example:
        >>> plain_name(" Train/Loss_step ")
        'train loss step'
    """
    return re.sub(r"[\s/_.-]+", " ", name.strip().lower()).strip()


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a text log."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("log", str(path), "must be a text file or a TensorBoard event file") from error
    for read in (_json_rows, _line_rows, _delimited_rows, _text_rows):
        rows = read(text)
        if rows:
            return rows
    header, _, rest = text.partition("\n")
    if rest.strip() and (any(sign in header for sign in ",;\t") or header.strip().isidentifier()):
        return [{}]  # a table without numbers
    remedy = "For example: step,loss,lr; JSON lines, trainer_state.json and lines like 'step 3: loss 2.1' also work"
    raise InputError("log", str(path), "must hold a header and rows", remedy)


def steps_of(rows: list[Row]) -> tuple[list[int | None], str | None]:
    """Return the step of each row, None of those that a resumed run overwrote, and the counter's column.

    A counter that is not whole, repeats or starts again (an epoch, a batch within it) is not a step: then rows are
    counted. One that goes back and then on is a run that was resumed, and its later rows count.
    """
    names = {plain_name(name): name for row in rows for name in row}
    counter = next((names[usual] for usual in _COUNTERS if usual in names), None)
    if counter is None:
        return list(range(len(rows))), None
    values = [row[counter] for row in rows if counter in row and math.isfinite(row[counter])]
    backs = sum(after < before for before, after in pairwise(values))
    repeats = sum(after == before for before, after in pairwise(values))
    whole = all(value == int(value) for value in values)
    sparse = len({tuple(sorted(row)) for row in rows}) > 1  # several rows of one step, each with other columns
    epochs = plain_name(counter) != "epoch" and "epoch" in names
    anew = epochs and any(after <= values[0] for after in values[1:])  # a batch within its epoch
    if not values or not whole or anew or (repeats and not sparse) or backs > max(2, len(values) // 50):
        return list(range(len(rows))), None
    steps: list[int | None] = [None] * len(rows)
    lowest = math.inf
    for place in range(len(rows) - 1, -1, -1):
        value = rows[place].get(counter, math.nan)
        if math.isfinite(value) and value <= lowest:
            steps[place], lowest = int(value), value
            if not sparse:
                lowest = value - 1 if backs else value
    return steps, counter


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value) if str(value).strip() else None
    except ValueError:
        return math.nan if str(value).strip().lower() == "none" else None


def _row(values: Mapping[Any, Any]) -> Row:
    found = {str(name).strip(): _number(value) for name, value in values.items() if name is not None}
    return {name: value for name, value in found.items() if value is not None}


def _json_rows(text: str) -> list[Row]:
    """Read one JSON value: the state of a Trainer of transformers, or a list of rows."""
    if text[:1] not in "{[":
        return []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    rows = value.get("log_history") if isinstance(value, dict) else value
    return [_row(one) for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []


def _line_rows(text: str) -> list[Row]:
    """Read lines that each are a JSON object or a printed dict."""
    rows = []
    for line in text.splitlines():
        begin, end = line.find("{"), line.rfind("}")
        if begin < 0 or end < begin:
            continue
        for parse in (json.loads, ast.literal_eval):
            try:
                value = parse(line[begin : end + 1])
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(value, dict):
                rows.append(_row(value))
            break
    return [row for row in rows if row]


def _delimited_rows(text: str) -> list[Row]:
    lines = text.splitlines()
    if len(lines) < 2:
        return []
    delimiter = max(",;\t|", key=lines[0].count)
    alone = lines[0].strip().isidentifier() and _number(lines[1]) is not None
    if not alone and (not lines[0].count(delimiter) or lines[0].count(delimiter) != lines[1].count(delimiter)):
        return []
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [_row(row) for row in reader]
    except csv.Error:
        return []
    header = [name for name in reader.fieldnames or () if name]
    return rows if any(rows) and not all(_number(name) is not None for name in header) else []


def _text_rows(text: str) -> list[Row]:
    """Read lines of ``name: value`` or ``name value``, such as ``iter 10: loss 2.31, lr 0.001``."""
    rows = []
    for line in text.splitlines():
        pairs = [*_SPACED.findall(line), *_PAIR.findall(line)]
        rows.append({plain_name(name.rpartition(",")[2]): float(value.replace("_", "")) for name, value in pairs})
    return [row for row in rows if any("loss" in name.lower() for name in row)]
