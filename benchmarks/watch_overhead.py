"""What watching costs: the time of a watched step over that of a plain one, taken in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import stepsize
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record

__all__ = ["MODELS", "OVERHEAD_FILE", "Overhead", "compute_overhead", "measure", "overhead_report"]

OVERHEAD_FILE = RECORDS_FOLDER / "watch.json"

_ROUNDS = 12  # pairs of a plain and a watched piece
_SECONDS = 0.6  # a piece


@dataclass(frozen=True)
class Overhead:
    """What watching costs one model.

    Attributes:
        model: Its name.
        parameters: How many are trained.
        tensors: In how many tensors.
        device: Where.
        step: Milliseconds of a plain step.
        signals: Ratio of a step with the signals that are always on, less 1; the median over pairs.
        probes: The same with the critical rate looked for, too, 64 times in a training of 6,400 steps.
    """

    model: str
    parameters: int
    tensors: int
    device: str
    step: float
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
    """Return the overhead for one of :data:`MODELS`."""
    torch.manual_seed(0)
    net, x, y = (part.to(device) for part in MODELS[name]())
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, foreach=True)

    def loss() -> Tensor:
        return nn.functional.cross_entropy(net(x), y)

    def step() -> Tensor:
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value

    def piece(steps: int, told: Callable[[Tensor], Any]) -> float:
        _wait(device)
        began = time.perf_counter()
        for _ in range(steps):
            told(step())
        _wait(device)
        return (time.perf_counter() - began) / steps

    piece(3, lambda _: None)
    plain = min(piece(3, lambda _: None) for _ in range(3))
    steps = max(5, round(_SECONDS / plain))
    ratios: dict[bool, list[float]] = {False: [], True: []}
    for probed in (False, True):
        for _ in range(_ROUNDS):
            bare = piece(steps, lambda _: None)
            with stepsize.watch(net, optimizer, steps=6_400) as watching:
                again = loss if probed else None
                watched = piece(steps, lambda value, w=watching, a=again: w.step(value, again=a))
            assert not watching.broken
            after = piece(steps, lambda _: None)
            ratios[probed].append(2 * watched / (bare + after) - 1)
    parameters = [p.numel() for p in net.parameters()]
    signals, probes = (statistics.median(ratios[probed]) for probed in (False, True))
    return Overhead(name, sum(parameters), len(parameters), device, 1e3 * plain, signals, probes)


def compute_overhead(device: str = "cpu", path: Path = OVERHEAD_FILE) -> None:
    """Measure all models and keep the record."""
    write_record(path, header("watch"), [asdict(measure(name, device)) for name in MODELS])


def overhead_report(path: Path = OVERHEAD_FILE) -> str:
    """Return the table of the record, as Markdown."""
    lines = [
        "| model | parameters | tensors | device | plain step | signals always on | and the critical rate |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [Overhead(**row) for row in read_rows(path)]
    lines += [
        f"| {row.model} | {row.parameters:,} | {row.tensors} | {row.device} | {row.step:.2f} ms | "
        f"{100 * row.signals:+.1f} % | {100 * row.probes:+.1f} % |"
        for row in rows
    ]
    return "\n".join(lines)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
