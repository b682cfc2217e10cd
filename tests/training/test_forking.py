"""Forks of one training: paired on their batches, equal to a training made by hand, and honest about noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import stepsize
from stepsize.errors import InputError
from stepsize.training.population.forking import counterfactual


def _task(steps: int = 160, noise: float = 0.1, batch_size: int = 32) -> stepsize.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 8, generator=generator)
    y = x.sum(1, keepdim=True) + noise * torch.randn(256, 1, generator=generator)
    return stepsize.Task(
        model=lambda: nn.Linear(8, 1),
        loss=nn.functional.mse_loss,
        train=(x[:192], y[:192]),
        val=(x[192:], y[192:]),
        optimizer="sgd",
        steps=steps,
        batch_size=batch_size,
        device="cpu",
    )


def test_it_is_the_training_up_to_the_fork() -> None:
    task = _task()
    forked = counterfactual(task, 0.02)
    np.testing.assert_allclose(forked.losses, stepsize.train(task, 0.02).losses[:40], rtol=1e-5)
    assert (forked.step, forked.cooldown) == (40, 20)
    # 40 steps before, two repeats of 20 steps three ways
    assert forked.cost == pytest.approx((40 + 2 * 3 * 20) / 160)


def test_a_rate_that_is_too_low_and_one_that_is_too_high() -> None:
    assert counterfactual(_task(), 1e-3).factor == 2.0
    high = counterfactual(_task(noise=1.0, batch_size=4), 0.17)
    assert high.factor == 0.5
    assert "×0.5 is better" in high.status


def test_gains_are_paired_means_with_their_error() -> None:
    forked = counterfactual(_task(), 0.02, repeats=3)
    same, twice = (one for one in forked.branches if one.times in (1.0, 2.0))
    gains = [(a - b) / abs(a) for a, b in zip(same.values, twice.values, strict=True)]
    assert twice.gain == pytest.approx(np.mean(gains))
    assert twice.error == pytest.approx(np.std(gains, ddof=1) / math.sqrt(3))
    assert same.gain == 0


def test_a_branch_that_diverges_is_reported() -> None:
    forked = counterfactual(_task(), 0.02, times=(1, 1e20))
    assert forked.branches[-1].gain == -math.inf
    assert "×1e20 diverges" in forked.status
    assert forked.factor is None


def test_the_same_seed_gives_the_same_answer() -> None:
    once, again = (counterfactual(_task(), 0.05, seed=3) for _ in range(2))
    assert once.to_json() == again.to_json()


def test_bad_arguments_are_told() -> None:
    task = _task()
    for changes, message in (
        ({"at": 1.5}, "at must be a finite number, above 0, below 1; got 1.5"),
        ({"repeats": 0}, "repeats must be a whole number, at least 1; got 0"),
        ({"times": (0.5, -1.0)}, "times must be positive multiples of the rate"),
    ):
        with pytest.raises(InputError, match=message):
            counterfactual(task, 0.1, **changes)
