"""In the Trainer of transformers one line watches and guards every update; its state goes through the checkpoints."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.frameworks.plain import (
    BATCH,
    LR,
    ROWS,
    STEERED,
    needs,
    ordering,
    plain,
    quiet,
    rows,
    spoiled_rows,
    steered_well,
)
from tests.frameworks.plain import net as plain_net
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler

import stepsize

pytestmark = [needs("transformers"), needs("accelerate")]


class Rows(Dataset[dict[str, Tensor]]):
    def __init__(self, data: tuple[Tensor, Tensor] | None = None) -> None:
        self._x, self._y = data or rows()

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self._x[index], "labels": self._y[index]}


class Regression(nn.Module):
    """Returns what models return: an object with ``loss``, a dict with it, or none without labels."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.net = plain_net()
        self._form = form

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        predicted = self.net(x)
        if labels is None:
            return {"logits": predicted}
        loss = nn.functional.mse_loss(predicted, labels)
        return SimpleNamespace(loss=loss, logits=predicted) if self._form == "object" else {"loss": loss}


def fit(folder: Path, *callbacks: Any, model: Any = None, own_loss: bool = False, **options: Any) -> Any:
    transformers = importlib.import_module("transformers")
    model = model or Regression("dict")
    resume, data = options.pop("resume", None), options.pop("data", None)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.5)
    scheduler = options.pop("scheduler", torch.optim.lr_scheduler.LambdaLR)(optimizer, lambda _: 1.0)

    class Trainer(transformers.Trainer):  # type: ignore[name-defined, misc]
        def _get_train_sampler(self, *_: Any) -> Any:
            return SequentialSampler(self.train_dataset)

        def compute_loss(self, model: Any, inputs: Any, *given: Any, **more: Any) -> Any:
            if not own_loss:
                return super().compute_loss(model, inputs, *given, **more)
            return nn.functional.mse_loss(model(inputs["x"])["logits"], inputs["labels"])

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **{"num_train_epochs": 1, "save_strategy": "no", "max_grad_norm": 0.0, "logging_steps": 7, **options},
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Rows(data),
        eval_dataset=Rows(),
        optimizers=(optimizer, scheduler),
        callbacks=list(callbacks),
    )
    with quiet():
        trainer.train(resume_from_checkpoint=resume)
    return trainer


def callback(guard: bool = False, **options: Any) -> Any:
    return importlib.import_module("stepsize.frameworks.transformers").Stepsize(guard, **options)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("form", ["dict", "object"])
def test_signals_are_those_of_a_plain_loop(accumulate: int, clip: float | None, form: str, tmp_path: Path) -> None:
    seen = callback()
    fit(
        tmp_path,
        seen,
        model=Regression(form) if form == "dict" else _with_object(),
        gradient_accumulation_steps=accumulate,
        max_grad_norm=clip or 0.0,
        num_train_epochs=2,
    )
    assert not seen.watching.broken
    plain(epochs=2, accumulate=accumulate, clip=clip).held_to(seen.watching.record)
    assert seen.watching.record.facts.steps == 48 // accumulate


def _with_object() -> nn.Module:
    output = importlib.import_module("transformers.modeling_outputs").SequenceClassifierOutput

    class Model(Regression):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
            predicted = self.net(x)
            return output(loss=nn.functional.mse_loss(predicted, labels), logits=predicted)  # type: ignore[arg-type]

    return Model("object")


def test_bf16(tmp_path: Path) -> None:
    seen = callback()
    fit(tmp_path, seen, bf16=True)
    plain(bf16=True).held_to(seen.watching.record)


def test_a_loss_of_ones_own_is_taken_from_the_log(tmp_path: Path) -> None:
    seen = callback()
    fit(tmp_path, seen, own_loss=True, logging_steps=2, num_train_epochs=2)
    record = seen.watching.record
    assert (record.step, record.skipped) == (48, 0)
    assert len(record.recent("grad_norm")) == 48
    assert len(record.recent("loss")) >= 20


def test_validation_and_the_store(tmp_path: Path) -> None:
    seen = callback(store=tmp_path / "runs.db", name="net")
    fit(tmp_path, seen, num_train_epochs=3, eval_strategy="epoch")
    assert seen.watching.record.recent("val_loss").steps.tolist() == [23, 47, 71]
    assert (seen.watching.record.step, seen.watching.record.skipped) == (72, 0)
    with stepsize.Store.open(tmp_path / "runs.db") as store:
        from stepsize.monitor.saved_runs import read_run

        assert read_run(store, "net").head.status == "done"


@pytest.mark.parametrize("accumulate", [1, 2])
def test_guard_goes_back_across_epochs_and_the_training_ends_well(accumulate: int, tmp_path: Path) -> None:
    seen = callback(guard=True, every=5)
    trainer = fit(
        tmp_path,
        seen,
        data=spoiled_rows(20),
        gradient_accumulation_steps=accumulate,
        num_train_epochs=4,
    )
    assert [act.kind for act in seen.actions] == ["rollback"] * 4  # the bad batch comes in each epoch
    assert trainer.state.global_step == 96 // accumulate == seen.watching.record.step
    x, y = rows()
    with torch.no_grad():
        assert float(nn.functional.mse_loss(trainer.model.net(x), y)) < 1


def test_a_guard_that_gives_up_stops_the_trainer(tmp_path: Path) -> None:
    x, y = rows()
    seen = callback(guard=True, every=5, retries=2)
    trainer = fit(tmp_path, seen, data=(torch.cat([x[:100], x[100:] * float("nan")]), y), num_train_epochs=4)
    assert seen.stopped is not None
    assert trainer.state.global_step < 40
    assert all(bool(p.isfinite().all()) for p in trainer.model.parameters())


@pytest.mark.parametrize("restore", [False, True])
def test_its_state_goes_through_the_checkpoints(restore: bool, tmp_path: Path) -> None:
    whole = callback(guard=True)
    fit(tmp_path / "whole", whole, num_train_epochs=2)
    fit(tmp_path / "part", callback(guard=True), max_steps=30, save_strategy="steps", save_steps=30)
    second = callback(guard=True)
    trainer = fit(
        tmp_path / "part",
        second,
        num_train_epochs=2,
        resume=str(tmp_path / "part" / "checkpoint-30"),
        restore_callback_states_from_checkpoint=restore,
    )
    if restore:  # the trainer makes a new callback of what it finds
        second = next(one for one in trainer.callback_handler.callbacks if type(one) is type(second))
    one, two = whole.watching.record, second.watching.record
    assert one.step == two.step == 48
    assert two.history("loss").values == pytest.approx(one.history("loss").values, rel=1e-5)
    assert two.recent("grad_norm").values == pytest.approx(one.recent("grad_norm").values, rel=1e-3)
    assert second.watching.record.facts.steps == 48


def test_orders_change_the_rate_and_stop_the_trainer_well(tmp_path: Path) -> None:
    seen = ordering(callback(), dict(STEERED))
    trainer = fit(tmp_path, seen)
    steered_well(seen)
    assert trainer.state.global_step == 11
