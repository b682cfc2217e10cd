"""Faults on purpose: does a guarded training end where the undisturbed one does?"""

from __future__ import annotations

import datetime as dt
import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.optim import Optimizer

import stepsize
from benchmarks.record import RECORDS_FOLDER, commit, header, read_rows, write_record
from benchmarks.workers import each_done
from stepsize import schedules
from stepsize.monitor import Guard
from stepsize.training.position import preserved

__all__ = ["FAULTS", "FAULTS_FILE", "NETWORKS", "Trial", "compute_faults", "faults_report", "numbered", "trial"]

FAULTS_FILE = RECORDS_FOLDER / "guard.json"

Data: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]

_STEPS, _BATCH = 400, 64
_CLOSE = 0.02
_TOO_HIGH = 7.0
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
    "nan in the batch of one of two processes",
)


@dataclass(frozen=True)
class Network:
    """A network, its optimizer, a good peak rate, the highest one at which it still trains, data and loss."""

    make: Callable[[], nn.Module]
    optimizer: Callable[..., Optimizer]
    good: float
    highest: float
    data: Callable[[], Data]
    loss: Callable[[Tensor, Tensor], Tensor]


class Reshaped(nn.Module):
    """Reads the 64 pixels as ``shape``."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` in that shape."""
        return x.reshape(-1, *self.shape)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def _convolutional() -> nn.Module:
    one, two = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
    last = nn.Linear(256, 10)
    return nn.Sequential(Reshaped(1, 8, 8), one, nn.ReLU(), nn.MaxPool2d(2), two, nn.ReLU(), nn.Flatten(), last)


def _deep() -> nn.Module:
    hidden = [part for _ in range(3) for part in (nn.Linear(32, 32), nn.Tanh())]
    return nn.Sequential(nn.Linear(10, 32), nn.Tanh(), *hidden, nn.Linear(32, 1), nn.Flatten(0))


def _digits() -> Data:
    digits = load_digits()
    return _split(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target), 1400)


