"""In every kind of loop each update is measured once, after backward and clipping, right before the weights change.

One reference, a plain loop whose full gradients and weights are kept, holds each signal of all of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.frameworks.plain import LR, loader, needs, net, plain
from tests.frameworks.trainers import TRAINERS, Regression, module_of
from torch import Tensor, nn

import stepsize
from stepsize.monitor import Watch

EPOCHS = 2


@dataclass(frozen=True)
class Recipe:
    """How the two epochs are trained."""

    accumulate: int = 1
    clip: float | None = None
    bf16: bool = False

    @property
    def steps(self) -> int:
        return EPOCHS * 24 // self.accumulate


def _model() -> tuple[nn.Module, Any]:
    model = net()
    return model, torch.optim.SGD(model.parameters(), lr=LR, momentum=0.5)


def _batches(recipe: Recipe, batches: Any = None) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Yield batches, and whether an update is due after each."""
    number = 0
    for _ in range(EPOCHS):
        for x, y in batches or loader():
            number += 1
            yield x, y, number % recipe.accumulate == 0


def _loss(model: Any, x: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bf16):
        return nn.functional.mse_loss(model(x), y)


def _clip(model: nn.Module, recipe: Recipe) -> None:
    if recipe.clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)


def _plain(recipe: Recipe, *, set_to_none: bool = True) -> Watch:
    model, optimizer = _model()
    with stepsize.watch(model, optimizer, steps=recipe.steps) as watching:
        for x, y, due in _batches(recipe):
            loss = _loss(model, x, y, recipe)
            torch.autograd.backward(loss / recipe.accumulate)
            if due:
                _clip(model, recipe)
                optimizer.step()
                optimizer.zero_grad(set_to_none=set_to_none)
            watching.step(loss)
    return watching


def _keeping_gradients(recipe: Recipe) -> Watch:
    return _plain(recipe, set_to_none=False)


def _updates_only(recipe: Recipe) -> Watch:
    model, optimizer = _model()
    losses = []
    with stepsize.watch(model, optimizer, steps=recipe.steps) as watching:
        for x, y, due in _batches(recipe):
            loss = _loss(model, x, y, recipe)
            losses.append(loss.detach())
            torch.autograd.backward(loss / recipe.accumulate)
            if due:
                _clip(model, recipe)
                optimizer.step()
                watching.step(torch.stack(losses[-recipe.accumulate :]).mean())
                optimizer.zero_grad()
    return watching


def _closure(recipe: Recipe) -> Watch:
    model, optimizer = _model()
    with stepsize.watch(model, optimizer, steps=recipe.steps) as watching:
        for x, y, due in _batches(recipe):

            def backward(x: Tensor = x, y: Tensor = y, due: bool = due) -> Tensor:
                loss = _loss(model, x, y, recipe)
                torch.autograd.backward(loss / recipe.accumulate)
                if due:
                    _clip(model, recipe)
                return loss

            if not due:
                watching.step(backward())
                continue
            loss = optimizer.step(backward)
            optimizer.zero_grad()
            watching.step(loss)
    return watching


def _scaler(recipe: Recipe) -> Watch:
    model, optimizer = _model()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=5)
    with stepsize.watch(model, optimizer, steps=recipe.steps, scaler=scaler) as watching:
        for x, y, due in _batches(recipe):
            loss = _loss(model, x, y, recipe)
            torch.autograd.backward(scaler.scale(loss / recipe.accumulate))
            if due:
                if recipe.clip is not None:
                    scaler.unscale_(optimizer)
                _clip(model, recipe)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
            watching.step(loss)
    return watching


def accelerator_of(**options: Any) -> Any:
    """Return a new Accelerator, with nothing of the one before."""
    for state in ("PartialState", "AcceleratorState", "GradientState"):
        importlib.import_module("accelerate.state").__dict__[state]._reset_state()
    return importlib.import_module("accelerate").Accelerator(cpu=True, **options)


def _accelerate(recipe: Recipe) -> Watch:
    precision = "bf16" if recipe.bf16 else "no"
    accelerator = accelerator_of(gradient_accumulation_steps=recipe.accumulate, mixed_precision=precision)
    model, optimizer, batches = accelerator.prepare(*_model(), loader())
    with stepsize.watch(model, optimizer, steps=recipe.steps) as watching:
        for x, y, _ in _batches(recipe, batches):
            with accelerator.accumulate(model):
                with accelerator.autocast():
                    loss = nn.functional.mse_loss(model(x), y)
                accelerator.backward(loss)
                if accelerator.sync_gradients and recipe.clip is not None:
                    accelerator.clip_grad_norm_(model.parameters(), recipe.clip)
                optimizer.step()
                optimizer.zero_grad()
                watching.step(loss)
    return watching


