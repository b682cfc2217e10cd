"""Everybody who picks a rate: the real torch-lr-finder and Lightning tuner, fastai's rules, defaults, and stepsize."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from benchmarks.fastai_rules import FASTAI_RULES, Smoothed, argmin_tenth, trimmed
from stepsize.optimizers import OPTIMIZERS
from stepsize.training import Task
from stepsize.training.batches import Stream
from stepsize.training.position import preserved
from stepsize.training.stepping import build_model, build_optimizer

__all__ = [
    "PICKERS",
    "TOOLS_OF",
    "Conditions",
    "Pick",
    "Sweep",
    "answer",
    "default_lr",
    "pick_with",
    "sweep",
]

_STEPS = 100  # what each of these tools takes by default
_RANGE_TEST_STEPS = 300  # what stepsize.range_test takes by default
_STOP_AT = 4.0  # fastai stops where the smoothed loss is so many times its best


@dataclass(frozen=True)
class Pick:
    """The answer of one tool on one task.

    Attributes:
        tool: Who answers.
        lr: The rate; None where it gave no answer.
        cost: In trainings: updates made ÷ the horizon, or what stepsize says of itself.
        seconds: Wall time.
        wall: Wall time ÷ that of a training, where the tool measures it.
        note: Why there is no answer, or a word on it.
        interval: The range of rates that the tool calls good, where it gives one.
        code: Of its verdict, where it has one.
        sure: How probable it calls it that the rate is as good as promised, where it does.
    """

    tool: str
    lr: float | None
    cost: float = 0.0
    seconds: float = 0.0
    note: str = ""
    interval: tuple[float, float] | None = None
    wall: float | None = None
    code: str = ""
    sure: float | None = None


@dataclass(frozen=True)
class Conditions:
    """How a test differs from the tool's own defaults.

    Args:
        more_steps: Times as many steps.
        shift: Decades by which both ends of the range of rates lie higher.
        scale: What the reported losses are multiplied by; gradients stay as they are.
        offset: What is added to them.
        shuffle: Seed of another order of the batches, from the same initial weights; None keeps the order.
    """

    more_steps: int = 1
    shift: float = 0.0
    scale: float = 1.0
    offset: float = 0.0
    shuffle: int | None = None

    @property
    def steps(self) -> int:
        return _STEPS * self.more_steps

    def range(self, low: float, high: float) -> tuple[float, float]:
        return low * 10**self.shift, high * 10**self.shift

    def report(self, loss: Tensor) -> Tensor:
        """Return ``loss`` as it is to be seen by the tool, with the gradient that it has."""
        return loss + (loss.detach() * (self.scale - 1) + self.offset)


def default_lr(task: Task) -> float:
    """Return the rate that people take without a search: 1e-3 with Adam and its variants, 0.1 with SGD."""
    if isinstance(task.optimizer, str):
        return OPTIMIZERS[task.optimizer].default_lr
    with preserved(seed=task.seed):
        built = build_optimizer(task, build_model(task), 1.0)
    return OPTIMIZERS["sgd" if isinstance(built, torch.optim.SGD) else "adamw"].default_lr


def pick_with(picker: str, task: Task, conditions: Conditions | None = None) -> list[Pick]:
    """Let ``picker`` (a key of :data:`PICKERS`) answer under ``task.seed``; one sweep may serve several rules."""
    began = time.perf_counter()
    picks = PICKERS[picker](task, conditions or Conditions())
    seconds = float(f"{time.perf_counter() - began:.3g}")
    return [replace(pick, seconds=seconds) for pick in picks]


def _checked(tool: str, lr: float | None, updates: int, task: Task, note: str = "") -> Pick:
    cost = float(f"{updates / task.horizon:.4g}")
    if lr is None or not (math.isfinite(lr) and lr > 0):
        return Pick(tool, None, cost, note=note or f"answered {lr}")
    return Pick(tool, lr, cost, note=note)


@contextlib.contextmanager
def _started(task: Task, conditions: Conditions, lr: float) -> Iterator[tuple[nn.Module, Optimizer]]:
    """Give a new model with its optimizer, under the task's seed."""
    with preserved(seed=task.seed):
        model = build_model(task)
        optimizer = build_optimizer(task, model, lr)
        if conditions.shuffle is not None:
            torch.manual_seed(conditions.shuffle)
        yield model, optimizer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what other people's tools print, log and warn of."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


