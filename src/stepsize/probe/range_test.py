"""The range test: any training step, swept over rates, and restored exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from stepsize.checks import check_whole
from stepsize.curves.answer import VerdictCode
from stepsize.curves.critical import Critical
from stepsize.curves.range_reading import REFERENCE_SPEED, RangeReading, suggest
from stepsize.errors import InputError
from stepsize.plain import plain
from stepsize.probe.controlled import MOST_SKIPPED, Batches, ControlledStep, SpoiledError
from stepsize.probe.critical import RANGE
from stepsize.probe.ramp import RateRamp, run_ramp
from stepsize.probe.state import StepState, find_state
from stepsize.training.binding import BoundScheduler
from stepsize.training.border import undisturbed
from stepsize.training.position import seed_everything
from stepsize.training.snapshot import Snapshot
from stepsize.training.stepping import Stepper
from stepsize.training.taking import takes_parts
from stepsize.training.task import Task
from stepsize.training.wrapped import bare_optimizers
from stepsize.views import Chart, Pictured, draw, range_test_info

_BELOW_CRITICAL = 2.5  # decades below the critical rate at which a ramp begins: nothing is learned there yet
_SPAN = 3.0  # smallest number of decades of a ramp, if the range allows
_FEWEST_STEPS = 10
_LEVEL_OF = 5  # last losses of a diverged ramp, whose median is its level
_SAME = 1e-3  # relative difference of two losses that rounding explains
DEFAULT_RANGE = (1e-7, 10.0)
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class RangeTest(Pictured):
    """What a range test found.

    Attributes:
        lr: Suggested rate of the reference group (the group with the highest rate); None without an answer.
        multiplier: ``lr`` over the reference group's own rate: the factor for the rates of all groups.
        low: Lowest rate that learns visibly; None if not seen.
        high: Highest rate before the loss rises; None if not seen.
        diverged_at: Rate at which half of the progress is undone; None if nothing diverged.
        interval: Where ``lr`` falls in 90% of resamplings of the noise.
        verdict: ``"open"`` if the loss was seen to fall and to rise again: the first steps at a constant rate settle no
            rate of a full run. ``"no answer"`` otherwise.
        reason: The reason, as sentences.
        critical: Probe of the critical rate at the starting point.
        lrs: Reference rate of each update, shape ``(n,)``.
        losses: Raw loss of each update, the mean over its batches, shape ``(n,)``.
        ramp: Number of the ramp of each update, shape ``(n,)``.
        reading: The whole analysis with its fit.
        calls: Number of calls of ``step``, the probe included.
        seconds: Wall time.
        restored: Whether everything that ``step`` can change is restored exactly, verified by checksum.
        differences: The parts that are not restored; empty if ``restored``.
        snapshot_bytes: Memory of the copies.
        batches: Batches to continue training with: ``batches`` itself, or, for a one-shot iterator,
            one that yields the drawn batches again before the rest.
    """

    lr: float | None
    multiplier: float | None
    low: float | None
    high: float | None
    diverged_at: float | None
    interval: tuple[float, float] | None
    verdict: VerdictCode
    reason: str
    critical: Critical
    lrs: Array
    losses: Array
    ramp: NDArray[np.int64]
    reading: RangeReading
    calls: int
    seconds: float
    restored: bool
    differences: tuple[str, ...]
    snapshot_bytes: int
    batches: Iterable[Any]

    @property
    def status(self) -> str:
        """The verdict and its reason."""
        return f"{self.verdict.capitalize()}. {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``; a loss that is not finite becomes None."""
        named = ("lr", "multiplier", "low", "high", "diverged_at", "interval", "verdict", "reason", "restored")
        told = {
            **{name: getattr(self, name) for name in named},
            "critical": self.critical.lr,
            "cost": {"calls": self.calls, "seconds": self.seconds, "snapshot_bytes": self.snapshot_bytes},
            "curve": {"lr": self.lrs, "loss": self.losses, "ramp": self.ramp},
            "differences": self.differences,
        }
        return cast("dict[str, Any]", plain(told))

    def plot(self, title: str = "Range test") -> Chart:
        """Return the chart: raw losses, the fit, and the rates read off it."""
        info = range_test_info(
            self.lrs,
            self.losses,
            fit_lrs=self.reading.fit_lrs,
            fit_losses=self.reading.fit_losses,
            title=title,
            subtitle=self.status,
            start_loss=self.reading.start_loss if math.isfinite(self.reading.start_loss) else None,
            low=self.low,
            lr=self.lr,
            high=self.high,
            diverged_at=self.diverged_at,
            interval=self.interval,
            ramp=self.ramp,
        )
        return draw(info)


