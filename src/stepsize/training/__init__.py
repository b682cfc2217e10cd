"""Training: the task, the loop, snapshot and restore, and the executors that run lists of settings.

Names resolve on first use: what takes plain data from here loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepsize.training.batches import TensorBatches as TensorBatches
    from stepsize.training.binding import BoundScheduler as BoundScheduler
    from stepsize.training.binding import bind as bind
    from stepsize.training.loop import InOrder as InOrder
    from stepsize.training.loop import StreamingExecutor as StreamingExecutor
    from stepsize.training.loop import train as train
    from stepsize.training.plateau import Plateau as Plateau
    from stepsize.training.plateau import PlateauDrop as PlateauDrop
    from stepsize.training.plateau import PlateauStep as PlateauStep
    from stepsize.training.population import Counterfactual as Counterfactual
    from stepsize.training.population import Population as Population
    from stepsize.training.population import counterfactual as counterfactual
    from stepsize.training.runs import Changes as Changes
    from stepsize.training.runs import Divergence as Divergence
    from stepsize.training.runs import Evaluation as Evaluation
    from stepsize.training.runs import Progress as Progress
    from stepsize.training.runs import Run as Run
    from stepsize.training.runs import Setting as Setting
    from stepsize.training.runs import Trial as Trial
    from stepsize.training.snapshot import Snapshot as Snapshot
    from stepsize.training.task import Metric as Metric
    from stepsize.training.task import Task as Task
    from stepsize.training.torch_schedules import from_torch as from_torch
    from stepsize.training.variation import varied as varied

_NAMES = {
    "batches": ("TensorBatches",),
    "binding": ("BoundScheduler", "bind"),
    "loop": ("InOrder", "StreamingExecutor", "train"),
    "plateau": ("Plateau", "PlateauDrop", "PlateauStep"),
    "population": ("Counterfactual", "Population", "counterfactual"),
    "runs": ("Changes", "Divergence", "Evaluation", "Progress", "Run", "Setting", "Trial"),
    "snapshot": ("Snapshot",),
    "task": ("Metric", "Task"),
    "torch_schedules": ("from_torch",),
    "variation": ("varied",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = [*sorted(_HOMES)]

if not TYPE_CHECKING:  # so that a name that is not there is an error of types

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
