"""The way that the weights have come: how straight it was, and how far it led."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

__all__ = ["Way"]

_MOST = 64  # moments that are kept; twice as many are thinned
_UNKNOWN = 4  # steps between the first moments, where the horizon is unknown
_FEWEST = 8  # moments that a reading needs


class Way:
    """Keeps a sample of the weights at evenly spaced steps, and reads from it what single steps do not show.

    Args:
        weights: Returns the sample: shape ``(tensors, coordinates)``, a new tensor, on the device.
        steps: The horizon; None where it is unknown, then moments are thinned as they become many.
    """

    def __init__(self, weights: Callable[[], Tensor], steps: int | None) -> None:
        self._weights = weights
        self._every = max(1, steps // _MOST) if steps else _UNKNOWN
        self._kept: list[tuple[int, Tensor]] = [(0, weights())]

    def next(self, step: int) -> int:
        """Return after how many updates weights are kept the next time, ``step`` having been made."""
        return step - step % self._every + self._every

    def look(self, step: int) -> None:
        """Keep the weights after ``step`` updates, where it is time."""
        if step % self._every:
            return
        self._kept.append((step, self._weights()))
        if len(self._kept) > 2 * _MOST:
            self._kept = self._kept[::2]
            self._every *= 2

    def reading(self) -> tuple[float, float] | None:
        """Return how straight the way was and how far it led; waits for the device.

        With w(s) the weights after a share s of the steps so far, straightness is the cosine between
        w(1/2) - w(1/4) and w(1) - w(3/4): near 1 on a straight way, near 0 where steps wander, below where they turn
        back. Distance is the largest |w(1) - w(0)| / |w(0)| of a tensor that did not begin at zero.

        Returns:
            Straightness and distance; None of fewer than nine moments.
        """
        last = self._kept[-1][0]
        if len(self._kept) <= _FEWEST or last == 0:
            return None
        nearest = [min(self._kept, key=lambda one, s=share: abs(one[0] - s * last)) for share in (0.25, 0.5, 0.75)]  # type: ignore[misc]
        begin = self._kept[0][1].double()
        quarter, half, three, end = (one[1].double() - begin for one in (*nearest, self._kept[-1]))
        early, late = half - quarter, end - three
        length = early.square().sum().sqrt() * late.square().sum().sqrt()
        cosine = float((early * late).sum() / length) if float(length) > 0 else math.nan
        start = begin.square().sum(dim=1)
        moved = end.square().sum(dim=1)[start > 0]
        distance = float((moved / start[start > 0]).max().sqrt()) if moved.numel() else math.nan
        return cosine, distance
