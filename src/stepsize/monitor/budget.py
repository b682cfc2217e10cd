"""What watching may cost: a fraction of the training time, kept by measuring fewer updates."""

from __future__ import annotations

from collections import deque
from time import perf_counter

_FRACTION = 0.02  # of the training time, at the end of it; as much again is lost in caches and memory, unseen
_DENSE = 64  # updates that are all measured
_SHORT = 1_000  # updates up to which a run is watched whatever that costs
_RUN = 8  # updates that are then measured one after the other
_WANTED = 256  # of the first quarter: more would only cost
_OF = (3, 8)  # at least and at most one such series in so many
_UNKNOWN = 4_000  # updates, if the horizon is unknown
_NEAR = 15  # calls whose pace is compared
_SLOW, _BREAK = 2.0, 8.0  # times the usual pace of an update, and updates: beyond, something else took the time
_COUNTING = 8e-6  # seconds that the hooks and calls of an update take; reading a clock in them would take as long
_AHEAD = 0.5  # of the time that is still to come can be drawn on: the beginning says most


class WatchBudget:
    """Decides what is measured, by what watching took so far.

    In runs of more than 1,000 updates, after the first 64, something is measured only while the time spent is at most
    2% of the training time without it, counting half of the time that is still to come, less what the bare counting of
    updates will take. At the end it is 2% of all, as long as the first 64 updates and that counting leave anything:
    with what no clock within the hooks sees, that is about 3%. Shorter runs are watched whatever that costs.
    """

    def __init__(self, steps: int | None) -> None:
        self.spent = 0.0  # seconds of watching
        self.agreed: tuple[float, float] | None = None  # seconds spent and trained: the same in several processes
        self._horizon = steps or _UNKNOWN
        # The verdict needs its signals even if a run is too short and its model too small to pay for them.
        self._always = steps if steps and steps <= _SHORT else _DENSE
        self._of = min(max(steps // 4 // _WANTED, _OF[0]), _OF[1]) if steps else _OF[1]
        self._trained = 0.0
        self._since: float | None = None  # end of the last call
        self._paces: deque[float] = deque(maxlen=_NEAR)  # seconds per update, lately
        self._first = 0
        self._bare = (0.0, 0)  # seconds and number of updates that were only counted
        self._until = 0  # end of the present series
        self.due = 0  # update at which the next series is measured, if that is allowed

    def begin(self, step: int, updates: int = 1, within: float = 0.0) -> None:
        """Take the time since the last call, for ``updates`` updates, less ``within`` seconds of watching.

        What comes before the first call (compiling, loading) does not count as training, nor does a long break.
        """
        if self._since is None:
            self._first, self.spent = step, 0.0
            return
        took = max(0.0, perf_counter() - self._since - within - _COUNTING * updates)
        self._paces.append(took / updates)
        typical = sorted(self._paces)[len(self._paces) // 2]
        self._trained += min(took, (_SLOW * updates + _BREAK) * typical)

    def times(self) -> tuple[float, float]:
        """Return the seconds spent on watching, and on training alone."""
        return self.spent, self._trained

    def pace(self, step: int) -> float:
        """Return the seconds that an update takes without watching."""
        return self._trained / max(1, step - self._first)

    def allows(self, step: int) -> bool:
        """Return whether more may be spent after ``step`` updates."""
        done = step - self._first
        if done <= self._always:
            return True
        spent, trained = self.agreed or self.times()
        left = max(0, self._horizon - step) / done  # in units of what is done
        bare = self._bare[0] / self._bare[1] * done if self._bare[1] and self.agreed is None else 0.0
        return spent + bare * left * (1 - _AHEAD) <= _FRACTION * trained * (1 + _AHEAD * left)

    def spend(self, seconds: float, updates: int, *, measured: bool) -> None:
        """Take the cost of ``updates`` updates, measured or only counted; ends a call."""
        self._since = perf_counter()
        seconds += _COUNTING * updates
        self.spent += seconds
        if not measured:
            self._bare = (self._bare[0] + seconds, self._bare[1] + updates)

    def dense(self, step: int) -> bool:
        """Return whether update ``step`` is one of the first."""
        return step - self._first < _DENSE

    def measures(self, step: int, *, worse: bool) -> bool:
        """Return whether update ``step`` is measured: all at first, then series of eight, and if the loss rises."""
        if self.dense(step) or step < self._until:
            return True
        allowed = (worse or step >= self.due) and self.allows(step)
        if allowed and step >= self.due:
            self._until, self.due = step + _RUN, step + _RUN * self._of
        return allowed
