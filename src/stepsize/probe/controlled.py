"""The user's step function under control: rates set, losses read, state restored."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from stepsize.curves.critical import Critical
from stepsize.errors import InputError
from stepsize.probe.critical import probe_update
from stepsize.training.batches import Stream
from stepsize.training.group_values import write_value
from stepsize.training.rng import seed_everything
from stepsize.training.snapshot import Snapshot


class Batches:
    """The user's batches without end: a re-iterable is read again, a one-shot iterator is recorded and replayed."""

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
        """Return what training should continue with: the drawn batches of a one-shot iterator come again first."""
        return self._source if self._once is None else itertools.chain(self._drawn, self._once)


class Rates:
    """The rates of all groups of all optimizers, moved together, which preserves their ratios.

    The reference is the group with the highest rate (the first of them): a rate x given to :meth:`set` gives
    group g the rate x * lr_g / lr_reference, where lr_g is what the group had when this was created. The rates
    are written right before each update too (a pre-step hook), so a scheduler that the user's own step drives
    does not get in the way.
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
        momentum = max(float(group.get("momentum", 0.0)) for group in self._groups)
        # Heavy-ball momentum m adds up to 1 / (1 - m) first updates: a rate is as much bolder as its first step tells.
        self.amplification = 1 / (1 - momentum) if 0 <= momentum < 1 else 1.0
        self.updates = 0
        self._lr = self.reference
        self._handles = [optimizer.register_step_pre_hook(self._before_update) for optimizer in optimizers]

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
        self._write()

    def _write(self) -> None:
        for group, base in zip(self._groups, self._base, strict=True):
            write_value(group, "lr", self._lr * base / self.reference)


class ControlledStep:
    """The user's ``step(batch) -> loss`` with its rates set from outside, and its whole state restored at will.

    ``seed`` is what the generators are seeded with whenever the state is restored.
    """

    def __init__(self, step: Callable[[Any], Any], optimizers: list[Optimizer], snapshot: Snapshot, seed: int) -> None:
        self._step = step
        self._parameters = [p for each in optimizers for group in each.param_groups for p in group["params"]]
        self._snapshot = snapshot
        self._seed = seed
        self.rates = Rates(optimizers)
        self.calls = 0

    def rewind(self, salt: int = 0) -> None:
        """Restore the state and seed the generators again; the position of the data continues."""
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

    def critical(self, batch: Any, *, start: float, between: tuple[float, float]) -> Critical:
        """Probe the critical rate on ``batch``; a step at rate 0 returns the loss at other weights.

        If the update was skipped, as a gradient scaler does until it has found its scale, there is none.
        """
        self.rewind()
        return probe_update(
            self._parameters,
            update=lambda: self(batch, start),
            loss=lambda: self(batch, 0.0),
            rewind=self.rewind,
            start=start,
            between=between,
        )


def mean_over_ranks(loss: float) -> float:
    """Return the mean of ``loss`` over the ranks of the default process group, so that all ranks decide the same.

    A loss that is not finite on one rank is not finite on any, so a divergence anywhere stops every rank.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return loss
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    total = torch.tensor(loss, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total.item()) / dist.get_world_size()
