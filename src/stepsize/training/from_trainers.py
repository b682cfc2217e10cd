"""Tasks out of what is already written for a trainer: a LightningModule, or a Trainer of transformers.

Their objects are only asked for what they have; nothing of these packages is imported.
"""

from __future__ import annotations

import copy
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from stepsize.errors import InputError, TaskError
from stepsize.schedules import Schedule
from stepsize.training.batches import length_of
from stepsize.training.binding import BoundScheduler
from stepsize.training.losses import as_loss
from stepsize.training.position import preserved
from stepsize.training.torch_schedules import from_torch
from stepsize.training.wrapped import bare_optimizer, remade

_PRECISIONS = {"16-mixed": "fp16", "bf16-mixed": "bf16", "32-true": "fp32"}
_OWN_UPDATES = (  # hooks of a module that make the update another one
    "optimizer_step",
    "configure_gradient_clipping",
    "backward",
    "optimizer_zero_grad",
    "lr_scheduler_step",
)
_OWN_RUNS = (  # callbacks of a trainer that change what is trained, and how
    "BaseFinetuning",
    "GradientAccumulationScheduler",
    "StochasticWeightAveraging",
)
Rate = Schedule | Callable[[int], float] | None
_OWNERS: weakref.WeakValueDictionary[int, nn.Module] = weakref.WeakValueDictionary()


