"""A schedule on an optimizer: rates written before each update, and a clock that counts real updates."""

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

from stepsize.errors import InputError
from stepsize.schedules import Clock, Course, Schedule, parse
from stepsize.schedules.units import Duration
from stepsize.training.courses import Courses, SavedCourses
from stepsize.training.group_values import Added, GroupValues
from stepsize.training.wrapped import bare_optimizer, runs_step_hooks

__all__ = ["Added", "Bound", "Counts", "OnChange", "bind", "other_writer"]

OnChange = Literal["error", "continue", "restart"]
Counts = Literal["updates", "calls"]
_SCHEMA = 1  # of the state; raised when an old reader would misread a new one
_FIELDS = ("schema", "step", "stepped", "asked", "course")
_SHOWN = ("last_epoch", "_step_count", "_last_lr")  # in the state, for who reads them
_PAUSED: WeakKeyDictionary[Optimizer, int] = WeakKeyDictionary()
_IDLE = 20  # calls of .step() without any update that was seen: a gradient scaler skips fewer at its start
_DRIVEN: WeakKeyDictionary[Optimizer, ref[Bound]] = WeakKeyDictionary()


def bind(
    schedule: Schedule | Course | str,
    optimizer: Optimizer | Sequence[Optimizer],
    *,
    lr: float | Sequence[float] | None = None,
    groups: Mapping[int, Schedule | Course | str] | None = None,
    steps: Duration | None = None,
    clock: Clock | None = None,
    on_change: OnChange = "error",
    counts: Counts = "updates",
    added: Added = "peak",
) -> Bound:
    """Let an optimizer follow a schedule: update number t of group g is made at the rate peak_g · f(t).

    The peak of a group is its ``initial_lr``, torch's own key: ``lr`` where given, otherwise what stands there, the
    group's ``lr`` where nothing does. It travels in the optimizer's ``state_dict``, and loading one brings its peaks. A
    :class:`~stepsize.schedules.Course` moves momentum and weight decay too. What the groups are given is what
    :func:`~stepsize.schedules.preview` shows, to the last bit.

    The clock t counts updates that were really made. The values are written right before each update (a pre-step
    hook) and an update is counted right after it, so that a step that ``GradScaler`` or the loop itself skips does not
    count, and neither how often nor where ``.step()`` is called changes any rate: frameworks may call it per update,
    per epoch or once a process. It only shows the next rates in the groups, for loggers. (Fused optimizers skip inside
    their kernel: one number is read from the device after each update that a ``GradScaler`` makes with them.)

    One writes the rate: this. A rate that somebody else wrote into a group (another scheduler, ``group["lr"] = …``) is
    overwritten, which a warning tells once. :meth:`Bound.scale` changes the rate for good, :meth:`Bound.suspend` lets
    somebody else write for a while. A group's ``lr_scale`` (timm's decay by layers) multiplies its rate.

    Several optimizers share one clock. It counts rounds: a round ends when all have made an update, when one is about
    to make its second, or with ``.step()``, which is then to be called once an iteration or never.

    The result is a ``torch.optim.lr_scheduler.LRScheduler``. The hooks keep it alive as long as the optimizer;
    ``release()`` takes them off. Behind its end the schedule holds its last factor, with one warning.

    Args:
        schedule: Of the rate, its written form, or a course. Open durations (``"5%"``) are settled by ``steps``.
        optimizer: One, or several that train together.
        lr: Peak rate of the group with the highest one; the others keep their ratio to it. A sequence gives each group
            its own, over all optimizers in their order. None keeps the groups' rates.
        groups: What single groups follow instead, by their numbers (counted over all optimizers). Groups that are
            added later follow ``schedule`` from their own ``lr``.
        steps: The horizon in updates, or in a unit that ``clock`` knows; needed where a duration is open.
        clock: For epochs, samples and tokens.
        on_change: What :meth:`Bound.load_state_dict` does where the state was saved with another schedule:
            ``"error"`` refuses; ``"continue"`` goes on from the saved step along the new one, scaled so that the rate
            does not leap; ``"restart"`` begins the new one.
        counts: ``"updates"``, as above, or ``"calls"``: each ``.step()`` advances by one, as in torch. For optimizers
            that do not run torch's hooks, and for steps that are compiled as a whole or replayed from a captured graph
            (with their ``lr`` in a tensor, which is filled in place).
        added: What the ``lr`` of a group is that is added later without an ``initial_lr``: its ``"peak"``, or its
            ``"present"`` rate, from which its peak follows.

    Returns:
        The scheduler, with the rates of its first update written.

    Raises:
        InputError: If an argument breaks its rule or the course does not fit a group; nothing is changed then.

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
    for name, given, known in (
        ("on_change", on_change, get_args(OnChange)),
        ("counts", counts, get_args(Counts)),
        ("added", added, get_args(Added)),
    ):
        if given not in known:
            raise InputError(name, given, f"must be one of: {', '.join(known)}")
    everyone = [(i, j) for i, each in enumerate(optimizers) for j in range(len(each.param_groups))]
    own = {everyone[_group_number(i, len(everyone))]: _course("groups", each) for i, each in (groups or {}).items()}
    courses = Courses(_course("schedule", schedule), own).settled(steps, clock)
    courses.check()
    values = GroupValues(optimizers, courses, None if lr is None else _peaks(lr, optimizers), added)
    return Bound(optimizers, courses, values, on_change, counts)


@final
class Bound(LRScheduler):
    """A schedule on one or several optimizers; made by :func:`bind`, and a torch scheduler to everyone else.

    Attributes:
        optimizers: Those that it drives.
        optimizer: The first of them, where torch's schedulers have theirs.
        on_change: What a state of another schedule does; see :func:`bind`.
        counts: What the clock counts; see :func:`bind`.
        released: Whether it has let go of the optimizers.
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        courses: Courses,
        values: GroupValues,
        on_change: OnChange,
        counts: Counts,
    ) -> None:
        # Not super().__init__: it would replace optimizer.step to watch the order of calls, which is no matter here,
        # and copy what it needs into attributes of its own that a state_dict then carries around.
        self.optimizers = tuple(optimizers)
        self.optimizer = self.optimizers[0]
        self.on_change: OnChange = on_change
        self.counts: Counts = counts
        self._step_count = 1  # of calls; Accelerate adds to it
        self._asked = courses
        self._values = values
        self._step = 0
        self._stepped: set[int] = set()  # the optimizers that have made update number _step, until all have
        self._warned = False
        self._told: set[str] = set()  # what was warned of, besides
        self._seen = False  # whether an update ever was
        self._loaded = False  # whether an optimizer's state was loaded since
        self._suspended = 0
        self._follow(courses)
        values.install()
        values.write(0)
        self._attach()

    # ------------------------------------------------------------ the training

    def step(self, epoch: int | None = None) -> None:
        """Show the next rates in the groups; end the round of several optimizers; with ``counts="calls"`` count one.

        Args:
            epoch: With ``counts="calls"`` what the clock is set to, as in torch. Else not taken: updates are counted.

        Raises:
            InputError: If ``epoch`` is given where updates are counted, or this was released.
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
            self._warn_behind_the_end(self._step - 1)
        elif self._stepped:
            self._end_round()
        elif not self._seen and self._step_count > _IDLE:
            self._warn_once(
                "idle",
                f".step() was called {self._step_count - 1} times, and no update was seen: the schedule stays at "
                "its start. Bind the optimizer whose own .step() makes the updates (inside a wrapper, the base "
                "optimizer), or pass counts='calls'",
            )
        self._values.write(self._step)

    def release(self) -> None:
        """Let go of the optimizers, at their present rates; a second time does nothing."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.released = True
        for optimizer in self.optimizers:
            if _driver(optimizer) is self:
                del _DRIVEN[optimizer]

    def scale(self, factor: float, group: int | None = None) -> None:
        """Multiply the peak rate of all groups, or of one, from here on: what ``group["lr"] *= factor`` cannot do.

        Peaks stand in the groups as ``initial_lr``, so they travel with the optimizer's state.

        Args:
            factor: By what, finite and > 0.
            group: The number of a group, counted over all optimizers; None takes all.

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
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
            raise InputError("factor", factor, "must be a finite number > 0")
        count = sum(len(optimizer.param_groups) for optimizer in self.optimizers)
        if group is not None:
            _group_number(group, count, "group")
        self._values.scale(float(factor), group)
        self._values.forget_written()
        self._values.write(self._step)

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Neither write nor count within the block: for a rate finder, or whatever else sets rates for a while.

        Behind it the rates are written again that the schedule was at.

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
                self._values.write(self._step)

    @property
    def multiplier(self) -> float:
        """What all factors are multiplied by, 1 at first: for a controller that keeps it in its own state.

        It is no part of :meth:`state_dict`. Weight decay that is ``"independent"`` of the rate, or ``"corrected"``, is
        so of the multiplied one.
        """
        return self._values.multiplier

    @multiplier.setter
    def multiplier(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise InputError("multiplier", value, "must be a finite number >= 0")
        self._values.multiplier = float(value)
        if self.counts == "calls":  # there is no hook that would write it
            self._values.write(self._step)

    @property
    def course(self) -> Course:
        """What the groups without a course of their own follow; after a change, with what was before it."""
        return self._courses.main

    def _before(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if self._suspended:
            return
        step = self._step
        if step >= self._end:
            self._warn_behind_the_end(step)
        self._values.write(step)

    def _after(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if not self._suspended and not _skipped(optimizer):
            self._step += 1
            self._seen = True

    def _before_one_of_several(self, index: int, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if index in self._stepped and not self._suspended:
            self._end_round()
        self._before(optimizer, args, kwargs)

    def _after_one_of_several(self, index: int, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if not self._suspended and not _skipped(optimizer):
            self._seen = True
            self._stepped.add(index)
            if len(self._stepped) == len(self.optimizers):
                self._end_round()

    def _end_round(self) -> None:
        self._step += 1
        self._stepped.clear()

    def _warn_behind_the_end(self, step: int) -> None:
        if step >= self._end and not self._warned:
            self._warned = True
            warnings.warn(
                f"the schedule ended at step {self._end:,}, and the training goes on: its last factor is held from "
                "here. Give it a longer horizon, or on resuming a longer schedule with on_change='continue'",
                UserWarning,
                stacklevel=4,  # whoever calls optimizer.step()
            )

    def _overwritten(self, where: str, found: object, wrote: object) -> None:
        if self._suspended or any(_PAUSED.get(optimizer) for optimizer in self.optimizers):
            return
        self._warn_once(
            "writer",
            f"{where} had the rate {found:.6g} where the schedule had written {wrote:.6g}: that is overwritten, now "
            "and at every update. To change the rate for good call bound.scale(factor), or bind(..., lr=...); to lower "
            "it on a plateau take stepsize.Plateau(bound) instead of ReduceLROnPlateau; to join schedules take .then() "
            "or *; to let something else set it for a while (a rate finder) use 'with bound.suspend():'",
        )

    def _warn_once(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            warnings.warn(text, UserWarning, stacklevel=4)

    # ------------------------------------------------------------- the state

    def state_dict(self) -> dict[str, Any]:
        """Return the clock and the schedule as plain values, which ``torch.load`` reads with ``weights_only=True``.

        Peaks are no part of it: they stand in the groups, so in the optimizer's own state. The rates are written anew
        before each update, so it does not matter which of the two states is loaded first.
        """
        changed = self._courses is not self._asked
        return {
            "schema": _SCHEMA,
            "step": self._step,
            "stepped": sorted(self._stepped),
            "asked": self._asked.to_text(),
            "course": self._courses.to_text() if changed else None,
            "last_epoch": self._step,  # as torch's schedulers have them, for who reads them; loading does not
            "_step_count": self._step + 1,
            "_last_lr": [float(rate) for rate in self.get_lr()],
        }

    def load_state_dict(self, state_dict: dict[str, Any], on_change: OnChange | None = None) -> None:
        """Go on where a state was saved.

        Args:
            state_dict: What :meth:`state_dict` returned.
            on_change: What to do where it was saved with another schedule; default what :func:`bind` was given.

        Raises:
            InputError: If it is no such state; if it was saved with another schedule and ``on_change`` is
                ``"error"``, or cannot be continued. Nothing is changed then.
        """
        step, stepped = _checked_state(state_dict, len(self.optimizers))
        saved = SavedCourses(state_dict["asked"], state_dict["course"])
        change = self.on_change if on_change is None else on_change
        if change not in get_args(OnChange):
            raise InputError("on_change", change, f"must be one of: {', '.join(get_args(OnChange))}")
        if saved.same(self._asked):
            courses = saved.followed(self._asked)
        elif change == "error":
            raise InputError(
                "schedule",
                str(self._asked),
                f"is not the one that the state was saved with ('{saved}', at step {step:,})",
                "Bind that one, or pass on_change='continue' to go on along the new one without a leap, or "
                "on_change='restart' to begin it",
            )
        elif change == "continue":
            courses = self._asked.continued(saved, step)
        else:
            step, stepped, courses = 0, set(), self._asked
        self._follow(courses)
        self._step, self._stepped, self._warned = step, stepped, False
        # Otherwise the next update writes, and until then the groups show what the optimizer's own state says: but for
        # a new one, which has shown its first rates.
        if self.counts == "calls" or not (self._seen or self._loaded or self._step_count > 1):
            self._values.write(step)

    def _follow(self, courses: Courses) -> None:
        self._values.overwritten = self._overwritten
        self._values.follow(courses)
        self._courses = courses
        length = courses.length
        self._end = math.inf if length is None else length

    # ---------------------------------------------- what torch's schedulers have

    @property
    def last_epoch(self) -> int:
        """The clock: the number of the next update, which is how many have been made."""
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
        raise InputError("_last_lr", value, "cannot be set", "It is what stands in the optimizer's groups")

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the rates that stand in the groups now, over all optimizers; tensors are copied."""
        rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        return [rate.clone() if isinstance(rate, Tensor) else rate for rate in rates]

    def get_lr(self) -> list[float | Tensor]:
        """Return the rates of the next update, group by group over all optimizers."""
        return self._values.rates(self._step)

    def __repr__(self) -> str:
        return f"Bound({self._courses}, {self.counts} made: {self._step:,})"

    # -------------------------------------------------------- hooks and copies

    def _attach(self) -> None:
        self.released = False
        self._handles: list[Any] = []
        for optimizer in self.optimizers:
            _check_free(optimizer)
        for index, optimizer in enumerate(self.optimizers):
            _DRIVEN[optimizer] = ref(self)
            if self.counts == "updates":
                several = len(self.optimizers) > 1
                before = partial(self._before_one_of_several, index) if several else self._before
                after = partial(self._after_one_of_several, index) if several else self._after
                self._handles.append(optimizer.register_step_pre_hook(before))
                self._handles.append(optimizer.register_step_post_hook(after))
            else:
                self._handles.append(_Adding(optimizer, self))
            # A loaded optimizer shows the rates of its own state.
            self._handles.append(optimizer.register_load_state_dict_post_hook(self._after_load))

    def _after_load(self, _: Optimizer) -> None:
        self._loaded = True
        if self.counts == "updates":
            self._values.forget_written()
        elif not self._suspended:
            self._values.write(self._step)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_handles"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._handles = []
        if not self.released:  # optimizers are copied without their hooks
            self._attach()


