"""Any optimizer, with a learning rate that is adapted to the loss of each batch."""

from __future__ import annotations

import copy
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from stepsize.checks import check_number, check_positive
from stepsize.errors import InputError
from stepsize.optimizers.catalog import needs_closure, optimizer_factory, optimizer_title

_LOGGER = logging.getLogger("stepsize.adaptive")
_RECORDED = 2.0  # a change of the multiplier by this factor is written down
_KEPT = 1_000  # moves
_KEY = "adaptive"  # in the state of the optimizer: there snapshots and digests look, too


@dataclass(frozen=True)
class Move:
    """A change of the multiplier by a factor of two or more since the last recorded one.

    Attributes:
        step: Number of updates before it.
        before: Last recorded multiplier.
        after: New multiplier.
    """

    step: int
    before: float
    after: float


def adapt(
    optimizer: Optimizer, *, target: float = 0.0, c: float = 1.0, bounds: tuple[float, float] = (1e-6, 1e6)
) -> Adaptive:
    """Return ``optimizer`` with an adaptive learning rate: lr_t = s_t · group["lr"], by Polyak's decreasing step.

    The optimizer proposes the movement d_t, at the scheduled rate lr; after s d_t the loss is f_t − s g_t·d_t to first
    order, which is the target f* at

        s* = (f_t − f*) / (g_t·d_t).

    For plain SGD, d_t = lr g_t, and s* lr = (f_t − f*) / ‖g_t‖² is Polyak's step size, whatever lr is. With
    c_t = c √(t + 1), s_t = min(s*, c_{t−1} s_{t−1}) / c_t falls as 1/√t, so a target that no batch reaches does no
    harm (DecSPS).

    ``group["lr"]`` stays what the user or a schedule wrote there, so any scheduler works: its factor multiplies the
    step, which is found for the peak rate (``initial_lr`` of a group if a scheduler set it, otherwise the largest rate
    so far), and so do ratios of groups. If the movement does not go downhill (g·d ≤ 0, as momentum may), s stays as it
    was.

    Args:
        optimizer: Any torch optimizer. Use the returned one in its place, also for schedulers; its ``step`` takes the
            loss: ``optimizer.step(loss=loss)``, or a closure.
        target: f*, what no batch's loss can be below; 0 for most losses.
        c: The constant, > 0.
        bounds: Smallest and largest s.

    Returns:
        The adapting optimizer; ``rates`` are the effective ones, ``moves`` their changes.

    Raises:
        InputError: If an argument breaks its rule; ``step`` raises it if the loss is missing or below the target,
            before anything is changed.

    Example:
        >>> import torch, stepsize
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = stepsize.adapt(torch.optim.SGD(model.parameters(), lr=1e-5))
        >>> x, y = torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor([[1.0], [2.0]])
        >>> for _ in range(200):
        ...     loss = torch.nn.functional.mse_loss(model(x), y)
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     _ = optimizer.step(loss=loss)
        >>> loss.item() < 0.1
        True

    Source: A. Orvieto et al., Dynamics of SGD with Stochastic Polyak Stepsizes, 2022.
    """
    return Adaptive(optimizer, target=target, c=c, bounds=bounds)


