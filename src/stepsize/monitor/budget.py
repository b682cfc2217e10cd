"""What watching may cost: a share of the training's time, kept by measuring fewer updates."""

from __future__ import annotations

from collections import deque
from time import perf_counter

__all__ = ["Budget"]

_SHARE = 0.03  # of the training's time, at the end of it
_DENSE = 64  # updates that are measured one and all
_SHORT = 1_000  # updates up to which a training is watched whatever that costs
_RUN = 8  # updates that are then measured one after the other
_WANTED = 256  # of the first quarter: more would only cost
_OF = (3, 8)  # at least and at most one such run in so many
_UNKNOWN = 4_000  # updates, where the horizon is unknown
_NEAR = 15  # calls whose pace is compared
_BREAK = 8.0  # times the usual pace, beyond which something else than training took the time
_AHEAD = 0.5  # of the time that is still to come may be drawn on: the beginning says most


class Budget:
    """Decides what is measured, by what watching took so far.

    In trainings of more than 1,000 updates, after the first 64, something is measured only while what was spent is at
    most 3% of the time that the training took without it, and of half of the time that it has still to go, less what
    the bare counting of updates will take. At the end it is 3% of all, as long as the first 64 updates and that
    counting leave anything. Shorter trainings are watched whatever that costs.

    Args:
        steps: The horizon; None where it is unknown.

    Attributes:
        spent: The seconds that watching took so far.
        agreed: Seconds spent and trained that several processes agreed on, to decide alike; None in one process.
        due: The update from which on the next run is measured, where that is allowed.
    """

    def __init__(self, steps: int | None) -> None:
        self.spent = 0.0
        self.agreed: tuple[float, float] | None = None
        self._horizon = steps or _UNKNOWN
        # The verdict needs its signals also where a training is too short and its model too small to pay for them.
        self._always = steps if steps and steps <= _SHORT else _DENSE
        self._of = min(max(steps // 4 // _WANTED, _OF[0]), _OF[1]) if steps else _OF[1]
        self._trained = 0.0
        self._since: float | None = None  # the end of the last call
        self._paces: deque[float] = deque(maxlen=_NEAR)  # seconds an update took, lately
        self._first = 0
        self._bare = (0.0, 0)  # seconds and updates that were only counted
        self._until = 0  # the end of the run of updates that are measured one after the other
        self.due = 0

    def begin(self, step: int, updates: int = 1, within: float = 0.0) -> None:
        """Take the time since the last call, in which so many updates were trained.

        What comes before the first (compiling, loading) is no training, nor what takes a break of many updates.

        Args:
            step: How many updates were made before.
            updates: How many since the last call.
            within: Seconds of them that were spent on watching.
        """
        if self._since is None:
            self._first, self.spent = step, 0.0
            return
        took = max(0.0, perf_counter() - self._since - within)
        self._paces.append(took / updates)
        typical = sorted(self._paces)[len(self._paces) // 2]
        self._trained += min(took, _BREAK * typical * updates)

    def times(self) -> tuple[float, float]:
        """Return the seconds that were spent on watching, and on training alone."""
        return self.spent, self._trained

    def pace(self, step: int) -> float:
        """Return the seconds that an update takes without watching."""
        return self.times()[1] / max(1, step - self._first)

    def allows(self, step: int) -> bool:
        """Return whether something more may be spent after ``step`` updates."""
        done = step - self._first
        if done <= self._always:
            return True
        spent, trained = self.agreed or self.times()
        left = max(0, self._horizon - step) / done  # in units of what is done
        bare = self._bare[0] / self._bare[1] * done if self._bare[1] and self.agreed is None else 0.0
        return spent + bare * left * (1 - _AHEAD) <= _SHARE * trained * (1 + _AHEAD * left)

    def spend(self, seconds: float, updates: int, *, measured: bool) -> None:
        """Take note of what so many updates cost, measured or only counted; ends a call."""
        self._since = perf_counter()
        self.spent += seconds
        if not measured:
            self._bare = (self._bare[0] + seconds, self._bare[1] + updates)

    def dense(self, step: int) -> bool:
        """Return whether update ``step`` is one of the first."""
        return step - self._first < _DENSE

    def measures(self, step: int, *, worse: bool) -> bool:
        """Return whether update ``step`` is measured: all at first, then runs of eight, and when it gets worse."""
        if self.dense(step) or step < self._until:
            return True
        allowed = (worse or step >= self.due) and self.allows(step)
        if allowed and step >= self.due:
            self._until, self.due = step + _RUN, step + _RUN * self._of
        return allowed
