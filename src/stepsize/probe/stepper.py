"""The user's step function under control: rates set, losses read, state put back."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepsize.curves.critical import Critical, search_critical
from stepsize.errors import InputError
from stepsize.probe.distributed import mean_over_ranks
from stepsize.probe.rates import Rates
from stepsize.training.batches import Stream
from stepsize.training.rng import seed_everything
from stepsize.training.snapshot import Snapshot

__all__ = ["Batches", "ControlledStep"]


class Batches:
    """The user's batches without end: a re-iterable is read again, a one-shot iterator is kept and replayed."""

    def __init__(self, source: Iterable[Any]) -> None:
        if not isinstance(source, Iterable) or isinstance(source, str | bytes | Tensor):
            raise InputError("batches", source, "must be an iterable of batches")
        self._once = source if isinstance(source, Iterator) else None
        self._source = source
        self._drawn: list[Any] = []
        self._stream: Iterator[Any] | None = None

    def __next__(self) -> Any:
        if self._stream is None:
            self._stream = self._replayed(self._once) if self._once is not None else Stream(self._source, "batches")
        return next(self._stream)

    def _replayed(self, once: Iterator[Any]) -> Iterator[Any]:
        for batch in once:
            self._drawn.append(batch)
            yield batch
        if not self._drawn:
            raise InputError("batches", self._source, "must yield at least one batch")
        yield from itertools.cycle(list(self._drawn))

    def rest(self) -> Iterable[Any]:
        """Return what a training should go on with: the drawn batches of a one-shot iterator come again first."""
        return self._source if self._once is None else itertools.chain(self._drawn, self._once)


class ControlledStep:
    """The user's ``step`` with its rates set from outside, and its whole state put back at will.

    Args:
        step: ``step(batch) -> loss``, a full update.
        optimizers: Whose rates are swept.
        snapshot: Of everything that ``step`` changes.
        seed: What the generators are seeded with whenever the state is put back.
    """

    def __init__(self, step: Callable[[Any], Any], optimizers: list[Optimizer], snapshot: Snapshot, seed: int) -> None:
        self._step = step
        self._optimizers = optimizers
        self._snapshot = snapshot
        self._seed = seed
        self.rates = Rates(optimizers)
        self.calls = 0

    def rewind(self, *, salt: int = 0) -> None:
        """Put the state back and seed the generators anew; the data's position goes on."""
        self._snapshot.restore(position=False)
        seed_everything(self._seed + salt)

    def __call__(self, batch: Any, lr: float) -> float:
        """Make one update at the reference rate ``lr`` and return its loss, the mean over all ranks."""
        self.calls += 1
        self.rates.set(lr)
        loss = self._step(batch)
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise InputError("step", tuple(loss.shape), "must return a scalar loss", "Reduce it, e.g. by .mean()")
            loss = loss.item()
        if isinstance(loss, bool) or not isinstance(loss, numbers.Real):
            raise InputError("step", loss, "must return its loss as a number or a scalar tensor")
        return mean_over_ranks(float(loss))

    def critical(self, batch: Any, *, start: float, low: float, high: float) -> Critical:
        """Probe the critical rate on ``batch``: one update, then its direction at other rates.

        An update is proportional to its rate (weight decay included), so w(lr) = w + lr (w1 - w) / ``start``
        needs no further updates; the loss there is that of a step at rate 0. Where the update was skipped, as a
        gradient scaler does until it has found its scale, there is no direction to follow.
        """
        parameters = [p for each in self._optimizers for group in each.param_groups for p in group["params"]]
        self.rewind()
        before = [parameter.detach().clone() for parameter in parameters]
        base_loss = self(batch, start)
        if not self.rates.updates:
            return Critical(None, base_loss, (), "The first step made no update whose direction could be probed.")
        after = [parameter.detach().clone() for parameter in parameters]

        def loss_at(lr: float) -> float:
            self.rewind()
            with torch.no_grad():
                for parameter, old, new in zip(parameters, before, after, strict=True):
                    parameter.copy_(torch.lerp(old, new, lr / start))
            return self(batch, 0.0)

        try:
            return search_critical(loss_at, base_loss=base_loss, start=start, low=low, high=high)
        finally:
            self.rewind()
