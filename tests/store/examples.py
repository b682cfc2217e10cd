"""Runs to store."""

from __future__ import annotations

from stepsize.store import RunRecord, TrialRecord


def a_run(number: int = 0, share: float = 1.0, seed: int = 0, value: float = 0.5) -> RunRecord:
    """Return a run of trial ``number``, whose rate is 2 to the minus ``number``."""
    return RunRecord(TrialRecord(number, {"lr": 2.0**-number}), share, seed, "Trained for 3 steps.", value)
