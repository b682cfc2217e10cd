"""The tables of the store. Columns are made from the fields of the records, and rows are read back into them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from types import SimpleNamespace, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from stepsize.errors import InputError
from stepsize.plain import builder
from stepsize.store.packing import pack_arrays, thinned, unpack_arrays
from stepsize.store.records import (
    Arrays,
    FindingRecord,
    OrderRecord,
    ProgressRecord,
    SignalsRecord,
    StudyRecord,
    WatchRecord,
)
from stepsize.training.runs import Run, Trial

T = TypeVar("T")

VERSION = 4
_BESIDE = ("id", "trial", "share", "model", "steps")  # fields of a run that are keys, or in the blob of its losses
_STRICT = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_RECORDS = json.JSONEncoder(
    default=vars, separators=(",", ":")
)  # records within records; NaN and Infinity are read back
_PLAIN = (bool, int, float, str)
_SQL = {
    bool: Boolean,
    int: BigInteger,
    float: Double,
    str: Text,
    Arrays: LargeBinary,
    NDArray[np.float64]: LargeBinary,
}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a record; torch, which only a type names, is not imported for it."""
    known = get_type_hints(kind, localns={"nn": SimpleNamespace(Module=object)})
    return {one.name: known[one.name] for one in fields(kind)}


def _columns(kind: type, *without: str) -> list[Column[Any]]:
    """Return a column for each field of a record: numbers and text as such, arrays packed, all else as JSON text."""
    columns: list[Column[Any]] = []
    for one in fields(kind):
        if one.name not in without:
            hint = _hints(kind)[one.name]
            inner = get_args(hint)[0] if isinstance(hint, UnionType) else hint
            unknown = isinstance(one.default, float) and math.isnan(one.default)  # NULL is NaN: SQLite has no other
            sql = _SQL.get(inner, Text)
            nullable = unknown or isinstance(hint, UnionType) or sql is LargeBinary
            columns.append(Column(one.name, sql, nullable=nullable))
    return sorted(columns, key=lambda column: isinstance(column.type, LargeBinary))  # what is long comes last


TABLES = MetaData()
VERSIONS = Table("stepsize_version", TABLES, Column("version", Integer, nullable=False))
STUDIES = Table(
    "stepsize_studies",
    TABLES,
    Column("id", Integer, primary_key=True),
    *_columns(StudyRecord),
    UniqueConstraint("name"),
)
TRIALS = Table(  # those that were begun before they had a run: a run holds its own trial
    "stepsize_trials",
    TABLES,
    Column("study", ForeignKey(STUDIES.c.id), primary_key=True),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    *_columns(Trial, "number"),
)
RUNS = Table(
    "stepsize_runs",
    TABLES,
    Column("id", Integer, primary_key=True),  # rises in the order of telling: what a resume replays
    Column("study", ForeignKey(STUDIES.c.id), nullable=False),
    Column("trial", Integer, nullable=False),
    Column("share", Double, nullable=False),
    Column("seed", BigInteger, nullable=False),
    *_columns(Trial, "number"),
    *_columns(Run, *_BESIDE),
    UniqueConstraint("study", "trial", "share", "seed"),
)
FINDINGS = Table(
    "stepsize_findings",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("study", ForeignKey(STUDIES.c.id), nullable=False, index=True),
    *_columns(FindingRecord),
)


def _of_study(name: str, kind: type, *keys: str) -> Table:
    """Return the table of a record of which each study has one, or one for each value of its ``keys``."""
    study: Column[Any] = Column("study", ForeignKey(STUDIES.c.id), primary_key=True)
    numbers = [Column(key, Integer, primary_key=True, autoincrement=False) for key in keys]
    return Table(f"stepsize_{name}", TABLES, study, *numbers, *_columns(kind, *keys))


WATCHES = _of_study("watches", WatchRecord)
PROGRESS = _of_study("progress", ProgressRecord)
# Apart from WATCHES, whose row is written every second: the arrays are large and are not written again with it.
SIGNALS = _of_study("signals", SignalsRecord, "position")
ORDERS = _of_study("orders", OrderRecord, "number")


def row_of(record: Any, *without: str) -> dict[str, Any]:
    """Return the cells of a record by column; raises InputError if a value cannot be stored."""
    kind: Any = type(record)
    hints = _hints(kind)
    return {name: _cell(name, hints[name], getattr(record, name)) for name in hints if name not in without}


def record_of(kind: type[T], row: Any, **given: Any) -> T:
    """Return the record that a row holds; ``given`` are fields without a column."""
    cells, readers = row._mapping, _readers(cast("Any", kind))
    return kind(**{name: read(cells[name]) for name, read in readers.items() if name not in given}, **given)


def trial_row(trial: Trial) -> dict[str, Any]:
    """Return the cells of a trial, without its study."""
    return {"trial": trial.number, **row_of(trial, "number")}


def trial_of(row: Any) -> Trial:
    """Return the trial that a row of trials or runs holds."""
    return Trial(row.trial, json.loads(row._mapping["values"]))


def run_row(run: Run) -> dict[str, Any]:
    """Return the cells of a run, without its id and study; long curves are thinned, the model is left out."""
    curve = pack_arrays(thinned(run.losses, run.steps)) if len(run.losses) else None
    key = {**trial_row(run.trial), "share": run.share, "seed": run.seed}
    return {**key, **row_of(run, "losses", *_BESIDE), "losses": curve}


def run_of(row: Any) -> Run:
    """Return the run that a row holds, without a curve if that was not read."""
    packed = row._mapping.get("losses")
    curve = {} if packed is None else unpack_arrays(packed)
    losses = curve["losses"][0] if curve else np.empty(0)
    steps = curve["steps"][0] if "steps" in curve else np.arange(len(losses))
    given = {"id": row.id, "trial": trial_of(row), "share": row.share, "model": None}
    return record_of(Run, row, losses=losses, steps=steps, **given)


def as_json(argument: str, value: Any) -> str:
    """Return a value as JSON text; raises InputError naming ``argument`` if it cannot be stored."""
    encoder = _STRICT if isinstance(value, Mapping) else _RECORDS
    try:
        text = encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        rule = f"must hold plain, finite values for JSON ({error})"
        raise InputError(argument, value, rule, "Write others as text or leave them out") from error
    if "\\u0000" in text:  # PostgreSQL takes no zero character
        raise InputError(argument, value, "must not hold a zero character")
    return text


def _cell(name: str, hint: Any, value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if hint == Arrays:
        return pack_arrays(value)
    return as_json(name, value)


@cache
def _readers(kind: Any) -> dict[str, Callable[[Any], Any]]:
    """Return for each field of a record what makes its value of its cell."""
    return {name: _reader(hint) for name, hint in _hints(kind).items()}


def _reader(hint: Any) -> Callable[[Any], Any]:
    optional = isinstance(hint, UnionType)
    inner = next(iter(get_args(hint))) if optional else hint
    missing = math.nan if hint is float else None
    if hint == Arrays:
        known: Callable[[Any], Any] = unpack_arrays
    elif get_origin(inner) is Literal or (optional and inner in _PLAIN):
        return lambda cell: cell
    elif inner in _PLAIN:
        known = inner
    elif inner is datetime:
        known = datetime.fromisoformat
    else:
        made = builder(inner)
        return lambda cell: missing if cell is None else made(json.loads(cell))
    return lambda cell: missing if cell is None else known(cell)
