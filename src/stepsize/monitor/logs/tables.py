"""Training logs of many tools as rows of numbers, and the step that each row belongs to."""

from __future__ import annotations

import ast
import csv
import json
import math
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from stepsize.errors import InputError

__all__ = ["COUNTERS", "plain_name", "read_rows", "steps_of"]

Row = dict[str, float]

COUNTERS = ("step", "global step", "train global step", "iteration", "iter", "it", "batch", "epoch")
"""Names of counters, as :func:`plain_name` writes them; the first one that is there counts."""

_WORDS = ("nan", "none", "inf", "-inf", "infinity", "-infinity")
_PAIR = re.compile(
    r"([A-Za-z_][\w/ .-]*?)\s*[:=]\s*([-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|nan|inf|NaN|Inf))(?![\w.])"
)
_SPACED = re.compile(r"([A-Za-z_][\w/.-]*)\s+([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|nan|inf))(?![\w.])")


def plain_name(name: str) -> str:
    """Return a column's name in lower case, with one space for each run of other signs.

    Example:
        >>> plain_name(" Train/Loss_step ")
        'train loss step'
    """
    return re.sub(r"[\s/_.-]+", " ", name.strip().lower()).strip()


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a log: CSV with any delimiter, JSON lines, ``trainer_state.json``, or text with names.

    Raises:
        InputError: If it is none of these.
    """
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
    remedy = "For example: step,loss,lr; JSON lines, trainer_state.json and lines like 'step 3: loss 2.1' are read too"
    raise InputError("log", str(path), "must hold a header and rows", remedy)


def steps_of(rows: list[Row]) -> tuple[list[int | None], str | None]:
    """Return the step of each row, None of those that a resumed training overwrote, and the counter's column.

    A counter that is not whole, repeats or begins anew (an epoch, a batch within it) is no step: rows are then
    counted. One that goes back and then on is a training that was resumed, and its later rows count.
    """
    names = {plain_name(name): name for row in rows for name in row}
    counter = next((names[usual] for usual in COUNTERS if usual in names), None)
    if counter is None:
        return list(range(len(rows))), None
    told = [(place, row[counter]) for place, row in enumerate(rows) if counter in row and math.isfinite(row[counter])]
    values = [value for _, value in told]
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
    """Read lines that each are an object of JSON or a printed dict."""
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
    rows = [_pairs(line) for line in text.splitlines()]
    return [row for row in rows if any("loss" in name.lower() for name in row)]


def _pairs(line: str) -> Row:
    found: Iterable[tuple[str, str]] = [*_SPACED.findall(line), *_PAIR.findall(line)]
    return {plain_name(name.rpartition(",")[2]): float(value.replace("_", "")) for name, value in found}
