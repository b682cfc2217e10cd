"""Torch schedulers as schedules, if a closed form describes them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Never

from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import SWALR

from stepsize import schedules
from stepsize.errors import InputError
from stepsize.schedules import HyperparameterSchedule, Schedule
from stepsize.training.binding import BoundScheduler

_BY_HAND = "Write its rates with stepsize.schedules.points or function"
_CLOSE = 1e-12  # relative; ratios of rates that were computed from one another differ by less


@dataclass(frozen=True)
class _Part:
    """A scheduler as a value."""

    rate: Schedule
    peaks: tuple[float, ...]  # the rate of each parameter group at factor 1
    momentum: Schedule | None = None
    chains: bool = False  # whether torch multiplies it onto the present rate instead of writing its own


def from_torch(scheduler: LRScheduler) -> HyperparameterSchedule:
    """Return ``scheduler`` as a schedule of its rate, and of its momentum if it moves that.

    The schedule describes the whole run from step 0, wherever the scheduler is now. Factors refer to the ``initial_lr``
    of each parameter group, for ``OneCycleLR`` and ``CyclicLR`` to ``max_lr``, and for a ``SequentialLR`` to the
    highest of its parts: bind it to an optimizer that has this lr. It converts ``StepLR``,
    ``MultiStepLR``, ``ConstantLR``, ``LinearLR``, ``ExponentialLR``, ``PolynomialLR``, ``CosineAnnealingLR``,
    ``CosineAnnealingWarmRestarts``, ``CyclicLR``, ``OneCycleLR``, ``SWALR``, ``LambdaLR`` and ``MultiplicativeLR`` with
    one function, ``SequentialLR`` of them, and ``ChainedScheduler`` of those that multiply.

    Two things differ from torch on purpose. After ``T_max`` of a ``CosineAnnealingLR`` the rate stays, while torch's
    rises again; after the last step of a ``OneCycleLR`` it stays, while torch raises. Polynomials, cosines and one
    cycle end with their own number of steps; the others never end.

    Args:
        scheduler: A torch scheduler, new or midway; it is only read.

    Returns:
        A schedule; its ``rate`` is that of the learning rate.

    Raises:
        InputError: If there is no closed form, parameter groups need different factors, or torch itself departs from
            the closed form in such a tree; the message names the part and the fix.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
        >>> schedule = from_torch(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=0.05))
        >>> str(schedule.rate), schedule.rate.length
        ('cosine 100 end=0.1', 100)
    """
    _check(scheduler)
    if isinstance(scheduler, BoundScheduler):
        _refuse(scheduler, "is not a torch scheduler: it follows a schedule of stepsize", "Use its attribute .schedule")
    part = _converted(scheduler)
    return HyperparameterSchedule(part.rate, momentum=part.momentum)


def _check(scheduler: object) -> None:
    """Refuse what is no torch scheduler, and the one that waits for a metric."""
    if not isinstance(scheduler, LRScheduler):
        name = type(scheduler).__name__
        raise InputError("scheduler", name, "must be a torch LRScheduler", "Unwrap it: Accelerate has .scheduler")
    if isinstance(scheduler, ReduceLROnPlateau):
        rule = "waits for a metric, so what it will do is not known before the training"
        raise InputError("scheduler", "ReduceLROnPlateau", rule, "Convert a scheduler of time alone")


def _converted(scheduler: LRScheduler) -> _Part:
    kind = type(scheduler)  # a subclass may do anything
    if kind in _MULTIPLYING:
        return _Part(_MULTIPLYING[kind](scheduler), _rates(scheduler.base_lrs), chains=True)
    if kind not in _CONVERSIONS:
        _refuse(scheduler, "has no known closed form", _BY_HAND)
    return _CONVERSIONS[kind](scheduler)


def _refuse(scheduler: LRScheduler, rule: str, remedy: str) -> Never:
    raise InputError("scheduler", type(scheduler).__name__, rule, remedy)


# ---------------------------------------------------------------- once up or down


def _multi_step(scheduler: torch_schedulers.MultiStepLR) -> Schedule:
    milestones = sorted(scheduler.milestones.elements())
    later = [step for step in milestones if step > 0]  # torch never meets a negative one
    rate = schedules.multi_step(later, gamma=scheduler.gamma) if later else schedules.constant()
    at_once = scheduler.gamma ** scheduler.milestones[0]
    return rate if at_once == 1 else rate.scaled(at_once)


def _linear(scheduler: torch_schedulers.LinearLR) -> Schedule:
    total, end = _whole(scheduler, "total_iters"), scheduler.end_factor
    return schedules.linear(total, start=scheduler.start_factor, end=end).then(schedules.constant(factor=end))


def _cosine(scheduler: torch_schedulers.CosineAnnealingLR) -> _Part:
    peaks = _rates(scheduler.base_lrs)
    end = _one_factor(scheduler, "eta_min", [float(scheduler.eta_min)] * len(peaks), peaks)
    return _Part(schedules.cosine(_whole(scheduler, "T_max"), end=end), peaks, chains=end == 0)


def _lambda(scheduler: torch_schedulers.LambdaLR) -> _Part:
    return _Part(schedules.function(_one_function(scheduler, scheduler.lr_lambdas)), _rates(scheduler.base_lrs))


def _one_function(scheduler: LRScheduler, functions: Sequence[Callable[[int], float]]) -> Callable[[int], float]:
    first, *others = functions
    if any(other is not first and other != first for other in others):
        remedy = "Give each parameter group a schedule of its own: stepsize.schedules.function of each lambda"
        _refuse(scheduler, f"has {1 + len(others)} functions, but a schedule is one for all groups", remedy)
    return first


@dataclass(frozen=True)
class _Product:
    """The product of a function's values at 1 … step, and at no step 1; those that were computed are kept."""

    factor: Callable[[int], float]
    known: list[float] = field(default_factory=lambda: [1.0], compare=False, repr=False)

    def __call__(self, step: int) -> float:
        while len(self.known) <= step:
            self.known.append(self.known[-1] * self.factor(len(self.known)))
        return self.known[step]


