"""``guard``: a watched run that is rolled back when something goes wrong, and says so."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.checks import check_number, check_whole
from stepsize.errors import InputError
from stepsize.monitor.attached import as_models
from stepsize.monitor.finding import Finding
from stepsize.monitor.guarding.action import GuardAction
from stepsize.monitor.guarding.batches import Replayable
from stepsize.monitor.guarding.buffer import SavedState, SnapshotBuffer, go_back
from stepsize.monitor.guarding.checkpoint import load, save
from stepsize.monitor.guarding.expected import ExpectedRates
from stepsize.monitor.guarding.faults import LONG, REPLACED, find_fault, longest_before, never_as_low, nothing_learned
from stepsize.monitor.guarding.policy import Fault, Policy, State, decide, multiplier, settled_after
from stepsize.monitor.options import WatchOptions
from stepsize.monitor.report import Report
from stepsize.monitor.verdict import RateVerdict
from stepsize.monitor.watching import Watch, watch
from stepsize.training.snapshot import Snapshot, check_stateful
from stepsize.training.wrapped import bare_optimizers

_LOG = logging.getLogger("stepsize")
_STEPS = 2_000  # if the horizon is unknown
_EARLY = 8  # 1 over the fraction of the steps in which a run can begin anew


def guard(
    model: nn.Module | Iterable[nn.Module],
    optimizer: Optimizer | Iterable[Optimizer],
    *,
    others: Any = (),
    every: int | None = None,
    keep: int = 3,
    cut: float = 0.5,
    rewarm: int | None = None,
    retries: int = 5,
    skip: bool = True,
    dry_run: bool = False,
    checkpoint: str | Path | None = None,
    **options: Unpack[WatchOptions],
) -> Guard:
    """Guard a run: when it fails, roll back to a good state and lower the learning rate or skip the batches at fault.

    Take batches from its ``batches(source)``, once or once per epoch, and call ``step(loss)`` after each optimizer
    step. If something goes wrong (a loss or gradient that is not finite, a loss jump, a divergence), models,
    optimizers, scheduler, scaler, others, random generators and the position in the data are restored from a snapshot
    in host memory. The same batches are replayed at ``cut`` times the learning rate. A second fault at the same batch
    points to the data: those batches are skipped. A fault elsewhere points to the learning rate: it stays reduced.
    Otherwise the learning rate recovers over ``rewarm`` steps.

    If batches come from elsewhere (the loop of a trainer), weights, optimizers, scaler and others are restored, and
    training continues with the next batches, at ``cut`` times the learning rate for ``rewarm`` steps; step counters
    and schedules continue.

    Args:
        model: Model or models.
        optimizer: Optimizer or optimizers.
        others: Further object or objects to restore, such as averaged weights or metrics, with ``state_dict`` and
            ``load_state_dict``.
        every: Steps between two snapshots. Defaults to 1/50 of ``steps``, at least 10.
        keep: Number of snapshots, at least 2.
        cut: Multiplier of the learning rate, in (0, 1).
        rewarm: Number of steps over which a learning rate that was cut for a replay recovers. Defaults to ``every``.
        retries: Number of actions in one incident before it stops.
        skip: Whether batches that cause a fault are left out; if not, the learning rate stays cut.
        dry_run: Whether it only logs what it would do.
        checkpoint: File to which each snapshot is also written, whole or not at all; :meth:`Guard.resume` reads it.
        options: Arguments of :func:`stepsize.watch`: ``schedule``, whose state is restored, too, ``steps``, ``scaler``,
            ``store``, … In the store, steps are counted as they were made: after a rollback, the same part of the run
            is there again; the report leaves out what was rolled back. A run that is resumed in another process is
            saved as a new run.

    Returns:
        A :class:`Guard`, a context manager.

    Raises:
        InputError: If an argument is not as described.

    Example:
        >>> import torch
        >>> net = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with guard(net, optimizer, steps=60) as guarding:
        ...     for number, x in enumerate(guarding.batches(torch.randn(80, 8, 2))):
        ...         loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        ...         optimizer.zero_grad(); _ = loss.backward()
        ...         if number == 30:
        ...             _ = net.weight.grad.fill_(float("nan"))
        ...         _ = optimizer.step()
        ...         guarding.step(loss)
        >>> [action.kind for action in guarding.actions], bool(net.weight.isfinite().all())
        (['replay'], True)
    """
    for what, value, least in (("every", every, 1), ("keep", keep, 2), ("rewarm", rewarm, 0), ("retries", retries, 1)):
        if value is not None:
            check_whole(what, value, least)
    check_number("cut", cut, above=0, below=1)
    models, optimizers = as_models(model), bare_optimizers("optimizer", optimizer)
    path = None if checkpoint is None else _checkpoint_path(checkpoint)
    restored = _with_state(others)
    watching = watch(models, optimizers, **options)
    schedule, scaler = options.get("schedule"), options.get("scaler")
    between = every or max(10, (watching.steps or _STEPS) // 50)
    back = between if rewarm is None else rewarm
    return Guard(
        watching,
        models,
        optimizers,
        schedule,
        [*(one for one in (scaler,) if hasattr(one, "load_state_dict")), *restored],
        Policy(cut, back, retries, settled=max(3, between // 2), skip=skip, replays=False),
        every=between,
        keep=keep,
        dry_run=dry_run,
        checkpoint=path,
    )


def _with_state(others: Any) -> list[Any]:
    several = [others] if hasattr(others, "state_dict") or not isinstance(others, Iterable) else list(others)
    check_stateful("others", several)
    return several


def _checkpoint_path(given: str | Path) -> Path:
    path = Path(given)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError("checkpoint", str(path), "must be a file in a folder that exists")
    return path


def _check_source(source: Any) -> None:
    if not isinstance(source, Iterable) and not hasattr(source, "__getitem__"):
        raise InputError("source", type(source).__name__, "must be an iterable of batches")


def _check_loss(loss: Any) -> None:
    """Refuse what is no loss: the watch would end with a warning, and the run would go on without a guard."""
    whole = isinstance(loss, Tensor) and loss.numel() == 1 and not loss.is_complex()
    if not (loss is None or whole or (type(loss) is not bool and isinstance(loss, Real))):
        what = f"a tensor {tuple(loss.shape)} of {loss.dtype}" if isinstance(loss, Tensor) else type(loss).__name__
        raise InputError("loss", what, "must be a real number or a tensor of one element", "Pass the mean, for example")


@final
class Guard:
    """A run that is guarded; made by :func:`guard`.

    Attributes:
        watching: The watch of the run.
        stopped: Reason why the run was stopped, or None.
        step_number: Number of the next update; if batches are replayed, a rollback lowers it.
    """

    def __init__(
        self,
        watching: Watch,
        models: Sequence[nn.Module],
        optimizers: Sequence[Optimizer],
        schedule: Any,
        others: Sequence[Any],
        policy: Policy,
        *,
        every: int,
        keep: int,
        dry_run: bool,
        checkpoint: Path | None,
    ) -> None:
        self.watching = watching
        watching.be_prompt()
        self.stopped: str | None = None
        self.step_number = 0
        self._models, self._optimizers, self._others = list(models), list(optimizers), list(others)
        self._schedule = [schedule] if hasattr(schedule, "load_state_dict") else []
        self._policy, self._state = policy, State()
        self._every, self._dry = every, dry_run
        self._actions: list[GuardAction] = []
        self._checkpoint = checkpoint
        self._unwritten = False  # whether the last checkpoint could not be written
        self._ended = False  # whether it was reported that nothing is guarded any more
        self._buffer = SnapshotBuffer(keep, max(every, (watching.steps or _STEPS) // _EARLY))
        self._control = watching.control
        self._control.others = list(others)
        self._rates = self._control.limiter()
        self._rates.multiplier = lambda: multiplier(self._policy, self._state, self.step_number)
        self._batches: Replayable | None = None
        self._between = True  # whether no update is under way
        self._save_next = False  # whether an incident just ended, during which nothing was saved
        self._at = 0  # number of the batch after the last update
        self._numbers: deque[tuple[int, int, int]] = deque(maxlen=64 + 2 * every)  # watched step, step, batch
        self._resumed = 0
        self._expected = ExpectedRates(schedule, watching.record)
        self._given, self._orders = schedule, (0, 0)
        self._since = 0  # watched step from which losses count
        self._rolled_back_to = 0
        self._save(write=False)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take all hooks off."""
        self._rates.remove()
        self._note_actions()
        self.watching.__exit__(kind, error, trace)

    @property
    def actions(self) -> tuple[GuardAction, ...]:
        """Actions so far, in order."""
        return tuple(self._actions)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings so far, the earliest first."""
        return self.watching.findings

    @property
    def verdict(self) -> RateVerdict:
        """Whether the learning rate is too high, too low or fine."""
        return self.watching.verdict

    @property
    def should_stop(self) -> bool:
        """Whether the loop should end: the guard or an order stopped the run, or all its steps were made."""
        steps = self.watching.steps
        done = steps is not None and self.step_number >= steps
        return self.stopped is not None or self.watching.stopped is not None or done

    @property
    def position(self) -> int:
        """Number of the next batch, as drawn from the source."""
        return 0 if self._batches is None else self._batches.position

    def report(self) -> Report:
        """Return everything that is known so far."""
        return self.watching.report()

    def batches(self, source: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of ``source``, again after a rollback, until it or the steps end.

        Call it again for each epoch; a rollback can return into the previous one. Batches are not copied, so a step
        must not change them.
        """
        _check_source(source)
        if self._batches is None:
            self._batches, self._at = Replayable(begin=self._resumed), self._resumed
            self._policy = replace(self._policy, replays=True, settled=2 * self._every)  # the same batches must pass
            self._others += self._schedule  # is restored, too
            self._buffer.clear()
        self._batches.extend(self._left_of(source))
        while not self.should_stop:
            if self._between and (self._save_next or self.step_number % self._every == 0):
                self._save()
            try:
                batch = next(self._batches)
            except StopIteration:
                return
            self._between = False
            yield batch

    def step(
        self,
        loss: Tensor | float | None = None,
        *,
        closure: Callable[[], Tensor] | None = None,
        val_loss: float | None = None,
    ) -> None:
        """Report that an update was made; after a fault, everything is restored before this returns.

        A call without an update before it (one of several batches, a validation loss) is not counted.

        Args:
            loss: Training loss of the update.
            closure: As for :meth:`stepsize.Watch.step`.
            val_loss: Validation loss, if it was just measured.

        Raises:
            InputError: If ``loss`` is neither a number nor a tensor of one element.
        """
        _check_loss(loss)
        before = self.watching.record.step
        self.watching.step(loss, closure=closure, val_loss=val_loss)
        if self.watching.broken and not self._ended:
            self._ended = True
            _LOG.warning("stepsize.guard no longer guards this run, whose watch ended: %s", self.watching.broken)
        made = self.watching.record.step - before
        if not made:
            return
        self._between = True
        width = 1
        for watched in range(before, before + made):
            batch = self._batches.position - 1 if self._batches is not None else self.step_number
            width, self._at = max(1, batch + 1 - self._at), batch + 1
            self._numbers.append((watched, self.step_number, batch))
            self.step_number += 1
        if self._orders != self._control.orders:
            self._follow_orders(before + made)
        fault = find_fault(self.watching.record, list(self._numbers), self._since, self._expected)
        if fault is not None:
            record, reached = self.watching.record, self._level(max(0, fault.step - 1))
            long = longest_before(record, self._watched(fault.step)) > LONG
            usual = self._usual_level() if longest_before(record, record.step) > REPLACED else None
            self._act(replace(fault, width=width, long=long, reached=reached, usual=usual))
            return
        last = self._state.incident
        if last is not None and self.step_number > last.step + settled_after(self._policy, self._state):
            self._state = replace(self._state, incident=None, actions=0, skipped=False)
            self._save_next = True
        self._stop_if_dead()
        if self._batches is None and self.step_number % self._every == 0:
            self._save()

    def _usual_level(self) -> float | None:
        """Return the level at which the peak would be the usual learning rate of the optimizer; None if unknown."""
        usual = self.watching.record.facts.usual_lr
        rate = max(self._rates.last, default=0.0)
        return usual * self._level(self.step_number - 1) / rate if usual is not None and rate > 0 else None

    def _level(self, step: int) -> float:
        """Return the learning rate of a step over the peak of the schedule."""
        return self._expected.reached(step) * multiplier(self._policy, self._state, step)

    def _follow_orders(self, step: int) -> None:
        """Expect the rates that orders have set; after an undo, the saved states are of what was undone."""
        undone = self._orders[1]
        self._orders = self._control.orders
        self._expected = ExpectedRates(self._given, self.watching.record)
        self._expected.allowed = self._control.raised
        if undone != self._orders[1]:
            self._since, self._state = step, State(level=self._state.level)
            self._buffer.clear()
            self._save()

    def resume(self) -> bool:
        """Continue from the checkpoint, before ``batches``; return whether there was one."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return False
        others = [*self._others, *self._schedule]
        before = Snapshot(modules=self._models, optimizers=self._optimizers, others=others, offload=True)
        self._go_on(load(self._checkpoint, [*self._models, *self._optimizers, *others], before))
        self.watching.record.step = self.step_number
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return its state as plain values, for the checkpoint of a trainer."""
        seen = {"since": self._since, "numbers": list(map(list, self._numbers))}
        return {"watch": self.watching.state_dict(), "seen": seen, **self._progress()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned, after weights and optimizers were restored.

        Raises:
            InputError: If ``state`` is something else.
        """
        if not {"watch", "step", "position", "level", "actions"} <= set(state):
            raise InputError("state", sorted(state), "must be what the state_dict of a guard returned")
        self.watching.load_state_dict(state["watch"])
        self._go_on(state)
        seen = state.get("seen", {})
        self._since = int(seen.get("since", self.watching.record.step))
        self._numbers.extend((int(one), int(two), int(three)) for one, two, three in seen.get("numbers", ()))
        self._save()

    def _progress(self) -> dict[str, Any]:
        return {
            "step": self.step_number,
            "position": self.position,
            "level": self._state.level,
            "actions": [asdict(one) for one in self._actions],
            "state": asdict(self._state),
            "caps": self._rates.caps,
        }

    def _go_on(self, progress: Mapping[str, Any]) -> None:
        self.step_number, self._resumed = int(progress["step"]), int(progress["position"])
        state = dict(progress.get("state") or {"level": float(progress["level"])})
        incident = state.pop("incident", None)
        self._state = State(**state, incident=None if incident is None else Fault(**incident))
        self._rates.cap(progress.get("caps") or ())
        self._actions = [GuardAction.from_json(one) for one in progress["actions"]]
        self._buffer.clear()

    def _left_of(self, source: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of a source after those of the run that is resumed."""
        for batch in source:
            if self._resumed > 0:
                self._resumed -= 1
                continue
            yield batch

    def close(self) -> None:
        """Take all hooks off; closing twice is harmless."""
        self.__exit__(None, None, None)

    def _note_actions(self) -> None:
        self.watching.note_actions(self._actions, stopped=self.stopped is not None)

    def _snapshot(self) -> Snapshot:
        return Snapshot(modules=self._models, optimizers=self._optimizers, others=self._others, offload=True)

    def _save(self, *, write: bool = True) -> None:
        if len(self._buffer) and self._state.incident is not None:
            return  # a state saved during an incident can contain its cause, and would replace one that does not
        with torch.no_grad():
            finite = [torch.isfinite(p).all().cpu() for model in self._models for p in model.parameters()]
        if not all(map(bool, finite)):
            return
        self._save_next = False
        record = self.watching.record
        place = self.step_number, self.position, self._rates.last
        self._buffer.save(SavedState(*place, self._snapshot(), record.mark()))
        if self._batches is not None:
            self._batches.forget(self._buffer.oldest.position)
        if write and self._checkpoint is not None:
            self._write(self._checkpoint)

    def _write(self, path: Path) -> None:
        """Write the checkpoint; a disk that fails must not end the run, and the file of an earlier step stays."""
        others = self._others if self._policy.replays else [*self._others, *self._schedule]
        try:
            save(path, [*self._models, *self._optimizers, *others], self._progress())
        except OSError as error:
            if not self._unwritten:
                _LOG.warning(
                    "stepsize.guard: the checkpoint of step %d could not be written, training continues: %s",
                    self.step_number,
                    error,
                )
            self._unwritten = True
        else:
            self._unwritten = False

    def _act(self, fault: Fault) -> None:
        self._since = self.watching.record.step
        if not len(self._buffer):
            return self._stop(fault, "there is no state to restore: it failed before the first update")
        if self._dry:
            action, _ = decide(self._policy, State(), fault, fault.step)
            return self._note(replace(action, back_to=None, level=self._state.level, low_until=None, done=False))
        incident = self._state.incident or fault
        latest = min(fault.step, incident.step) - 2
        if fault.lasting and self._buffer.oldest.step == 0:
            latest = 0  # what was learned so far was learned at a learning rate that is too high
        if (
            decide(self._policy, self._state, fault, latest)[0].kind == "cut"
        ):  # the weights were harmed before the fault was detected: further back each time
            latest = min(latest, self._rolled_back_to - 1)
        saved = self._buffer.before(latest)
        self._rolled_back_to = saved.step
        action, self._state = decide(self._policy, self._state, fault, saved.step)
        go_back(saved.snapshot, self._optimizers, replays=self._policy.replays)
        self._control.restored()
        if action.kind == "cap":
            self._rates.cap(saved.rates)
        if self._batches is not None:
            self._batches.go_back(saved.position)
            self._batches.skip(action.skipped)
            self.step_number, self._at = saved.step, saved.position
        self.watching.roll_back(saved.mark, again=self._batches is not None)
        if action.kind == "stop":
            self.stopped = action.why
        return self._note(action)

    def _note(self, action: GuardAction) -> None:
        self._actions.append(action)
        _LOG.warning("stepsize.guard: %s", action)
        self._note_actions()

    def _watched(self, step: int) -> int:
        """Return the watched step of the last time that ``step`` was made."""
        return next((watched for watched, guarded, _ in reversed(self._numbers) if guarded == step), 0)

    def _stop(self, fault: Fault, why: str) -> None:
        if self.stopped is None:
            self.stopped = f"{fault.reason}; {why}"
            self._note(GuardAction("stop", fault.step, None, self._state.level, None, (), self.stopped))

    def _stop_if_dead(self) -> None:
        if self._dry or self.stopped is not None:
            return
        progress = self.step_number / self.watching.steps if self.watching.steps else 1.0
        why = nothing_learned(self.watching.record, self._since, progress) if self._actions else None
        after = "lower learning rates did not help: start again at a tenth of the learning rate"
        if why is None and self.step_number % self._every == 0:
            why = never_as_low(self.watching.record, self._since)
            after = "such weights rarely recover: start again at a tenth of the learning rate"
        if why is not None:
            self._stop(Fault(self.step_number - 1, self.position - 1, why), after)
