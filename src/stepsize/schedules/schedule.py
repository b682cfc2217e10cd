"""The value that users hold: a schedule, and everything that can be made from one."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final, overload

import numpy as np

from stepsize.checks import check_number
from stepsize.errors import InputError
from stepsize.schedules.algebra import After, Capped, First, Floored, Repeated, Then, Times, scaled
from stepsize.schedules.changes import CooledDown, Extended, Switched
from stepsize.schedules.leaves import Points
from stepsize.schedules.node import Node
from stepsize.schedules.shapes import Array, Shape, as_shape
from stepsize.schedules.units import Clock, Duration, as_duration

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from stepsize.views import Chart


@final
@dataclass(frozen=True, repr=False)
class Schedule:
    """An immutable function from step to factor: the learning rate at step t divided by the peak learning rate.

    Constructors (``cosine``, ``warmup``, ``wsd``, ...) make schedules; the methods below join and change them. A
    schedule compares, hashes and pickles by value, and ``str`` gives its written form. Four rules hold:

    - update 0 uses the factor of step 0;
    - a phase of N steps covers the updates t < N; step N belongs to the next phase;
    - after the last step the factor stays what it is at step ``length``; nothing rises again automatically;
    - steps are real numbers >= 0; whole ones are updates.

    Durations may be relative (``"5%"``, ``"2ep"``, or left out to take the rest) until :meth:`over` resolves them.

    Example:
        >>> from stepsize.schedules import warmup, constant, cooldown
        >>> eta = warmup("5%").then(constant()).then(cooldown("20%"))
        >>> eta = eta.over(1_000)
        >>> eta.length, eta(0), eta(400), eta(900), eta(1_000)
        (1000, 0.0196..., 1.0, 0.2928..., 0.0)
        >>> eta([0, 400]).tolist()
        [0.0196..., 1.0]
        >>> str(eta)
        'warmup 50, constant 750, cooldown 200'
    """

    node: Node

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: ArrayLike) -> Array: ...
    def __call__(self, step: ArrayLike) -> float | Array:
        """Return the factor of ``step``, or an array of the factors of an array of steps."""
        self._check_resolved()
        try:
            steps = np.asarray(step, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError("step", step, "must be a number, or an array of numbers") from None
        if not bool(np.all((steps >= 0) & (steps < math.inf))):  # also refuses NaN
            raise InputError("step", step, "must be a finite number, at least 0")
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.node.held(np.atleast_1d(steps))
        if not bool(np.isfinite(values).all()):
            raise InputError("step", step, "has a factor that is larger than any float", "The schedule must not grow")
        return values if steps.ndim else float(values[0])

    @property
    def length(self) -> int | None:
        """The number of updates that it lasts; None if it has no end."""
        self._check_resolved()
        return self.node.length

    @property
    def resolved(self) -> bool:
        """Whether all durations are whole steps, so that it has factors."""
        return self.node.relative is None

    @property
    def effective_steps(self) -> float:
        """The sum of the factors of all updates: the number of steps at the peak rate that they are equal to."""
        return float(self.factors().sum())

    def factors(self, steps: int | None = None) -> Array:
        """Return the factor of each update.

        Args:
            steps: Number of updates. Default: its length, which an endless schedule does not have.

        Returns:
            Factors, shape ``(steps,)``.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).factors().tolist()
            [1.0, 0.75, 0.5, 0.25]
        """
        return self(np.arange(self.count(steps), dtype=np.float64))

    def count(self, steps: int | None = None) -> int:
        """Return ``steps``, or its length if that is None.

        Raises:
            InputError: If it has no end and ``steps`` is None, or ``steps`` is not a number of updates.
        """
        count = self.length if steps is None else as_duration("steps", steps)
        if count is None:
            raise InputError("steps", None, "must be given for a schedule without an end")
        if not isinstance(count, int):
            raise InputError("steps", steps, "must be a number of updates", "Call .over(…) to change the horizon")
        return count

    def over(self, steps: Duration, clock: Clock | None = None) -> Schedule:
        """Return the same schedule over a horizon, with all durations in whole steps.

        Percentages refer to ``steps``; the phase without a length takes the rest. Ends of phases are rounded, not
        lengths, so percentages that add up to 100% end exactly with the horizon.

        Args:
            steps: The horizon, in steps or any unit that ``clock`` knows.
            clock: Converts epochs, samples and tokens; its own horizon is replaced by ``steps``.

        Returns:
            A resolved schedule of this length.

        Raises:
            InputError: If phases are longer or shorter than the horizon, or the clock lacks what a unit needs.

        Example:
            >>> from stepsize.schedules import cosine
            >>> str(cosine(warmup="5%").over(200))
            'warmup 10, cosine 190'
        """
        given = clock or Clock()
        horizon = max(1, given.steps(as_duration("steps", steps), "steps"))
        clock = dataclasses.replace(given, horizon=horizon)
        own = self.node.span(clock)
        resolved = self.node.resolve(clock, horizon)
        length = resolved.length
        if own is not None and length == horizon:  # a single phase resolves to the horizon whatever its own length is
            length = math.floor(own + 0.5)
        if length != horizon:
            received = f"{length:,} steps of {horizon:,}" if length is not None else "no end"
            remedy = "Leave its length out, or use .extended(to=N) or .first(N), written '| extended N' and '| first N'"
            raise InputError("schedule", received, "must last as long as the horizon", remedy)
        return Schedule(resolved)

    def then(self, other: Schedule) -> Schedule:
        """Return this schedule followed by ``other``, which counts its own steps from 0.

        Args:
            other: The schedule after the end of this one; the factor may jump there.

        Returns:
            A schedule as long as both. If this one has no end, it takes what ``other`` leaves of the horizon, which
            :meth:`over` must then give.

        Example:
            >>> from stepsize.schedules import constant, linear
            >>> constant(2).then(linear(2)).factors().tolist()
            [1.0, 1.0, 1.0, 0.5]
        """
        return Schedule(Then((self.node, _node("other", other))))

    def times(self, other: Schedule) -> Schedule:
        """Return the product of both schedules.

        Args:
            other: A schedule of the same length; one of the two may be endless.

        Returns:
            A schedule of that length.

        Example:
            >>> from stepsize.schedules import exponential, linear
            >>> linear(4).times(exponential(0.5)).factors().tolist()
            [1.0, 0.375, 0.125, 0.03125]
        """
        return Schedule(Times(self.node, _node("other", other)))

    def scaled(self, by: float) -> Schedule:
        """Return the schedule times a number.

        Args:
            by: The multiplier, > 0.

        Returns:
            A schedule of the same length.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(2).scaled(0.5).factors().tolist()
            [0.5, 0.25]
        """
        return Schedule(scaled(self.node, check_number("by", by, above=0)))

    def floored(self, at: float) -> Schedule:
        """Return the schedule with no factor below a floor: max(factor, ``at``), warmup included.

        If the decay should end at the floor instead of being cut off, use ``end`` of its constructor.

        Args:
            at: The smallest factor, >= 0.

        Returns:
            A schedule of the same length.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).floored(at=0.6).factors().tolist()
            [1.0, 0.75, 0.6, 0.6]
        """
        return Schedule(Floored(self.node, at))

    def capped(self, at: float) -> Schedule:
        """Return the schedule with no factor above a ceiling: min(factor, ``at``).

        Args:
            at: The largest factor, > 0.

        Returns:
            A schedule of the same length.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).capped(at=0.6).factors().tolist()
            [0.6, 0.6, 0.5, 0.25]
        """
        return Schedule(Capped(self.node, at))

    def repeated(self, times: int | None = None, *, per_cycle: float = 1.0) -> Schedule:
        """Return the schedule again and again.

        Args:
            times: Number of repetitions; None never stops.
            per_cycle: Multiplier of the factors from one repetition to the next, > 0.

        Returns:
            A schedule of ``times`` times the length.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(2).repeated(2, per_cycle=0.5).factors().tolist()
            [1.0, 0.5, 0.5, 0.25]
        """
        return Schedule(Repeated(self.node, times, per_cycle))

    def first(self, steps: Duration) -> Schedule:
        """Return the beginning of the schedule, which gives an endless one an end.

        Args:
            steps: Length of the beginning, at most that of the schedule.

        Returns:
            A schedule of that length.

        Example:
            >>> from stepsize.schedules import inverse_sqrt
            >>> inverse_sqrt(100).first(1_000).length
            1000
        """
        return Schedule(First(self.node, as_duration("steps", steps)))

    def after(self, steps: Duration) -> Schedule:
        """Return the schedule without its beginning.

        Args:
            steps: Length of the beginning, less than that of the schedule.

        Returns:
            A schedule of what is left: ``eta.first(n).then(eta.after(n))`` has the factors of ``eta``.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).after(2).factors().tolist()
            [0.5, 0.25]
        """
        return Schedule(After(self.node, as_duration("steps", steps)))

    def cooled_down(
        self, over: Duration, *, at: Duration | None = None, shape: Shape | str = "1-sqrt", end: float = 0.0
    ) -> Schedule:
        """Return the schedule stopped at a step and decayed from its factor there.

        Args:
            over: Length of the cooldown.
            at: The step where it begins; None lets it end with the horizon, which :meth:`over` must then give.
            shape: Shape of the cooldown.
            end: The factor at its end.

        Returns:
            A schedule of ``at`` + ``over`` steps, without a jump at ``at``.

        Example:
            >>> from stepsize.schedules import constant
            >>> constant().cooled_down(4, at=2, shape="linear").factors().tolist()
            [1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        begin = None if at is None else as_duration("at", at, least=0)
        return Schedule(CooledDown(self.node, as_duration("over", over), begin, as_shape(shape), end))

    def extended(
        self, to: Duration, *, at: Duration = 0, by: Literal["stretching", "holding"] = "stretching"
    ) -> Schedule:
        """Return the schedule with another horizon, longer or shorter, changed from step ``at`` on without a jump.

        Args:
            to: The new length.
            at: The step up to which nothing changes: the number of updates already made.
            by: ``"stretching"`` runs through the rest more slowly (or faster); ``"holding"`` keeps the factor of
                ``at`` and continues in time to end at ``to``, which lengthens the stable phase of a WSD schedule.

        Returns:
            A schedule of ``to`` steps.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).extended(6, at=2).factors().tolist()
            [1.0, 0.75, 0.5, 0.375, 0.25, 0.125]
            >>> linear(4).extended(6, at=2, by="holding").factors().tolist()
            [1.0, 0.75, 0.5, 0.5, 0.5, 0.25]
        """
        return Schedule(Extended(self.node, as_duration("to", to), as_duration("at", at, least=0), by))

    def switched(self, other: Schedule, *, at: Duration) -> Schedule:
        """Return this schedule up to ``at`` and ``other`` from there, scaled so that the factor does not jump.

        ``other`` counts steps from the beginning of the run: it replaces this schedule and is not appended to it.

        Args:
            other: The new schedule; neither may be at factor 0 at ``at``.
            at: The step where it takes over: the number of updates already made.

        Returns:
            A schedule as long as ``other``.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).switched(linear(8), at=2)([1, 2, 5, 8]).round(3).tolist()
            [0.75, 0.5, 0.25, 0.0]
        """
        return Schedule(Switched(self.node, _node("other", other), as_duration("at", at, least=0)))

    def tabulated(self, steps: int | None = None) -> Schedule:
        """Return the factors of all updates as a table, which has a written form even if a function has none.

        Args:
            steps: Number of updates. Default: its length, which an endless schedule does not have.

        Returns:
            A schedule of points, held in between.

        Example:
            >>> from stepsize.schedules import function
            >>> function(lambda t: 1 / (1 + t), 3).tabulated()(2)
            0.333...
        """
        values = self.factors(steps)
        count = len(values)
        return Schedule(Points((*range(count), count), (*values.tolist(), self(count)), None, steps=count))

    def plot(self, steps: int | None = None, *, lr: float | None = None) -> Chart:
        """Return the chart of the factors, or of the learning rates.

        Args:
            steps: Number of updates. Default: its length, which relative and endless schedules do not have.
            lr: Peak learning rate. Default: factors are shown.

        Raises:
            InputError: If it has no length and none is given.
        """
        from stepsize.views import draw, schedule_info

        resolved = self if self.resolved or steps is None else self.over(steps)
        values = (lr or 1.0) * resolved.factors(steps)
        label = "factor" if lr is None else "learning rate"
        curves = {"schedule": {"lr": values}}
        return draw(schedule_info(range(len(values)), curves, title=str(self), lr_label=label))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from stepsize.views.notebook import bundle

        return bundle(repr(self), str(self), self.plot)

    def __str__(self) -> str:
        return str(self.node)

    def __repr__(self) -> str:
        return f"Schedule({str(self)!r})"

    def _check_resolved(self) -> None:
        reason = self.node.relative
        if reason is not None:
            raise InputError("schedule", reason, "must be in steps", "Call .over(steps) first, with a Clock for epochs")


def _node(argument: str, value: object) -> Node:
    if not isinstance(value, Schedule):
        raise InputError(argument, value, "must be a Schedule", "Wrap a function with stepsize.schedules.function")
    return value.node
