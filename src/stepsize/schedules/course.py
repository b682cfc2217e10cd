"""What an optimizer is given at each step: the rate, and momentum and weight decay that move with it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Array
from stepsize.schedules.units import Clock, Duration

__all__ = ["Course", "DecayRule", "Peaks", "Values"]

DecayRule = Literal["follows", "independent", "corrected"]


@dataclass(frozen=True)
class Peaks:
    """The values that a course multiplies: those that the rate was found with.

    Args:
        lr: The peak learning rate, absolute, >= 0.
        momentum: Heavy-ball momentum or β₁ in [0, 1); None where the optimizer has none.
        weight_decay: The coefficient, >= 0; None where the optimizer has none.
    """

    lr: float
    momentum: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr >= 0):
            raise InputError("lr", self.lr, "must be a finite learning rate >= 0")
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise InputError("momentum", self.momentum, "must lie in [0, 1)")
        if self.weight_decay is not None and not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError("weight_decay", self.weight_decay, "must be a finite number >= 0")


@dataclass(frozen=True, eq=False)
class Values:
    """What an optimizer uses at each step, arrays of one shape.

    Attributes:
        lr: Learning rates.
        momentum: Momenta; None where there is none.
        weight_decay: Weight decays; None where there is none.
    """

    lr: Array
    momentum: Array | None
    weight_decay: Array | None

    @property
    def effective_lr(self) -> Array | None:
        """Lr / (1 - momentum): the rate that a heavy ball makes of it; None without momentum."""
        return None if self.momentum is None else self.lr / (1 - self.momentum)

    @property
    def timescale(self) -> Array | None:
        """1 / (lr · weight decay): the steps over which decoupled decay forgets; inf where there is no decay."""
        if self.weight_decay is None:
            return None
        shrink = self.lr * self.weight_decay
        return np.divide(1.0, shrink, out=np.full_like(shrink, math.inf), where=shrink > 0)


@final
@dataclass(frozen=True)
class Course:
    """A schedule of the rate, with momentum and weight decay scheduled beside it.

    With f(t) the factor of ``rate``, m(t) the momentum, and the peaks lr₀, m₀, w₀ of a parameter group:

    - lr(t) = lr₀ f(t), times (1 - m(t)) / (1 - m₀) with ``keep_effective``, which keeps lr / (1 - m) on the schedule
      while the momentum moves (heavy-ball momentum only; β₁ of Adam does not scale its update);
    - m(t) = ``momentum``(t), a momentum itself and not a factor; None leaves the optimizer's own;
    - w(t) = w₀ for ``weight_decay="follows"``: what decoupled optimizers of torch do, where lr(t) w₀ shrinks the
      weights, so the decay follows the rate; w₀ / f(t) for ``"independent"``: the decay stays lr₀ w₀ whatever the rate
      is (0 where f is 0, where there is no update either); w₀ f(t) for ``"corrected"``: the decay goes with
      lr² / lr₀; w₀ s(t) for a schedule s.

    Args:
        rate: The schedule of the rate.
        momentum: A schedule of momenta, such as ``one_cycle_momentum(...)``.
        weight_decay: A rule, or a schedule of factors.
        keep_effective: Whether lr / (1 - m) follows the rate's schedule instead of lr.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> from stepsize.schedules import linear, points
        >>> course = Course(linear(4), momentum=points({0: 0.9, 4: 0.5}), keep_effective=True)
        >>> values = course.values(Peaks(lr=0.1, momentum=0.9), np.arange(4.0))
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
        lengths = {part.length for part in self._parts() if part.settled} - {None}
        if len(lengths) > 1:
            shown = ", ".join(f"{length:,}" for length in sorted(lengths))  # type: ignore[type-var]
            raise InputError("course", f"lengths of {shown} steps", "must have schedules of one length")

    @property
    def length(self) -> int | None:
        """The number of updates that it lasts; None if it has no end."""
        return self.rate.length

    @property
    def settled(self) -> bool:
        """Whether all durations are in steps."""
        return all(part.settled for part in self._parts())

    def over(self, steps: Duration, clock: Clock | None = None) -> Course:
        """Return the same course over a horizon; see :meth:`Schedule.over`."""
        moved: dict[str, Any] = {
            field.name: value.over(steps, clock)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Schedule)
        }
        return dataclasses.replace(self, **moved)

    def values(self, peaks: Peaks, steps: Array) -> Values:
        """Return what an optimizer with these peaks uses at ``steps``.

        Args:
            peaks: Of the parameter group.
            steps: Numbers of updates, any shape.

        Returns:
            Arrays of the same shape.

        Raises:
            InputError: If the momentum leaves [0, 1), or the course moves what the optimizer does not have.
        """
        factor = self.rate(steps)
        momentum = self._momentum(peaks, steps)
        lr = peaks.lr * factor
        if self.keep_effective:
            assert momentum is not None
            assert peaks.momentum is not None
            lr = lr * ((1 - momentum) / (1 - peaks.momentum))
        return Values(lr, momentum, self._weight_decay(peaks, factor, steps))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        decay = self.weight_decay
        return {
            "rate": self.rate.to_json(),
            "momentum": None if self.momentum is None else self.momentum.to_json(),
            "weight_decay": decay.to_json() if isinstance(decay, Schedule) else decay,
            "keep_effective": self.keep_effective,
        }

    def _parts(self) -> list[Schedule]:
        return [part for part in (self.rate, self.momentum, self.weight_decay) if isinstance(part, Schedule)]

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
