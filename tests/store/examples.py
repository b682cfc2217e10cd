"""Runs to store."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stepsize.training.runs import Evaluation, Run, Setting, Trial


def a_run(
    number: int = 0,
    share: float = 1.0,
    seed: int = 0,
    value: float = 0.5,
    losses: ArrayLike = (),
    evaluations: tuple[Evaluation, ...] = (),
) -> Run:
    """Return a run of trial ``number``, whose rate is 2 to the minus ``number``."""
    lr = 2.0**-number
    return Run(
        Setting(lr, seed, 3),
        np.asarray(losses, dtype=np.float64),
        evaluations,
        value=value,
        trial=Trial(number, {"lr": lr}),
        share=share,
    )


def facts(run: Run) -> dict[str, Any]:
    """Return all that a run is, in a form that compares."""
    fields = {one.name: getattr(run, one.name) for one in dataclasses.fields(run)}
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}
    told = {name: repr(value) for name, value in plain.items()}  # in which NaN is NaN
    return {**told, "status": run.status}
