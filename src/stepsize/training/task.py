"""Everything that is needed to train once, except the learning rate."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.checks import check_positive, check_whole
from stepsize.errors import TaskError
from stepsize.optimizers import OPTIMIZERS, optimizer_factory, optimizer_title
from stepsize.schedules import Clock, Schedule, parse
from stepsize.training import from_trainers
from stepsize.training.batches import TensorBatches, length_of
from stepsize.training.losses import as_loss

Precision = Literal["fp32", "bf16", "fp16"]
_MOST_STEPS = 100_000_000
LossArguments = Literal["auto", "output", "model"]


@dataclass(frozen=True)
class Metric:
    """A metric on validation data, and which direction is better.

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
        model: Function without arguments that returns a new model; called under the run's seed.
        loss: ``loss(output, target)`` on ``output = model(*inputs)`` and the last element of the batch, or
            ``loss(model, batch)`` for anything else. Returns a scalar, the mean over the batch, or an object with
            a ``loss``, a dict with a ``"loss"``, a dict of losses, which are added up, or a tuple that begins with it.
        train: Training data: a re-iterable of batches (a list, a DataLoader, ...), or a tuple of tensors or arrays
            ``(x, ..., y)`` of equal length, which is cut into shuffled batches of ``batch_size``.
        val: Validation data in the same form. Default: none; rates are then ranked by training loss.
        optimizer: Name in the catalog, or ``f(params, lr)`` returning an optimizer whose groups' rates are
            proportional to ``lr``.
        steps: Horizon in steps (optimizer updates); give this or ``epochs``.
        epochs: Horizon in passes over ``train``, which then must have a length.
        schedule: A :class:`~stepsize.schedules.Schedule`, whose relative durations (``"5%"``, ``"2ep"``, the rest)
            are resolved over the horizon; its written form (``"cosine warmup=5%"``); or a callable from step to
            factor (>= 0). Default: constant.
        metrics: Further figures on validation data by name: a :class:`Metric`, or a bare function that is only
            reported.
        objective: What rates are selected by: ``"loss"`` (of ``val``), or the name of a :class:`Metric`.
        clip: Largest global gradient norm. Default: no clipping.
        accumulate: Batches per update; the update uses their mean gradient.
        precision: ``"fp32"``, ``"bf16"`` (autocast) or ``"fp16"`` (autocast with a gradient scaler).
        device: Device to train on. Default: CUDA if available.
        seed: Random seed of the first run (weight initialization, batch order, dropout).
        batch_size: Examples per batch, if data are given as tensors.
        loss_takes: Form of ``loss``: ``"output"`` or ``"model"``; ``"auto"`` reads it from the
            name of its first parameter (``model``, ``module`` or ``net`` mean the second form). If the form does
            not work on the first batch and the other one does, the other is used.
        name: Name of the task in reports.

    Attributes:
        given_schedule: The schedule as it was given, before its relative durations were resolved.

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
    objective: str = "loss"
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
            data: A LightningDataModule, or training batches. Default: the module's own loaders.
            val: Batches of validation data. Default: those of the data module, if any.
            trainer: A ``Trainer`` whose clipping, accumulation, precision and horizon are used.
            changes: Further arguments of the task, such as ``epochs=``, which take precedence.

        Returns:
            A task. The ratios between the rates of parameter groups stay; a ``ReduceLROnPlateau`` is left out.

        Raises:
            TaskError: If the parts do not fit, or there are several optimizers.

        Example:
            ```python
            found = stepsize.find(Task.from_lightning(module, datamodule, trainer=trainer))
            ```
        """
        return cls(**from_trainers.lightning_arguments(module, data, val, trainer, changes))

    @classmethod
    def from_trainer(cls, trainer: Any, **changes: Any) -> Self:
        """Return the task that a ``Trainer`` of transformers describes; the trainer is not changed.

        Args:
            trainer: A trainer that has not trained yet; each run trains a copy of its model, or what ``model_init``
                returns.
            changes: Further arguments of the task, such as ``epochs=``, which take precedence.

        Returns:
            A task with the trainer's loss, optimizer, schedule, clipping, accumulation, precision and horizon. The
            ratios between the rates of parameter groups stay.

        Raises:
            TaskError: If the parts do not fit.

        Example:
            ```python
            found = stepsize.find(Task.from_trainer(trainer))
            ```
        """
        return cls(**from_trainers.trainer_arguments(trainer, changes))

    @classmethod
    def of(cls, given: Any) -> Self:
        """Return the task that ``given`` is or describes; what every function that takes a task calls.

        Args:
            given: A task; a LightningModule with loaders of its own; a tuple of one and its data (a data module, a
                loader, or a loader and a validation loader), and its trainer if any; or a ``Trainer`` of transformers.

        Returns:
            ``given`` itself if it is a task, or what :meth:`from_lightning` or :meth:`from_trainer` returns.

        Raises:
            TaskError: If it is something else, or its parts do not fit.
        """
        if isinstance(given, cls):
            return given
        if not from_trainers.is_described(given):
            rule = "must be a stepsize.Task, a LightningModule, (module, data), or a Trainer of transformers"
            raise TaskError("task", type(given).__name__, rule)
        return cls(**from_trainers.arguments_of(given))

    @property
    def horizon(self) -> int:
        """Number of steps of a full run."""
        assert self.steps is not None  # settled in __post_init__
        return self.steps

    @property
    def factor(self) -> Callable[[int], float] | None:
        """Schedule over the horizon, as a callable from step to factor; None if constant."""
        assert not isinstance(self.schedule, str)  # read in __post_init__
        return self.schedule

    @property
    def maximize(self) -> bool:
        """Whether a higher value of the objective is better."""
        metric = self.metrics.get(self.objective)
        return isinstance(metric, Metric) and metric.maximize

    @property
    def optimizer_name(self) -> str:
        """Name of the optimizer in reports."""
        return optimizer_title(self.optimizer)

    @property
    def schedule_name(self) -> str:
        """Name of the schedule in reports."""
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
            rule = "must yield (input, ..., target) batches if the loss is loss(output, target)"
            remedy = "For batches of another form give loss(model, batch)"
            raise TaskError("train", type(batch).__name__, rule, remedy)
        return function(model(*batch[:-1]), batch[-1])


def _check_callables(task: Task) -> None:
    rule = "must be a function without arguments that returns a new model"
    if isinstance(task.model, nn.Module):
        remedy = "To start every run from these weights pass model=lambda: copy.deepcopy(model)"
        raise TaskError("model", type(task.model).__name__ + " instance", rule, remedy)
    for argument, given in (("model", task.model), ("loss", task.loss)):
        if not callable(given):
            raise TaskError(argument, given, "must be callable")
    if isinstance(task.loss, type) and issubclass(task.loss, nn.Module):
        raise TaskError("loss", task.loss.__name__, "must be an instance", f"Write {task.loss.__name__}()")
    _check_takes("model", task.model, rule)
    rule = f"must be a name ({', '.join(OPTIMIZERS)}) or a function f(params, lr) that returns an optimizer"
    if isinstance(task.optimizer, str):
        optimizer_factory(task.optimizer)
    elif isinstance(task.optimizer, Optimizer) or not callable(task.optimizer):
        raise TaskError("optimizer", task.optimizer, rule)
    else:
        _check_takes("optimizer", task.optimizer, "must be a function f(params, lr)", [], 1.0)
    if not (task.schedule is None or isinstance(task.schedule, str) or callable(task.schedule)):
        raise TaskError("schedule", task.schedule, "must be a Schedule, its written form, a callable, or None")


def _check_takes(argument: str, function: Callable[..., Any], rule: str, *given: Any) -> None:
    """Raise TaskError if ``function`` cannot be called with as many arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin
        return
    try:
        signature.bind(*given)
    except TypeError as error:
        raise TaskError(argument, getattr(function, "__name__", function), f"{rule} ({error})") from error


