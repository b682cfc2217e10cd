"""Everything that is needed to train once, except the learning rate."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.errors import TaskError
from stepsize.optimizers import OPTIMIZERS, optimizer_factory, optimizer_title
from stepsize.schedules import Clock, Schedule, parse
from stepsize.training.batches import TensorBatches, length_of
from stepsize.training.losses import as_loss

__all__ = ["Metric", "Precision", "Task"]

Precision = Literal["fp32", "bf16", "fp16"]
_MOST_STEPS = 100_000_000
LossArguments = Literal["auto", "output", "model"]


@dataclass(frozen=True)
class Metric:
    """A figure of merit on unseen data, and which way is better.

    Args:
        of: ``of(output, target)`` or ``of(model, batch)``, in the form of the task's loss; returns the mean
            over the batch.
        maximize: Whether a higher value is better.

    Example:
        >>> accuracy = Metric(lambda output, target: (output.argmax(-1) == target).float().mean(), maximize=True)
        >>> float(accuracy.of(torch.eye(3), torch.tensor([0, 1, 1])))  # doctest: +ELLIPSIS
        0.666...
    """

    of: Callable[[Any, Any], Any]
    maximize: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Everything that is needed to train once, except the learning rate.

    Args:
        model: A function without arguments that returns a new model; called under the run's seed.
        loss: ``loss(output, target)`` on ``output = model(*inputs)`` and the last element of the batch, or
            ``loss(model, batch)`` for anything else; returns a scalar, the mean over the batch, or an object with
            a ``loss``, or a dict with a ``"loss"``, or a dict of losses, which are added up.
        train: A re-iterable of batches (a list, a DataLoader, ...), or a tuple of tensors ``(x, ..., y)`` of
            equal length, which is cut into shuffled batches of ``batch_size``.
        val: Unseen data in the same form; None leaves the training loss as the only judge.
        optimizer: A name of the catalog, or ``f(params, lr)`` returning an optimizer whose groups' rates are
            proportional to ``lr``.
        steps: The horizon, in optimizer updates; give this or ``epochs``.
        epochs: The horizon, in passes over ``train``, which then must have a length.
        schedule: A :class:`~stepsize.schedules.Schedule`, whose open durations (``"5%"``, ``"2ep"``, the rest) are
            settled over the horizon; its written form (``"cosine warmup=5%"``); or a callable from step to
            factor (>= 0). None is constant.
        metrics: Further figures on unseen data by name: a :class:`Metric`, or a bare function that is only
            reported.
        judge: What decides between rates: ``"loss"`` (of ``val``), or the name of a :class:`Metric`.
        clip: The largest global gradient norm; None does not clip.
        accumulate: Batches an update; the update uses their mean gradient.
        precision: ``"fp32"``, ``"bf16"`` (autocast) or ``"fp16"`` (autocast with a gradient scaler).
        device: Where to train; None takes CUDA where there is one.
        seed: Of the first run: initial weights, batch order, dropout.
        batch_size: Examples a batch where data are given as tensors.
        loss_takes: ``"output"`` or ``"model"`` says which form ``loss`` has; ``"auto"`` reads it from the
            name of its first parameter (``model``, ``module`` or ``net`` mean the second form). Where the form does
            not work on the first batch and the other one does, the other is taken.
        name: What to call the task in reports.

    Attributes:
        given_schedule: The schedule as it was given, before its open durations were settled.

    Raises:
        TaskError: If an argument breaks its rule; the message names the argument.

    Example:
        >>> x = torch.randn(64, 3)
        >>> task = Task(model=lambda: nn.Linear(3, 1), loss=nn.functional.mse_loss, train=(x, x.sum(1, keepdim=True)),
        ...             optimizer="sgd", steps=20)
        >>> task.horizon
        20
    """

    model: Callable[[], nn.Module]
    loss: Callable[..., Tensor]
    train: Iterable[Any]
    val: Iterable[Any] | None = None
    optimizer: str | Callable[[Iterable[Any], float], Optimizer] = "adamw"
    steps: int | None = None
    epochs: float | None = None
    schedule: Schedule | str | Callable[[int], float] | None = None
    metrics: Mapping[str, Metric | Callable[[Any, Any], Any]] = field(default_factory=dict)
    judge: str = "loss"
    clip: float | None = None
    accumulate: int = 1
    precision: Precision = "fp32"
    device: torch.device | str | None = None
    seed: int = 0
    batch_size: int = 32
    loss_takes: LossArguments = "auto"
    name: str = "task"
    given_schedule: Schedule | Callable[[int], float] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        _check_callables(self)
        _check_numbers(self)
        set_field = object.__setattr__  # the dataclass is frozen for everyone else
        set_field(self, "device", _device(self.device))
        set_field(self, "train", _batches("train", self.train, self.batch_size, shuffle=True))
        if self.val is not None:
            set_field(self, "val", _batches("val", self.val, self.batch_size, shuffle=False))
        set_field(self, "loss_takes", _loss_takes(self.loss, self.loss_takes))
        set_field(self, "steps", _horizon(self))
        if isinstance(self.schedule, str):
            set_field(self, "schedule", parse(self.schedule))
        set_field(self, "given_schedule", self.schedule)
        if isinstance(self.schedule, Schedule):
            set_field(self, "schedule", self.schedule.over(self.horizon, _clock(self)))
        _check_schedule(self.factor, self.horizon)
        _check_metrics(self)

    @classmethod
    def from_lightning(
        cls, module: Any, data: Any = None, *, val: Any = None, trainer: Any = None, **changes: Any
    ) -> Self:
        """Return the task that a ``LightningModule`` describes: its steps, its optimizer, its schedule, its data.

        Args:
            module: A LightningModule, of which each run trains a copy, or a function that returns a new one.
            data: A LightningDataModule, or batches to train on; default the module's own loaders.
            val: Batches of validation data; default those of the data module, or none.
            trainer: A ``Trainer`` whose clipping, accumulation, precision and horizon are taken.
            changes: Further arguments of a task, such as ``epochs=``, which come first.

        Returns:
            A task. The ratios between the rates of parameter groups are kept; a ``ReduceLROnPlateau`` is left out.

        Raises:
            TaskError: If the parts do not fit, or there are several optimizers.

        Example:
            ```python
            found = stepsize.find(Task.from_lightning(module, datamodule, trainer=trainer))
            ```
        """
        return cls(**_trainers().lightning_arguments(module, data, val, trainer, changes))

    @classmethod
    def from_trainer(cls, trainer: Any, **changes: Any) -> Self:
        """Return the task that a ``Trainer`` of transformers describes; the trainer is left as it is.

        Args:
            trainer: One that has not been trained; of its model each run trains a copy, or what ``model_init`` returns.
            changes: Arguments of a task, such as ``epochs=``, which come first.

        Returns:
            A task with the trainer's loss, optimizer, schedule, clipping, accumulation, precision and horizon. The
            ratios between the rates of parameter groups are kept.

        Raises:
            TaskError: If the parts do not fit.

        Example:
            ```python
            found = stepsize.find(Task.from_trainer(trainer))
            ```
        """
        return cls(**_trainers().trainer_arguments(trainer, changes))

    @property
    def horizon(self) -> int:
        """The number of updates of a full training."""
        assert self.steps is not None  # settled in __post_init__
        return self.steps

    @property
    def factor(self) -> Callable[[int], float] | None:
        """The schedule over the horizon, as a callable from step to factor; None is constant."""
        assert not isinstance(self.schedule, str)  # read in __post_init__
        return self.schedule

    @property
    def maximize(self) -> bool:
        """Whether a higher value of the judge is better."""
        judge = self.metrics.get(self.judge)
        return isinstance(judge, Metric) and judge.maximize

    @property
    def optimizer_name(self) -> str:
        """What to call the optimizer in reports."""
        return optimizer_title(self.optimizer)

    @property
    def schedule_name(self) -> str:
        """What to call the schedule in reports."""
        if self.schedule is None:
            return "constant"
        name = getattr(self.schedule, "__name__", None)
        return name if name is not None else str(self.schedule)

    def compute_loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the loss of ``model`` on ``batch``, a tensor of shape ``()``."""
        return as_loss(self._compute(self.loss, model, batch), training=model.training)

    def compute_metric(self, name: str, model: nn.Module, batch: Any) -> Any:
        """Return the metric ``name`` of ``model`` on ``batch``."""
        metric = self.metrics[name]
        return self._compute(metric.of if isinstance(metric, Metric) else metric, model, batch)

    def _compute(self, function: Callable[..., Any], model: nn.Module, batch: Any) -> Any:
        if self.loss_takes == "model":
            return function(model, batch)
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise TaskError(
                "train",
                type(batch).__name__,
                "must yield (input, ..., target) batches where the loss is loss(output, target)",
                "For batches of another form give loss(model, batch)",
            )
        return function(model(*batch[:-1]), batch[-1])


def _trainers() -> Any:
    """Return the module that reads tasks off trainers: loaded on use, and above this one."""
    return importlib.import_module("stepsize.training.from_trainers")


def _check_callables(task: Task) -> None:
    if isinstance(task.model, nn.Module):
        raise TaskError(
            "model",
            type(task.model).__name__ + " instance",
            "must be a function without arguments that returns a new model",
            "To start every run from these weights pass model=lambda: copy.deepcopy(model)",
        )
    for argument in ("model", "loss"):
        if not callable(getattr(task, argument)):
            raise TaskError(argument, getattr(task, argument), "must be callable")
    if isinstance(task.optimizer, str):
        optimizer_factory(task.optimizer)
    elif isinstance(task.optimizer, Optimizer) or not callable(task.optimizer):
        raise TaskError(
            "optimizer",
            task.optimizer,
            f"must be a name ({', '.join(OPTIMIZERS)}) or a function f(params, lr) that returns an optimizer",
        )
    if not (task.schedule is None or isinstance(task.schedule, str) or callable(task.schedule)):
        raise TaskError("schedule", task.schedule, "must be a Schedule, its written form, a callable, or None")


def _check_numbers(task: Task) -> None:
    if task.clip is not None and not _is_positive(task.clip):
        raise TaskError("clip", task.clip, "must be a positive gradient norm, or None")
    if task.precision not in ("fp32", "bf16", "fp16"):
        raise TaskError("precision", task.precision, "must be 'fp32', 'bf16' or 'fp16'")
    for argument, unit, least in (
        ("accumulate", " of batches", 1),
        ("seed", "", 0),
        ("batch_size", " of examples", 1),
    ):
        if not _is_whole(getattr(task, argument), least):
            raise TaskError(argument, getattr(task, argument), f"must be a whole number{unit}, at least {least}")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _device(device: torch.device | str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise TaskError("device", device, "must be a torch device, for example 'cpu' or 'cuda:0'") from None


def _batches(argument: str, data: Any, batch_size: int, *, shuffle: bool) -> Iterable[Any]:
    if isinstance(data, tuple) and data and all(isinstance(part, Tensor) for part in data):
        lengths = [len(part) if part.ndim else 0 for part in data]
        if len(set(lengths)) > 1:
            raise TaskError(argument, lengths, "given as tensors must share their first dimension")
        if lengths[0] == 0:
            raise TaskError(argument, lengths, "must hold at least one example")
        return TensorBatches(data, batch_size, shuffle=shuffle)
    if isinstance(data, Iterator):
        raise TaskError(
            argument,
            type(data).__name__,
            "must be iterable more than once, since every run reads it from the start",
            "Pass a list of batches or an object with __iter__, such as a DataLoader",
        )
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | Tensor):
        raise TaskError(argument, data, "must be a re-iterable of batches or a tuple of tensors")
    if length_of(data) == 0:
        raise TaskError(argument, f"a {type(data).__name__} of length 0", "must yield at least one batch")
    return data


def _loss_takes(loss: Callable[..., Any], given: LossArguments) -> LossArguments:
    if given not in ("auto", "output", "model"):
        raise TaskError("loss_takes", given, "must be 'auto', 'output' or 'model'")
    if given != "auto":
        return given
    try:
        first = next(iter(inspect.signature(loss).parameters), "")
    except (TypeError, ValueError):  # builtins without a signature are plain losses
        return "output"
    return "model" if first in ("model", "module", "net") else "output"


def _horizon(task: Task) -> int:
    if (task.steps is None) == (task.epochs is None):
        raise TaskError(
            "steps", (task.steps, task.epochs), "or epochs must be given, and not both", "For example steps=1_000"
        )
    if task.steps is not None:
        if not _is_whole(task.steps, 1):
            raise TaskError("steps", task.steps, "must be a whole number of updates, at least 1")
        return _at_most("steps", task.steps, task.steps)
    assert task.epochs is not None
    if not _is_positive(task.epochs) or not math.isfinite(task.epochs):
        raise TaskError("epochs", task.epochs, "must be a positive number of passes")
    batches = length_of(task.train)
    if batches is None:
        raise TaskError("epochs", task.epochs, "needs training data with a length", "Give steps instead")
    return _at_most("epochs", task.epochs, max(1, round(task.epochs * batches / task.accumulate)))


def _at_most(argument: str, given: object, updates: int) -> int:
    if updates > _MOST_STEPS:
        remedy = "The rates of more would fill the memory"
        raise TaskError(argument, given, f"must make at most {_MOST_STEPS:,} updates", remedy)
    return updates


def _clock(task: Task) -> Clock:
    batches = length_of(task.train)
    return Clock(
        batch_size=getattr(task.train, "batch_size", None),
        accumulate=task.accumulate,
        steps_per_epoch=None if batches is None else batches / task.accumulate,
    )


def _check_schedule(schedule: Callable[[int], float] | None, horizon: int) -> None:
    if schedule is None:
        return
    for step in (0, horizon // 2, horizon - 1):
        factor = schedule(step)
        try:
            valid = math.isfinite(factor) and factor >= 0
        except TypeError:
            valid = False
        if not valid:
            raise TaskError("schedule", factor, f"must return a finite factor >= 0 (it was asked for step {step})")


def _check_metrics(task: Task) -> None:
    for name, metric in task.metrics.items():
        if name == "loss":
            raise TaskError("metrics", name, "must not be called 'loss', which is the task's own")
        if not isinstance(metric, Metric) and not callable(metric):
            raise TaskError("metrics", metric, "must hold functions or stepsize.Metric values by name")
    if task.judge == "loss":
        return
    if task.judge not in task.metrics:
        known = ", ".join(["loss", *task.metrics])
        raise TaskError("judge", task.judge, f"must be one of: {known}")
    if not isinstance(task.metrics[task.judge], Metric):
        raise TaskError(
            "judge",
            task.judge,
            "must name a metric that says which way is better",
            f"Give metrics={{{task.judge!r}: stepsize.Metric(f, maximize=True or False)}}",
        )
    if task.val is None:
        raise TaskError("judge", task.judge, "needs unseen data", "Give val")