def _averaging(scheduler: SWALR) -> _Part:
    peaks = _rates(scheduler.base_lrs)
    ends = _rates([group["swa_lr"] for group in scheduler.optimizer.param_groups])
    end = _one_factor(scheduler, "swa_lr", ends, peaks)
    if scheduler.anneal_epochs == 0:  # torch begins with it
        return _Part(schedules.constant(factor=end), peaks)
    shape: Any = {"_cosine_anneal": "cosine", "_linear_anneal": "linear"}[scheduler.anneal_func.__name__]
    corners: dict[schedules.Duration, float] = {0: 1.0, scheduler.anneal_epochs: end}
    return _Part(schedules.points(corners, between=shape), peaks)


# ------------------------------------------------------------------ again and again


def _warm_restarts(scheduler: torch_schedulers.CosineAnnealingWarmRestarts) -> _Part:
    peaks = _rates(scheduler.base_lrs)
    end = _one_factor(scheduler, "eta_min", [float(scheduler.eta_min)] * len(peaks), peaks)
    return _Part(schedules.warm_restarts(_whole(scheduler, "T_0"), growth=scheduler.T_mult, end=end), peaks)


def _cyclic(scheduler: torch_schedulers.CyclicLR) -> _Part:
    if scheduler._scale_fn_custom is not None:
        _refuse(scheduler, "has its own scale_fn, which may be anything", _BY_HAND)
    up = _near_whole(scheduler, "step_size_up", scheduler.total_size * scheduler.step_ratio)
    down = _near_whole(scheduler, "step_size_down", scheduler.total_size) - up
    per_cycle = 0.5 if scheduler.mode == "triangular2" else 1.0
    per_step = float(scheduler.gamma) if scheduler.mode == "exp_range" else 1.0
    peaks = _rates(scheduler.max_lrs)
    low = _one_factor(scheduler, "base_lr", _rates(scheduler.base_lrs), peaks)
    rate = schedules.triangular(up, down, low=low, per_cycle=per_cycle, per_step=per_step)
    if not scheduler.cycle_momentum:
        return _Part(rate, peaks)
    lowest = _one_value(scheduler, "base_momentum", scheduler.base_momentums)
    highest = _one_value(scheduler, "max_momentum", scheduler.max_momentums)
    if per_cycle == per_step == 1:
        corners: dict[schedules.Duration, float] = {0: highest, up: lowest, up + down: highest}
        return _Part(rate, peaks, schedules.points(corners, steps=up + down).repeated())
    triangles = schedules.triangular(up, down, low=0.0, per_cycle=per_cycle, per_step=per_step)
    return _Part(rate, peaks, schedules.function(_Against(triangles, lowest, highest)))


@dataclass(frozen=True)
class _Against:
    """``highest`` if the schedule is at 0, ``lowest`` if it is at 1."""

    schedule: Schedule
    lowest: float
    highest: float

    def __call__(self, step: int) -> float:
        return self.highest - (self.highest - self.lowest) * self.schedule(step)