def _check_numbers(task: Task) -> None:
    if task.clip is not None:
        check_positive("clip", task.clip, "gradient norm", remedy="None does not clip", error=TaskError)
    if task.precision not in ("fp32", "bf16", "fp16"):
        raise TaskError("precision", task.precision, "must be 'fp32', 'bf16' or 'fp16'")
    for argument, unit, least in (("accumulate", "batches", 1), ("seed", "", 0), ("batch_size", "examples", 1)):
        check_whole(argument, getattr(task, argument), least, unit=unit, error=TaskError)


def _device(device: torch.device | str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise TaskError("device", device, "must be a torch device, for example 'cpu' or 'cuda:0'") from None


def _batches(argument: str, data: Any, batch_size: int, *, shuffle: bool) -> Iterable[Any]:
    if isinstance(data, tuple) and data and all(isinstance(part, Tensor | np.ndarray) for part in data):
        data = tuple(part if isinstance(part, Tensor) else _from_numpy(part) for part in data)
        lengths = [len(part) if part.ndim else 0 for part in data]
        if len(set(lengths)) > 1:
            raise TaskError(argument, lengths, "given as tensors must share their first dimension")
        if lengths[0] == 0:
            raise TaskError(argument, lengths, "must hold at least one example")
        return TensorBatches(data, batch_size, shuffle=shuffle)
    if isinstance(data, Iterator):
        rule = "must be iterable more than once, since every run reads it from the start"
        remedy = "Pass a list of batches or an object with __iter__, such as a DataLoader"
        raise TaskError(argument, type(data).__name__, rule, remedy)
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | Tensor | np.ndarray | Mapping):
        remedy = "Give (x, y), a list of batches, or a DataLoader"
        raise TaskError(argument, data, "must be a re-iterable of batches or a tuple of tensors", remedy)
    if length_of(data) == 0:
        raise TaskError(argument, f"a {type(data).__name__} of length 0", "must yield at least one batch")
    return data


