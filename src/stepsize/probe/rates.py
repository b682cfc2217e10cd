"""Control of the rates of one or several optimizers by one multiplier, whatever else writes to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from stepsize.errors import InputError

__all__ = ["Rates", "as_optimizers"]


class Rates:
    """The rates of all groups of all optimizers, moved together so that their ratios survive.

    The reference is the group with the highest rate (the first of them): a rate x given to :meth:`set` gives
    group g the rate x * lr_g / lr_reference, where lr_g is what the group had when this was made. The rates
    are written right before each update too (a pre-step hook), so a scheduler that the user's own step drives
    does not get in the way.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self._groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        self._base = [float(group["lr"]) for group in self._groups]
        if max(self._base) <= 0:  # a warm-up that begins at zero: what the scheduler scales tells the ratios
            self._base = [float(group.get("initial_lr", 0.0)) for group in self._groups]
        if max(self._base) <= 0:
            raise InputError(
                "optimizer", "rates that are all 0", "must have a group with a positive lr", "Its ratios are swept"
            )
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
        """Let go of the optimizers. The rates themselves are put back by whoever took the snapshot."""
        for handle in self._handles:
            handle.remove()

    def _before_update(self, *_: Any) -> None:
        self.updates += 1
        self._write()

    def _write(self) -> None:
        for group, base in zip(self._groups, self._base, strict=True):
            lr = self._lr * base / self.reference
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr


def as_optimizers(optimizer: Optimizer | Iterable[Optimizer]) -> list[Optimizer]:
    """Return one or several optimizers as a list.

    Raises:
        InputError: If something else is among them, or there is none.
    """
    several = isinstance(optimizer, Iterable) and not isinstance(optimizer, Optimizer | str)
    optimizers: list[Any] = [*optimizer] if several else [optimizer]  # type: ignore[misc]
    for candidate in optimizers:
        if not isinstance(candidate, Optimizer):
            raise InputError("optimizer", candidate, "must be a torch.optim.Optimizer, or a list of them")
    if not optimizers or not any(group["params"] for each in optimizers for group in each.param_groups):
        raise InputError("optimizer", optimizer, "must hold at least one parameter")
    return optimizers
