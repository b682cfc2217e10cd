"""The trainers whose callbacks keep one contract, each training what the plain loop trains."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.frameworks.plain import BATCH, LR, ROWS, loader, net, quiet, rows
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler

__all__ = ["TRAINERS", "Fitted", "fit_keras", "fit_lightning", "fit_transformers", "keras", "keras_model", "module_of"]


@dataclass(frozen=True)
class Fitted:
    """A training that ended: what the trainer counted, and what it left."""

    steps: int
    parameters: list[Tensor]
    predict: Callable[[Tensor], Tensor]
    trainer: Any

    @property
    def finite(self) -> bool:
        """Whether all weights are."""
        return all(bool(one.isfinite().all()) for one in self.parameters)

    @property
    def loss(self) -> float:
        """The loss of what was to be learned, without spoiled rows."""
        x, y = rows()
        with torch.no_grad():
            return float(nn.functional.mse_loss(self.predict(x), y))


def module_of(**options: Any) -> Any:
    """Return a LightningModule."""
    lightning = importlib.import_module("lightning")

    class Net(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net()
            self.manual = options.get("manual", False)
            self.automatic_optimization = not self.manual

        def training_step(self, batch: Any, number: int) -> Any:
            x, y = batch
            loss: Tensor = nn.functional.mse_loss(self.net(x), y)
            if self.manual:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                return loss
            return {"loss": loss, "more": x} if options.get("dict") else loss

        def validation_step(self, batch: Any, number: int) -> None:
            x, y = batch
            self.log("val_loss", nn.functional.mse_loss(self.net(x), y))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=LR, momentum=0.5)
            make = options.get("scheduler")
            return optimizer if make is None else {"optimizer": optimizer, "lr_scheduler": make(optimizer)}

    return Net()


def fit_lightning(
    folder: Path,
    *callbacks: Any,
    module: Any = None,
    data: Any = None,
    epochs: int = 1,
    accumulate: int = 1,
    clip: float | None = None,
    bf16: bool = False,
    validated: bool = False,
    resume: Any = None,
    **options: Any,
) -> Fitted:
    lightning = importlib.import_module("lightning")
    module = module or module_of()
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        max_epochs=epochs,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=clip,
        precision="bf16-mixed" if bf16 else None,
        **options,
    )
    with quiet():
        trainer.fit(module, loader(data), loader() if validated else None, ckpt_path=resume, weights_only=True)
    return Fitted(trainer.global_step, list(module.parameters()), getattr(module, "net", module), trainer)


class Rows(Dataset[dict[str, Tensor]]):
    """The rows by name."""

    def __init__(self, data: tuple[Tensor, Tensor] | None = None) -> None:
        self._x, self._y = data or rows()

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self._x[index], "labels": self._y[index]}


class Regression(nn.Module):
    """Returns what models return: an output of transformers, an object or a dict with the loss; none without labels."""

    def __init__(self, form: str = "dict") -> None:
        super().__init__()
        self.net = net()
        self._form = form

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        predicted = self.net(x)
        if labels is None:
            return {"logits": predicted}
        loss = nn.functional.mse_loss(predicted, labels)
        if self._form == "output":
            outputs = importlib.import_module("transformers.modeling_outputs")
            return outputs.SequenceClassifierOutput(loss=loss, logits=predicted)
        return SimpleNamespace(loss=loss, logits=predicted) if self._form == "object" else {"loss": loss}


def fit_transformers(
    folder: Path,
    *callbacks: Any,
    model: Any = None,
    data: Any = None,
    epochs: int = 1,
    accumulate: int = 1,
    clip: float | None = None,
    validated: bool = False,
    resume: Any = None,
    own_loss: bool = False,
    **options: Any,
) -> Fitted:
    transformers = importlib.import_module("transformers")
    model = model or Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.5)

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
        num_train_epochs=epochs,
        gradient_accumulation_steps=accumulate,
        max_grad_norm=clip or 0.0,
        eval_strategy="epoch" if validated else "no",
        **{"save_strategy": "no", "logging_steps": 7, **options},
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Rows(data),
        eval_dataset=Rows(),
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
        callbacks=list(callbacks),
    )
    with quiet():
        trainer.train(resume_from_checkpoint=resume)
    return Fitted(trainer.state.global_step, list(model.parameters()), model.net, trainer)


def keras() -> Any:
    """Return Keras on torch."""
    found = importlib.import_module("keras")
    if found.backend.backend() != "torch":
        pytest.skip("Keras runs on another backend; set KERAS_BACKEND=torch")
    return found


def keras_model(optimizer: Any = None, **options: Any) -> Any:
    """Return a compiled model."""
    layers = keras().layers
    plain_net = net()
    with quiet():
        model = keras().Sequential([layers.Input((4,)), layers.Dense(12, activation="tanh"), layers.Dense(1)])
        for layer, linear in zip(model.layers, (plain_net[0], plain_net[2]), strict=True):
            layer.set_weights([linear.weight.detach().numpy().T, linear.bias.detach().numpy()])  # type: ignore[operator]
        made = optimizer or keras().optimizers.SGD(LR, momentum=0.5, **options)
        model.compile(optimizer=made, loss="mse")
    return model


def fit_keras(
    folder: Path,
    *callbacks: Any,
    model: Any = None,
    data: Any = None,
    epochs: int = 1,
    accumulate: int = 1,
    clip: float | None = None,
    validated: bool = False,
) -> Fitted:
    clips = {} if clip is None else {"global_clipnorm": clip}
    model = model or keras_model(gradient_accumulation_steps=accumulate if accumulate > 1 else None, **clips)
    x, y = (part.numpy() for part in (data or rows()))
    held_out = {"validation_data": tuple(part.numpy() for part in rows())} if validated else {}
    with quiet():
        model.fit(
            x, y, batch_size=BATCH, shuffle=False, epochs=epochs, verbose=0, callbacks=list(callbacks), **held_out
        )
        weights = [torch.as_tensor(weight) for weight in model.get_weights()]
    return Fitted(int(model.optimizer.iterations), weights, model, model)


Maker = Callable[..., Any]
"""Makes the callback of a framework."""


def resume_lightning(folder: Path, make: Maker) -> Any:
    """Return a callback that saw four epochs, resumed after the second."""
    trainer = fit_lightning(folder, make(), epochs=2).trainer
    with quiet():
        trainer.save_checkpoint(folder / "here.ckpt")
    seen = make()
    fit_lightning(folder, seen, epochs=4, resume=folder / "here.ckpt")
    return seen


def resume_transformers(folder: Path, make: Maker, **options: Any) -> Any:
    """Return a callback that saw four epochs, resumed in the middle of the second."""
    fit_transformers(folder, make(), max_steps=30, save_strategy="steps", save_steps=30)
    seen = make()
    resume = str(folder / "checkpoint-30")
    trainer = fit_transformers(folder, seen, epochs=4, resume=resume, **options).trainer
    # with restore_callback_states_from_checkpoint the trainer makes a new callback of what it finds
    return next(one for one in trainer.callback_handler.callbacks if type(one) is type(seen))


def resume_keras(folder: Path, make: Maker) -> Any:
    """Return a callback that saw four epochs, resumed after the second."""
    first, second = (make(state=folder / "state.json") for _ in range(2))
    for seen, epochs in ((first, 2), (second, 4)):
        fit_keras(folder, keras().callbacks.BackupAndRestore(folder, delete_checkpoint=False), seen, epochs=epochs)
    return second


@dataclass(frozen=True)
class Trainer:
    """A trainer of another framework."""

    fit: Callable[..., Fitted]
    resume: Callable[..., Any]
    module: str

    def callback(self, guard: bool = False, **options: Any) -> Any:
        """Return the callback of stepsize for it."""
        if self.module == "keras":
            keras()
        return importlib.import_module(f"stepsize.frameworks.{self.module}").Stepsize(guard, **options)


TRAINERS = {
    "lightning": Trainer(fit_lightning, resume_lightning, "lightning"),
    "transformers": Trainer(fit_transformers, resume_transformers, "transformers"),
    "keras": Trainer(fit_keras, resume_keras, "keras"),
}
