"""Transformers: a callback that watches and guards the runs of a Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from stepsize.errors import needing
from stepsize.frameworks.session import Session, finite_steps
from stepsize.monitor.options import GuardOptions

with needing("transformers"):
    from transformers.trainer_callback import ExportableState, TrainerCallback


class Stepsize(Session, TrainerCallback, ExportableState):  # type: ignore[misc,unused-ignore]
    """Watch, and guard, every update of the ``Trainer`` of transformers: ``Trainer(callbacks=[Stepsize()])``.

    Gradients are measured right before the weights change, with any precision, clipping, accumulation and
    ``logging_steps``. Losses are those that the model returns or, if it returns none (your own loss function, label
    smoothing), those that the trainer logs. The state is saved in the trainer's checkpoints and restored with them.

    Args:
        guard: Whether the run is rolled back on a fault: weights and optimizer are restored, and training continues
            with the next batches, at a lower learning rate for a while; see :func:`stepsize.guard`.
        options: Arguments of :func:`stepsize.watch`, with ``guard=True`` also of :func:`stepsize.guard`. Steps,
            schedule and gradient scaler default to the trainer's.

    Raises:
        InputError: If an option does not exist.
        MissingExtraError: On import, if transformers is not installed.

    Example:
        ```python
        from stepsize.frameworks.transformers import Stepsize

        watched = Stepsize(guard=True, store="runs.db")
        transformers.Trainer(model, arguments, train_dataset=rows, callbacks=[watched]).train()
        print(watched.verdict, *watched.findings)
        ```
    """

    def __init__(self, guard: bool = False, **options: Unpack[GuardOptions]) -> None:
        Session.__init__(self, guard, **options)
        self.resumed: Mapping[str, Any] | None = None  # what the trainer restores from a checkpoint
        self._hook: Any = None
        self._losses: list[Tensor] = []
        self._returned = False  # whether the model returns losses
        self._whole = False  # whether losses are parts of a sum over the batches of an update

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin, after a checkpoint was restored."""
        saved = state.stateful_callbacks.get(type(self).__name__, {}) if state.global_step else {}
        saved = saved[0] if isinstance(saved, list) else saved
        self.load_state_dict(self.resumed or saved.get("attributes", {}).get("resumed") or {})
        optimizer = kwargs["optimizer"]
        self._begin(
            kwargs["model"],
            optimizer,
            steps=finite_steps(state.max_steps),
            schedule=getattr(kwargs.get("lr_scheduler"), "scheduler", kwargs.get("lr_scheduler")),
            scaler=getattr(optimizer, "scaler", None),
        )
        self._losses, self._whole, self._returned = [], False, False
        self._hook = kwargs["model"].register_forward_hook(self._take_loss, with_kwargs=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Take the loss of an update."""
        losses, self._losses = self._losses, []
        stacked = torch.stack(losses) if losses else None
        self._step(None if stacked is None else stacked.sum() if self._whole else stacked.mean())
        if self.stopped is not None:
            control.should_training_stop = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Take the logged loss, if the model returns none."""
        if self._hook is not None and logs and "loss" in logs and not self._returned:
            self._step(float(logs["loss"]))

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Take the validation loss."""
        if self._hook is not None and metrics and "eval_loss" in metrics:
            self._step(None, float(metrics["eval_loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self._end()

    def state(self) -> dict[str, Any]:
        """Return what goes into a checkpoint."""
        plain = {name: value for name, value in self._options.items() if isinstance(value, str | int | float)}
        paths = {name: str(value) for name, value in self._options.items() if isinstance(value, Path)}
        return {"args": {"guard": self._guarded, **plain, **paths}, "attributes": {"resumed": self.state_dict()}}

    def _take_loss(self, model: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        """Take the loss of a batch from the output of the model."""
        if not model.training:
            return
        loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        if isinstance(loss, Tensor) and loss.numel() >= 1:
            self._returned = True
            self._losses.append(loss.detach().float().mean())
            self._whole = kwargs.get("num_items_in_batch") is not None
