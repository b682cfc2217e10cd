"""Keras on torch: a callback that watches and guards the runs of ``model.fit``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.errors import InputError, needing
from stepsize.files import write_whole
from stepsize.frameworks.session import Session
from stepsize.monitor.options import GuardOptions

with needing("keras", only="keras"):  # not its backend
    import keras

_PATCHED = ("_backend_apply_gradients", "_clip_gradients", "_backend_update_step")


class Stepsize(Session, keras.callbacks.Callback):  # type: ignore[misc,unused-ignore]
    """Watch, and guard, every update of ``model.fit`` of Keras on torch: ``fit(callbacks=[Stepsize()])``.

    Gradients are measured before the weights change, with any clipping and accumulation; losses are those of the
    batches, not the running means of the logs.

    Args:
        guard: Whether the run is rolled back on a fault: weights and optimizer are restored, and training continues
            with the next batches, at a lower learning rate for a while; see :func:`stepsize.guard`.
        state: File to which the state is written after each epoch, whole or not at all. A ``fit`` whose optimizer was
            restored to that step (``BackupAndRestore``, a loaded model) continues from it.
        options: Arguments of :func:`stepsize.watch`, with ``guard=True`` also of :func:`stepsize.guard`. Steps and
            schedule default to those of ``fit``.

    Raises:
        InputError: If an option does not exist.
        MissingExtraError: On import, if Keras is not installed.

    Example:
        ```python
        from stepsize.frameworks.keras import Stepsize

        watched = Stepsize(guard=True, store="runs.db")
        model.fit(x, y, epochs=10, callbacks=[watched])
        print(watched.verdict, *watched.findings)
        ```
    """

    def __init__(
        self, guard: bool = False, *, state: str | Path | None = None, **options: Unpack[GuardOptions]
    ) -> None:
        keras.callbacks.Callback.__init__(self)
        Session.__init__(self, guard, **options)
        self._updates: _Updates | None = None
        self._file = None if state is None else Path(state)
        self._restored = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin: take part in each update of the model's optimizer."""
        model: Any = self.model
        if not isinstance(model, nn.Module):
            remedy = "Set KERAS_BACKEND=torch before Keras is imported"
            raise InputError("backend", keras.backend.backend(), "must be torch", remedy)
        variables: Any = model.trainable_variables
        parameters = [variable.value for variable in variables]
        self._updates = _Updates(model.optimizer, parameters, self._after_update)
        batches, epochs = self.params.get("steps"), self.params.get("epochs")
        known: dict[str, Any] = {"schedule": self._updates.schedule}
        if batches and epochs:
            known["steps"] = max(1, batches * epochs // self._updates.parts)
        if self._guarded:
            own = self._options.get("others", ())
            known["others"] = [_Slots(self._updates.inner), *own]
            self._options.pop("others", None)
        self._begin(model, self._updates.optimizer, **known)
        self._restored = False
        if not self._guarded:
            self.watching.control.others.append(_Slots(self._updates.inner))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Continue from the file, now that other callbacks have restored the optimizer."""
        if self._restored or self._file is None or self._updates is None or not self._file.exists():
            return
        self._restored = True
        state = json.loads(self._file.read_text(encoding="utf-8"))
        if state.get("iterations") == int(self._updates.inner.iterations) > 0:
            self._continue(state["state"])

    def _after_update(self, losses: list[Tensor]) -> None:
        """Take an update and the mean loss of its batches; not in a hook of ``fit``, which can come late."""
        self._step(torch.stack(losses).mean() if losses else None)
        if self.stopped is not None:
            model: Any = self.model
            model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take the validation loss."""
        if logs and "val_loss" in logs:
            self._step(None, float(logs["val_loss"]))
        if self._file is not None and self._updates is not None:
            state = {"iterations": int(self._updates.inner.iterations), "state": self.state_dict()}
            write_whole(self._file, json.dumps(state).encode())

    def on_train_end(self, logs: Any = None) -> None:
        """End, and release the optimizer."""
        if self._updates is not None:
            self._updates.release()
            self._updates = None
        self._end()


class _Facade(Optimizer):
    """Parameters and learning rate of a Keras optimizer, with torch's hooks around its updates.

    Its gradients are reported with the updates: those of ``backward`` lack the accumulation of Keras.
    """

    reports_backward = True

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        raise NotImplementedError("Keras makes the updates")


class _Updates:
    """Takes part in the updates of the optimizer of a compiled model that trains these parameters.

    After each of them it calls ``after`` with the losses of its batches.
    """

    def __init__(self, optimizer: Any, parameters: Sequence[Tensor], after: Callable[[list[Tensor]], object]) -> None:
        self.inner = getattr(optimizer, "inner_optimizer", optimizer)  # of one that scales losses
        self._outer = optimizer
        self.parts = int(self.inner.gradient_accumulation_steps or 1)
        self._losses: list[Tensor] = []
        self._after = after
        self.optimizer = _Facade(parameters, {"lr": self._rate()})
        self._variables: Sequence[Any] = ()
        self._held: list[tuple[Tensor, Tensor | None]] = []
        self._originals = {name: getattr(self.inner, name) for name in _PATCHED}
        self._scale = optimizer.scale_loss
        vars(self.inner).update({name: getattr(self, name) for name in _PATCHED})
        vars(self._outer)["scale_loss"] = self._scale_loss

    @property
    def schedule(self) -> Any:
        """The stepsize schedule that sets the learning rate, or None."""
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
        self._losses.append(loss.detach().float().reshape(()))
        return self._scale(loss)

    def _backend_apply_gradients(self, gradients: Any, variables: Any) -> Any:
        self._variables = list(variables)
        return self._originals["_backend_apply_gradients"](gradients, variables)

    def _clip_gradients(self, gradients: Any) -> Any:
        """Clip, and measure the result before weight decay changes the weights."""
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
        """Update, at the learning rate that the hooks left."""
        allowed = float(self.optimizer.param_groups[0]["lr"])
        if allowed != self._rate():
            rate = torch.tensor(allowed, device=variables[0].value.device)
        self._originals["_backend_update_step"](gradients, variables, rate)
        for hook in list(self.optimizer._optimizer_step_post_hooks.values()):
            hook(self.optimizer, (self.optimizer,), {})
        for parameter, gradient in self._held:
            parameter.grad = gradient
        losses, self._losses, self._held = self._losses, [], []
        self._after(losses)


class _Slots:
    """The variables of a Keras optimizer except its step counter and learning rate, for a snapshot."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer

    def state_dict(self) -> dict[str, Tensor]:
        """Return the variables by place."""
        return {str(place): variable.value for place, variable in enumerate(self._kept())}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore them."""
        with torch.no_grad():
            for place, variable in enumerate(self._kept()):
                variable.value.copy_(state[str(place)])

    def _kept(self) -> list[Any]:
        left_out = (self._optimizer._iterations, self._optimizer._learning_rate)
        return [one for one in self._optimizer.variables if not any(one is other for other in left_out)]
