"""What goes into a run and what comes out of it: plain data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

__all__ = ["Changes", "Divergence", "Evaluation", "Progress", "Run", "Setting", "Watcher"]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a run changes of its task beside the rate; None leaves the task's own.

    Args:
        optimizer: A name of the catalog.
        batch_size: Examples a batch; the horizon changes so that as many examples are seen.
        schedule: Its written form.
        warmup: The length of the schedule's warm-up: a share of the horizon (``0.05``), updates (whole numbers), or
            a written length (``"5%"``).
        momentum: Of the SGD family and RMSprop; the first beta of Adam and its kin.
        beta2: The second beta of Adam and its kin.
        weight_decay: Of the groups that decay; of all where none does.
        clip: The largest global gradient norm.

    Example:
        >>> Changes(momentum=0.8).given()
        {'momentum': 0.8}
    """

    optimizer: str | None = None
    batch_size: int | None = None
    schedule: str | None = None
    warmup: float | str | None = None
    momentum: float | None = None
    beta2: float | None = None
    weight_decay: float | None = None
    clip: float | None = None

    def given(self) -> dict[str, float | str]:
        """Return what is changed, by name."""
        return {name: value for name in _CHANGEABLE if (value := getattr(self, name)) is not None}


_CHANGEABLE = tuple(field.name for field in fields(Changes))


@dataclass(frozen=True)
class Setting:
    """What distinguishes one run of a task from another.

    Args:
        lr: The peak learning rate, absolute.
        seed: Of initial weights, batch order and dropout.
        steps: The horizon in updates; the task's schedule is stretched onto it, so that it decays in full.
        val_examples: How many examples of unseen data judge it, rounded up to whole batches; None takes all.
        changes: What else differs from the task.
    """

    lr: float
    seed: int
    steps: int
    val_examples: int | None = None
    changes: Changes = Changes()


@dataclass(frozen=True)
class Evaluation:
    """The loss and metrics on unseen data after ``step`` updates."""

    step: int
    loss: float
    metrics: Mapping[str, float]

    def judged(self, judge: str, *, maximize: bool = False) -> float:
        """Return the figure named ``judge`` (``"loss"`` or a metric), turned so that lower is better."""
        if judge == "loss":
            return self.loss
        return -self.metrics[judge] if maximize else self.metrics[judge]


@dataclass(frozen=True)
class Divergence:
    """At which update a run was given up as diverged, and why, as a sentence."""

    step: int
    reason: str


@dataclass(frozen=True)
class Progress:
    """Where a run is: told to whoever watches.

    ``loss`` is None while it is still on the device. ``stage`` tells runs from the range test before them, whose
    ``setting`` holds the rate of the moment.
    """

    setting: Setting
    step: int
    loss: float | None
    stage: Literal["range test", "run"] = "run"


Watcher: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True, eq=False)
class Run:
    """One training with one setting, and its recorded curve.

    Attributes:
        setting: What was trained.
        losses: The training loss of each update, shape ``(updates done,)``.
        evaluations: On unseen data, at the marks and at the end, as far as it came; empty without such data.
        divergence: Why and when it was given up; None where it was not.
        seconds: Wall time, in all.
        passes: Work in forward passes of one batch: an update counts three a batch, an evaluation one.
        initial: A digest of the initial weights.
        model: The trained model, where it was asked for.
    """

    setting: Setting
    losses: NDArray[np.float64]
    evaluations: tuple[Evaluation, ...]
    divergence: Divergence | None
    seconds: float
    passes: float
    initial: str
    model: nn.Module | None = None

    @property
    def status(self) -> str:
        """How it ended, as a sentence."""
        if self.divergence is not None:
            return f"Diverged at step {self.divergence.step}: {self.divergence.reason}."
        return f"Trained for {len(self.losses)} steps."

    @property
    def train_loss(self) -> float:
        """The mean training loss over the last tenth of the updates; infinite if it diverged."""
        if self.divergence is not None:
            return math.inf
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        return float(np.mean(tail[~np.isnan(tail)])) if not np.isnan(tail).all() else math.nan  # batches without a loss

    @property
    def val_loss(self) -> float:
        """The last loss on unseen data; infinite if it diverged, NaN where there are no such data."""
        if self.divergence is not None:
            return math.inf
        return self.evaluations[-1].loss if self.evaluations else math.nan

    def judged(self, judge: str, *, maximize: bool = False) -> float:
        """Return the figure that decides, turned so that lower is better; infinite if it diverged.

        ``judge`` is ``"loss"`` (unseen data where there are any, else training) or the name of a metric.
        """
        if self.divergence is not None:
            return math.inf
        return self.evaluations[-1].judged(judge, maximize=maximize) if self.evaluations else self.train_loss

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain values for ``json.dumps``; a figure that is not finite becomes None."""
        return {
            "lr": self.setting.lr,
            "seed": self.setting.seed,
            "steps": self.setting.steps,
            "status": self.status,
            "diverged_at_step": None if self.divergence is None else self.divergence.step,
            "train_loss": _plain(self.train_loss),
            "val_loss": _plain(self.val_loss),
            "evaluations": [
                {
                    "step": seen.step,
                    "loss": _plain(seen.loss),
                    "metrics": {k: _plain(v) for k, v in seen.metrics.items()},
                }
                for seen in self.evaluations
            ],
            "losses": [_plain(loss) for loss in self.losses.tolist()],
            "cost": {"seconds": self.seconds, "passes": self.passes},
        }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
