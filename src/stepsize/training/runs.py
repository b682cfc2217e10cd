"""What goes into a run and what comes out of it, from the loop to the store: plain data, without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from stepsize.plain import plain
from stepsize.views import Chart, Pictured, draw, run_info

if TYPE_CHECKING:
    from torch import nn

Value: TypeAlias = float | int | str
_START = 5  # losses whose median is the start
_UNREAD = float("nan")  # this very object, unlike a NaN that was given


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a run changes of its task in addition to the rate; None leaves the task's own.

    Args:
        optimizer: Name in the catalog.
        batch_size: Examples per batch; the horizon changes so that as many examples are seen.
        schedule: Written form of the schedule.
        warmup: Length of the schedule's warmup: a fraction of the horizon (``0.05``), steps (whole numbers), or
            a written length (``"5%"``).
        momentum: Momentum of the SGD family and RMSprop; beta1 of Adam-type optimizers.
        beta2: beta2 of Adam-type optimizers.
        weight_decay: Weight decay of the groups that decay, or of all if none does.
        clip: Largest global gradient norm.

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
    """Configuration of one run of a task.

    Args:
        lr: Peak learning rate, absolute.
        seed: Random seed for weight initialization, batch order and dropout.
        steps: Horizon in steps; the task's schedule is stretched onto it, so that it decays in full.
        val_examples: Validation examples to evaluate on, rounded up to whole batches; None takes all.
        changes: Other differences from the task.
    """

    lr: float
    seed: int
    steps: int
    val_examples: int | None = None
    changes: Changes = Changes()


@dataclass(frozen=True)
class Evaluation:
    """Loss and metrics on validation data after ``step`` updates."""

    step: int
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def objective(self, name: str, *, maximize: bool = False) -> float:
        """Return the objective ``name`` (``"loss"`` or a metric), signed so that lower is better."""
        if name == "loss":
            return self.loss
        return -self.metrics[name] if maximize else self.metrics[name]


@dataclass(frozen=True)
class Divergence:
    """The step at which a run was stopped as diverged, and the reason as a sentence."""

    step: int
    reason: str


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    ``loss`` is None while it is still on the device. ``stage`` separates runs from the range test before them, whose
    ``setting`` holds the present rate.
    """

    setting: Setting
    step: int
    loss: float | None
    stage: Literal["range test", "run"] = "run"

    @property
    def fraction(self) -> float:
        """The fraction of the steps that are done, in [0, 1]."""
        return self.step / self.setting.steps


Watcher: TypeAlias = Callable[[Progress], None]


@dataclass(frozen=True)
class Trial:
    """One point of what a study searches.

    Attributes:
        number: Number from 0, in the order of proposal.
        values: Chosen values by name: ``"lr"`` always, the others are names of :class:`Changes`.
    """

    number: int
    values: Mapping[str, Value]

    @property
    def lr(self) -> float:
        """Peak rate, absolute."""
        return float(self.values["lr"])


_OWN_TRIAL = Trial(0, {})  # of a run outside a study
_COUNTED: NDArray[np.int64] = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Run(Pictured):
    """One run: what the loop records, a strategy reads, and the store saves.

    Figures that are not given are computed from the curves; for a run that diverged they are infinite.

    Attributes:
        setting: Its configuration.
        losses: Training loss of each update, shape ``(updates made,)``; one from a store may be thinned.
        evaluations: Evaluations on validation data, as far as it came; empty without such data.
        divergence: When and why it was stopped as diverged; None otherwise.
        seconds: Wall time; its share if several were trained together.
        passes: Work in forward passes of one batch: see :mod:`stepsize.training.cost`.
        initial: Digest of the initial weights.
        model: The trained model, if requested.
        value: Objective value, lower is better; NaN if there is none.
        train_loss: Mean training loss over the last tenth of the updates; NaN if unknown.
        val_loss: Last validation loss; NaN without validation data.
        cost: Cost in full runs; 0 if not counted.
        trial: The point of its study that it trained; outside a study, number 0.
        share: Horizon, as a fraction of the full one, in (0, 1].
        steps: Steps at which ``losses`` were taken, same shape.
        id: Id of its row in the store; None if it does not come from one.
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
        """Peak rate, absolute."""
        return self.setting.lr

    @property
    def seed(self) -> int:
        """Random seed of weight initialization, batch order and dropout."""
        return self.setting.seed

    @property
    def key(self) -> tuple[int, float, int]:
        """What distinguishes it from all others of its study: trial number, share, seed."""
        return (self.trial.number, self.share, self.setting.seed)

    @property
    def diverged(self) -> bool:
        """Whether it was stopped as diverged."""
        return self.divergence is not None

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

    def __repr__(self) -> str:
        return f"<Run: lr {self.lr:.3g}, seed {self.seed}, value {self.value:.6g}. {self.status}>"

    def plot(
        self, title: str = "Loss vs. step", conditions: str = "", *, lrs: Sequence[float] | NDArray[np.float64] = ()
    ) -> Chart:
        """Return the chart of its training and validation losses, and of the learning rate at each of its ``steps``."""
        return draw(
            run_info(
                self.losses,
                steps=self.steps,
                lrs=lrs,
                val_steps=[one.step for one in self.evaluations],
                val_losses=[one.loss for one in self.evaluations],
                diverged_step=None if self.divergence is None else self.divergence.step,
                title=title,
                subtitle=f"{conditions} {self.status}".strip(),
            )
        )

    def objective(self, name: str, *, maximize: bool = False) -> float:
        """Return the objective ``name``, signed so that lower is better; infinite if it diverged.

        ``"loss"`` is the validation loss, or the training loss without validation data; others are metrics.
        """
        if self.divergence is not None:
            return math.inf
        return self.evaluations[-1].objective(name, maximize=maximize) if self.evaluations else self.train_loss

    def with_objective(self, name: str, *, maximize: bool = False) -> Run:
        """Return it with the objective ``name`` as its value."""
        return replace(self, value=self.objective(name, maximize=maximize))

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain values for ``json.dumps``; a figure that is not finite becomes None."""
        told = {
            "lr": self.setting.lr,
            "seed": self.setting.seed,
            "steps": self.setting.steps,
            "status": self.status,
            "diverged_at_step": None if self.divergence is None else self.divergence.step,
            "train_loss": self.train_loss,
            "val_loss": self.val_loss,
            "evaluations": self.evaluations,
            "losses": self.losses,
            "cost": {"seconds": self.seconds, "passes": self.passes},
        }
        return cast("dict[str, Any]", plain(told))
