"""What losses of other people's code look like, and the one tensor that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stepsize.errors import TaskError


class LossFormError(TaskError):
    """What a loss function returned cannot be trained or averaged."""


def loss_in(value: Any) -> Any:
    """Return the loss that ``value`` holds, or ``value`` itself.

    That is its ``loss``, as in transformers; the sum of a mapping of losses, as of detectors of torchvision; or the
    first item of a tuple.
    """
    if isinstance(value, Tensor | float | int):
        return value
    if isinstance(value, Mapping):
        found = value.get("loss")
        if found is None and value and all(_is_scalar(part) for part in value.values()):
            found = sum(value.values())
        return found
    if isinstance(getattr(value, "loss", None), Tensor):
        return value.loss
    return value[0] if isinstance(value, tuple) and value and _is_scalar(value[0]) else value


def as_loss(value: Any, *, training: bool) -> Tensor:
    """Return the scalar tensor that ``value`` is or holds (:func:`loss_in`); LossFormError if there is none."""
    found = loss_in(value)
    if isinstance(found, Tensor) and found.numel() == 1:
        return found.reshape(()) if found.ndim else found
    shape = tuple(found.shape) if isinstance(found, Tensor) else _described(value)
    rule = "must return a scalar tensor of shape ()"
    if training:
        raise LossFormError("loss", shape, rule, "Reduce it, for example by .mean()")
    remedy = "Reduce it, for example by .mean(); a model that has a loss in train mode only needs objective='a metric'"
    raise LossFormError("loss", shape, f"{rule} on val, in eval mode too", remedy)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} of {', '.join(map(str, value)) or 'nothing'}"
    return type(value).__name__
