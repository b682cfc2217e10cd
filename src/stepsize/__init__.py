"""stepsize makes the learning rate of a PyTorch training a measured quantity instead of a guess.

Names resolve on first use: ``import stepsize`` alone loads neither torch nor any other large package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepsize.training import Metric as Metric
    from stepsize.training import Task as Task

_HOMES = {
    "Metric": "stepsize.training",
    "Task": "stepsize.training",
}
__version__ = "0.1.0"
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'stepsize' has no attribute '{name}'")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
