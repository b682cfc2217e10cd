"""Watching under the setups of real trainings: mixed precision, transformers, two processes, torch.compile."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.monitor.ranks import told_by_two
from tests.monitor.twins import Twin
from torch import Tensor, nn

import stepsize
from stepsize.monitor import watch
from stepsize.training.digest import digest


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.1)
        self.body = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 11)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(self.embedding(x)))
        return out


def _tokens(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return list(torch.randint(11, (count, 8, 12), generator=generator))


def _next(net: nn.Module, x: Tensor) -> Tensor:
    return nn.functional.cross_entropy(net(x[:, :-1]).transpose(1, 2), x[:, 1:])


def _trained(precision: str, *, watched: bool) -> tuple[str, stepsize.Watch | None, Twin]:
    torch.manual_seed(0)
    net = _Transformer()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16", init_scale=1024.0)
    watching = watch(net, optimizer, scaler=scaler if precision == "fp16" else None) if watched else None
    twin = Twin(net)
    torch.manual_seed(1)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    for x in _tokens(12):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            loss = _next(net, x)
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 0.2)
        twin.look()
        scaler.step(optimizer)
        scaler.update()
        if watching is not None:
            watching.step(loss)
    if watching is not None:
        watching.close()
    return digest(dict(net.state_dict())), watching, twin


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_transformer_in_mixed_precision_is_measured_and_not_changed(precision: str) -> None:
    plain, _, _ = _trained(precision, watched=False)
    seen, watching, twin = _trained(precision, watched=True)
    assert watching is not None
    assert not watching.broken
    assert seen == plain
    # of the largest tensors some coordinates are left out
    cosines = watching.record.recent("cosine").values
    assert len(cosines) == 11
    for step, value in enumerate(cosines.tolist(), start=1):
        assert value == pytest.approx(twin.cosine(step), abs=0.02)
    clipped = watching.record.recent("clipped").values
    norms = watching.record.recent("grad_norm").values
    for step in range(12):  # before clipping, without the scale
        after = float(twin.gradients[step].norm())
        assert after == pytest.approx(0.2, rel=1e-3)
        assert norms[step] * clipped[step] == pytest.approx(after, rel=0.05)


def test_layers_of_a_transformer_are_told_apart() -> None:
    _, watching, _ = _trained("fp32", watched=True)
    assert watching is not None
    layers = watching.record.layers()
    assert {"embedding", "head", "body.layers.0.self_attn", "body.layers.1.linear2"} <= set(layers)


def test_a_model_compiled_by_inductor_is_measured_as_the_plain_one() -> None:
    from tests.monitor.test_watching import _batches, _net, _train

    cosines = []
    for compiled in (False, True):
        net = _net()
        model: Any = torch.compile(net, backend="aot_eager") if compiled else net
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        with watch(model, optimizer) as watching:
            _train(model, optimizer, _batches(10), watching=watching)
        assert not watching.broken
        cosines.append(watching.record.recent("cosine").values.tolist())
    assert cosines[0] == pytest.approx(cosines[1], abs=1e-5)


def test_parameters_that_are_replaced_are_told_once_and_the_training_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with caplog.at_level(logging.WARNING, logger="stepsize"), watch(net, optimizer) as watching:
        for number in range(150):
            if number == 10:
                net.weight = nn.Parameter(torch.ones(1, 9))  # grown, as a vocabulary may be
                optimizer.param_groups[0]["params"] = [net.weight]
            width = net.weight.shape[1]
            loss = (net(torch.randn(5, width)) - 1).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            watching.step(loss)
    assert [one.getMessage() for one in caplog.records] == [
        "stepsize.watch stopped watching; training continues: RuntimeError: parameters of the optimizer were "
        "replaced while it was watched; start a new watch"
    ]
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


_SCRIPT = """
net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 1)))
optimizer = torch.optim.SGD(net.parameters(), lr=1e-5)
full = []
with stepsize.watch(net, optimizer, steps=120) as watching:
    for step in range(60):
        loss = update(net, optimizer, torch.randn(32, 4, generator=generator))
        full.append(torch.cat([p.grad.flatten().clone() for p in net.parameters()]))
        watching.step(loss)
told = {
    "broken": watching.broken, "cosines": watching.record.recent("cosine").values.tolist(),
    "twin": [float(a @ b / a.norm() / b.norm()) for a, b in zip(full, full[1:])],
    "verdict": watching.verdict.code, "clipped": watching.record.recent("clipped").finite().values.tolist(),
}
"""


def test_two_processes_see_the_same_signals_of_the_averaged_gradient(tmp_path: Path) -> None:
    one, two = told_by_two(_SCRIPT, tmp_path)
    assert one["broken"] == two["broken"] == ""
    assert one["cosines"] == pytest.approx(two["cosines"], abs=1e-6)
    assert one["cosines"] == pytest.approx(one["twin"], abs=1e-5)
    assert one["clipped"] == []  # gradients change after backward, but that is no clipping
    assert one["verdict"] == two["verdict"] == "too low"
