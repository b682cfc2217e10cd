"""The border to other people's code: a task is inspected once, before anything of it runs."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.data import DataLoader

from stepsize.errors import TaskError
from stepsize.training.batches import (
    Stream,
    copied,
    holds_non_finite,
    length_of,
    map_tensors,
    nan_in_data,
    tensors_in,
)
from stepsize.training.digest import digest
from stepsize.training.evaluate import evaluate, loss_on
from stepsize.training.losses import LossFormError
from stepsize.training.position import preserved, seed_everything
from stepsize.training.snapshot import Snapshot
from stepsize.training.stepping import Stepper, build_model, check_first_loss, deepcopied
from stepsize.training.task import Task

_LOG = logging.getLogger("stepsize")
_LR = 1e-3  # of the one update that is tried
_BATCHES = 8  # that are looked through for one with a finite loss
# What a call with other arguments than meant raises.
_OTHER_FORM = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_SAME = 1e-3  # relative difference of two losses that rounding explains, half precision and atomics too
_KNOWN: WeakKeyDictionary[Task, tuple[str, ...]] = WeakKeyDictionary()


@contextmanager
def undisturbed(task: Task, seed: int, *, inspected: bool = False) -> Iterator[None]:
    """Run the block under ``seed``; generators and data positions are put back. The task is inspected before."""
    if not inspected:
        inspect_task(task)
    with preserved(task.train, task.val, seed=seed):
        yield


def inspect_task(task: Task) -> tuple[str, ...]:
    """Inspect a task once, before it runs: models, one update, a rewind, the length and form of its data.

    It costs two models, three forward and two backward passes, and a batch of validation data, and changes nothing but
    the form of the task's loss, if the one that its name suggests does not work. TaskError names a part that cannot be
    trained; what is unusual but works is returned, one sentence each.
    """
    if task not in _KNOWN:
        with undisturbed(task, task.seed, inspected=True):
            _KNOWN[task] = tuple(_inspect(task))
        for note in _KNOWN[task]:
            _LOG.info("%s: %s", task.name, note)
    return _KNOWN[task]


def _inspect(task: Task) -> list[str]:
    _check_device(torch.device(task.device or "cpu"))
    seed_everything(task.seed)
    first = build_model(task)
    weights, owned = digest(dict(first.state_dict())), _trained(first)
    notes = [*_settle_form(task, first)]  # a pass in train mode: it moves what models share, as averages do
    del first
    seed_everything(task.seed)
    stepper = Stepper(task, _LR)
    _check_fresh(task, stepper.model, weights, owned)
    del owned
    batch, skipped = _first_finite(task, stepper.model)
    notes += skipped
    _check_last_batch(task, stepper.model, batch)
    notes += _try_update(task, stepper, batch)
    return [*notes, *_look_at_val(task, stepper.model)]


def _check_device(device: torch.device) -> None:
    """Raise TaskError if it does not exist here; a task may be made where there is none, and sent to a worker."""
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TaskError("device", str(device), f"must exist: torch sees {torch.cuda.device_count()} CUDA devices")


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _check_fresh(task: Task, second: nn.Module, weights: str, owned: list[nn.Parameter]) -> None:
    ids = {id(tensor) for tensor in owned}
    if any(id(parameter) in ids for parameter in _trained(second)):
        raise not_fresh("a model that was returned before")
    if digest(dict(second.state_dict())) != weights:
        raise not_fresh(f"other initial weights for the same seed {task.seed}")


def not_fresh(received: str) -> TaskError:
    """Return the error for a model factory whose models differ."""
    rule = "must return the same new model whenever it is called under the same seed"
    remedy = "Build the model inside the factory, or return copy.deepcopy(model); draw with torch's generator only"
    return TaskError("model", received, rule, remedy)


def _settle_form(task: Task, model: nn.Module) -> list[str]:
    """Find out whether the loss takes the output or the model, where what its name suggests does not work."""
    batch = copied(next(Stream(task.train)))
    first = task.loss_takes
    try:
        check_first_loss(loss_on(task, model, batch))
        _check_inputs(task, batch)
        return []
    except _OTHER_FORM as error:
        failed = error
    other = "model" if first == "output" else "output"
    object.__setattr__(task, "loss_takes", other)  # the dataclass is frozen for everyone else
    try:
        check_first_loss(loss_on(task, model, batch))
        return [f"the loss is called as loss({'model, batch' if other == 'model' else 'output, target'})"]
    except Exception:  # noqa: BLE001
        object.__setattr__(task, "loss_takes", first)
    raise failed


def _check_inputs(task: Task, given: Any) -> None:
    """Raise TaskError if the model changes its input in place and the data are read from the same memory again."""
    if not any(tensor._version for tensor in tensors_in(given)):
        return
    for argument, source in (("train", task.train), ("val", task.val)):
        one, other = ([] if source is None else tensors_in(next(iter(source), None)) for _ in range(2))
        if any(a.numel() and a.data_ptr() == b.data_ptr() for a, b in zip(one, other, strict=False)):
            rule = f"must leave its input as it is: each pass over {argument} would change these data again"
            raise TaskError(
                "model", "one that changes its input in place", rule, "Write x = 2 * x instead of x.mul_(2)"
            )


def _first_finite(task: Task, model: nn.Module) -> tuple[Any, list[str]]:
    """Return the first batch with a finite loss of the untrained model, and what to say of those before it."""
    stream, loss = Stream(task.train), math.nan
    most = min(_BATCHES, length_of(task.train) or _BATCHES)
    for number in range(most):
        batch = next(stream)
        randomness = torch.get_rng_state()
        with torch.no_grad():
            loss = float(loss_on(task, model, copied(batch)))
        torch.set_rng_state(randomness)
        if math.isfinite(loss):
            return batch, [] if not number else [f"the initial model has no finite loss on batch {number - 1} of train"]
        if holds_non_finite(batch):
            raise nan_in_data("train", "the first batch" if not number else f"batch {number}")
    rule = "must be finite on the first batch, before any update"
    raise TaskError("loss", loss, rule, "No learning rate can fix this")


def _check_last_batch(task: Task, model: nn.Module, batch: Any) -> None:
    """Raise TaskError if a loader ends with a batch of one example and the model cannot be trained on that."""
    loader = task.train
    if not isinstance(loader, DataLoader) or not loader.batch_size or loader.drop_last:
        return
    examples = length_of(loader.sampler)
    if examples is None or examples % loader.batch_size != 1 or loader.batch_size == 1:
        return
    with preserved():
        try:
            single = map_tensors(batch, lambda tensor: tensor[:1] if tensor.ndim else tensor)
            loss_on(task, deepcopied(model, model), single)
        except ValueError as error:
            rule = f"ends with a batch of one example, on which the model cannot be trained ({error})"
            raise TaskError("train", f"{examples} examples", rule, "Pass drop_last=True to the DataLoader") from error
        except Exception:  # noqa: BLE001
            return  # batches that cannot be cut


def _try_update(task: Task, stepper: Stepper, batch: Any) -> list[str]:
    """Make one update, rewind, and make it again: the loss must be the same."""
    snapshot = Snapshot(modules=[stepper.model], optimizers=[stepper.optimizer], others=stepper.stateful)
    seed_everything(task.seed)
    losses = [float(stepper.update([copied(batch) for _ in range(task.accumulate)]))]
    without = [name for name, p in stepper.model.named_parameters() if p.requires_grad and p.grad is None]
    snapshot.restore()
    seed_everything(task.seed)
    losses.append(float(stepper.update([copied(batch) for _ in range(task.accumulate)])))
    snapshot.restore()
    if len(without) == len(_trained(stepper.model)):
        raise TaskError("loss", "no gradient", "must give a parameter of the model a gradient", "Is it of this model?")
    notes = [f"{_listed(without)} got no gradient"] if without else []
    if math.isfinite(losses[0]) and abs(losses[0] - losses[1]) > _SAME * max(abs(losses[0]), 1e-6):
        note = (
            f"the same batch from the same weights has a loss of {losses[0]:.6g} at first and of {losses[1]:.6g} after "
            "an update was taken back: model or loss keep state outside of their parameters, buffers and attributes, "
            "or draw from a generator of their own"
        )
        warnings.warn(f"{task.name}: {note}. Rates are compared from unequal starts", UserWarning, stacklevel=2)
        notes.append(note)
    return notes


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more parameters"


def _look_at_val(task: Task, model: nn.Module) -> list[str]:
    if task.val is None:
        return []
    try:
        done = evaluate(task, model, step=0, examples=1)
    except LossFormError as error:
        raise TaskError("val", error.received, f"cannot be used: loss {error.rule}", error.remedy) from error
    return [] if done.has_loss else [f"the model has no loss in eval mode: only {task.objective} is evaluated"]
