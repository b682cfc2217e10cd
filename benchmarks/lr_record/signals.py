"""The signals that ``stepsize.watch`` would have measured of stacked trainings, at several looks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.lr_record.net import Net
from stepsize.monitor.rate_signals import RATE_SIGNALS, rate_signals
from stepsize.monitor.record import Facts, Record
from stepsize.monitor.trajectory import reading_of
from stepsize.optimizers.usual import PLAIN

LOOKS = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2)
"""Fractions of the horizon."""

_LEAST = 16  # steps before a look
_POINTS = 64  # of the weights, over the horizon
_DENSE, _SERIES, _OF = 64, 8, 24  # as a watch measures: all steps at first, then 8 of 24
_VALIDATIONS = 32  # over the horizon


class StackedSignals:
    """Collects what is measured of some members while all are trained.

    Args:
        facts: Of the task.
        members: Those that are looked at.
        until: Steps that are measured; default half of them, as the last look is there.
    """

    def __init__(self, facts: dict[str, Any], members: list[int], until: int | None = None) -> None:
        self.members, self._facts, self.steps = members, facts, facts["steps"]
        self.until = self.steps // 2 if until is None else until
        self.validate_every = max(1, self.steps // _VALIDATIONS)
        self._every = max(1, self.steps // _POINTS)
        self._points: dict[str, list[tuple[int, Tensor]]] = {}
        self._before: tuple[Tensor, Tensor, int] | None = None  # weights, gradients and step of the last measurement

    def begin(self, net: Net, flat: Tensor) -> None:
        """Look at the weights of all members, (member, weight), before the first update."""
        self._flat = flat
        sizes = [tensor[0].numel() for tensor in net.trained]
        self._index = torch.full((len(sizes), max(sizes)), flat.shape[1])  # the last place is a zero
        place = 0
        for row, size in enumerate(sizes):
            self._index[row, :size] = torch.arange(place, place + size)
            place += size
        self._kept = [(0, flat[self.members].clone())]

    def measured(self, step: int) -> bool:
        """Return whether a watch measures this step."""
        return step < _DENSE or (step - _DENSE) % _OF < _SERIES

    def before_update(self, step: int, gradients: Tensor, clipped: Tensor | None) -> None:
        """Measure right before the update of ``step``; gradients are those before clipping."""
        if not self.measured(step):
            return
        weights, now = self._flat[self.members].clone(), gradients[self.members].clone()
        norm = now.norm(dim=1)
        self._add("grad_norm", step, norm)
        self._add("clipped", step, torch.ones_like(norm) if clipped is None else clipped[self.members])
        if self._before is not None and self._before[2] == step - 1:
            moved, then = weights - self._before[0], self._before[1]
            self._add("cosine", step, (now * then).sum(1) / (norm * then.norm(dim=1)))
            self._add("slope_now", step, (now * moved).sum(1))
            self._add("slope_then", step, (then * moved).sum(1))
            self._add("update_ratio", step, moved.norm(dim=1) / weights.norm(dim=1))
        self._before = weights, now, step

    def after_update(self, step: int) -> None:
        """Keep the weights after the update of ``step``, if it is time."""
        if (step + 1) % self._every == 0:
            self._kept.append((step + 1, self._flat[self.members].clone()))

    def validated(self, step: int, losses: Tensor) -> None:
        """Take validation losses of all members."""
        self._add("val_loss", step, losses[self.members])

    def _add(self, name: str, step: int, values: Tensor) -> None:
        self._points.setdefault(name, []).append((step, values))

    def end(self, losses: Tensor, rates: Tensor) -> None:
        """Take the losses and rates of all steps, (step, member)."""
        every = list(range(self.until))
        for name, values in (("loss", losses), ("lr/0", rates)):
            self._points[name] = list(zip(every, values[: self.until, self.members], strict=True))
        self._flat = torch.empty(0)

    def looks(self) -> NDArray[np.float32]:
        """Return the signals, (look, member, signal); NaN once diverged."""
        found = np.full((len(LOOKS), len(self.members), len(RATE_SIGNALS)), np.nan, dtype=np.float32)
        for look, part in enumerate(LOOKS):
            step = round(self.steps * part)
            if step < _LEAST:
                continue
            for member, record in enumerate(self.records(step)):
                if record.diverged is None:
                    found[look, member] = list(rate_signals(record).values())
        return found

    def records(self, step: int) -> Iterator[Record]:
        """Yield the record of each member after ``step`` steps."""
        points, facts = self.series, _facts(self._facts)
        for member, reading in enumerate(self._readings(step)):
            record = _record(points, member, facts, step)
            for name, value in reading.items():
                record.add(name, step - 1, value)
            yield record

    @cached_property
    def series(self) -> dict[str, tuple[list[int], NDArray[np.float64]]]:
        """Steps and values, (step, member), of each signal."""
        return {
            name: ([step for step, _ in rows], torch.stack([values for _, values in rows]).numpy().astype(float))
            for name, rows in self._points.items()
        }

    def _readings(self, step: int) -> Iterator[dict[str, float]]:
        """Yield the reading of each member's trajectory."""
        kept = [one for one in self._kept if one[0] <= step]
        last = kept[-1][0]
        if len(kept) <= 8:
            yield from ({} for _ in self.members)
            return
        nine = torch.stack([min(kept, key=lambda one, n=n: abs(one[0] - n / 8 * last))[1] for n in range(9)])  # type: ignore[misc]
        padded = torch.cat([nine, nine.new_zeros(*nine.shape[:2], 1)], dim=2)
        for member in range(len(self.members)):
            yield reading_of(padded[:, member][:, self._index])


def _facts(facts: dict[str, Any]) -> Facts:
    plain = facts["optimizer"] in PLAIN
    return Facts(
        steps=facts["steps"],
        usual_lr=facts["usual_lr"],
        adaptive=not plain,
        parameters=facts.get("parameters", 0),
        momentum=0.9 if plain and facts["optimizer"] != "sgd" else 0.0,
    )


def _record(points: dict[str, Any], member: int, facts: Facts, until: int) -> Record:
    """Return the record of a member after ``until`` steps."""
    record = Record(facts)
    for name, (steps, values) in points.items():
        count = int(np.searchsorted(steps, until))
        at, of = steps[:count], values[:count, member].tolist()
        if name == "loss":
            record.add_losses(at, of)
        else:
            record.extend(name, at, of)
    record.step = until
    return record
