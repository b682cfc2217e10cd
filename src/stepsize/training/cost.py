"""What work costs, in one place, and never in seconds: in forward passes of a batch, and in full runs.

A backward pass counts as two forward passes, so an update counts three for each of its batches. A *full run* is one
training over the whole horizon with the evaluation at its end.
"""

from __future__ import annotations

from dataclasses import dataclass

_UPDATE = 3.0  # forward passes: a backward pass counts two
_VAL_SHARE = 0.15  # of the work of a short run, for its evaluation


def update_passes(batches: float) -> float:
    """Return the work of updates on ``batches`` batches in all, in forward passes of a batch."""
    return _UPDATE * batches


@dataclass(frozen=True)
class CostModel:
    """Cost of the runs of a task, given examples per batch and of its validation data (0 without).

    Example:
        >>> costs = CostModel(horizon=1000, accumulate=1, batch_size=32, val_examples=3200)
        >>> costs.full_passes, costs.run(1000), round(costs.run(100), 3)
        (3100.0, 1.0, 0.111)
    """

    horizon: int
    accumulate: int
    batch_size: int
    val_examples: int

    @property
    def full_passes(self) -> float:
        """The work of a full run, in forward passes of a batch."""
        return update_passes(self.horizon * self.accumulate) + self.val_examples / self.batch_size

    def full_runs(self, passes: float, batch_size: int | None = None) -> float:
        """Return what ``passes`` forward passes cost in full runs; those of larger batches cost more."""
        return passes * (batch_size or self.batch_size) / self.batch_size / self.full_passes

    def run(self, steps: int) -> float:
        """Return the cost of a run of ``steps`` updates with its evaluation, in full runs."""
        limit = self.val_limit(steps)
        examples = self.val_examples if limit is None else min(limit, self.val_examples)
        return (update_passes(steps * self.accumulate) + examples / self.batch_size) / self.full_passes

    def val_limit(self, steps: int | None) -> int | None:
        """Return how many validation examples a run of ``steps`` updates (None: none) is evaluated on; None is all."""
        if steps is not None and steps >= self.horizon:
            return None
        batches = (steps or max(1, self.horizon // 16)) * self.accumulate
        return max(1, int(_VAL_SHARE * update_passes(batches) * self.batch_size))
