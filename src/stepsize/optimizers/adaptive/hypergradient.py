"""The rate by the gradient's own history: whether two updates in a row agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from stepsize.checks import check_number
from stepsize.optimizers.adaptive.rule import AdaptiveRule, Now, dot, spread

_KEEP = 0.99


@final
class Hypergradient(AdaptiveRule):
    """Descend the loss along the rate itself.

    With θ_t = θ_{t−1} − α u_{t−1}, the derivative of the loss along the rate is ∂f(θ_t)/∂α = −g_t·u_{t−1}. With the
    multiplier s = α / lr, d = θ_{t−1} − θ_t, the last movement, and c = g_t·d / (‖g_t‖ ‖d‖), the cosine between them:

        s ← s exp(β c / √(m̂)), m̂ the mean of c² so far with weights 0.99ᵏ,

    as AdaGrad does (Chu et al.) for an unknown scale of the derivative, on log s. If gradients are mostly noise,
    c is small, and this scales it up. If the slope along the last movement has turned round and grown,
    r = −g_t·d / g_{t−1}·d > 1, the weights are further from the lowest point of the parabola through both slopes than
    before: s ← s / (1 + r) goes there.

    Args:
        beta: β, in (0, 1].

    Raises:
        InputError: If ``beta`` is not in (0, 1].

    Source: A. Baydin et al., Online Learning Rate Adaptation with Hypergradient Descent, 2018; Y. Chu et al., Provable
    and Practical Online Learning Rate Adaptation with Hypergradient Descent, 2025.

    Example:
        >>> Hypergradient().beta
        0.05
    """

    def __init__(self, beta: float = 0.05) -> None:
        super().__init__()
        self.beta = check_number("beta", beta, above=0, most=1)
        self.memory = {"s": 1.0, "square": 0.0, "weight": 0.0, "moved": None, "slope": None}
        self._cosine = 0.0

    def multiplier(self, now: Now) -> float:
        """Return s, moved along the agreement of the gradient with the last movement."""
        moved = self.memory["moved"] or []
        both = [n for n, place in enumerate(now.places) if place < len(moved) and moved[place] is not None]
        if len(both) < sum(one is not None for one in moved):  # others were moved then: its slope is of something else
            self.memory["slope"] = None
        if both:
            self._follow([moved[now.places[n]] for n in both], [now.gradients[n] for n in both])
        s: float = self.memory["s"]
        return s

    def learn(self, now: Now, moved: list[Tensor], multiplier: float) -> float:
        """Keep the movement for the next update, and the slope that it went down."""
        self.memory |= {"moved": spread(moved, now), "s": multiplier, "slope": dot(now.gradients, moved)}
        return multiplier

    def why(self) -> str:
        """Return how the last two updates agreed."""
        said = "go on in the same direction" if self._cosine > 0 else "turn back"
        return f"updates {said} (cosine {self._cosine:+.2f})"

    def _follow(self, moved: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        slope = self.memory["slope"]
        parts = [dot(gradients, moved), dot(gradients, gradients), dot(moved, moved)]
        parts.append(torch.zeros_like(parts[0]) if slope is None else slope)
        product, gradient, movement, before = torch.stack(parts).tolist()  # the one device sync of an update
        if not math.isfinite(product) or gradient * movement <= 0:
            return
        self._cosine = c = product / math.sqrt(gradient * movement)
        memory = self.memory
        if before > 0 and -product > before:
            memory["s"] /= 1 - product / before
            return
        memory["square"] = _KEEP * memory["square"] + (1 - _KEEP) * c * c
        memory["weight"] = _KEEP * memory["weight"] + (1 - _KEEP)
        memory["s"] *= math.exp(self.beta * c / math.sqrt(memory["square"] / memory["weight"]))
