"""The value that users hold: a schedule, and everything that can be made of one."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, final, overload

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules.algebra import Delayed, Floored, Repeated, Scaled, Then, Times
from stepsize.schedules.changes import CooledDown, Extended, First, Stretched, Switched
from stepsize.schedules.leaves import Points
from stepsize.schedules.node import Node
from stepsize.schedules.shapes import Array, Shape, as_shape
from stepsize.schedules.units import Clock, Duration, as_duration

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["SCHEMA", "Schedule"]

SCHEMA = 1  # of the JSON form; raised when an old reader would misread a new document


@final
@dataclass(frozen=True, repr=False)
class Schedule:
    """An immutable function from step to factor: lr at step t divided by the peak lr.

    It is made by the constructors of this room (``cosine``, ``warmup``, ``wsd``, ...), joined and changed by the
    methods below, and compares, hashes and pickles by value. Four rules hold for every schedule:

    - update 0 uses the factor of step 0;
    - a part of N steps covers the updates t < N; step N belongs to the part behind it;
    - behind the end the factor stays what it is at step ``length``; nothing rises again by itself;
    - steps are real numbers >= 0; whole ones are updates.

    Durations may be open (``"5%"``, ``"2ep"``, or left out to take what remains) until :meth:`over` settles them.

    Example:
        >>> from stepsize.schedules import warmup, constant, cooldown
        >>> eta = warmup("5%").then(constant()).then(cooldown("20%"))
        >>> eta = eta.over(1_000)
        >>> eta.length, eta(0), eta(400), eta(900), eta(1_000)
        (1000, 0.0196..., 1.0, 0.2928..., 0.0)
        >>> eta([0, 400]).tolist()
        [0.0196..., 1.0]
    """

    node: Node

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: ArrayLike) -> Array: ...
    def __call__(self, step: ArrayLike) -> float | Array:
        """Return the factor of ``step``, or an array of the factors of an array of steps."""
        self._check_settled()
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
        self._check_settled()
        return self.node.length

    @property
    def settled(self) -> bool:
        """Whether all durations are whole steps, so that it has factors."""
        return self.node.open is None

    @property
    def effective_steps(self) -> float:
        """The sum of the factors of all updates: how many steps at the peak rate they make."""
        return float(self.factors().sum())

    def factors(self, steps: int | None = None) -> Array:
        """Return the factor of each update.

        Args:
            steps: How many updates; default its length.

        Returns:
            Factors, shape ``(steps,)``.

        Raises:
            InputError: If it has no end and ``steps`` is not given.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).factors().tolist()
            [1.0, 0.75, 0.5, 0.25]
        """
        return self(np.arange(self._count(steps), dtype=np.float64))

    def jumps(self, steps: int | None = None) -> tuple[int, ...]:
        """Return the updates that are the first ones behind a leap, where the limits from left and right differ.

        Args:
            steps: Of how many updates; default its length.

        Returns:
            Numbers of updates, increasing.

        Raises:
            InputError: If it has no end and ``steps`` is not given.

        Example:
            >>> from stepsize.schedules import step_decay, cosine
            >>> step_decay(3, gamma=0.5, steps=9).jumps(), cosine(9).jumps()
            ((3, 6), ())
        """
        until = self._count(steps)
        places = np.unique([*self.node.jumps(until), math.inf])[:-1]
        before, after = self._limit(places, -1), self._limit(places, 1)
        leaps = np.abs(after.value - before.value) > after.doubt + before.doubt
        # A leap between two updates shows at the later one.
        found = np.unique(np.ceil(np.round(places[leaps], 6)))
        return tuple(int(step) for step in found if step < until)

    def _limit(self, places: Array, side: int) -> _Limit:
        """Return the limits at ``places`` from one side, right even where the factor is as steep as a root."""
        nearest = np.maximum(1e-6, 1e-11 * places)
        far, near, nearer = self(places + side * nearest * np.array([[4.0], [2.0], [1.0]]))
        last, gain = nearer - near, (nearer - near) - (near - far)
        # Three halvings of the distance on the way L + c distance^a, from which Aitken's rule extrapolates to L.
        more = np.divide(-(last**2), gain, out=np.zeros_like(last), where=gain != 0)
        value = nearer + np.clip(more, -50 * np.abs(last), 50 * np.abs(last))
        return _Limit(value, 1e-12 + 1e-9 * np.abs(value) + 0.05 * np.abs(last))

    # ------------------------------------------------------------------ units

    def over(self, steps: Duration, clock: Clock | None = None) -> Schedule:
        """Return the same schedule over a horizon: all durations turned into whole steps.

        Shares refer to ``steps``; the part without a length takes what is left. Ends of parts are rounded, not
        lengths, so shares that make up 100 % end exactly with the horizon.

        Args:
            steps: The horizon, in steps or any unit that ``clock`` knows.
            clock: For epochs, samples and tokens; its own horizon is replaced by ``steps``.

        Returns:
            A settled schedule of this length.

        Raises:
            InputError: If parts are longer or shorter than the horizon, or a unit lacks its clock.

        Example:
            >>> from stepsize.schedules import cosine
            >>> str(cosine(warmup="5%").over(200))
            'warm-up over 10 steps, then cosine to 0 over 190 steps'
        """
        given = clock or Clock()
        horizon = max(1, given.steps(as_duration("steps", steps), "steps"))
        clock = _with_horizon(given, horizon)
        own = self.node.span(clock)
        settled = self.node.settle(clock, horizon)
        length = settled.length
        if own is not None and length == horizon:  # to which a lone part settles whatever it asked for
            length = math.floor(own + 0.5)
        if length != horizon:
            raise InputError(
                "schedule",
                f"{length:,} steps of {horizon:,}" if length is not None else "no end",
                "does not last as long as the horizon",
                "Leave its length out, or use .stretched(to=…), .extended(to=…) or .first(steps)",
            )
        return Schedule(settled)

    # ---------------------------------------------------------------- algebra

    def then(self, other: Schedule) -> Schedule:
        """Return this schedule followed by ``other``, which counts its own steps from 0.

        Args:
            other: What comes behind the end of this one; the factor is whatever it says, so it may leap.

        Returns:
            A schedule as long as both. If this one has no end it takes what ``other`` leaves of the horizon, which
            :meth:`over` then must give.

        Raises:
            InputError: If ``other`` is no schedule.

        Example:
            >>> from stepsize.schedules import constant, linear
            >>> constant(2).then(linear(2)).factors().tolist()
            [1.0, 1.0, 1.0, 0.5]
        """
        return Schedule(Then((self.node, _node("other", other))))

    def times(self, other: Schedule) -> Schedule:
        """Return the product of both, step by step.

        Args:
            other: A schedule of the same length; one of the two may be without an end.

        Returns:
            A schedule of that length.

        Raises:
            InputError: If both have an end and their lengths differ.

        Example:
            >>> from stepsize.schedules import exponential, linear
            >>> linear(4).times(exponential(0.5)).factors().tolist()
            [1.0, 0.375, 0.125, 0.03125]
        """
        return Schedule(Times(self.node, _node("other", other)))

    def scaled(self, by: float) -> Schedule:
        """Return the schedule with all factors multiplied.

        Args:
            by: The multiplier, > 0.

        Returns:
            A schedule of the same length.

        Raises:
            InputError: If ``by`` is not a positive number.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(2).scaled(0.5).factors().tolist()
            [0.5, 0.25]
        """
        return Schedule(Scaled(self.node, by))

    def floored(self, at: float) -> Schedule:
        """Return the schedule with no factor below a floor: max(factor, ``at``), warm-up included.

        To let a decay end at a floor instead of being cut off there, give its constructor ``end``.

        Args:
            at: The smallest factor, >= 0.

        Returns:
            A schedule of the same length.

        Raises:
            InputError: If ``at`` is no factor.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).floored(at=0.6).factors().tolist()
            [1.0, 0.75, 0.6, 0.6]
        """
        return Schedule(Floored(self.node, at))

    def delayed(self, by: Duration, *, factor: float | None = None) -> Schedule:
        """Return the schedule beginning later.

        Args:
            by: How much later.
            factor: Until then; default the factor that it begins with.

        Returns:
            A schedule that is longer by ``by``.

        Raises:
            InputError: If an argument breaks its rule.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(2).delayed(2).factors().tolist()
            [1.0, 1.0, 1.0, 0.5]
        """
        return Schedule(Delayed(self.node, as_duration("by", by), factor))

    def repeated(self, times: int | None = None, *, per_cycle: float = 1.0) -> Schedule:
        """Return the schedule again and again.

        Args:
            times: How often; None never stops.
            per_cycle: What the factors are multiplied by from one time to the next, > 0.

        Returns:
            A schedule of ``times`` times the length.

        Raises:
            InputError: If this one has no end, or an argument breaks its rule.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(2).repeated(2, per_cycle=0.5).factors().tolist()
            [1.0, 0.5, 0.5, 0.25]
        """
        return Schedule(Repeated(self.node, times, per_cycle))

    def stretched(self, *, to: Duration) -> Schedule:
        """Return the same shape over another number of steps: the factor at t · length / ``to``.

        Both ends keep their factors.

        Args:
            to: The new length.

        Returns:
            A schedule of that length.

        Raises:
            InputError: If this one has no end.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(2).stretched(to=4).factors().tolist()
            [1.0, 0.75, 0.5, 0.25]
        """
        return Schedule(Stretched(self.node, as_duration("to", to)))

    def first(self, steps: Duration) -> Schedule:
        """Return the beginning of the schedule: what gives an endless one an end.

        Args:
            steps: How much of it.

        Returns:
            A schedule of that length.

        Raises:
            InputError: If it is not that long.

        Example:
            >>> from stepsize.schedules import inverse_sqrt
            >>> inverse_sqrt(100).first(1_000).length
            1000
        """
        return Schedule(First(self.node, as_duration("steps", steps)))

    def cooled_down(
        self, *, over: Duration, at: Duration | None = None, shape: Shape | str = "1-sqrt", end: float = 0.0
    ) -> Schedule:
        """Return the schedule stopped and annealed from wherever it is then.

        Args:
            over: How long the cooldown takes.
            at: When it begins; None lets it end with the horizon, which :meth:`over` then must give.
            shape: The form of the cooldown.
            end: The factor that it ends at.

        Returns:
            A schedule of ``at`` + ``over`` steps, without a leap at ``at``.

        Raises:
            InputError: If ``at`` lies behind the end, or an argument breaks its rule.

        Example:
            >>> from stepsize.schedules import constant
            >>> constant().cooled_down(at=2, over=4, shape="linear").factors().tolist()
            [1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        begin = None if at is None else as_duration("at", at, least=0)
        return Schedule(CooledDown(self.node, begin, as_duration("over", over), as_shape(shape), end))

    def extended(
        self, *, to: Duration, at: Duration = 0, by: Literal["stretching", "holding"] = "stretching"
    ) -> Schedule:
        """Return the schedule with another horizon, changed from step ``at`` on and without a leap there.

        Args:
            to: The new length; may be shorter when stretching.
            at: Until when everything stays as it was: the updates already made.
            by: ``"stretching"`` runs through what was left more slowly (or faster); ``"holding"`` stays at the
                factor of ``at`` and goes on in time to end at ``to``, which lengthens the stable part of a WSD.

        Returns:
            A schedule of ``to`` steps.

        Raises:
            InputError: If ``at`` does not lie before both ends.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).extended(to=6, at=2).factors().tolist()
            [1.0, 0.75, 0.5, 0.375, 0.25, 0.125]
            >>> linear(4).extended(to=6, at=2, by="holding").factors().tolist()
            [1.0, 0.75, 0.5, 0.5, 0.5, 0.25]
        """
        return Schedule(Extended(self.node, as_duration("to", to), as_duration("at", at, least=0), by))

    def switched(self, other: Schedule, *, at: Duration) -> Schedule:
        """Return this schedule up to ``at`` and ``other`` from there, scaled so that the factor does not leap.

        ``other`` counts steps from the beginning of the training: a course that is changed, not appended.

        Args:
            other: The new course.
            at: When it takes over: the updates already made.

        Returns:
            A schedule as long as ``other``.

        Raises:
            InputError: If one of them is at factor 0 there, or ends before.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(4).switched(linear(8), at=2)([1, 2, 5, 8]).round(3).tolist()
            [0.75, 0.5, 0.25, 0.0]
        """
        return Schedule(Switched(self.node, _node("other", other), as_duration("at", at, least=0)))

    def tabulated(self, steps: int | None = None) -> Schedule:
        """Return the factors of all updates as a table: what can be written down where a function cannot.

        Args:
            steps: How many updates; default its length.

        Returns:
            A schedule of points, held in between.

        Raises:
            InputError: If it has no end and ``steps`` is not given.

        Example:
            >>> from stepsize.schedules import function
            >>> function(lambda t: 1 / (1 + t), 3).tabulated()(2)
            0.333...
        """
        values = self.factors(steps)
        positions = (*range(len(values)), len(values))
        ended = (*values.tolist(), self(len(values)))
        return Schedule(Points(len(values), positions, ended, None))

    # ------------------------------------------------------------- in and out

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``; :func:`~stepsize.schedules.from_json` reads them.

        Raises:
            InputError: If it holds a function; :meth:`tabulated` is the way out.

        Example:
            >>> from stepsize.schedules import linear
            >>> linear(9).to_json()["schedule"]["kind"]
            'ramp'
        """
        return {"schema": SCHEMA, "schedule": self.node.to_json()}

    def __str__(self) -> str:
        return str(self.node)

    def __repr__(self) -> str:
        return f"Schedule({self.node})"

    def _count(self, steps: int | None) -> int:
        count = self.length if steps is None else as_duration("steps", steps)
        if count is None:
            raise InputError("steps", None, "must be given for a schedule without an end")
        if not isinstance(count, int):
            raise InputError("steps", steps, "must be a number of updates", "Call .over(…) to change the horizon")
        return count

    def _check_settled(self) -> None:
        reason = self.node.open
        if reason is not None:
            raise InputError(
                "schedule", reason, "is not yet in steps", "Call .over(steps) first, with a Clock for epochs"
            )


class _Limit(NamedTuple):
    value: Array
    doubt: Array


def to_text(document: dict[str, Any]) -> str:
    """Return a JSON document as the one text that equal schedules share."""
    return json.dumps(document, allow_nan=False, sort_keys=True, separators=(",", ":"))


def _node(argument: str, value: object) -> Node:
    if not isinstance(value, Schedule):
        raise InputError(argument, value, "must be a Schedule", "Wrap a function with stepsize.schedules.function")
    return value.node


def _with_horizon(clock: Clock, horizon: int) -> Clock:
    return dataclasses.replace(clock, horizon=horizon)
