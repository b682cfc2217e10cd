"""The trajectory of the weights: how straight it is, and how far it leads."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_MOST = 64  # points that are kept; twice as many are thinned
_UNKNOWN = 4  # steps between the first points, if the horizon is unknown
_FEWEST = 8  # points that a reading needs


class WeightTrajectory:
    """Keeps a sample of the weights at evenly spaced steps, and reads from it what single steps do not show.

    Without a horizon, points are thinned as they become many.
    """

    def __init__(self, weights: Callable[[], Tensor], by_tensor: Callable[[Tensor], Tensor], steps: int | None) -> None:
        self._weights, self._by_tensor = weights, by_tensor  # what is kept, and what a reading makes of several
        self._every = max(1, steps // _MOST) if steps else _UNKNOWN
        self._kept: list[tuple[int, Tensor]] = [(0, weights())]

    def next(self, step: int) -> int:
        """Return the step after ``step`` at which weights are kept."""
        return step - step % self._every + self._every

    def note(self, step: int) -> None:
        """Keep the weights after ``step`` updates, if it is time."""
        if step % self._every:
            return
        self._kept.append((step, self._weights()))
        if len(self._kept) > 2 * _MOST:
            self._kept = self._kept[::2]
            self._every *= 2

    def roll_back(self, step: int) -> None:
        """Drop the weights after more than ``step`` updates."""
        self._kept = [one for one in self._kept if one[0] <= step]

    def reading(self) -> dict[str, float] | None:
        """Return what the trajectory says so far, with device synchronization; None of fewer than nine points.

        With w(s) the weights after a fraction s of the steps so far, straightness is the cosine between
        w(1/2) - w(1/4) and w(1) - w(3/4): near 1 on a straight line, near 0 without a common direction, negative if
        the weights turn back. Slowing is the length of the second of them over that of the first. Efficiency is
        |w(1) - w(0)| over the length of the way in eight pieces: 1 on a straight line. Distance is the largest
        |w(1) - w(0)| / |w(0)| of a tensor that did not begin at zero; growth is |w(1)| / |w(0)|.
        """
        last = self._kept[-1][0]
        if len(self._kept) <= _FEWEST or last == 0:
            return None
        points = [min(self._kept, key=lambda one, s=n: abs(one[0] - s / _FEWEST * last))[1] for n in range(_FEWEST + 1)]  # type: ignore[misc]
        return reading_of(self._by_tensor(torch.stack(points)))


def reading_of(way: Tensor) -> dict[str, float]:
    """Return the reading of nine evenly spaced points of the weights, shape ``(9, tensors, coordinates)``."""
    way = way.double()
    quarter, half, three, end = (way[n] for n in (2, 4, 6, 8))
    early, late, whole = half - quarter, end - three, end - way[0]
    start, moved = way[0].square().sum(dim=1), whole.square().sum(dim=1)
    pieces = way.diff(dim=0).square().sum(dim=(1, 2)).sqrt().sum()
    began = start > 0
    numbers = torch.stack([
        (early * late).sum() / (early.norm() * late.norm()),
        late.norm() / early.norm(),
        moved.sum().sqrt() / pieces,
        (end.square().sum() / start.sum()).sqrt(),
        (moved[began] / start[began]).max().sqrt() if bool(began.any()) else moved.new_tensor(math.nan),
    ])  # fmt: skip
    names = ("straightness", "slowing", "efficiency", "growth", "distance")
    return dict(zip(names, numbers.tolist(), strict=True))
