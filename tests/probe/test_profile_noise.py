"""The gradient noise scale, against per-example gradients and naive sums."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from stepsize.probe.profiling.noise import _estimates, growth, noise_scale

Array = NDArray[np.float64]


def per_example_gradients(count: int = 96) -> Array:
    """Gradients of a small network's loss on each of ``count`` examples alone, by autograd, shape (count, weights)."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    y = x.sum(1, keepdim=True) + torch.randn(count, 1, generator=generator, dtype=torch.float64)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    rows = []
    for one, target in zip(x, y, strict=True):
        net.zero_grad()
        nn.functional.mse_loss(net(one), target).backward()  # type: ignore[no-untyped-call]
        rows.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    return torch.stack(rows).numpy()


def pieces_of(gradients: Array, sizes: list[int], order: NDArray[np.int64]) -> tuple[Array, Array]:
    """The gram matrix of the mean gradients of pieces of ``sizes``, taken in ``order`` without replacement."""
    ends = np.cumsum([0, *sizes])
    means = np.stack([gradients[order[a:b]].mean(0) for a, b in itertools.pairwise(ends)])
    return means @ means.T, np.asarray(sizes, dtype=np.float64)


def test_pieces_of_one_example_that_are_all_the_data_give_the_exact_variance_and_gradient() -> None:
    gradients = per_example_gradients()
    trace = float(gradients.var(0, ddof=1).sum())
    norm2 = float((gradients.mean(0) ** 2).sum())

    found = noise_scale(gradients @ gradients.T, np.ones(96), population=96)

    assert found is not None
    assert found.trace == pytest.approx(trace, rel=1e-9)
    assert found.norm2 == pytest.approx(norm2, rel=1e-9)
    assert found.examples == pytest.approx(trace / norm2, rel=1e-9)
    assert found.interval[0] < found.examples < found.interval[1]


@pytest.mark.parametrize("sizes", [[8] * 6, [8, 8, 8, 8, 3, 1], [2] * 40], ids=["even", "uneven", "most of the data"])
def test_the_estimates_are_without_bias_whatever_the_pieces(sizes: list[int]) -> None:
    gradients = per_example_gradients()
    rng = np.random.default_rng(0)
    found = [noise_scale(*pieces_of(gradients, sizes, rng.permutation(96)), population=96) for _ in range(150)]
    traces = np.asarray([each.trace for each in found if each is not None])
    norms = np.asarray([each.norm2 for each in found if each is not None])

    for seen, true in ((traces, gradients.var(0, ddof=1).sum()), (norms, (gradients.mean(0) ** 2).sum())):
        assert abs(seen.mean() - true) < 3.5 * seen.std() / math.sqrt(len(seen))


def test_the_size_of_the_training_set_matters_where_the_pieces_are_most_of_it() -> None:
    gradients = per_example_gradients()
    gram, sizes = pieces_of(gradients, [12] * 8, np.random.default_rng(0).permutation(96))
    whole, endless = noise_scale(gram, sizes, population=96), noise_scale(gram, sizes)
    assert whole is not None
    assert endless is not None
    assert whole.norm2 == pytest.approx(float((gradients.mean(0) ** 2).sum()), rel=1e-9)  # all data: nothing to guess
    assert endless.norm2 == pytest.approx(whole.norm2 - whole.trace / 96)


def test_resampled_estimates_are_those_of_a_naive_loop_that_never_pairs_a_piece_with_itself() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((6, 9)) + 0.5
    gram, sizes = vectors @ vectors.T, np.asarray([4.0, 4, 4, 2, 1, 4])
    drawn = [0, 0, 2, 3, 3, 5]
    squares = np.mean([gram[i, i] for i in drawn])
    products = np.mean([gram[i, j] for a, i in enumerate(drawn) for b, j in enumerate(drawn) if a != b and i != j])
    trace = (squares - products) / np.mean([1 / sizes[i] for i in drawn])

    found = _estimates(gram, sizes, np.bincount(drawn, minlength=6)[None].astype(float), 50)

    assert found[0][0] == pytest.approx(trace)
    assert found[1][0] == pytest.approx(products + trace / 50)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(60):
        gradients = 0.3 + rng.standard_normal((48, 60)) / math.sqrt(4)  # noise scale 1 / 0.09 = 11.1
        found = noise_scale(gradients @ gradients.T, np.full(48, 4.0))
        assert found is not None
        held += found.interval[0] <= 1 / 0.09 <= found.interval[1]
    assert 47 <= held <= 59


def test_gradients_without_a_common_direction_leave_the_scale_open_upwards() -> None:
    gradients = np.random.default_rng(3).standard_normal((16, 400))
    gradients -= gradients.mean(0)
    found = noise_scale(gradients @ gradients.T, np.full(16, 2.0))
    assert found is not None
    assert found.examples == math.inf
    assert found.interval[1] == math.inf


def test_too_few_pieces_or_no_gradient_at_all_give_no_scale() -> None:
    assert noise_scale(np.eye(3), np.ones(3)) is None
    assert noise_scale(np.zeros((8, 8)), np.ones(8)) is None


def test_the_same_gradient_everywhere_has_no_noise() -> None:
    found = noise_scale(np.full((8, 8), 2.0), np.full(8, 4.0))
    assert found is not None
    assert (found.examples, found.trace) == (0.0, 0.0)


def test_the_rate_grows_in_proportion_far_below_the_noise_scale_and_no_more_far_above() -> None:
    assert growth(1e6, 10, 40, exponent=1.0) == pytest.approx(4, rel=1e-4)
    assert growth(1e6, 10, 40, exponent=0.5) == pytest.approx(2, rel=1e-4)
    assert growth(1.0, 1e4, 1e6, exponent=1.0) == pytest.approx(1, rel=1e-3)
    assert growth(100.0, 50, 200, exponent=1.0) == pytest.approx(2.0)  # (1 + 2) / (1 + 1/2)
    assert growth(100.0, 50, 200, exponent=1.0) * growth(100.0, 200, 50, exponent=1.0) == pytest.approx(1.0)
