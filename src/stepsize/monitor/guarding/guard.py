"""``guard``: a watched training that goes back when it is lost, and never silently."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stepsize.errors import InputError
from stepsize.monitor.finding import Finding
from stepsize.monitor.guarding.batches import Replayable
from stepsize.monitor.guarding.checkpoint import load, save
from stepsize.monitor.guarding.expected import Expected
from stepsize.monitor.guarding.journal import Entry, Journal
from stepsize.monitor.guarding.policy import Policy, State, Trouble, decide, multiplier
from stepsize.monitor.guarding.rates import Rates
from stepsize.monitor.guarding.ring import Ring
from stepsize.monitor.guarding.steps import Steps
from stepsize.monitor.guarding.trouble import nothing_learned, trouble_of
from stepsize.monitor.reporting import Report
from stepsize.monitor.verdict import RateVerdict
from stepsize.monitor.watching import Watch, begin_watching
from stepsize.schedules import Schedule, points
from stepsize.training.rng import RngState
from stepsize.training.snapshot import Snapshot
from stepsize.training.wrapped import bare_optimizers

__all__ = ["Guard", "begin_guarding", "guard"]

_LOG = logging.getLogger("stepsize")
OnPlateau: TypeAlias = Literal["reduce", "stop"]
_REDUCTION = 0.3
_PLANNED = ("lr", "momentum", "betas", "weight_decay", "max_lr", "min_lr", "max_momentum", "base_momentum")


def guard(
    model: nn.Module | Iterable[nn.Module],
    optimizer: Optimizer | Iterable[Optimizer],
    *,
    schedule: Any = None,
    steps: int | None = None,
    scaler: Any = None,
    others: Iterable[Any] = (),
    every: int | None = None,
    keep: int = 3,
    cut: float = 0.5,
    rewarm: int | None = None,
    retries: int = 5,
    skip: bool = True,
    on_plateau: OnPlateau | None = None,
    dry_run: bool = False,
    journal: str | Path | None = None,
    checkpoint: str | Path | None = None,
    validate: Callable[[], Tensor | float] | None = None,
    on_finding: Callable[[Finding], object] | None = None,
    store: str | Path | None = None,
    name: str | None = None,
) -> Guard:
    """Guard a training: when it is lost, it goes back to a good state, at a lower rate or without the batches at fault.

    Take batches from its ``batches(source)``, once or once for each epoch, and call ``step(loss)`` after each update.
    On trouble (a loss or gradient that is not finite, a loss far above what it was, a divergence) models, optimizers,
    scheduler, scaler, others, random generators and the position in the data go back to a snapshot in host memory,
    which was taken between two updates. The same batches are replayed at ``cut`` times the rate; if trouble comes
    again at the same batch it was the data, which are left out; if it comes elsewhere it is the rate, which stays cut;
    else the rate comes back over ``rewarm`` steps.

    Where batches come from elsewhere (the loop of a trainer), weights, optimizers, scaler and others go back, and the
    training goes on with the batches that follow, at ``cut`` times the rate for ``rewarm`` steps; clocks and schedules
    run on.

    Args:
        model: What is trained, one or several.
        optimizer: What updates it, one or several.
        schedule: What sets the rate; its state goes back too.
        steps: How many updates the training is to have.
        scaler: The ``torch.amp.GradScaler``, where losses are scaled.
        others: Whatever else goes back: averaged weights, metrics, with ``state_dict`` and ``load_state_dict``.
        every: Steps between two snapshots; default a fiftieth of ``steps``, at least 10.
        keep: How many snapshots are kept, at least 2.
        cut: By what the rate is multiplied, in (0, 1).
        rewarm: Over how many steps a rate cut for a replay comes back; default ``every``.
        retries: How many acts it may take in one incident before it stops.
        skip: Whether batches found at fault are left out; if not, the rate stays cut instead.
        on_plateau: ``"reduce"`` multiplies the rate by 0.3 at a plateau, ``"stop"`` ends there; None only reports it.
        dry_run: Whether it only writes down what it would do.
        journal: A JSON file of all acts.
        checkpoint: A file that each snapshot is also written to, whole or not at all; :meth:`Guard.resume` reads it.
        validate: Returns the loss on unseen data, as for :func:`stepsize.watch`.
        on_finding: Called with each new finding.
        store: Where all of it is kept, its acts too, as for :func:`stepsize.watch`. Steps are counted as they were
            made: where the training went back, the same part of it is there again, behind what was lost.
        name: Of the training in the store, as for :func:`stepsize.watch`. One that is resumed in another process is
            kept as a training of its own.

    Returns:
        A :class:`Guard`, a context manager.

    Raises:
        InputError: If an argument is not of these kinds.

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
        >>> [entry.kind for entry in guarding.acts], bool(net.weight.isfinite().all())
        (['replay'], True)
    """
    return begin_guarding(
        model,
        optimizer,
        schedule=schedule,
        steps=steps,
        scaler=scaler,
        others=others,
        every=every,
        keep=keep,
        cut=cut,
        rewarm=rewarm,
        retries=retries,
        skip=skip,
        on_plateau=on_plateau,
        dry_run=dry_run,
        journal=journal,
        checkpoint=checkpoint,
        validate=validate,
        on_finding=on_finding,
        store=store,
        name=name,
    )


def begin_guarding(
    model: Any,
    optimizer: Any,
    *,
    schedule: Any = None,
    steps: int | None = None,
    scaler: Any = None,
    others: Iterable[Any] = (),
    every: int | None = None,
    keep: int = 3,
    cut: float = 0.5,
    rewarm: int | None = None,
    retries: int = 5,
    skip: bool = True,
    on_plateau: OnPlateau | None = None,
    dry_run: bool = False,
    journal: str | Path | None = None,
    checkpoint: str | Path | None = None,
    validate: Callable[[], Tensor | float] | None = None,
    validate_every: int | None = None,
    on_finding: Callable[[Finding], object] | None = None,
    store: str | Path | None = None,
    name: str | None = None,
    together: bool | None = None,
) -> Guard:
    """Do what :func:`guard` does, told whether several processes train together; None reads it from the model."""
    for what, value, least in (("every", every, 1), ("keep", keep, 2), ("rewarm", rewarm, 0), ("retries", retries, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(what, value, f"must be a whole number, at least {least}")
    if not 0 < cut < 1:
        raise InputError("cut", cut, "must lie between 0 and 1")
    if on_plateau not in (None, "reduce", "stop"):
        raise InputError("on_plateau", on_plateau, "must be 'reduce', 'stop' or None")
    watching = begin_watching(
        model,
        optimizer,
        schedule=schedule,
        steps=steps,
        scaler=scaler,
        validate=validate,
        validate_every=validate_every,
        on_finding=on_finding,
        store=store,
        name=name,
        together=together,
    )
    models = [model] if isinstance(model, nn.Module) else list(model)
    optimizers = bare_optimizers("optimizer", optimizer)
    between = every or max(10, (steps or 2_000) // 50)
    stateful = [one for one in (scaler,) if hasattr(one, "load_state_dict")]
    back = between if rewarm is None else rewarm
    policy = Policy(cut, back, retries, settled=max(3, between // 2), skip=skip, replays=False)
    return Guard(
        watching,
        models,
        optimizers,
        schedule,
        [*stateful, *others],
        policy,
        steps=steps,
        every=between,
        keep=keep,
        on_plateau=on_plateau,
        dry_run=dry_run,
        journal=None if journal is None else Path(journal),
        checkpoint=None if checkpoint is None else Path(checkpoint),
    )


@final
class Guard:
    """A training that is guarded; made by :func:`guard`.

    Attributes:
        watching: What watches it.
        stopped: Why it was stopped, as a sentence; None while it goes on.
        step_number: The update that comes next; where batches are replayed, it goes back with the training.
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
        steps: int | None,
        every: int,
        keep: int,
        on_plateau: OnPlateau | None,
        dry_run: bool,
        journal: Path | None,
        checkpoint: Path | None,
    ) -> None:
        self.watching = watching
        watching.be_prompt()
        self.stopped: str | None = None
        self.step_number = 0
        self._models, self._optimizers, self._others = list(models), list(optimizers), list(others)
        self._schedule = [schedule] if hasattr(schedule, "load_state_dict") else []
        self._policy, self._state = policy, State()
        self._steps, self._every, self._dry = steps, every, dry_run
        self._on_plateau = on_plateau
        self._journal = Journal(journal, self._tell)
        self._checkpoint = checkpoint
        self._ring = Ring(self._snapshot, keep)
        self._rates = Rates(optimizers, lambda: multiplier(self._policy, self._state, self.step_number))
        self._batches: Replayable | None = None
        self._between = True  # whether no update is under way
        self._at = 0  # the batch that the last update ended behind
        self._numbers: deque[tuple[int, int, int]] = deque(maxlen=64 + 2 * every)  # watched step, step, batch
        self._factors = Steps()
        self._resumed = 0
        self._marks: dict[int, Any] = {}
        self._expected = Expected(schedule, watching.record)
        self._looked = 0
        self._went_back = 0
        self._undone: deque[tuple[int, int]] = deque(maxlen=64)  # watched steps, half open: their losses are no measure
        self._keep(write=False)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take all hooks off."""
        self._rates.remove()
        self._tell()
        self.watching.__exit__(kind, error, trace)

    @property
    def acts(self) -> tuple[Entry, ...]:
        """What it did, in order."""
        return tuple(self._journal.entries)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, the earliest first."""
        return self.watching.findings

    @property
    def verdict(self) -> RateVerdict:
        """Whether the rate is too high, too low or fine."""
        return self.watching.verdict

    @property
    def position(self) -> int:
        """The number of the batch that comes next, as drawn from the source."""
        return 0 if self._batches is None else self._batches.position

    @property
    def nbytes(self) -> int:
        """The host memory that the snapshots take, in bytes."""
        return self._ring.nbytes

    def report(self) -> Report:
        """Return everything that is known by now."""
        return self.watching.report()

    def batches(self, source: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of ``source``, going back where the training does, until it or the steps end.

        Call it again for each epoch; the training may go back into the one before.
        """
        if self._batches is None:
            self._begin_replays()
        assert self._batches is not None
        self._batches.extend(self._left_of(source))
        while self.stopped is None and (self._steps is None or self.step_number < self._steps):
            if self._between and self.step_number % self._every == 0:
                self._keep()
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
        again: Callable[[], Tensor] | None = None,
        val_loss: float | None = None,
    ) -> None:
        """Say that an update was made; on trouble, everything goes back before this returns.

        A call behind which no update was made (a batch of several, a loss on unseen data) is counted as none.

        Args:
            loss: The training loss of the update.
            again: As for :meth:`stepsize.Watch.step`.
            val_loss: The loss on unseen data, where it was just measured.
        """
        before = self.watching.record.step
        self.watching.step(loss, again=again, val_loss=val_loss)
        made = self.watching.record.step - before
        if not made:
            return
        self._between = True
        width = 1
        for watched in range(before, before + made):
            batch = self._batches.position - 1 if self._batches is not None else self.step_number
            width, self._at = max(1, batch + 1 - self._at), batch + 1
            self._numbers.append((watched, self.step_number, batch))
            self._factors.add(self.step_number, multiplier(self._policy, self._state, self.step_number))
            self.step_number += 1
        trouble = trouble_of(
            self.watching.record, list(self._numbers), self._looked, self._expected, list(self._undone)
        )
        if trouble is not None:
            self._act(replace(trouble, width=width))
            return
        self._settle()
        self._plateau()
        self._stop_if_dead()
        if self._batches is None and self.step_number % self._every == 0:
            self._keep()

    def schedule(self) -> Schedule:
        """Return what it made of the rate as a schedule of multipliers, to be multiplied onto the one it guarded."""
        return points(self._factors.corners(self.step_number))

    def resume(self) -> bool:
        """Go on from the checkpoint, before ``batches``; return whether there was one."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return False
        held = load(self._checkpoint, self._models, self._optimizers, [*self._others, *self._schedule])
        self._resumed = held["position"]
        self._go_on(held["step"], State(level=held["level"]), held["factors"])
        self.watching.record.step = self.step_number
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return what it knows as plain values: for the checkpoint of a trainer, beside the weights."""
        return {
            "watch": self.watching.state_dict(),
            "step": self.step_number,
            "position": self.position,
            "level": self._state.level,
            "factors": self._factors.changes,
            "acts": self._journal.to_json(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, after weights and optimizers were put back.

        Raises:
            InputError: If it is no such state.
        """
        if not {"watch", "step", "position", "level", "factors", "acts"} <= set(state):
            raise InputError("state", sorted(state), "must be what the state_dict of a guard returned")
        self.watching.load_state_dict(state["watch"])
        self._resumed = int(state["position"])
        self._journal.load(state["acts"])
        self._go_on(int(state["step"]), State(level=float(state["level"])), state["factors"])
        self._looked = self.watching.record.step
        self._keep()

    def _go_on(self, step: int, state: State, factors: Iterable[tuple[int, float]]) -> None:
        self.step_number, self._state, self._factors = step, state, Steps(factors)
        self._ring.clear()
        self._marks.clear()

    def _begin_replays(self) -> None:
        """Take batches from here on from a source that can be drawn again."""
        self._batches, self._at = Replayable(begin=self._resumed), self._resumed
        self._policy = replace(self._policy, replays=True, settled=2 * self._every)  # the same batches must pass
        self._others += self._schedule  # goes back, too
        self._ring.clear()
        self._marks.clear()

    def _left_of(self, source: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of a source behind those of the training that is resumed."""
        for batch in source:
            if self._resumed > 0:
                self._resumed -= 1
                continue
            yield batch

    def close(self) -> None:
        """Take all hooks off; doing so twice does no harm."""
        self._rates.remove()
        self._tell()
        self.watching.close()

    def _tell(self) -> None:
        self.watching.tell_acts(self._journal.entries, stopped=self.stopped is not None)

    def _snapshot(self) -> Snapshot:
        return Snapshot(modules=self._models, optimizers=self._optimizers, others=self._others, offload=True)

    def _keep(self, *, write: bool = True) -> None:
        if len(self._ring) and self._state.incident is not None:
            return  # what is kept while an incident is open may hold its cause, and would push out what does not
        if not _sound(self._models):
            return
        position = self.position
        self._ring.keep(self.step_number, position, self._rates.last)
        self._marks[self.step_number] = self.watching.record.mark()
        self._marks = {step: mark for step, mark in self._marks.items() if step >= self._ring.oldest.step}
        if self._batches is not None:
            self._batches.forget(self._ring.oldest.position)
        if write and self._checkpoint is not None:
            others = self._others if self._policy.replays else [*self._others, *self._schedule]
            held = {"step": self.step_number, "position": position, "level": self._state.level}
            held_all = {**held, "factors": self._factors.changes}
            save(self._checkpoint, self._models, self._optimizers, others, held_all)

    def _act(self, trouble: Trouble) -> None:
        self._looked = self.watching.record.step
        if not len(self._ring):
            return self._stop(trouble, "there is no state to go back to: it was lost before the first update")
        if self._dry:
            act, _ = decide(self._policy, State(), trouble, trouble.step)
            entry = Entry(act.kind, trouble.step, None, self._state.level, None, act.skipped, act.why, done=False)
            self._journal.add(entry)
            return None
        open_since = trouble if self._state.incident is None else self._state.incident
        latest = min(trouble.step, open_since.step) - 2
        act, _ = decide(self._policy, self._state, trouble, latest)
        if act.kind == "cut":  # the rate has harmed the weights before trouble was seen: further back each time
            latest = min(latest, self._went_back - 1)
        kept = self._ring.before(latest)
        self._went_back = kept.step
        act, state = decide(self._policy, self._state, trouble, kept.step)
        low = state.low_until if state.low_from is not None else None
        self._journal.add(Entry(act.kind, trouble.step, kept.step, state.level, low, act.skipped, act.why, done=False))
        _LOG.warning("stepsize.guard: %s", self._journal.entries[-1])
        self._restore(kept.snapshot)
        self._state = state
        if act.kind == "cap":
            self._rates.cap(kept.rates)
        self._undo(kept.step)
        if self._batches is not None:
            self._batches.go_back(kept.position)
            self._batches.skip(act.skipped)
            self.step_number, self._at = kept.step, kept.position
        self.watching.go_back(self._marks[kept.step])
        self._journal.done()
        if act.kind == "stop":
            self.stopped = act.why
        return None

    def _restore(self, snapshot: Snapshot) -> None:
        """Put a state back; where batches are not replayed, the rates that are planned and randomness go on.

        Groups that the optimizers were given since then stay.
        """
        groups = [list(one.param_groups) for one in self._optimizers]
        planned = [(group, _planned(group)) for several in groups for group in several]
        randomness = RngState.take()
        snapshot.restore()
        for optimizer, several in zip(self._optimizers, groups, strict=True):
            optimizer.param_groups += several[len(optimizer.param_groups) :]
        if self._policy.replays:
            return
        randomness.restore()
        for group, values in planned:
            for key, value in values.items():
                if isinstance(group.get(key), Tensor) and isinstance(value, Tensor):
                    group[key].copy_(value)
                else:
                    group[key] = value

    def _undo(self, step: int) -> None:
        """Note which watched steps are undone when the training goes back to ``step``."""
        now = self.watching.record.step
        first = now
        for watched, guarded, _ in reversed(self._numbers):
            if guarded < step:
                break
            first = watched
        self._undone.append((first, now))

    def _stop(self, trouble: Trouble, why: str) -> None:
        if self.stopped is None:
            self.stopped = f"{trouble.reason}; {why}"
            _LOG.warning("stepsize.guard: stopped at step %d: %s", trouble.step, self.stopped)
            self._journal.add(Entry("stop", trouble.step, None, self._state.level, None, (), self.stopped, done=True))

    def _settle(self) -> None:
        """Close an incident that is far enough behind."""
        last = self._state.incident
        if last is not None and self.step_number > last.step + self._policy.settled:
            self._state = replace(self._state, incident=None, acts=0)

    def _stop_if_dead(self) -> None:
        if self._dry or self.stopped is not None or not self._journal.entries:
            return
        progress = self.step_number / self._steps if self._steps else 1.0
        why = nothing_learned(self.watching.record, self._looked, progress)
        if why is not None:
            trouble = Trouble(self.step_number - 1, self.position - 1, why)
            self._stop(trouble, "lower rates have not helped: begin anew at a tenth of the rate")

    def _plateau(self) -> None:
        if self._on_plateau is None or not any(one.code == "plateau" for one in self.findings):
            return
        reduce = self._on_plateau == "reduce"
        level = self._state.level * (_REDUCTION if reduce else 1.0)
        why = "the training loss is on a plateau"
        self._journal.add(
            Entry("reduce" if reduce else "stop", self.step_number, None, level, None, (), why, not self._dry)
        )
        self._on_plateau = None
        if self._dry:
            return
        self._state = State(level=level, capped=self._state.capped)
        if not reduce:
            self.stopped = why


def _planned(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the values of a parameter group that a schedule sets."""
    values = {key: value for key, value in group.items() if key in _PLANNED or key.startswith("initial_")}
    return {key: value.detach().clone() if isinstance(value, Tensor) else value for key, value in values.items()}


def _sound(models: Iterable[nn.Module]) -> bool:
    """Return whether all weights are finite: a state that is lost already is none to go back to."""
    with torch.no_grad():
        finite = [torch.isfinite(p).all().cpu() for model in models for p in model.parameters()]
    return all(map(bool, finite))
