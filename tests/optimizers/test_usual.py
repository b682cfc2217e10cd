"""The usual rate of an optimizer, and the recorded curves that are like its own."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer

from stepsize.curves.lr_prior import shipped_prior
from stepsize.optimizers import OPTIMIZERS, OptimizerEntry
from stepsize.optimizers.entry import Packaged
from stepsize.optimizers.usual import UNKNOWN, usual_rate


class Own(AdamW):
    """A variation of AdamW."""


class Unheard(Optimizer):
    """An optimizer that is in no table."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("adamw", (1e-3, "adam")),
        (AdamW, (1e-3, "adam")),
        (Own, (1e-3, "adam")),
        (SGD, (0.1, "sgd")),
        (partial(SGD, momentum=0.95), (0.1, "momentum")),
        (partial(SGD, momentum=0.9, nesterov=True), (0.1, "momentum")),
        (torch.optim.Muon, (1e-3, "muon")),
        (Unheard, UNKNOWN),
    ],
)
def test_the_usual_rate_is_that_of_the_optimizer_that_is_built(optimizer: Any, expected: tuple[float, str]) -> None:
    assert usual_rate(optimizer) == expected


@pytest.mark.parametrize("entry", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_is_recognized_however_it_was_built(entry: OptimizerEntry) -> None:
    if isinstance(entry.make, Packaged):
        pytest.importorskip(entry.make.module, reason='needs pip install "stepsize[optimizers]"')
        assert hasattr(importlib.import_module(entry.make.module), entry.kind)
    assert usual_rate(entry.make) == usual_rate(entry.name) == (entry.default_lr, entry.family)


def test_what_most_people_use_has_curves_on_record() -> None:
    prior = shipped_prior()
    for name in ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam", "lion", "muon"):
        family = OPTIMIZERS[name].family
        own = prior.families == family
        assert own.any(), name
        assert prior.weights(family)[own].min() > prior.weights(family)[~own].max(), name


def test_a_factory_that_needs_the_real_parameters_has_the_common_rate() -> None:
    def picky(params: Any, lr: float) -> torch.optim.Optimizer:
        groups = list(params)
        if len(groups) < 4:
            raise RuntimeError("needs the real parameters")
        return torch.optim.AdamW(groups, lr)

    assert usual_rate(picky) == (1e-3, "")