def _from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """Return numbers as a tensor; double precision, which numpy has by default, becomes torch's default."""
    tensor = torch.as_tensor(array)
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


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
        given = (task.steps, task.epochs)
        raise TaskError("steps", given, "or epochs must be given, and not both", "For example steps=1_000")
    if task.steps is not None:
        argument = "steps"
        steps = check_whole("steps", task.steps, unit="steps", error=TaskError)
    else:
        argument = "epochs"
        epochs = check_positive("epochs", task.epochs, "number of passes", error=TaskError)
        batches = length_of(task.train)
        if batches is None:
            raise TaskError("epochs", task.epochs, "needs training data with a length", "Give steps instead")
        steps = max(1, round(epochs * batches / task.accumulate))
    if steps > _MOST_STEPS:
        rule, remedy = f"must make at most {_MOST_STEPS:,} steps", "The rates of more would fill the memory"
        raise TaskError(argument, getattr(task, argument), rule, remedy)
    return steps


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
            raise TaskError("schedule", factor, f"must return a finite factor >= 0 (here for step {step})")


def _check_metrics(task: Task) -> None:
    for name, metric in task.metrics.items():
        if name == "loss":
            raise TaskError("metrics", name, "must not be called 'loss', which is the task's own")
        if not isinstance(metric, Metric) and not callable(metric):
            raise TaskError("metrics", metric, "must hold functions or stepsize.Metric values by name")
    if task.objective == "loss":
        return
    if task.objective not in task.metrics:
        known = ", ".join(["loss", *task.metrics])
        raise TaskError("objective", task.objective, f"must be one of: {known}")
    if not isinstance(task.metrics[task.objective], Metric):
        remedy = f"Give metrics={{{task.objective!r}: stepsize.Metric(f, maximize=True or False)}}"
        raise TaskError("objective", task.objective, "must name a metric that says which direction is better", remedy)
    if task.val is None:
        raise TaskError("objective", task.objective, "needs validation data", "Give val")
