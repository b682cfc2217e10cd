"""What watching costs: the CPU time of a watched step over that of a plain one, taken in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import stepsize
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record

__all__ = ["MODELS", "OVERHEAD_FILE", "Overhead", "compute_overhead", "measure", "overhead_report"]

OVERHEAD_FILE = RECORDS_FOLDER / "watch.json"

_ROUNDS = 24  # pieces of each of the three trainings
_SECONDS = 0.3  # a piece
_STEPS = 6_400  # of the training that is watched; its first ones are all measured, and counted so
_FIRST = 64


@dataclass(frozen=True)
class Overhead:
    """What watching costs one model.

    Attributes:
        model: Its name.
        parameters: How many are trained.
        tensors: In how many tensors.
        device: Where.
        step: Milliseconds of a plain step.
        first: Ratio of a watched step to a plain one, less 1, over the first 64 steps, which are all measured.
        signals: The same over the whole training of 6,400 steps: later ones are measured by turns.
        probes: The same with the critical rate looked for, too, 64 times in the training.
    """

    model: str
    parameters: int
    tensors: int
    device: str
    step: float
    first: float
    signals: float
    probes: float


Maker = Callable[[], tuple[nn.Module, Tensor, Tensor]]


def _mlp() -> tuple[nn.Module, Tensor, Tensor]:
    net = nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10))
    return net, torch.randn(128, 784), torch.randint(10, (128,))


def _cnn() -> tuple[nn.Module, Tensor, Tensor]:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 64), (64, 128), (128, 256), (256, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10))
    return net, torch.randn(32, 3, 32, 32), torch.randint(10, (32,))


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(192, 6, 768, batch_first=True, dropout=0.1)
        self.body = nn.TransformerEncoder(layer, 4)
        self.head = nn.Linear(192, 65)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x).mean(1))
        return out


def _transformer() -> tuple[nn.Module, Tensor, Tensor]:
    return _Transformer(), torch.randn(16, 64, 192), torch.randint(65, (16,))


def _small() -> tuple[nn.Module, Tensor, Tensor]:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), torch.randn(64, 64), torch.randint(10, (64,))


MODELS: dict[str, Maker] = {"MLP": _mlp, "CNN": _cnn, "transformer": _transformer, "tiny MLP": _small}


def measure(name: str, device: str = "cpu") -> Overhead:
    """Return the overhead for one of :data:`MODELS`: three equal trainings, one plain, two watched, in turns."""
    plain, signals, probes = (_Training(name, device) for _ in range(3))
    with signals.watched(), probes.watched(probed=True):
        for one in (plain, signals, probes):
            one.piece(3)
        first = statistics.median(signals.piece(10) / plain.piece(10) for _ in range(_FIRST // 10)) - 1
        probes.piece(_FIRST)
        bare = min(plain.piece(3) for _ in range(3))
        steps = max(4, round(_SECONDS / bare))
        bare_time, times = 0.0, [0.0, 0.0]
        # a training spends more of its budget at first: quick ones are made to their end
        for _ in range(min(_ROUNDS, max(1, (_STEPS - _FIRST) // steps))):
            before = plain.piece(steps)
            took = [signals.piece(steps), probes.piece(steps)]
            bare_time += (before + plain.piece(steps)) / 2
            times = [one + seconds for one, seconds in zip(times, took, strict=True)]
    later = [one / bare_time - 1 for one in times]
    whole = [(_FIRST * first + (_STEPS - _FIRST) * one) / _STEPS for one in later]
    parameters = [p.numel() for p in plain.net.parameters()]
    return Overhead(name, sum(parameters), len(parameters), device, 1e3 * bare, first, *whole)


class _Training:
    """One of the equal trainings."""

    def __init__(self, name: str, device: str) -> None:
        torch.manual_seed(0)
        self.net, self._x, self._y = (part.to(device) for part in MODELS[name]())
        self._optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-4, foreach=True)
        self._device = device
        self._told: Callable[[Tensor], object] = lambda _: None

    @contextmanager
    def watched(self, *, probed: bool = False) -> Iterator[None]:
        again = self._loss if probed else None
        with stepsize.watch(self.net, self._optimizer, steps=_STEPS) as watching:
            self._told = lambda loss: watching.step(loss, closure=again)
            yield
        assert not watching.broken, watching.broken

    def piece(self, steps: int) -> float:
        """Return the seconds of one step, over so many: of the processor, or on a GPU those that passed."""
        _wait(self._device)
        clock = time.process_time if self._device == "cpu" else time.perf_counter  # other programs may be running
        began = clock()
        for _ in range(steps):
            loss = self._loss()
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self._told(loss)
        _wait(self._device)
        return (clock() - began) / steps

    def _loss(self) -> Tensor:
        return nn.functional.cross_entropy(self.net(self._x), self._y)


def compute_overhead(device: str = "cpu", path: Path = OVERHEAD_FILE) -> None:
    """Measure all models and keep the record."""
    write_record(path, header("watch"), [asdict(measure(name, device)) for name in MODELS])


def overhead_report(path: Path = OVERHEAD_FILE) -> str:
    """Return the table of the record, as Markdown."""
    lines = [
        "| model | parameters | tensors | device | plain step | first 64 steps | 6,400 steps | and the critical rate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [Overhead(**row) for row in read_rows(path)]
    lines += [
        f"| {row.model} | {row.parameters:,} | {row.tensors} | {row.device} | {row.step:.2f} ms | "
        f"{100 * row.first:+.1f}% | {100 * row.signals:+.1f}% | {100 * row.probes:+.1f}% |"
        for row in rows
    ]
    return "\n".join(lines)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
