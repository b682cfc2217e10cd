"""When a run has diverged: a rule on its losses that does not depend on their offset, sign, scale or bound."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

_FAR = 20.0  # standard deviations above the start: no batch is that unlucky for half a window
_CLEAR = 3.0  # standard deviations above the start that half of a run does not show by chance
_MEDIAN = 5  # losses of which the median counts as reached
_DESCENTS = 3.0  # multiple of the descent so far that the loss must rise
_UNKNOWN = 2_000  # steps, if the horizon is unknown: only the lengths of windows depend on it
_RELATIVE_FLOOR = 1e-3  # only if noise and progress are both zero: a deterministic, flat start


class DivergenceRule:
    """Decides step by step whether a loss curve has diverged, relative to its own start, noise and progress.

    With L0 the median of the first losses, s their noise (from first differences, so that a trend does not
    count) and D the descent so far, a run has diverged when

    - ``in_a_row`` losses in a row are not finite; or
    - most of the last w losses exceed L0 + max(20 s, 3 D), w = a tenth of the horizon, between 8 and 200; or
    - half of the horizon was spent above L0 + 3 s, as a bounded loss does when the model is dead. Without a horizon
      this rule is off: in a long run the rare losses above the start add up.

    Every threshold is a difference of losses in units of their noise or progress, so offset, sign and scale do not
    matter. A single spike never counts as divergence, nor does a rough start that recovers. One loss ``in_a_row`` is
    enough if an update follows each loss, as it then spoils the weights.
    """

    def __init__(self, horizon: int | None, in_a_row: int = 1) -> None:
        self._horizon = horizon
        self._in_a_row, self._not_finite = in_a_row, 0
        horizon = horizon or _UNKNOWN
        self._start_steps = int(np.clip(horizon // 20, 5, 20))
        self._start: list[float] = []
        self._recent: deque[float] = deque(maxlen=_MEDIAN)
        self._window: deque[bool] = deque(maxlen=int(np.clip(horizon // 10, 8, 200)))
        self._high = 0
        self._level = math.nan
        self._noise = math.nan
        self._best = math.inf
        self._above = 0

    def update(self, loss: float) -> str:
        """Take the next loss; return why the run has diverged, or an empty string."""
        if not math.isfinite(loss):
            self._not_finite += 1
            return f"the loss became {loss}" if self._not_finite >= self._in_a_row else ""
        self._not_finite = 0
        if len(self._start) < self._start_steps:
            self._begin(loss)
            return ""
        self._recent.append(loss)
        if len(self._recent) == self._recent.maxlen:
            self._best = min(self._best, sorted(self._recent)[_MEDIAN // 2])
        descent = max(0.0, self._level - self._best)
        limit = self._level + max(_FAR * self._noise, _DESCENTS * descent, _RELATIVE_FLOOR * abs(self._level))
        return self._diverged(loss, limit)

    def update_all(self, losses: Sequence[float]) -> list[str]:
        """Take several losses, the same as one after the other; return what :meth:`update` returns for each."""
        # losses within the noise of the start change only what was reached
        alike = bool(losses) and math.isfinite(sum(losses)) and max(losses) <= self._clear
        if not alike or len(self._recent) < _MEDIAN or self._high or self._dwelt:
            return [self.update(loss) for loss in losses]
        near = [*self._recent, *losses][1:]
        self._best = min(self._best, *(sorted(near[at : at + _MEDIAN])[_MEDIAN // 2] for at in range(len(losses))))
        self._recent.extend(losses)
        self._window.extend([False] * len(losses))
        self._not_finite = 0
        return [""] * len(losses)

    @property
    def _dwelt(self) -> bool:
        """Whether half of the horizon was spent above the start."""
        return self._horizon is not None and self._above > max(self._horizon // 2, 20)

    @property
    def _clear(self) -> float:
        """Highest loss that is not clearly above the start."""
        return self._level + max(_CLEAR * self._noise, _RELATIVE_FLOOR * abs(self._level))

    def _begin(self, loss: float) -> None:
        self._start.append(loss)
        if len(self._start) < self._start_steps:
            return
        start = np.asarray(self._start)
        self._noise = 1.4826 * float(np.median(np.abs(np.diff(start)))) / math.sqrt(2)
        # The level of the first few: a rate that explodes immediately must not raise its own threshold.
        self._level = float(np.median(start[:5]))
        self._best = float(np.min(np.convolve(start, np.ones(5) / 5, mode="valid")))

    def _diverged(self, loss: float, limit: float) -> str:
        if len(self._window) == self._window.maxlen:
            self._high -= self._window[0]
        self._window.append(loss > limit)
        self._high += loss > limit
        width = self._window.maxlen or 0
        if 2 * self._high > width:
            return f"most of the last {width} losses lie above {limit:.4g}, far above the start at {self._level:.4g}"
        if self._horizon is None:
            return ""
        self._above += loss > self._clear
        if self._dwelt:
            return f"half of the horizon was spent above the start at {self._level:.4g}"
        return ""
