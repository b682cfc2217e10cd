"""Records to rows and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, select

from stepsize.errors import InputError
from stepsize.store.address import as_json
from stepsize.store.packing import json_metrics, metrics_of
from stepsize.store.records import Curve, FindingRecord, StudyRecord, WatchRecord
from stepsize.store.tables import TRIALS
from stepsize.training.runs import Changes, Divergence, Evaluation, Run, Setting, Trial

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


def trials_of(connection: Connection, study: int) -> dict[int, Trial]:
    """Return the trials of the study with that id by number, in the order of their numbers."""
    # "values" is also a method of rows, so its column is read by place.
    query = select(TRIALS.c.number, TRIALS.c["values"]).where(TRIALS.c.study == study).order_by(TRIALS.c.number)
    return {number: Trial(number, values) for number, values in connection.execute(query)}


_AS_THEY_ARE = ("share", "seed", "status", "diverged_at", "seconds", "passes", "cost", "initial")
_FIGURES = ("value", "train_loss", "val_loss")  # where NaN is NULL


def run_columns(run: Run, study: int, position: int) -> dict[str, Any]:
    """Return the row of RUNS, without its id: columns are fields of the run."""
    setting = run.setting
    trained = {"lr": setting.lr, "seed": setting.seed, "steps": setting.steps, "val_examples": setting.val_examples}
    return {
        "study": study,
        "trial": run.trial.number,
        "position": position,
        "setting": plain("setting", {**trained, "changes": setting.changes.given()}),
        **{name: getattr(run, name) for name in _AS_THEY_ARE},
        **{name: _stored(getattr(run, name)) for name in _FIGURES},
    }


def run_of(
    row: Row[Any], trials: Mapping[int, Trial], curve: Curve | None = None, evaluations: Sequence[Evaluation] = ()
) -> Run:
    """Return the run that a row of RUNS, its curve and its evaluations hold."""
    trial, kept = trials[row.trial], row.setting
    changes = Changes(**{name: value for name, value in (kept.get("changes") or {}).items() if value is not None})
    steps = kept.get("steps") or (1 if curve is None else curve.length)
    setting = Setting(kept.get("lr", trial.values.get("lr")), row.seed, steps, kept.get("val_examples"), changes)
    lost = None
    if row.diverged_at is not None:
        reason = row.status.partition(": ")[2].removesuffix(".")
        lost = Divergence(round(row.diverged_at * steps), reason)
    return Run(
        setting,
        np.empty(0) if curve is None else curve.values,
        tuple(evaluations),
        lost,
        seconds=row.seconds,
        passes=row.passes,
        initial=row.initial,
        value=_number(row.value),
        train_loss=_number(row.train_loss),
        val_loss=_number(row.val_loss),
        cost=row.cost,
        trial=trial,
        share=row.share,
        steps=np.empty(0, np.int64) if curve is None else curve.steps,
        id=row.id,
    )


def evaluation_columns(evaluation: Evaluation, run: int, position: int) -> dict[str, Any]:
    """Return the row of EVALUATIONS."""
    return {
        "run": run,
        "position": position,
        "step": evaluation.step,
        "loss": _stored(evaluation.loss),
        "metrics": json_metrics(evaluation.metrics),
    }


def evaluation_of(row: Row[Any]) -> Evaluation:
    """Return the evaluation that a row of EVALUATIONS holds."""
    return Evaluation(row.step, _number(row.loss), metrics_of(row.metrics))


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
