"""``watch``: hooks on any training loop that measure it, and findings on what they measure."""

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
from typing import TYPE_CHECKING, Any, Self, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.checks import check_whole
from stepsize.errors import InputError
from stepsize.monitor.attached import Attempts, SchedulerCalls, as_models, check_owned, describe, facts_of
from stepsize.monitor.budget import WatchBudget
from stepsize.monitor.control import Control, pack, unpack
from stepsize.monitor.counting import Counted, counting, write_counted
from stepsize.monitor.finding import Finding
from stepsize.monitor.guarding.action import GuardAction
from stepsize.monitor.loggers import Loggers, LogTo, as_loggers
from stepsize.monitor.meter import StepMeter
from stepsize.monitor.probe import CriticalRate, undisturbed_models
from stepsize.monitor.record import Mark, Record
from stepsize.monitor.recorder import RunRecorder, start_recorder
from stepsize.monitor.report import Report, report_of
from stepsize.monitor.team import EXCHANGE, Team, trains_together
from stepsize.monitor.tracking import FindingTracker
from stepsize.monitor.verdict import RateVerdict
from stepsize.training.losses import loss_in
from stepsize.training.wrapped import bare_optimizers

if TYPE_CHECKING:
    from stepsize.store import OrderRecord

_LOG = logging.getLogger("stepsize")
_ALARM = 4.0  # noises above the start: a loss beyond is checked immediately
_WORSE = 16  # losses, all of which the last one exceeds if the loss rises
_EVERY = 8  # updates between two checks of the urgent rules
_LATE = 0.2  # seconds that a loss can wait to be recorded
_LEAN = 256  # updates at most that are only counted, one after the other


