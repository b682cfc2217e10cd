"""One update of one run: rates, forward, backward, clipping, scaling."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim import Optimizer

from stepsize.errors import TaskError
from stepsize.optimizers.catalog import needs_closure, optimizer_factory, parameters_of_step
from stepsize.schedules import Schedule, resampled
from stepsize.training.batches import Stream
from stepsize.training.evaluate import eval_mode, loss_on
from stepsize.training.group_values import write_value
from stepsize.training.position import RngState, preserved, seed_everything
from stepsize.training.task import Task

_T = TypeVar("_T")
_DEVICE_LAG = 16  # updates between two reads of the losses if a read would stall the device


class Stepper:
    """Model and optimizer of one run at the peak rate ``lr``; :meth:`update` makes one update."""

    def __init__(self, task: Task, lr: float) -> None:
        self._task = task
        self.model = build_model(task)
        self.optimizer = build_optimizer(task, self.model, lr)
        self._takes_loss = "loss" in parameters_of_step(self.optimizer)
        self._needs_closure = needs_closure(self.optimizer)
        tell_training(self.optimizer)
        self._peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        device = torch.device(task.device or "cpu")
        self._scaler = torch.amp.GradScaler(device.type) if task.precision == "fp16" else None
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        if self._needs_closure and task.precision == "fp16":
            rule = f"cannot train {type(self.optimizer).__name__}, which asks for the loss again"
            raise TaskError("precision", "fp16", rule, "Use bf16 or fp32")
        self._checked = False  # the first loss
        self.batches: Sequence[Any] = ()  # of the last update

    @property
    def stateful(self) -> list[Any]:
        """What updates change besides model and optimizer."""
        return [] if self._scaler is None else [self._scaler]

    def scale(self, factor: float) -> None:
        """Set the groups' rates to ``factor`` times their peaks."""
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            write_value(group, "lr", peak * factor)

    def forked(self) -> Stepper:
        """Return one that continues from here with copies of model and optimizer; the data are shared."""
        other = copy.copy(self)
        other.model, other.optimizer, other._scaler = deepcopied(self.model, (self.model, self.optimizer, self._scaler))
        other._parameters = [p for p in other.model.parameters() if p.requires_grad]
        return other

    def update(self, batches: Sequence[Any]) -> Tensor:
        """Make one update on the mean gradient of ``batches`` at the groups' present rates; return the mean loss."""
        self.batches = batches
        self.optimizer.zero_grad(set_to_none=True)
        before = RngState.take() if self._needs_closure else None
        losses = [self._backward(batch) for batch in batches]
        loss = torch.stack(losses).mean() if len(losses) > 1 else losses[0]
        arguments: dict[str, Any] = {"loss": loss} if self._takes_loss else {}
        if before is not None:
            arguments["closure"] = self._closure(batches, loss, before)
        try:
            self._update(arguments)
        except (AssertionError, ArithmeticError, RuntimeError, ValueError):
            if all(p.grad is None or _is_finite(p.grad) for p in self._parameters):
                raise
            return loss * math.nan  # some optimizers refuse what others accept: the run diverged, it is not a bug
        return loss

    def _backward(self, batch: Any) -> Tensor:
        loss = loss_on(self._task, self.model, batch)
        if not self._checked:
            check_first_loss(loss)
            self._checked = True
        share = loss / self._task.accumulate
        (share if self._scaler is None else self._scaler.scale(share)).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _closure(self, batches: Sequence[Any], loss: Tensor, randomness: RngState) -> Callable[[], Tensor]:
        """Return what computes the loss with its gradients; the first call returns that of the update's own pass."""
        asked = False

        def closure() -> Tensor:
            nonlocal asked
            if not asked:
                asked = True
                return loss
            randomness.restore()
            self.optimizer.zero_grad(set_to_none=True)
            again = torch.stack([self._backward(batch) for batch in batches]).mean()
            if self._task.clip is not None:
                nn.utils.clip_grad_norm_(self._parameters, self._task.clip)
            return again

        return closure

    def _update(self, arguments: dict[str, Any]) -> None:
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        if self._task.clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._task.clip)
        if self._scaler is None:
            self.optimizer.step(**arguments)
        else:
            self._scaler.step(self.optimizer, **arguments)
            self._scaler.update()


def _is_finite(gradient: Tensor) -> bool:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return bool(values.isfinite().all())


def rung_factors(task: Task, steps: int) -> list[float]:
    """Return the factor of each update of the task's schedule over ``steps`` updates: see :func:`rung_schedule`."""
    if isinstance(task.schedule, Schedule):
        table = task.schedule.factors().tolist()  # all at once: a call per update costs as much as a small update
        factor = resampled(table.__getitem__, task.horizon, to=steps) if steps != task.horizon else table.__getitem__
    else:
        factor = rung_schedule(task, steps)
    return [factor(step) for step in range(steps)]