@takes_parts
def range_test(
    step: Callable[[Any], Any] | Any,
    optimizer: Optimizer | Iterable[Optimizer] | None = None,
    batches: Iterable[Any] | None = None,
    *,
    lr: tuple[float, float] = DEFAULT_RANGE,
    steps: int = 300,
    seed: int | None = None,
    state: Iterable[Any] = (),
    offload: bool = False,
    on_progress: Callable[[float, float], None] | None = None,
) -> RangeTest:
    """Sweep the learning rate of any training step, and report which rates learn and which diverge.

    First the critical rate is probed: the smallest one at which an update raises the loss of its own batch.
    From 2.5 decades below it the rate is then raised by a factor 10^(1/32) per step until the progress is undone. More
    ``steps`` mean more such ramps, each from the same state on other batches, not slower ones: the answer gets
    more reliable and does not move. See :func:`stepsize.suggest` for how the losses are read.

    The rates are swept as one multiplier, so the ratios between parameter groups and between optimizers
    stay. Schedulers of the optimizers do nothing meanwhile. The sweep goes by updates: if ``step`` makes one in every
    fourth call only, each rate gets four calls. A batch without a finite loss at the initial weights either (all of its
    labels are ignored, say) is left out, and ``reason`` says so. All state that
    ``step`` can change is saved first and restored at the end, also after an exception or Ctrl-C: the
    modules around the optimizers' parameters with all buffers, gradients and flags, the optimizers, schedulers,
    scalers, averages and other objects with a ``state_dict`` that the function refers to, the generators of python,
    numpy and torch, and those of the loader's samplers. Plain python variables of ``step`` are not restored, nor
    the batches drawn from a one-shot iterator if ``step`` raises; if the same batch has another loss after a rewind,
    ``reason`` says so.

    Args:
        step: ``step(batch) -> loss``: one full update (forward, backward, clipping, ``optimizer.step()``, ...)
            that returns its loss: a number, a scalar tensor, or an object, dict or tuple that holds one. Or alone: a
            task, or what :meth:`Task.of` makes one of; then a new model of it is tested, at constant rate.
        optimizer: The optimizer, or several that train together.
        batches: Any iterable of batches. With a one-shot iterator, continue with ``result.batches`` afterwards.
        lr: Lowest and highest rate of the reference group to consider, absolute.
        steps: Steps to spend on ramps, >= 10; about 100 make one ramp over three decades, and three ramps an
            answer that another order of the batches hardly moves.
        seed: Random seed of dropout and everything else that ``step`` draws; the same seed gives the same answer.
            Default: 0, or the task's.
        state: Further objects to restore (modules, or with ``state_dict``) that ``step`` does not refer to.
        offload: Whether copies are held in host memory.
        on_progress: Called with rate and loss after each step.

    Returns:
        The rates, the raw losses, the verdict, and whether the state is restored.

    Raises:
        InputError: If an argument breaks its rule, or ``step`` makes no update, gives no parameter a gradient, or
            returns no scalar.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> def step(batch):
        ...     x, y = batch
        ...     optimizer.zero_grad()
        ...     loss = (net(x) - y).square().mean()
        ...     loss.backward()
        ...     optimizer.step()
        ...     return loss
        >>> inputs = [torch.randn(32, 4) for _ in range(50)]
        >>> batches = [(x, x.sum(1, keepdim=True) + 0.3 * torch.randn(32, 1)) for x in inputs]
        >>> found = range_test(step, optimizer, batches)
        >>> found.restored, found.verdict, 0.01 < found.lr < 1
        (True, 'open', True)

    Reference:
        Smith, "Cyclical learning rates for training neural networks", 2017; Kalra et al., arXiv 2601.16979,
        2026, for the probe.
    """
    if optimizer is None and batches is None:
        task = Task.of(step)
        return _test_task(task, lr, steps, task.seed if seed is None else seed, on_progress)
    if batches is None:
        raise InputError("batches", None, "must be an iterable of batches", "Only a task is tested without")
    optimizers = bare_optimizers("optimizer", optimizer)
    _check(step, lr, steps)
    found = find_state(step, optimizers, state)
    return _sweep(found, step, optimizers, batches, lr, steps, seed or 0, on_progress, offload=offload)


