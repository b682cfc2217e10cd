"""What any torch scheduler will do, played on a copy: neither it nor its optimizer is touched."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.optimizer import Optimizer

from stepsize.checks import check_whole
from stepsize.errors import InputError
from stepsize.schedules.node import plural
from stepsize.schedules.shapes import Array


@dataclass(frozen=True, eq=False)
class TorchPreview:
    """The values that a torch scheduler sets, update by update.

    Attributes:
        lrs: Learning rate of each parameter group at each update, shape ``(steps, groups)``; the first row is what
            the optimizer has now.
        momenta: Momentum, or β₁ of Adam-type optimizers, same shape; None if the scheduler does not change it.
        status: Summary, as a sentence.
    """

    lrs: Array
    momenta: Array | None
    status: str


def preview_torch(scheduler: LRScheduler, steps: int) -> TorchPreview:
    """Return what ``scheduler`` will do at its next updates, from where it is now.

    A copy of the scheduler is stepped on a stand-in optimizer that has the hyperparameters of the real one over
    scalar parameters. Every scheduler of torch can be seen this way, trees of ``SequentialLR`` and
    ``ChainedScheduler``, schedulers of your own and bound schedules included. Functions are called, not copied:
    one that keeps a count of its calls in a closure is beyond protection.

    Args:
        scheduler: Any torch scheduler but ``ReduceLROnPlateau``, fresh or midway.
        steps: How many updates, the present one included, >= 1.

    Returns:
        Rates and momenta per update and parameter group.

    Raises:
        InputError: If it is no such scheduler, cannot be copied, or does not go that far; the message says how far.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.8)
        >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
        >>> seen = preview_torch(scheduler, 5)
        >>> seen.lrs[:, 0].tolist(), optimizer.param_groups[0]["lr"]
        ([0.8, 0.8, 0.4, 0.4, 0.2], 0.8)
        >>> seen.status
        'StepLR from update 0 on: over 5 steps of 1 parameter group the lr goes from 0.8 to 0.2, momentum stays'
    """
    check_scheduler(scheduler)
    check_whole("steps", steps, unit="steps")
    optimizers = _optimizers(scheduler)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    before = [_hyperparameters(group) for group in groups]
    try:
        twin, stand_ins = _twin(scheduler, optimizers)
        rows = _played(twin, stand_ins, steps)
    finally:
        changed = _put_back(groups, before)
    if changed:
        rule = "reaches its optimizer in a way that a copy of it shares (what it changed was put back)"
        raise InputError("scheduler", type(scheduler).__name__, rule, "Keep the optimizer in its attributes alone")
    lrs, momenta = rows[:, :, 0], rows[:, :, 1]
    moves = not np.array_equal(momenta, np.broadcast_to(momenta[0], momenta.shape), equal_nan=True)
    return TorchPreview(lrs, momenta if moves else None, _status(scheduler, lrs, moves))


def check_scheduler(scheduler: object) -> None:
    """Refuse what is no torch scheduler, and the ones that wait for a metric."""
    if not isinstance(scheduler, LRScheduler):
        name = type(scheduler).__name__
        raise InputError("scheduler", name, "must be a torch LRScheduler", "Unwrap it: Accelerate has .scheduler")
    if isinstance(scheduler, ReduceLROnPlateau):
        rule = "waits for a metric, so what it will do is not known before the training"
        raise InputError("scheduler", "ReduceLROnPlateau", rule, "Look at a scheduler of time alone")


class _StandIn(Optimizer):
    """An optimizer for schedulers to write to: the groups of another one over scalars."""

    def __init__(self, real: Optimizer) -> None:
        super().__init__([{"params": [torch.zeros(()) for _ in group["params"]]} for group in real.param_groups], {})
        self.defaults = copy.deepcopy(real.defaults)
        for own, group in zip(self.param_groups, real.param_groups, strict=True):
            own.clear()
            own["params"] = [torch.zeros(()) for _ in group["params"]]
            own |= _hyperparameters(group)

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Update nothing; but a scheduler that counts updates by hooks must hear of one."""
        del closure
        for hook in (*self._optimizer_step_pre_hooks.values(), *self._optimizer_step_post_hooks.values()):
            hook(self, (), {})

    step.hooked = True  # type: ignore[attr-defined]  # or torch would run hooks for all optimizers on it


