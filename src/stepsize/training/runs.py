"""What goes into a run and what comes out of it, from the loop to the store: plain data, without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Changes", "Divergence", "Evaluation", "Progress", "Run", "Setting", "Trial", "Value", "Watcher"]

Value: TypeAlias = float | int | str
_START = 5  # losses whose median is the start
_UNREAD = float("nan")  # told from a NaN that was given by being this very object


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
    metrics: Mapping[str, float] = field(default_factory=dict)

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


@dataclass(frozen=True)
class Trial:
    """One point of what a study searches.

    Attributes:
        number: From 0, in the order of proposal.
        values: What was chosen, by name; ``"lr"`` is always there, the others are names of :class:`Changes`.
    """

    number: int
    values: Mapping[str, Value]

    @property
    def lr(self) -> float:
        """The peak rate, absolute."""
        return float(self.values["lr"])


_OWN_TRIAL = Trial(0, {})  # of a run outside of a study
_COUNTED: NDArray[np.int64] = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Run:
    """One run with one setting: what the loop records, a strategy is told, and the store keeps.

    Figures that are not given are read off the curves; of a run that diverged they are infinite.

    Attributes:
        setting: What was trained.
        losses: The training loss of each update, shape ``(updates done,)``; one from a store may be thinned.
        evaluations: On unseen data, at the marks and at the end, as far as it came; empty without such data.
        divergence: Why and when it was given up; None where it was not.
        seconds: Wall time, in all; its share where several ran at once.
        passes: Work in forward passes of one batch: see :mod:`stepsize.training.cost`.
        initial: A digest of the initial weights.
        model: The trained model, where it was asked for.
        value: The objective, lower is better; NaN where there is none.
        train_loss: The mean training loss over the last tenth of the updates; NaN where it is not known.
        val_loss: The last loss on unseen data; NaN where there are no such data.
        cost: In full runs; 0 where nobody counted.
        trial: Which point of its study it trained; outside of one, number 0.
        share: The horizon, as a share of the full one, in (0, 1].
        steps: Numbers of updates at which ``losses`` were taken, shape as theirs.
        id: Of its row in the store; None where it does not come from one.
    """

    setting: Setting
    losses: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    evaluations: tuple[Evaluation, ...] = ()
    divergence: Divergence | None = None
    seconds: float = 0.0
    passes: float = 0.0
    initial: str = ""
    model: nn.Module | None = None
    value: float = _UNREAD
    train_loss: float = _UNREAD
    val_loss: float = _UNREAD
    cost: float = 0.0
    trial: Trial = _OWN_TRIAL
    share: float = 1.0
    steps: NDArray[np.int64] = field(default_factory=lambda: _COUNTED)
    id: int | None = None

    def __post_init__(self) -> None:
        def settle(**values: Any) -> None:
            for name, value in values.items():
                object.__setattr__(self, name, value)

        if self.trial is _OWN_TRIAL:
            settle(trial=Trial(0, {"lr": self.setting.lr, **self.setting.changes.given()}))
        if self.steps is _COUNTED:
            settle(steps=np.arange(len(self.losses)))
        if self.divergence is not None:
            settle(value=math.inf, train_loss=math.inf, val_loss=math.inf)
            return
        if self.train_loss is _UNREAD and len(self.losses):
            tail = self.losses[-max(1, len(self.losses) // 10) :]
            known = tail[~np.isnan(tail)]  # batches without a loss say nothing
            settle(train_loss=float(np.mean(known)) if len(known) else math.nan)
        if self.val_loss is _UNREAD and self.evaluations:
            settle(val_loss=self.evaluations[-1].loss)
        if self.value is _UNREAD:
            settle(value=self.val_loss if self.evaluations else self.train_loss)

    @property
    def lr(self) -> float:
        """The peak rate, absolute."""
        return self.setting.lr

    @property
    def seed(self) -> int:
        """Of initial weights, batch order and dropout."""
        return self.setting.seed

    @property
    def key(self) -> tuple[int, float, int]:
        """What tells it from all others of its study: trial number, share, seed."""
        return (self.trial.number, self.share, self.setting.seed)

    @property
    def diverged(self) -> bool:
        """Whether it was given up as diverged."""
        return self.divergence is not None

    @property
    def diverged_at(self) -> float | None:
        """The share of its updates after which it was given up as diverged; None where it was not."""
        return None if self.divergence is None else min(1.0, self.divergence.step / self.setting.steps)

    @property
    def counted(self) -> bool:
        """Whether there is a loss for each update: it was not thinned."""
        return not len(self.steps) or int(self.steps[-1]) + 1 == len(self.steps)

    @property
    def status(self) -> str:
        """How it ended, as a sentence."""
        if self.divergence is not None:
            return f"Diverged at step {self.divergence.step}: {self.divergence.reason}."
        trained = f"Trained for {int(self.steps[-1]) + 1 if len(self.steps) else self.setting.steps} steps."
        start = float(np.median(self.losses[:_START])) if len(self.losses) >= 2 * _START else math.inf
        if not self.train_loss > start:
            return trained
        return f"{trained} The training loss ended above its start: {self.train_loss:.3g}, {start:.3g} at the start."

    def judged(self, judge: str, *, maximize: bool = False) -> float:
        """Return the figure that decides, turned so that lower is better; infinite if it diverged.

        ``judge`` is ``"loss"`` (unseen data where there are any, else training) or the name of a metric.
        """
        if self.divergence is not None:
            return math.inf
        return self.evaluations[-1].judged(judge, maximize=maximize) if self.evaluations else self.train_loss

    def judged_by(self, judge: str, *, maximize: bool = False) -> Run:
        """Return it with the figure that :meth:`judged` returns as its objective."""
        return replace(self, value=self.judged(judge, maximize=maximize))

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
