"""Studies: `find`, `sweep` and `compare`, driven by one engine; resumable at any moment, on one machine or many.

Names resolve on first use: ``stepsize.find`` alone loads no sampler, no comparison and no store.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepsize.study.comparing import CLASSICS as CLASSICS
    from stepsize.study.comparing import CompareProgress as CompareProgress
    from stepsize.study.comparing import compare as compare
    from stepsize.study.comparison import BatchSizeResult as BatchSizeResult
    from stepsize.study.comparison import Comparison as Comparison
    from stepsize.study.comparison import Contender as Contender
    from stepsize.study.comparison import ContenderResult as ContenderResult
    from stepsize.study.finding import FindProgress as FindProgress
    from stepsize.study.finding import find as find
    from stepsize.study.found import Found as Found
    from stepsize.study.outcome import StudyOutcome as StudyOutcome
    from stepsize.study.result import SweepResult as SweepResult
    from stepsize.study.samplers import SAMPLERS as SAMPLERS
    from stepsize.study.space import Space as Space
    from stepsize.study.space import as_space as as_space
    from stepsize.study.strategy import Job as Job
    from stepsize.study.strategy import Strategy as Strategy
    from stepsize.study.study import StudyProgress as StudyProgress
    from stepsize.study.study import run_study as run_study
    from stepsize.study.sweeping import sweep as sweep
    from stepsize.study.workers import WORKERS as WORKERS
    from stepsize.study.workers import Local as Local
    from stepsize.study.workers import Workers as Workers

_HOMES = {
    "CLASSICS": "comparing",
    "CompareProgress": "comparing",
    "compare": "comparing",
    "BatchSizeResult": "comparison",
    "Comparison": "comparison",
    "Contender": "comparison",
    "ContenderResult": "comparison",
    "FindProgress": "finding",
    "find": "finding",
    "Found": "found",
    "SweepResult": "result",
    "SAMPLERS": "samplers",
    "Space": "space",
    "as_space": "space",
    "Job": "strategy",
    "Strategy": "strategy",
    "StudyOutcome": "outcome",
    "StudyProgress": "study",
    "run_study": "study",
    "sweep": "sweeping",
    "Local": "workers",
    "WORKERS": "workers",
    "Workers": "workers",
}
__all__ = [*sorted(_HOMES)]

if not TYPE_CHECKING:  # so that a name that does not exist is an error of types

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
