"""What the callbacks of all trainers share: watching or guarding a training whose loop is theirs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack, get_type_hints

import torch.distributed as dist
from torch import Tensor

from stepsize.errors import InputError
from stepsize.monitor import Entry, Finding, Guard, RateVerdict, Report, Watch
from stepsize.monitor.guarding.guard import OnPlateau, begin_guarding
from stepsize.monitor.watching import begin_watching

__all__ = ["Options", "Session"]


class Options(TypedDict, total=False):
    """The arguments of :func:`stepsize.watch`, and with ``guard=True`` of :func:`stepsize.guard`."""

    schedule: Any
    steps: int | None
    validate: Callable[[], Tensor | float] | None
    validate_every: int | None
    on_finding: Callable[[Finding], object] | None
    store: str | Path | None
    name: str | None
    others: Iterable[Any]
    every: int | None
    keep: int
    cut: float
    rewarm: int | None
    retries: int
    on_plateau: OnPlateau | None
    dry_run: bool
    journal: str | Path | None
    checkpoint: str | Path | None


_WATCH = ("schedule", "steps", "validate", "validate_every", "on_finding", "store", "name")


class Session:
    """A training of a trainer while it is watched, or guarded too; what its callback is made of.

    Args:
        guard: Whether trouble is acted on, as :func:`stepsize.guard` does: weights and optimizers go back to a good
            state, and the trainer goes on with the batches that follow.
        options: Those of :func:`stepsize.watch` and :func:`stepsize.guard`; what the trainer knows need not be given.

    Raises:
        InputError: If there is no such option.
    """

    def __init__(self, guard: bool = False, **options: Unpack[Options]) -> None:
        known = get_type_hints(Options) if guard else dict.fromkeys(_WATCH)
        for name in options:
            if name not in known:
                remedy = "Pass guard=True with it" if name in get_type_hints(Options) else ""
                raise InputError("option", name, f"must be one of: {', '.join(known)}", remedy)
        self._guarded, self._options = guard, options
        self._live: Watch | Guard | None = None
        self._resumed: Mapping[str, Any] | None = None

    @property
    def watching(self) -> Watch:
        """What watches the training.

        Raises:
            InputError: If the training has not begun.
        """
        live = self._begun()
        return live.watching if isinstance(live, Guard) else live

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, the earliest first."""
        return () if self._live is None else self._live.findings

    @property
    def verdict(self) -> RateVerdict:
        """Whether the rate is too high, too low or fine, as far as can be told by now."""
        return self._begun().verdict

    @property
    def acts(self) -> tuple[Entry, ...]:
        """What the guard did, in order; empty without one."""
        return self._live.acts if isinstance(self._live, Guard) else ()

    @property
    def stopped(self) -> str | None:
        """Why the guard stopped the training; None where it did not."""
        return self._live.stopped if isinstance(self._live, Guard) else None

    def report(self) -> Report:
        """Return everything that is known by now."""
        return self._begun().report()

    def _begun(self) -> Watch | Guard:
        if self._live is None:
            raise InputError("training", None, "must have begun", "Ask after trainer.fit(…) or trainer.train()")
        return self._live

    # ------------------------------------------------------- for the callbacks

    def _begin(self, model: Any, optimizer: Any, **told: Any) -> None:
        """Begin with what the trainer knows; the user's own options come first."""
        self._end()
        given = {**told, **{name: value for name, value in self._options.items() if value is not None}}
        given["together"] = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if given["together"] and dist.get_rank():
            given.update(store=None, name=None)  # one process writes
        make: Any = begin_guarding if self._guarded else begin_watching
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a trainer's own objects say of being looked at
            self._live = make(model, optimizer, **given)
        if self._resumed is not None:
            resumed, self._resumed = self._resumed, None
            if self._live is not None:
                self._live.load_state_dict(_fitting(resumed, self._live))

    def _step(self, loss: Tensor | float | None, val_loss: float | None = None) -> None:
        if self._live is not None:
            self._live.step(loss, val_loss=val_loss)

    def _end(self, error: BaseException | None = None) -> None:
        if self._live is not None:
            self._live.__exit__(None if error is None else type(error), error, None)

    def _state(self) -> dict[str, Any]:
        if self._live is None:
            return {} if self._resumed is None else dict(self._resumed)
        return self._live.state_dict()

    def _resume(self, state: Mapping[str, Any]) -> None:
        """Take the state of a checkpoint, for when the training begins."""
        self._resumed = state or None


def _fitting(state: Mapping[str, Any], live: Watch | Guard) -> Mapping[str, Any]:
    """Return a state for a guard or for a watch, whichever it was of."""
    of_guard = "watch" in state
    if isinstance(live, Guard) and not of_guard:
        step = state["record"]["step"]
        return {"watch": state, "step": step, "position": 0, "level": 1.0, "factors": [1.0] * step, "acts": []}
    return state["watch"] if of_guard and isinstance(live, Watch) else state


def finite_steps(steps: Any) -> int | None:
    """Return a trainer's number of updates; None where it is unknown or without an end."""
    known = isinstance(steps, int | float) and 0 < steps < float("inf")
    return int(steps) if known else None