def _one_cycle(scheduler: torch_schedulers.OneCycleLR) -> _Part:
    groups = scheduler.optimizer.param_groups
    steps, phases = _whole(scheduler, "total_steps"), scheduler._schedule_phases
    peaks = _rates([group["max_lr"] for group in groups])
    shape = "cosine" if scheduler._anneal_func_type == "cos" else "linear"
    form: dict[str, Any] = {
        "rise": (phases[0]["end_step"] + 1) / steps,
        "shape": shape,
        "three_phase": len(phases) == 3,
        "endpoints": "both",  # as torch does it: the last update has the last factor
    }
    if phases[0]["end_step"] <= 0:  # torch begins within the fall then
        return _few_steps(scheduler, steps, peaks)
    start = _one_factor(scheduler, "initial_lr", _rates([group["initial_lr"] for group in groups]), peaks)
    end = _one_factor(scheduler, "min_lr", _rates([group["min_lr"] for group in groups]), peaks)
    rate = schedules.one_cycle(steps, start=start, end=end, **form)
    if not scheduler.cycle_momentum:
        return _Part(rate, peaks)
    low = _one_value(scheduler, "base_momentum", [group["base_momentum"] for group in groups])
    high = _one_value(scheduler, "max_momentum", [group["max_momentum"] for group in groups])
    return _Part(rate, peaks, schedules.one_cycle_momentum(steps, low=low, high=high, **form))


def _few_steps(scheduler: torch_schedulers.OneCycleLR, steps: int, peaks: tuple[float, ...]) -> _Part:
    """Return a cycle that is over before it has risen, update by update."""
    groups, phases = scheduler.optimizer.param_groups, scheduler._schedule_phases
    begins = [0.0, *[float(phase["end_step"]) for phase in phases[:-1]]]

    anneal: Callable[[float, float, float], float] = scheduler._anneal_func

    def values(step: int, what: str) -> tuple[float, ...]:
        number = next((i for i, phase in enumerate(phases) if step <= phase["end_step"]), len(phases) - 1)
        phase: Any = phases[number]
        done = (step - begins[number]) / (phase["end_step"] - begins[number])
        return _rates([anneal(g[phase[f"start_{what}"]], g[phase[f"end_{what}"]], done) for g in groups])

    rates: dict[schedules.Duration, float] = {
        step: _one_factor(scheduler, "its rate", values(step, "lr"), peaks) for step in range(steps)
    }
    if not scheduler.cycle_momentum:
        return _Part(schedules.points(rates, steps=steps), peaks)
    momenta: dict[schedules.Duration, float] = {
        step: _one_value(scheduler, "momentum", values(step, "momentum")) for step in range(steps)
    }
    return _Part(schedules.points(rates, steps=steps), peaks, schedules.points(momenta, steps=steps))


# ---------------------------------------------------------------------------- trees


def _sequential(scheduler: torch_schedulers.SequentialLR) -> _Part:
    milestones = list(scheduler._milestones)
    if any(after <= before for before, after in itertools.pairwise([0, *milestones])):
        rule = f"has the milestones {milestones}, which must increase from 1 on: torch starts another part at the wrong"
        _refuse(scheduler, f"{rule} rate", "Leave out the part that has no step")
    parts = [_part_of_sequence(scheduler, part, number) for number, part in enumerate(scheduler._schedulers)]
    highest = max(parts, key=lambda part: max(part.peaks)).peaks
    rates = []
    for part in parts:
        by = _one_factor(scheduler, "the rate of a part", part.peaks, highest)
        rates.append(part.rate if math.isclose(by, 1, rel_tol=_CLOSE) or by == 0 else part.rate.scaled(by))
    lengths = [after - before for before, after in itertools.pairwise([0, *milestones])]
    joined = [_lasting(rate, length) for rate, length in zip(rates, lengths, strict=False)]
    whole = rates[-1]
    for rate in reversed(joined):
        whole = rate.then(whole)
    return _Part(whole, highest)


def _part_of_sequence(scheduler: torch_schedulers.SequentialLR, child: LRScheduler, number: int) -> _Part:
    if isinstance(child, torch_schedulers.ChainedScheduler) and number == 0:  # which runs as it does alone
        return _converted(child)
    if number and isinstance(child, torch_schedulers.MultiplicativeLR | SWALR):
        rule = f"holds a {type(child).__name__}, which torch begins at whatever rate the part before it ended with"
        _refuse(scheduler, rule, "Convert the parts and join them with .then")
    if hasattr(child, "_schedulers"):
        rule = f"holds a {type(child).__name__}, in which torch is a step ahead or stops"
        _refuse(scheduler, rule, "Make one flat SequentialLR of it, or convert the parts and join them with .then")
    part = _converted(child)
    if part.momentum is not None:
        rule = f"holds a {type(child).__name__} that moves the momentum in a part of the run only"
        _refuse(scheduler, rule, f"Give it cycle_momentum=False, or: {_BY_HAND}")
    bases = _rates(child.base_lrs)
    begins = _rates([group["initial_lr"] for group in scheduler.optimizer.param_groups])
    own = isinstance(child, torch_schedulers.CyclicLR | torch_schedulers.OneCycleLR)
    if not own and bases != begins:
        rule = f"begins at {_shown(begins)}, where its {type(child).__name__} was made for {_shown(bases)}"
        _refuse(scheduler, rule, "Another scheduler overwrote initial_lr; convert the parts and join them with .then")
    return part