@final
class Adaptive(Optimizer):
    """The optimizer that :func:`adapt` returns; it shares groups and state of the one within.

    Attributes:
        within: The optimizer within. (Not ``optimizer``: loggers take such a one for the real one, and log it twice.)
        moves: Recorded changes of the multiplier, newest last, at most 1,000.
    """

    def __init__(self, optimizer: Optimizer, *, target: float, c: float, bounds: tuple[float, float]) -> None:
        if not isinstance(optimizer, Optimizer):
            raise InputError("optimizer", type(optimizer).__name__, "must be a torch.optim.Optimizer")
        if isinstance(optimizer, Adaptive):
            raise InputError("optimizer", "Adaptive", "must not be adapted already", "Give the optimizer within")
        low, high = bounds
        if not 0 < low <= 1 <= high < math.inf:
            raise InputError("bounds", bounds, "must be two positive, finite multipliers around 1")
        self.target, self.c = check_number("target", target), check_positive("c", c)
        _check_adaptable(optimizer)
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.within = optimizer
        self.bounds = (float(low), float(high))
        self.moves: deque[Move] = deque(maxlen=_KEPT)
        self.state = optimizer.state
        self.state[_KEY] = {  # type: ignore[index]
            "s": None,  # until an update was downhill
            "recorded": 1.0,
            "updates": 0,
            "peaks": [float(group["lr"]) for group in optimizer.param_groups],
        }
        self._share()

    @property
    def multiplier(self) -> float:
        """S of the last update; 1.0 before the first."""
        s = self._kept["s"]
        return 1.0 if s is None else float(s)

    @property
    def rates(self) -> list[float]:
        """Effective rate of each group in the last update."""
        return [float(group["lr"]) * self.multiplier for group in self.param_groups]

    def step(self, closure: Callable[[], Any] | None = None, *, loss: Tensor | float | None = None) -> Any:
        """Make one update.

        Args:
            closure: Recomputes the loss and its gradients and returns the loss, as for torch's optimizers.
                Called once, before the update.
            loss: Mean loss of the batch of these gradients, if there is no closure.

        Returns:
            What ``closure`` returned, or None.
        """
        self._share()
        found = None
        if closure is not None:
            with torch.enable_grad():
                found = loss = closure()
        known = self._checked(loss)
        with torch.no_grad():
            self._update(known)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer within; that of the rate is in it, under ``["state"]["adaptive"]``."""
        for before in self._optimizer_state_dict_pre_hooks.values():
            before(self)
        self._share()
        state = self.within.state_dict()
        for after in self._optimizer_state_dict_post_hooks.values():
            changed = after(self, state)
            state = state if changed is None else changed
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned.

        Raises:
            InputError: If it has no state of an adaptive rate; nothing is changed then.
        """
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            changed = before(self, state_dict)
            state_dict = state_dict if changed is None else changed
        kept = state_dict["state"].get(_KEY)
        if kept is None:
            remedy = "Load it into the optimizer within"
            raise InputError("state_dict", sorted(state_dict), "must come from an Adaptive", remedy)
        self.within.load_state_dict(state_dict)
        self.within.state[_KEY] = copy.deepcopy(kept)  # type: ignore[index]
        self._share()
        for loaded in self._optimizer_load_state_dict_post_hooks.values():
            loaded(self)

    def __getstate__(self) -> dict[str, Any]:
        # torch's own method leaves these out, and copies would break
        own = ("within", "target", "c", "bounds", "moves")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the optimizer within."""
        inner = self.__dict__.get("within")
        if inner is None:  # torch's own constructor, which is given groups that are there already
            super().add_param_group(param_group)
            return
        inner.add_param_group(param_group)
        self._share()

    @property
    def _kept(self) -> dict[str, Any]:
        kept: dict[str, Any] = self.within.state[_KEY]  # type: ignore[index]
        return kept

    def _share(self) -> None:
        """Take over groups and state of the optimizer within, which loading and snapshots exchange."""
        before = self.state.get(_KEY)  # type: ignore[call-overload]
        self.param_groups, self.state = self.within.param_groups, self.within.state
        if _KEY not in self.state:  # the state of a plain optimizer was loaded into the one within
            self.state[_KEY] = before  # type: ignore[index]

    def _checked(self, loss: Tensor | float | None) -> float:
        """Return the loss as a number, or raise InputError if an update cannot be made."""
        if loss is None:
            raise InputError("loss", None, "must be given to an adapted step", "Call optimizer.step(loss=loss)")
        known = float(loss.detach() if isinstance(loss, Tensor) else loss)
        if known < self.target:
            remedy = "Give a target that no loss is below"
            raise InputError("loss", known, f"must not be below the target {self.target:g}", remedy)
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(gradient.layout != torch.strided for gradient in gradients):
            remedy = "Leave sparse=True out of the embedding, or do not adapt"
            raise InputError("optimizer", "a sparse gradient", "cannot be adapted", remedy)
        return known

    def _update(self, loss: float) -> None:
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            self._inner_step()
            return
        factor = self._factor()
        # The optimizer proposes a movement at the last s, which is scaled afterwards: at s = 1 a rate that is far too
        # small would propose one that disappears in the rounding of the weights.
        proposed = self.multiplier
        gradients = [p.grad for p in parameters]
        moved = self._copied(parameters)
        self._step_at(proposed)
        torch._foreach_sub_(moved, parameters)
        # At the peak rate, so that the schedule's factor is not made up for but multiplies.
        downhill = float(_dot(gradients, moved)) / (factor * proposed) if factor else 0.0  # the one device sync
        gap = loss - self.target
        if math.isfinite(downhill) and downhill > 0 and math.isfinite(gap):
            self._kept["s"] = min(max(self._scaled(gap / downhill), self.bounds[0]), self.bounds[1])
        torch._foreach_add_(parameters, moved, alpha=1 - self.multiplier / proposed)
        self._note(self.multiplier)

    def _scaled(self, polyak: float) -> float:
        """Return s from Polyak's: not above the last one, and decreasing as 1/√t."""
        last, t = self._kept["s"], self._kept["updates"]
        spent = self.bounds[1] if last is None else self.c * math.sqrt(t) * last
        return float(min(polyak, spent) / (self.c * math.sqrt(t + 1)))

    def _copied(self, parameters: list[Tensor]) -> list[Tensor]:
        """Return copies, in the same memory each time: asking for new memory costs more than the copying."""
        held = self.__dict__.setdefault("_buffer", [])
        if [(one.shape, one.dtype, one.device) for one in held] != [(p.shape, p.dtype, p.device) for p in parameters]:
            held[:] = [torch.empty_like(p) for p in parameters]
        torch._foreach_copy_(held, parameters)
        return list(held)

    def _factor(self) -> float:
        """Note the peaks of the groups, and return the largest rate relative to its peak."""
        rates = [float(group["lr"]) for group in self.param_groups]
        known = [*self._kept["peaks"], *[0.0] * (len(rates) - len(self._kept["peaks"]))]
        peaks = [
            float(group.get("initial_lr", max(rate, peak)))
            for group, rate, peak in zip(self.param_groups, rates, known, strict=True)
        ]
        self._kept["peaks"] = peaks
        return max((rate / peak for rate, peak in zip(rates, peaks, strict=True) if peak > 0), default=0.0)

    def _step_at(self, multiplier: float) -> None:
        scheduled = [group["lr"] for group in self.param_groups]
        try:
            for group, lr in zip(self.param_groups, scheduled, strict=True):
                group["lr"] = lr * multiplier
            self._inner_step()
        finally:
            for group, lr in zip(self.param_groups, scheduled, strict=True):
                group["lr"] = lr

    def _inner_step(self) -> None:
        """Let the optimizer within make its update; torch's global hooks have run for this one already."""
        names = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
        kept = {name: getattr(torch_optimizer, name) for name in names}
        try:
            for name in names:
                setattr(torch_optimizer, name, {})
            self.within.step()
        finally:
            for name, hooks in kept.items():
                setattr(torch_optimizer, name, hooks)

    def _note(self, multiplier: float) -> None:
        kept = self._kept
        recorded = kept["recorded"]
        if not recorded / _RECORDED < multiplier < recorded * _RECORDED:
            self.moves.append(Move(kept["updates"], recorded, multiplier))
            kept["recorded"] = multiplier
            _LOGGER.info("update %d: rate × %.3g, was × %.3g", kept["updates"], multiplier, recorded)
        kept["updates"] += 1


