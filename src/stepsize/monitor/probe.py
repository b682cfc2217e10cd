"""The critical rate along the update that was really made, by a few forward passes on its own batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from stepsize.curves.critical import Critical, search_critical
from stepsize.training.rng import RngState
from stepsize.training.snapshot import Snapshot

__all__ = ["Along", "headroom", "still"]

_REACH = 1024.0  # how far along the update, in updates, is looked
_NEAR = 1e-3


class Along:
    """The weights before an update, kept so that other lengths of it can be tried.

    Args:
        models: What the update moves.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._parameters = [p for model in models for p in model.parameters() if p.requires_grad]
        self._before = [p.detach().clone() for p in self._parameters]
        self._models = list(models)

    def tried(self, again: Callable[[], Tensor], agreed: Callable[[float], float] = float) -> tuple[Critical, float]:
        """Search the length of the update at which the loss of its own batch rises; leave everything as it is.

        Args:
            again: Returns the loss of the update's batch at the present weights.
            agreed: Makes of a loss that of all processes that train together.

        Returns:
            What the search saw, in units of the update that was made, and the loss after that update.
        """
        after = [p.detach().clone() for p in self._parameters]

        def at(times: float) -> float:
            with torch.no_grad():
                for p, one, two in zip(self._parameters, self._before, after, strict=True):
                    p.copy_(torch.lerp(one, two, times) if times != 1 else two)
            return agreed(float(same()))

        with still(self._models, again) as same:
            base = at(0.0)
            made = at(1.0)
            found = search_critical(at, base_loss=base, start=1.0, low=_NEAR, high=_REACH)
        return found, made


def headroom(found: Critical) -> float:
    """Return the critical rate over the rate in use: infinite where no length of the update raised the loss."""
    if found.lr is not None:
        return found.lr
    if not found.trials or not math.isfinite(found.base_loss):
        return math.nan
    return math.inf if found.trials[-1][0] >= _REACH else _NEAR


class still(AbstractContextManager[Callable[[], Tensor]]):  # noqa: N801
    """Hold a training still: what is called within sees the same randomness each time and leaves no trace.

    Args:
        models: Whose weights, buffers and gradients are put back.
        call: What is called.
        gradients: Whether its result keeps its graph.
    """

    def __init__(self, models: Sequence[nn.Module], call: Callable[[], Tensor], *, gradients: bool = False) -> None:
        self._snapshot = Snapshot(modules=models)
        self._rng = RngState.take()
        self._call = call
        self._gradients = gradients

    def __enter__(self) -> Callable[[], Tensor]:
        """Return the call, made repeatable."""
        return self._same

    def __exit__(self, *_: Any) -> None:
        """Put everything back."""
        self._snapshot.restore(position=False)

    def _same(self) -> Tensor:
        self._rng.restore()
        with torch.set_grad_enabled(self._gradients):
            return self._call()
