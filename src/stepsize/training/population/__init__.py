"""Population training: K runs of one task as stacked tensors, each with its own rates, in one process."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepsize.training.population.following import Decision as Decision
    from stepsize.training.population.following import Followed as Followed
    from stepsize.training.population.following import follow as follow
    from stepsize.training.population.forking import Counterfactual as Counterfactual
    from stepsize.training.population.forking import counterfactual as counterfactual
    from stepsize.training.population.population import Population as Population
    from stepsize.training.population.stacked import StackedOptimizer as StackedOptimizer
    from stepsize.training.population.stacked import stack_optimizers as stack_optimizers

_HOMES = {
    "Counterfactual": "forking",
    "Decision": "following",
    "Followed": "following",
    "Population": "population",
    "StackedOptimizer": "stacked",
    "counterfactual": "forking",
    "follow": "following",
    "stack_optimizers": "stacked",
}
__all__ = [*sorted(_HOMES)]

if not TYPE_CHECKING:  # so that a name that is not there is an error of types

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
