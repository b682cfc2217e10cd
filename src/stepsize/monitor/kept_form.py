"""Findings, verdicts and acts as the store holds them, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from stepsize.monitor.finding import Finding
from stepsize.monitor.guarding.journal import Entry
from stepsize.monitor.verdict import RateVerdict
from stepsize.store.records import FindingRecord

__all__ = ["act_of", "act_values", "finding_of", "finding_record", "verdict_of", "verdict_values"]

_NOT_FINITE = ("nan", "inf", "-inf")  # JSON knows no such numbers: they are kept by name


def finding_record(finding: Finding) -> FindingRecord:
    """Return a finding as the store takes it."""
    told = finding.to_json()
    evidence = _named(told.pop("evidence"))
    return FindingRecord(told.pop("code"), told.pop("severity"), evidence, told=_named(told))


def finding_of(record: FindingRecord) -> Finding:
    """Return the finding that :func:`finding_record` made the record of."""
    told = _numbers(record.told)
    return Finding(record.code, record.severity, evidence=_numbers(record.evidence), **told)  # type: ignore[arg-type]


def verdict_values(verdict: RateVerdict) -> dict[str, Any]:
    """Return a verdict as the store takes it."""
    told = verdict.to_json()
    return {**_named(told), "signals": _named(told["signals"])}


def verdict_of(values: Mapping[str, Any]) -> RateVerdict:
    """Return the verdict that :func:`verdict_values` gave the values of; of none, that nothing is known."""
    if not values:
        return RateVerdict("cannot tell", 0.0, "cannot tell", None, "Nothing was judged yet.")
    between = values.get("between")
    told = {**_numbers(values), "signals": _numbers(values["signals"])}
    return RateVerdict(**{**told, "between": None if between is None else tuple(between)})


def act_values(act: Entry) -> dict[str, Any]:
    """Return an act as the store takes it."""
    return _named(asdict(act))


def act_of(values: Mapping[str, Any]) -> Entry:
    """Return the act that :func:`act_values` gave the values of."""
    return Entry(**{**_numbers(values), "skipped": tuple(values["skipped"])})


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: float(value) if isinstance(value, str) and value in _NOT_FINITE else value
        for name, value in values.items()
    }
