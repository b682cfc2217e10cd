"""``watch``: hooks on anyone's training that measure it, and findings on what they measure."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.errors import InputError
from stepsize.monitor.attached import Attempts, Called, equilibrium, facts_of, free_estimate, what_of
from stepsize.monitor.budget import Budget
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
from stepsize.monitor.state import load_record, record_state
from stepsize.monitor.team import Team, team_of, trains_together
from stepsize.monitor.verdict import RateVerdict
from stepsize.monitor.way import Way
from stepsize.training.wrapped import bare_optimizers

__all__ = ["Watch", "begin_watching", "watch"]

_LOG = logging.getLogger("stepsize")
_UNTOLD = 50  # updates without a word on the loss before that is told
_ALARM = 4.0  # noises above the start from which on a loss is read at once
_WORSE = 16  # losses, all of which the last one exceeds where it gets worse
_EVERY = 8  # updates between two looks of the urgent rules
_LATE = 0.2  # seconds that a loss may wait to be written down
_LEAN = 64  # updates at the most that are only counted, one after the other
_PROBES = 64  # at so many places of a training the critical rate is looked for
_PROBE_EVERY = 100  # steps, where the horizon is unknown
_EXCHANGE = 16  # updates between two exchanges of several processes
_TOLD_ALONE = ("val_loss",)  # what one process may know and others not


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

    What is measured takes at most 3% of the training's time, beside the first 64 updates, which are all measured: on
    small models fewer updates are. Trained by several processes (DDP) and watched in each, losses are averaged over
    them and findings are the same in all; watched in one, its own losses count.

    Args:
        model: What is trained, one or several; wrapped, compiled and distributed ones too.
        optimizer: What updates it, one or several; also within the wrappers of Accelerate, Fabric and the like.
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
    return begin_watching(
        model,
        optimizer,
        schedule=schedule,
        steps=steps,
        validate=validate,
        validate_every=validate_every,
        scaler=scaler,
        on_finding=on_finding,
        store=store,
        name=name,
    )


def begin_watching(
    model: Any,
    optimizer: Any,
    *,
    schedule: Any = None,
    steps: int | None = None,
    validate: Callable[[], Tensor | float] | None = None,
    validate_every: int | None = None,
    scaler: Any = None,
    on_finding: Callable[[Finding], object] | None = None,
    store: str | Path | None = None,
    name: str | None = None,
    together: bool | None = None,
) -> Watch:
    """Do what :func:`watch` does, told whether several processes train together; None reads it from the model."""
    models = [model] if isinstance(model, nn.Module) else list(model)
    if not models or not all(isinstance(one, nn.Module) for one in models):
        raise InputError("model", models, "must be a torch.nn.Module, or several")
    optimizers = bare_optimizers("optimizer", optimizer)
    _check(models, optimizers, steps, validate, validate_every)
    every = validate_every or max(1, (steps or 16_000) // 32)
    team = team_of(what_of(models), together=trains_together(models) if together is None else together)
    kept = begin_keeping(store, name, what_of(models), facts_of(optimizers, schedule, steps))
    return Watch(models, optimizers, schedule, steps, validate, every, scaler, on_finding, kept, team)


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
        team: Team | None = None,
    ) -> None:
        distributed = team is not None or any(isinstance(one, nn.parallel.DistributedDataParallel) for one in models)
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
        self._meter: Callable[[Optimizer], Meter] = partial(
            Meter, models=models, scaler=scaler, distributed=distributed
        )
        self._meters = [self._meter(one) for one in optimizers]
        self._way = Way(self._meters[0].weights, steps)
        self._offsets = self._group_numbers()
        self._along: Along | None = None
        self._arming = False
        self._every = max(1, steps // _PROBES) if steps else _PROBE_EVERY
        self._budget = Budget(steps)
        self._aside = 0.0  # seconds of the user's own functions, which are no cost of watching
        self._attempts = Attempts(scaler, optimizers)
        self._may_be_lean = scaler is None and len(self._meters) == 1 and self._meters[0].prompt
        self._next_look = 0
        self._lean_until = 0  # updates before this one are only counted
        self._later: list[tuple[float, tuple[float, ...]]] = []  # their losses and rates
        self._alarm = math.inf  # a loss above it is read at once
        self._parts: list[Tensor | float] = []  # losses of the batches of the update that comes
        self._pending = False  # whether batches were told of behind which there was no update
        self._last: deque[float] = deque(maxlen=_WORSE)
        self._team = team
        self._shared = False  # whether the team is complete: numbers are then exchanged
        self._exchange_every = _EXCHANGE
        self._alone: list[tuple[int, Tensor | float | None]] = []  # steps and losses of this process alone
        self._heard: dict[str, list[float]] = {}  # other values of this process alone
        self._failing = ""  # what went wrong here, and is still to be told to the others
        self._broken = ""
        self._trouble: Exception | None = None
        self._hooks: list[Any] = []
        self._untold: Any = optimizers[0].register_step_post_hook(self._warn_untold)

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
        if self._broken or (self._lean_until > self.record.step and self._count_lean(loss, again, val_loss)):
            return
        began, self._aside = perf_counter(), 0.0
        measured, counted = self._meters[0].active, 1 + len(self._later)
        self._budget.begin(self.record.step, counted, sum(meter.spent for meter in self._meters))
        try:
            if not self._failing:
                self._raise_troubles()
        except Exception as error:  # noqa: BLE001
            self._give_up(error)
        try:
            self._step(loss, again, val_loss)
        except Exception as error:  # noqa: BLE001 - watching must not break what it watches
            self._give_up(error)
        self._budget.spend(perf_counter() - began - self._aside, counted, measured=measured)

    def report(self) -> Report:
        """Return everything that is known by now, for people and machines."""
        if not self._broken and not self._shared:  # one process must not know more than the others
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
        """Write numbers down at each update where that costs no wait, as a guard needs them."""
        self._may_be_lean = False
        if all(meter.prompt for meter in self._meters):
            self._exchange_every = 1

    def go_back(self, mark: Any) -> None:
        """Say that the training went back to the state in which ``record.mark()`` was taken."""
        self._read(wait=True)
        self.record.go_back(mark)
        self._along = None
        for meter in self._meters:
            meter.go_back()

    def state_dict(self) -> dict[str, Any]:
        """Return the signals so far and what was found, as plain values: for the checkpoint of a trainer."""
        return {"record": record_state(self.record), "findings": [one.to_json() for one in self.findings]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, after weights and optimizers were put back.

        Raises:
            InputError: If it is no such state.
        """
        if not {"record", "findings"} <= set(state):
            raise InputError("state", sorted(state), "must be what the state_dict of a watch returned")
        load_record(self.record, state["record"])
        self._judge.load(Finding(**one) for one in state["findings"])
        self._last.extend(self.record.recent("loss", _WORSE).values.tolist())
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

    def _count_lean(
        self, loss: Tensor | float | None, again: Callable[[], Tensor] | None, val_loss: float | None
    ) -> bool:
        """Count an update of which only loss and rates are wanted; return whether nothing else is to be done."""
        if loss is None or again is not None or val_loss is not None:
            return False
        try:
            value = loss.item() if isinstance(loss, Tensor) else float(loss)
        except (RuntimeError, TypeError, ValueError):
            return False  # told where errors are
        if not value <= self._alarm or (rates := self._meters[0].count()) is None:
            return False
        self._later.append((value, rates))
        self.record.step += 1
        return True

    def _plan_lean(self) -> None:
        """Say up to which update the next ones are only counted: until something is due, or soon."""
        step = self.record.step
        self._alarm = self.record.start + _ALARM * self.record.start_noise
        if not self._may_be_lean or self._team is not None or self._meters[0].active or len(self._last) < _WORSE:
            self._lean_until = 0
            return
        at_once = min(_LEAN, int(_LATE / max(self._budget.pace(step), 1e-9)))
        ends = [step + at_once, self._way.next(step) - 1]
        if self._budget.due > step:
            ends.append(self._budget.due - 1)
        if self._validate is not None:
            ends.append(step - step % self._validate_every + self._validate_every - 1)
        self._lean_until = min(ends)

    def _write_later(self) -> None:
        """Write down the updates that were only counted."""
        if not self._later:
            return
        later, self._later = self._later, []
        end = self.record.step
        steps = range(end - len(later), end)
        losses = [loss for loss, _ in later]
        self.record.add_losses(steps, losses)
        self._last.extend(losses[-_WORSE:])
        for number, rates in enumerate(zip(*(rates for _, rates in later), strict=True)):
            self.record.extend(f"lr/{number}", steps, rates)

    def _step(self, loss: Tensor | float | None, again: Callable[[], Tensor] | None, val_loss: float | None) -> None:
        self._write_later()
        first = self._meters[0]
        updated = first.updated or any(meter.updated for meter in self._meters)
        if not updated and loss is None and val_loss is not None:
            return self._hear("val_loss", max(0, self.record.step - 1), float(val_loss))
        attempted = self._attempts.made()
        if self._pending and first.abandoned():
            self._leave_out()
        if not updated and attempted:
            return self._leave_out()
        if loss is not None:
            self._stop_warning()
            self._parts.append(loss.detach() if isinstance(loss, Tensor) else float(loss))
        if not updated:
            self._pending = True
            return first.pending()
        shares = self._shares()
        step = self._count(self._update_loss())
        self._observe(step, again, val_loss)
        if not shares:
            if self._read(wait=False):
                self._look_often()
        elif (step + 1) % self._exchange_every == 0 or step + 1 == self.record.facts.steps:
            self._exchange()
        if any(meter.outdated for meter in self._meters):
            self._renew()
        worse = self._worse()
        on = self._budget.measures(step + 1, worse=worse)
        for meter in self._meters:
            meter.active = on
        self._plan_lean()
        return None

    def _group_numbers(self) -> list[int]:
        """Return the number of each optimizer's first group among the groups of all."""
        counts = [len(one.param_groups) for one in self._optimizers]
        return [sum(counts[:number]) for number in range(len(counts))]

    def _renew(self) -> None:
        """Measure also the groups that an optimizer was given since the last update."""
        for number, meter in enumerate(self._meters):
            if meter.outdated:
                self._read(wait=True)
                meter.remove()
                self._meters[number] = self._meter(meter.optimizer)
                self._meters[number].updates = meter.updates
                if not number:
                    self._way = Way(self._meters[0].weights, self.record.facts.steps)
        self._offsets = self._group_numbers()

    def _update_loss(self) -> Tensor | float | None:
        """Return the loss of an update: the mean over the batches that were told of since the last one."""
        parts, self._parts, self._pending = self._parts, [], False
        if len(parts) < 2:
            return parts[0] if parts else None
        return torch.stack([torch.as_tensor(one, device=self._meters[0].device) for one in parts]).mean()

    def _leave_out(self) -> None:
        """Count an update that was left out, by a gradient scaler or by the training itself."""
        self.record.skipped += 1
        self.record.step += 1
        self._parts, self._pending = [], False

    def _count(self, loss: Tensor | float | None) -> int:
        """Count an update, and return its number."""
        step = self.record.step
        shared = self._shared
        for number, meter in enumerate(self._meters):
            meter.tell(step, loss if number == 0 and not shared else None)
        if shared:
            self._alone.append((step, loss))
        self.record.step = step + 1
        return step

    def _observe(self, step: int, again: Callable[[], Tensor] | None, val_loss: float | None) -> None:
        """Look at what surrounds an update; an error here must not keep others waiting."""
        if self._failing:
            return
        try:
            self._spend_hooks()
            self._called.look(self._meters[0].updates)
            self._way.look(step + 1)
            if self.record.facts.learning_rate_free and (estimate := free_estimate(self._optimizers[0])) is not None:
                self.record.add("estimate", step, estimate)
            self._probe(step, again)
            if val_loss is not None:
                self._hear("val_loss", step, float(val_loss))
            elif self._validate is not None and (step + 1) % self._validate_every == 0:
                began = perf_counter()
                with still(self._models, lambda: torch.as_tensor(self._validate())) as same:  # type: ignore[misc]
                    self._hear("val_loss", step, float(same()))
                self._aside += perf_counter() - began
        except Exception as error:  # noqa: BLE001
            self._give_up(error)

    def _spend_hooks(self) -> None:
        for meter in self._meters:
            self._budget.spent += meter.spent
            meter.spent = 0.0

    def _hear(self, name: str, step: int, value: float) -> None:
        """Take a value that other processes may not have."""
        if self._shared:
            self._heard.setdefault(name, []).append(value)
        else:
            self.record.add(name, step, value)

    def _shares(self) -> bool:
        """Return whether numbers are exchanged with other processes; known at the first update."""
        if not self._shared and self._team is not None:
            if self._team.complete():
                self._shared = True
            else:
                self._team = None
        return self._shared

    def _exchange(self) -> None:
        """Make what this process alone knows the same in all; each of them comes here at the same step."""
        assert self._team is not None
        told = [(step, loss) for step, loss in self._alone if loss is not None]
        room = [loss for _, loss in told] + [0.0] * (_EXCHANGE - len(told))
        heard = [part for name in _TOLD_ALONE for part in _sum_and_count(self._heard.get(name, []))]
        ours = [*room, *heard, *self._budget.times(), float(len(told)), float(bool(self._failing))]
        try:
            sums = self._team.sum(ours, self._meters[0].device)
        except Exception as error:
            self._team, self._failing = None, ""
            raise RuntimeError(f"the processes could not exchange what they measured: {error}") from error
        self._alone, self._heard = [], {}
        size = self._team.size
        *parts, spent, trained, count, failed = sums
        if failed or count != size * len(told):
            reason = self._failing or "another process stopped watching"
            self._team, self._failing = None, ""
            raise RuntimeError(reason)
        self._budget.agreed = spent / size, trained / size
        self._read(wait=True)
        for (step, _), total in zip(told, parts, strict=False):
            self._add_loss(step, total / size)
        last = max(0, self.record.step - 1)
        for place, name in enumerate(_TOLD_ALONE):
            total, many = parts[_EXCHANGE + 2 * place : _EXCHANGE + 2 * place + 2]
            if many:
                self.record.add(name, last, total / many)
        self._look_often()

    def _add_loss(self, step: int, loss: float) -> None:
        self.record.add_loss(step, loss)
        self._last.append(loss)

    def _look_often(self) -> None:
        """Ask the urgent rules where it may be urgent, or it is time."""
        step = self.record.step
        dense = self._budget.dense(step)
        alarmed = bool(self._last) and not self._last[-1] <= self._alarm
        if dense or alarmed or (step >= self._next_look and self._budget.allows(step)):
            self._next_look = step + _EVERY
            self._tell(self._look())

    def _worse(self) -> bool:
        """Return whether the last loss exceeds all before it that are near."""
        last = self._last
        return len(last) < 2 or not last[-1] < max(last) or math.isnan(sum(last))

    def _raise_troubles(self) -> None:
        """Raise what went wrong within a hook: there it must not, since that is the user's own step."""
        for error in (self._trouble, *(meter.trouble for meter in self._meters)):
            if error is not None:
                raise error

    def _look(self, *, thorough: bool = False) -> list[Finding]:
        if thorough:
            self._read(wait=True)
        due = thorough or (self._judge.due(self.record) and self._budget.allows(self.record.step))
        if due:
            self._read_way()
            self.record.facts = dataclasses.replace(self.record.facts, scheduler=self._called.told())
        new = self._judge.look(self.record, due=due, thorough=thorough)
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
            found, _ = self._along.tried(again, self._agreed)
            value = headroom(found)
            if not math.isnan(value):
                self.record.add("headroom", step, value)
        self._along = None
        if again is not None and (step + 1) % self._every == 0 and self._budget.allows(step + 1):
            self._hooks = [self._optimizers[0].register_step_pre_hook(self._arm)]

    def _agreed(self, loss: float) -> float:
        """Return the mean of a loss over the processes, so that all of them go on alike."""
        shares = self._shared and self._team is not None
        return self._team.mean(loss, self._meters[0].device) if shares and self._team is not None else loss

    def _arm(self, *_: Any) -> None:
        """Keep the weights before an update that is to be probed; runs within the user's own step."""
        began = perf_counter()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        try:
            self._along = Along(self._models)
        except Exception as error:  # noqa: BLE001 - such as no memory for the copy
            self._trouble = error
        self._budget.spent += perf_counter() - began

    def _read(self, *, wait: bool) -> bool:
        """Write down what has come over from the device; return whether anything has."""
        self._write_later()
        came = False
        for meter, offset in zip(self._meters, self._offsets, strict=True):
            for measured in meter.read(wait=wait):
                came = True
                if measured.skipped:
                    self.record.skipped += offset == 0
                    continue
                if measured.loss is not None:
                    self._add_loss(measured.step, measured.loss)
                write_down(self.record, measured, meter.layout, offset)
        return came

    def _tell(self, new: Iterable[Finding]) -> None:
        for finding in new:
            if self._on_finding is not None:
                self._on_finding(finding)

    def _warn_untold(self, *_: Any) -> None:
        if self._meters[0].updates == _UNTOLD:
            self._stop_warning()
            _LOG.warning(
                "stepsize.watch: %d updates without a loss; call watching.step(loss) after each optimizer.step()",
                _UNTOLD,
            )

    def _stop_warning(self) -> None:
        if self._untold is not None:
            self._untold.remove()
            self._untold = None

    def _give_up(self, error: Exception) -> None:
        if self._broken or self._failing:
            return
        reason = f"{type(error).__name__}: {error}"
        if self._shared and self._team is not None:
            self._failing = reason  # until the others know: they would wait for this process
            return
        self._broken = reason
        _LOG.warning("stepsize.watch stopped watching, the training goes on: %s", self._broken)
        self._remove()

    def _remove(self) -> None:
        self._stop_warning()
        for meter in self._meters:
            meter.remove()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _check(models: Sequence[Any], optimizers: Sequence[Any], steps: Any, validate: Any, validate_every: Any) -> None:
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


def _sum_and_count(values: Sequence[float]) -> tuple[float, float]:
    return math.fsum(values), float(len(values))