def _diabetes() -> Data:
    x, y = (torch.tensor(part, dtype=torch.float32) for part in load_diabetes(return_X_y=True))
    return _split((x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std(), 342)


def _split(x: Tensor, y: Tensor, count: int) -> Data:
    return x[:count], y[:count], x[count:], y[count:]


_CLASSES, _SQUARES = nn.functional.cross_entropy, nn.functional.mse_loss
NETWORKS = {
    "MLP, SGD with momentum": Network(_mlp, partial(torch.optim.SGD, momentum=0.9), 0.1, 0.9, _digits, _CLASSES),
    "convolutional, AdamW": Network(_convolutional, torch.optim.AdamW, 0.003, 0.3, _digits, _CLASSES),
    "deep regression, SGD": Network(_deep, partial(torch.optim.SGD, momentum=0.9), 0.01, 0.1, _diabetes, _SQUARES),
}


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
        network: Of :data:`NETWORKS`.
    """

    fault: str
    seed: int
    step: int
    loss: float
    undisturbed: float
    unguarded: float
    acts: tuple[str, ...]
    network: str = "MLP, SGD with momentum"

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


def numbered(number: int) -> Trial:
    """Make the trial of that number, which is its seed: the faults in turn, on every network in turn."""
    kinds = [(fault, network) for network in NETWORKS for fault in FAULTS]
    logging.getLogger("stepsize").setLevel(logging.ERROR)
    return trial(*kinds[number % len(kinds)], seed=number)


def trial(fault: str, network: str = "MLP, SGD with momentum", *, seed: int = 0) -> Trial:
    """Disturb one training of a small network on digits."""
    step = int(np.random.default_rng(seed).integers(30, _STEPS - 40))
    undisturbed, _ = _train(network, seed, None, -1, guarded=True)
    loss, acts = _train(network, seed, fault, step, guarded=True)
    unguarded, _ = _train(network, seed, fault, step, guarded=False)
    return Trial(fault, seed, step, loss, undisturbed, unguarded, acts, network)


def compute_faults(count: int = 108, workers: int = 1, path: Path = FAULTS_FILE) -> None:
    """Make the trials and keep the record; after a kill, those that the same commit made are not made again."""
    begun = path.with_name(f"{path.stem}.{commit()}.json")
    trials = {row["seed"]: row for row in read_rows(begun)}
    left = [number for number in range(count) if number not in trials]
    for number, done in each_done(numbered, left, workers):
        if isinstance(done, Exception):
            raise done
        trials[number] = asdict(done)
        write_record(begun, header("guard"), [trials[seed] for seed in sorted(trials)])
        print(
            f"{len(trials)} of {count}: {done.network}, {done.fault}: {done.loss / done.undisturbed - 1:+.1%}",
            flush=True,
        )
    write_record(path, header("guard"), [trials[number] for number in range(count)])
    begun.unlink(missing_ok=True)


def faults_report(path: Path = FAULTS_FILE) -> str:
    """Return the table of the record, as Markdown."""
    trials = [Trial(**{**row, "acts": tuple(row["acts"])}) for row in read_rows(path)]
    head = "trials | within 2% of the undisturbed loss | the same without a guard | reported or harmless |"
    lines = [f"| fault or network | {head}", "|---|---|---|---|---|"]
    groups = [(name, [one for one in trials if name in (one.fault, one.network)]) for name in (*FAULTS, *NETWORKS)]
    lines += [_row(name, kept) for name, kept in (*groups, ("all", trials)) if kept]
    return "\n".join(lines)


def _row(name: str, trials: list[Trial]) -> str:
    bare = sum(one.unguarded <= (1 + _CLOSE) * one.undisturbed for one in trials)
    close, told = sum(one.close for one in trials), sum(one.told for one in trials)
    return f"| {name} | {len(trials)} | {close} | {bare} | {told} |"


def _train(name: str, seed: int, fault: str | None, step: int, *, guarded: bool) -> tuple[float, tuple[str, ...]]:
    with preserved(seed=seed), tempfile.TemporaryDirectory() as folder:
        run = _Training(NETWORKS[name], seed, fault, step, guarded)
        if fault == "nan in the batch of one of two processes":
            spawn(_one_of_two, (run, folder), nprocs=2)  # type: ignore[no-untyped-call]
            loss, acts = torch.load(Path(folder) / "out", weights_only=True)
            return loss, tuple(acts)
        if fault != "killed while going back" or not guarded:
            return run.end(None)
        try:
            return run.end(Path(folder))
        except _Killed:
            return _Training(NETWORKS[name], seed, None, -1, guarded=True).end(Path(folder))


def _one_of_two(rank: int, run: _Training, folder: str) -> None:
    torch.set_num_threads(1)
    logging.getLogger("stepsize").setLevel(logging.ERROR)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=2, timeout=dt.timedelta(seconds=120)
    )
    with preserved(seed=run.seed):
        loss, acts = run.end(None)
    if rank == 0:
        torch.save((loss, list(acts)), Path(folder) / "out")
    distributed.destroy_process_group()


@dataclass(frozen=True)
class _Training:
    """One training of a network, disturbed at a step."""

    network: Network
    seed: int
    fault: str | None
    step: int
    guarded: bool

    def end(self, folder: Path | None) -> tuple[float, tuple[str, ...]]:
        """Train; return the loss on unseen data at the end, and what the guard did."""
        torch.manual_seed(self.seed)
        bare = self.network.make()
        together = distributed.is_initialized()
        net = nn.parallel.DistributedDataParallel(bare) if together else bare
        too_high = self.fault == "7 times the highest stable rate"
        rate = _TOO_HIGH * self.network.highest if too_high else self.network.good
        optimizer = self.network.optimizer(net.parameters(), lr=rate)
        bound = stepsize.bind(schedules.cosine(warmup="5%").over(_STEPS), optimizer)
        update = self._disturbed(net, optimizer, bound)
        acts: tuple[str, ...] = ()
        if self.guarded:
            acts = self._guarded(net, optimizer, bound, update, folder)
        else:
            for number, rows in zip(range(_STEPS), self._rows(), strict=False):
                update(rows, number)
        bound.release()
        _, _, unseen, labels = self.network.data()
        with torch.no_grad():
            value = float(self.network.loss(bare(unseen), labels))
        return (value if math.isfinite(value) else math.inf), acts

    def _disturbed(
        self, net: nn.Module, optimizer: Optimizer, bound: stepsize.BoundScheduler
    ) -> Callable[[Tensor, int], Tensor]:
        x, y, _, _ = self.network.data()
        fault, step = self.fault or "", self.step
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        pending = {fault}

        def update(rows: Tensor, number: int) -> Tensor:
            again = fault == "poisoned batch every 20 steps" and number % _RECURS == step % _RECURS and number >= 30
            now = number == step or again
            inputs, targets = x[rows], y[rows]
            if now and fault.startswith("poisoned"):  # the data are at fault: each time they come
                inputs = inputs * (-1e4 if fault == "poisoned batch in the second epoch" else 1e4)
            parts = _PARTS if fault == "nan in one of four accumulated batches" else 1
            if now and (parts > 1 or (fault == "nan in the batch of one of two processes" and rank == 0)):
                inputs[-1 if parts > 1 else 0] = math.nan
            if distributed.is_initialized():
                inputs, targets = inputs.chunk(2)[rank], targets.chunk(2)[rank]
            optimizer.zero_grad()
            loss = torch.zeros(())
            for part, labels in zip(inputs.chunk(parts), targets.chunk(parts), strict=True):
                one = self.network.loss(net(part), labels) / parts
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

        return update

    def _guarded(
        self,
        net: nn.Module,
        optimizer: Optimizer,
        bound: stepsize.BoundScheduler,
        update: Callable[[Tensor, int], Tensor],
        folder: Path | None,
    ) -> tuple[str, ...]:
        checkpoint = None if folder is None else folder / "guard.pt"
        with stepsize.guard(net, optimizer, schedule=bound, steps=_STEPS, checkpoint=checkpoint) as guarding:
            guarding.resume()
            if self.fault == "killed while going back":
                _kill_in_the_middle(guarding)
            every = list(self._rows())
            half = _STEPS // 3 if self.fault == "poisoned batch in the second epoch" else len(every)
            for epoch in (every[:half], every[half:]):
                for rows in guarding.batches(epoch):
                    guarding.step(update(rows, guarding.position - 1))
            return tuple(entry.kind for entry in guarding.actions)

    def _rows(self) -> Iterator[Tensor]:
        order = torch.Generator().manual_seed(self.seed)
        drawn = 0
        count = len(self.network.data()[0])
        while drawn < _STEPS + 3 * _STEPS // _RECURS:
            for rows in torch.split(torch.randperm(count, generator=order), _BATCH)[:-1]:
                drawn += 1
                yield rows


def _kill_in_the_middle(guarding: Guard) -> None:
    """Have the process die when half of the state was put back."""
    buffer = guarding._buffer
    plain = buffer.before

    def before(step: int) -> object:
        saved = plain(step)
        saved.snapshot._restore_optimizers = _die  # type: ignore[method-assign]
        return saved

    buffer.before = before  # type: ignore[method-assign,assignment]


def _die() -> None:
    raise _Killed
