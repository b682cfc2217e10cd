"""What an optimizer gets at each step: the learning rate, and momentum and weight decay that move with it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

import numpy as np

from stepsize.checks import check_number
from stepsize.errors import InputError
from stepsize.schedules.catalog import parse
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Array
from stepsize.schedules.units import Clock, Duration

DecayRule = Literal["follows", "independent", "corrected"]


@dataclass(frozen=True)
class Peaks:
    """The values that a schedule multiplies: those that the learning rate was found with.

    Args:
        lr: Peak learning rate, absolute, >= 0.
        momentum: Heavy-ball momentum or β₁ in [0, 1); None if the optimizer has none.
        weight_decay: Coefficient of the weight decay, >= 0; None if the optimizer has none.
    """

    lr: float
    momentum: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        check_number("lr", self.lr, least=0)
        if self.momentum is not None:
            check_number("momentum", self.momentum, least=0, below=1)
        if self.weight_decay is not None:
            check_number("weight_decay", self.weight_decay, least=0)


@dataclass(frozen=True, eq=False)
class Values:
    """What an optimizer uses at each step, arrays of one shape.

    Attributes:
        lr: Learning rates.
        momentum: Momenta; None if there is none.
        weight_decay: Weight decays; None if there is none.
    """

    lr: Array
    momentum: Array | None
    weight_decay: Array | None

    @property
    def effective_lr(self) -> Array | None:
        """Lr / (1 - momentum), the effective rate of heavy-ball momentum; None without momentum."""
        return None if self.momentum is None else self.lr / (1 - self.momentum)

    @property
    def timescale(self) -> Array | None:
        """1 / (lr · weight decay), the steps over which decoupled decay forgets; inf if there is no decay."""
        if self.weight_decay is None:
            return None
        shrink = self.lr * self.weight_decay
        return np.divide(1.0, shrink, out=np.full_like(shrink, math.inf), where=shrink > 0)


@final
@dataclass(frozen=True)
class HyperparameterSchedule:
    """A schedule of the learning rate, with momentum and weight decay scheduled beside it.

    With f(t) the factor of ``rate``, m(t) the momentum, and the peaks lr₀, m₀, w₀ of a parameter group:

    - lr(t) = lr₀ f(t), times (1 - m(t)) / (1 - m₀) with ``keep_effective``, which keeps lr / (1 - m) on the schedule
      while the momentum moves (heavy-ball momentum only; β₁ of Adam does not scale its update);
    - m(t) = ``momentum``(t), a momentum and not a factor; None keeps the optimizer's own;
    - w(t) = w₀ for ``weight_decay="follows"``, as in torch's decoupled optimizers, where lr(t) w₀ shrinks the weights,
      so the decay follows the rate; w₀ / f(t) for ``"independent"``: the decay stays lr₀ w₀ whatever the rate is (0 if
      f is 0, where there is no update either); w₀ f(t) for ``"corrected"``: the decay is proportional to lr² / lr₀;
      w₀ s(t) for a schedule s.

    Args:
        rate: Schedule of the learning rate.
        momentum: Schedule of momenta, such as ``one_cycle_momentum(...)``.
        weight_decay: A rule, or a schedule of factors.
        keep_effective: Whether lr / (1 - m) follows ``rate`` instead of lr.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> from stepsize.schedules import linear, points
        >>> schedule = HyperparameterSchedule(linear(4), points({0: 0.9, 4: 0.5}), keep_effective=True)
        >>> values = schedule.values(Peaks(lr=0.1, momentum=0.9), np.arange(4.0))
        >>> values.effective_lr.round(3).tolist()
        [1.0, 0.75, 0.5, 0.25]

    Reference:
        Smith, "A disciplined approach to neural network hyper-parameters: Part 1", 2018 (momentum against the rate);
        Defazio, "Why gradients rapidly increase near the end of training", 2025 (corrected decay).
    """

    rate: Schedule
    momentum: Schedule | None = None
    weight_decay: DecayRule | Schedule = "follows"
    keep_effective: bool = False

    def __post_init__(self) -> None:
        rate: object = self.rate  # whatever was given
        if not isinstance(rate, Schedule):
            remedy = "Wrap a function with stepsize.schedules.function"
            raise InputError("rate", rate, "must be a Schedule", remedy)
        if self.momentum is not None and not isinstance(self.momentum, Schedule):
            raise InputError("momentum", self.momentum, "must be a Schedule of momenta, or None")
        if not isinstance(self.weight_decay, Schedule) and self.weight_decay not in get_args(DecayRule):
            rules = ", ".join(f"'{rule}'" for rule in get_args(DecayRule))
            raise InputError("weight_decay", self.weight_decay, f"must be one of {rules}, or a Schedule")
        if self.keep_effective and self.momentum is None:
            raise InputError("keep_effective", True, "needs a schedule of the momentum", "Give momentum")
        lengths = {part.length for part in self.parts.values() if part.resolved} - {None}
        if len(lengths) > 1:
            shown = ", ".join(f"{length:,}" for length in sorted(lengths))  # type: ignore[type-var]
            raise InputError(
                "schedule", f"lengths of {shown} steps", "must have rate, momentum and decay of one length"
            )

    @property
    def parts(self) -> dict[str, Schedule]:
        """Its schedules by the names of its fields."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if isinstance(value, Schedule)}

    @property
    def length(self) -> int | None:
        """The number of updates that it lasts; None if it has no end."""
        return self.rate.length

    @property
    def resolved(self) -> bool:
        """Whether all durations are in steps."""
        return all(part.resolved for part in self.parts.values())

    @property
    def holds_function(self) -> bool:
        """Whether it contains a function, so that it has no written form."""
        return any(part.node.holds_function for part in self.parts.values())

    @property
    def rate_only(self) -> bool:
        """Whether momentum and weight decay keep the optimizer's values."""
        return self.momentum is None and self.weight_decay == "follows"

    def over(self, steps: Duration, clock: Clock | None = None) -> HyperparameterSchedule:
        """Return the same schedule over a horizon; see :meth:`Schedule.over`."""
        moved: dict[str, Any] = {name: part.over(steps, clock) for name, part in self.parts.items()}
        return dataclasses.replace(self, **moved)

    def values(self, peaks: Peaks, steps: Array) -> Values:
        """Return what an optimizer with these peaks uses at ``steps``.

        Args:
            peaks: Peaks of the parameter group.
            steps: Numbers of updates, any shape.

        Returns:
            Arrays of the same shape.

        Raises:
            InputError: If the momentum leaves [0, 1), or the schedule moves what the optimizer does not have.
        """
        factor = self.rate(steps)
        momentum = self._momentum(peaks, steps)
        lr = peaks.lr * factor
        if self.keep_effective:
            assert momentum is not None
            assert peaks.momentum is not None
            lr = lr * ((1 - momentum) / (1 - peaks.momentum))
        return Values(lr, momentum, self._weight_decay(peaks, factor, steps))

    def __str__(self) -> str:
        text = str(self.rate)
        if self.momentum is not None:
            text += f"; momentum {self.momentum}" + (" with lr / (1 - momentum) kept" * self.keep_effective)
        return text if self.weight_decay == "follows" else f"{text}; weight decay {self.weight_decay}"

    def _momentum(self, peaks: Peaks, steps: Array) -> Array | None:
        if self.momentum is None:
            return None if peaks.momentum is None else np.full(np.shape(steps), peaks.momentum)
        if peaks.momentum is None:
            raise InputError("momentum", str(self.momentum), "cannot be scheduled without momentum or betas")
        values = self.momentum(steps)
        if values.size and not float(values.max()) < 1:
            raise InputError("momentum", float(values.max()), "must stay in [0, 1): it is a momentum, not a factor")
        return values

    def _weight_decay(self, peaks: Peaks, factor: Array, steps: Array) -> Array | None:
        decay = peaks.weight_decay
        if decay is None:
            if self.weight_decay != "follows":
                raise InputError("weight_decay", self.weight_decay, "cannot be scheduled without a weight decay")
            return None
        if isinstance(self.weight_decay, Schedule):
            return decay * self.weight_decay(steps)
        if self.weight_decay == "follows":
            return np.full(np.shape(steps), decay)
        if self.weight_decay == "corrected":
            return decay * factor
        return np.divide(decay, factor, out=np.zeros_like(factor), where=factor > 0)


def as_hyperparameters(argument: str, value: object) -> HyperparameterSchedule:
    """Return ``value`` as a schedule of rate, momentum and weight decay; one of the rate alone keeps the others."""
    if isinstance(value, HyperparameterSchedule):
        return value
    if isinstance(value, str):
        return HyperparameterSchedule(parse(value))
    if not isinstance(value, Schedule):
        remedy = "Make one with stepsize.schedules; function(…) takes any function"
        raise InputError(argument, value, "must be a Schedule, its written form or a HyperparameterSchedule", remedy)
    return HyperparameterSchedule(value)