def _fabric(recipe: Recipe) -> Watch:
    precision = "bf16-mixed" if recipe.bf16 else None
    fabric = importlib.import_module("lightning").Fabric(accelerator="cpu", devices=1, precision=precision)
    inner, optimizer = _model()
    model, optimizer = fabric.setup(inner, optimizer)
    with stepsize.watch(model, optimizer, steps=recipe.steps) as watching:
        for x, y, due in _batches(recipe, fabric.setup_dataloaders(loader())):
            with fabric.no_backward_sync(model, enabled=not due):
                loss = nn.functional.mse_loss(model(x), y)
                fabric.backward(loss / recipe.accumulate)
            if due:
                if recipe.clip is not None:
                    fabric.clip_gradients(model, optimizer, max_norm=recipe.clip)
                optimizer.step()
                optimizer.zero_grad()
            watching.step(loss)
    return watching


def _by(name: str, **what: Any) -> Callable[[Recipe, Path], Watch]:
    """Return a loop in which a trainer with its callback trains ``what``."""

    def loop(recipe: Recipe, folder: Path) -> Watch:
        trainer, options = TRAINERS[name], {key: make() for key, make in what.items()}
        precision = {"bf16": True} if recipe.bf16 else {}
        seen = trainer.callback()
        more = {"accumulate": recipe.accumulate, "clip": recipe.clip, **precision, **options}
        trainer.fit(folder, seen, epochs=EPOCHS, **more)
        return seen.watching  # type: ignore[no-any-return]

    return loop


def _own(loop: Callable[[Recipe], Watch]) -> Callable[[Recipe, Path], Watch]:
    return lambda recipe, _: loop(recipe)


LOOPS: dict[str, tuple[Any, str, str]] = {  # the loop, the package that it needs, what it cannot do
    "plain": (_own(_plain), "torch", ""),
    "gradients set to zero": (_own(_keeping_gradients), "torch", ""),
    "only updates are reported": (_own(_updates_only), "torch", ""),
    "closure": (_own(_closure), "torch", ""),
    "scaler": (_own(_scaler), "torch", ""),
    "Accelerate": (_own(_accelerate), "accelerate", ""),
    "Fabric": (_own(_fabric), "lightning", ""),
    "Lightning": (_by("lightning"), "lightning", ""),
    "Lightning, a dict": (_by("lightning", module=lambda: module_of(dict=True)), "lightning", ""),
    "Lightning, manual": (_by("lightning", module=lambda: module_of(manual=True)), "lightning", "clip accumulate bf16"),
    "Transformers": (_by("transformers"), "transformers", ""),
    "Transformers, an output": (_by("transformers", model=lambda: Regression("output")), "transformers", ""),
    "Keras": (_by("keras"), "keras", "bf16"),
}
RECIPES = {
    "": Recipe(),
    "accumulate": Recipe(accumulate=4),
    "clip": Recipe(clip=0.7),
    "bf16": Recipe(bf16=True),
    "clip accumulate bf16": Recipe(accumulate=4, clip=0.7, bf16=True),
}
CASES = [
    pytest.param(loop, RECIPES[words], name, marks=needs(package), id=f"{name} {words}".strip())
    for name, (loop, package, cannot) in LOOPS.items()
    for words in RECIPES
    if not set(words.split()) & set(cannot.split())
]


@pytest.mark.parametrize(("loop", "recipe", "name"), CASES)
def test_signals_are_those_of_the_reference(loop: Any, recipe: Recipe, name: str, tmp_path: Path) -> None:
    reference = plain(epochs=EPOCHS, accumulate=recipe.accumulate, clip=recipe.clip, bf16=recipe.bf16)
    if name == "Keras":  # its kernels are transposed
        for vectors in (reference.twin.gradients, reference.twin.weights):
            vectors[:] = [torch.cat([one[:48].reshape(12, 4).T.flatten(), one[48:]]) for one in vectors]
    watching = loop(recipe, tmp_path)
    assert not watching.broken
    record = watching.record
    reference.held_to(record)
    assert record.facts.steps == recipe.steps
    assert record.recent("lr/0").values == pytest.approx([LR] * recipe.steps)
