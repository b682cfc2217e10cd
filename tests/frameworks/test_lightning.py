"""What only Lightning has: its hooks, its fine-tuning callbacks, its checkpoints right after a rollback."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.frameworks.plain import LR, needs, net, plain, quiet, spoiled_rows
from tests.frameworks.trainers import TRAINERS, module_of
from tests.frameworks.trainers import fit_lightning as fit
from torch import nn

import stepsize

pytestmark = needs("lightning")

callback = TRAINERS["lightning"].callback


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_bound_schedule_goes_on_to_its_end_after_rollbacks(interval: str, tmp_path: Path) -> None:
    def schedule(optimizer: Any) -> Any:
        return {"scheduler": stepsize.bind("cosine", optimizer, steps=96), "interval": interval}

    seen = callback(guard=True, every=5)
    fitted = fit(tmp_path, seen, module=module_of(scheduler=schedule), data=spoiled_rows(20), epochs=4)
    assert [act.kind for act in seen.actions] == ["rollback"] * 4
    assert fitted.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-3)


def test_a_module_that_clips_steps_and_schedules_by_itself(tmp_path: Path) -> None:
    class Net(type(module_of())):  # type: ignore[misc]
        def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
            self.clip_gradients(optimizer, 0.7, "norm")

    seen = callback()
    fit(tmp_path, seen, module=Net(), epochs=2)
    plain(epochs=2, clip=0.7).held_to(seen.watching.record)

    class Warm(type(module_of())):  # type: ignore[misc]
        def optimizer_step(self, epoch: int, batch: int, optimizer: Any, closure: Any) -> None:
            if batch % 3 == 2:
                closure()  # a batch without an update
            else:
                optimizer.step(closure=closure)
            optimizer.param_groups[0]["lr"] = LR * min(1.0, (batch + 2) / 10)

        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            raise AssertionError("there is none")

    seen = callback(guard=True)
    fit(tmp_path, seen, module=Warm())
    record = seen.watching.record
    assert not seen.watching.broken
    assert (record.step, record.skipped) == (23, 7)  # whether the last batch will be part of an update is unknown
    rates = dict(zip(record.recent("lr/0").steps.tolist(), record.recent("lr/0").values.tolist(), strict=True))
    assert rates == pytest.approx({n: LR * (1 if not n else min(1.0, (n + 1) / 10)) for n in range(24) if n % 3 != 2})
    assert seen.actions == ()


def test_two_optimizers_that_the_module_steps_by_itself(tmp_path: Path) -> None:
    class Two(type(module_of())):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.other = net()
            self.automatic_optimization = False

        def training_step(self, batch: Any, number: int) -> Any:
            x, y = batch
            losses = [nn.functional.mse_loss(one(x), y) for one in (self.net, self.other)]
            for place, (loss, optimizer) in enumerate(zip(losses, self.optimizers(), strict=True)):
                if place and number % 2:
                    continue  # the second one every other batch
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return losses[0]

        def configure_optimizers(self) -> Any:
            return [
                torch.optim.SGD(part.parameters(), lr=lr, momentum=0.5)
                for part, lr in ((self.net, LR), (self.other, LR / 2))
            ]

    seen = callback()
    fit(tmp_path, seen, module=Two())
    record = seen.watching.record
    assert record.facts.steps == 24
    assert record.recent("lr/1").steps.tolist() == list(range(0, 24, 2))
    plain().held_to(record, layers=False)
    seen = callback()
    fit(tmp_path, seen, module=Two(), epochs=-1, max_steps=30)  # Lightning counts the steps of both
    assert seen.watching.record.facts.steps == 15


def test_resumed_right_after_a_rollback_the_rest_is_the_same(tmp_path: Path) -> None:
    def rates(epochs: int, resume: Any = None) -> tuple[Any, Any]:
        seen = callback(guard=True, every=5, rewarm=20)
        return seen, fit(tmp_path, seen, data=spoiled_rows(20), epochs=epochs, resume=resume).trainer

    whole, _ = rates(2)
    first, trainer = rates(1)
    assert [act.kind for act in first.actions] == ["rollback"]
    with quiet():
        trainer.save_checkpoint(tmp_path / "low.ckpt")
    second, _ = rates(2, tmp_path / "low.ckpt")
    one, two = whole.watching.record, second.watching.record
    rising = one.recent("lr/0").since(24).values[:16]  # up to the next rollback
    assert rising == pytest.approx(LR * (0.5 + 0.5 * (np.arange(24, 40) - 21) / 20))
    assert two.recent("lr/0").values == pytest.approx(one.recent("lr/0").values)
    assert two.recent("loss").values == pytest.approx(one.recent("loss").values, rel=1e-5)
    assert [act.step for act in second.actions] == [act.step for act in whole.actions]


def test_a_second_writer_of_the_rate_is_honored(tmp_path: Path) -> None:
    def plateau(optimizer: Any) -> Any:
        reduce = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=10.0)
        return {"scheduler": reduce, "monitor": "val_loss"}

    seen = callback(guard=True)
    fit(tmp_path, seen, module=module_of(scheduler=plateau), epochs=3, validated=True)
    rates = seen.watching.record.recent("lr/0").values
    assert rates == pytest.approx(LR * 0.1 ** (np.arange(72) // 24))
    assert seen.actions == ()


def test_groups_that_are_added_in_the_middle(tmp_path: Path) -> None:
    finetuning = importlib.import_module("lightning.pytorch.callbacks").BaseFinetuning

    class Unfreeze(finetuning):  # type: ignore[misc, valid-type]
        def freeze_before_training(self, pl_module: Any) -> None:
            self.freeze(pl_module.net[0])

        def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
            if epoch == 1:
                self.unfreeze_and_add_param_group(pl_module.net[0], optimizer, lr=0.01, initial_denom_lr=1)

    module = module_of()
    module.configure_optimizers = lambda: torch.optim.SGD(
        [p for p in module.parameters() if p.requires_grad], lr=LR, momentum=0.5
    )
    seen = callback(guard=True, every=5, retries=9)
    trainer = fit(tmp_path, Unfreeze(), seen, module=module, epochs=3, data=spoiled_rows(1)).trainer
    assert not seen.watching.broken
    assert seen.actions[0].kind == "rollback"
    assert len(trainer.optimizers[0].param_groups) == 2
    assert seen.watching.record.last("lr/1") > 0
    assert any("net.0" in layer for layer in seen.watching.record.layers())
    assert bool(module.net[0].weight.isfinite().all())
