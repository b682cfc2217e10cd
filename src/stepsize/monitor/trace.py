"""A signal over the steps of a run of any length, in memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]
Array = NDArray[np.float64]

_RECENT = 512  # values that are kept one by one
_BLOCKS = 1024  # twice as many are merged in pairs


@dataclass(frozen=True, eq=False)
class LossPoints:
    """Values and the steps that they belong to, in rising order."""

    steps: Whole
    values: Array

    def __len__(self) -> int:
        return len(self.steps)

    def finite(self) -> LossPoints:
        """Return those that are finite: one NaN in a window must not poison its mean."""
        return self._only(np.isfinite(self.values))

    def since(self, step: int) -> LossPoints:
        """Return those of ``step`` and later."""
        return self._only(self.steps >= step)

    def until(self, step: int) -> LossPoints:
        """Return those before ``step``."""
        return self._only(self.steps < step)

    def _only(self, keep: NDArray[np.bool_]) -> LossPoints:
        return LossPoints(self.steps[keep], self.values[keep])


class Blocks:
    """Sums of a signal over blocks of 1, 2, 4, … values, at most 2,048 of them.

    Values that are not finite count in the width of a block but not in its mean.
    """

    def __init__(self) -> None:
        self._width = 1  # values per block
        self._blocks: list[tuple[int, float, int]] = []  # first step, sum of the finite values, number of them
        self._open: tuple[int, float, int] = (0, 0.0, 0)
        self._filled = 0  # values in the open block, finite or not

    def extend(self, steps: Whole, values: Array) -> None:
        """Take values; bitwise the same however they are divided."""
        at = 0
        while at < len(values):
            whole = 0 if self._filled else min((len(values) - at) // self._width, 2 * _BLOCKS - len(self._blocks))
            took = whole * self._width if whole else min(self._width - self._filled, len(values) - at)
            part = slice(at, at + took)
            if whole:
                self._append(steps[part], values[part])
            else:
                self._fill(steps[part], values[part])
            at += took

    def history(self) -> LossPoints:
        """Return the first step and the mean of each block, the open one included; NaN if nothing is finite."""
        blocks = [*self._blocks, self._open] if self._filled else self._blocks
        means = [total / finite if finite else math.nan for _, total, finite in blocks]
        return LossPoints(
            np.array([first for first, _, _ in blocks], dtype=np.int64), np.array(means, dtype=np.float64)
        )

    def drop_since(self, step: int) -> None:
        """Drop the values of ``step`` and later, and with them the block that has values of both sides."""
        if not self._filled and not self._blocks:
            return
        every = [*self._blocks, self._open] if self._filled else self._blocks
        kept = [block for block in every if block[0] < step]
        self._blocks = kept if self._width == 1 else kept[:-1]
        self._filled = 0

    def to_arrays(self) -> tuple[Whole, Array, Whole, Whole]:
        """Return the whole state: first steps, sums and counts of all blocks and the open one; width and filling."""
        every = [*self._blocks, self._open if self._filled else (0, 0.0, 0)]
        firsts, sums, counts = zip(*every, strict=True)
        state = np.array([self._width, self._filled], dtype=np.int64)
        return np.array(firsts, dtype=np.int64), np.array(sums), np.array(counts, dtype=np.int64), state

    @classmethod
    def from_arrays(cls, firsts: Whole, sums: Array, counts: Whole, state: Whole) -> Blocks:
        """Return the blocks whose state :meth:`to_arrays` gave."""
        made = cls()
        made._width, made._filled = (int(one) for one in state)
        *made._blocks, made._open = zip(firsts.tolist(), sums.tolist(), counts.tolist(), strict=True)
        return made

    def _append(self, steps: Whole, values: Array) -> None:
        """Take values that fill whole blocks."""
        rows = values.reshape(-1, self._width)
        good = np.isfinite(rows)
        sums = np.add.accumulate(np.where(good, rows, 0.0), axis=1)[:, -1]  # in order, as one by one: no pairwise sum
        self._blocks += zip(steps[:: self._width].tolist(), sums.tolist(), good.sum(axis=1).tolist(), strict=True)
        self._merge()

    def _fill(self, steps: Whole, values: Array) -> None:
        """Take values that lie within the open block."""
        first, total, finite = self._open if self._filled else (int(steps[0]), 0.0, 0)
        good = values[np.isfinite(values)]
        total = float(np.add.accumulate([total, *good])[-1])
        self._open = (first, total, finite + len(good))
        self._filled += len(values)
        if self._filled == self._width:
            self._close()

    def _close(self) -> None:
        self._blocks.append(self._open)
        self._filled = 0
        self._merge()

    def _merge(self) -> None:
        if len(self._blocks) < 2 * _BLOCKS:
            return
        pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
        self._blocks = [(one[0], one[1] + two[1], one[2] + two[2]) for one, two in pairs]
        self._width *= 2


class Trace:
    """A signal: its last 512 values one by one, and all of them as means of equally long blocks."""

    def __init__(self) -> None:
        self.peak = -math.inf  # largest finite value
        self._steps = np.empty(2 * _RECENT, dtype=np.int64)
        self._values = np.empty(2 * _RECENT)
        self._end = 0  # of the recent values within these
        self._kept = 0  # of those that are in the blocks already
        self._blocks = Blocks()

    def add(self, step: int, value: float) -> None:
        """Take the value of ``step``, which must not lie before the last one."""
        if self._end == len(self._values):
            self._make_room()
        self._steps[self._end], self._values[self._end] = step, value
        self._end += 1
        if math.isfinite(value):
            self.peak = max(self.peak, value)

    def extend(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Take several values; the same as one after the other."""
        numbers, points = np.asarray(steps, dtype=np.int64), np.asarray(values, dtype=np.float64)
        at = 0
        while at < len(points):
            if self._end == len(self._values):
                self._make_room()
            count = min(len(points) - at, len(self._values) - self._end)
            taken, room = slice(at, at + count), slice(self._end, self._end + count)
            self._steps[room], self._values[room] = numbers[taken], points[taken]
            self._end, at = self._end + count, at + count
        self.peak = max(self.peak, float(points[np.isfinite(points)].max(initial=-math.inf)))

    def _make_room(self) -> None:
        self._fill_blocks()
        for kept in (self._steps, self._values):
            kept[:_RECENT] = kept[_RECENT:]
        self._end = self._kept = _RECENT

    def _fill_blocks(self) -> None:
        new = slice(self._kept, self._end)
        self._blocks.extend(self._steps[new], self._values[new])
        self._kept = self._end

    def drop_since(self, step: int, peak: float) -> None:
        """Drop the values of ``step`` and later; ``peak`` is the largest value before."""
        if self._end and self._steps[self._end - 1] >= step:
            self._fill_blocks()
            self._blocks.drop_since(step)
            self._end = self._kept = int(np.searchsorted(self._steps[: self._end], step))
            self.peak = peak

    @property
    def last(self) -> float:
        """The last value; NaN before the first."""
        return float(self._values[self._end - 1]) if self._end else math.nan

    def recent(self, most: int = _RECENT) -> LossPoints:
        """Return the last values, at most ``most`` of them."""
        part = slice(max(0, self._end - min(most, _RECENT)), self._end)
        return LossPoints(self._steps[part].copy(), self._values[part].copy())

    def history(self) -> LossPoints:
        """Return the means of all blocks, the open one included."""
        self._fill_blocks()
        return self._blocks.history()

    def state_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        self._fill_blocks()
        recent = self.recent()
        return {
            "peak": self.peak,
            "steps": recent.steps.tolist(),
            "values": recent.values.tolist(),
            "blocks": [part.tolist() for part in self._blocks.to_arrays()],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Trace:
        """Return the trace that :meth:`state_dict` described."""
        made = cls()
        made._end = made._kept = len(state["steps"])
        made._steps[: made._end], made._values[: made._end] = state["steps"], state["values"]
        made.peak = float(state["peak"])
        firsts, sums, counts, filled = state["blocks"]
        whole = [np.array(part, dtype=np.int64) for part in (firsts, counts, filled)]
        made._blocks = Blocks.from_arrays(whole[0], np.array(sums, dtype=np.float64), whole[1], whole[2])
        return made
