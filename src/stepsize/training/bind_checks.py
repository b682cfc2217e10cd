"""What is given to ``bind``, checked; and what is asked of optimizers at each update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from stepsize.checks import check_number, check_positive, check_whole, is_whole
from stepsize.errors import InputError
from stepsize.schedules import Clock
from stepsize.schedules.units import Duration
from stepsize.training.batches import length_of

SCHEMA = 2  # of the state; raised when an old reader would misread a new one
_FIELDS = ("schema", "step", "stepped", "asked", "followed")
_SHOWN = ("last_epoch", "_step_count", "_last_lr")  # in the state for those who read it; loading ignores them


def was_skipped(optimizer: Optimizer) -> bool:
    """Return whether a fused optimizer was called by a GradScaler with gradients that are not finite."""
    found_inf = getattr(optimizer, "found_inf", None)
    return found_inf is not None and bool(found_inf)


def version_of(optimizer: Optimizer) -> int:
    """Return how often the first trained weight was changed in place; a replayed graph does not count."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad:
                return int(parameter._version)
    return 0


def horizon_of(
    steps: Duration | None, clock: Clock | None, epochs: float | None, loader: Any, accumulate: int
) -> tuple[Duration | None, Clock | None]:
    """Return steps and clock that a number of epochs and a loader stand for."""
    check_whole("accumulate", accumulate, unit="batches")
    if epochs is None and loader is None:
        return steps, clock
    for other, given in (("clock", clock), ("steps", steps if epochs is not None else None)):
        if given is not None:
            raise InputError(other, given, "must not be given together with epochs and loader")
    batches = length_of(loader) if loader is not None else None
    if batches is None:
        rule = "must have a length" if loader is not None else "must be given with epochs"
        raise InputError("loader", type(loader).__name__, rule, "Or give steps=")
    clock = Clock(accumulate=accumulate, steps_per_epoch=max(1, batches) / accumulate)
    if epochs is not None:
        check_positive("epochs", epochs, "number of epochs")
        steps = max(1, round(epochs * batches / accumulate))
    return steps, clock


def group_number(index: object, count: int, argument: str = "groups") -> int:
    """Return the number of a parameter group, or raise InputError."""
    if not is_whole(index) or index >= count:
        raise InputError(argument, index, f"must have numbers of parameter groups as keys: 0 to {count - 1}")
    return index


def peak_rates(lr: object, optimizers: Sequence[Optimizer]) -> list[float]:
    """Return the peak of each group from one rate, which keeps their ratios, or one for each."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    if isinstance(lr, Sequence) and not isinstance(lr, str):
        if len(lr) != len(groups):
            raise InputError("lr", lr, f"must be one rate, or one for each of the {len(groups)} parameter groups")
        return [_rate(each) for each in lr]
    own = [float(group.get("initial_lr", group["lr"])) for group in groups]
    highest = max(own)
    if not 0 < highest < math.inf:
        raise InputError("lr", lr, "as one rate needs a group that has one > 0", "Pass a rate for each group")
    peak = _rate(lr)
    return [peak * (each / highest) for each in own]


def _rate(value: object) -> float:
    return check_number("lr", value.item() if isinstance(value, Tensor) else value, least=0)


def checked_state(state: object, optimizers: int) -> tuple[int, set[int]]:
    """Return step and optimizers of a saved state, or raise InputError."""
    if not isinstance(state, Mapping) or not set(_FIELDS) <= set(state) <= {*_FIELDS, *_SHOWN}:
        found = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        remedy = "To continue from another scheduler's: {**bound.state_dict(), 'step': updates made}"
        raise InputError("state_dict", found, f"must be what a BoundScheduler saved: {', '.join(_FIELDS)}", remedy)
    if state["schema"] != SCHEMA:
        raise InputError("schema", state["schema"], f"must be {SCHEMA}", "Another version of stepsize has written it")
    step, stepped = state["step"], state["stepped"]
    check_whole("step", step, 0, unit="updates")
    if not isinstance(stepped, list) or not all(index in range(optimizers) for index in stepped):
        raise InputError("stepped", stepped, f"must contain numbers of the {optimizers} optimizers")
    return step, set(stepped)
