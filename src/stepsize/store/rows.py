"""Records to rows and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from stepsize.errors import InputError
from stepsize.store.address import as_json
from stepsize.store.packing import json_metrics, metrics_of
from stepsize.store.records import EvaluationRecord, FindingRecord, RunRecord, StudyRecord, TrialRecord, WatchRecord
from stepsize.store.tables import TRIALS

__all__ = [
    "evaluation_columns",
    "evaluation_of",
    "finding_columns",
    "finding_of",
    "plain",
    "run_columns",
    "run_of",
    "study_of",
    "trials_of",
    "watch_columns",
    "watch_of",
]


def plain(argument: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as it will be read back from JSON: tuples as lists, keys as text.

    Raises:
        InputError: If JSON cannot hold it, naming ``argument``.

    Example:
        >>> plain("spec", {"lr": (1e-3, 1.0), "seeds": 3})
        {'lr': [0.001, 1.0], 'seeds': 3}
    """
    if not isinstance(values, Mapping):
        raise InputError(argument, values, "must be a mapping of names to plain values")
    try:
        text = as_json(dict(values))
    except (TypeError, ValueError) as error:
        raise InputError(
            argument,
            values,
            f"must hold plain, finite values for JSON ({error})",
            "Write others as text or leave them out",
        ) from error
    if "\\u0000" in text:  # PostgreSQL takes no zero character
        raise InputError(argument, values, "must not hold a zero character")
    read: dict[str, Any] = json.loads(text)
    return read


def study_of(row: Row[Any]) -> StudyRecord:
    """Return the study that a row of STUDIES holds."""
    return StudyRecord(row.name, row.kind, datetime.fromisoformat(row.created), row.spec, row.status)


def trials_of(connection: Connection, study: int) -> dict[int, TrialRecord]:
    """Return the trials of the study with that id by number, in the order of their numbers."""
    # "values" is also a method of rows, so its column is read by place.
    query = select(TRIALS.c.number, TRIALS.c["values"]).where(TRIALS.c.study == study).order_by(TRIALS.c.number)
    return {number: TrialRecord(number, values) for number, values in connection.execute(query)}


def run_columns(run: RunRecord, study: int, position: int) -> dict[str, Any]:
    """Return the row of RUNS, without its id."""
    return {
        "study": study,
        "trial": run.trial.number,
        "share": run.share,
        "seed": run.seed,
        "position": position,
        "setting": run.setting,
        "status": run.status,
        "value": _stored(run.value),
        "train_loss": _stored(run.train_loss),
        "val_loss": _stored(run.val_loss),
        "diverged_at": run.diverged_at,
        "seconds": run.seconds,
        "passes": run.passes,
        "cost": run.cost,
        "initial": run.initial,
    }


def run_of(row: Row[Any], trials: Mapping[int, TrialRecord]) -> RunRecord:
    """Return the run that a row of RUNS holds."""
    return RunRecord(
        trial=trials[row.trial],
        share=row.share,
        seed=row.seed,
        status=row.status,
        value=_number(row.value),
        diverged_at=row.diverged_at,
        train_loss=_number(row.train_loss),
        val_loss=_number(row.val_loss),
        seconds=row.seconds,
        passes=row.passes,
        cost=row.cost,
        initial=row.initial,
        setting=row.setting,
        position=row.position,
        id=row.id,
    )


def evaluation_columns(evaluation: EvaluationRecord, run: int, position: int) -> dict[str, Any]:
    """Return the row of EVALUATIONS."""
    return {
        "run": run,
        "position": position,
        "step": evaluation.step,
        "loss": _stored(evaluation.loss),
        "metrics": json_metrics(evaluation.metrics),
    }


def evaluation_of(row: Row[Any]) -> EvaluationRecord:
    """Return the evaluation that a row of EVALUATIONS holds."""
    return EvaluationRecord(row.step, _number(row.loss), metrics_of(row.metrics))


def finding_columns(finding: FindingRecord, study: int) -> dict[str, Any]:
    """Return the row of FINDINGS, without its id."""
    return {
        "study": study,
        "run": finding.run,
        "code": finding.code,
        "severity": finding.severity,
        "evidence": plain("evidence", finding.evidence),
        "told": plain("told", finding.told),
    }


def finding_of(row: Row[Any]) -> FindingRecord:
    """Return the finding that a row of FINDINGS holds."""
    return FindingRecord(row.code, row.severity, row.evidence, row.run, row.told or {})


def watch_columns(state: WatchRecord) -> dict[str, Any]:
    """Return the row of WATCHES, without its study."""
    return {
        "steps": state.steps,
        "updated": state.updated.isoformat(timespec="microseconds"),
        "verdict": plain("verdict", state.verdict),
        "acts": [plain("acts", act) for act in state.acts],
    }


def watch_of(row: Row[Any]) -> WatchRecord:
    """Return what a row of WATCHES holds."""
    return WatchRecord(row.steps, datetime.fromisoformat(row.updated), row.verdict, tuple(row.acts))


def _stored(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _number(stored: float | None) -> float:
    return math.nan if stored is None else stored
