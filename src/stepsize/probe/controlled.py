"""The user's step function under control: rates set, losses read, state restored."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from stepsize.curves.critical import Critical
from stepsize.errors import InputError
from stepsize.probe.critical import heavy_ball, probe_update
from stepsize.training.batches import Stream, copied, tensors_in
from stepsize.training.group_values import write_value
from stepsize.training.losses import loss_in
from stepsize.training.position import seed_everything
from stepsize.training.snapshot import Snapshot
from stepsize.training.wrapped import outside_of_graphs

MOST_CALLS = 64  # of ``step`` for one update: batches that are accumulated, or updates that a gradient scaler skips
MOST_SKIPPED = 8  # batches in a row without a finite loss at the initial weights


class Batches:
    """The user's batches without end: a re-iterable is read again, a one-shot iterator is recorded and replayed."""

    def __init__(self, source: Iterable[Any]) -> None:
        if not isinstance(source, Iterable) or isinstance(source, str | bytes | Tensor):
            raise InputError("batches", source, "must be an iterable of batches")
        self._once = source if isinstance(source, Iterator) else None
        self._source = source
        self._drawn: list[Any] = []
        self._stream = self._drawing()

    def __next__(self) -> Any:
        return next(self._stream)

    def _drawing(self) -> Iterator[Any]:
        """Begin to read at the first batch only: an iterator of a loader may draw from the generators."""
        if self._once is None:
            yield from Stream(self._source, "batches")
        for batch in self._once or ():
            self._drawn.append(batch)
            yield batch
        if not self._drawn:
            raise InputError("batches", self._source, "must yield at least one batch")
        yield from itertools.cycle(list(self._drawn))

    def rest(self) -> Iterable[Any]:
        """Return what training should continue with: the drawn batches of a one-shot iterator come again first."""
        return self._source if self._once is None else itertools.chain(self._drawn, self._once)


