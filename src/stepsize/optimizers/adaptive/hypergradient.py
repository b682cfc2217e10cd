"""The rate by the gradient's own history: whether two updates in a row agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, final

import torch
from torch import Tensor

from stepsize.checks import check_number
from stepsize.errors import UnknownNameError
from stepsize.optimizers.adaptive.rule import Now, Rule, dot, spread

Form = Literal["additive", "multiplicative", "stable"]


@final
class Hypergradient(Rule):
    """Descend the loss along the rate itself.

    With θ_t = θ_{t−1} − α u_{t−1}, the derivative of the loss along the rate is ∂f(θ_t)/∂α = −g_t·u_{t−1}. With the
    multiplier s = α / lr, d = θ_{t−1} − θ_t, the last movement, and c = g_t·d / (‖g_t‖ ‖d‖), the cosine between them:

    - additive: s ← s + β g_t·d / s, the plain descent of Baydin et al. in units of lr (d / s is u lr);
    - multiplicative: s ← s (1 + β c), which has no units;
    - stable: s ← s exp(β c / √(m̂)), m̂ the mean of c² so far with weights 0.99ᵏ: AdaGrad's remedy of Chu et al. for an
      unknown scale of the derivative, on log s. Where gradients are mostly noise, c is small, and this scales it up.
      And where the slope along the last movement has turned round and grown, r = −g_t·d / g_{t−1}·d > 1, the weights
      are further from the lowest point of the parabola through both slopes than before: s ← s / (1 + r) goes there.

    Args:
        form: Which of the three.
        beta: β; default 1e-2, 0.02 and 0.05 in this order.

    Raises:
        InputError: If ``form`` is none of them or ``beta`` is not in (0, 1].

    Source: A. Baydin et al., Online Learning Rate Adaptation with Hypergradient Descent, 2018; Y. Chu et al., Provable
    and Practical Online Learning Rate Adaptation with Hypergradient Descent, 2025.

    Example:
        >>> Hypergradient("multiplicative").beta
        0.02
    """

    def __init__(self, form: Form = "stable", beta: float | None = None) -> None:
        super().__init__()
        if form not in _BETAS:
            raise UnknownNameError("form", form, _BETAS)
        self.form = form
        self.beta = _BETAS[form] if beta is None else beta
        check_number("beta", self.beta, above=0, most=1)
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
        slope = dot(now.gradients, moved) if self.form == "stable" else None
        self.memory |= {"moved": spread(moved, now), "s": multiplier, "slope": slope}
        return multiplier

    def why(self) -> str:
        """Return how the last two updates agreed."""
        said = "go on in the same direction" if self._cosine > 0 else "turn back"
        return f"updates {said} (cosine {self._cosine:+.2f})"

    def _follow(self, moved: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        slope = self.memory["slope"]
        parts = [dot(gradients, moved), dot(gradients, gradients), dot(moved, moved)]
        parts.append(torch.zeros_like(parts[0]) if slope is None else slope)
        product, gradient, movement, before = torch.stack(parts).tolist()  # the one look at the device in an update
        if not math.isfinite(product) or gradient * movement <= 0:
            return
        self._cosine = c = product / math.sqrt(gradient * movement)
        memory = self.memory
        if self.form == "additive":
            memory["s"] = max(memory["s"] + self.beta * product / memory["s"], 0.0)
        elif self.form == "multiplicative":
            memory["s"] *= 1 + self.beta * c
        elif before > 0 and -product > before:
            memory["s"] /= 1 - product / before
        else:
            memory["square"] = _KEEP * memory["square"] + (1 - _KEEP) * c * c
            memory["weight"] = _KEEP * memory["weight"] + (1 - _KEEP)
            memory["s"] *= math.exp(self.beta * c / math.sqrt(memory["square"] / memory["weight"]))


_BETAS: dict[str, float] = {"additive": 1e-2, "multiplicative": 0.02, "stable": 0.05}
_KEEP = 0.99
