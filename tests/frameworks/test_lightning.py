"""In Lightning one line watches and guards every update, and its state goes through the trainer's checkpoints."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.frameworks.plain import LR, STEERED, needs, ordering, plain, quiet, rows, spoiled_rows, steered_well
from tests.frameworks.plain import loader as loader_of
from tests.frameworks.plain import net as plain_net
from torch import Tensor, nn

import stepsize
from stepsize.errors import InputError

pytestmark = needs("lightning")


def module_of(**options: Any) -> Any:
    lightning = importlib.import_module("lightning")

    class Net(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = plain_net()
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


def fit(module: Any, *callbacks: Any, folder: Path, data: Any = None, resume: Any = None, **options: Any) -> Any:
    lightning = importlib.import_module("lightning")
    validated = options.pop("validated", False)
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **{"max_epochs": 1, **options},
    )
    with quiet():
        trainer.fit(module, loader_of(data), loader_of() if validated else None, ckpt_path=resume, weights_only=True)
    return trainer


def callback(guard: bool = False, **options: Any) -> Any:
    return importlib.import_module("stepsize.frameworks.lightning").Stepsize(guard, **options)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("clip", [None, 0.7])
def test_signals_are_those_of_a_plain_loop(accumulate: int, clip: float | None, tmp_path: Path) -> None:
    seen = callback()
    fit(
        module_of(dict=clip is None),
        seen,
        folder=tmp_path,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=clip,
        max_epochs=2,
    )
    assert not seen.watching.broken
    plain(epochs=2, accumulate=accumulate, clip=clip).held_to(seen.watching.record)
    assert seen.watching.record.facts.steps == 48 // accumulate


def test_bf16_and_manual_optimization(tmp_path: Path) -> None:
    seen = callback()
    fit(module_of(), seen, folder=tmp_path, precision="bf16-mixed")
    plain(bf16=True).held_to(seen.watching.record)
    seen = callback()
    fit(module_of(manual=True), seen, folder=tmp_path)
    plain().held_to(seen.watching.record)


def test_validation_and_findings_and_the_store(tmp_path: Path) -> None:
    found: list[Any] = []
    logged: list[int] = []
    seen = callback(
        store=tmp_path / "runs.db", name="net", on_finding=found.append, log_to=lambda _, step: logged.append(step)
    )
    fit(module_of(), seen, folder=tmp_path, max_epochs=3, validated=True)
    record = seen.watching.record
    assert record.recent("val_loss").steps.tolist() == [23, 47, 71]
    assert record.step == 72
    with stepsize.Store.open(tmp_path / "runs.db") as store:
        from stepsize.monitor.saved_runs import read_run

        kept = read_run(store, "net")
    assert (kept.head.status, kept.head.steps) == ("done", 72)
    assert [one.code for one in found] == [one.code for one in seen.findings]
    assert seen.verdict.code
    assert seen.report().steps == 72
    assert {0, 23, 47, 71} <= set(logged)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_guard_goes_back_across_epochs_and_the_training_ends_well(accumulate: int, tmp_path: Path) -> None:
    unguarded = module_of()
    fit(unguarded, folder=tmp_path, data=spoiled_rows(20), accumulate_grad_batches=accumulate)
    assert bool(unguarded.net[0].weight.isnan().any())
    module = module_of(scheduler=lambda optimizer: stepsize.bind("cosine", optimizer, steps=96 // accumulate))
    seen = callback(guard=True, every=5)
    trainer = fit(
        module, seen, folder=tmp_path, data=spoiled_rows(20), accumulate_grad_batches=accumulate, max_epochs=4
    )
    assert seen.actions[0].kind == "rollback"
    assert all(act.done for act in seen.actions)
    assert len(seen.actions) == 4  # the bad batch comes in each epoch
    assert trainer.global_step == 96 // accumulate == seen.watching.record.step
    assert seen.stopped is None
    x, y = rows()
    with torch.no_grad():
        assert float(nn.functional.mse_loss(module.net(x), y)) < 1
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    assert rate == pytest.approx(0, abs=1e-3)  # the schedule went on to its end


def test_a_guard_that_gives_up_stops_the_trainer(tmp_path: Path) -> None:
    x, y = rows()
    seen = callback(guard=True, every=5, retries=2)
    module = module_of()
    bad = (torch.cat([x[:100], x[100:] * math.nan]), y)
    trainer = fit(module, seen, folder=tmp_path, data=bad, max_epochs=4)
    assert seen.stopped is not None
    assert trainer.global_step < 40
    assert bool(module.net[0].weight.isfinite().all())


def test_its_state_goes_through_the_checkpoints(tmp_path: Path) -> None:
    whole = callback(guard=True)
    fit(module_of(), whole, folder=tmp_path, max_epochs=4)
    first = callback(guard=True)
    trainer = fit(module_of(), first, folder=tmp_path, max_epochs=2)
    with quiet():
        trainer.save_checkpoint(tmp_path / "here.ckpt")
    second = callback(guard=True)
    fit(module_of(), second, folder=tmp_path, max_epochs=4, resume=tmp_path / "here.ckpt")
    one, two = whole.watching.record, second.watching.record
    assert two.step == one.step == 96
    assert two.history("loss").values == pytest.approx(one.history("loss").values, rel=1e-5)
    assert two.recent("grad_norm").values[:64] == pytest.approx(one.recent("grad_norm").values[:64], rel=1e-3)


def test_resumed_right_after_a_rollback_the_rest_is_the_same(tmp_path: Path) -> None:
    def rates(epochs: int, resume: Any = None) -> tuple[Any, Any]:
        seen = callback(guard=True, every=5, rewarm=20)
        trainer = fit(module_of(), seen, folder=tmp_path, data=spoiled_rows(20), max_epochs=epochs, resume=resume)
        return seen, trainer

    whole, _ = rates(2)
    first, trainer = rates(1)
    assert [act.kind for act in first.actions] == ["rollback"]
    with quiet():
        trainer.save_checkpoint(tmp_path / "low.ckpt")
    second, _ = rates(2, tmp_path / "low.ckpt")
    one, two = whole.watching.record, second.watching.record
    assert one.recent("lr/0").values[24:41] == pytest.approx(LR * (0.5 + 0.5 * (np.arange(24, 41) - 21) / 20))
    assert two.recent("lr/0").values == pytest.approx(one.recent("lr/0").values)
    assert two.recent("loss").values[:44] == pytest.approx(one.recent("loss").values[:44], rel=1e-5, nan_ok=True)
    assert [act.step for act in second.actions] == [act.step for act in whole.actions]


def test_a_second_writer_of_the_rate_is_honored(tmp_path: Path) -> None:
    def plateau(optimizer: Any) -> Any:
        reduce = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold=10.0)
        return {"scheduler": reduce, "monitor": "val_loss"}

    seen = callback(guard=True)
    fit(module_of(scheduler=plateau), seen, folder=tmp_path, max_epochs=3, validated=True)
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
    trainer = fit(module, Unfreeze(), seen, folder=tmp_path, max_epochs=3, data=spoiled_rows(1))
    assert not seen.watching.broken
    assert seen.actions[0].kind == "rollback"
    assert len(trainer.optimizers[0].param_groups) == 2
    assert seen.watching.record.last("lr/1") > 0
    assert any("net.0" in layer for layer in seen.watching.record.layers())
    assert bool(module.net[0].weight.isfinite().all())


def test_unknown_options_are_told_before_the_training() -> None:
    with pytest.raises(InputError, match=r"option must be one of: .*got 'stpes'"):
        callback(stpes=3)
    with pytest.raises(InputError, match="Pass guard=True with it"):
        callback(every=3)


@pytest.mark.parametrize("guard", [False, True])
def test_orders_change_the_rate_and_stop_the_trainer_well(guard: bool, tmp_path: Path) -> None:
    seen = ordering(callback(guard=guard), dict(STEERED))
    trainer = fit(module_of(), seen, folder=tmp_path)
    steered_well(seen)
    assert trainer.global_step == 11
    assert trainer.state.finished
