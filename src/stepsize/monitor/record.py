"""What is known of a run: its signals so far, and facts about it. Rules read nothing else."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeAlias

import numpy as np

from stepsize.curves.divergence import DivergenceRule
from stepsize.errors import InputError
from stepsize.monitor.trace import LossPoints, Trace

Point: TypeAlias = tuple[str, int, float]
"""Name of a signal, step, value."""

SIGNALS = {
    "loss": "training loss of each step",
    "grad_norm": "gradient norm before clipping, estimated on a sample of coordinates",
    "clipped": "gradient norm after clipping over that before; 1 without clipping",
    "cosine": "cosine between this gradient and the last one",
    "slope_then": "slope of the loss along the last step, at its beginning",
    "slope_now": "slope of the loss along the last step, at its end, on the next batch",
    "update_ratio": "norm of the last step over the norm of the weights",
    "straightness": "cosine between the weight changes of the second and of the last quarter of the steps so far",
    "slowing": "length of the latter over that of the former",
    "efficiency": "distance of the weights from initialization over the length of the trajectory, in eight pieces",
    "growth": "norm of the weights over that at initialization",
    "distance": "largest distance of a tensor from its initialization, over its norm at initialization",
    "headroom": "critical learning rate along the update over the learning rate in use",
    "val_loss": "validation loss",
}
"""Signals of the whole model; ``lr/0``, ``momentum/0``, … are those of each group, ``update_ratio/NAME`` of a layer."""

_IN_A_ROW = 3  # losses that are not finite: a single one can be that of a batch which the loop leaves out
_FIRST = 12  # losses from which the start is read
_SCHEMA = 2


@dataclass(frozen=True)
class Facts:
    """What is stated about a run rather than measured; None if unknown."""

    steps: int | None = None
    optimizer: str = ""  # class; several are joined by +
    learning_rate_free: bool = False
    schedule: tuple[float, ...] = ()  # factors at up to 1,000 steps, if they are known in advance
    usual_lr: float | None = None  # of the first optimizer
    adaptive: bool | None = None  # whether it scales each coordinate by its gradients
    parameters: int = 0
    momentum: float = 0.0  # if it lengthens steps, as in SGD
    scheduler: Mapping[str, Any] = field(default_factory=dict)  # of torch: name, number of calls and updates
    written: str = ""  # the schedule; empty if it contains a function


@dataclass(frozen=True, eq=False)
class Mark:
    """The state of a record to which it can be rolled back."""

    step: int
    divergence: DivergenceRule
    first: int  # number of first losses
    looks: int
    verdicts: int  # number of them
    repeated: int
    peaks: Mapping[str, float]  # of the signals


class Record:
    """The signals of one run."""

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts or Facts()
        self.traces: dict[str, Trace] = {}  # signals by name: those of SIGNALS, lr/N, momentum/N and update_ratio/NAME
        self.step = 0  # steps made
        self.skipped = 0  # steps without an update
        self.repeated = 0  # steps that were rolled back and made again
        self.diverged: tuple[int, str] | None = None  # step and reason
        self.outbox: deque[Point] | None = None  # which also receives every point, for a recorder
        self.first: list[float] = []  # finite losses
        self.looks = 0  # moments at which the learning rate was judged
        self.verdicts: list[Any] = []  # what was said at each of them
        self._begin: tuple[float, float] | None = None  # start and its noise, once they no longer change
        self.divergence = DivergenceRule(self.facts.steps, _IN_A_ROW)
        self._not_finite: tuple[int, float] | None = None  # step and loss since which no loss is finite

    def add(self, name: str, step: int, value: float) -> None:
        """Take one value of a signal."""
        self._trace(name).add(step, value)
        outbox = self.outbox  # read once: the recorder may stop at any moment, in its own thread
        if outbox is not None:
            outbox.append((name, step, value))

    def extend(self, name: str, steps: Sequence[int], values: Sequence[float]) -> None:
        """Take several values of a signal."""
        self._trace(name).extend(steps, values)
        outbox = self.outbox
        if outbox is not None:
            outbox.extend((name, step, value) for step, value in zip(steps, values, strict=True))

    def add_losses(self, steps: Sequence[int], losses: Sequence[float]) -> None:
        """Take the training losses of several steps."""
        self.extend("loss", steps, losses)
        if len(self.first) < _FIRST or self.diverged is not None or not all(map(math.isfinite, losses)):
            for step, loss in zip(steps, losses, strict=True):
                self._check(step, loss)
            return
        self._not_finite = None
        for step, reason in zip(steps, self.divergence.update_all(losses), strict=True):
            if reason and self.diverged is None:
                self.diverged = (step, reason)

    def add_loss(self, step: int, loss: float) -> None:
        """Take the training loss of a step."""
        self.add("loss", step, loss)
        self._check(step, loss)

    def _check(self, step: int, loss: float) -> None:
        if len(self.first) < _FIRST and math.isfinite(loss):
            self.first.append(loss)
        if math.isfinite(loss):
            self._not_finite = None
        else:
            self._not_finite = self._not_finite or (step, loss)
        if self.diverged is None and (reason := self.divergence.update(loss)):
            self.diverged = (self._not_finite[0] if self._not_finite else step, reason)

    def end(self) -> None:
        """Note that the run is over: if its last loss is not finite, it diverged."""
        if self.diverged is None and self._not_finite is not None:
            self.diverged = (self._not_finite[0], f"the loss became {self._not_finite[1]}")

    def _trace(self, name: str) -> Trace:
        trace = self.traces.get(name)
        if trace is None:
            trace = self.traces[name] = Trace()
        return trace

    def mark(self) -> Mark:
        """Return what :meth:`roll_back` needs to return to this moment."""
        peaks = {name: trace.peak for name, trace in self.traces.items()}
        seen = len(self.first), self.looks, len(self.verdicts)
        return Mark(self.step, copy.deepcopy(self.divergence), *seen, self.repeated, peaks)

    def roll_back(self, mark: Mark, *, again: bool) -> None:
        """Drop everything since ``mark``: the run was rolled back to it. The count of steps goes on.

        ``again`` says whether the steps since then will be made again.
        """
        if again:  # steps since the mark may have been made again before
            self.repeated = mark.repeated + self.step - mark.step
        self.diverged = self._not_finite = self._begin = None
        self.divergence = copy.deepcopy(mark.divergence)
        for name, trace in self.traces.items():
            trace.drop_since(mark.step, mark.peaks.get(name, -math.inf))
        del self.first[mark.first :], self.verdicts[mark.verdicts :]
        self.looks = mark.looks

    def __contains__(self, name: str) -> bool:
        return name in self.traces

    def recent(self, name: str, most: int = 512) -> LossPoints:
        """Return the last values of a signal; none of an unknown one."""
        return self.traces[name].recent(most) if name in self.traces else Trace().recent()

    def history(self, name: str) -> LossPoints:
        """Return a whole signal, in blocks if it is long."""
        return self.traces[name].history() if name in self.traces else Trace().recent()

    def last(self, name: str) -> float:
        """Return the last value of a signal; NaN of an unknown one."""
        return self.traces[name].last if name in self.traces else math.nan

    def median(self, name: str, most: int = 64) -> float:
        """Return the median of the last finite values; NaN if there are none."""
        values = self.recent(name, most).finite().values
        return float(np.median(values)) if values.size else math.nan

    def rates(self) -> list[str]:
        """Return the names of the learning rates of all groups."""
        return sorted((name for name in self.traces if name.startswith("lr/")), key=lambda name: int(name[3:]))

    def layers(self) -> list[str]:
        """Return the names of the layer groups."""
        return [name.removeprefix("update_ratio/") for name in self.traces if name.startswith("update_ratio/")]

    @property
    def start(self) -> float:
        """Median of the first five finite losses; NaN before the first."""
        return self._beginning()[0]

    @property
    def start_noise(self) -> float:
        """Spread of the first losses, from their differences; 0 of fewer than three."""
        return self._beginning()[1]

    def _beginning(self) -> tuple[float, float]:
        if self._begin is not None:
            return self._begin
        level = median(self.first[:5]) if self.first else math.nan
        enough = len(self.first) > 2
        noise = 1.4826 * float(np.median(np.abs(np.diff(self.first)))) / math.sqrt(2) if enough else 0.0
        if len(self.first) == _FIRST:
            self._begin = (level, noise)
        return level, noise

    @property
    def lr(self) -> float:
        """Largest learning rate of the groups at the last update; NaN before the first."""
        rates = [self.last(name) for name in self.rates()]
        return max(rates) if rates else math.nan

    @property
    def peak_lr(self) -> float:
        """Largest learning rate so far; NaN before the first update."""
        return max((self.traces[name].peak for name in self.rates()), default=math.nan)

    @property
    def progress(self) -> float:
        """Fraction of the horizon that is done; NaN without a horizon."""
        return (self.step - self.repeated) / self.facts.steps if self.facts.steps else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Return all signals as values that JSON and ``torch.load(weights_only=True)`` accept."""
        rule = vars(self.divergence).items()
        return {
            "schema": _SCHEMA,
            "step": self.step,
            "skipped": self.skipped,
            "repeated": self.repeated,
            "diverged": self.diverged,
            "not_finite": self._not_finite,
            "first": list(self.first),
            "divergence": {name: list(value) if isinstance(value, deque) else value for name, value in rule},
            "traces": {name: trace.state_dict() for name, trace in self.traces.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the signals that :meth:`state_dict` returned.

        Raises:
            InputError: If ``state`` is something else; then nothing is changed.
        """
        try:
            if state["schema"] != _SCHEMA:
                raise KeyError(state["schema"])
            traces = {name: Trace.from_state(values) for name, values in state["traces"].items()}
            step, skipped, diverged = int(state["step"]), int(state["skipped"]), state["diverged"]
            first, rule = [float(one) for one in state["first"]], dict(state["divergence"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("state", sorted(state), "must be what the state_dict of a watch returned") from error
        self.traces, self.step, self.skipped, self.repeated = traces, step, skipped, int(state.get("repeated", 0))
        self.diverged = None if diverged is None else (int(diverged[0]), str(diverged[1]))
        since = state.get("not_finite")
        self._not_finite = None if since is None else (int(since[0]), float(since[1]))
        self.first[:] = first
        for name, value in rule.items():
            now = getattr(self.divergence, name)
            setattr(self.divergence, name, deque(value, maxlen=now.maxlen) if isinstance(now, deque) else value)
