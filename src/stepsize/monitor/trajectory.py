"""The trajectory of the weights: how straight it is, and how far it leads."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

_MOST = 64  # points that are kept; twice as many are thinned
_UNKNOWN = 4  # steps between the first points, if the horizon is unknown
_FEWEST = 8  # points that a reading needs


class WeightTrajectory:
    """Keeps a sample of the weights at evenly spaced steps, and reads from it what single steps do not show.

    Args:
        weights: Returns the sample: shape ``(tensors, coordinates)``, a new tensor, on the device.
        steps: Horizon; None if unknown: then points are thinned as they become many.
    """

    def __init__(self, weights: Callable[[], Tensor], steps: int | None) -> None:
        self._weights = weights
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

    def reading(self) -> tuple[float, float] | None:
        """Return straightness and distance, with device synchronization; None of fewer than nine points.

        With w(s) the weights after a fraction s of the steps so far, straightness is the cosine between
        w(1/2) - w(1/4) and w(1) - w(3/4): near 1 on a straight line, near 0 without a common direction, negative if
        the weights turn back. Distance is the largest |w(1) - w(0)| / |w(0)| of a tensor that did not begin at zero.
        """
        last = self._kept[-1][0]
        if len(self._kept) <= _FEWEST or last == 0:
            return None
        nearest = [min(self._kept, key=lambda one, s=part: abs(one[0] - s * last)) for part in (0.25, 0.5, 0.75)]  # type: ignore[misc]
        begin = self._kept[0][1].double()
        quarter, half, three, end = (one[1].double() - begin for one in (*nearest, self._kept[-1]))
        early, late = half - quarter, end - three
        norms = early.square().sum().sqrt() * late.square().sum().sqrt()
        cosine = float((early * late).sum() / norms) if float(norms) > 0 else math.nan
        start = begin.square().sum(dim=1)
        moved = end.square().sum(dim=1)[start > 0]
        distance = float((moved / start[start > 0]).max().sqrt()) if moved.numel() else math.nan
        return cosine, distance