def _hyperparameters(group: dict[str, Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}


def _twin(scheduler: LRScheduler, optimizers: list[Optimizer]) -> tuple[LRScheduler, list[_StandIn]]:
    """Return a copy of ``scheduler``, and the stand-ins that it holds wherever the original holds real optimizers."""
    stand_ins = [_StandIn(real) for real in optimizers]
    memo: dict[int, Any] = {}
    for real, stand_in in zip(optimizers, stand_ins, strict=True):
        same = [each for each in _named(scheduler) if each.param_groups is real.param_groups]
        memo |= {id(each): stand_in for each in same}
        memo |= {id(real.param_groups): stand_in.param_groups, id(real.defaults): stand_in.defaults}
        memo[id(real.state)] = stand_in.state
        for own, group in zip(stand_in.param_groups, real.param_groups, strict=True):
            memo |= {id(group): own, id(group["params"]): own["params"]}
            memo |= {id(theirs): mine for mine, theirs in zip(own["params"], group["params"], strict=True)}
    try:
        return copy.deepcopy(scheduler, memo), stand_ins
    except Exception as error:
        why = f"cannot be copied ({type(error).__name__}: {error})"
        raise InputError("scheduler", type(scheduler).__name__, why, "Keep what cannot be copied out of it") from error


def _optimizers(scheduler: LRScheduler) -> list[Optimizer]:
    """Return the optimizers of a tree of schedulers; one that wraps another has its groups and counts once."""
    return [*{id(each.param_groups): each for each in _named(scheduler)}.values()]


def _named(scheduler: LRScheduler) -> Iterator[Optimizer]:
    yield from (scheduler.optimizer, *getattr(scheduler, "optimizers", ()))
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _named(part)


def _played(twin: LRScheduler, stand_ins: list[_StandIn], steps: int) -> Array:
    """Return lr and momentum (NaN without one) of each group at each update, shape (steps, groups, 2)."""
    groups = [group for stand_in in stand_ins for group in stand_in.param_groups]
    rows = np.empty((steps, len(groups), 2))
    rows[0] = _now(groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch misses the call of a real optimizer.step()
        for done in range(1, steps):
            for stand_in in stand_ins:
                stand_in.step()
            try:
                twin.step()
            except Exception as error:
                rule = f"raises {type(error).__name__} after {done:,} updates from here ({error})"
                remedy = f"Preview at most {done:,} steps"
                raise InputError("scheduler", type(twin).__name__, rule, remedy) from error
            rows[done] = _now(groups)
    return rows


def _now(groups: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(float(group["lr"]), _momentum(group)) for group in groups]


def _momentum(group: dict[str, Any]) -> float:
    if "betas" in group:
        return float(group["betas"][0])
    return float(group.get("momentum", math.nan))


def _put_back(groups: list[dict[str, Any]], before: list[dict[str, Any]]) -> bool:
    """Return whether the dry run changed hyperparameters of the real optimizer, and undo that."""
    changed = False
    for group, saved in zip(groups, before, strict=True):
        if not _same(_hyperparameters(group), saved):
            changed = True
            parameters = group["params"]
            group.clear()
            group |= {"params": parameters, **saved}
    return changed


def _same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        return isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)  # NaN is what it was


def _status(scheduler: LRScheduler, lrs: Array, moves: bool) -> str:
    steps, groups = lrs.shape
    first, last, top = lrs[0].max(), lrs[-1].max(), int(lrs.max(axis=1).argmax())
    peak = f" up to {lrs[top].max():.4g} at update {top:,} of these" if 0 < top < steps - 1 else ""
    way = f"goes from {first:.4g}{peak} to {last:.4g}" if lrs.max() > lrs.min() else f"stays at {first:.4g}"
    position = getattr(scheduler, "last_epoch", None)  # a ChainedScheduler has none
    begin = "" if position is None else f" from update {position:,} on"
    counts = f"over {plural(steps)} of {groups} parameter group{'s' * (groups != 1)}"
    return f"{type(scheduler).__name__}{begin}: {counts} the lr {way}, momentum {'moves too' if moves else 'stays'}"
