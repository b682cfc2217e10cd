"""``watch``: hooks on anyone's training that measure it, and findings on what they measure."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.errors import InputError
from stepsize.monitor.attached import Called, equilibrium, facts_of, free_estimate, what_of
from stepsize.monitor.finding import Finding
from stepsize.monitor.guarding.journal import Entry
from stepsize.monitor.judging import Judge
from stepsize.monitor.keeping import Keeper, begin_keeping
from stepsize.monitor.measures import write_down
from stepsize.monitor.meter import Meter
from stepsize.monitor.probe import Along, headroom, still
from stepsize.monitor.record import Record
from stepsize.monitor.reporting import Report, report_of
from stepsize.monitor.sharpness import Sharpness, measure_sharpness
from stepsize.monitor.verdict import RateVerdict
from stepsize.monitor.way import Way

__all__ = ["Watch", "watch"]

_LOG = logging.getLogger("stepsize")
_UNTOLD = 50  # updates without a word on the loss before that is told
_DENSE = 64  # steps that are measured one and all
_RUN = 8  # steps that are then measured one after the other
_WANTED = 256  # of the first quarter: more would only cost
_OF = (3, 8)  # at least and at most one such run in so many
_ALARM = 4.0  # noises above the start from which on a loss is read at once
_PROBES = 64  # at so many places of a training the critical rate is looked for
_PROBE_EVERY = 100  # steps, where the horizon is unknown


def watch(
    model: nn.Module | Iterable[nn.Module],
    optimizer: Optimizer | Iterable[Optimizer],
    *,
    schedule: Any = None,
    steps: int | None = None,
    validate: Callable[[], Tensor | float] | None = None,
    validate_every: int | None = None,
    scaler: Any = None,
    on_finding: Callable[[Finding], object] | None = None,
    store: str | Path | None = None,
    name: str | None = None,
) -> Watch:
    """Watch a training: two lines in its loop, and its learning rate is measured while it works.

    Args:
        model: What is trained, one or several; wrapped, compiled and distributed ones too.
        optimizer: What updates it, one or several.
        schedule: What sets the rate, for findings on it: a ``Schedule``, what ``bind`` returned, or a torch scheduler.
        steps: How many updates the training is to have; findings on the end of the schedule need it.
        validate: Returns the loss on unseen data at the present weights; called without gradients, and nothing that
            it draws or counts (dropout, BatchNorm) changes the training.
        validate_every: Steps between two calls; default a thirty-second of ``steps``, or 500.
        scaler: The ``torch.amp.GradScaler``, where losses are scaled.
        on_finding: Called with each new finding.
        store: Where signals, findings and verdict are kept while it is trained, about once a second and in a thread of
            its own: a path of an SQLite file, or a PostgreSQL URL. A process that is killed loses the last second. A
            store that fails is told once to the logger ``stepsize``, and training and watching go on. Of several
            processes that train together, give it in one. Default: nothing is kept.
        name: Of the training in the store, with a number behind it where the name is taken; default the time.

    Returns:
        A :class:`Watch`, a context manager; call its ``step(loss)`` after each update.

    Raises:
        InputError: If an argument is not of these kinds, or an optimizer holds no parameter of a model.
        DataUnavailableError: If there is no folder for the store.
        MissingExtraError: If the store is PostgreSQL and psycopg is not installed.

    Example:
        >>> net = nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
        >>> x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
        >>> with watch(net, optimizer, steps=400) as watching:
        ...     for _ in range(100):
        ...         loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        ...         optimizer.zero_grad(); _ = loss.backward(); _ = optimizer.step()
        ...         watching.step(loss)
        >>> watching.verdict.code
        'too low'
    """
    models = [model] if isinstance(model, nn.Module) else list(model)
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    _check(models, optimizers, steps, validate, validate_every)
    every = validate_every or max(1, (steps or 16_000) // 32)
    kept = begin_keeping(store, name, what_of(models), facts_of(optimizers, schedule, steps))
    return Watch(models, optimizers, schedule, steps, validate, every, scaler, on_finding, kept)


@final
class Watch:
    """A training that is watched; made by :func:`watch`.

    Attributes:
        record: All signals so far.
        findings: What was found, the earliest first; each code once.
        verdict: Whether the rate is too high, too low or fine, as far as can be told by now.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[Optimizer],
        schedule: Any,
        steps: int | None,
        validate: Callable[[], Tensor | float] | None,
        validate_every: int,
        scaler: Any,
        on_finding: Callable[[Finding], object] | None,
        kept: Keeper | None,
    ) -> None:
        distributed = any(isinstance(one, nn.parallel.DistributedDataParallel) for one in models)
        self._models = list(models)
        self._optimizers = list(optimizers)
        self._validate = validate
        self._validate_every = validate_every
        self._on_finding = on_finding
        self._called = Called(schedule)
        self.record = Record(facts_of(optimizers, schedule, steps))
        self._judge = Judge()
        self._kept = kept
        if kept is not None:
            kept.record, self.record.told = self.record, kept.points
        self._ended = ""
        self._meters = [Meter(one, models, scaler=scaler, distributed=distributed) for one in optimizers]
        self._way = Way(self._meters[0].weights, steps)
        self._offsets = [sum(len(o.param_groups) for o in optimizers[:n]) for n in range(len(optimizers))]
        self._along: Along | None = None
        self._arming = False
        self._every = max(1, steps // _PROBES) if steps else _PROBE_EVERY
        self._of = min(max(steps // 4 // _WANTED, _OF[0]), _OF[1]) if steps else _OF[1]
        self._broken = ""
        self._trouble: Exception | None = None
        self._told = False
        self._hooks = [
            optimizers[0].register_step_pre_hook(self._arm),
            optimizers[0].register_step_post_hook(self._count),
        ]

    def __enter__(self) -> Self:
        """Return itself; the hooks are on already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Read what is left, judge once more, and take the hooks off."""
        if kind is not None:
            self._ended = "failed" if issubclass(kind, Exception) else "interrupted"
        self.close()

    @property
    def broken(self) -> str:
        """Why it stopped watching, where it met an error of its own; empty while it works."""
        return self._broken

    @property
    def name(self) -> str | None:
        """Its name in the store; None where nothing is kept."""
        return None if self._kept is None else self._kept.name

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, the earliest first."""
        return self._judge.findings

    @property
    def verdict(self) -> RateVerdict:
        """Whether the rate is too high, too low or fine, as far as can be told by now."""
        return self._judge.verdict(self.record)

    def step(
        self,
        loss: Tensor | float | None = None,
        *,
        again: Callable[[], Tensor] | None = None,
        val_loss: float | None = None,
    ) -> None:
        """Say that an update was made, or skipped by the scaler; never raises and never waits for the device.

        Args:
            loss: The training loss of the update, a scalar tensor or a number.
            again: Returns the loss of the update's own batch at the present weights; where given, the critical
                rate along the update is measured at intervals, by about ten of these calls without gradients.
            val_loss: The loss on unseen data, where it was just measured.
        """
        if self._broken:
            return
        try:
            self._raise_troubles()
            self._step(loss, again, val_loss)
        except Exception as error:  # noqa: BLE001 - watching must not break what it watches
            self._give_up(error)

    def report(self) -> Report:
        """Return everything that is known by now, for people and machines."""
        if not self._broken:
            try:
                self._tell(self._look(thorough=True))
            except Exception as error:  # noqa: BLE001
                self._give_up(error)
        return report_of(self.record, self._judge)

    def sharpness(self, again: Callable[[], Tensor]) -> Sharpness:
        """Measure the largest curvature that the first optimizer's steps see, beside the limit of its rate.

        Some tens of backward passes: nothing to be done at each step. The training is left as it is.

        Args:
            again: Returns the loss of a batch at the present weights; the larger the batch, the better.

        Returns:
            A :class:`~stepsize.monitor.Sharpness`; its value is kept as the signal ``sharpness``, too.

        Raises:
            InputError: If the loss does not depend on the parameters, or cannot be differentiated twice.
        """
        seen = measure_sharpness(self._models, self._optimizers[0], again)
        self.record.add("sharpness", max(0, self.record.step - 1), seen.value)
        return seen

    def be_prompt(self) -> None:
        """Read numbers at once where that costs no wait, as a guard must."""
        for meter in self._meters:
            meter.prompt = True

    def go_back(self, mark: Any) -> None:
        """Say that the training went back to the state in which ``record.mark()`` was taken."""
        self._read(wait=True)
        self.record.go_back(mark)
        self._along = None
        for meter in self._meters:
            meter.go_back()

    def tell_acts(self, acts: Iterable[Entry], *, stopped: bool) -> None:
        """Say what a guard did by now, and whether it ended the training."""
        self._ended = "stopped" if stopped else self._ended
        if self._kept is not None:
            self._kept.acts = tuple(acts)

    def close(self) -> None:
        """Read what is left, judge once more, and take the hooks off; doing so twice does no harm."""
        try:
            self._raise_troubles()
            self._tell(self._look(thorough=True))
        except Exception as error:  # noqa: BLE001
            self._give_up(error)
        self._remove()
        if self._kept is not None:
            how = "broken" if self._broken else "done" if self.record.lost is None else "diverged"
            self._kept.close(self._ended or how)

    def _step(self, loss: Tensor | float | None, again: Callable[[], Tensor] | None, val_loss: float | None) -> None:
        step = self.record.step
        self._told = self._told or loss is not None
        updated = [meter.tell(step, loss if number == 0 else None) for number, meter in enumerate(self._meters)]
        self.record.skipped += not any(updated)
        self.record.step = step + 1
        self._called.look(sum(meter.updates for meter in self._meters[:1]))
        self._way.look(step + 1)
        estimate = free_estimate(self._optimizers[0]) if self.record.facts.learning_rate_free else None
        if estimate is not None:
            self.record.add("estimate", step, estimate)
        self._probe(step, again)
        if val_loss is not None:
            self.record.add("val_loss", step, float(val_loss))
        elif self._validate is not None and (step + 1) % self._validate_every == 0:
            with still(self._models, lambda: torch.as_tensor(self._validate())) as same:  # type: ignore[misc]
                self.record.add("val_loss", step, float(same()))
        if not self._read(wait=False):
            return
        self._tell(self._look())
        on = self._measures(step + 1)
        for meter in self._meters:
            meter.active = on
            meter.alarm = self.record.start + _ALARM * self.record.start_noise

    def _raise_troubles(self) -> None:
        """Raise what went wrong within a hook: there it must not, since that is the user's own step."""
        for error in (self._trouble, *(meter.trouble for meter in self._meters)):
            if error is not None:
                raise error

    def _measures(self, step: int) -> bool:
        """Return whether the update of ``step`` is measured: all at first and when it gets worse, else some."""
        if step < _DENSE or (step // _RUN) % self._of == 0:
            return True
        losses = self.record.recent("loss", 2 * _RUN).values
        return not len(losses) or not losses[-1] < losses[:-1].max(initial=-math.inf)

    def _look(self, *, thorough: bool = False) -> list[Finding]:
        if thorough:
            self._read(wait=True)
        if thorough or self._judge.due(self.record):
            self._read_way()
            self.record.facts = dataclasses.replace(self.record.facts, scheduler=self._called.told())
        new = self._judge.look(self.record, thorough=thorough)
        if self._kept is not None:
            self._kept.found(new)
            self._kept.verdict = self._judge.latest
        return new

    def _read_way(self) -> None:
        step = max(0, self.record.step - 1)
        known = self.record.recent("straightness", 1).steps
        reading = None if step in known else self._way.reading()
        if reading is not None:
            settled = equilibrium(self._optimizers[0])
            for name, value in zip(("straightness", "distance"), reading, strict=True):
                self.record.add(name, step, value)
            if not math.isnan(settled):
                self.record.add("equilibrium", step, settled)

    def _probe(self, step: int, again: Callable[[], Tensor] | None) -> None:
        """Measure the critical rate along the update just made, where the weights before it were kept."""
        if self._along is not None and again is not None:
            found, _ = self._along.tried(again)
            value = headroom(found)
            if not math.isnan(value):
                self.record.add("headroom", step, value)
        self._along = None
        if again is not None and (step + 1) % self._every == 0:
            self._arming = True

    def _arm(self, *_: Any) -> None:
        """Keep the weights before an update that is to be probed; runs within the user's own step."""
        if not self._arming:
            return
        self._arming = False
        try:
            self._along = Along(self._models)
        except Exception as error:  # noqa: BLE001 - such as no memory for the copy
            self._trouble = error

    def _read(self, *, wait: bool) -> bool:
        """Write down what has come over from the device; return whether anything has."""
        came = False
        for meter, offset in zip(self._meters, self._offsets, strict=True):
            for measured in meter.read(wait=wait):
                write_down(self.record, measured, meter.layout, offset)
                came = True
        return came

    def _tell(self, new: Iterable[Finding]) -> None:
        for finding in new:
            if self._on_finding is not None:
                self._on_finding(finding)

    def _count(self, *_: Any) -> None:
        if self._told or self._broken or self._meters[0].updates != _UNTOLD:
            return
        _LOG.warning(
            "stepsize.watch: %d updates without a loss; call watching.step(loss) after each optimizer.step()", _UNTOLD
        )

    def _give_up(self, error: Exception) -> None:
        if self._broken:
            return
        self._broken = f"{type(error).__name__}: {error}"
        _LOG.warning("stepsize.watch stopped watching, the training goes on: %s", self._broken)
        self._remove()

    def _remove(self) -> None:
        for meter in self._meters:
            meter.remove()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _check(models: Sequence[Any], optimizers: Sequence[Any], steps: Any, validate: Any, validate_every: Any) -> None:
    if not models or not all(isinstance(one, nn.Module) for one in models):
        raise InputError("model", models, "must be a torch.nn.Module, or several")
    if not optimizers or not all(isinstance(one, Optimizer) for one in optimizers):
        raise InputError("optimizer", optimizers, "must be a torch.optim.Optimizer, or several")
    for name, value in (("steps", steps), ("validate_every", validate_every)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InputError(name, value, "must be a whole number, at least 1")
    if validate is not None and not callable(validate):
        raise InputError("validate", validate, "must be callable, and return the loss on unseen data")
    owned = {id(p) for model in models for p in model.parameters()}
    for one in optimizers:
        held = [p for group in one.param_groups for p in group["params"]]
        if not any(id(p) in owned and p.requires_grad for p in held):
            raise InputError(
                "optimizer",
                type(one).__name__,
                "must hold trainable parameters of the model, but holds only others",
                "Was the model copied, moved or wrapped after the optimizer was made? Make the optimizer from it anew",
            )
