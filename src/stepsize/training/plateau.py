"""Lower the rate of a bound scheduler when a metric stops improving."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, SupportsFloat, cast, final

from torch import Tensor

from stepsize.checks import is_number, is_whole
from stepsize.curves.numerals import number_text
from stepsize.curves.plateau import PlateauDecision, PlateauRule
from stepsize.errors import InputError
from stepsize.plain import plain
from stepsize.training.binding import BoundScheduler

_SCHEMA = 1
_FIELDS = ("schema", "settings", "multiplier", "observations", "ignored", "values", "drops")  # of a state


@dataclass(frozen=True)
class PlateauStep:
    """The result of one observation.

    Attributes:
        changed: Whether this observation lowered the rate.
        multiplier: Multiplier of the schedule from now on.
        decision: Decision of the rule about the metric so far.
        status: What was done and why, in a sentence.
    """

    changed: bool
    multiplier: float
    decision: PlateauDecision
    status: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``json.dumps``; a number that is not known yet becomes None."""
        return cast("dict[str, Any]", plain(self))


@dataclass(frozen=True)
class PlateauDrop:
    """A drop of the rate.

    Attributes:
        step: Number of updates made before it.
        observation: Number of observations made before it, the one that caused it included.
        old: Multiplier before.
        new: Multiplier after.
        reason: Reason that the rule gave.
    """

    step: int
    observation: int
    old: float
    new: float
    reason: str


@final
class Plateau:
    """Lowers the rate of a bound scheduler whenever a metric stops improving.

    With d = 0, 1, 2, … drops so far and γ = ``factor``, the rate of every parameter group is

        lr(t) = peak · η(t) · m,    m = max(``floor``, γᵈ)

    for any schedule η: warmup, cosine and all others continue as planned, only lower. ``rule`` decides what a plateau
    is from the noise of the metric: one spike or one lucky value decides nothing, nor do the offset, sign and scale of
    the metric. After a drop it forgets the values so far and waits for a new window.

    m is ``bound.multiplier``, 1 at first; if you set it, the next drop starts from there. The rest of the state are the
    last ``rule.needs`` values and the drops; save it beside the bound scheduler, and load the two in any order. In a
    distributed run give every process the same value, or their rates differ.

    Args:
        bound: A scheduler from :func:`stepsize.bind`; several controllers of one multiply.
        factor: Multiplier of the rate at each drop, in (0, 1).
        rule: When to drop; None is ``PlateauRule()``, for a metric of which less is better.
        floor: The smallest multiplier, in [0, 1]; not a rate.

    Attributes:
        rule: When it drops.
        observations: Number of observed values, including those that are not finite.
        ignored: Number of observed values that were not finite.
        drops: All drops so far, oldest first.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> from stepsize import Plateau, bind, schedules
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> bound = bind(schedules.cosine(24), optimizer)
        >>> plateau = Plateau(bound)
        >>> for loss in [1.5, 1.4, 1.6, 1.5, 1.4, 1.5, 1.6, 1.4, 1.5, 1.6, 1.4, 1.5]:
        ...     optimizer.step()  # in practice an epoch of updates, each after a backward pass
        ...     seen = plateau.observe(loss)
        >>> seen.changed, seen.multiplier, [round(lr, 4) for lr in bound.get_lr()]  # 0.1 · η(12) · 0.5
        (True, 0.5, [0.025])

    Reference:
        :class:`~stepsize.PlateauRule`, for the statistics.
    """

    def __init__(
        self,
        bound: BoundScheduler,
        *,
        factor: float = 0.5,
        rule: PlateauRule | None = None,
        floor: float = 0.0,
    ) -> None:
        _check_type(bound)
        self.rule = PlateauRule() if rule is None else rule
        self._factor, self._floor = factor, floor
        self._check_arguments(bound.multiplier)
        self.observations = self.ignored = 0
        self.drops: tuple[PlateauDrop, ...] = ()
        self._values: list[float] = []  # since the last drop, at most rule.needs
        self._bound = bound

    def _check_arguments(self, multiplier: float) -> None:
        factor, floor, rule = self._factor, self._floor, self.rule
        if not is_number(factor) or not 0 < factor < 1:
            raise InputError("factor", factor, "must be between 0 and 1", "0.5 halves the rate at every drop")
        if not is_number(floor) or not 0 <= floor <= 1:
            raise InputError("floor", floor, "must be in [0, 1]", "It is a multiplier, not a rate: lr / peak lr")
        if not isinstance(rule, PlateauRule):
            raise InputError("rule", rule, "must be a PlateauRule", "For example PlateauRule(maximize=True)")
        if multiplier < floor:
            raise InputError("floor", floor, f"must be at most the multiplier of the bound scheduler, {multiplier:g}")

    def __repr__(self) -> str:
        return f"Plateau(multiplier={self.multiplier:g}, observations={self.observations}, drops={len(self.drops)})"

    @property
    def multiplier(self) -> float:
        """The multiplier of the schedule: that of the bound scheduler."""
        return self._bound.multiplier

    def observe(self, value: SupportsFloat) -> PlateauStep:
        """Record the next value of the metric, and lower the rate if it is time.

        Call it when there is a new value, for example after an evaluation, as regularly as you can: the rule counts
        observations, not updates. A value that is not finite is counted and keeps its place in the window, but decides
        nothing.

        Args:
            value: The metric: a number or a tensor of shape ``()``. A tensor on an accelerator is waited for, so
                observe means over an epoch instead of each update's loss.

        Returns:
            What was decided and done. The new rate holds from the next update on.

        Raises:
            InputError: If ``value`` is not one number, or the bound scheduler was released.
        """
        self._check_bound()
        number = _number(value)
        self.observations += 1
        self.ignored += not math.isfinite(number)
        self._values = [*self._values, number][-self.rule.needs :]
        decision = self.rule.judge(self._values)
        old = new = float(self.multiplier)
        if decision.plateau and math.isfinite(number):
            new = min(old, max(float(self._floor), old * float(self._factor)))
        if new < old:
            self._bound.multiplier = new
            self.drops += (PlateauDrop(self._bound.last_epoch, self.observations, old, new, decision.reason),)
            self._values = []
        return PlateauStep(new < old, new, decision, self._status(number, old, new, decision))

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resume needs, as plain values that ``torch.load(weights_only=True)`` reads."""
        return {
            "schema": _SCHEMA,
            "settings": self._settings(),
            "multiplier": float(self.multiplier),
            "observations": self.observations,
            "ignored": self.ignored,
            "values": [*self._values],
            "drops": [asdict(drop) for drop in self.drops],
        }

    def _settings(self) -> dict[str, Any]:
        """Return what a user chose, which must not change unnoticed between saving and loading."""
        own = {"factor": self._factor, "floor": self._floor}
        named = own | {f"rule.{key}": value for key, value in asdict(self.rule).items()}
        # a numpy float is a float, but a weights_only load refuses it
        return {key: float(value) if isinstance(value, float) else value for key, value in named.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a saved state, and set the multiplier; before or after the bound scheduler loads its own.

        Args:
            state_dict: What :meth:`state_dict` returned.

        Raises:
            InputError: If it is not such a state, was saved with other arguments, or the bound scheduler was released.
                Nothing is changed then.
        """
        self._check_bound()
        multiplier, values, drops = _read(state_dict)
        saved, here = state_dict["settings"], self._settings()
        names = [name for name in sorted(saved.keys() | here.keys()) if saved.get(name) != here.get(name)]
        if names:
            changes = "; ".join(f"{name} {saved.get(name)} -> {here.get(name)}" for name in names)
            rule = "must have been saved with the arguments of this controller"
            remedy = (
                "Construct it with the saved ones, or start a new one with bound.multiplier = state_dict['multiplier']"
            )
            raise InputError("state_dict", changes, rule, remedy)
        self._bound.multiplier = multiplier
        self.observations, self.ignored = state_dict["observations"], state_dict["ignored"]
        self._values, self.drops = values, drops

    def _check_bound(self) -> None:
        if self._bound.released:
            raise InputError("bound", self._bound, "drives no optimizer any more", "Bind the schedule again")

    def _status(self, number: float, old: float, new: float, decision: PlateauDecision) -> str:
        """Return what one observation led to, as a sentence."""
        if not math.isfinite(number):
            return f"the metric is {number}: counted and ignored, the multiplier stays at {number_text(old)}"
        if new < old:
            ending = ", the floor: it falls no further" if new == self._floor else ""
            return f"the multiplier falls from {number_text(old)} to {number_text(new)}{ending}; {decision.reason}"
        if decision.plateau:
            return f"the multiplier stays at its floor, {number_text(old)}"
        return f"the multiplier stays at {number_text(old)}; {decision.reason}"


