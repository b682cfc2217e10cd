"""What the callbacks of all trainers share: watching or guarding a run whose loop is theirs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Unpack, get_type_hints

import torch.distributed as dist
from torch import Tensor

from stepsize.errors import InputError
from stepsize.monitor import Finding, Guard, GuardAction, RateVerdict, Report, Watch, guard, watch
from stepsize.monitor.options import GuardOptions, WatchOptions


class Session:
    """A run of a trainer while it is watched, or also guarded; the base of its callback."""

    def __init__(self, guard: bool = False, **options: Unpack[GuardOptions]) -> None:
        known = get_type_hints(GuardOptions if guard else WatchOptions)
        for name in options:
            if name not in known:
                remedy = "Pass guard=True with it" if name in get_type_hints(GuardOptions) else ""
                raise InputError("option", name, f"must be one of: {', '.join(known)}", remedy)
        self._guarded, self._options = guard, options
        self._live: Watch | Guard | None = None
        self._resumed: Mapping[str, Any] | None = None

    @property
    def watching(self) -> Watch:
        """The watch of the run; InputError if training has not begun."""
        live = self._begun()
        return live.watching if isinstance(live, Guard) else live

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings so far, the earliest first."""
        return () if self._live is None else self._live.findings

    @property
    def verdict(self) -> RateVerdict:
        """Whether the learning rate is too high, too low or fine, as far as the signals show."""
        return self._begun().verdict

    @property
    def actions(self) -> tuple[GuardAction, ...]:
        """Actions of the guard, in order; empty without one."""
        return self._live.actions if isinstance(self._live, Guard) else ()

    @property
    def stopped(self) -> str | None:
        """Reason why the guard or an order stops the run, or None."""
        own = self._live.stopped if isinstance(self._live, Guard) else None
        return own if own is not None or self._live is None else self.watching.stopped

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run as plain values: what goes into a checkpoint."""
        if self._live is None:
            return {} if self._resumed is None else dict(self._resumed)
        return self._live.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue, when training begins, from what :meth:`state_dict` returned."""
        self._resumed = state_dict or None

    def report(self) -> Report:
        """Return everything that is known so far."""
        return self._begun().report()

    def _begun(self) -> Watch | Guard:
        if self._live is None:
            raise InputError("training", None, "must have begun", "Ask after trainer.fit(…) or trainer.train()")
        return self._live

    # ------------------------------------------------------- for the callbacks

    def _begin(self, model: Any, optimizer: Any, **known: Any) -> None:
        """Begin with what the trainer knows; the user's own options take precedence."""
        self._end()
        given = {**known, **{name: value for name, value in self._options.items() if value is not None}}
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if given.setdefault("distributed", together) and together and dist.get_rank():
            given.update(store=None, name=None, log_to=None)  # one process writes
        start: Any = guard if self._guarded else watch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a trainer's own objects may warn when they are read
            self._live = start(model, optimizer, **given)
        self.watching.control.refusals["extend"] = "is not possible: the trainer sets the number of steps"
        if self._resumed is not None:
            resumed, self._resumed = self._resumed, None
            self._continue(resumed)

    def _continue(self, state: Mapping[str, Any]) -> None:
        if self._live is not None:
            self._live.load_state_dict(_fitting(state, self._live))

    def _step(self, loss: Tensor | float | None, val_loss: float | None = None) -> None:
        if self._live is not None:
            self._live.step(loss, val_loss=val_loss)

    def _end(self, error: BaseException | None = None) -> None:
        if self._live is not None:
            self._live.__exit__(None if error is None else type(error), error, None)


def _fitting(state: Mapping[str, Any], live: Watch | Guard) -> Mapping[str, Any]:
    """Return a state for a guard or for a watch, whichever it came from."""
    of_guard = "watch" in state
    if isinstance(live, Guard) and not of_guard:
        return {"watch": state, "step": state["record"]["step"], "position": 0, "level": 1.0, "actions": []}
    return state["watch"] if of_guard and isinstance(live, Watch) else state


def finite_steps(steps: Any) -> int | None:
    """Return a trainer's number of steps; None if it is unknown or infinite."""
    known = isinstance(steps, int | float) and 0 < steps < float("inf")
    return int(steps) if known else None