def _chained(scheduler: torch_schedulers.ChainedScheduler) -> _Part:
    parts = [(child, _converted(child)) for child in scheduler._schedulers]
    if len(parts) == 1:
        return parts[0][1]
    for child, part in parts:
        if not part.chains:
            rule = f"holds a {type(child).__name__} that overwrites what the others make of the rate"
            _refuse(scheduler, rule, "Convert the parts and multiply them with .times if that is what was meant")
    rates = [part.rate for _, part in parts]
    longest = max((rate.length or 0 for rate in rates), default=0)
    whole = None
    for rate in rates:  # those with an end are at 0 there, and so is the product from then on
        rate = rate if rate.length is None else _lasting(rate, longest)
        whole = rate if whole is None else whole.times(rate)
    assert whole is not None
    return _Part(whole, parts[0][1].peaks, chains=True)


def _lasting(rate: Schedule, steps: int) -> Schedule:
    """Return ``rate`` over ``steps`` steps, holding its last factor if it ends before."""
    if rate.length is None or rate.length > steps:
        return rate.first(steps)
    if rate.length == steps:
        return rate
    return rate.then(schedules.constant(steps - rate.length, factor=rate(rate.length)))


# --------------------------------------------------------------- what they were given


def _rates(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _whole(scheduler: LRScheduler, name: str) -> int:
    return _near_whole(scheduler, name, getattr(scheduler, name))


def _near_whole(scheduler: LRScheduler, name: str, value: float) -> int:
    near = round(value)
    if near < 1 or not math.isclose(value, near, rel_tol=_CLOSE):
        _refuse(scheduler, f"has {name}={value:g}, which must be a whole number of steps, at least 1", _BY_HAND)
    return near


def _one_factor(scheduler: LRScheduler, name: str, values: Sequence[float], peaks: Sequence[float]) -> float:
    """Return values / peaks, which must be one number for all parameter groups."""
    factors = [value / peak if peak else math.inf for value, peak in zip(values, peaks, strict=True) if value or peak]
    if not factors:  # all frozen at 0
        return 0.0
    if math.inf in factors or any(not math.isclose(factor, factors[0], rel_tol=_CLOSE) for factor in factors):
        pairs = enumerate(zip(values, peaks, strict=True))
        shown = ", ".join(f"group {i}: {value:g} of {peak:g}" for i, (value, peak) in pairs)
        rule = f"needs another factor for each parameter group, since {name} is not in proportion to the lr ({shown})"
        _refuse(scheduler, rule, "Give each group a schedule of its own")
    return factors[0]


def _one_value(scheduler: LRScheduler, name: str, values: Sequence[float]) -> float:
    if len({*_rates(values)}) > 1:
        rule = f"has another {name} for each parameter group ({_shown(_rates(values))})"
        _refuse(scheduler, rule, "Give each group a schedule of its own")
    return float(values[0])


def _shown(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


_MULTIPLYING: dict[type[LRScheduler], Callable[[Any], Schedule]] = {  # what torch multiplies onto the present rate
    torch_schedulers.StepLR: lambda s: schedules.step_decay(_whole(s, "step_size"), gamma=s.gamma),
    torch_schedulers.MultiStepLR: _multi_step,
    torch_schedulers.ConstantLR: lambda s: schedules.constant(_whole(s, "total_iters"), factor=s.factor).then(
        schedules.constant()
    ),
    torch_schedulers.LinearLR: _linear,
    torch_schedulers.ExponentialLR: lambda s: schedules.exponential(s.gamma),
    torch_schedulers.PolynomialLR: lambda s: schedules.polynomial(_whole(s, "total_iters"), power=s.power),
    torch_schedulers.MultiplicativeLR: lambda s: schedules.function(_Product(_one_function(s, s.lr_lambdas))),
}
_CONVERSIONS: dict[type[LRScheduler], Callable[[Any], _Part]] = {
    torch_schedulers.ChainedScheduler: _chained,
    torch_schedulers.CosineAnnealingLR: _cosine,
    torch_schedulers.CosineAnnealingWarmRestarts: _warm_restarts,
    torch_schedulers.CyclicLR: _cyclic,
    torch_schedulers.LambdaLR: _lambda,
    torch_schedulers.OneCycleLR: _one_cycle,
    torch_schedulers.SequentialLR: _sequential,
    SWALR: _averaging,
}