class Rates:
    """The rates of all groups of all optimizers, moved together, which preserves their ratios to the highest.

    They are written right before each update too, so a scheduler that the user's own step drives does not get in the
    way.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self._base = [float(group["lr"]) for group in self._groups]
        if max(self._base) <= 0:  # a warmup that begins at zero: what the scheduler scales tells the ratios
            self._base = [float(group.get("initial_lr", 0.0)) for group in self._groups]
        if max(self._base) <= 0:
            rule = "must have a group with a positive lr"
            raise InputError("optimizer", "rates that are all 0", rule, "Its ratios are swept")
        self.reference = max(self._base)
        # A rate is as much bolder as its first step tells.
        self.amplification = 1 / (1 - heavy_ball(optimizers))
        self.updates = 0
        self.with_gradients = False  # whether a parameter had a gradient when an update began
        self._lr = self.reference
        hook = outside_of_graphs(self._before_update)
        self._handles = [optimizer.register_step_pre_hook(hook) for optimizer in optimizers]

    def set(self, lr: float) -> None:
        """Give the reference group the rate ``lr`` and all others theirs in proportion."""
        self._lr = lr
        self._write()

    def close(self) -> None:
        """Remove the hooks. The rates themselves are restored with the snapshot."""
        for handle in self._handles:
            handle.remove()

    def _before_update(self, *_: Any) -> None:
        self.updates += 1
        if not self.with_gradients:
            self.with_gradients = any(p.grad is not None for group in self._groups for p in group["params"])
        self._write()

    def _write(self) -> None:
        for group, base in zip(self._groups, self._base, strict=True):
            write_value(group, "lr", self._lr * base / self.reference)


class SpoiledError(Exception):
    """A batch without a finite loss at any rate was met, and the state before it is not known: begin the ramp again."""


class ControlledStep:
    """The user's ``step(batch) -> loss`` with its rates set from outside, and its whole state restored at will.

    ``take`` returns a snapshot of the present state. It counts calls of ``step``, batches ``drawn`` for the updates
    ``made`` in ramps, and batches ``left_out``, which have no finite loss at the initial weights either.
    """

    def __init__(
        self,
        step: Callable[[Any], Any],
        optimizers: list[Optimizer],
        take: Callable[[], Snapshot],
        feed: Batches,
        seed: int,
    ) -> None:
        self._step = step
        self._parameters = [p for each in optimizers for group in each.param_groups for p in group["params"]]
        self._take = take
        self._snapshot = take()
        self._feed = feed
        self._seed = seed
        self.rates = Rates(optimizers)
        self.calls = self.drawn = self.made = self.left_out = 0
        self._since = 0  # the last update, in calls
        self._changes_input: bool | None = None

    def rewind(self, salt: int = 0) -> None:
        """Restore the state and seed the generators again; the position of the data continues."""
        self._snapshot.restore(position=False)
        seed_everything(self._seed + salt)

    def __call__(self, batch: Any, lr: float) -> float:
        """Call the step at the reference rate ``lr`` and return its loss, the mean over all ranks."""
        self.calls += 1
        self.rates.set(lr)
        before = self.rates.updates
        loss = self._loss_of(batch)
        self._since = self._since + 1 if self.rates.updates == before else 0
        if isinstance(loss, Tensor | np.ndarray):
            if math.prod(loss.shape) != 1:
                raise InputError("step", tuple(loss.shape), "must return a scalar loss", "Reduce it, e.g. by .mean()")
            loss = loss.item()
        if isinstance(loss, bool) or not isinstance(loss, numbers.Real):
            raise InputError("step", loss, "must return its loss as a number or a scalar tensor")
        return mean_over_ranks(float(loss))

    def _loss_of(self, batch: Any) -> Any:
        """Call the step; if it changes its input in place it gets copies, since the user may have no other ones."""
        if self._changes_input is False:
            return loss_in(self._step(batch))
        given = copied(batch)
        loss = loss_in(self._step(given))
        self._changes_input = any(tensor._version for tensor in tensors_in(given))
        return loss

    def update(self, lr: float) -> float:
        """Make the next update at the rate ``lr``, on as many batches as it takes, and return their mean loss.

        SpoiledError at the first batch that has no finite loss at the initial weights either.
        """
        losses: list[float] = []
        skipped = 0
        while not losses or (self._since and len(losses) < MOST_CALLS):
            batch = next(self._feed)
            before = self._take() if self.left_out else None
            loss = self(batch, lr)
            if not math.isfinite(loss):
                if skipped == MOST_SKIPPED or not self._is_unlearnable(batch):
                    return loss
                self.left_out += 1
                skipped += 1
                if before is None:
                    raise SpoiledError
                before.restore()
                continue
            losses.append(loss)
        self.drawn += len(losses)
        self.made += 1
        return math.fsum(losses) / len(losses)

    def complete(self, batch: Any, lr: float = 0.0) -> None:
        """Bring an update to its end that was begun; how many batches it has had is no part of the state."""
        for _ in range(MOST_CALLS):
            if not self._since:
                break
            self(batch, lr)

    def critical(self, batch: Any, *, start: float, between: tuple[float, float]) -> Critical:
        """Probe the critical rate on ``batch``, with steps at rate 0; a skipped update has none."""
        self.rewind()
        return probe_update(
            self._parameters,
            update=lambda: self._whole_update(batch, start),
            loss=lambda: self(batch, 0.0),
            rewind=self.rewind,
            start=start,
            between=between,
        )

    def _whole_update(self, batch: Any, lr: float) -> float:
        loss = self(batch, lr)
        if math.isfinite(loss):
            self.complete(batch, lr)
        return loss

    def _is_unlearnable(self, batch: Any) -> bool:
        self.rewind()
        return not math.isfinite(self(batch, 0.0))


def mean_over_ranks(loss: float) -> float:
    """Return the mean of ``loss`` over the ranks: all decide the same, and one that is not finite stops all."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return loss
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    total = torch.tensor(loss, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total.item()) / dist.get_world_size()
