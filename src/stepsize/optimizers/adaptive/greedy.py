"""The rate by the progress of the loss: up while it falls, down when it rises or stands still."""

from __future__ import annotations

import math
from statistics import fmean
from typing import ClassVar, final

from torch import Tensor

from stepsize.errors import InputError
from stepsize.optimizers.adaptive.rule import Now, Rule, check_number

__all__ = ["Greedy"]


@final
class Greedy(Rule):
    """Raise the rate as long as the loss surely falls, lower it when it surely rises or no longer falls.

    After every w updates, with the means a and b of the losses of the last two windows and the standard error e of
    their difference, z = (a − b) / e:

    - progress, z > c: s ← up · s;
    - worse, z < −c: s ← down · s;
    - neither, ``patience`` windows in a row: s ← down · s, for what hides progress is the noise of the rate.

    A single loss more than 10 standard deviations (of the last window, at least 10 % of its mean) above the last
    window's mean does not wait for the end of its window: s ← down · s, and a new window begins.

    Args:
        window: w, updates, at least 4.
        confidence: c, in standard errors.
        up: Above 1.
        down: Below 1.
        patience: Windows without a sign.

    Raises:
        InputError: If an argument breaks its rule.

    Source: T. Vogl et al., Accelerating the Convergence of the Back-propagation Method, 1988 ("bold driver": 1.05 up,
    0.7 down, by the sign of one change); the windows, their standard error and the factors are ours, since the sign of
    a change of batch losses is mostly noise.

    Example:
        >>> Greedy(up=2.0).up
        2.0
    """

    needs: ClassVar[frozenset[str]] = frozenset({"loss"})
    sees_movement: ClassVar[bool] = False

    def __init__(
        self, window: int = 10, confidence: float = 1.0, up: float = 1.5, down: float = 0.5, patience: int = 3
    ) -> None:
        super().__init__()
        for name, value, least in (("window", window, 4), ("patience", patience, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(name, value, f"must be a whole number of at least {least}")
        check_number("confidence", confidence, 0, math.inf)
        check_number("up", up, 1, math.inf)
        check_number("down", down, 0, 1)
        self.window, self.confidence, self.up, self.down, self.patience = window, confidence, up, down, patience
        self.memory = {"s": 1.0, "last": [], "losses": [], "still": 0}
        self._said = "no window is full yet"

    def multiplier(self, now: Now) -> float:
        """Return s, moved where a window is full."""
        assert now.loss is not None
        memory = self.memory
        if self._jumped(now.loss):
            memory |= {"s": now.bounded(self.down * memory["s"]), "losses": [], "still": 0}
            self._said = "the loss jumped up"
        elif math.isfinite(now.loss):
            memory["losses"] = [*memory["losses"], now.loss]
        if len(memory["losses"]) == self.window:
            if memory["last"]:
                memory["s"] = now.bounded(memory["s"] * self._verdict(memory["last"], memory["losses"]))
            memory |= {"last": memory["losses"], "losses": []}
        s: float = memory["s"]
        return s

    def learn(self, _now: Now, _moved: list[Tensor], multiplier: float) -> float:
        """Keep the multiplier within the bounds."""
        self.memory["s"] = multiplier
        return multiplier

    def why(self) -> str:
        """Return what the last window said."""
        return self._said

    def _jumped(self, loss: float) -> bool:
        last = self.memory["last"]
        if not math.isfinite(loss):
            return True
        if not last:
            return False
        mean = fmean(last)
        return loss - mean > 10 * max(math.sqrt(_variance(last)), 0.1 * abs(mean))

    def _verdict(self, before: list[float], after: list[float]) -> float:
        """Return by what the rate is multiplied after two windows."""
        error = math.sqrt((_variance(before) + _variance(after)) / self.window)
        gain = fmean(before) - fmean(after)
        z = gain / error if error > 0 else math.copysign(math.inf, gain) if gain else 0.0
        still = self.memory["still"] + 1 if abs(z) <= self.confidence else 0
        self.memory["still"] = still % self.patience
        if z > self.confidence:
            self._said = f"the loss falls ({z:.1f} standard errors)"
            return self.up
        if z < -self.confidence:
            self._said = f"the loss rises ({-z:.1f} standard errors)"
            return self.down
        self._said = "the loss stands still"
        return self.down if still == self.patience else 1.0


def _variance(values: list[float]) -> float:
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)