def watch(
    model: nn.Module | Iterable[nn.Module],
    optimizer: Optimizer | Iterable[Optimizer],
    *,
    schedule: Any = None,
    steps: int | None = None,
    validate: Callable[[], Tensor | float] | None = None,
    validate_every: int | None = None,
    scaler: Any = None,
    distributed: bool | None = None,
    on_finding: Callable[[Finding], object] | None = None,
    store: str | Path | None = None,
    name: str | None = None,
    log_to: LogTo = None,
    control: bool = False,
) -> Watch:
    """Watch a training loop: two lines in it measure the learning rate during training.

    Watching measures its own cost and aims at 3% of the training time after the first 64 steps, which are all
    measured; on small models fewer steps are measured, and steps far below a millisecond still cost more. If
    several processes train together (DDP) and each watches, losses are averaged over them and findings are the same
    in all; if only one watches, its own losses count.

    Args:
        model: Model or models.
        optimizer: Optimizer or optimizers, also within the wrappers of Accelerate, Fabric and others.
        schedule: What sets the learning rate, for findings on it: a ``Schedule``, a bound scheduler, or a torch
            scheduler.
        steps: Number of training steps (horizon). Findings on the end of the schedule need it.
        validate: Returns the validation loss at the present weights. It is called without gradients, and its random
            numbers and BatchNorm statistics do not affect the run.
        validate_every: Steps between two calls of ``validate``. Defaults to 1/32 of ``steps``, or 500.
        scaler: The ``torch.amp.GradScaler``, if losses are scaled.
        distributed: Whether several processes train the model together. Defaults to whether it is wrapped in DDP.
        on_finding: Called with each new finding. If it raises, that is logged once, and training continues; only
            optuna's ``TrialPruned`` is raised by ``step``, so an objective can prune itself.
        store: Where signals, findings and verdict are saved during training, about once per second and in a separate
            thread: the path of an SQLite file, or a PostgreSQL URL. A killed process misses the last second. A
            store that fails is reported once to the logger ``stepsize``, and training and watching continue. If
            several processes train together, pass it in one of them. By default nothing is saved.
        name: Name of the run in the store. Defaults to the current time; a number is appended if the name is taken.
        log_to: Where signals, findings and, at the end, the chart are also logged: a ``SummaryWriter`` of TensorBoard,
            a run of W&B, ``"mlflow"`` for its active run, a function of a dict and a step, or a list of these. Each
            signal gets about 500 values. One that fails is reported once, and training continues. If several processes
            train together, pass it in one of them.
        control: Whether the run takes orders from the store (``stepsize steer``, :meth:`stepsize.Store.send`): its
            learning rate can be changed while it trains. Needs ``store``.

    Returns:
        A :class:`Watch`, a context manager; call its ``step(loss)`` after each optimizer step.

    Raises:
        InputError: If an argument is not as described, or an optimizer holds no parameter of a model.
        DataUnavailableError: If the folder of the store does not exist.
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
    models, optimizers = as_models(model), bare_optimizers("optimizer", optimizer)
    for argument, value in (("steps", steps), ("validate_every", validate_every)):
        if value is not None:
            check_whole(argument, value)
    if validate is not None and not callable(validate):
        raise InputError("validate", validate, "must be callable, and return the validation loss")
    if not isinstance(control, bool):
        raise InputError("control", control, "must be True or False")
    check_owned(models, optimizers)
    what = describe(models)
    team = Team(what) if (trains_together(models) if distributed is None else distributed) else None
    record = Record(facts_of(optimizers, schedule, steps))
    if control and store is None and team is None:  # several processes have one store
        raise InputError("control", control, "needs a store, from which orders are taken", "Pass store= too")
    recorder = start_recorder(store, name, what, record.facts, control=control)
    every = validate_every or max(1, (steps or 16_000) // 32)
    loggers = as_loggers(log_to, steps)
    return Watch(models, optimizers, record, schedule, validate, every, scaler, on_finding, recorder, team, loggers)


@final
class Watch:
    """A run that is watched; made by :func:`watch`.

    Attributes:
        record: Signals so far.
        findings: Findings so far, the earliest first; each code once.
        verdict: Whether the learning rate is too high, too low or fine, as far as the signals show.
        broken: Error of its own that ended the watching; empty while it works.
        control: What carries out orders to the run.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[Optimizer],
        record: Record,
        schedule: Any,
        validate: Callable[[], Tensor | float] | None,
        validate_every: int,
        scaler: Any,
        on_finding: Callable[[Finding], object] | None,
        recorder: RunRecorder | None,
        team: Team | None,
        loggers: Loggers | None,
    ) -> None:
        distributed = team is not None or any(isinstance(one, nn.parallel.DistributedDataParallel) for one in models)
        self.record = record
        self.broken = ""
        self._models, self._optimizers = list(models), list(optimizers)
        self._validate, self._validate_every = validate, validate_every
        self._scheduler = SchedulerCalls(schedule)
        self._tracker = FindingTracker(on_finding)
        self._recorder, self._loggers = recorder, loggers
        self.control = Control(models, optimizers, record, [scaler], self.roll_back)
        if recorder is not None:
            recorder.record, record.outbox, recorder.control = record, recorder.points, self.control
        self._ended = ""
        self._meter = partial(StepMeter, models=models, scaler=scaler, distributed=distributed)
        self._meters = [self._meter(one) for one in optimizers]
        self._meters[0].silent = True
        steps = record.facts.steps
        self._trajectory = self._meters[0].trajectory(steps)
        self._offsets = self._group_numbers()
        self._critical = CriticalRate(models, optimizers[0], steps)
        self._budget = WatchBudget(steps)
        self._aside = 0.0  # seconds of the user's own functions, which are not a cost of watching
        self._attempts = Attempts(scaler, optimizers)
        self._may_be_lean = scaler is None and len(self._meters) == 1 and self._meters[0].prompt
        self._next_check = 0
        self._lean: Callable[[Tensor | float | None], bool] | None = None  # counts an update if that is all to do
        self._later: list[Counted] = []
        self._alarm = math.inf  # a loss above it is checked immediately
        self._parts: list[Tensor | float] = []  # losses of the batches of the next update
        self._pending = False  # whether batches were reported after which there was no update
        self._last: deque[float] = deque(maxlen=_WORSE)
        self._team = team
        self._shared = False  # whether the team is complete: then numbers are exchanged
        self._exchange_every = EXCHANGE
        self._failing = ""  # what went wrong here, and is still to be reported to the other processes

    def __enter__(self) -> Self:
        """Return itself; the hooks are on already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Read what is left, check once more, and take the hooks off."""
        if kind is not None:
            self._ended = "failed" if issubclass(kind, Exception) else "interrupted"
        self.close()

    @property
    def name(self) -> str | None:
        """Name in the store; None if nothing is saved."""
        return None if self._recorder is None else self._recorder.name

    @property
    def steps(self) -> int | None:
        """Number of training steps (horizon), which an order can extend; None if unknown."""
        return self.record.facts.steps

    @property
    def stopped(self) -> str | None:
        """Reason why an order stops the run, or None."""
        return self.control.stopped

    @property
    def should_stop(self) -> bool:
        """Whether the loop should end: an order stops the run, or all its steps were made."""
        return self.stopped is not None or (self.steps is not None and self.record.step >= self.steps)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings so far, the earliest first."""
        return self._tracker.findings

    @property
    def verdict(self) -> RateVerdict:
        """Whether the learning rate is too high, too low or fine, as far as the signals show."""
        return self._tracker.verdict(self.record)

    def step(
        self,
        loss: Tensor | float | None = None,
        *,
        closure: Callable[[], Tensor] | None = None,
        val_loss: float | None = None,
    ) -> None:
        """Report that an update was made, or skipped by the scaler; never synchronizes the device.

        It raises nothing but the ``TrialPruned`` of an ``on_finding``.

        Args:
            loss: Training loss of the update, a scalar tensor or a number.
            closure: Returns the loss of the update's own batch at the present weights (forward only). With it, the
                critical learning rate along the update is measured at intervals, by about ten calls without gradients.
            val_loss: Validation loss, if it was just measured.
        """
        lean = self._lean
        if lean is not None and closure is None and val_loss is None and lean(loss):
            return
        if self.broken:
            return
        began, self._aside = perf_counter(), 0.0
        measured, counted = self._meters[0].active, 1 + len(self._later)
        timed: list[StepMeter | CriticalRate] = [*self._meters, self._critical]
        in_hooks = sum(one.spent for one in timed)
        self._budget.begin(self.record.step, counted, in_hooks)
        for one in timed:
            one.spent = 0.0
        if not self._failing:
            self._safely(self._raise_troubles)
        self._safely(lambda: self._step(loss, closure, val_loss))
        self._budget.spend(perf_counter() - began - self._aside + in_hooks, counted, measured=measured)
        if self._tracker.pruned is not None:
            pruned, self._tracker.pruned = self._tracker.pruned, None
            raise pruned

    def report(self) -> Report:
        """Return everything that is known so far, for people and machines."""
        if not self.broken and not self._shared:  # one process must not know more than the others
            self._safely(lambda: self._check_rules(thorough=True))
        return report_of(self.record, self._tracker)

    def be_prompt(self) -> None:
        """Record numbers at each update if that needs no synchronization, as a guard requires."""
        self._may_be_lean = False
        if all(meter.prompt for meter in self._meters):
            self._exchange_every = 1

    def roll_back(self, mark: Mark, *, again: bool = False) -> None:
        """Note that the run was rolled back to ``mark``, and whether the steps since then will be made again."""
        self._read(wait=True)
        self.record.roll_back(mark, again=again)
        self._trajectory.roll_back(mark.step)
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """Return signals and findings so far as plain values, for the checkpoint of a trainer."""
        findings = [one.to_json() for one in self.findings]
        return {"record": self.record.state_dict(), "findings": findings, "control": self.control.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned, after weights and optimizers were restored.

        Raises:
            InputError: If ``state`` is something else.
        """
        if not {"record", "findings"} <= set(state):
            raise InputError("state", sorted(state), "must be what the state_dict of a watch returned")
        self.record.load_state_dict(state["record"])
        self.control.load_state_dict(state.get("control", {}))
        self._tracker.load(Finding(**one) for one in state["findings"])
        self._last.extend(self.record.recent("loss", _WORSE).values.tolist())
        self._forget()

    def _forget(self) -> None:
        self._critical.roll_back()
        for meter in self._meters:
            meter.roll_back()

    def note_actions(self, actions: Iterable[GuardAction], *, stopped: bool) -> None:
        """Take what a guard did so far, and whether it stopped the run."""
        self._ended = "stopped" if stopped else self._ended
        if self._recorder is not None:
            self._recorder.actions = tuple(actions)

    def close(self) -> None:
        """Read what is left, check once more, and take the hooks off; closing twice is harmless."""
        self._safely(self._finish)
        self.control.close()
        self._remove()
        if self._recorder is not None:
            how = "done" if self.record.diverged is None else "diverged"
            how = "broken" if self.broken else "stopped" if self.stopped is not None else how
            self._recorder.close(self._ended or how)

    def _finish(self) -> None:
        self._raise_troubles()
        self._read(wait=True)
        self.record.end()
        self._check_rules(thorough=True)
        if self._loggers is not None:
            self._loggers.close(self.record, report_of(self.record, self._tracker))
            self._loggers = None  # closing twice must not send the chart twice

    def _plan_lean(self) -> None:
        """Only count the next updates, until something is due, or soon."""
        step = self.record.step
        self._alarm = self.record.start + _ALARM * self.record.start_noise
        self._lean = None
        busy = self._team is not None or self._meters[0].active or not self.control.idle
        if not self._may_be_lean or busy or len(self._last) < _WORSE:
            return
        in_time = min(_LEAN, int(_LATE / max(self._budget.pace(step), 1e-9)))
        ends = [step + in_time, self._trajectory.next(step) - 1]
        if self._budget.due > step:
            ends.append(self._budget.due - 1)
        if self._validate is not None:
            ends.append(step - step % self._validate_every + self._validate_every - 1)
        if min(ends) > step:
            self._lean = counting(self.record, self._meters[0], self._later, self.control.inbox, min(ends), self._alarm)

    def _write_later(self) -> None:
        """Record the updates that were only counted."""
        if self._later:
            self._last.extend(write_counted(self.record, self._later)[-_WORSE:])

    def _step(self, loss: Tensor | float | None, closure: Callable[[], Tensor] | None, val_loss: float | None) -> None:
        self._write_later()
        first = self._meters[0]
        updated = any(meter.updated for meter in self._meters)
        if not updated and loss is None and val_loss is not None:
            return self._add_val_loss(max(0, self.record.step - 1), float(val_loss))
        attempted = self._attempts.made()
        if self._pending and first.abandoned():
            self._skip()
        if not updated and attempted:
            return self._skip()
        if loss is not None:
            first.silent = False
            found = loss_in(loss)
            self._parts.append(found.detach() if isinstance(found, Tensor) else float(found))
        if not updated:
            self._pending = True
            return first.pending()
        shares = self._shares()
        step = self._count(self._update_loss())
        if not self._failing:  # an error here must not keep other processes waiting
            self._safely(lambda: self._observe(step, closure, val_loss))
        if not shares:
            if self._read(wait=False):
                self._check_often()
            self.control.act(self.control.take())
        elif (step + 1) % self._exchange_every == 0 or step + 1 == self.record.facts.steps:
            self.control.act(self._exchange())
        else:
            self.control.act([])
        if any(meter.outdated for meter in self._meters):
            self._renew()
        on = self._budget.measures(step + 1, worse=self._worse())
        for meter in self._meters:
            meter.active = on
        return self._plan_lean()

    def _group_numbers(self) -> list[int]:
        """Return the number of each optimizer's first group among the groups of all."""
        counts = [len(one.param_groups) for one in self._optimizers]
        return [sum(counts[:number]) for number in range(len(counts))]

    def _renew(self) -> None:
        """Also measure the groups that an optimizer was given since the last update."""
        for number, meter in enumerate(self._meters):
            if meter.outdated:
                self._read(wait=True)
                meter.remove()
                self._meters[number] = self._meter(meter.optimizer)
                self._meters[number].updates, self._meters[number].silent = meter.updates, meter.silent
                if not number:
                    self._trajectory = self._meters[0].trajectory(self.record.facts.steps)
        self._offsets = self._group_numbers()

    def _update_loss(self) -> Tensor | float | None:
        """Return the loss of an update: the mean over the batches that were reported since the last one."""
        parts, self._parts, self._pending = self._parts, [], False
        if len(parts) < 2:
            return parts[0] if parts else None
        return torch.stack([torch.as_tensor(one, device=self._meters[0].device) for one in parts]).mean()

    def _skip(self) -> None:
        """Count an update that was skipped, by a gradient scaler or by the training loop itself."""
        self.record.skipped += 1
        self.record.step += 1
        self._parts, self._pending = [], False

    def _count(self, loss: Tensor | float | None) -> int:
        """Count an update, and return its number."""
        step = self.record.step
        team = self._team if self._shared else None
        for number, meter in enumerate(self._meters):
            meter.tell(step, loss if number == 0 and not self._shared else None)
        if team is not None and loss is not None:
            team.losses.append((step, loss))
        self.record.step = step + 1
        return step

    def _observe(self, step: int, closure: Callable[[], Tensor] | None, val_loss: float | None) -> None:
        """Measure what surrounds an update."""
        self._scheduler.note(self._meters[0].updates)
        self._trajectory.note(step + 1)
        estimate = self._optimizers[0].param_groups[0].get("d") if self.record.facts.learning_rate_free else None
        if isinstance(estimate, int | float):
            self.record.add("estimate", step, float(estimate))
        self._probe(step, closure)
        if val_loss is not None:
            self._add_val_loss(step, float(val_loss))
        elif self._validate is not None and (step + 1) % self._validate_every == 0:
            self._add_val_loss(step, self._validated(self._validate))

    def _validated(self, validate: Callable[[], Tensor | float]) -> float:
        began = perf_counter()
        with undisturbed_models(self._models, lambda: torch.as_tensor(validate())) as same:
            value = float(same())
        self._aside += perf_counter() - began
        return value

    def _add_val_loss(self, step: int, value: float) -> None:
        """Take a validation loss, which other processes may not have."""
        if not self._shared:
            self.record.add("val_loss", step, value)
        elif self._team is not None:
            self._team.val_losses.append(value)

    def _shares(self) -> bool:
        """Return whether numbers are exchanged with other processes; known at the first update."""
        if not self._shared and self._team is not None:
            if self._team.complete():
                self._shared = True
            else:
                self._team = None
                self.control.refusals[""] = "is not possible: several processes train together, and not all watch"
        return self._shared

    def _exchange(self) -> list[OrderRecord]:
        """Make what this process alone knows the same in all, at the same step; return the orders to the run."""
        assert self._team is not None
        orders = pack(self.control.take())
        try:
            shared = self._team.exchange(self._budget.times(), self._failing, self._meters[0].device, orders)
        except RuntimeError:
            self._team, self._failing = None, ""
            raise
        self._budget.agreed = shared.times
        self._read(wait=True)
        for step, loss in shared.losses:
            self._add_loss(step, loss)
        if shared.val_loss is not None:
            self.record.add("val_loss", max(0, self.record.step - 1), shared.val_loss)
        self._check_often()
        return unpack(shared.orders)

    def _add_loss(self, step: int, loss: float) -> None:
        self.record.add_loss(step, loss)
        self._last.append(loss)

    def _check_often(self) -> None:
        """Check the urgent rules if it may be urgent, or it is time."""
        step = self.record.step
        alarmed = bool(self._last) and not self._last[-1] <= self._alarm
        if self._budget.dense(step) or alarmed or (step >= self._next_check and self._budget.allows(step)):
            self._next_check = step + _EVERY
            self._check_rules()

    def _worse(self) -> bool:
        """Return whether the last loss exceeds all recent ones."""
        last = self._last
        return len(last) < 2 or not last[-1] < max(last) or math.isnan(sum(last))

    def _raise_troubles(self) -> None:
        """Raise what went wrong within a hook, where it must not be raised: that is the user's own step."""
        for error in (self._critical.trouble, *(meter.trouble for meter in self._meters)):
            if error is not None:
                raise error

    def _check_rules(self, *, thorough: bool = False) -> None:
        if thorough:
            self._read(wait=True)
        due = thorough or (self._tracker.due(self.record) and self._budget.allows(self.record.step))
        if due:
            self._read_trajectory()
            self.record.facts = dataclasses.replace(self.record.facts, scheduler=self._scheduler.facts())
        new = self._tracker.check(self.record, due=due, thorough=thorough)
        if self._recorder is not None:
            self._recorder.found(new, self._tracker.withdrawn)
            self._recorder.verdict = self._tracker.latest
        if self._loggers is not None:
            began = perf_counter()
            self._loggers.note(self.record, new)
            self._aside += perf_counter() - began

    def _read_trajectory(self) -> None:
        step = max(0, self.record.step - 1)
        known = self.record.recent("straightness", 1).steps
        reading = None if step in known else self._trajectory.reading()
        if reading is not None:
            for name, value in reading.items():
                self.record.add(name, step, value)

    def _probe(self, step: int, closure: Callable[[], Tensor] | None) -> None:
        """Measure the critical rate along the update just made, if the weights before it were kept."""
        if closure is not None:
            value = self._critical.headroom(closure, self._agreed)
            if not math.isnan(value):
                self.record.add("headroom", step, value)
        self._critical.forget()
        if closure is not None and self._critical.due(step + 1) and self._budget.allows(step + 1):
            self._critical.keep_next()

    def _agreed(self, loss: float) -> float:
        """Return the mean of a loss over the processes, so that all of them continue alike."""
        team = self._team if self._shared else None
        return loss if team is None else team.mean(loss, self._meters[0].device)

    def _read(self, *, wait: bool) -> bool:
        """Record what has been copied from the device; return whether anything was."""
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
                measured.write(self.record, meter.layout, offset)
        return came

    def _safely(self, do: Callable[[], object]) -> None:
        """Do something; an error ends the watching, and not what is watched."""
        try:
            do()
        except Exception as error:  # noqa: BLE001
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if self.broken or self._failing:
            return
        reason = f"{type(error).__name__}: {error}"
        if self._shared and self._team is not None:
            self._failing = reason  # until the other processes know: they would wait for this one
            return
        self.broken, self._lean = reason, None
        _LOG.warning("stepsize.watch stopped watching; training continues: %s", reason)
        self._remove()

    def _remove(self) -> None:
        for meter in self._meters:
            meter.remove()
        self._critical.forget()
