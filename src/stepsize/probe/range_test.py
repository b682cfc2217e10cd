"""The range test: anyone's own training step, swept over rates, and put back bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.optim import Optimizer

from stepsize.curves import RangeReading, suggest
from stepsize.curves.answer import VerdictCode
from stepsize.curves.critical import Critical
from stepsize.curves.range_reading import REFERENCE_SPEED
from stepsize.errors import InputError
from stepsize.probe.ramp import Ramp, run_ramp
from stepsize.probe.rates import as_optimizers
from stepsize.probe.reach import Reach, reach
from stepsize.probe.stepper import Batches, ControlledStep
from stepsize.training.binding import other_writer
from stepsize.training.rng import seed_everything
from stepsize.training.snapshot import Snapshot
from stepsize.views import Chart, range_test_chart, range_test_info

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEFAULT_RANGE", "RangeTest", "check_range_test", "range_test", "range_test_around"]

_BELOW_CRITICAL = 2.5  # decades below the critical rate where a ramp begins: nothing is learned there yet
_PROBED = (1e-9, 1e4)  # where the critical rate is looked for, so that it does not depend on the range
_SPAN = 3.0  # decades that a ramp has at least, where the range allows
_FEWEST_STEPS = 10
_LEVEL_OF = 5  # last losses of a lost ramp that tell its level
_SKIPPED = 30  # updates that a gradient scaler may skip, halving its scale each time, before it finds it
DEFAULT_RANGE = (1e-7, 10.0)
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RangeTest:
    """What a range test found.

    Attributes:
        lr: The suggested rate of the reference group (the group with the highest rate); None without an answer.
        multiplier: ``lr`` over the reference group's own rate: what to multiply every group's rate with.
        low: The lowest rate that learns visibly; None where not seen.
        high: The highest rate before the loss rises; None where not seen.
        diverged_at: Where half of the progress is lost again; None where nothing diverged.
        interval: Where ``lr`` falls in 90 % of resamplings of the noise.
        verdict: ``"open"`` if the loss was seen to fall and to rise again: the first steps at a constant rate settle no
            rate of a full run. ``"no answer"`` otherwise.
        reason: The reason as sentences.
        critical: What the probe of the critical rate saw at the starting point.
        lrs: The reference rate of each step, shape ``(n,)``.
        losses: The raw loss of each step, shape ``(n,)``.
        ramp: Which ramp each step belongs to, shape ``(n,)``.
        reading: The whole analysis with its fit.
        calls: How often ``step`` was called, the probe included.
        seconds: Wall time.
        restored: Whether everything within reach is back bit for bit, proven by digests.
        differences: The parts that are not back; empty where ``restored``.
        snapshot_bytes: The memory that the copies took.
        batches: What a training should go on with: ``batches`` itself, or, where that was a one-shot
            iterator, one that yields the drawn batches again before the rest.
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
        return {
            "lr": self.lr,
            "multiplier": self.multiplier,
            "low": self.low,
            "high": self.high,
            "diverged_at": self.diverged_at,
            "interval": None if self.interval is None else list(self.interval),
            "verdict": self.verdict,
            "reason": self.reason,
            "critical": self.critical.lr,
            "cost": {"calls": self.calls, "seconds": self.seconds, "snapshot_bytes": self.snapshot_bytes},
            "curve": {
                "lr": self.lrs.tolist(),
                "loss": [loss if math.isfinite(loss) else None for loss in self.losses.tolist()],
                "ramp": self.ramp.tolist(),
            },
            "restored": self.restored,
            "differences": list(self.differences),
        }

    def summary(self) -> dict[str, Any]:
        """Return the answer alone, as plain values."""
        return {"lr": self.lr, "verdict": self.verdict, "reason": self.reason}

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
        return range_test_chart(info)


