"""The learning rates of orders and of a guard: changed for the moment of the update, and restored after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from stepsize.training.group_values import write_value
from stepsize.training.wrapped import outside_of_graphs


class RateLimiter:
    """Hooks that change the learning rate of each update, and leave what schedulers see as it is.

    ``steer`` returns the rate of a group, by its number over all optimizers, in place of the one that was set;
    ``multiplier`` the multiplier of the learning rates of the next update.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.steer: Callable[[int, float], float] | None = None
        self.multiplier: Callable[[], float] = lambda: 1.0
        self._optimizers = list(optimizers)
        self._held: dict[int, list[Any]] = {}
        self._caps: dict[int, list[float]] = {}
        self._applied = {id(one): tuple(float(group["lr"]) for group in one.param_groups) for one in optimizers}
        self._hooks = [
            hook
            for one in optimizers
            for hook in (
                one.register_step_pre_hook(outside_of_graphs(self._before)),
                one.register_step_post_hook(outside_of_graphs(self._after)),
            )
        ]

    @property
    def last(self) -> tuple[float, ...]:
        """Learning rates of the last update, of all groups in order."""
        return tuple(rate for one in self._optimizers for rate in self._applied[id(one)])

    @property
    def caps(self) -> list[float]:
        """What no learning rate can exceed, of all groups in order; empty without a limit."""
        return [rate for one in self._optimizers for rate in self._caps.get(id(one), ())]

    def cap(self, rates: Sequence[float]) -> None:
        """Let no learning rate exceed these any more; nothing is limited without any."""
        if not rates:
            return self._caps.clear()
        left = list(rates)
        for one in self._optimizers:
            count = len(one.param_groups)
            self._caps[id(one)], left = left[:count], left[count:]
        return None

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _first_group(self, optimizer: Optimizer) -> int:
        """Return the number of the first group of an optimizer among the groups of all."""
        before = self._optimizers[: next(at for at, one in enumerate(self._optimizers) if one is optimizer)]
        return sum(len(one.param_groups) for one in before)

    def _before(self, optimizer: Optimizer, *_: Any) -> None:
        times, caps, steer = self.multiplier(), self._caps.get(id(optimizer)), self.steer
        rates = [group["lr"] for group in optimizer.param_groups]
        self._held[id(optimizer)] = [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]
        if times == 1 and caps is None and steer is None:
            return
        begin = 0 if steer is None else self._first_group(optimizer)
        for number, group in enumerate(optimizer.param_groups):
            rate = float(group["lr"]) if steer is None else steer(begin + number, float(group["lr"]))
            rate *= times
            write_value(group, "lr", rate if caps is None or number >= len(caps) else min(rate, caps[number]))

    def _after(self, optimizer: Optimizer, *_: Any) -> None:
        self._applied[id(optimizer)] = tuple(float(group["lr"]) for group in optimizer.param_groups)
        for group, rate in zip(optimizer.param_groups, self._held.pop(id(optimizer), ()), strict=False):
            write_value(group, "lr", rate)