class _Adding:
    """Writes the rates at once where a group is added, for clocks that no hook of an update drives."""

    def __init__(self, optimizer: Optimizer, bound: Bound) -> None:
        self._optimizer = ref(optimizer)
        alive, add = self._optimizer, type(optimizer).add_param_group

        def added(group: dict[str, Any]) -> None:
            found = alive()
            assert found is not None
            add(found, group)
            if not bound._suspended:
                bound._values.write(bound._step)

        optimizer.add_param_group = added  # type: ignore[method-assign, assignment]

    def remove(self) -> None:
        optimizer = self._optimizer()
        if optimizer is not None:
            vars(optimizer).pop("add_param_group", None)


@contextmanager
def other_writer(optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Let another part of this package write the rates of ``optimizers`` within the block, without a warning."""
    for optimizer in optimizers:
        _PAUSED[optimizer] = _PAUSED.get(optimizer, 0) + 1
    try:
        yield
    finally:
        for optimizer in optimizers:
            _PAUSED[optimizer] -= 1
            bound = _driver(optimizer)
            if bound is not None:
                bound._values.forget_written()


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


def _skipped(optimizer: Optimizer) -> bool:
    """Return whether a fused optimizer was called by a GradScaler with gradients that are not finite."""
    found_inf = getattr(optimizer, "found_inf", None)
    return found_inf is not None and bool(found_inf)


def _driver(optimizer: Optimizer) -> Bound | None:
    found = _DRIVEN.get(optimizer)
    return None if found is None else found()


def _check_free(optimizer: Optimizer) -> None:
    if _driver(optimizer) is not None:
        remedy = "Call .release() on what bind returned for it before"
        raise InputError("optimizer", type(optimizer).__name__, "follows a schedule already", remedy)


def _course(argument: str, value: object) -> Course:
    if isinstance(value, Course):
        return value
    if isinstance(value, str):
        return Course(parse(value))
    if not isinstance(value, Schedule):
        remedy = "Make one with stepsize.schedules; function(…) takes any function"
        raise InputError(argument, value, "must be a Schedule, its written form or a Course", remedy)
    return Course(value)


def _group_number(index: object, count: int, argument: str = "groups") -> int:
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise InputError(argument, index, f"must have numbers of parameter groups as keys: 0 to {count - 1}")
    return index


def _peaks(lr: object, optimizers: Sequence[Optimizer]) -> list[float]:
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    if isinstance(lr, Sequence) and not isinstance(lr, str):
        if len(lr) != len(groups):
            raise InputError("lr", lr, f"must be one rate, or one for each of the {len(groups)} parameter groups")
        return [_rate(each) for each in lr]
    own = [float(group.get("initial_lr", group["lr"])) for group in groups]
    highest = max(own)
    if not 0 < highest < math.inf:
        raise InputError("lr", lr, "as one rate needs a group that has one > 0", "Pass a rate for each group")
    peak = _rate(lr)
    return [peak * (each / highest) for each in own]


def _rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor) or not 0 <= float(value) < math.inf:
        raise InputError("lr", value, "must be a finite learning rate >= 0")
    return float(value)


def _checked_state(state: object, optimizers: int) -> tuple[int, set[int]]:
    if not isinstance(state, Mapping) or not set(_FIELDS) <= set(state) <= {*_FIELDS, *_SHOWN}:
        found = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        remedy = "To go on from another scheduler's: {**bound.state_dict(), 'step': updates made}"
        raise InputError("state_dict", found, f"must be what a Bound saved: {', '.join(_FIELDS)}", remedy)
    if state["schema"] != _SCHEMA:
        raise InputError("schema", state["schema"], f"must be {_SCHEMA}", "A newer stepsize may have written it")
    step, stepped = state["step"], state["stepped"]
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise InputError("step", step, "must be a whole number of updates, >= 0")
    if not isinstance(stepped, list) or not all(index in range(optimizers) for index in stepped):
        raise InputError("stepped", stepped, f"must hold numbers of the {optimizers} optimizers")
    return step, set(stepped)
