"""The catalog of optimizers: one entry each, which alone enrols it everywhere."""

from __future__ import annotations

from stepsize.errors import UnknownNameError
from stepsize.optimizers.entry import OptimizerEntry
from stepsize.optimizers.native import NATIVE
from stepsize.optimizers.packaged import PACKAGED

__all__ = ["OPTIMIZERS", "optimizer_entry"]

OPTIMIZERS: dict[str, OptimizerEntry] = {entry.name: entry for entry in (*NATIVE, *PACKAGED)}


def optimizer_entry(name: str) -> OptimizerEntry:
    """Return the catalog entry of ``name``.

    Args:
        name: A key of :data:`OPTIMIZERS`, for example ``"adamw"``.

    Returns:
        The entry.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest.

    Example:
        >>> optimizer_entry("adamw").default_lr
        0.001
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]