def _test_task(
    task: Task,
    lr: tuple[float, float],
    steps: int,
    seed: int,
    on_progress: Callable[[float, float], None] | None,
) -> RangeTest:
    """Test a new model of ``task``, at constant rate, with its clipping, accumulation and precision."""
    with undisturbed(task, seed):
        stepper = Stepper(task, 1e-3)
        _check(stepper.update, lr, steps)
        state = StepState([stepper.model], [stepper.optimizer], stepper.stateful)
        batches = _Grouped(task.train, task.accumulate)
        return _sweep(state, stepper.update, state.optimizers, batches, lr, steps, seed, on_progress)


@dataclass(frozen=True, eq=False)
class _Grouped:
    """The batches of ``source`` in lists of ``size``, those of one update each."""

    source: Iterable[Any]
    size: int

    def __iter__(self) -> Iterator[list[Any]]:
        batches = iter(self.source)
        while group := list(islice(batches, self.size)):
            yield group


def _sweep(
    state: StepState,
    step: Callable[[Any], Any],
    optimizers: list[Optimizer],
    batches: Iterable[Any],
    lr: tuple[float, float],
    steps: int,
    seed: int,
    on_progress: Callable[[float, float], None] | None,
    *,
    offload: bool = False,
) -> RangeTest:
    began = time.perf_counter()
    feed = Batches(batches)
    take = partial(Snapshot, modules=state.modules, optimizers=state.optimizers, others=state.others, offload=offload)
    snapshot = take(data=[batches])
    with ExitStack() as after:
        after.callback(snapshot.restore)
        after.enter_context(_muted(state.others))
        seed_everything(seed)
        controlled = ControlledStep(step, optimizers, take, feed, seed)
        after.callback(controlled.rates.close)
        critical, notes = _probe(controlled, feed, lr)
        ramps = _run_ramps(controlled, critical, lr, steps, on_progress)
    differences = tuple(snapshot.differences())
    reading = suggest(*_as_if_finished(ramps), repeats=len(ramps), seed=seed)
    return RangeTest(
        lr=reading.lr,
        multiplier=None if reading.lr is None else reading.lr / controlled.rates.reference,
        low=reading.low,
        high=reading.high,
        diverged_at=reading.diverged_at,
        interval=reading.interval,
        verdict=reading.verdict,
        reason=_reason(reading, critical, lr, ramps) + notes + _about_calls(controlled),
        critical=critical,
        lrs=np.concatenate([ramp.lrs for ramp in ramps]),
        losses=np.concatenate([ramp.losses for ramp in ramps]),
        ramp=np.concatenate([np.full(len(ramp.lrs), index) for index, ramp in enumerate(ramps)]),
        reading=reading,
        calls=controlled.calls,
        seconds=time.perf_counter() - began,
        restored=not differences,
        differences=differences,
        snapshot_bytes=snapshot.nbytes,
        batches=feed.rest(),
    )


@contextmanager
def _muted(objects: Iterable[Any]) -> Iterator[None]:
    """Let the schedulers among ``objects`` do nothing in the block: their rates are not used, and some have an end."""
    with ExitStack() as after:
        for one in objects:
            if isinstance(one, BoundScheduler):
                after.enter_context(one.suspend())
            elif isinstance(one, LRScheduler):
                one.step = lambda *_, **__: None  # type: ignore[method-assign]
                after.callback(delattr, one, "step")
        yield


def _check(step: object, lr: object, steps: object) -> None:
    if not callable(step):
        raise InputError("step", step, "must be a function of one batch that makes an update and returns its loss")
    pair = isinstance(lr, tuple | list) and len(lr) == 2 and all(isinstance(end, int | float) for end in lr)
    if not pair or not 0 < lr[0] < lr[1] < math.inf:  # type: ignore[index]
        raise InputError("lr", lr, "must be a pair (low, high) of rates with 0 < low < high")
    check_whole("steps", steps, _FEWEST_STEPS)


