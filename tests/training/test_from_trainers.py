"""A LightningModule or a Trainer is a task: its step, optimizer, schedule and settings, with nothing written anew."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import stepsize
from stepsize import Task
from stepsize.errors import InputError, TaskError
from stepsize.training import train
from stepsize.training.digest import digest
from stepsize.training.stepping import build_model, build_optimizer


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def data() -> tuple[Tensor, Tensor]:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    return x, x.sum(1, keepdim=True)


def batches() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*data()), batch_size=8)


def module_of(*, form: str = "tensor", interval: str = "step", several: bool = False) -> Any:
    lightning = importlib.import_module("lightning")

    class Net(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(3, 8), nn.Linear(8, 1)

        def training_step(self, batch: Any, number: int) -> Any:
            x, y = batch
            loss = (self.head(self.body(x).tanh()) - y).square().mean()
            self.log("train_loss", loss)
            return {"tensor": loss, "dict": {"loss": loss}, "object": SimpleNamespace(loss=loss)}[form]

        def configure_optimizers(self) -> Any:
            groups = [{"params": self.body.parameters(), "lr": 1e-3}, {"params": self.head.parameters(), "lr": 1e-2}]
            optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.5)
            if several:
                return [optimizer, torch.optim.SGD(self.parameters(), lr=1.0)]
            steps = self.trainer.estimated_stepping_batches
            if interval == "epoch":
                return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

        def train_dataloader(self) -> Any:
            return batches()

    return Net()


@needs("lightning")
@pytest.mark.parametrize("form", ["tensor", "dict", "object"])
def test_a_lightning_module_is_a_task(form: str) -> None:
    lightning = importlib.import_module("lightning")
    module = module_of(form=form)
    before = digest(dict(module.state_dict()))
    trainer = lightning.Trainer(
        max_epochs=6, gradient_clip_val=0.5, accumulate_grad_batches=2, accelerator="cpu", logger=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = Task.from_lightning(module, trainer=trainer, device="cpu")
        run = train(task, 0.3)
    assert (task.horizon, task.accumulate, task.clip, task.precision) == (24, 2, 0.5, "fp32")
    assert (task.name, task.optimizer_name) == ("Net", "SGD")
    model = build_model(task)
    optimizer = build_optimizer(task, model, 0.05)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.005, 0.05])
    assert optimizer.param_groups[0]["momentum"] == 0.5
    assert task.factor is not None
    assert task.factor(12) == pytest.approx(0.5)
    assert run.losses[-1] < 0.5 * run.losses[0]
    assert digest(dict(module.state_dict())) == before


@needs("lightning")
def test_the_same_updates_as_lightning_makes(tmp_path: Path) -> None:
    lightning = importlib.import_module("lightning")
    torch.manual_seed(0)
    module = module_of()
    task = Task.from_lightning(module, epochs=3, device="cpu")
    run = train(task, 1e-2)
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module)
    assert run.model is not None
    for name, value in module.state_dict().items():
        assert torch.allclose(value, run.model.state_dict()[name], atol=1e-6), name


@needs("lightning")
def test_schedules_by_epochs_data_modules_and_what_is_refused() -> None:
    lightning = importlib.import_module("lightning")

    class Data(lightning.LightningDataModule):  # type: ignore[name-defined, misc]
        def setup(self, stage: str) -> None:
            self.kept = batches()

        def train_dataloader(self) -> Any:
            return self.kept

        def val_dataloader(self) -> Any:
            return [self.kept]

    task = Task.from_lightning(module_of(interval="epoch"), Data(), epochs=4)
    assert task.val is task.train
    assert task.factor is not None
    assert [task.factor(step) for step in (0, 7, 8, 31)] == [1.0, 1.0, 0.5, 0.125]
    with pytest.raises(TaskError, match=r"optimizer must be one torch\.optim\.Optimizer"):
        Task.from_lightning(module_of(several=True), Data(), epochs=4)


@needs("lightning")
def test_the_parts_are_taken_as_people_type_them() -> None:
    lightning = importlib.import_module("lightning")
    trainer = lightning.Trainer(max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False)

    class Data(lightning.LightningDataModule):  # type: ignore[name-defined, misc]
        train_dataloader = val_dataloader = staticmethod(batches)

    torch.manual_seed(0)
    module, loader, data = module_of(), batches(), Data()
    verbs: Any = stepsize  # whose types are those of a task
    same = [
        verbs.train(*given, 0.01, **options)
        for given, options in (
            (((module, (loader, loader), trainer),), {}),
            ((module, loader, loader, trainer), {}),
            (((trainer, module, loader, loader),), {}),
            ((module, data, trainer), {}),
            ((trainer, module, data), {}),
            ((module,), {"datamodule": data, "trainer": trainer}),
            ((module,), {"train_dataloaders": loader, "val_dataloaders": loader, "trainer": trainer}),
            ((module, [*loader], [*loader], trainer), {}),
        )
    ]
    assert len({(tuple(run.losses), run.val_loss) for run in same}) == 1
    assert same[0].val_loss is not None
    parts = (module, data, trainer)
    assert verbs.find(*parts, 0.05, 2).lr is not None
    assert len(verbs.range_test(*parts, steps=60).losses) >= 10
    assert verbs.sweep(*parts, (1e-3, 1e-1), trials=3, seeds=1, repeats=1).best is not None
    assert verbs.compare(*parts, ["sgd", "adam"], trials=4, seeds=1).contenders
    assert (verbs.profile(*parts)["critical rate at the start"].value or 0) > 0
    assert verbs.counterfactual(*parts, 0.01, repeats=1).branches
    assert verbs.follow(*parts, 0.01).cost
    assert verbs.watch_task(*parts, 0.01).report.steps == 64
    with pytest.raises(TaskError, match=r"task must be a stepsize\.Task, a LightningModule, \(module, data\)"):
        stepsize.find(nn.Linear(3, 1))
    with pytest.raises(InputError, match="batches must be an iterable"):
        stepsize.range_test(lambda _: 0.0, torch.optim.SGD([torch.ones(1, requires_grad=True)]))
    with pytest.raises(TaskError, match="data must be a data module, a loader, or a loader and a validation loader"):
        verbs.find(module, loader, loader, loader)
    with pytest.raises(InputError, match="until must be a fraction between 0 and 1; got 'adam'"):
        verbs.find(*parts, "adam")


@needs("lightning")
def test_hooks_that_change_the_data_are_called_and_those_that_change_updates_refused() -> None:
    lightning = importlib.import_module("lightning")
    base = type(module_of())

    class Doubled(base):  # type: ignore[misc, valid-type]
        def on_after_batch_transfer(self, batch: Any, number: int) -> Any:
            return batch[0], 2 * batch[1]

    torch.manual_seed(0)
    first = train(Task.from_lightning(module_of(), batches(), epochs=1), 1e-9).losses[0]
    torch.manual_seed(0)
    assert train(Task.from_lightning(Doubled(), batches(), epochs=1), 1e-9).losses[0] > 2 * first
    hooks = ("optimizer_step", "configure_gradient_clipping", "lr_scheduler_step", "backward", "optimizer_zero_grad")
    for hook in hooks:
        own = type("Own", (base,), {hook: lambda *_, **__: None})
        with pytest.raises(TaskError, match=rf"module must be Lightning's own in a search; got 'Own\.{hook}'"):
            Task.from_lightning(own, batches(), epochs=1)

    def refused(match: str, **options: Any) -> None:
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, **options)
        with pytest.raises(TaskError, match=match):
            Task.from_lightning(module_of(), batches(), trainer=trainer)

    callbacks = importlib.import_module("lightning.pytorch.callbacks")
    refused("gradient_clip_algorithm must be 'norm'", gradient_clip_val=0.5, gradient_clip_algorithm="value")
    refused("precision must be one of: 16-mixed", precision="64-true")
    refused("BaseFinetuning does", callbacks=[callbacks.BackboneFinetuning()])
    refused("StochasticWeightAveraging does", callbacks=[callbacks.StochasticWeightAveraging(1e-2)])
    limited = lightning.Trainer(max_epochs=4, accelerator="cpu", logger=False, limit_train_batches=0.5)
    assert Task.from_lightning(module_of(), batches(), trainer=limited).horizon == 16


@needs("lightning")
def test_the_command_line_takes_a_module_with_its_data(tmp_path: Path) -> None:
    from stepsize.cli.options import TaskOptions
    from stepsize.cli.resolve import opened_task
    from stepsize.study.remote import as_task_source

    (tmp_path / "net.py").write_text(
        "from tests.training.test_from_trainers import batches, module_of\n"
        "pair = (module_of(), batches())\nmodule = module_of()\ndef made():\n    return module\n"
    )
    for attribute in ("pair", "module", "made"):
        with (
            pytest.raises(TaskError, match="steps must be known"),
            opened_task(TaskOptions(f"{tmp_path}/net.py:{attribute}")),
        ):
            pass  # everything but the horizon is known
    with pytest.raises(TaskError, match="steps must be known"):
        as_task_source(f"{tmp_path}/net.py:pair").build()


@needs("lightning")
def test_what_a_module_reads_off_its_trainer() -> None:
    seen: list[tuple[Any, ...]] = []
    base = type(module_of())

    class Net(base):  # type: ignore[misc, valid-type]
        def training_step(self, batch: Any, number: int) -> Any:
            if self.training:
                (group,) = self.optimizers().param_groups[:1]
                seen.append((number, self.global_step, self.current_epoch, group["lr"], self.lr_schedulers()))
            self.log_dict({"epoch": float(self.current_epoch)}, sync_dist=True)
            return super().training_step(batch, number)

    task = Task.from_lightning(Net, batches(), epochs=3, accumulate=2, device="cpu", schedule=None)
    train(task, 0.1)
    distinct = list(dict.fromkeys(one[:3] for one in seen))  # the first batch is tried before the run
    assert distinct[:3] + distinct[-1:] == [(0, 0, 0), (1, 0, 0), (2, 1, 0), (23, 11, 2)]
    assert max(one[3] for one in seen) == pytest.approx(0.01)
    seen.clear()
    assert stepsize.sweep(task, lr=(1e-3, 1e-1), trials=2, seeds=1, repeats=1).runs  # also in copies of the module

    class Manual(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

    with pytest.raises(TaskError, match="module must use automatic optimization; got 'Manual'"):
        Task.from_lightning(Manual, batches(), epochs=3)
    with pytest.raises(TaskError, match="data must have a train_dataloader"):
        Task.from_lightning(lightning_module_without_data(), epochs=3)


def lightning_module_without_data() -> Any:
    lightning = importlib.import_module("lightning")

    class Bare(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def training_step(self, batch: Any, number: int) -> Any: ...

    return Bare()


class Rows(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x, y = data()
        return {"x": x[index], "labels": y[index]}


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 1)
        self.norm = nn.LayerNorm(1)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        predicted = self.net(x)
        return {"loss": (predicted - labels).square().mean() + 0 * self.norm(predicted).sum(), "logits": predicted}


def trainer_of(folder: Path, **options: Any) -> Any:
    transformers = importlib.import_module("transformers")
    more = options.pop("trainer", {})
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=8, use_cpu=True, report_to=[], disable_tqdm=True,
        save_strategy="no", **options,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.Trainer(
        **{"model": Regression(), "args": arguments, "train_dataset": Rows(), "eval_dataset": Rows(), **more}
    )


@needs("transformers")
def test_a_trainer_of_transformers_is_a_task(tmp_path: Path) -> None:
    trainer = trainer_of(
        tmp_path,
        num_train_epochs=5,
        gradient_accumulation_steps=2,
        max_grad_norm=0.7,
        weight_decay=0.1,
        warmup_steps=4,
        lr_scheduler_type="cosine",
    )
    before = digest(dict(trainer.model.state_dict()))
    task = Task.from_trainer(trainer)
    assert (task.horizon, task.accumulate, task.clip, task.name) == (20, 2, 0.7, "Regression")
    assert task.optimizer_name == "AdamW"
    model = build_model(task)
    optimizer = build_optimizer(task, model, 0.05)
    assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0.0, 0.1]
    assert task.factor is not None
    assert [task.factor(step) for step in (0, 2, 4)] == pytest.approx([0, 0.5, 1])
    more = Task.from_trainer(trainer, accumulate=1)  # whose schedule is stretched over the steps that are then made
    assert more.horizon == 40
    assert more.factor is not None
    assert [more.factor(step) for step in (4, 22, 40)] == pytest.approx([1, 0.5, 0])
    run = train(task, 0.1)
    assert run.losses[-1] < 0.8 * run.losses[0]
    assert trainer.optimizer is None
    assert trainer.lr_scheduler is None
    assert digest(dict(trainer.model.state_dict())) == before


@needs("transformers")
def test_a_trainer_with_an_optimizer_and_a_bound_schedule_of_its_own(tmp_path: Path) -> None:
    model = Regression()
    groups = [{"params": [model.net.weight], "lr": 0.1}, {"params": [model.net.bias], "lr": 0.02}]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)
    bound = stepsize.bind("cosine warmup=10%", optimizer, steps=40)
    task = Task.from_trainer(
        trainer_of(tmp_path, max_steps=40, trainer={"model": model, "optimizers": (optimizer, bound)})
    )
    made = build_optimizer(task, build_model(task), 1.0)
    assert [group["lr"] for group in made.param_groups] == pytest.approx([1.0, 0.2])
    assert made.param_groups[1]["nesterov"] is True
    assert task.horizon == 40
    assert str(task.schedule) == str(bound.schedule.rate)
    bound.release()


@needs("transformers")
def test_a_trainer_with_its_own_loader_or_step(tmp_path: Path) -> None:
    transformers = importlib.import_module("transformers")

    class Half(transformers.Trainer):  # type: ignore[name-defined, misc]
        def get_train_dataloader(self) -> Any:
            return DataLoader(Rows(), batch_size=32)

    class Own(transformers.Trainer):  # type: ignore[name-defined, misc]
        def training_step(self, *given: Any, **more: Any) -> Any: ...

    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), num_train_epochs=3, use_cpu=True, report_to=[])
    given = {"model": Regression(), "args": arguments, "train_dataset": Rows()}
    task = Task.from_trainer(Half(**given))
    assert task.horizon == 6
    assert len(train(task, 0.1).losses) == 6
    with pytest.raises(TaskError, match=r"trainer must be that of transformers; got 'Own\.training_step'"):
        Task.from_trainer(Own(**given))


@needs("transformers")
@needs("peft")
def test_adapters_are_trained_alone_and_find_answers(tmp_path: Path) -> None:
    transformers, peft = importlib.import_module("transformers"), importlib.import_module("peft")
    config = transformers.BertConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8, initializer_range=0.5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    tokens = torch.randint(16, (64, 4))
    rows = [{"input_ids": one, "labels": (one[0] > 7).long()} for one in tokens]
    adapters = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what peft asks transformers for is deprecated there
        model = peft.get_peft_model(transformers.BertForSequenceClassification(config), adapters)
    before = digest(dict(model.state_dict()))
    trainer = trainer_of(
        tmp_path,
        max_steps=60,
        trainer={"model": model, "train_dataset": rows, "eval_dataset": rows},
    )
    task = Task.of(trainer)
    trained = [p for group in build_optimizer(task, build_model(task), 0.1).param_groups for p in group["params"]]
    assert sum(p.numel() for p in trained) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = stepsize.find(trainer, budget=1)
    assert found.lr is not None
    assert digest(dict(model.state_dict())) == before
