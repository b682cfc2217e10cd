"""The long history of a signal: means of equally long blocks, whose number does not grow."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks"]

_BLOCKS = 1024  # twice as many are merged in pairs

Whole = NDArray[np.int64]
Array = NDArray[np.float64]


class Blocks:
    """Sums of a signal over blocks of 1, 2, 4, … values, at most 2,048 of them.

    Values that are not finite are counted in the width of a block and left out of its mean.

    Example:
        >>> blocks = Blocks()
        >>> blocks.extend(np.arange(5_000), np.ones(5_000))
        >>> steps, means = blocks.history()
        >>> len(steps), float(means.max())
        (1250, 1.0)
    """

    def __init__(self) -> None:
        self._width = 1  # values a block
        self._blocks: list[tuple[int, float, int]] = []  # first step, sum of the finite, how many are finite
        self._open: tuple[int, float, int] = (0, 0.0, 0)
        self._filled = 0  # values in the open block, finite or not

    def add(self, step: int, value: float) -> None:
        """Take one value."""
        good = math.isfinite(value)
        first, total, finite = self._open if self._filled else (step, 0.0, 0)
        self._open = (first, total + value if good else total, finite + good)
        self._filled += 1
        if self._filled == self._width:
            self._close()

    def extend(self, steps: Whole, values: Array) -> None:
        """Take many values at once; the same as one after the other, to the last bit."""
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

    def history(self) -> tuple[Whole, Array]:
        """Return the first step and the mean of each block, the open one included; NaN where nothing is finite."""
        blocks = [*self._blocks, self._open] if self._filled else self._blocks
        steps = np.array([first for first, _, _ in blocks], dtype=np.int64)
        means = [total / finite if finite else math.nan for _, total, finite in blocks]
        return steps, np.array(means, dtype=np.float64)

    def to_arrays(self) -> tuple[Whole, Array, Whole, Whole]:
        """Return its whole state: first steps, sums and counts of all blocks and the open one; width and filling."""
        every = [*self._blocks, self._open if self._filled else (0, 0.0, 0)]
        firsts, sums, counts = zip(*every, strict=True)
        state = np.array([self._width, self._filled], dtype=np.int64)
        return np.array(firsts, dtype=np.int64), np.array(sums), np.array(counts, dtype=np.int64), state

    @classmethod
    def from_arrays(cls, firsts: Whole, sums: Array, counts: Whole, state: Whole) -> Blocks:
        """Return the blocks that :meth:`to_arrays` gave the state of."""
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
