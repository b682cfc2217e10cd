"""What a population saves: K settings at once against K plain loops, and how that falls as the model grows."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table
from stepsize.schedules import cosine
from stepsize.tasks import build_task
from stepsize.training import Population, Setting, Task
from stepsize.training.batches import Stream
from stepsize.training.population import stack_optimizers
from stepsize.training.position import preserved
from stepsize.training.stepping import build_model, build_optimizer, rung_factors

__all__ = ["POPULATION_FILE", "compute_population", "population_report"]

POPULATION_FILE = RECORDS_FOLDER / "population.json"
_ROUNDS = 5
_GOALS = {"digits-mlp": (32, 20), "digits-cnn": (32, 8), "docs-chars-mlp": (32, 6), "docs-chars-gpt": (16, 4)}
_OTHERS = ("cancer-mlp",)
_WIDTHS = (16, 32, 64, 128, 256, 512)
_SERIES = (32, 32)  # members and examples a batch of the series of widths
_RATES = (1e-4, 1e-2)


@dataclass(frozen=True)
class _Way:
    """A way to train K settings; returns nothing, it is timed."""

    name: str
    run: Callable[[Task, Sequence[float], int], object]


def compute_population(*, path: Path, threads: Sequence[int] = (1, 2), compiled: bool = False) -> None:
    """Time every way on every task in turn, round by round, so that a busy machine is busy for all of them."""
    rows: list[dict[str, Any]] = []
    before = torch.get_num_threads()
    try:
        for count in threads:
            torch.set_num_threads(count)
            for task, members, steps, about in _cases():
                ways = (*_WAYS, _COMPILED) if compiled and "width" not in about else _WAYS
                rows.append(_measured(task, members, steps, ways) | about | {"threads": count})
                write_record(path, header("population"), rows)
    finally:
        torch.set_num_threads(before)


def population_report(path: Path) -> str:
    """Return the tables of the record."""
    rows = list(read_rows(path))
    if not rows:
        return "Nothing measured yet."
    head = json.loads(path.read_text(encoding="utf-8"))["record"]
    names = list(dict.fromkeys(name for row in rows for name in row["seconds"] if name != "plain loops"))
    lines = [_line(row, names) for row in rows]
    columns = ["task", "weights", "K", "threads", "plain: ms per step", *names, "goal"]
    return "\n\n".join(
        [
            f"The time of plain loops of torch.optim over K rates, divided by that of each way for the same rates: "
            f"how many times faster it is, median of {_ROUNDS} interleaved rounds. Commit {head['commit']}, "
            f"{head['date'][:10]}, torch {head['versions']['torch']}, {head['machine']['cores']} cores.",
            markdown_table(columns, lines),
        ]
    )


def _line(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    plain = row["seconds"]["plain loops"]
    label = f"MLP 64-{row['width']}-{row['width']}-10" if "width" in row else row["task"]
    gains = [f"{plain / row['seconds'][name]:.1f} ×" if name in row["seconds"] else "" for name in names]
    goal = f"{row['goal']} ×" if "goal" in row else ""
    step = f"{1e3 * plain / row['members'] / row['steps']:.2f}"
    return [label, f"{row['weights']:,}", str(row["members"]), str(row["threads"]), step, *gains, goal]


def _cases() -> list[tuple[Task, int, int, dict[str, Any]]]:
    cases: list[tuple[Task, int, int, dict[str, Any]]] = []
    for name in (*_GOALS, *_OTHERS):
        members, goal = _GOALS.get(name, (32, None))
        task = replace(build_task(name, device="cpu"), val=None, metrics={}, objective="loss")
        steps = 10 if "gpt" in name or "cnn" in name else 25
        cases.append((task, members, steps, {"task": name} | ({"goal": goal} if goal else {})))
    series = [(_mlp(w), _SERIES[0], 60 if w < 128 else 25, {"task": "series", "width": w}) for w in _WIDTHS]
    return cases + series


def _mlp(width: int) -> Task:
    digits = build_task("digits-mlp", device="cpu")
    tensors = digits.train.tensors  # type: ignore[attr-defined]
    sizes = (64, width, width, 10)

    def model() -> nn.Module:
        return nn.Sequential(
            nn.Linear(sizes[0], sizes[1]),
            nn.ReLU(),
            nn.Linear(sizes[1], sizes[2]),
            nn.ReLU(),
            nn.Linear(sizes[2], sizes[3]),
        )

    return Task(
        model=model,
        loss=nn.functional.cross_entropy,
        train=tensors,
        batch_size=_SERIES[1],
        steps=600,
        schedule=cosine(warmup="5%"),
        device="cpu",
    )


def _measured(task: Task, members: int, steps: int, ways: Sequence[_Way]) -> dict[str, Any]:
    rates = np.geomspace(*_RATES, members).tolist()
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for way in ways:
        way.run(task, rates[:2], 2)  # what happens once happens here
    for _ in range(_ROUNDS):
        for way in ways:
            began = time.perf_counter()
            way.run(task, rates, steps)
            times[way.name].append(time.perf_counter() - began)
    return {
        "members": members,
        "steps": steps,
        "weights": sum(parameter.numel() for parameter in build_model(task).parameters()),
        "seconds": {name: statistics.median(values) for name, values in times.items()},
    }


def _plain(task: Task, rates: Sequence[float], steps: int) -> None:
    """Train as anyone would: one loop a rate."""
    for lr in rates:
        with preserved(seed=0):
            model = build_model(task)
            optimizer = build_optimizer(task, model, lr)
            factors = rung_factors(task, task.horizon)
            stream = Stream(task.train)
            for step in range(steps):
                optimizer.param_groups[0]["lr"] = lr * factors[step]
                optimizer.zero_grad(set_to_none=True)
                loss = task.compute_loss(model, next(stream))
                loss.backward()  # type: ignore[no-untyped-call]
                if task.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), task.clip)
                optimizer.step()
                loss.item()  # a loop that never looks at its loss could not tell a divergence


def _population(chunk: int | None) -> Callable[[Task, Sequence[float], int], object]:
    def run(task: Task, rates: Sequence[float], steps: int) -> None:
        population = Population(chunk=chunk)
        population(task, [Setting(lr, 0, steps) for lr in rates])
        assert not population.reasons, population.reasons

    return run


def _inner_gradients(compiled: bool) -> Callable[[Task, Sequence[float], int], object]:
    """Return the other order of the transforms, vmap around grad, without anything that a population does besides."""

    def run(task: Task, rates: Sequence[float], steps: int) -> None:
        with preserved(seed=0):
            model = build_model(task)
            names = [name for name, _ in model.named_parameters()]
            count = len(rates)
            stacked = [p.detach().expand(count, *p.shape).clone() for p in model.parameters()]
            buffers = {name: b.detach().expand(count, *b.shape).clone() for name, b in model.named_buffers()}
            optimizers = [build_optimizer(task, model, lr) for lr in rates]
            optimizer = stack_optimizers(optimizers, [list(model.parameters())] * count, stacked)
            factors = rung_factors(task, task.horizon)

            def loss(parameters: dict[str, Tensor], own: dict[str, Tensor], batch: Any) -> Tensor:
                output = functional_call(model, {**parameters, **own}, tuple(batch[:-1]))
                found: Tensor = task.loss(output, batch[-1])
                return found

            each = vmap(grad_and_value(loss), in_dims=(0, 0 if buffers else None, None), randomness="same")
            each = torch.compile(each) if compiled else each
            stream = Stream(task.train)
            for step in range(steps):
                gradients, losses = each(dict(zip(names, stacked, strict=True)), buffers, next(stream))
                optimizer.step([gradients[name].contiguous() for name in names], factors[step])
                losses.tolist()

    return run


_WAYS = (
    _Way("plain loops", _plain),
    _Way("population", _population(None)),
    _Way("chunks of 8", _population(8)),
    _Way("vmap(grad)", _inner_gradients(compiled=False)),
)
_COMPILED = _Way("vmap(grad), compiled", _inner_gradients(compiled=True))
