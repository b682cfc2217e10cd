"""The journal of a study: its trials and runs in the store, each written before the next job is decided."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from stepsize.store import Store
from stepsize.study.space import Range, Space
from stepsize.training.runs import Run, Trial

__all__ = ["Journal", "mirror_sweep"]


class Journal:
    """Writes one study down; the only writer of it until it is closed.

    Args:
        store: Where.
        name: Of the study.
        kind: What makes it.
        spec: What was asked for; a study is only taken up again with the same.

    Raises:
        InputError: If there is a study of that name with another specification.
        StoreError: If the store cannot be written, or somebody else writes this study.
    """

    def __init__(self, store: Store, name: str, kind: str, spec: Mapping[str, Any]) -> None:
        self._store = store
        self.name = name
        self._writer = store.begin(name, kind, spec)

    @property
    def where(self) -> str:
        """The store, without its password."""
        return self._store.where

    def history(self) -> tuple[tuple[Trial, ...], tuple[Run, ...]]:
        """Return the trials and runs that are written down already, in the order of their telling."""
        return self._store.trials(self.name), self._store.runs(self.name)

    def add_trial(self, trial: Trial) -> None:
        """Write down what is about to be trained."""
        self._writer.add_trial(trial)

    def add(self, run: Run) -> Run:
        """Write down what came of a job; it is kept, whatever happens next, when this returns it with its id."""
        self._writer.add_run(run)
        return run

    def finish(self, status: str) -> None:
        """Write down how the study stands: ``"done"`` or ``"interrupted"``."""
        self._writer.finish(status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def mirror_sweep(store: Store, name: str, space: Space) -> int:
    """Write the trials of the study ``name`` into optuna's tables of the same database; returns how many.

    Raises:
        StoreError: If they cannot be written, or hold a study of that name that is not of stepsize.
    """
    from stepsize.store.mirror import mirror

    axes: dict[str, Any] = {}
    for dimension in space.dimensions:
        if isinstance(dimension, Range):
            axes[dimension.name] = (dimension.low, dimension.high)
        else:
            axes[dimension.name] = list(dimension.values)
    log = [one.name for one in space.dimensions if isinstance(one, Range) and one.scale == "log"]
    return mirror(store, name, axes, log)
