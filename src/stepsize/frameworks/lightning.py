"""Lightning: a callback that watches and guards the runs of a Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from torch import Tensor

from stepsize.errors import MissingExtraError
from stepsize.frameworks.session import Session, finite_steps
from stepsize.monitor.options import GuardOptions
from stepsize.training import BoundScheduler

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "lightning":
        raise
    try:
        from pytorch_lightning import Callback  # type: ignore[import-not-found,no-redef,assignment,unused-ignore]
    except ModuleNotFoundError:
        raise MissingExtraError("lightning", "lightning") from None

_VAL = ("val_loss", "val/loss", "validation_loss", "validation/loss", "valid_loss", "valid/loss", "eval_loss")


class Stepsize(Session, Callback):
    """Watch, and guard, every update of a Lightning ``Trainer``: ``Trainer(callbacks=[Stepsize()])``.

    Gradients are measured right before the weights change, with any precision, clipping and accumulation; losses are
    those of ``training_step``, averaged over the batches of an update. The state is saved in the trainer's checkpoints
    and restored with them.

    Args:
        guard: Whether the run is rolled back on a fault: weights and optimizer are restored, and training continues
            with the next batches, at a lower learning rate for a while; see :func:`stepsize.guard`.
        monitor: Logged metric with the validation loss. Defaults to the first of ``val_loss``, ``val/loss`` and
            similar names.
        options: Arguments of :func:`stepsize.watch`, with ``guard=True`` also of :func:`stepsize.guard`. Steps,
            schedule and gradient scaler default to the trainer's.

    Raises:
        InputError: If an option does not exist.
        MissingExtraError: On import, if Lightning is not installed.

    Example:
        ```python
        from stepsize.frameworks.lightning import Stepsize

        watched = Stepsize(guard=True, store="runs.db")
        lightning.Trainer(max_epochs=10, callbacks=[watched]).fit(module, loader)
        print(watched.verdict, *watched.findings)
        ```
    """

    def __init__(self, guard: bool = False, *, monitor: str | None = None, **options: Unpack[GuardOptions]) -> None:
        Session.__init__(self, guard, **options)
        self._monitor = monitor

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, after a checkpoint was restored."""
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        bound = [one for one in schedulers if isinstance(one, BoundScheduler)]
        self._begin(
            trainer.strategy.model if trainer.world_size > 1 else pl_module,
            trainer.optimizers,
            steps=_steps(trainer, pl_module),
            schedule=next(iter([*bound, *schedulers]), None),
            scaler=getattr(trainer.precision_plugin, "scaler", None),
        )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Take the loss of a batch; the optimizer shows whether it made an update."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            parts = trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
            self._step(loss.detach().reshape(()) * parts)  # Lightning divides it by their number
        else:
            self._step(None)
        if self.stopped is not None:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Take the validation loss, if one was logged."""
        metrics = trainer.callback_metrics
        name = self._monitor or next((one for one in _VAL if one in metrics), None)
        if name in metrics and not trainer.sanity_checking:
            self._step(None, float(metrics[name]))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End."""
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End as failed."""
        self._end(exception)


def _steps(trainer: Any, module: Any) -> int | None:
    """Return the number of updates; ``max_steps`` counts those of each optimizer that a module steps by itself."""
    steps = finite_steps(trainer.estimated_stepping_batches)
    counted = 1 if module.automatic_optimization else len(trainer.optimizers)
    return steps if steps is None or steps != trainer.max_steps else -(-steps // max(1, counted))
