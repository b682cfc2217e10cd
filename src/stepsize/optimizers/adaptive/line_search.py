"""The rate by trying: as far as the loss of this batch falls as promised."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from stepsize.checks import check_number, check_positive
from stepsize.optimizers.adaptive.rule import AdaptiveRule, Now, dot

_TRIES = 50


@final
class LineSearch(AdaptiveRule):
    """Shorten each update until the loss of its batch falls as the gradient promises.

    The optimizer proposes the movement d_t, at the scheduled rate. s_t is the first of s, β s, β² s, … at which

        f_t(θ_t − s d_t) ≤ f_t(θ_t) − c s g_t·d_t   (Armijo),

    tried on the same batch, at the peak rate; a schedule's factor then shortens the step that was found. The next
    update begins at 2^(1/T) s_t, so that what was shortened can grow again; the first one at ``start``. Each try is a
    forward pass: usually one, two where the rate falls.

    Args:
        c: Fraction of the promised decrease that is required, in (0, 1).
        shorten: β, in (0, 1).
        doubling: T, in how many updates s may double, ≥ 1.
        start: s of the first try, > 0: large, since the first update shortens it as often as it takes.

    Raises:
        InputError: If an argument breaks its rule.

    Source: S. Vaswani et al., Painless Stochastic Gradient: Interpolation, Line-Search, and Convergence Rates, 2019.

    Example:
        >>> LineSearch().shorten
        0.7
    """

    needs = frozenset({"loss", "loss_fn"})

    def __init__(self, c: float = 0.1, *, shorten: float = 0.7, doubling: int = 50, start: float = 1e3) -> None:
        super().__init__()
        for argument, value in (("c", c), ("shorten", shorten)):
            check_number(argument, value, above=0, below=1)
        check_number("doubling", doubling, least=1)
        check_positive("start", start)
        self.c, self.shorten, self.doubling = c, shorten, doubling
        self.memory = {"s": start, "first": True}
        self._tried = 0

    def multiplier(self, _now: Now) -> float:
        """Return the last s: the optimizer proposes a movement, which is scaled after it.

        At s = 1 a rate that is far too small would propose one that disappears in the rounding of the weights.
        """
        s: float = self.memory["s"]
        return s

    def learn(self, now: Now, moved: list[Tensor], multiplier: float) -> float:
        """Try, and shorten until the loss falls."""
        assert now.loss is not None
        assert now.loss_fn is not None
        if not now.factor:  # a warmup that begins at 0
            return multiplier
        torch._foreach_mul_(moved, 1 / now.factor)  # at the peak rate; the schedule's factor shortens what is found
        torch._foreach_add_(now.parameters, moved, alpha=now.factor - 1)
        promised = float(dot(now.gradients, moved)) / multiplier
        s = now.bounded(self.memory["s"] * (1.0 if self.memory["first"] else 2 ** (1 / self.doubling)))
        place = multiplier  # how many movements at s = 1 from the start the weights are
        for self._tried in range(1, _TRIES + 1):
            torch._foreach_add_(now.parameters, moved, alpha=(place - s) / multiplier)
            place = s
            reached = float(now.loss_fn())
            if reached <= now.loss - self.c * s * promised or not promised > 0:
                break
            s = now.bounded(s * self.shorten)
        s = place
        torch._foreach_add_(now.parameters, moved, alpha=place / multiplier * (1 - now.factor))
        self.memory = {"s": s, "first": False}
        return float(s)

    def why(self) -> str:
        """Return how often it had to try."""
        return f"the loss fell as promised at try {self._tried}"