def _check_type(value: object) -> None:
    if not isinstance(value, BoundScheduler):
        remedy = "Bind a schedule first: bound = stepsize.bind(schedule, optimizer)"
        raise InputError("bound", type(value).__name__, "must be a BoundScheduler", remedy)


def _number(value: SupportsFloat) -> float:
    """Return ``value``, one number, as a float; the one place that waits for the device."""
    plain = value.detach() if isinstance(value, Tensor) else value  # a loss with its graph would warn
    shape = tuple(getattr(plain, "shape", ()))
    if shape:
        remedy = "Give its mean"
        raise InputError("value", f"shape {shape}", "must be one number, of shape ()", remedy)
    try:
        if isinstance(plain, bool | str | bytes):
            raise TypeError("not a number, though float() takes it")
        return float(plain)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError("value", value, "must be a number", "Give the metric of this evaluation") from error


def _read(state: object) -> tuple[float, list[float], tuple[PlateauDrop, ...]]:
    """Return multiplier, values and drops of a state, or raise InputError."""
    if not isinstance(state, Mapping) or set(state) != set(_FIELDS):
        received = sorted(state) if isinstance(state, Mapping) else type(state).__name__
        rule = f"must hold {', '.join(sorted(_FIELDS))}"
        raise InputError("state_dict", received, rule, "Give what state_dict() returned")
    if state["schema"] != _SCHEMA:
        raise InputError("state_dict", state["schema"], f"must be of schema {_SCHEMA}", "Another release wrote it")
    try:
        values = [float(value) for value in state["values"]]
        drops = tuple(PlateauDrop(**drop) for drop in state["drops"])
        dict(state["settings"])
        multiplier = float(state["multiplier"])
    except (TypeError, ValueError) as error:
        raise InputError("state_dict", state, "must hold what state_dict() returned") from error
    counts = state["observations"], state["ignored"]
    if not (all(map(is_whole, counts)) and math.isfinite(multiplier) and multiplier >= 0):
        raise InputError("state_dict", state, "must hold counts and a multiplier, none of them negative")
    return multiplier, values, drops
