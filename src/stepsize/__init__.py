"""stepsize measures the learning rate for a PyTorch training run instead of guessing it.

Names resolve on first use: ``import stepsize`` alone loads neither torch nor any other large package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepsize import schedules as schedules
    from stepsize.curves.plateau import PlateauRule as PlateauRule
    from stepsize.curves.range_reading import suggest as suggest
    from stepsize.frameworks import to_keras as to_keras
    from stepsize.frameworks import to_optax as to_optax
    from stepsize.monitor import Finding as Finding
    from stepsize.monitor import Guard as Guard
    from stepsize.monitor import Watch as Watch
    from stepsize.monitor import diagnose as diagnose
    from stepsize.monitor import guard as guard
    from stepsize.monitor import watch as watch
    from stepsize.monitor import watch_task as watch_task
    from stepsize.optimizers import Conditions as Conditions
    from stepsize.optimizers import translate as translate
    from stepsize.optimizers.adaptive import Adapted as Adapted
    from stepsize.optimizers.adaptive import adapt as adapt
    from stepsize.probe import profile as profile
    from stepsize.probe import range_test as range_test
    from stepsize.store import Store as Store
    from stepsize.study.comparing import compare as compare
    from stepsize.study.finding import find as find
    from stepsize.study.sweeping import sweep as sweep
    from stepsize.tasks import build_task as build_task
    from stepsize.training import BoundScheduler as BoundScheduler
    from stepsize.training import Metric as Metric
    from stepsize.training import Plateau as Plateau
    from stepsize.training import Population as Population
    from stepsize.training import Snapshot as Snapshot
    from stepsize.training import Task as Task
    from stepsize.training import bind as bind
    from stepsize.training import counterfactual as counterfactual
    from stepsize.training import follow as follow
    from stepsize.training import from_torch as from_torch
    from stepsize.training import train as train
    from stepsize.views import progress_bar as progress_bar

_HOMES = {
    "Adapted": "stepsize.optimizers.adaptive",
    "BoundScheduler": "stepsize.training",
    "Conditions": "stepsize.optimizers",
    "Finding": "stepsize.monitor",
    "Guard": "stepsize.monitor",
    "Metric": "stepsize.training",
    "Plateau": "stepsize.training",
    "PlateauRule": "stepsize.curves.plateau",
    "Snapshot": "stepsize.training",
    "Task": "stepsize.training",
    "adapt": "stepsize.optimizers.adaptive",
    "bind": "stepsize.training",
    "compare": "stepsize.study.comparing",
    "counterfactual": "stepsize.training",
    "build_task": "stepsize.tasks",
    "diagnose": "stepsize.monitor",
    "find": "stepsize.study.finding",
    "follow": "stepsize.training",
    "from_torch": "stepsize.training",
    "Population": "stepsize.training",
    "Store": "stepsize.store",
    "profile": "stepsize.probe",
    "progress_bar": "stepsize.views",
    "range_test": "stepsize.probe",
    "schedules": "stepsize",
    "suggest": "stepsize.curves.range_reading",
    "sweep": "stepsize.study.sweeping",
    "to_keras": "stepsize.frameworks",
    "to_optax": "stepsize.frameworks",
    "train": "stepsize.training",
    "translate": "stepsize.optimizers",
    "Watch": "stepsize.monitor",
    "guard": "stepsize.monitor",
    "watch": "stepsize.monitor",
    "watch_task": "stepsize.monitor",
}
__version__ = "0.2.0"
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'stepsize' has no attribute '{name}'")
    if home == "stepsize":  # a room whose names speak for themselves: stepsize.schedules.cosine
        return importlib.import_module(f"{home}.{name}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