class _LossModel(nn.Module):
    """A model whose output is the loss: so tools that know only criterion(model(x), y) train any task."""

    def __init__(self, task: Task, model: nn.Module, conditions: Conditions) -> None:
        super().__init__()
        self.model = model
        self._task = task
        self._conditions = conditions
        self.updates = 0

    def forward(self, batch: Any) -> Tensor:
        self.updates += 1
        return self._conditions.report(self._task.compute_loss(self.model, batch))


class _Batches(IterableDataset[Any]):
    """The task's own batches, each passed on whole; ``paired`` with an empty target where a tool wants one."""

    def __init__(self, task: Task, *, paired: bool) -> None:
        self._task = task
        self._paired = paired

    def __iter__(self) -> Iterator[Any]:
        for batch in self._task.train:
            yield (batch, torch.zeros(())) if self._paired else batch


def _loader(task: Task, *, paired: bool) -> DataLoader[Any]:
    return DataLoader(_Batches(task, paired=paired), batch_size=None, collate_fn=lambda batch: batch)


def _torch_lr_finder(task: Task, conditions: Conditions) -> list[Pick]:
    tool = "torch-lr-finder"
    # Its defaults, from 1e-7 up as in its README; the number exists only as a by-product of its plot.
    low, high = conditions.range(1e-7, 10.0)
    with _quiet():
        importlib.import_module("matplotlib").use("Agg")
        finders = importlib.import_module("torch_lr_finder")
        pyplot = importlib.import_module("matplotlib.pyplot")
        with _started(task, conditions, low) as (model, optimizer):
            wrapped = _LossModel(task, model, conditions)
            finder = finders.LRFinder(wrapped, optimizer, lambda loss, _: loss)
            finder.range_test(_loader(task, paired=True), end_lr=high, num_iter=conditions.steps)
        try:
            _, lr = finder.plot(suggest_lr=True)
        except RuntimeError as failure:  # too few points
            return [_checked(tool, None, wrapped.updates, task, str(failure))]
        finally:
            pyplot.close("all")
    return [_checked(tool, float(lr), wrapped.updates, task)]


def _lightning(task: Task, conditions: Conditions) -> list[Pick]:
    with _quiet():
        lightning = importlib.import_module("lightning.pytorch")
        tuning = importlib.import_module("lightning.pytorch.tuner")
        # Its range is checked by the tool itself; 1e-8 … 1 are its defaults.
        low, high = conditions.range(1e-8, 1.0)

        class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
            def __init__(self, model: nn.Module) -> None:
                super().__init__()
                self.inner = model
                self.lr = default_lr(task)
                self.updates = 0

            def training_step(self, batch: Any, _index: int) -> Tensor:
                self.updates += 1
                return conditions.report(task.compute_loss(self.inner, batch))

            def configure_optimizers(self) -> Optimizer:
                return build_optimizer(task, self.inner, self.lr)

        with _started(task, conditions, low) as (model, _), tempfile.TemporaryDirectory() as folder:
            module = Module(model)
            trainer = lightning.Trainer(
                accelerator="cpu",
                devices=1,
                max_steps=task.horizon,
                gradient_clip_val=task.clip,
                default_root_dir=folder,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            found = tuning.Tuner(trainer).lr_find(
                module, _loader(task, paired=False), min_lr=low, max_lr=high, num_training=conditions.steps
            )
            lr = None if found is None else found.suggestion()
    return [_checked("Lightning tuner", lr, module.updates, task)]


@dataclass(frozen=True)
class Sweep:
    """Rates and losses, raw and smoothed, of one test as fastai makes it."""

    lrs: list[float]
    raw: list[float]
    smoothed: list[float]


def sweep(task: Task, conditions: Conditions) -> Sweep:
    """Train with rates that rise exponentially, until the smoothed loss is four times its best."""
    low, high = conditions.range(1e-7, 10.0)
    made = Sweep([], [], [])
    smooth, best = Smoothed(), math.inf
    with _started(task, conditions, low) as (model, optimizer):
        stream = Stream(task.train)
        for step in range(conditions.steps):
            lr = low * (high / low) ** (step / conditions.steps)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            loss = conditions.report(task.compute_loss(model, next(stream)))
            loss.backward()  # type: ignore[no-untyped-call]
            if task.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), task.clip)
            optimizer.step()
            made.lrs.append(lr)
            made.raw.append(loss.item())
            made.smoothed.append(smooth.update(loss.item()))
            best = min(best, made.smoothed[-1])
            if made.smoothed[-1] > _STOP_AT * best:  # NaN does not stop it: the points are cut off afterwards
                break
    return made