@dataclass(frozen=True)
class Adapted:
    """A factory of optimizers with an adaptive rate (:func:`adapt`), for a task's ``optimizer``.

    Args:
        optimizer: A name of the catalog, or ``f(params, lr)``.
        target: What no batch's loss can be below.
        c: The constant of the rule.

    Example:
        >>> import torch
        >>> Adapted("adamw")([torch.nn.Parameter(torch.ones(2))], 1e-3).rates
        [0.001]
    """

    optimizer: str | Callable[[Iterable[Any], float], Optimizer]
    target: float = 0.0
    c: float = 1.0

    def __post_init__(self) -> None:
        optimizer_factory(self.optimizer)

    @property
    def __name__(self) -> str:
        return f"{optimizer_title(self.optimizer)}, adapted"

    def __call__(self, params: Iterable[Any], lr: float) -> Adaptive:
        return adapt(optimizer_factory(self.optimizer)(params, lr), target=self.target, c=self.c)


def _dot(first: list[Any], second: list[Tensor]) -> Tensor:
    """Return the inner product over all tensors of both lists, a tensor of shape ()."""
    parts = [torch.dot(a.reshape(-1), b.reshape(-1)) for a, b in zip(first, second, strict=True)]
    return parts[0] if len(parts) == 1 else torch.stack([part.to(parts[0].device) for part in parts]).sum()


def _check_adaptable(optimizer: Optimizer) -> None:
    if needs_closure(optimizer):
        name = type(optimizer).__name__
        raise InputError("optimizer", name, "must make its update without a closure", f"{name} has its own search")
    if any(p.is_complex() for group in optimizer.param_groups for p in group["params"]):
        remedy = "Keep it as real numbers: torch.view_as_real"
        raise InputError("optimizer", "complex parameters", "cannot be adapted", remedy)
