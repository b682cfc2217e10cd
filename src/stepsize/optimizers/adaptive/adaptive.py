"""Any optimizer, with a rate that a rule adapts while it trains."""

from __future__ import annotations

import inspect
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from stepsize.errors import InputError
from stepsize.optimizers.adaptive.rule import AdaptiveRule, Now

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
        why: Reason that the rule gives.
    """

    step: int
    before: float
    after: float
    why: str


@final
class Adaptive(Optimizer):
    """An optimizer whose rates are multiplied by what a rule finds, update by update.

    Update t of a group uses lr_t = s_t · group["lr"], with s_t from the rule. ``group["lr"]`` stays what the user or a
    schedule wrote there, so any scheduler works: its factor and the rule's multiply, and so do ratios of groups.
    A rule that would find the same rate for any lr (Polyak, line search) finds it for the peak: ``initial_lr`` of
    a group if a scheduler set it, otherwise the largest rate so far.

    Args:
        optimizer: Any torch optimizer. This one drives it from now on, and shares its groups and state.
        rule: Rule that adapts the rate; one rule for one optimizer.
        bounds: Smallest and largest multiplier.

    Attributes:
        within: The optimizer within. (Not ``optimizer``: loggers take such a one for the real one, and log it twice.)
        moves: Recorded changes of the multiplier, newest last, at most 1,000.

    Raises:
        InputError: If an argument breaks its rule; ``step`` raises it if ``loss`` or ``loss_fn`` is missing,
            before anything is changed.

    Example:
        >>> from stepsize.optimizers.adaptive import Hypergradient
        >>> weight = torch.nn.Parameter(torch.ones(3))
        >>> optimizer = Adaptive(torch.optim.SGD([weight], lr=1e-3), Hypergradient())
        >>> for _ in range(50):
        ...     optimizer.zero_grad()
        ...     (weight ** 2).sum().backward()
        ...     _ = optimizer.step()
        >>> optimizer.rates[0] > 1e-2
        True
    """

    def __init__(self, optimizer: Optimizer, rule: AdaptiveRule, *, bounds: tuple[float, float] = (1e-6, 1e6)) -> None:
        if not isinstance(optimizer, Optimizer):
            raise InputError("optimizer", type(optimizer).__name__, "must be a torch.optim.Optimizer")
        if isinstance(optimizer, Adaptive):
            raise InputError("optimizer", "Adaptive", "must not be adapted already", "Give the optimizer within")
        if not isinstance(rule, AdaptiveRule):
            raise InputError("rule", rule, "must be a rule of stepsize.optimizers.adaptive, such as Polyak()")
        low, high = bounds
        if not 0 < low <= 1 <= high < math.inf:
            raise InputError("bounds", bounds, "must be two positive, finite multipliers around 1")
        _check_adaptable(optimizer)
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.within = optimizer
        self.rule = rule
        self.bounds = (float(low), float(high))
        self.moves: deque[Move] = deque(maxlen=_KEPT)
        self.state = optimizer.state
        self.state[_KEY] = {  # type: ignore[index]
            "kind": type(rule).__name__,
            "multiplier": 1.0,
            "recorded": 1.0,
            "updates": 0,
            "peaks": [float(group["lr"]) for group in optimizer.param_groups],
            "rule": rule.memory,
        }
        self._share()

    @property
    def multiplier(self) -> float:
        """S of the last update; 1.0 before the first."""
        found: float = self._kept["multiplier"]
        return found

    @property
    def rates(self) -> list[float]:
        """Effective rate of each group in the last update."""
        return [float(group["lr"]) * self.multiplier for group in self.param_groups]

    def step(
        self,
        closure: Callable[[], Any] | None = None,
        *,
        loss: Tensor | float | None = None,
        loss_fn: Callable[[], Tensor] | None = None,
    ) -> Any:
        """Make one update.

        Args:
            closure: Recomputes the loss and its gradients and returns the loss, as for torch's optimizers.
                Called once, before the update; more often by rules that try rates, if there is no ``loss_fn``.
            loss: Mean loss of the batch of these gradients, for rules that need it and without a closure.
            loss_fn: Returns the loss of this batch at the present weights, without gradients and with the same
                dropout, for rules that try rates.

        Returns:
            What ``closure`` returned, or None.
        """
        self._share()
        found = None
        if closure is not None:
            with torch.enable_grad():
                found = loss = closure()
            if loss_fn is None and "loss_fn" in self.rule.needs:
                loss_fn = self._without_gradients(closure)
        self._check_step(loss, loss_fn)
        with torch.no_grad():
            self._update(loss, loss_fn)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer within; that of the rule is in it, under ``["state"]["adaptive"]``."""
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
            InputError: If it has no state of a rule, or of another one; nothing is changed then.
        """
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            changed = before(self, state_dict)
            state_dict = state_dict if changed is None else changed
        kept = state_dict["state"].get(_KEY)
        if kept is None:
            remedy = "Load it into the optimizer within"
            raise InputError("state_dict", sorted(state_dict), "must come from an Adaptive", remedy)
        if kept["kind"] != type(self.rule).__name__:
            raise InputError("state_dict", kept["kind"], f"must be of the rule {type(self.rule).__name__}")
        self.within.load_state_dict(state_dict)
        devices = [p.device for group in self.within.param_groups for p in group["params"]]
        self.within.state[_KEY] = _copied_to(kept, devices)  # type: ignore[index]
        self._share()
        for loaded in self._optimizer_load_state_dict_post_hooks.values():
            loaded(self)

    def __getstate__(self) -> dict[str, Any]:
        own = ("within", "rule", "bounds", "moves")  # torch's own method leaves them out, and copies would break
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
        self.rule.memory = self._kept["rule"]

    def _check_step(self, loss: object, loss_fn: object) -> None:
        name = type(self.rule).__name__
        if "loss" in self.rule.needs and loss is None:
            raise InputError("loss", None, f"must be given to a step with {name}", "Call optimizer.step(loss=loss)")
        if "loss_fn" in self.rule.needs and loss_fn is None:
            remedy = "Call optimizer.step(loss=loss, loss_fn=lambda: loss_of_this_batch())"
            raise InputError("loss_fn", None, f"must be given to a step with {name}, which tries rates", remedy)
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(gradient.layout != torch.strided for gradient in gradients):
            remedy = "Leave sparse=True out of the embedding, or do not adapt"
            raise InputError("optimizer", "a sparse gradient", "cannot be adapted", remedy)

    def _without_gradients(self, closure: Callable[[], Any]) -> Callable[[], Tensor]:
        """Return a function of the loss at the present weights; the gradients of ``closure`` are discarded."""
        kept = [(p, p.grad) for group in self.param_groups for p in group["params"]]

        def loss_fn() -> Tensor:
            for p, _ in kept:
                p.grad = None  # so that zeroing cannot reach those that are kept
            with torch.enable_grad():
                loss = torch.as_tensor(closure()).detach()
            for p, gradient in kept:
                p.grad = gradient
            return loss

        return loss_fn

    def _update(self, loss: Tensor | float | None, loss_fn: Callable[[], Tensor] | None) -> None:
        everyone = [p for group in self.param_groups for p in group["params"]]
        places = tuple(place for place, p in enumerate(everyone) if p.grad is not None)
        parameters = [everyone[place] for place in places]
        if not parameters:
            self._inner_step()
            return
        now = Now(
            parameters=parameters,
            gradients=[p.grad for p in parameters],
            factor=self._factor(),
            peak=max(self._kept["peaks"]),
            loss=float(loss) if loss is not None and "loss" in self.rule.needs else None,
            loss_fn=loss_fn,
            bounds=self.bounds,
            places=places,
            count=len(everyone),
        )
        wanted = self.rule.multiplier(now)
        multiplier = now.bounded(wanted) if math.isfinite(wanted) else self.multiplier
        moved = self._copied(parameters)
        self._step_at(multiplier)
        torch._foreach_sub_(moved, parameters)
        multiplier = self.rule.learn(now, moved, multiplier)
        self._kept["rule"] = self.rule.memory
        self._note(multiplier)

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
        if multiplier > 0 and not recorded / _RECORDED < multiplier < recorded * _RECORDED:
            move = Move(kept["updates"], recorded, multiplier, self.rule.why())
            self.moves.append(move)
            kept["recorded"] = multiplier
            _LOGGER.info("update %d: rate × %.3g, was × %.3g: %s", move.step, move.after, move.before, move.why)
        kept |= {"multiplier": multiplier, "updates": kept["updates"] + 1}


def _check_adaptable(optimizer: Optimizer) -> None:
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        name = type(optimizer).__name__
        raise InputError("optimizer", name, "must make its update without a closure", f"{name} has its own search")
    if any(p.is_complex() for group in optimizer.param_groups for p in group["params"]):
        remedy = "Keep it as real numbers: torch.view_as_real"
        raise InputError("optimizer", "complex parameters", "cannot be adapted", remedy)


def _copied_to(tree: Any, devices: list[torch.device]) -> Any:
    """Return a copy of ``tree``, its tensors on ``devices``: a list of as many goes one by one, others to the first."""
    if isinstance(tree, Tensor):
        return tree.detach().clone().to(devices[0])
    if isinstance(tree, dict):
        return {key: _copied_to(value, devices) for key, value in tree.items()}
    if isinstance(tree, list):
        places = devices if len(tree) == len(devices) else [devices[0]] * len(tree)
        return [_copied_to(value, [place]) for value, place in zip(tree, places, strict=True)]
    return tree