def _probe(controlled: ControlledStep, feed: Batches, lr: tuple[float, float]) -> tuple[Critical, str]:
    """Probe the critical rate on the first batch with a finite loss; return it, and what is unusual of ``step``."""
    middle = min(max(1e-3, lr[0]), lr[1])
    between = (min(RANGE[0], lr[0]), max(RANGE[1], lr[1]))
    while True:
        batch = next(feed)
        critical = controlled.critical(batch, start=middle, between=between)
        if math.isfinite(critical.base_loss) or controlled.left_out == MOST_SKIPPED:
            break
        controlled.left_out += 1
    if not controlled.rates.updates:
        rule, remedy = "must call optimizer.step()", "Is it the optimizer that you passed?"
        raise InputError("step", "a function that made no update", rule, remedy)
    if not (controlled.rates.with_gradients or critical.trials):
        rule = "must give a parameter of the optimizer a gradient"
        remedy = "Was the model copied or moved after the optimizer was made? Make the optimizer again"
        raise InputError("step", "a function that gave none", rule, remedy)
    again = controlled(batch, middle)  # as at first: a step may make several updates
    controlled.complete(batch)
    if not abs(again - critical.base_loss) > _SAME * max(abs(critical.base_loss), 1e-6):  # or one is NaN
        return critical, ""
    return critical, (
        f" The same batch has a loss of {critical.base_loss:.6g} at first and of {again:.6g} after the state was "
        "restored: step keeps state that is not found, or draws from a generator of its own. Pass it as state=[…]."
    )


def _run_ramps(
    controlled: ControlledStep,
    critical: Critical,
    lr: tuple[float, float],
    steps: int,
    on_progress: Callable[[float, float], None] | None,
) -> list[RateRamp]:
    """Run ramps over the same grid until ``steps`` are spent; only one if nothing can be read from it."""
    rates = _grid(critical, lr, steps, controlled.rates.amplification)
    ramps: list[RateRamp] = []
    spent = 0
    while not ramps or (len(ramps[0].lrs) >= _FEWEST_STEPS and spent + len(ramps[0].lrs) <= steps):
        controlled.rewind(len(ramps))
        try:
            ramps.append(run_ramp(controlled.update, rates, on_progress))
        except SpoiledError:
            continue
        spent += len(ramps[-1].lrs)
    return ramps


def _as_if_finished(ramps: list[RateRamp]) -> tuple[Array, Array]:
    """Return rates and losses of all ramps over the same rates, as if those that diverged had stayed diverged.

    Otherwise only the ramps that happened to finish would count at the highest rates.
    """
    longest = max((ramp.lrs for ramp in ramps), key=len)
    losses = []
    for ramp in ramps:
        missing = len(longest) - len(ramp.lrs)
        level = float(np.median(ramp.losses[-_LEVEL_OF:]))
        losses.append(np.concatenate([ramp.losses, np.full(missing, level)]))
    return np.tile(longest, len(ramps)), np.concatenate(losses)


def _grid(critical: Critical, lr: tuple[float, float], steps: int, amplification: float) -> Array:
    low, high = (math.log10(end) for end in lr)
    below = _BELOW_CRITICAL + math.log10(amplification)
    start = low if critical.lr is None else max(low, min(math.log10(critical.lr) - below, high - _SPAN))
    # Fewer steps than a ramp needs make it faster, never shorter: the reading carries that to the reference speed.
    speed = min(REFERENCE_SPEED, steps / min(high - start, _SPAN))
    # A narrow range is walked in the fewest steps that can be read, never left.
    speed = max(speed, (_FEWEST_STEPS - 1) / (high - start))
    count = max(_FEWEST_STEPS, int((high - start) * speed) + 1)
    return np.asarray(10 ** (start + np.arange(count) / speed))


def _reason(reading: RangeReading, critical: Critical, lr: tuple[float, float], ramps: list[RateRamp]) -> str:
    if not math.isfinite(critical.base_loss):
        return (
            f"The loss is not finite before any update, on {MOST_SKIPPED} batches in a row: no learning rate can fix "
            "this. Check the data, the weights and the loss."
        )
    if reading.lr is not None and len(ramps) > 1:
        return f"{reading.reason} {len(ramps)} ramps agree in one fit."
    if reading.lr is None and reading.low is not None and ramps[0].lrs[-1] < lr[1] * 0.5:
        return f"{reading.reason} The ramp ended early, when all progress was undone."
    return reading.reason


def _about_calls(controlled: ControlledStep) -> str:
    notes = ""
    if controlled.drawn > 1.5 * controlled.made:
        notes += f" {controlled.drawn} calls of step made {controlled.made} updates: the sweep goes by updates."
    if controlled.left_out and controlled.made:
        notes += f" Left out: {controlled.left_out} batches without a finite loss at the initial weights either."
    return notes
