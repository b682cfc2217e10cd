"""Frameworks train with a bound schedule as with any scheduler of torch, at exactly the planned rates."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.bound_loops import rates, watched
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.utils.data import DataLoader, Dataset, TensorDataset

from stepsize import bind
from stepsize.schedules import cosine

ETA = cosine(12, warmup=3)


@contextmanager
def quiet() -> Iterator[None]:
    """The frameworks' own warnings are not what is tested here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def planned(begin: int = 0, end: int = 12) -> list[float]:
    return [0.1 * factor for factor in ETA.factors()[begin:end].tolist()]


def loader() -> DataLoader[Any]:
    x = torch.randn(32, 3)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)


# ------------------------------------------------------------------------------ Lightning


def lightning_fit(interval: str, folder: Path, *, epochs: int, accumulate: int = 1, resume: str | None = None) -> Any:
    """Train 4 batches an epoch; return the optimizer's watched rates, the bound and the trainer."""
    lightning = importlib.import_module("lightning")

    class Net(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 1)
            self.optimizer = SGD(self.net.parameters(), lr=0.1)
            self.bound = bind(ETA, self.optimizer)

        def training_step(self, batch: Any, _: int) -> Tensor:
            x, y = batch
            loss: Tensor = (self.net(x) - y).square().mean()
            return loss

        def configure_optimizers(self) -> Any:
            return {"optimizer": self.optimizer, "lr_scheduler": {"scheduler": self.bound, "interval": interval}}

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    net = Net()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
    )
    with watched(net.optimizer) as seen, quiet():
        trainer.fit(net, loader(), ckpt_path=resume, weights_only=True)
    return rates(seen), net.bound, trainer


@needs("lightning")
@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_lightning_trains_at_the_planned_rates_whatever_the_interval(interval: str, tmp_path: Path) -> None:
    """Its default counts epochs: pytorch#65417, PL#3205, #6948, #20436."""
    used, bound, _ = lightning_fit(interval, tmp_path, epochs=3)
    assert used == planned()
    assert bound.last_epoch == 12


@needs("lightning")
def test_lightning_accumulates_and_updates_count(tmp_path: Path) -> None:
    used, bound, _ = lightning_fit("step", tmp_path, epochs=3, accumulate=2)
    assert used == planned(0, 6)
    assert bound.last_epoch == 6


@needs("lightning")
def test_lightning_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    _, _, trainer = lightning_fit("step", tmp_path, epochs=2)
    file = str(tmp_path / "here.ckpt")
    with quiet():
        trainer.save_checkpoint(file)
    used, bound, _ = lightning_fit("step", tmp_path, epochs=3, resume=file)
    assert used == planned(8)
    assert bound.last_epoch == 12


# ------------------------------------------------------------------- transformers' Trainer


class Rows(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x = torch.arange(3.0) + index / 48
        return {"x": x, "labels": x.sum()[None]}


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 1)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        predicted = self.net(x)
        return {"loss": (predicted - labels).square().mean(), "logits": predicted}


def transformers_fit(folder: Path, *, resume: str | None = None, **options: Any) -> tuple[list[float], Any, Any]:
    transformers = importlib.import_module("transformers")
    model = Regression()
    optimizer = AdamW(model.parameters(), lr=0.1)
    bound = bind(ETA, optimizer)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **{"num_train_epochs": 2, "save_strategy": "no", "logging_steps": 1, **options},
    )
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=Rows(), optimizers=(optimizer, bound))
    with watched(optimizer) as seen, quiet():
        trainer.train(resume_from_checkpoint=resume)
    return rates(seen), bound, trainer


@needs("transformers")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_trainer_of_transformers_trains_at_the_planned_rates(accumulate: int, tmp_path: Path) -> None:
    used, bound, trainer = transformers_fit(tmp_path, gradient_accumulation_steps=accumulate)
    assert used == planned(0, 12 // accumulate)
    assert bound.last_epoch == 12 // accumulate
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert set(logged) <= {*planned(), 0.1 * ETA(12)}


@needs("transformers")
def test_the_trainer_of_transformers_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    """HF#27749, #23099."""
    transformers_fit(tmp_path, save_strategy="steps", save_steps=5, max_steps=5)
    used, bound, _ = transformers_fit(tmp_path, resume=str(tmp_path / "checkpoint-5"))
    assert used == planned(5)
    assert bound.last_epoch == 12


# ------------------------------------------------------------------------------ Accelerate


def accelerated(**options: Any) -> Any:
    importlib.import_module("accelerate.state").AcceleratorState._reset_state(reset_partial_state=True)
    return importlib.import_module("accelerate").Accelerator(cpu=True, **options)


@needs("accelerate")
@pytest.mark.parametrize("processes", [1, 8])
def test_accelerate_trains_at_the_planned_rates_however_many_processes(processes: int) -> None:
    """It steps a scheduler once a process: accelerate#1382, #2926, #662, diffusers#3954, #9633."""
    accelerator = accelerated()
    net = nn.Linear(3, 1)
    inner = SGD(net.parameters(), lr=0.1)
    bound = bind(ETA, inner)
    model, optimizer, batches, scheduler = accelerator.prepare(net, inner, loader(), bound)
    assert type(scheduler).__name__ == "AcceleratedScheduler"
    importlib.import_module("accelerate.state").AcceleratorState().num_processes = processes  # what its scheduler reads
    with watched(inner) as seen, quiet():
        for _ in range(3):
            for x, y in batches:
                optimizer.zero_grad()
                accelerator.backward((model(x) - y).square().mean())
                optimizer.step()
                scheduler.step()
    accelerated()
    assert rates(seen) == planned()
    assert bound.last_epoch == 12
    assert scheduler.get_last_lr() == [0.1 * ETA(12)]


@needs("accelerate")
def test_accelerate_accumulates_and_saves_and_loads(tmp_path: Path) -> None:
    def train(epochs: int, folder: Path | None) -> tuple[list[float], Any]:
        accelerator = accelerated(gradient_accumulation_steps=2)
        net = nn.Linear(3, 1)
        inner = SGD(net.parameters(), lr=0.1)
        bound = bind(ETA, inner)
        model, optimizer, batches, scheduler = accelerator.prepare(net, inner, loader(), bound)
        with watched(inner) as seen, quiet():
            if folder is not None:
                accelerator.load_state(str(folder))
            for _ in range(epochs):
                for x, y in batches:
                    with accelerator.accumulate(model):
                        accelerator.backward((model(x) - y).square().mean())
                        optimizer.step()
                        scheduler.step()
                        optimizer.zero_grad()
            accelerator.save_state(str(tmp_path))
        return rates(seen), bound

    used, bound = train(3, None)
    assert used == planned(0, 6)
    used, bound = train(2, tmp_path)
    assert used == planned(6, 10)
    assert bound.last_epoch == 10
