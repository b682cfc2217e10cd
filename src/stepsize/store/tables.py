"""The tables of the store, beside which optuna's may stand in the same database."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
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

__all__ = [
    "CURVES",
    "EVALUATIONS",
    "FINDINGS",
    "RUNS",
    "SIGNALS",
    "STUDIES",
    "TABLES",
    "TRIALS",
    "VERSION",
    "WATCHES",
]

TABLES = MetaData()

VERSION = Table("stepsize_version", TABLES, Column("version", Integer, nullable=False))

STUDIES = Table(
    "stepsize_studies",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("created", Text, nullable=False),  # ISO 8601 in UTC: SQLite knows no times with a zone
    Column("spec", JSON, nullable=False),
    Column("status", Text, nullable=False),
)

TRIALS = Table(
    "stepsize_trials",
    TABLES,
    Column("study", ForeignKey(STUDIES.c.id), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("values", JSON, nullable=False),
    sqlite_with_rowid=False,  # one tree instead of two: half the pages a commit writes
)

RUNS = Table(
    "stepsize_runs",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("study", ForeignKey(STUDIES.c.id), nullable=False),
    Column("trial", Integer, nullable=False),
    Column("share", Double, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),  # in the order of telling: what a resume replays
    Column("setting", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("value", Double),  # NULL is NaN: SQLite stores no other NaN
    Column("train_loss", Double),
    Column("val_loss", Double),
    Column("diverged_at", Double),
    Column("seconds", Double, nullable=False),
    Column("passes", Double, nullable=False),
    Column("cost", Double, nullable=False),
    Column("initial", Text, nullable=False),
    UniqueConstraint("study", "trial", "share", "seed"),
    UniqueConstraint("study", "position"),
)

CURVES = Table(
    "stepsize_curves",
    TABLES,
    Column("run", ForeignKey(RUNS.c.id), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("length", Integer, nullable=False),  # before thinning
    Column("shape", Text, nullable=False),
    Column("steps", LargeBinary),  # NULL is 0, 1, 2, …
    Column("dtype", Text, nullable=False),
    Column("values", LargeBinary, nullable=False),
)

EVALUATIONS = Table(
    "stepsize_evaluations",
    TABLES,
    Column("run", ForeignKey(RUNS.c.id), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, nullable=False),
    Column("loss", Double),
    Column("metrics", JSON, nullable=False),
    sqlite_with_rowid=False,
)

FINDINGS = Table(
    "stepsize_findings",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("study", ForeignKey(STUDIES.c.id), nullable=False, index=True),
    Column("run", ForeignKey(RUNS.c.id)),
    Column("code", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("told", JSON),  # NULL where nothing more was told, as in all findings of version 1
)

WATCHES = Table(
    "stepsize_watches",
    TABLES,
    Column("study", ForeignKey(STUDIES.c.id), primary_key=True),
    Column("steps", BigInteger, nullable=False),
    Column("updated", Text, nullable=False),
    Column("verdict", JSON, nullable=False),
    Column("acts", JSON, nullable=False),
)

# Apart from WATCHES, whose row is written every second: the payloads are large and are not written again with it.
SIGNALS = Table(
    "stepsize_signals",
    TABLES,
    Column("study", ForeignKey(STUDIES.c.id), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),  # what the arrays are is for their maker to know
    Column("payload", LargeBinary, nullable=False),
)
