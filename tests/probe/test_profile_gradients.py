"""Gradients of pieces of data, against plain autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.training.small import batches, examples, make_task, network
from torch import nn

from stepsize.errors import TaskError
from stepsize.probe.profiling import gradients as module
from stepsize.probe.profiling.gradients import couples_examples, cut, sample_gradients


def naive_gradient(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()  # type: ignore[no-untyped-call]
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad(set_to_none=True)
    return flat


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def test_inner_products_sizes_and_losses_are_those_of_autograd_piece_by_piece(net: nn.Module) -> None:
    given = batches(44, 8)  # the last has four examples
    sample = sample_gradients(make_task(), net, given, pieces=2)

    pieces = [(x[half], y[half]) for x, y in given for half in (slice(0, len(x) // 2), slice(len(x) // 2, None))]
    naive = torch.stack([naive_gradient(net, x, y) for x, y in pieces]).double()
    assert sample.sizes.tolist() == [len(x) for x, _ in pieces]
    np.testing.assert_allclose(sample.gram, (naive @ naive.T).numpy(), rtol=1e-5, atol=1e-9)
    losses = [nn.functional.mse_loss(net(x), y).item() for x, y in pieces]
    np.testing.assert_allclose(sample.losses, losses, rtol=1e-5)


def test_the_model_keeps_its_weights_and_gradients(net: nn.Module) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sample_gradients(make_task(), net, batches(), pieces=2)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_folded_gradients_keep_their_inner_products(net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = nn.Sequential(nn.Linear(3, 3000), nn.Tanh(), nn.Linear(3000, 1))
    exact = sample_gradients(make_task(), wide, batches()).gram
    monkeypatch.setattr(module, "_SKETCH", 4096)  # of 15 001 numbers
    folded = sample_gradients(make_task(), wide, batches()).gram
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert 0 < np.abs(folded - exact).max() < 6 * np.sqrt(2 / 4096) * scale.max()


def test_parameters_without_gradient_or_with_one_of_zeros_are_named(net: nn.Module) -> None:
    net.register_parameter("idle", nn.Parameter(torch.ones(2)))
    nn.init.zeros_(net[2].weight)  # type: ignore[index]  # nothing reaches the first layer
    sample = sample_gradients(make_task(), net, batches())
    assert sample.silent == ("idle", "0.weight", "0.bias")
    assert np.isfinite(sample.gram).all()


def test_a_loss_that_is_not_finite_is_refused(net: nn.Module) -> None:
    x, y = examples(8)
    with pytest.raises(TaskError, match="loss must be finite on the training data"):
        sample_gradients(make_task(), net, [(x, y * torch.inf)])


def test_batch_norm_couples_examples_only_while_it_trains() -> None:
    model = network()
    assert couples_examples(model)
    assert not couples_examples(model.eval())
    assert not couples_examples(nn.LayerNorm(3))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ((torch.arange(5), torch.arange(5)), [2, 2, 1]),
        ({"x": torch.arange(6), "y": [torch.arange(6)]}, [2, 2, 2]),
        ((torch.arange(2), torch.arange(2)), [1, 1]),
        ((torch.arange(5), torch.arange(4)), [5]),
        ((torch.arange(5), torch.tensor(1.0)), [5]),
    ],
    ids=["tuple", "nested", "fewer examples than pieces", "lengths differ", "a scalar among them"],
)
def test_a_batch_is_cut_where_its_tensors_agree_on_their_length(batch: Any, expected: list[int]) -> None:
    pieces = list(cut(batch, 3))
    firsts = [piece["x"] if isinstance(piece, dict) else piece[0] for piece in pieces]
    assert sorted(len(first) for first in firsts) == sorted(expected)
    whole = batch["x"] if isinstance(batch, dict) else batch[0]
    assert torch.equal(torch.cat(firsts), whole)