def _swept(task: Task, conditions: Conditions) -> list[Pick]:
    made = sweep(task, conditions)

    def applied(tool: str, rule: Callable[[], float]) -> Pick:
        try:
            return _checked(tool, rule(), len(made.lrs), task)
        except ValueError as failure:
            return _checked(tool, None, len(made.lrs), task, str(failure))

    picks = [
        applied(tool, lambda rule=rule: rule(*trimmed(made.lrs, made.smoothed, conditions.steps)))  # type: ignore[misc]
        for tool, rule in FASTAI_RULES.items()
    ]
    picks.append(applied("argmin ÷ 10, raw", lambda: argmin_tenth(made.lrs, made.raw)))
    picks.append(applied("argmin ÷ 10, smoothed", lambda: argmin_tenth(made.lrs, made.smoothed)))
    return picks


def _fixed(task: Task, _conditions: Conditions) -> list[Pick]:
    return [Pick("fixed default", default_lr(task))]


def _range_test(task: Task, conditions: Conditions) -> list[Pick]:
    stepsize: Any = importlib.import_module("stepsize")
    with _started(task, conditions, default_lr(task)) as (model, optimizer):

        def step(batch: Any) -> Tensor:
            optimizer.zero_grad()
            loss = task.compute_loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            if task.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), task.clip)
            optimizer.step()
            return conditions.report(loss.detach())

        found = stepsize.range_test(
            step,
            optimizer,
            task.train,
            lr=conditions.range(1e-7, 10.0),
            steps=_RANGE_TEST_STEPS * conditions.more_steps,
            seed=task.seed if conditions.shuffle is None else conditions.shuffle,
        )
    pick = _checked("stepsize range_test", found.lr, found.calls, task, found.status)
    return [replace(pick, interval=_as_pair(found.interval))]


def _as_pair(interval: Any) -> tuple[float, float] | None:
    return None if interval is None else (float(interval[0]), float(interval[1]))


def _find(budget: float | None, task: Task, _conditions: Conditions) -> list[Pick]:
    stepsize: Any = importlib.import_module("stepsize")
    found = stepsize.find(task) if budget is None else stepsize.find(task, budget=budget)
    pick = Pick(
        _find_name(budget),
        found.lr,
        float(f"{found.cost.full_runs:.4g}"),
        note=str(found.answer),
        interval=_as_pair(found.as_good),
        code=found.verdict,
        sure=found.sure,
    )
    return [pick]


def _find_name(budget: float | None) -> str:
    return "stepsize find" if budget is None else f"stepsize find, budget {budget:g}"


_FINDS: dict[str, float | None] = {
    "stepsize": None, "stepsize-1": 1.0, "stepsize-3": 3.0, "stepsize-10": 10.0, "stepsize-30": 30.0,
}  # fmt: skip
PICKERS: dict[str, Callable[[Task, Conditions], list[Pick]]] = {
    **{picker: partial(_find, budget) for picker, budget in _FINDS.items()},
    "range-test": _range_test,
    "torch-lr-finder": _torch_lr_finder,
    "lightning": _lightning,
    "sweep": _swept,
    "fixed": _fixed,
}
TOOLS_OF: dict[str, tuple[str, ...]] = {  # the tools that each picker answers for
    **{picker: (_find_name(budget),) for picker, budget in _FINDS.items()},
    "range-test": ("stepsize range_test",),
    "torch-lr-finder": ("torch-lr-finder",),
    "lightning": ("Lightning tuner",),
    "sweep": (*FASTAI_RULES, "argmin ÷ 10, raw", "argmin ÷ 10, smoothed"),
    "fixed": ("fixed default",),
}


def answer(picker: str, task: Task, conditions: Conditions | None = None) -> list[Pick]:
    """Let ``picker`` answer; whatever it raises is its answer too, since a user would have met it.

    Raises:
        ImportError: If the tool is not installed here, which says nothing of it.
    """
    began = time.perf_counter()
    try:
        return pick_with(picker, task, conditions)
    except ImportError:
        raise
    except Exception as failure:  # noqa: BLE001 - every tool fails in its own way
        seconds = float(f"{time.perf_counter() - began:.3g}")
        note = f"{type(failure).__name__}: {failure}"
        return [Pick(tool, None, math.nan, seconds, note) for tool in TOOLS_OF[picker]]
