"""A schedule on an optimizer: rates written before each update, and a step counter that counts real updates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, final, get_args
from weakref import WeakKeyDictionary, ref

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from stepsize.checks import check_number, check_positive, check_word
from stepsize.errors import InputError
from stepsize.schedules import Clock, HyperparameterSchedule, Schedule
from stepsize.schedules.hyperparameters import as_hyperparameters
from stepsize.schedules.units import Duration
from stepsize.training.bind_checks import (
    SCHEMA,
    checked_state,
    group_number,
    horizon_of,
    peak_rates,
    version_of,
    was_skipped,
)
from stepsize.training.group_schedules import MAIN, GroupSchedules, SavedSchedules, name_of
from stepsize.training.group_values import GroupValues
from stepsize.training.wrapped import bare_optimizer, outside_of_graphs, runs_step_hooks

OnChange = Literal["error", "continue", "restart"]
Counts = Literal["updates", "calls"]
_IDLE = 20  # calls of .step() without any update that was seen: a gradient scaler skips fewer at its start
_DRIVEN: WeakKeyDictionary[Optimizer, ref[BoundScheduler]] = WeakKeyDictionary()


def bind(
    schedule: Schedule | HyperparameterSchedule | str,
    optimizer: Optimizer | Sequence[Optimizer],
    *,
    lr: float | Sequence[float] | None = None,
    groups: Mapping[int, Schedule | HyperparameterSchedule | str] | None = None,
    steps: Duration | None = None,
    clock: Clock | None = None,
    epochs: float | None = None,
    loader: Any = None,
    accumulate: int = 1,
    on_change: OnChange = "error",
    counts: Counts = "updates",
) -> BoundScheduler:
    """Let an optimizer follow a schedule: update number t of group g is made at the rate peak_g · f(t).

    The peak of a group is its ``initial_lr``, torch's own key: ``lr`` if given, otherwise the present ``initial_lr``,
    or the group's ``lr`` if there is none. It is saved in the optimizer's ``state_dict``, and loading one restores its
    peaks. A :class:`~stepsize.schedules.HyperparameterSchedule` moves momentum and weight decay too. The groups get
    exactly what :func:`~stepsize.schedules.preview` shows.

    The step counter t counts updates that were really made. The values are written right before each update (a pre-step
    hook), and an update is counted right after it. So a step that ``GradScaler`` or the loop skips does not count, and
    neither how often nor where ``.step()`` is called changes any rate: frameworks may call it per update, per epoch or
    once per process. It only shows the next rates in the groups, for loggers. (Fused optimizers skip inside their
    kernel: one number is read from the device after each update that a ``GradScaler`` makes with them.)

    Only the bound scheduler writes the rate. A rate that something else wrote into a group (another scheduler,
    ``group["lr"] = …``) is overwritten, with one warning. :meth:`BoundScheduler.scale` changes the rate permanently,
    :meth:`BoundScheduler.suspend` lets something else write for a while. A group's ``lr_scale`` (timm's decay by
    layers) multiplies its rate.

    Several optimizers share one step counter. It counts rounds: a round ends when all have made an update, when one is
    about to make its second, or with ``.step()``, which must then be called once per iteration or never.

    The result is a ``torch.optim.lr_scheduler.LRScheduler``. The hooks keep it alive as long as the optimizer;
    ``release()`` removes them. After its end the schedule holds its last factor, with one warning.

    Args:
        schedule: Schedule of the rate, its written form, or a schedule of rate, momentum and weight decay. Relative
            durations (``"5%"``) are resolved by ``steps``.
        optimizer: One, or several that train together.
        lr: Peak rate of the group with the highest one; the others keep their ratio to it. A sequence gives each group
            its own, over all optimizers in their order. None keeps the groups' rates.
        groups: Schedules of single groups, by their numbers (counted over all optimizers). Groups that are added later
            follow ``schedule`` from their own ``lr``.
        steps: The horizon in steps, or in a unit that ``clock`` knows; needed if a duration is relative.
        clock: Converts epochs, samples and tokens.
        epochs: The horizon in passes over ``loader``, instead of ``steps``.
        loader: Training loader of this process: its length converts epochs, also ``"2ep"`` within ``schedule``.
        accumulate: Batches of the loader per update.
        on_change: What :meth:`BoundScheduler.load_state_dict` does if the state was saved with another schedule:
            ``"error"`` refuses; ``"continue"`` continues from the saved step along the new one, scaled so that the rate
            does not jump; ``"restart"`` begins the new one.
        counts: ``"updates"``, as above, or ``"calls"``: each ``.step()`` advances by one, as in torch. For optimizers
            that do not run torch's hooks, and for steps that are compiled as a whole or replayed from a captured graph
            (with their ``lr`` in a tensor, which is filled in place).

    Returns:
        The scheduler, with the rates of its first update written.

    Raises:
        InputError: If an argument breaks its rule or the schedule does not fit a group; nothing is changed then.

    Example:
        >>> import torch
        >>> from stepsize.schedules import cosine
        >>> net = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> bound = bind(cosine(warmup="20%"), optimizer, steps=10)
        >>> for _ in range(4):
        ...     net(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        ...     bound.step()
        >>> bound.last_epoch, [round(lr, 4) for lr in bound.get_last_lr()]
        (4, [0.0854])
    """
    optimizers = _optimizers(optimizer, counts)
    check_word("on_change", on_change, get_args(OnChange))
    check_word("counts", counts, get_args(Counts))
    steps, clock = horizon_of(steps, clock, epochs, loader, accumulate)
    everyone = [name_of(i, j) for i, each in enumerate(optimizers) for j in range(len(each.param_groups))]
    own = {
        everyone[group_number(i, len(everyone))]: as_hyperparameters("groups", each)
        for i, each in (groups or {}).items()
    }
    schedules = GroupSchedules({MAIN: as_hyperparameters("schedule", schedule), **own}).resolved(steps, clock)
    schedules.check()
    values = GroupValues(optimizers, schedules, None if lr is None else peak_rates(lr, optimizers))
    return BoundScheduler(optimizers, schedules, values, on_change, counts)


@final
class BoundScheduler(LRScheduler):
    """A schedule on one or several optimizers; made by :func:`bind`, and a torch scheduler to everyone else.

    Attributes:
        optimizers: The optimizers that it drives.
        optimizer: The first of them, where torch's schedulers have theirs.
        on_change: What loading the state of another schedule does; see :func:`bind`.
        counts: What the step counter counts; see :func:`bind`.
        released: Whether it has let go of the optimizers.
        asked: The schedules that it was bound with.
        followed: The schedules of all groups, as they were changed since.
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        schedules: GroupSchedules,
        values: GroupValues,
        on_change: OnChange,
        counts: Counts,
    ) -> None:
        # Not super().__init__: it would replace optimizer.step to watch the order of calls, which does not matter here,
        # and copy what it needs into attributes of its own that a state_dict then contains.
        self.optimizers = tuple(optimizers)
        self.optimizer = self.optimizers[0]
        self.on_change: OnChange = on_change
        self.counts: Counts = counts
        self._step_count = 1  # of calls; Accelerate adds to it
        self.asked = schedules
        self._values = values
        self._step = 0
        self._stepped: set[int] = set()  # the optimizers that have made update number _step, until all have
        self._warned: set[str] = set()
        self._seen = False  # whether an update ever was
        self._loaded = False  # whether an optimizer's state was loaded since
        self._suspended = 0
        self._early, self._version = False, version_of(self.optimizer)
        self._follow(schedules)
        values.install()
        self._write()
        self._attach()

    # ----------------------------------------------------------------- the run

    def step(self, epoch: int | None = None) -> None:
        """Show the next rates in the groups; end the round of several optimizers; with ``counts="calls"`` count one.

        Args:
            epoch: With ``counts="calls"`` the new value of the step counter, as in torch. Otherwise not allowed.

        Raises:
            InputError: If ``epoch`` is given while updates are counted, or this was released.
        """
        if epoch is not None and (self.counts == "updates" or not isinstance(epoch, int) or epoch < 0):
            remedy = "Use bound.load_state_dict({**bound.state_dict(), 'step': …}) to go to another step"
            raise InputError("epoch", epoch, "must be left out of .step()", remedy)
        if self.released:
            raise InputError("bound", "a released one", "drives no optimizer any more", "Bind the schedule again")
        self._step_count += 1
        if self._suspended:
            return
        if self.counts == "calls":
            self._step = self._step + 1 if epoch is None else epoch
            self._warn_after_the_end(self._step - 1)
            self._check_order()
        elif self._stepped:
            self._end_round()
        elif not self._seen and self._step_count > _IDLE:
            self._warn_once(
                "idle",
                f".step() was called {self._step_count - 1} times, and no update was seen: the schedule stays at "
                "its start. Bind the optimizer whose own .step() makes the updates (inside a wrapper, the base "
                "optimizer), or pass counts='calls'",
                deep=2,
            )
        self._write()

    def release(self) -> None:
        """Let go of the optimizers, at their present rates; a second call does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.released = True
        for optimizer in self.optimizers:
            if _driver(optimizer) is self:
                del _DRIVEN[optimizer]

    def scale(self, factor: float, group: int | None = None) -> None:
        """Multiply the peak rate of all groups, or of one, from now on, as ``group["lr"] *= factor`` cannot.

        Peaks are the ``initial_lr`` of the groups, so they are saved in the optimizer's state.

        Args:
            factor: The multiplier, finite and > 0.
            group: Number of a group, counted over all optimizers; None takes all.

        Raises:
            InputError: If an argument breaks its rule; nothing is changed then.

        Example:
            >>> import torch
            >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
            >>> bound = bind("linear", optimizer, steps=10)
            >>> bound.scale(0.5)
            >>> bound.base_lrs, bound.get_last_lr()
            ([0.05], [0.05])
        """
        check_positive("factor", factor)
        if group is not None:
            group_number(group, sum(len(optimizer.param_groups) for optimizer in self.optimizers), "group")
        self._values.scale(float(factor), group)
        self._values.forget_written()
        self._write()

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Neither write nor count within the block: for a rate finder, or whatever else sets rates for a while.

        After it the rates are written again that the schedule was at.

        Example:
            >>> import torch
            >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
            >>> bound = bind("linear", optimizer, steps=10)
            >>> with bound.suspend():
            ...     optimizer.param_groups[0]["lr"] = 3.0
            ...     _ = optimizer.step()
            >>> bound.last_epoch, bound.get_last_lr()
            (0, [0.1])
        """
        self._suspended += 1
        try:
            yield
        finally:
            self._suspended -= 1
            if not self._suspended and not self.released:
                self._values.forget_written()
                self._write()

    @property
    def multiplier(self) -> float:
        """The multiplier of all factors, 1 at first: for a controller that saves it in its own state.

        It is not part of :meth:`state_dict`. Weight decay that is ``"independent"`` of the rate, or ``"corrected"``,
        refers to the multiplied rate.
        """
        return self._values.multiplier

    @multiplier.setter
    def multiplier(self, value: float) -> None:
        self._values.multiplier = check_number("multiplier", value, least=0)
        if self.counts == "calls":  # there is no hook that would write it
            self._write()

    @property
    def schedule(self) -> HyperparameterSchedule:
        """What the groups without a schedule of their own follow; after a change, with what was before it."""
        return self.followed.main

    @property
    def between(self) -> bool:
        """Whether no round of several optimizers is under way, and the schedule is not suspended."""
        return not self._stepped and not self._suspended

    def follow(self, schedules: GroupSchedules) -> None:
        """Follow other schedules from the next update on, at the same step; for orders to a running training."""
        self._follow(schedules)
        self._warned.discard("end")
        self._values.forget_written()
        self._values.write(self._step)

    def _before(self, index: int, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if self._suspended:
            return
        if index in self._stepped:
            self._end_round()
        if self._step >= self._end:
            self._warn_after_the_end(self._step)
        self._write()

    def _after(self, index: int, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if not self._suspended and not was_skipped(optimizer):
            self._seen = True
            self._stepped.add(index)
            if len(self._stepped) == len(self.optimizers):
                self._end_round()

    def _check_order(self) -> None:
        """Warn if the first call came before the first update: weights had not changed then, and have by the second."""
        version = version_of(self.optimizer)
        if self._step_count == 2:
            self._early = version == self._version
            self._version = version
        elif self._step_count == 3 and self._early and version != self._version:
            self._warn_once(
                "order",
                "bound.step() was called before the first update, so the first rate of the schedule was skipped: call "
                "optimizer.step() first (if a gradient scaler skipped that update, all is well)",
                deep=3,
            )

    def _end_round(self) -> None:
        self._step += 1
        self._stepped.clear()

    def _warn_after_the_end(self, step: int) -> None:
        if step >= self._end:
            self._warn_once(
                "end",
                f"The schedule ended at step {self._end:,} but training continues; the last factor is held. Use a "
                "longer horizon, or resume with a longer schedule and on_change='continue'",
                deep=3 if self.counts == "calls" else 5,
            )

    def _write(self) -> None:
        overwritten = self._values.write(self._step)
        if overwritten is not None:
            self._warn_overwritten(*overwritten)

    def _warn_overwritten(self, where: str, found: float, wrote: float) -> None:
        self._warn_once(
            "writer",
            f"{where} had the rate {found:.6g}, but the schedule had written {wrote:.6g}: that is overwritten, now "
            "and at every update. To change the rate permanently call bound.scale(factor), or bind(..., lr=...); to "
            "lower it on a plateau use stepsize.Plateau(bound) instead of ReduceLROnPlateau; to join schedules use "
            ".then() or *; to let something else set it for a while (a rate finder) use 'with bound.suspend():'",
            deep=6,
        )

    def _warn_once(self, what: str, text: str, deep: int) -> None:
        """Warn of something once, at the line of the user ``deep`` calls above: that of a step."""
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(text, UserWarning, stacklevel=1 + deep)

    # ------------------------------------------------------------- the state

    def state_dict(self) -> dict[str, Any]:
        """Return step counter and schedule as plain values, which ``torch.load`` reads with ``weights_only=True``.

        Peaks are not part of it: they are in the groups, so in the optimizer's own state. The rates are written again
        before each update, so it does not matter which of the two states is loaded first.
        """
        changed = self.followed is not self.asked
        return {
            "schema": SCHEMA,
            "step": self._step,
            "stepped": sorted(self._stepped),
            "asked": self.asked.documents(),
            "followed": self.followed.documents() if changed else None,
            "last_epoch": self._step,
            "_step_count": self._step + 1,
            "_last_lr": [float(rate) for rate in self.get_lr()],
        }

    def load_state_dict(self, state_dict: dict[str, Any], on_change: OnChange | None = None) -> None:
        """Continue from a saved state.

        Args:
            state_dict: What :meth:`state_dict` returned.
            on_change: What to do if it was saved with another schedule. Default: what :func:`bind` was given.

        Raises:
            InputError: If it is not such a state; if it was saved with another schedule and ``on_change`` is
                ``"error"``, or cannot be continued. Nothing is changed then.
        """
        step, stepped = checked_state(state_dict, len(self.optimizers))
        saved = SavedSchedules(state_dict["asked"], state_dict["followed"])
        change = self.on_change if on_change is None else on_change
        check_word("on_change", change, get_args(OnChange))
        if saved.same(self.asked):
            schedules = saved.followed(self.asked)
        elif change == "error":
            raise InputError(
                "schedule",
                str(self.asked),
                f"must be the one saved in the state ('{saved}', at step {step:,})",
                "Bind that one, or pass on_change='continue' to switch to the new one without a jump, or "
                "on_change='restart' to start it from the beginning",
            )
        elif change == "continue":
            schedules = self.asked.continued(saved, step)
        else:
            step, stepped, schedules = 0, set(), self.asked
        self._follow(schedules)
        self._step, self._stepped = step, stepped
        self._warned.discard("end")
        # Otherwise the next update writes, and until then the groups show what the optimizer's own state says; a new
        # one has shown its first rates.
        if self.counts == "calls" or not (self._seen or self._loaded or self._step_count > 1):
            self._write()

    def _follow(self, schedules: GroupSchedules) -> None:
        self._values.follow(schedules)
        self.followed = schedules
        length = schedules.length
        self._end = math.inf if length is None else length

    # ---------------------------------------------- what torch's schedulers have

    @property
    def last_epoch(self) -> int:
        """The step counter: the number of the next update, which is how many have been made."""
        return self._step

    @last_epoch.setter
    def last_epoch(self, value: int) -> None:
        remedy = "Join schedules with .then(), not SequentialLR; load_state_dict goes to another step"
        raise InputError("last_epoch", value, "cannot be set", remedy)

    @property
    def base_lrs(self) -> list[float | Tensor]:
        """The peak rates, group by group over all optimizers."""
        return [*self._values.peaks()]

    @base_lrs.setter
    def base_lrs(self, value: object) -> None:
        raise InputError("base_lrs", value, "cannot be set", "Set group['initial_lr'] of the optimizer's groups")

    @property
    def _last_lr(self) -> list[float | Tensor]:
        return self.get_last_lr()

    @_last_lr.setter
    def _last_lr(self, value: object) -> None:
        raise InputError("_last_lr", value, "cannot be set", "It is the lr of the optimizer's groups")

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the present rates of the groups, over all optimizers; tensors are copied."""
        rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        return [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]

    def get_lr(self) -> list[float | Tensor]:
        """Return the rates of the next update, group by group over all optimizers."""
        return self._values.rates(self._step)

    def __repr__(self) -> str:
        return f"BoundScheduler({self.followed}, {self.counts} made: {self._step:,})"

    # -------------------------------------------------------- hooks and copies

    def _attach(self) -> None:
        self.released = False
        self._handles: list[Any] = []
        for optimizer in self.optimizers:
            _check_free(optimizer)
        for index, optimizer in enumerate(self.optimizers):
            _DRIVEN[optimizer] = ref(self)
            if self.counts == "updates":
                self._handles.append(optimizer.register_step_pre_hook(outside_of_graphs(partial(self._before, index))))
                self._handles.append(optimizer.register_step_post_hook(outside_of_graphs(partial(self._after, index))))
            else:
                self._handles.append(_Adding(optimizer, self))
            # A loaded optimizer shows the rates of its own state.
            self._handles.append(optimizer.register_load_state_dict_post_hook(self._after_load))

    def _after_load(self, _: Optimizer) -> None:
        self._loaded = True
        if self.counts == "updates":
            self._values.forget_written()
        elif not self._suspended:
            self._write()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_handles"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._handles = []
        if not self.released:  # optimizers are copied without their hooks
            self._attach()


class _Adding:
    """Writes the rates as soon as a group is added, for step counters that no hook of an update drives."""

    def __init__(self, optimizer: Optimizer, bound: BoundScheduler) -> None:
        self._optimizer = ref(optimizer)
        alive, add = self._optimizer, type(optimizer).add_param_group

        def added(group: dict[str, Any]) -> None:
            found = alive()
            assert found is not None
            add(found, group)
            if not bound._suspended:
                bound._write()

        optimizer.add_param_group = added  # type: ignore[method-assign, assignment]

    def remove(self) -> None:
        optimizer = self._optimizer()
        if optimizer is not None:
            vars(optimizer).pop("add_param_group", None)


def _optimizers(optimizer: object, counts: object) -> list[Optimizer]:
    several = isinstance(optimizer, Sequence) and not isinstance(optimizer, str)
    optimizers: list[Any] = [bare_optimizer(one) for one in (optimizer if several else [optimizer])]  # type: ignore[attr-defined]
    for each in optimizers:
        if not isinstance(each, Optimizer):
            raise InputError("optimizer", each, "must be a torch.optim.Optimizer, or a sequence of them")
        if counts == "updates" and not runs_step_hooks(each):
            remedy = "Bind the optimizer inside a wrapper before it is wrapped, or pass counts='calls'"
            raise InputError("optimizer", type(each).__name__, "does not run torch's step hooks", remedy)
        _check_free(each)
    if not optimizers or len({id(each) for each in optimizers}) < len(optimizers):
        raise InputError("optimizer", optimizer, "must be at least one, and each only once")
    return optimizers


def driver_of(optimizers: Sequence[Optimizer]) -> BoundScheduler | None:
    """Return the bound scheduler that drives exactly these optimizers, in any order; None if there is none."""
    found = _driver(optimizers[0])
    same = found is not None and {id(one) for one in found.optimizers} == {id(one) for one in optimizers}
    return found if same else None


def _driver(optimizer: Optimizer) -> BoundScheduler | None:
    found = _DRIVEN.get(optimizer)
    return None if found is None else found()


def _check_free(optimizer: Optimizer) -> None:
    if _driver(optimizer) is not None:
        remedy = "Call .release() on what bind returned for it before"
        raise InputError("optimizer", type(optimizer).__name__, "follows a schedule already", remedy)
