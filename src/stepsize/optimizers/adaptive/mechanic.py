"""The rate by a bet on the sum of all updates so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from stepsize.optimizers.adaptive.rule import Now, Rule, check_number, dot, spread

__all__ = ["Mechanic"]

_BETAS = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)


@final
class Mechanic(Rule):
    """Scale the sum of the optimizer's updates by what coin betting finds best.

    The optimizer makes its update u_t at the scheduled rate from x_t; Δ_{t+1} = Δ_t + u_t is their sum, and the weights
    become x_{t+1} = x_1 + s_{t+1} Δ_{t+1}. With h_t = Δ_t · (g_t + λ s_t ‖g_t‖ x_t / ‖x_t‖), for each of n values of β:

        m ← max(β m, |h|),  v ← β² v + h²,  r ← max(β r − s h, 0),  s = (m s₀/n + r) / (√v + ε),

    and s_{t+1} is the sum over the β; m begins at 1e-6, as in the authors' code, or s would be 0 at first. It does not
    matter how large the updates are: an lr that is wrong by a constant factor is made up for.

    Args:
        start: s₀, the multiplier to begin with, > 0.
        decay: λ ≥ 0.
        betas: The memories, each in (0, 1].

    Raises:
        InputError: If an argument breaks its rule.

    Source: A. Cutkosky, A. Defazio, H. Mehta, Mechanic: A Learning Rate Tuner, 2023.

    Example:
        >>> Mechanic(start=1e-6).start
        1e-06
    """

    def __init__(self, start: float = 1e-8, decay: float = 0.01, betas: Sequence[float] = _BETAS) -> None:
        super().__init__()
        check_number("start", start, 0, math.inf)
        check_number("decay", decay, 0, math.inf, open_low=False)
        for beta in betas:
            check_number("betas", beta, 0, 1)
        self.start, self.decay, self.betas = start, decay, tuple(betas)
        none = [0.0] * len(self.betas)
        self.memory = {"s": none, "m": [_FIRST] * len(none), "v": none, "r": none, "origin": None, "sum": None}

    def multiplier(self, _now: Now) -> float:
        """Return s where it is above 1: the optimizer's own update is made and scaled after it.

        At s = 1 a rate that is far too small would propose one that is lost in the rounding of the weights.
        """
        return max(1.0, float(sum(self.memory["s"])))

    def learn(self, now: Now, moved: list[Tensor], multiplier: float) -> float:
        """Bet on the sum of updates, and put the weights where it says."""
        memory = self.memory
        known = memory["origin"] or []
        new = [n for n, place in enumerate(now.places) if place >= len(known) or known[place] is None]
        memory["origin"] = spread([], replace(now, places=()), known)
        memory["sum"] = spread([], replace(now, places=()), memory["sum"] or [])
        for n in new:
            memory["origin"][now.places[n]] = now.parameters[n] + moved[n]
            memory["sum"][now.places[n]] = torch.zeros_like(moved[n])
        origin, sums = ([memory[name][place] for place in now.places] for name in ("origin", "sum"))
        before = torch._foreach_add(now.parameters, moved) if self.decay else None
        h = self._product(sums, now.gradients, before)
        if math.isfinite(h):
            self._bet(h)
        torch._foreach_add_(sums, moved, alpha=-1 / multiplier)
        s = min(sum(memory["s"]), now.bounds[1])
        torch._foreach_copy_(now.parameters, origin)
        torch._foreach_add_(now.parameters, sums, alpha=s)
        return float(s)

    def why(self) -> str:
        """Return what the bets have won."""
        return f"the sum of all updates pays (reward {sum(self.memory['r']):.3g})"

    def _product(self, sums: Sequence[Tensor], gradients: Sequence[Tensor], before: Sequence[Tensor] | None) -> float:
        products = [dot(sums, gradients)]
        if before is not None:
            products += [dot(sums, before), dot(gradients, gradients), dot(before, before)]
        h, *others = torch.stack(products).tolist()  # the one look at the device in an update
        if others:
            along, gradient, weights = others
            h += self.decay * sum(self.memory["s"]) * math.sqrt(gradient) * along / (math.sqrt(weights) + _EPS)
        return float(h)

    def _bet(self, h: float) -> None:
        memory = self.memory
        bets = zip(self.betas, memory["s"], memory["m"], memory["v"], memory["r"], strict=True)
        placed = [self._placed(h, *bet) for bet in bets]
        memory |= {name: [one[i] for one in placed] for i, name in enumerate(("s", "m", "v", "r"))}

    def _placed(self, h: float, beta: float, s: float, m: float, v: float, r: float) -> tuple[float, ...]:
        m = max(beta * m, abs(h))
        v = beta * beta * v + h * h
        r = max(beta * r - s * h, 0.0)
        return (m * self.start / len(self.betas) + r) / (math.sqrt(v) + _EPS), m, v, r


_EPS = 1e-8
_FIRST = 1e-6
