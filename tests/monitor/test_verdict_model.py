"""The networks behind the verdict: the same as torch's, as they were written, and silent where nothing is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stepsize.monitor.rate_signals import RATE_SIGNALS
from stepsize.monitor.verdict_model import MODEL_FILE, VerdictModel, verdict_model

MEAN = dict(zip(verdict_model().names, verdict_model().middle.tolist(), strict=True))


def test_the_outputs_are_those_of_torch() -> None:
    model = verdict_model()
    values = model.middle + model.spread * np.random.default_rng(0).normal(size=(5, len(model.names)))
    values[0, :3] = math.nan
    x = torch.tensor(model.prepared(values))
    logits, quantiles = [], []
    for member in range(len(model.layers[0][0])):
        hidden = x
        for number, (weights, biases) in enumerate(model.layers):
            hidden = nn.functional.linear(hidden, torch.tensor(weights[member]).T, torch.tensor(biases[member]))
            hidden = torch.relu(hidden) if number < len(model.layers) - 1 else hidden
        logits.append(hidden[:, :3])
        quantiles.append(hidden[:, 3:])
    chances, ranges = model.outputs(model.prepared(values))
    np.testing.assert_allclose(chances, torch.stack(logits).softmax(-1).mean(0), rtol=1e-6)
    np.testing.assert_allclose(ranges[:, 1], np.median(ranges, axis=1))
    np.testing.assert_allclose(ranges[:, 1], torch.stack(quantiles).mean(0)[:, 1], rtol=1e-5)


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    model = verdict_model()
    model.save(tmp_path / "again.npz")
    again = verdict_model(tmp_path / "again.npz")
    assert again.judge(MEAN) == model.judge(MEAN)
    assert MODEL_FILE.stat().st_size <= 400_000


def test_it_reads_signals_that_exist() -> None:
    assert set(verdict_model().names) <= set(RATE_SIGNALS)


def test_a_run_unlike_all_that_was_recorded_is_not_known() -> None:
    model = verdict_model()
    assert model.judge(MEAN).known
    far = {name: float(high) + 10 for name, high in zip(model.names, model.highest, strict=True)}
    assert not model.judge(far).known
    assert model.judge(dict.fromkeys(model.names, math.nan)).known  # what is unknown is not unlike


def test_what_speaks_for_a_side_is_named() -> None:
    """A network that reads one signal names that one."""
    names = ("a", "b")
    weights = np.zeros((1, 4, 6))
    weights[0, 1, 2] = 3.0  # b speaks for too high
    layers = ((weights, np.zeros((1, 6))),)
    one, zero = np.ones(2), np.zeros(2)
    model = VerdictModel(names, zero, one, -9 * one, 9 * one, layers, 1.0, np.ones(4))
    judged = model.judge({"a": 2.0, "b": 2.0})
    assert judged.telling == ("b",)
    assert judged.chances[2] == pytest.approx(math.exp(6) / (2 + math.exp(6)))
    assert judged.between == pytest.approx((1.0, 1.0, 1.0))
