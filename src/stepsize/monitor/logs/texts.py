"""Rows of numbers from the text logs of many tools."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepsize.errors import InputError
from stepsize.monitor.logs.names import COUNTERS, NAMES, plain_name

Row = dict[str, float]


@dataclass(frozen=True)
class Rows:
    """What a file holds: numbers by name, in its order."""

    rows: list[Row]
    form: str  # format, in words
    planned: int | None = None  # number of planned steps, if the file has it


_NUMBER = r"[-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|nan|inf|NaN|Inf)"
_WORD = r"[A-Za-z_][\w/.-]*"
_PAIR = re.compile(
    rf"(?<!\w)({_WORD}(?: {_WORD}){{0,3}})(?:\s*[:=]\s*|\s+)({_NUMBER})(?![\w.])(?:\s*/\s*(\d+)(?![\w.]))?"
)
_DARKNET = re.compile(rf"\s*(\d+): ({_NUMBER}), {_NUMBER} avg(?: loss)?, ({_NUMBER}) rate")
_HELD_OUT = ("val", "valid", "validation", "eval", "evaluation", "test")
_ROUNDED = re.compile(r"[-+]?0\.0{3,}")


def read_text(path: Path) -> Rows:
    """Return the rows of a text log."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        rule = "must be a text file, a TensorBoard event file, or a run of W&B or MLflow"
        raise InputError("log", path.name, rule) from error
    for read in (_json_rows, _line_rows, _delimited_rows, _aligned_rows, _text_rows):
        found = read(text)
        if found is not None and found.rows:
            return found
    header, _, rest = text.partition("\n")
    if rest.strip() and (any(sign in header for sign in ",;\t") or header.strip().isidentifier()):
        return Rows([{}], "a table without numbers")
    remedy = "For example: step,loss,lr; JSON lines, trainer_state.json and lines like 'step 3: loss 2.1' also work"
    seen = f"{path.name}, which begins with {header.strip()[:60]!r}" if text.strip() else f"{path.name}, which is empty"
    raise InputError("log", seen, "must hold a header and rows", remedy)


def number(value: Any) -> float | None:
    """Return a value as a number, None if it is none; ``-0.0`` is a zero that was rounded, such as ``0.00000``."""
    if value is None:
        return math.nan
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    if text.lower() == "none":
        return math.nan
    try:
        return -0.0 if _ROUNDED.fullmatch(text) else float(text)
    except ValueError:
        return None


def as_row(values: Mapping[Any, Any], before: str = "") -> Row:
    """Return the numbers of a mapping, those of nested ones by ``outer/inner``."""
    split = next((values[name] for name in ("mode", "split", "phase") if name in values), None)
    if not before and isinstance(split, str) and split.lower() in _HELD_OUT:
        before = "val/"
    row: Row = {}
    for name, value in values.items():
        label = f"{before}{str(name).strip()}"
        if isinstance(value, Mapping):
            row.update(as_row(value, f"{label}/"))
        elif name is not None and (found := number(value)) is not None:
            row[label] = found
    return row


def _json_rows(text: str) -> Rows | None:
    """Read one JSON value: the state of a Trainer of transformers, or a list of rows."""
    if text[:1] not in "{[":
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    state = value if isinstance(value, dict) else {}
    rows = state.get("log_history", value)
    if not isinstance(rows, list):
        return None
    planned = number(state.get("max_steps"))
    form = "trainer state of transformers" if "log_history" in state else "JSON"
    kept = [as_row(one) for one in rows if isinstance(one, dict)]
    return Rows(kept, form, int(planned) if planned and math.isfinite(planned) and planned > 0 else None)


