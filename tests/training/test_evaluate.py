"""Looking at unseen data: the mean over all examples, in eval mode, and no trace left on the model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.small import Frozen, ReIterable, batches, linear, make_task, network
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from stepsize.errors import TaskError
from stepsize.training import evaluate as evaluation
from stepsize.training.batches import part_of
from stepsize.training.evaluate import evaluate


def test_a_share_of_unseen_data_is_rounded_up_to_whole_batches() -> None:
    task = make_task(val=batches(48, size=8), steps=2)
    model = linear()

    done = evaluate(task, model, step=0, examples=9)

    assert done.examples == 16
    assert evaluate(task, model, step=0).examples == 48
    means = [evaluate(make_task(val=[batch], steps=2), model, step=0).evaluation.loss for batch in batches(48, size=8)]
    pairs = [(one + other) / 2 for one, other in itertools.combinations(means, 2)]
    assert min(abs(done.evaluation.loss - pair) for pair in pairs) < 1e-6, "two whole batches"


def by_class(n: int, size: int, kind: str) -> Any:
    """Return unseen data sorted by class, as folders of images are."""
    y = torch.arange(n, dtype=torch.float32)[:, None] * 10 // n
    x = torch.zeros(n, 3)
    if kind == "tensors":
        return x, y
    if kind == "loader":
        return DataLoader(TensorDataset(x, y), batch_size=size)
    return list(zip(torch.split(x, size), torch.split(y, size), strict=True))


@pytest.mark.parametrize("kind", ["tensors", "loader", "list"])
def test_a_share_is_a_random_part_and_the_same_each_time(kind: str) -> None:
    seen: list[Tensor] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        seen.append(target)
        return mse_loss(output, target)

    task = make_task(val=by_class(1_000, 10, kind), loss=loss, steps=2, batch_size=10)
    values = [evaluate(task, linear(), step=0, examples=200).examples for _ in range(2)]
    first, second = torch.cat(seen[: len(seen) // 2]), torch.cat(seen[len(seen) // 2 :])

    assert values == [200, 200]
    assert torch.equal(first, second)
    assert len(set(first.flatten().tolist())) >= 8
    assert 3 < float(first.mean()) < 6


@pytest.mark.parametrize("kind", ["tensors", "loader"])
def test_a_part_that_is_all_of_the_data_is_taken_in_their_order(kind: str) -> None:
    source = make_task(val=by_class(100, 10, kind), steps=2, batch_size=10).val

    assert part_of(source, 100) is source
    assert part_of(source, 99) is not source


def test_unseen_data_without_an_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_MOST_BATCHES", 1_000)
    with pytest.raises(TaskError, match=r"val must end; got 'more than 1,000 batches of a Endless without a length'"):
        evaluate(make_task(val=Endless(), steps=2), linear(), step=0)

    assert evaluate(make_task(val=Endless(), steps=2), linear(), step=0, examples=9).examples == 16


class Endless:
    def __iter__(self) -> Iterator[Any]:
        return itertools.cycle(batches(48, size=8))


def test_a_batch_without_a_loss_at_any_rate_does_not_count_in_unseen_data() -> None:
    x = torch.randn(32, 3)
    y = torch.randint(0, 2, (32,))
    y[8:16] = -100  # cross entropy ignores these: the mean of nothing is NaN
    model = nn.Linear(3, 2)
    parts: dict[str, Any] = {"loss": nn.functional.cross_entropy, "model": lambda: nn.Linear(3, 2), "steps": 2}
    task = make_task(**parts, val=list(zip(torch.split(x, 8), torch.split(y, 8), strict=True)))

    with pytest.warns(UserWarning, match="batch 1 of val has no finite loss, at initialization neither"):
        done = evaluate(task, model, step=0)

    keep = torch.cat([torch.arange(8), torch.arange(16, 32)])
    rest = make_task(**parts, val=(x[keep], y[keep]), batch_size=8)
    assert done.evaluation.loss == pytest.approx(evaluate(rest, model, step=0).evaluation.loss)
    nn.init.constant_(model.weight, torch.nan)
    assert np.isnan(evaluate(task, model, step=0).evaluation.loss), "a model that is lost is not excused"


def test_modes_come_back_module_by_module_and_statistics_stand_still_meanwhile() -> None:
    modes: list[bool] = []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        modes.append(model.training)
        return mse_loss(model(batch[0]), batch[1])

    model = Frozen()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(make_task(val=batches(), loss=loss, steps=2), model, step=0)

    assert set(modes) == {False}
    assert model.training
    assert model.body.training
    assert not model.norm.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modes_come_back_after_an_error() -> None:
    model = network()

    with pytest.raises(TaskError, match="val must yield at least one batch"):
        evaluate(make_task(val=ReIterable()), model, step=0)

    assert all(module.training for module in model.modules())
