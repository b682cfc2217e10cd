"""Keras on torch: a callback that watches and guards what ``model.fit`` trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.errors import InputError, MissingExtraError
from stepsize.frameworks.session import Options, Session

try:
    import keras
except ModuleNotFoundError as error:
    if error.name != "keras":
        raise  # Keras is there, and its backend is not
    raise MissingExtraError("keras", "keras") from None

__all__ = ["Stepsize"]

_PATCHED = ("_backend_apply_gradients", "_clip_gradients", "_backend_update_step")


class Stepsize(Session, keras.callbacks.Callback):  # type: ignore[misc,unused-ignore]
    """Watch, and guard, every update of ``model.fit`` of Keras on torch: ``fit(callbacks=[Stepsize()])``.

    Gradients are measured before the weights change, whatever the clipping and accumulation; losses are those of the
    batches, not the running means of the logs.

    Args:
        guard: Whether trouble is acted on: weights and optimizer go back to a good state, and the training goes on
            with the batches that follow, at a lower rate for a while; see :func:`stepsize.guard`.
        options: Those of :func:`stepsize.watch`, with ``guard=True`` also those of :func:`stepsize.guard`. The
            horizon and the schedule are those of ``fit`` unless given.

    Raises:
        InputError: If there is no such option.
        MissingExtraError: On import, if Keras is not installed.

    Example:
        ```python
        from stepsize.frameworks.keras import Stepsize

        watched = Stepsize(guard=True, store="runs.db")
        model.fit(x, y, epochs=10, callbacks=[watched])
        print(watched.verdict, *watched.findings)
        ```
    """

    def __init__(self, guard: bool = False, **options: Unpack[Options]) -> None:
        keras.callbacks.Callback.__init__(self)
        Session.__init__(self, guard, **options)
        self._updates: _Updates | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin: take part in each update of the model's optimizer."""
        model: Any = self.model
        if not isinstance(model, nn.Module):
            remedy = "Set KERAS_BACKEND=torch before Keras is imported"
            raise InputError("backend", keras.backend.backend(), "must be torch", remedy)
        variables: Any = model.trainable_variables
        self._updates = _Updates(model.optimizer, [variable.value for variable in variables])
        batches, epochs = self.params.get("steps"), self.params.get("epochs")
        told: dict[str, Any] = {"schedule": self._updates.schedule}
        if batches and epochs:
            told["steps"] = max(1, batches * epochs // self._updates.parts)
        if self._guarded:
            own = self._options.get("others", ())
            told["others"] = [_Slots(self._updates.inner), *own]
            self._options.pop("others", None)
        self._begin(model, self._updates.optimizer, **told)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Take the loss of a batch, and of an update the mean over its batches."""
        updates = self._updates
        if updates is None or (updates.parts > 1 and not updates.made):
            return
        losses, updates.losses, updates.made = updates.losses, [], False
        self._step(torch.stack(losses).mean() if losses else None)
        if self.stopped is not None:
            model: Any = self.model
            model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take the loss on validation data."""
        if logs and "val_loss" in logs:
            self._step(None, float(logs["val_loss"]))

    def on_train_end(self, logs: Any = None) -> None:
        """End, and let go of the optimizer."""
        if self._updates is not None:
            self._updates.release()
            self._updates = None
        self._end()

    def state_dict(self) -> dict[str, Any]:
        """Return its state as plain values; ``fit`` has no checkpoint that it could go into by itself."""
        return self._state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on, in the next ``fit``, from what :meth:`state_dict` returned."""
        self._resume(state)


class _Facade(Optimizer):
    """The parameters and the rate of an optimizer of Keras, with torch's hooks around its updates.

    Its gradients are told by who makes the updates: those of ``backward`` lack the accumulation of Keras.
    """

    tells_backward = True

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        raise NotImplementedError("Keras makes the updates")


class _Updates:
    """Takes part in the updates of one optimizer of Keras.

    Args:
        optimizer: Of a compiled model.
        parameters: What it trains.
    """

    def __init__(self, optimizer: Any, parameters: Sequence[Tensor]) -> None:
        self.inner = getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales losses
        self._outer = optimizer
        self.parts = int(self.inner.gradient_accumulation_steps or 1)
        self.losses: list[Tensor] = []
        self.made = False
        self.optimizer = _Facade(parameters, {"lr": self._rate()})
        self._variables: Sequence[Any] = ()
        self._held: list[tuple[Tensor, Tensor | None]] = []
        self._originals = {name: getattr(self.inner, name) for name in _PATCHED}
        self._scale = optimizer.scale_loss
        vars(self.inner).update({name: getattr(self, name) for name in _PATCHED})
        vars(self._outer)["scale_loss"] = self._scale_loss

    @property
    def schedule(self) -> Any:
        """The schedule of stepsize that the rate follows; None of others."""
        made_of = getattr(self.inner._learning_rate, "_made_of", None)
        return made_of[0] if made_of else None

    def release(self) -> None:
        """Leave the optimizer as it was."""
        for name in _PATCHED:
            vars(self.inner).pop(name, None)
        vars(self._outer).pop("scale_loss", None)

    def _rate(self) -> float:
        return float(self.inner.learning_rate)

    def _scale_loss(self, loss: Any) -> Any:
        self.losses.append(loss.detach().float().reshape(()))
        return self._scale(loss)

    def _backend_apply_gradients(self, gradients: Any, variables: Any) -> Any:
        self._variables = list(variables)
        return self._originals["_backend_apply_gradients"](gradients, variables)

    def _clip_gradients(self, gradients: Any) -> Any:
        """Clip, and let be measured what comes out of it: behind it, weight decay changes the weights."""
        clipped = self._originals["_clip_gradients"](gradients)
        parameters = [variable.value for variable in self._variables]
        self._held = [(parameter, parameter.grad) for parameter in parameters]
        self.optimizer.param_groups[0]["lr"] = self._rate()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        for hear in getattr(self.optimizer, "backward_hooks", ()):
            hear()
        for parameter, gradient in zip(parameters, clipped, strict=True):
            parameter.grad = gradient
        for hook in list(self.optimizer._optimizer_step_pre_hooks.values()):
            hook(self.optimizer, (self.optimizer,), {})
        return clipped

    def _backend_update_step(self, gradients: Any, variables: Any, rate: Any) -> None:
        """Update, at the rate that the hooks left."""
        allowed = float(self.optimizer.param_groups[0]["lr"])
        if allowed != self._rate():
            rate = torch.tensor(allowed, device=variables[0].value.device)
        self._originals["_backend_update_step"](gradients, variables, rate)
        for hook in list(self.optimizer._optimizer_step_post_hooks.values()):
            hook(self.optimizer, (self.optimizer,), {})
        for parameter, gradient in self._held:
            parameter.grad = gradient
        self._held, self.made = [], True


class _Slots:
    """What an optimizer of Keras keeps beside its clock and its rate, for a snapshot."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer

    def state_dict(self) -> dict[str, Tensor]:
        """Return its variables by place."""
        return {str(place): variable.value for place, variable in enumerate(self._kept())}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put them back."""
        with torch.no_grad():
            for place, variable in enumerate(self._kept()):
                variable.value.copy_(state[str(place)])

    def _kept(self) -> list[Any]:
        clocks: tuple[Callable[..., Any] | Any, ...] = (self._optimizer._iterations, self._optimizer._learning_rate)
        return [one for one in self._optimizer.variables if not any(one is clock for clock in clocks)]
