"""Faults on purpose: does a guarded training end where the undisturbed one does?"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import stepsize
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from stepsize import schedules
from stepsize.monitor import Guard
from stepsize.training.position import preserved

__all__ = ["FAULTS", "FAULTS_FILE", "Trial", "compute_faults", "faults_report", "run_trials", "trial"]

FAULTS_FILE = RECORDS_FOLDER / "guard.json"

_STEPS, _BATCH = 400, 64
_CLOSE = 0.02
_TOO_HIGH = 7 * 0.9  # 0.9 is the highest peak rate at which this network still trains
_RECURS = 20  # steps after which a bad batch comes back
_PARTS = 4  # batches that are accumulated
FAULTS = (
    "nan gradient",
    "poisoned batch",
    "rate times 30",
    "killed while going back",
    "7 times the highest stable rate",
    "poisoned batch every 20 steps",
    "nan in one of four accumulated batches",
    "poisoned batch in the second epoch",
)


@dataclass(frozen=True)
class Trial:
    """One disturbed training beside the undisturbed one.

    Attributes:
        fault: Of :data:`FAULTS`.
        seed: Of everything.
        step: At which it was disturbed.
        loss: On unseen data at the end.
        undisturbed: The same of the undisturbed training, also guarded.
        unguarded: The same of the disturbed one without a guard.
        acts: What the guard did.
    """

    fault: str
    seed: int
    step: int
    loss: float
    undisturbed: float
    unguarded: float
    acts: tuple[str, ...]

    @property
    def close(self) -> bool:
        """Whether it ended within 2% above the undisturbed loss."""
        return self.loss <= (1 + _CLOSE) * self.undisturbed

    @property
    def told(self) -> bool:
        """Whether something was written down, or nothing needed to be done."""
        return bool(self.acts) or self.close


class _Killed(BaseException):
    """What a kill looks like from within."""


def run_trials(count: int = 100) -> list[Trial]:
    """Return ``count`` trials, the faults in turn."""
    return [trial(FAULTS[number % len(FAULTS)], number) for number in range(count)]


def trial(fault: str, seed: int) -> Trial:
    """Disturb one training of a small network on digits."""
    step = int(np.random.default_rng(seed).integers(30, _STEPS - 40))
    undisturbed, _ = _train(seed, None, -1, guarded=True)
    loss, acts = _train(seed, fault, step, guarded=True)
    unguarded, _ = _train(seed, fault, step, guarded=False)
    return Trial(fault, seed, step, loss, undisturbed, unguarded, acts)


def compute_faults(count: int = 100, path: Path = FAULTS_FILE) -> None:
    """Make the trials and keep the record."""
    logging.getLogger("stepsize").setLevel(logging.ERROR)
    write_record(path, header("guard"), [asdict(one) for one in run_trials(count)])


def faults_report(path: Path = FAULTS_FILE) -> str:
    """Return the table of the record, as Markdown."""
    trials = [Trial(**{**row, "acts": tuple(row["acts"])}) for row in read_rows(path)]
    lines = [
        "| fault | trials | within 2% of the undisturbed loss | the same without a guard | reported or harmless |",
        "|---|---|---|---|---|",
    ]
    for fault in (*FAULTS, "all"):
        kept = [one for one in trials if fault in (one.fault, "all")]
        bare = sum(one.unguarded <= (1 + _CLOSE) * one.undisturbed for one in kept)
        close, told = sum(one.close for one in kept), sum(one.told for one in kept)
        lines.append(f"| {fault} | {len(kept)} | {close} | {bare} | {told} |")
    return "\n".join(lines)


def _train(seed: int, fault: str | None, step: int, *, guarded: bool) -> tuple[float, tuple[str, ...]]:
    with preserved(seed=seed), tempfile.TemporaryDirectory() as folder:
        if fault != "killed while going back" or not guarded:
            return _attempt(seed, fault, step, guarded=guarded, folder=None)
        try:
            return _attempt(seed, fault, step, guarded=True, folder=Path(folder))
        except _Killed:
            return _attempt(seed, None, -1, guarded=True, folder=Path(folder))


def _attempt(
    seed: int, fault: str | None, step: int, *, guarded: bool, folder: Path | None
) -> tuple[float, tuple[str, ...]]:
    x, y, unseen, labels = _data()
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    rate = _TOO_HIGH if fault == "7 times the highest stable rate" else 0.1
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    bound = stepsize.bind(schedules.cosine(warmup="5%").over(_STEPS), optimizer)
    pending = {fault} if fault else set()

    def train_on(rows: Tensor, number: int) -> Tensor:
        again = fault == "poisoned batch every 20 steps" and number % _RECURS == step % _RECURS and number >= 30
        now = fault is not None and (number == step or again)
        inputs = x[rows]
        if now and fault is not None and fault.startswith("poisoned"):  # the data are at fault: each time they come
            inputs = inputs * (-1e4 if fault == "poisoned batch in the second epoch" else 1e4)
        parts = _PARTS if fault == "nan in one of four accumulated batches" else 1
        if now and parts > 1:
            inputs[-1] = math.nan
        optimizer.zero_grad()
        loss = torch.zeros(())
        for part, labels_of_part in zip(inputs.chunk(parts), y[rows].chunk(parts), strict=True):
            one = nn.functional.cross_entropy(net(part), labels_of_part) / parts
            torch.autograd.backward(one)
            loss = loss + one.detach()
        once = now and fault in pending
        if once and fault in ("nan gradient", "killed while going back"):
            pending.clear()
            first = next(iter(net.parameters()))
            if first.grad is not None:
                first.grad.fill_(math.nan)
        if once and fault == "rate times 30":
            pending.clear()
            for group in optimizer.param_groups:
                group["initial_lr"] *= 30
        optimizer.step()
        bound.step()
        return loss

    acts: tuple[str, ...] = ()
    if not guarded:
        for number, rows in zip(range(_STEPS), _rows(seed, len(x)), strict=False):
            train_on(rows, number)
    else:
        checkpoint = None if folder is None else folder / "guard.pt"
        with stepsize.guard(net, optimizer, schedule=bound, steps=_STEPS, checkpoint=checkpoint) as guarding:
            guarding.resume()
            if fault == "killed while going back":
                _kill_in_the_middle(guarding)
            every = list(_rows(seed, len(x)))
            half = _STEPS // 3 if fault == "poisoned batch in the second epoch" else len(every)
            for epoch in (every[:half], every[half:]):
                for rows in guarding.batches(epoch):
                    guarding.step(train_on(rows, guarding.position - 1))
            acts = tuple(entry.kind for entry in guarding.actions)
    bound.release()
    with torch.no_grad():
        value = float(nn.functional.cross_entropy(net(unseen), labels))
    return (value if math.isfinite(value) else math.inf), acts


def _kill_in_the_middle(guarding: Guard) -> None:
    """Have the process die when half of the state was put back."""
    buffer = guarding._buffer
    plain = buffer.before

    def before(step: int) -> object:
        saved = plain(step)
        saved.snapshot.restore = partial(_die, list(saved.snapshot._tensors))  # type: ignore[method-assign]
        return saved

    buffer.before = before  # type: ignore[method-assign,assignment]


def _die(tensors: list[Any], **_: object) -> None:
    for tensor in tensors[: len(tensors) // 2]:
        tensor.restore()
    raise _Killed


def _rows(seed: int, count: int) -> Iterator[Tensor]:
    order = torch.Generator().manual_seed(seed)
    drawn = 0
    while drawn < _STEPS + 16:
        for rows in torch.split(torch.randperm(count, generator=order), _BATCH)[:-1]:
            drawn += 1
            yield rows


def _data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32) / 16
    y = torch.tensor(digits.target)
    return x[:1400], y[:1400], x[1400:], y[1400:]