def lightning_arguments(module: Any, data: Any, val: Any, trainer: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the task that a LightningModule describes; those that are given come first."""
    train, validation = _loaders(module, data, val)
    batches = length_of(train)
    own = _lightning_settings(trainer, batches)
    accumulate = given.get("accumulate", own.get("accumulate", 1))
    planned, horizon = _planned(own, given, batches, accumulate)
    if not horizon:
        remedy = "Pass trainer=, steps= or epochs=, or (module, data, trainer) instead of a task"
        raise TaskError("steps", None, "must be known: neither the trainer nor an argument says them", remedy)

    def make() -> nn.Module:
        return _lightning_model(module, _Standin(trainer, horizon, planned.get("epochs"), accumulate))

    def build(model: Any) -> tuple[Optimizer, Any]:
        made, scheduler = _configured(model)
        model._trainer.took(made)
        return made, scheduler

    per_epoch = None if batches is None else batches / accumulate
    task = _described(make, build, lambda _, scheduler: _schedule(scheduler, per_epoch))
    return {**task, "loss": _training_step, "train": train, "val": validation, **own, **given, **planned}


def trainer_arguments(trainer: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the task that a Trainer of transformers describes; those that are given come first."""
    settings = trainer.args
    if _overrides(trainer, "training_step", "transformers"):
        remedy = "Move the loss into compute_loss, or use range_test on your own loop"
        raise TaskError("trainer", f"{type(trainer).__name__}.training_step", "must be that of transformers", remedy)
    own: dict[str, Any] = {
        "clip": settings.max_grad_norm or None,
        "accumulate": settings.gradient_accumulation_steps,
        "precision": "bf16" if settings.bf16 else "fp16" if settings.fp16 else "fp32",
        "device": settings.device,
        "seed": settings.seed,
    }
    own |= {"steps": settings.max_steps} if settings.max_steps > 0 else {"epochs": settings.num_train_epochs}
    own_data = any(_overrides(trainer, name, "transformers") for name in ("get_train_dataloader", "_get_train_sampler"))
    own_data = own_data or getattr(settings, "train_sampling_strategy", "random") != "random"
    train = (
        trainer.get_train_dataloader()
        if own_data
        else _rows(trainer, trainer.train_dataset, settings.train_batch_size, shuffle=True)
    )
    validation = trainer.eval_dataset
    val = None if validation is None else _rows(trainer, validation, settings.eval_batch_size, shuffle=False)
    accumulate = given.get("accumulate", own["accumulate"])
    planned, horizon = _planned(own, given, length_of(train), accumulate)
    task = _described(
        trainer.model_init or (lambda: copy.deepcopy(trainer.model)),
        lambda model: (_trainer_optimizer(trainer, model), None),
        lambda made, _: _trainer_schedule(trainer, made, horizon),
    )

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return as_loss(trainer.compute_loss(model, dict(batch)), training=True)

    return {**task, "loss": loss, "train": train, "val": val, **own, **given, **planned}


def is_described(given: Any) -> bool:
    """Return whether an object, or a module with its data, describes a task."""
    return is_lightning(given) or _is_trainer(given)


def arguments_of(given: Any) -> dict[str, Any]:
    """Return the arguments of the task that an object describes."""
    if _is_trainer(given):
        return trainer_arguments(given, {})
    parts = given if isinstance(given, tuple) else (given,)
    module = next(part for part in parts if _is_module(part))
    trainer = next((part for part in parts if is_lightning_trainer(part)), None)
    data = [part for part in parts if part is not None and part is not module and part is not trainer]
    if len(data) == 1 and isinstance(data[0], tuple) and not any(hasattr(part, "shape") for part in data[0]):
        data = list(data[0])
    if len(data) > 2:
        kinds = ", ".join(type(part).__name__ for part in data)
        raise TaskError("data", kinds, "must be a data module, a loader, or a loader and a validation loader")
    train, val = (*data, None, None)[:2]
    return lightning_arguments(module, train, val, trainer, {})


def is_lightning(given: Any) -> bool:
    """Return whether this is a LightningModule, or a tuple of one and its data."""
    return any(map(_is_module, given)) if isinstance(given, tuple) else _is_module(given)


def _is_module(given: Any) -> bool:
    return hasattr(given, "training_step") and hasattr(given, "configure_optimizers")


def is_lightning_trainer(given: Any) -> bool:
    """Return whether this is a Trainer of Lightning."""
    return hasattr(given, "accumulate_grad_batches") and hasattr(given, "gradient_clip_val")


def _is_trainer(given: Any) -> bool:
    return hasattr(given, "compute_loss") and hasattr(given, "train_dataset")


# ------------------------------------------------------------------- what both share


def _noted(model: nn.Module) -> nn.Module:
    """Return ``model``, and know it by its first trainable parameter from now on."""
    first = next((p for p in model.parameters() if p.requires_grad), None)
    if first is not None:
        _OWNERS[id(first)] = model
    return model


def _owner(parameters: Iterable[Tensor]) -> nn.Module:
    """Return the model that these are the trainable parameters of: optimizers of trainers are made from models."""
    first = next(iter(parameters), None)
    owner = _OWNERS.get(id(first))
    if owner is None or not any(p is first for p in owner.parameters()):
        raise TaskError("optimizer", "parameters of another model", "must be made for a model of this task")
    return owner


def _overrides(given: Any, name: str, *packages: str) -> bool:
    """Return whether the class of an object has a method that is not that of the packages."""
    method = getattr(type(given), name, None)
    return method is not None and method.__module__.partition(".")[0] not in packages


def _planned(
    own: dict[str, Any], given: Mapping[str, Any], batches: int | None, accumulate: int
) -> tuple[dict[str, Any], int | None]:
    """Return steps or epochs, those that are given before those taken out of ``own``, and the number of steps."""
    taken = {name: own.pop(name) for name in ("steps", "epochs") if name in own}
    planned = {name: given[name] for name in ("steps", "epochs") if given.get(name) is not None} or taken
    if "steps" in planned:
        return planned, planned["steps"]
    known = batches is not None and "epochs" in planned
    return planned, round(planned["epochs"] * batches / accumulate) if known else None


def _described(
    make: Callable[[], nn.Module],
    build: Callable[[nn.Module], tuple[Optimizer, Any]],
    rate: Callable[[Optimizer, Any], Rate],
) -> dict[str, Any]:
    """Return the arguments of a task, given what makes models, their optimizers and schedulers, and rates of those."""

    def new() -> nn.Module:
        return _noted(make())

    def optimizer(parameters: Iterable[Tensor], lr: float) -> Optimizer:
        return _at(build(_owner(parameters))[0], lr)

    with preserved(seed=0), _quiet():
        model = make()
        made, scheduler = build(model)
        schedule = rate(made, scheduler)
    optimizer.__name__ = type(made).__name__
    name = type(model).__name__
    return {"model": new, "loss_takes": "model", "optimizer": optimizer, "schedule": schedule, "name": name}


def _at(optimizer: Optimizer, lr: float) -> Optimizer:
    """Return an optimizer with its highest peak rate at ``lr``, and the others in their ratios to it."""
    peaks = [float(group.pop("initial_lr", group["lr"])) for group in optimizer.param_groups]
    highest = max(peaks)
    if highest <= 0:
        raise TaskError("optimizer", peaks, "must have a group with a learning rate > 0")
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = lr * (peak / highest)
    return optimizer


def _rate_of(scheduler: Any) -> Rate:
    if scheduler is None or type(scheduler).__name__ == "ReduceLROnPlateau":
        return None  # it answers to a run, and is no part of the question which rate to begin with
    if isinstance(scheduler, BoundScheduler):
        return scheduler.schedule.rate
    return from_torch(scheduler).rate


def _schedule(config: Mapping[str, Any], per_epoch: float | None) -> Rate:
    """Return the factor of each update that a scheduler of Lightning sets."""
    scheduler = config.get("scheduler")
    rate = _rate_of(scheduler)
    if rate is None or isinstance(scheduler, BoundScheduler) or config.get("interval") == "step":
        return rate
    if per_epoch is None:
        remedy = "Give its interval as 'step', or schedule= of stepsize"
        raise TaskError("schedule", type(scheduler).__name__, "counts epochs, but the data have no length", remedy)
    frequency = config.get("frequency", 1)
    factor: Any = rate
    return lambda step: float(factor(int(step / per_epoch) // frequency))


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ------------------------------------------------------------------------- Lightning


def _loaders(module: Any, data: Any, val: Any) -> tuple[Any, Any]:
    source = data if data is not None else module if isinstance(module, nn.Module) else module()
    if not hasattr(source, "train_dataloader"):
        return data, val
    for prepare, arguments in (("prepare_data", ()), ("setup", ("fit",))):
        if callable(getattr(source, prepare, None)):
            getattr(source, prepare)(*arguments)
    with _quiet():
        train = _maybe(source, "train_dataloader")
        validation = val if val is not None else _first(_maybe(source, "val_dataloader"))
    if train is None:
        raise TaskError("data", type(source).__name__, "must have a train_dataloader", "Pass (module, data)")
    return train, validation


def _maybe(source: Any, name: str) -> Any:
    """Return what a method gives; None where it is the empty one of Lightning."""
    try:
        return getattr(source, name)()
    except Exception as error:  # what it raises is a class of its own
        if type(error).__name__ == "MisconfigurationException":
            return None
        raise


def _first(loaders: Any) -> Any:
    return loaders[0] if isinstance(loaders, list | tuple) and loaders else loaders or None


def _lightning_settings(trainer: Any, batches: int | None) -> dict[str, Any]:
    if trainer is None:
        return {}
    _check_trainer(trainer)
    task: dict[str, Any] = {
        "clip": trainer.gradient_clip_val or None,
        "accumulate": trainer.accumulate_grad_batches,
        "precision": _PRECISIONS[str(trainer.precision)],
    }
    if trainer.max_steps is not None and trainer.max_steps > 0:
        task["steps"] = trainer.max_steps
    elif trainer.max_epochs is not None and trainer.max_epochs > 0:
        task["epochs"] = trainer.max_epochs * _used(trainer, batches)
    return task


def _check_trainer(trainer: Any) -> None:
    """Raise TaskError if a trainer trains in a way that a task does not have."""
    if str(trainer.precision) not in _PRECISIONS:
        rule, remedy = f"must be one of: {', '.join(_PRECISIONS)}", "Pass precision= of a task, or another trainer"
        raise TaskError("trainer.precision", trainer.precision, rule, remedy)
    clips = str(getattr(trainer, "gradient_clip_algorithm", None) or "norm").rpartition(".")[2].lower()
    if trainer.gradient_clip_val and clips != "norm":
        raise TaskError(
            "trainer.gradient_clip_algorithm", clips, "must be 'norm'", "A search clips the norm of the gradient"
        )
    for callback in getattr(trainer, "callbacks", ()):
        kind = next((one.__name__ for one in type(callback).__mro__ if one.__name__ in _OWN_RUNS), None)
        if kind is not None:
            remedy = "Pass a trainer without it; for unfreezing, search with what is trained at first"
            rule = f"must not change the run; {kind} does, and the search does not call it"
            raise TaskError("trainer.callbacks", type(callback).__name__, rule, remedy)


def _used(trainer: Any, batches: int | None) -> float:
    """Return the fraction of the batches that a trainer reads in an epoch."""
    limit = getattr(trainer, "limit_train_batches", None)
    if batches is None or limit is None or isinstance(limit, bool):
        return 1.0
    return max(1, int(batches * limit)) / batches if isinstance(limit, float) else min(1.0, limit / batches)


class _Standin:
    """What a module that trains by itself sees as its trainer: the progress of its run, and nothing that logs."""

    def __init__(self, trainer: Any, steps: int | None, epochs: Any, accumulate: int) -> None:
        self._trainer, self._batches, self._accumulate = trainer, 0, accumulate
        self._per_epoch = max(1, round(steps / epochs)) if steps and epochs else None
        self.estimated_stepping_batches, self.max_steps, self.max_epochs = steps, steps or -1, epochs
        self.accumulate_grad_batches = accumulate
        self.model: Any = lambda: None  # a weak reference: the model refers to this
        self._made: list[Any] = []
        self.lr_scheduler_configs = self.loggers = self.callbacks = ()
        self.logger = self.datamodule = None
        self.callback_metrics: dict[str, Any] = {}
        self.logged_metrics = self.progress_bar_metrics = self.callback_metrics
        self.training, self.validating, self.sanity_checking, self.is_global_zero = True, False, False, True
        self.world_size, self.num_nodes, self.num_devices = 1, 1, 1
        self.global_rank = self.local_rank = self.node_rank = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self._trainer is None:
            rule = f"is read by the module as self.trainer.{name}, which this search does not have"
            raise AttributeError(f"trainer {rule}; pass trainer= to Task.from_lightning")
        return getattr(self._trainer, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Standin:
        made = type(self)(self._trainer, self.estimated_stepping_batches, self.max_epochs, self._accumulate)
        made._batches = self._batches
        if id(self.model()) in memo:
            made.model = weakref.ref(memo[id(self.model())])
        return made

    def took(self, optimizer: Optimizer) -> None:
        """Note the optimizer of the run: the first; a second one is only made to compare its rates."""
        self._made = self._made or [optimizer]

    @property
    def optimizers(self) -> list[Any]:
        """The optimizer; a new one if the model is only evaluated."""
        if not self._made and self.model() is not None:
            return [_configured(self.model())[0]]
        return self._made

    @property
    def strategy(self) -> Any:
        """What ``self.optimizers()`` of a module reads."""
        return SimpleNamespace(_lightning_optimizers=self.optimizers)

    def batch(self) -> int:
        """Return the number of the next batch."""
        self._batches += 1
        return self._batches - 1

    @property
    def global_step(self) -> int:
        """Number of updates made."""
        return max(0, self._batches - 1) // self._accumulate

    @property
    def current_epoch(self) -> int:
        """Number of passes over the data that were made."""
        return self.global_step // self._per_epoch if self._per_epoch else 0


def _lightning_model(module: Any, trainer: _Standin) -> nn.Module:
    """Return a module that trains by itself: its logging is silent."""
    if isinstance(module, nn.Module):
        source: Any = module
        attached, source._trainer = getattr(source, "_trainer", None), None
        try:
            made: Any = copy.deepcopy(source)
        finally:
            source._trainer = attached
    else:
        made = module()
    if not getattr(made, "automatic_optimization", True):
        remedy = "Write the loss as loss(model, batch) of a stepsize.Task, or use range_test on your own loop"
        raise TaskError("module", type(made).__name__, "must use automatic optimization", remedy)
    for hook in _OWN_UPDATES:
        if _overrides(made, hook, "lightning", "pytorch_lightning"):
            remedy = (
                f"Remove {hook} (clipping and accumulation can be the trainer's), or use range_test on your own loop"
            )
            raise TaskError("module", f"{type(made).__name__}.{hook}", "must be Lightning's own in a search", remedy)
    made._trainer = made._stepsize_trainer = trainer  # a copy of a module has no trainer
    trainer.model = weakref.ref(made)
    for name in ("log", "log_dict"):
        object.__setattr__(made, name, _silent)
    return made  # type: ignore[no-any-return]


def _silent(*_: Any, **__: Any) -> None:
    """Log nothing: a search trains many runs."""


def _training_step(model: Any, batch: Any) -> Tensor:
    if model._trainer is None:
        model._trainer = model._stepsize_trainer
    with _quiet():
        for hook in ("on_before_batch_transfer", "on_after_batch_transfer"):  # where batches are augmented
            batch = getattr(model, hook, _same)(batch, 0)
        output = model.training_step(batch, model._trainer.batch() if model.training else 0)
    return as_loss(output[0] if isinstance(output, tuple) else output, training=True)


def _same(batch: Any, _: int) -> Any:
    return batch


def _configured(model: Any) -> tuple[Optimizer, Mapping[str, Any]]:
    """Return the optimizer of ``configure_optimizers``, and its scheduler with how it is called."""
    with _quiet():
        found = model.configure_optimizers()
    schedulers: Any = ()
    if isinstance(found, tuple | list) and found and isinstance(found[0], list | tuple):
        found, schedulers = found
    if isinstance(found, tuple | list) and len(found) == 1:
        found = found[0]
    scheduler = next(iter(schedulers), None)
    if isinstance(found, Mapping):
        found, scheduler = found["optimizer"], found.get("lr_scheduler")
    if not isinstance(found, Optimizer):
        remedy = "With several optimizers, use range_test on your own loop"
        raise TaskError("optimizer", type(found).__name__, "must be one torch.optim.Optimizer", remedy)
    config: Mapping[str, Any] = scheduler if isinstance(scheduler, Mapping) else {"scheduler": scheduler}
    bound = config.get("scheduler")
    if isinstance(bound, BoundScheduler):
        bound.release()  # the task sets the rates
    return found, config


# ----------------------------------------------------------------------- transformers


def _rows(trainer: Any, dataset: Any, size: int, *, shuffle: bool) -> DataLoader[Any]:
    if dataset is None:
        raise InputError("trainer", None, "must have a train_dataset")
    if hasattr(dataset, "column_names") and hasattr(trainer, "_remove_unused_columns"):
        dataset = trainer._remove_unused_columns(dataset)
    sized = not isinstance(dataset, torch.utils.data.IterableDataset)
    return DataLoader(dataset, batch_size=size, shuffle=shuffle and sized, collate_fn=trainer.data_collator)


def _trainer_optimizer(trainer: Any, model: nn.Module) -> Optimizer:
    """Return the trainer's optimizer for another model."""
    own = bare_optimizer(trainer.optimizer)
    if own is not None:
        return _moved(own, trainer.model, model)
    kept = trainer.model
    trainer.model = model
    try:
        made: Optimizer = trainer.create_optimizer()
    finally:
        trainer.model, trainer.optimizer = kept, None
    return made


def _moved(optimizer: Optimizer, old: nn.Module, new: nn.Module) -> Optimizer:
    """Return an optimizer of the same class and groups over the parameters of another model."""
    names = {id(p): name for name, p in old.named_parameters()}
    parameters = dict(new.named_parameters())
    groups = [
        {**group, "params": [parameters[names[id(p)]] for p in group["params"] if id(p) in names]}
        for group in optimizer.param_groups
    ]
    return remade(optimizer, groups)


def _trainer_schedule(trainer: Any, optimizer: Optimizer, steps: int | None) -> Rate:
    given = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
    if given is not None:
        return _rate_of(given)
    try:
        made = trainer.create_scheduler(num_training_steps=steps, optimizer=optimizer)
    finally:
        trainer.lr_scheduler = None
        if hasattr(trainer, "_created_lr_scheduler"):
            trainer._created_lr_scheduler = False
    return _rate_of(made)