def rung_schedule(task: Task, steps: int) -> Callable[[float], float]:
    """Return the task's schedule over ``steps`` updates instead of its horizon, with a complete decay."""
    factor = task.factor
    if factor is None:
        return lambda step: 1.0
    if steps == task.horizon:
        return factor  # type: ignore[return-value]
    return resampled(factor, task.horizon, to=steps)


def build_model(task: Task) -> nn.Module:
    """Return a new model of the task on its device, in train mode, under the present seed.

    If its factory seeds the generators, the run's seed is set again: else all seeds would give the same run.
    """
    seed = torch.initial_seed()
    model = task.model()
    if torch.initial_seed() != seed:
        seed_everything(seed)
    if not isinstance(model, nn.Module):
        raise TaskError("model", model, "must return a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        remedy = "Set requires_grad=True on what is to be trained"
        raise TaskError("model", type(model).__name__, "must have at least one trainable parameter", remedy)
    model = model.to(torch.device(task.device or "cpu"))
    _materialize(task, model)
    # Within a model in train mode, modules in eval mode are frozen on purpose (BatchNorm in fine-tuning).
    return model if model.training else model.train()


def _materialize(task: Task, model: nn.Module) -> None:
    """Give lazy layers their shapes with one batch, and the same weights as the first training batch would."""
    if not any(
        isinstance(tensor, UninitializedParameter | UninitializedBuffer)
        for tensor in (*model.parameters(), *model.buffers())
    ):
        return
    with preserved(task.train):
        batch = next(Stream(task.train))
    with eval_mode(model), torch.no_grad():  # BatchNorm must not count it
        loss_on(task, model, batch)


def build_optimizer(task: Task, model: nn.Module, lr: float) -> Optimizer:
    """Return the task's optimizer over the trainable parameters of ``model`` at the rate ``lr``."""
    make = optimizer_factory(task.optimizer)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = make(parameters, lr)
    if not isinstance(optimizer, Optimizer):
        raise TaskError("optimizer", optimizer, "must return a torch.optim.Optimizer")
    ours = {id(parameter) for parameter in parameters}
    if not any(id(p) in ours for group in optimizer.param_groups for p in group["params"]):
        rule = "must hold parameters of the task's model, but holds only others"
        raise TaskError("optimizer", type(optimizer).__name__, rule, "Build it from the params that it is called with")
    doubled = make(parameters, 2 * lr)
    rates = [
        (group["lr"], twice["lr"]) for group, twice in zip(optimizer.param_groups, doubled.param_groups, strict=True)
    ]
    if not all(math.isclose(2 * once, twice, rel_tol=1e-6) for once, twice in rates):
        rule = "must give its groups rates proportional to the lr that it is called with"
        raise TaskError("optimizer", f"rates {rates[0]} for lr={lr:.3g} and its double", rule)
    return optimizer


def reading_lag(task: Task) -> int:
    """Return after how many updates the losses are read: each one on the CPU, few if a read stalls the device."""
    return 1 if torch.device(task.device or "cpu").type == "cpu" else _DEVICE_LAG


def check_first_loss(loss: Tensor) -> None:
    """Raise TaskError unless ``loss`` of a new model can be trained; whether it is finite is checked before."""
    if not loss.requires_grad:
        raise TaskError("loss", "a constant", "must depend on the model's trainable parameters")


@contextmanager
def at_evaluation_weights(optimizer: Optimizer | None) -> Iterator[None]:
    """Hold an optimizer that evaluates other weights than it trains (schedule-free, averaging) at those meanwhile."""
    if not _has_modes(optimizer):
        yield
        return
    optimizer.eval()  # type: ignore[union-attr]
    try:
        yield
    finally:
        optimizer.train()  # type: ignore[union-attr]


def tell_training(optimizer: Optimizer) -> None:
    """Put an optimizer that has modes into the one for training; it may begin in the other."""
    if _has_modes(optimizer):
        optimizer.train()  # type: ignore[attr-defined]


def _has_modes(optimizer: Optimizer | None) -> bool:
    return all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval"))


def deepcopied(model: nn.Module, together: _T) -> _T:
    """Return a deep copy of ``together``, which holds ``model``.

    torch refuses to copy computed tensors. The old ``weight_norm`` keeps one as an attribute: its value is copied.
    """
    computed = [
        (vars(module), name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    try:
        for attributes, name, value in computed:
            attributes[name] = value.detach()
        return copy.deepcopy(together)
    finally:
        for attributes, name, value in computed:
            attributes[name] = value
