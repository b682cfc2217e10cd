"""Numerics on numbers: smoothing, divergence, plateaus, range-test readings, loss against rate, the answer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepsize.curves.divergence import DivergenceRule as DivergenceRule
    from stepsize.curves.plateau import PlateauDecision as PlateauDecision
    from stepsize.curves.plateau import PlateauRule as PlateauRule
    from stepsize.curves.range_reading import RangeReading as RangeReading
    from stepsize.curves.range_reading import suggest as suggest
    from stepsize.curves.smoothing import Smooth as Smooth
    from stepsize.curves.smoothing import smooth as smooth

_HOMES = {
    "DivergenceRule": "divergence",
    "PlateauDecision": "plateau",
    "PlateauRule": "plateau",
    "RangeReading": "range_reading",
    "Smooth": "smoothing",
    "smooth": "smoothing",
    "suggest": "range_reading",
}
__all__ = [*sorted(_HOMES)]

if not TYPE_CHECKING:  # so that a name that is not there is an error of types

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
