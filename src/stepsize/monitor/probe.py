"""The critical learning rate along the update that was made, by a few forward passes on its own batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.curves.critical import Critical, search_critical
from stepsize.training.position import RngState
from stepsize.training.snapshot import Snapshot
from stepsize.training.wrapped import outside_of_graphs

_REACH = 1024.0  # largest length of the update that is tried, in updates
_NEAR = 1e-3
_MOST = 64  # measurements in a run
_UNKNOWN = 100  # steps between two, if the horizon is unknown


class CriticalRate:
    """Measures at intervals how much longer an update could be: the critical learning rate over the one in use.

    Attributes:
        trouble: Error while the weights were kept, such as no memory for them; None if there was none.
        spent: Seconds that keeping them took.
    """

    def __init__(self, models: Sequence[nn.Module], optimizer: Optimizer, steps: int | None) -> None:
        self._models, self._optimizer = list(models), optimizer
        self._every = max(1, steps // _MOST) if steps else _UNKNOWN
        self._before: tuple[list[nn.Parameter], list[Tensor]] | None = None  # parameters, and what they were
        self._hook: Any = None
        self.trouble: Exception | None = None
        self.spent = 0.0

    def roll_back(self) -> None:
        """Forget the weights before the last update, which is not the last one any more."""
        self._before = None

    def forget(self) -> None:
        """Forget the weights before the last update, and keep none before the next one."""
        self._before = None
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def due(self, step: int) -> bool:
        """Return whether the next update after ``step`` ones is to be measured."""
        return step % self._every == 0

    def keep_next(self) -> None:
        """Keep the weights before the next update."""
        self._hook = self._optimizer.register_step_pre_hook(outside_of_graphs(self._keep))

    def _keep(self, *_: Any) -> None:
        """Keep the weights; runs within the user's own step."""
        began = perf_counter()
        try:
            if self._before is None:
                parameters = [p for model in self._models for p in model.parameters() if p.requires_grad]
                self._before = parameters, [p.detach().clone() for p in parameters]
        except Exception as error:  # noqa: BLE001 - such as no memory for the copy
            self.trouble = error
        self.spent += perf_counter() - began

    def headroom(self, closure: Callable[[], Tensor], agreed: Callable[[float], float] = float) -> float:
        """Return the length of the last update at which the loss of its batch rises, and leave everything as it is.

        It is infinite if none does, and NaN if unknown. ``agreed`` turns a loss into that of all processes.
        """
        if self._before is None:
            return math.nan
        parameters, before = self._before
        after = [p.detach().clone() for p in parameters]

        def at(times: float) -> float:
            with torch.no_grad():
                for p, one, two in zip(parameters, before, after, strict=True):
                    p.copy_(torch.lerp(one, two, times) if times != 1 else two)
            return agreed(float(same()))

        with undisturbed_models(self._models, closure) as same:
            found = search_critical(at, base_loss=at(0.0), start=1.0, low=_NEAR, high=_REACH)
        return _headroom(found)


def _headroom(found: Critical) -> float:
    if found.lr is not None:
        return found.lr
    if not found.trials or not math.isfinite(found.base_loss):
        return math.nan
    return math.inf if found.trials[-1][0] >= _REACH else _NEAR


@contextmanager
def undisturbed_models(models: Sequence[nn.Module], closure: Callable[[], Tensor]) -> Iterator[Callable[[], Tensor]]:
    """Yield ``closure`` without gradients and with the same randomness at each call; the models are restored after."""
    snapshot, randomness = Snapshot(modules=models), RngState.take()

    def same() -> Tensor:
        randomness.restore()
        with torch.no_grad():
            return closure()

    try:
        yield same
    finally:
        snapshot.restore(position=False)