def range_test(
    step: Callable[[Any], Any],
    optimizer: Optimizer | Iterable[Optimizer],
    batches: Iterable[Any],
    *,
    lr: tuple[float, float] = DEFAULT_RANGE,
    steps: int = 300,
    seed: int = 0,
    state: Iterable[Any] = (),
    offload: bool = False,
    watch: Callable[[float, float], None] | None = None,
) -> RangeTest:
    """Sweep the learning rate of anyone's own training step, and say which rates learn and which diverge.

    First the critical rate is probed: the smallest one at which an update raises the loss of its own batch.
    From 2.5 decades below it the rate is then raised by a factor 10^(1/32) a step until the progress is lost. More
    ``steps`` mean more such ramps, each from the same state on other batches, not slower ones: so the answer gets
    surer and does not move. See :func:`stepsize.suggest` for how the losses are read.

    The rates are swept as one multiplier, so the ratios between parameter groups and between optimizers
    survive; they are written right before each update, so an attached scheduler is no obstacle. Everything within
    reach of ``step`` is saved first and put back at the end, also after an exception or Ctrl-C: the
    modules around the optimizers' parameters with all buffers, gradients and flags, the optimizers, schedulers,
    scalers, averages and other objects with a ``state_dict`` that the function refers to, the generators of python,
    numpy and torch, and those of the loader's samplers. Plain python variables of ``step`` are beyond reach, as are
    the batches drawn from a one-shot iterator if ``step`` raises. A scheduler that ``step`` drives is driven once a
    call: one with a fixed end (``OneCycleLR``) must have more steps left than the test takes.

    Args:
        step: ``step(batch) -> loss``: one full update (forward, backward, clipping, ``optimizer.step()``, ...)
            that returns its loss as a number or a scalar tensor.
        optimizer: The optimizer, or several that train together.
        batches: Any iterable of batches. A one-shot iterator is read too; go on with ``result.batches`` then.
        lr: The lowest and highest rate of the reference group to consider, absolute.
        steps: Updates to spend on ramps, >= 10; about 100 make one ramp over three decades, and three of them an
            answer that another order of the batches hardly moves.
        seed: Of dropout and of whatever else ``step`` draws; the same seed gives the same answer.
        state: Further objects to put back (modules, or with ``state_dict``) that cannot be seen from ``step``.
        offload: Whether copies are kept in host memory.
        watch: Called with rate and loss after each step.

    Returns:
        The rates, the raw losses, the verdict, and whether the state is proven to be back.

    Raises:
        InputError: If an argument breaks its rule, or ``step`` makes no update or returns no scalar.

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
    optimizers = as_optimizers(optimizer)
    check_range_test(step, lr, steps)
    around = reach(step, optimizers, state)
    return range_test_around(
        around, step, optimizers, batches, lr=lr, steps=steps, seed=seed, offload=offload, watch=watch
    )


def range_test_around(
    around: Reach,
    step: Callable[[Any], Any],
    optimizers: list[Optimizer],
    batches: Iterable[Any],
    *,
    lr: tuple[float, float] = DEFAULT_RANGE,
    steps: int = 300,
    seed: int = 0,
    offload: bool = False,
    watch: Callable[[float, float], None] | None = None,
) -> RangeTest:
    """Run :func:`range_test` where it is known what ``step`` touches: looking for that takes longer than short tests.

    Args:
        around: All that is to be put back.
        step: As in :func:`range_test`, and so is what follows.
        optimizers: The optimizers that train together.
        batches: Any iterable of batches.
        lr: The lowest and highest rate.
        steps: Updates to spend on ramps.
        seed: Of what ``step`` draws.
        offload: Whether copies are kept in host memory.
        watch: Called with rate and loss after each step.
    """
    began = time.perf_counter()
    feed = Batches(batches)
    with other_writer(optimizers), _restoring(around, batches, offload) as snapshot:
        seed_everything(seed)
        controlled = ControlledStep(step, optimizers, snapshot, seed)
        try:
            critical = _probe(controlled, next(feed), lr)
            ramps = _run_ramps(controlled, feed, critical, lr, steps, watch)
        finally:
            controlled.rates.close()
    differences = tuple(snapshot.differences())
    lrs = np.concatenate([ramp.lrs for ramp in ramps])
    losses = np.concatenate([ramp.losses for ramp in ramps])
    reading = suggest(*_as_if_finished(ramps), repeats=len(ramps), seed=seed)
    return RangeTest(
        lr=reading.lr,
        multiplier=None if reading.lr is None else reading.lr / controlled.rates.reference,
        low=reading.low,
        high=reading.high,
        diverged_at=reading.diverged_at,
        interval=reading.interval,
        verdict=reading.verdict,
        reason=reading.reason + _about_ramps(reading, lr, ramps),
        critical=critical,
        lrs=lrs,
        losses=losses,
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
def _restoring(around: Reach, batches: Iterable[Any], offload: bool) -> Iterator[Snapshot]:
    snapshot = Snapshot(
        modules=around.modules, optimizers=around.optimizers, others=around.others, data=[batches], offload=offload
    )
    try:
        yield snapshot
    finally:
        snapshot.restore()


def check_range_test(step: Callable[[Any], Any], lr: tuple[float, float], steps: int) -> None:
    """Raise InputError for arguments that break their rule."""
    if not callable(step):
        raise InputError("step", step, "must be a function of one batch that makes an update and returns its loss")
    pair = isinstance(lr, tuple | list) and len(lr) == 2 and all(isinstance(end, int | float) for end in lr)
    if not pair or not 0 < lr[0] < lr[1] < math.inf:
        raise InputError("lr", lr, "must be a pair (low, high) of rates with 0 < low < high")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < _FEWEST_STEPS:
        raise InputError("steps", steps, f"must be a whole number, at least {_FEWEST_STEPS}")


def _probe(controlled: ControlledStep, batch: Any, lr: tuple[float, float]) -> Critical:
    middle = min(max(1e-3, lr[0]), lr[1])
    critical = controlled.critical(batch, start=middle, low=min(_PROBED[0], lr[0]), high=max(_PROBED[1], lr[1]))
    for _ in range(_SKIPPED):
        if controlled.rates.updates:
            return critical
        controlled(batch, lr[0])
    if not controlled.rates.updates:
        raise InputError(
            "step",
            "a function that made no update",
            "must call optimizer.step()",
            "Is it the optimizer that you passed?",
        )
    return critical


def _run_ramps(
    controlled: ControlledStep,
    feed: Batches,
    critical: Critical,
    lr: tuple[float, float],
    steps: int,
    watch: Callable[[float, float], None] | None,
) -> list[Ramp]:
    """Run ramps over the same grid of rates until ``steps`` are spent; at least one is run to its end.

    Where the first is lost before anything can be read from it, others say no more.
    """
    rates = _grid(critical, lr, steps, controlled.rates.amplification)
    ramps: list[Ramp] = []
    spent = 0
    while not ramps or (len(ramps[0].lrs) >= _FEWEST_STEPS and spent + len(ramps[0].lrs) <= steps):
        controlled.rewind(salt=len(ramps))
        ramps.append(run_ramp(controlled, feed, rates, watch=watch))
        spent += len(ramps[-1].lrs)
    return ramps


def _as_if_finished(ramps: list[Ramp]) -> tuple[Array, Array]:
    """Return rates and losses of all ramps over the same rates: one that was lost early would have stayed lost.

    Otherwise only the ramps that happened to survive would speak for the highest rates.
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


def _about_ramps(reading: RangeReading, lr: tuple[float, float], ramps: list[Ramp]) -> str:
    if reading.lr is not None and len(ramps) > 1:
        return f" {len(ramps)} ramps agree in one fit."
    if reading.lr is None and reading.low is not None and ramps[0].lrs[-1] < lr[1] * 0.5:
        return " The ramp ended early, when all progress was lost."
    return ""
