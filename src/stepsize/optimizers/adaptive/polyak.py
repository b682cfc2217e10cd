"""The rate by the loss: how far to go until a linear model of it reaches its target."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor

from stepsize.checks import check_number, check_positive
from stepsize.errors import InputError, UnknownNameError
from stepsize.optimizers.adaptive.rule import AdaptiveRule, Now, dot

Form = Literal["sps-max", "decsps"]
_FORMS = ("sps-max", "decsps")
_KEEP = 0.9  # of the mean of the losses that an estimated target goes by
_PATIENCE = 50  # updates without enough progress after which the target is drawn nearer


@final
class Polyak(AdaptiveRule):
    """Go as far as a linear model of the loss says that the target lies.

    The optimizer proposes the movement d_t, at the scheduled rate lr; after s d_t the loss is f_t − s g_t·d_t to first
    order, which is the target f* at

        s* = (f_t − f*) / (g_t·d_t).

    For plain SGD, d_t = lr g_t, and s* lr = (f_t − f*) / ‖g_t‖² is Polyak's step size, whatever lr is. The forms:

    - sps-max: s_t = min(s* / c, b, 2^(1/T) s_{t−1}), which does not jump up; s_0 is free;
    - decsps: s_t = min(s*, c_{t−1} s_{t−1}) / c_t with c_t = c √(t + 1), which falls as 1/√t, so that a target that no
      batch reaches does no harm; c_{t−1} s_{t−1} begins at b;

    Where no bound is known, or no batch comes near it (a text's loss is never near 0), the target is estimated: a level
    below the record r, the lowest running mean m_t = 0.9 m_{t−1} + 0.1 f_t so far: f* = r − δ, at first δ = |f_0| / 2.
    Each time r falls by δ / 2 below where it was when this was last looked at, the level has proved reachable and δ
    stays; where it has not in 50 updates, δ is halved.

    Under a schedule lr is the peak, and its factor multiplies the step. Where the movement does not go downhill
    (g·d ≤ 0, as momentum may), s stays as it was.

    Args:
        form: One of the two.
        target: f*, what no batch's loss can be below; 0 for most losses. ``"estimated"`` is the level above; a batch
            whose loss lies below it leaves s as it was.
        c: The constant, > 0.
        most: b, the largest multiplier, > 0.
        doubling: T, number of updates in which s may double, ≥ 1.

    Raises:
        UnknownNameError: If the form is not known.
        InputError: If an argument breaks its rule; from ``step``, before anything moves, if a loss is below the target.

    Source: N. Loizou et al., Stochastic Polyak Step-size for SGD, 2021 (sps-max); A. Orvieto et al., Dynamics of
    SGD with Stochastic Polyak Stepsizes, 2022 (decsps); A. Nedić, D. Bertsekas, Incremental Subgradient Methods for
    Nondifferentiable Optimization, 2001, for target levels; the running mean and the constants are ours.

    Example:
        >>> from stepsize.optimizers.adaptive import Adaptive
        >>> weight = torch.nn.Parameter(torch.tensor([3.0]))
        >>> optimizer = Adaptive(torch.optim.SGD([weight], lr=0.1), Polyak())
        >>> loss = 0.5 * (weight ** 2).sum()
        >>> loss.backward()
        >>> _ = optimizer.step(loss=loss)
        >>> round(optimizer.rates[0], 4)  # (4.5 - 0) / 3² = 0.5
        0.5
    """

    needs = frozenset({"loss"})

    def __init__(
        self,
        form: Form = "sps-max",
        *,
        target: float | Literal["estimated"] = 0.0,
        c: float = 1.0,
        most: float = 1e6,
        doubling: int = 100,
    ) -> None:
        super().__init__()
        if form not in _FORMS:
            raise UnknownNameError("form", form, _FORMS)
        if target != "estimated":
            check_number("target", target)
        check_positive("c", c)
        check_positive("most", most)
        check_number("doubling", doubling, least=1)
        self.form, self.target, self.c, self.most, self.doubling = form, target, c, most, doubling
        self.memory = {"s": None, "updates": 0}
        if target == "estimated":
            self.memory |= {"mean": None, "record": 0.0, "gap": 0.0, "since": 0.0, "waited": 0}

    def multiplier(self, now: Now) -> float:
        """Return the last s: the optimizer proposes a movement, which is scaled after it.

        At s = 1 a rate that is far too small would propose one that disappears in the rounding of the weights.
        """
        assert now.loss is not None  # needed, so it is there
        if isinstance(self.target, str):
            self._estimate(now.loss)
        elif now.loss < self.target:
            remedy = "Give a target that no loss lies below, or another rule"
            raise InputError("loss", now.loss, f"must not be below the target {self.target:g} of Polyak", remedy)
        return 1.0 if self.memory["s"] is None else self.memory["s"]

    def learn(self, now: Now, moved: list[Tensor], multiplier: float) -> float:
        """Scale the movement to where the target lies."""
        assert now.loss is not None
        # At the peak rate, so that the schedule's factor is not made up for but multiplies.
        downhill = float(dot(now.gradients, moved)) / (now.factor * multiplier) if now.factor else 0.0  # the one look
        gap = now.loss - self._level()
        if math.isfinite(downhill) and downhill > 0 and math.isfinite(gap) and gap >= 0:
            self.memory["s"] = now.bounded(self._scaled(gap, downhill))
        self.memory["updates"] += 1
        s: float = multiplier if self.memory["s"] is None else self.memory["s"]
        torch._foreach_add_(now.parameters, moved, alpha=1 - s / multiplier)
        return s

    def why(self) -> str:
        """Return what the loss said."""
        return f"the target loss {self._level():.4g} lies that far along the update"

    def _level(self) -> float:
        return self.memory["record"] - self.memory["gap"] if isinstance(self.target, str) else self.target

    def _estimate(self, loss: float) -> None:
        """Move the estimated target."""
        memory = self.memory
        if not math.isfinite(loss):
            return
        if memory["mean"] is None:
            memory |= {"mean": loss, "record": loss, "gap": abs(loss) / 2, "since": loss}
            return
        memory["mean"] = _KEEP * memory["mean"] + (1 - _KEEP) * loss
        memory["record"] = min(memory["record"], memory["mean"])
        memory["waited"] += 1
        if memory["record"] <= memory["since"] - memory["gap"] / 2:
            memory |= {"since": memory["record"], "waited": 0}
        elif memory["waited"] >= _PATIENCE:
            memory |= {"gap": memory["gap"] / 2, "since": memory["record"], "waited": 0}

    def _scaled(self, gap: float, downhill: float) -> float:
        last, t = self.memory["s"], self.memory["updates"]
        if self.form == "decsps":
            spent = self.most if last is None else self.c * math.sqrt(t) * last
            return min(gap / downhill, spent) / (self.c * math.sqrt(t + 1))
        s = min(gap / (self.c * downhill), self.most)
        return s if last is None else min(s, 2 ** (1 / self.doubling) * last)
