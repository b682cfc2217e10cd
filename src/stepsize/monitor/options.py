"""The arguments of ``watch`` and ``guard``, for those who pass them on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypedDict

from torch import Tensor

from stepsize.monitor.finding import Finding
from stepsize.monitor.loggers import LogTo


class WatchOptions(TypedDict, total=False):
    """The arguments of :func:`stepsize.watch` besides model and optimizer."""

    schedule: Any
    steps: int | None
    validate: Callable[[], Tensor | float] | None
    validate_every: int | None
    scaler: Any
    distributed: bool | None
    on_finding: Callable[[Finding], object] | None
    store: str | Path | None
    name: str | None
    log_to: LogTo
    control: bool


class GuardOptions(WatchOptions, total=False):
    """The arguments of :func:`stepsize.guard` besides model and optimizer."""

    others: Iterable[Any]
    every: int | None
    keep: int
    cut: float
    rewarm: int | None
    retries: int
    skip: bool
    dry_run: bool
    checkpoint: str | Path | None
