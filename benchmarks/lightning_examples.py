"""Three Lightning examples, trained at the rate of Lightning's ``Tuner.lr_find`` and at that of ``find``."""

from __future__ import annotations

import importlib
import logging
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import stepsize
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table
from stepsize.training.batches import TensorBatches

__all__ = ["EXAMPLES_FILE", "compute_examples", "examples_report"]

EXAMPLES_FILE = RECORDS_FOLDER / "lightning_examples.json"

_SEEDS = (0, 1, 2)
_BUDGETS = (1.0, 3.0)


@dataclass(frozen=True)
class Trained:
    """A full run of an example.

    Attributes:
        example: Its name.
        method: What its rate is from.
        seed: Random seed of weights and batches.
        lr: Peak learning rate; None if there was no answer.
        cost: Steps that the answer took over those of a full run.
        val_loss: Validation loss at the end; NaN without an answer.
    """

    example: str
    method: str
    seed: int
    lr: float | None
    cost: float
    val_loss: float


@dataclass(frozen=True)
class _Example:
    """A model and data; ``start`` makes a new model, perhaps with trained weights."""

    start: Callable[[int], nn.Module]
    data: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]
    batch_size: int
    epochs: int


def _digits() -> _Example:
    task = stepsize.build_task("digits-mlp", device="cpu")
    return _of_task(task, epochs=24)


def _text() -> _Example:
    task = stepsize.build_task("docs-chars-mlp", device="cpu")
    return _of_task(task, epochs=1)


def _finetuning() -> _Example:
    """Digits 5 to 9, with a network that knows 0 to 4: a new head, and everything is trained on."""
    task = stepsize.build_task("digits-mlp", device="cpu")
    whole = _of_task(task, epochs=10)
    (x, y), (val_x, val_y) = whole.data, whole.val

    def part(inputs: Tensor, labels: Tensor, *, high: bool) -> tuple[Tensor, Tensor]:
        chosen = (labels >= 5) == high
        return inputs[chosen], labels[chosen]

    known = whole.start(0)
    optimizer = torch.optim.AdamW(known.parameters(), lr=3e-3)
    inputs, labels = part(x, y, high=False)
    for step in range(300):
        rows = torch.randint(len(inputs), (64,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(known(inputs[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def start(seed: int) -> nn.Module:
        model = whole.start(seed)
        model.load_state_dict(known.state_dict())
        head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        torch.manual_seed(seed)
        head.reset_parameters()
        return model

    return _Example(start, part(x, y, high=True), part(val_x, val_y, high=True), 32, 10)


def _of_task(task: stepsize.Task, epochs: int) -> _Example:
    assert isinstance(task.train, TensorBatches)
    assert isinstance(task.val, TensorBatches)

    def start(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return task.model()

    (x, y), (val_x, val_y) = task.train.tensors, task.val.tensors
    return _Example(start, (x, y), (val_x, val_y), task.train.batch_size, epochs)


_EXAMPLES = {"digits": _digits, "text": _text, "fine-tuning": _finetuning}


def compute_examples(path: Path = EXAMPLES_FILE) -> None:
    """Train all examples at all rates and keep the record."""
    rows = [row for name, make in _EXAMPLES.items() for row in _runs(name, make())]
    write_record(path, header("lightning-examples"), [asdict(row) for row in rows])


def examples_report(path: Path = EXAMPLES_FILE) -> str:
    """Return the table of the record, as Markdown."""
    rows = [Trained(**row) for row in read_rows(path)]
    lines = []
    for example in dict.fromkeys(row.example for row in rows):
        own = [row for row in rows if row.example == example]
        for method in dict.fromkeys(row.method for row in own):
            made = [row for row in own if row.method == method]
            rates = ", ".join("none" if row.lr is None else f"{row.lr:.2g}" for row in made)
            losses = ", ".join(f"{row.val_loss:.3f}" for row in made)
            lines.append([example, method, rates, f"{statistics.fmean(row.cost for row in made):.2g}", losses])
    heads = ("example", "rate from", "learning rate, by seed", "cost, full runs", "final validation loss, by seed")
    return markdown_table(heads, lines)


def _runs(name: str, example: _Example) -> Iterator[Trained]:
    steps = example.epochs * -(-len(example.data[0]) // example.batch_size)
    for seed in _SEEDS:
        for method, (lr, cost) in _answers(example, seed, steps).items():
            loss = math.nan if lr is None else _train(example, seed, lr)
            yield Trained(name, method, seed, lr, cost, loss)


def _answers(example: _Example, seed: int, steps: int) -> dict[str, tuple[float | None, float]]:
    module, train, val = _module(example, seed, 1e-3)
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        tuner = importlib.import_module("lightning.pytorch.tuner").Tuner(_trainer(example, folder))
        found = tuner.lr_find(module, train, val)
        answers = {"Tuner.lr_find": (None if found is None else found.suggestion(), 100 / steps)}
        for budget in _BUDGETS:
            module, train, val = _module(example, seed, 1e-3)
            task = stepsize.Task.from_lightning(module, train, val=val, trainer=_trainer(example, folder), seed=seed)
            answer = stepsize.find(task, budget=budget)
            answers[f"find(budget={budget:g})"] = (answer.lr, answer.cost.full_runs)
    return answers


def _train(example: _Example, seed: int, lr: float) -> float:
    module, train, val = _module(example, seed, lr)
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(example, folder)
        trainer.fit(module, train)
        (result,) = trainer.validate(module, val, verbose=False)
    return float(result["val_loss"])


def _module(example: _Example, seed: int, lr: float) -> tuple[Any, DataLoader[Any], DataLoader[Any]]:
    lightning = importlib.import_module("lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net, self.lr = example.start(seed), lr

        def training_step(self, batch: Any, _: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val_loss", self.training_step(batch, 0))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
            steps = self.trainer.estimated_stepping_batches
            cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(steps))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    order = torch.Generator().manual_seed(seed)
    train = DataLoader(TensorDataset(*example.data), example.batch_size, shuffle=True, generator=order)
    return Module(), train, DataLoader(TensorDataset(*example.val), 512)


def _trainer(example: _Example, folder: str) -> Any:
    return importlib.import_module("lightning").Trainer(
        accelerator="cpu", max_epochs=example.epochs, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
