"""Lower the rate when a metric says that waiting no longer pays: the plateau rule at work on a bound schedule."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, SupportsFloat, final, get_args

from torch import Tensor

from stepsize.curves import PlateauDecision, PlateauRule
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.training.binding import BoundScheduler

__all__ = ["Plateau", "PlateauDrop", "PlateauStep"]

_OnChange = Literal["error", "continue"]

_SCHEMA = 1


@dataclass(frozen=True)
class PlateauStep:
    """What one observation led to.

    Attributes:
        changed: Whether this observation lowered the rate.
        multiplier: What multiplies the schedule from now on.
        decision: What the rule says of the metric so far.
        status: A sentence: what was done, and why.
    """

    changed: bool
    multiplier: float
    decision: PlateauDecision
    status: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``json.dumps``; a figure that is not known yet becomes None."""
        plain = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in asdict(self.decision).items()
        }
        return {"changed": self.changed, "multiplier": self.multiplier, "decision": plain, "status": self.status}


@dataclass(frozen=True)
class PlateauDrop:
    """A drop of the rate.

    Attributes:
        step: How many updates had been made.
        observation: How many observations had been made, the one that led to the drop among them.
        old: The multiplier before.
        new: The multiplier after.
        reason: What the rule said.
    """

    step: int
    observation: int
    old: float
    new: float
    reason: str