def _line_rows(text: str) -> Rows | None:
    """Read lines that each are a JSON object or a printed dict."""
    rows, form = [], ""
    readers: dict[str, Callable[[str], Any]] = {"JSON lines": json.loads, "printed dicts": ast.literal_eval}
    for line in text.splitlines():
        begin, end = line.find("{"), line.rfind("}")
        if begin < 0 or end < begin:
            continue
        for name, parse in readers.items():
            try:
                value = parse(line[begin : end + 1])
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(value, dict):
                form = form or name
                rows.append(as_row(value))
            break
    kept = [row for row in rows if _known(row)]
    return Rows([row for row in rows if row] if kept else [], form)


def _delimited_rows(text: str) -> Rows | None:
    lines = text.splitlines()
    if len(lines) < 2:
        return None
    delimiter = max(",;\t|", key=lines[0].count)
    alone = lines[0].strip().isidentifier() and number(lines[1]) is not None
    if not alone and (not lines[0].count(delimiter) or lines[0].count(delimiter) != lines[1].count(delimiter)):
        return None
    return _table(csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True), "CSV")


def _aligned_rows(text: str) -> Rows | None:
    """Read a table whose columns are separated by spaces; its header can be repeated."""
    cells = [line.split() for line in text.splitlines() if line.strip()]
    head = next(
        (place for place, one in enumerate(cells) if any(NAMES["loss"].fullmatch(plain_name(n)) for n in one)), 0
    )
    rows = [row for row in cells[head:] if len(row) == len(cells[head]) and row != cells[head]]
    if len(cells) < 2 or len(cells[head]) < 2 or not all(_is_name(name) for name in cells[head]):
        return None
    if not rows or 2 * len(rows) < len(cells) or number(rows[0][0]) is None:
        return None
    return _table(iter([cells[head], *rows]), "table")


def _is_name(text: str) -> bool:
    return re.fullmatch(_WORD, text) is not None


def _table(lines: Any, form: str) -> Rows | None:
    """Read a header and rows; blank cells at the end of a column that was full until then are losses that ended."""
    try:
        header, *body = [[cell.strip() for cell in line] for line in lines if line]
    except (csv.Error, ValueError):
        return None
    if not header or all(number(name) is not None for name in header if name):
        return None
    cells = [dict(zip(header, line, strict=False)) for line in body]
    rows = [as_row({name: value for name, value in row.items() if name and value}) for row in cells]
    for name in header:
        have = [place for place, row in enumerate(rows) if name in row]
        blank = len(rows) - 1 - have[-1] if have else 0
        if blank >= 2 and len(have) == have[-1] + 1 and NAMES["loss"].fullmatch(plain_name(name)):
            for row, written in zip(rows[have[-1] + 1 :], cells[have[-1] + 1 :], strict=True):
                if row and written.get(name) == "":
                    row[name] = math.nan
    return Rows(rows, form) if any(rows) else None


def _text_rows(text: str) -> Rows | None:
    """Read lines of ``name: value`` or ``name value``, such as ``iter 10: loss 2.31, lr 0.001``."""
    rows, planned = [], 0
    for line in text.splitlines():
        if found := _DARKNET.match(line):
            step, loss, rate = found.groups()
            rows.append({"step": float(step), "loss": float(loss), "lr": float(rate)})
            continue
        row: Row = {}
        for name, value, total in _PAIR.findall(line):
            label = _known_end(plain_name(name))
            row.setdefault(label, number(value.replace("_", "")) or 0.0)
            planned = max(planned, int(total or 0)) if label in COUNTERS[:-2] else planned
        rows.append(row)
    return Rows([row for row in rows if _known(row)], "text", planned or None)


def _known_end(name: str) -> str:
    """Return the longest end of several words that is a known name; else all of them."""
    words = name.split()
    ends = (" ".join(words[place:]) for place in range(len(words)))
    return next((end for end in ends if _is_known(end)), name)


def _is_known(name: str) -> bool:
    return name in COUNTERS or any(names.fullmatch(name) for names in NAMES.values())


def _known(row: Row) -> bool:
    """Return whether a row holds a loss."""
    return any("loss" in plain or NAMES["loss"].fullmatch(plain) or plain == "tel" for plain in map(plain_name, row))