@final
class Plateau:
    """Lowers the rate of a bound schedule whenever a metric makes no more progress that is worth waiting for.

    With the drops d = 0, 1, 2, … so far and γ = ``factor``, the rate of every parameter group is

        lr(t) = peak · η(t) · m,    m = max(``floor``, γᵈ)

    for any schedule η: warm-up, cosine and all others go on as planned, only lower. What is a plateau, says ``rule``,
    from the noise of the metric itself: one spike or one lucky value decides nothing, nor do the offset, sign and
    scale of the metric. After a drop it forgets what it saw and waits for a new window.

    m stands in ``bound.multiplier``, which holds 1 at first; set it by hand, and the next drop starts from there. All
    else that it remembers are the last ``rule.needs`` values and the drops; save it beside the bound, and load the two
    in any order. In a distributed training give every process the same value, or their rates part.

    Args:
        bound: What :func:`stepsize.bind` returned. It takes one controller at a time: :meth:`release` makes room.
        factor: What a drop multiplies the rate by, in (0, 1).
        rule: When to drop; None is ``PlateauRule()``, for a metric of which less is better.
        floor: The smallest multiplier, in [0, 1]; not a rate. Once there, the rate falls no further.
        skip_first: How many observations at first are not looked at, for instance during a long warm-up, >= 0.
        on_change: What :meth:`load_state_dict` does where the saved settings are not these: ``"error"``, or
            ``"continue"`` with these and the saved multiplier, values and drops.

    Raises:
        InputError: If an argument is out of its range, or ``bound`` has a controller already.

    Example:
        >>> import torch
        >>> from stepsize import Plateau, bind, schedules
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> bound = bind(schedules.cosine(24), optimizer)
        >>> plateau = Plateau(bound)
        >>> for loss in [1.5, 1.4, 1.6, 1.5, 1.4, 1.5, 1.6, 1.4, 1.5, 1.6, 1.4, 1.5]:
        ...     optimizer.step()  # in life an epoch of updates, each after a backward pass
        ...     seen = plateau.observe(loss)
        >>> seen.changed, seen.multiplier, [round(lr, 4) for lr in bound.get_lr()]  # 0.1 · η(12) · 0.5
        (True, 0.5, [0.025])

    Reference:
        :class:`~stepsize.curves.PlateauRule`, for the statistics.
    """

    def __init__(
        self,
        bound: BoundScheduler,
        *,
        factor: float = 0.5,
        rule: PlateauRule | None = None,
        floor: float = 0.0,
        skip_first: int = 0,
        on_change: _OnChange = "error",
    ) -> None:
        _check_bound(bound)
        _check_on_change(on_change)
        self._settings = _Settings(factor, floor, skip_first, PlateauRule() if rule is None else rule)
        if bound.multiplier < floor:
            raise InputError("floor", floor, f"must not lie above the multiplier of the bound, {bound.multiplier:g}")
        self._on_change: _OnChange = on_change
        self._memory = _Memory()
        self._bound = bound
        self._released = False
        _take(bound, self)

    def __repr__(self) -> str:
        return f"Plateau(multiplier={self.multiplier:g}, observations={self.observations}, drops={len(self.drops)})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if not self._released:  # a copy that came with a copy of the bound controls that one
            _take(self._bound, self)

    @property
    def multiplier(self) -> float:
        """What multiplies the schedule: the bound's own ``multiplier``."""
        return self._bound.multiplier

    @property
    def rule(self) -> PlateauRule:
        """When it drops."""
        return self._settings.rule

    @property
    def observations(self) -> int:
        """How many values were observed, those skipped or not finite among them."""
        return self._memory.observations

    @property
    def ignored(self) -> int:
        """How many observed values were not finite."""
        return self._memory.ignored

    @property
    def drops(self) -> tuple[PlateauDrop, ...]:
        """All drops so far, oldest first."""
        return self._memory.drops

    def observe(self, value: SupportsFloat) -> PlateauStep:
        """Take in the next value of the metric, and lower the rate if it is time.

        Call it when a new value is there, for instance after an evaluation, as regularly as you can: the rule counts
        observations, not updates. (That is why it is not called ``step``.) A value that is not finite is counted and
        keeps its place in the window, but decides nothing.

        Args:
            value: The metric: a Python or numpy number or a tensor of shape ``()``. A tensor on an accelerator is
                waited for (one ``float(value)``), so observe means over an epoch rather than each update's loss.

        Returns:
            What was decided and done. The new rate holds from the next update on.

        Raises:
            InputError: If ``value`` is not one number, or the controller was released.
        """
        self._check_held()
        number = _number(value)
        memory = self._memory.with_value(number, self._settings)
        decision = self.rule.judge(memory.values)
        old = new = float(self.multiplier)
        if decision.plateau and math.isfinite(number):
            new = min(old, max(float(self._settings.floor), old * float(self._settings.factor)))
        if new < old:
            self._bound.multiplier = new
            drop = PlateauDrop(self._bound.last_epoch, memory.observations, old, new, decision.reason)
            memory = memory.with_drop(drop)
        self._memory = memory
        return PlateauStep(new < old, new, decision, self._status(number, old, new, decision))

    def release(self) -> None:
        """Let go of the bound, whose multiplier stays as it is; another controller may then take it."""
        if not self._released:
            del _HOLDERS[self._bound]
            self._released = True

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resume needs, as plain values that ``torch.load(weights_only=True)`` reads."""
        return {
            "schema": _SCHEMA,
            "settings": self._settings.plain(),
            "multiplier": float(self.multiplier),
            **self._memory.plain(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], on_change: _OnChange | None = None) -> None:
        """Go on where a state was saved, and set the bound's multiplier; before or after the bound loads its own.

        Args:
            state_dict: What :meth:`state_dict` returned.
            on_change: What to do where it was saved with other settings; default what the constructor was given.

        Raises:
            InputError: If it is no such state, or was saved with other settings and ``on_change`` is ``"error"``, or
                the controller was released. Nothing is changed then.
        """
        self._check_held()
        change = _check_on_change(self._on_change if on_change is None else on_change)
        saved, multiplier, memory = _read(state_dict)
        changes = _changes(saved, self._settings.plain())
        if changes and change == "error":
            rule = "must have been saved with the settings of this controller"
            remedy = "Construct it with the saved ones, or pass on_change='continue' to go on with the new ones"
            raise InputError("state_dict", "; ".join(changes), rule, remedy)
        self._bound.multiplier = multiplier
        self._memory = memory.cut(self.rule.needs)

    def _check_held(self) -> None:
        if self._released:
            remedy = "Make a new Plateau(bound), and load this one's state_dict() to go on from it"
            raise InputError("plateau", self, "must not have been released", remedy)
        if self._bound.released:
            raise InputError("bound", self._bound, "drives no optimizer any more", "Bind the schedule again")

    def _status(self, number: float, old: float, new: float, decision: PlateauDecision) -> str:
        """Return what one observation led to, as a sentence."""
        floor, skip = self._settings.floor, self._settings.skip_first
        if not math.isfinite(number):
            return f"the metric is {number}: counted and ignored, the multiplier stays at {number_text(old)}"
        if self.observations <= skip:
            return f"observation {self.observations} of the first {skip}, which are skipped"
        if new < old:
            ending = ", the floor: it falls no further" if new == floor else ""
            return f"the multiplier falls from {number_text(old)} to {number_text(new)}{ending}; {decision.reason}"
        if decision.plateau:
            return f"the multiplier stays at its floor, {number_text(old)}"
        return f"the multiplier stays at {number_text(old)}; {decision.reason}"


@dataclass(frozen=True)
class _Settings:
    """What a user chose, and what may not change unseen between saving and loading."""

    factor: float
    floor: float
    skip_first: int
    rule: PlateauRule

    def __post_init__(self) -> None:
        if not _is_number(self.factor) or not 0 < self.factor < 1:
            raise InputError("factor", self.factor, "must lie between 0 and 1", "0.5 halves the rate at every drop")
        if not _is_number(self.floor) or not 0 <= self.floor <= 1:
            raise InputError("floor", self.floor, "must lie in [0, 1]", "It is a multiplier, not a rate: lr / peak lr")
        if not _is_count(self.skip_first):
            raise InputError("skip_first", self.skip_first, "must be a number of observations, a whole one, >= 0")
        if not isinstance(self.rule, PlateauRule):
            raise InputError("rule", self.rule, "must be a PlateauRule", "For example PlateauRule(maximize=True)")

    def plain(self) -> dict[str, Any]:
        """Return the settings by name, those of the rule as ``rule.…``."""
        own = {"factor": self.factor, "floor": self.floor, "skip_first": self.skip_first}
        named = own | {f"rule.{key}": value for key, value in asdict(self.rule).items()}
        # a numpy float passes for a float, but a weights_only load refuses it
        return {key: float(value) if isinstance(value, float) else value for key, value in named.items()}


@dataclass(frozen=True)
class _Memory:
    """What was seen and done; replaced as a whole, so that an error leaves the old one."""

    observations: int = 0
    ignored: int = 0
    values: tuple[float, ...] = ()  # since the last drop, at most rule.needs
    drops: tuple[PlateauDrop, ...] = ()

    def with_value(self, value: float, settings: _Settings) -> _Memory:
        count = self.observations + 1
        seen = _Memory(count, self.ignored + (not math.isfinite(value)), self.values, self.drops)
        if count <= settings.skip_first:
            return seen
        return _Memory(count, seen.ignored, (*self.values, value), self.drops).cut(settings.rule.needs)

    def with_drop(self, drop: PlateauDrop) -> _Memory:
        return _Memory(self.observations, self.ignored, (), (*self.drops, drop))

    def cut(self, needs: int) -> _Memory:
        return _Memory(self.observations, self.ignored, self.values[-needs:], self.drops)

    def plain(self) -> dict[str, Any]:
        drops = [asdict(drop) for drop in self.drops]
        return {
            "observations": self.observations,
            "ignored": self.ignored,
            "values": list(self.values),
            "drops": drops,
        }


_HOLDERS: weakref.WeakKeyDictionary[BoundScheduler, weakref.ref[Plateau]] = weakref.WeakKeyDictionary()


def _take(bound: BoundScheduler, plateau: Plateau) -> None:
    """Enter ``plateau`` as the one controller of ``bound``; one that nobody holds any more does not count."""
    holder = _HOLDERS.get(bound)
    if holder is not None and holder() is not None:
        remedy = "Two would overwrite each other's multiplier: call release() on the other one first"
        raise InputError("bound", "a bound that has a Plateau", "must have no other controller", remedy)
    _HOLDERS[bound] = weakref.ref(plateau)


def _check_bound(value: object) -> None:
    if not isinstance(value, BoundScheduler):
        remedy = "Bind a schedule first: bound = stepsize.bind(schedule, optimizer)"
        raise InputError("bound", type(value).__name__, "must be a bound schedule", remedy)


def _number(value: SupportsFloat) -> float:
    """Return ``value``, one number, as a float; the one place that waits for the device."""
    plain = value.detach() if isinstance(value, Tensor) else value  # a loss with its graph would warn
    shape = tuple(getattr(plain, "shape", ()))
    if shape:
        remedy = "Give its mean: one number that stands for the model as it is now"
        raise InputError("value", f"shape {shape}", "must be one number, of shape ()", remedy)
    try:
        if isinstance(plain, bool | str | bytes):
            raise TypeError("not a number, though float() takes it")
        return float(plain)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError("value", value, "must be a number", "Give the metric of this evaluation") from error


def _check_on_change(value: _OnChange) -> _OnChange:
    if value not in get_args(_OnChange):
        raise InputError("on_change", value, f"must be one of: {', '.join(get_args(_OnChange))}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read(state: Mapping[str, Any]) -> tuple[dict[str, Any], float, _Memory]:
    """Return the settings, the multiplier and the memory that ``state`` holds."""
    wanted = {"schema", "settings", "multiplier", *(field.name for field in fields(_Memory))}
    if not isinstance(state, Mapping) or set(state) != wanted:
        received = sorted(state) if isinstance(state, Mapping) else type(state).__name__
        raise InputError(
            "state_dict", received, f"must hold {', '.join(sorted(wanted))}", "Give what state_dict() returned"
        )
    if state["schema"] != _SCHEMA:
        raise InputError("state_dict", state["schema"], f"must be of schema {_SCHEMA}", "Another release wrote it")
    try:
        values = tuple(float(value) for value in state["values"])
        drops = tuple(PlateauDrop(**drop) for drop in state["drops"])
        settings, multiplier = dict(state["settings"]), float(state["multiplier"])
    except (TypeError, ValueError) as error:
        raise InputError("state_dict", state, "must hold what state_dict() returned") from error
    counts = state["observations"], state["ignored"]
    if not (all(map(_is_count, counts)) and math.isfinite(multiplier) and multiplier >= 0):
        raise InputError("state_dict", state, "must hold counts and a multiplier, none of them negative")
    return settings, multiplier, _Memory(*counts, values, drops)


def _changes(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return the settings that differ, each with its saved and its present value."""
    names = sorted(saved.keys() | here.keys())
    return [f"{n} {saved.get(n)} -> {here.get(n)}" for n in names if saved.get(n) != here.get(n)]
