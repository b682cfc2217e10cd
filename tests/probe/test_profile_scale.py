"""Losses of predictions that know no input, the balance of classes, the scale of targets."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.training.small import batches, make_task
from torch import Tensor, nn
from torch.nn import functional

from stepsize.probe.profiling.scale import Outputs, best_constant, classes_of, outputs_of, target_scale


def entropy(counts: list[int]) -> float:
    shares = [count / sum(counts) for count in counts if count]
    return -sum(share * math.log(share) for share in shares)


def seen(shape: tuple[int, ...], *targets: Tensor) -> Outputs:
    return [(torch.randn(len(target), *shape), target) for target in targets]


def flat_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(output.flatten(0, 1), target.flatten())


LABELS = torch.tensor([0, 0, 0, 1, 2, 2])


@pytest.mark.parametrize(
    ("loss", "data", "zero", "constant"),
    [
        (functional.cross_entropy, seen((4,), LABELS), math.log(4), entropy([3, 1, 2])),
        (functional.cross_entropy, seen((4,), LABELS[:4], LABELS[4:]), math.log(4), entropy([3, 1, 2])),
        (flat_cross_entropy, seen((2, 4), LABELS.reshape(3, 2)), math.log(4), entropy([3, 1, 2])),
        (functional.cross_entropy, seen((4, 2), LABELS.reshape(3, 2)), math.log(4), entropy([3, 1, 2])),
        (functional.binary_cross_entropy_with_logits, seen((), (LABELS == 0).float()), math.log(2), entropy([3, 3])),
        (functional.binary_cross_entropy_with_logits, seen((), (LABELS == 1).float()), math.log(2), entropy([1, 5])),
        (functional.mse_loss, seen((1,), 150 + 3 * LABELS[:, None].float()), 24_181.5, 6.25 * 1.16),
        (functional.l1_loss, seen((1,), torch.tensor([[1.0], [2.0], [9.0]])), 4.0, 8 / 3),
    ],
    ids=["classes", "two batches", "sequences", "class dimension 1", "balanced logit", "rare logit", "far", "absolute"],
)
def test_zero_and_best_constant_have_the_loss_that_is_known(
    loss: Callable[..., Tensor], data: Outputs, zero: float, constant: float
) -> None:
    found = best_constant(loss, data)
    if zero == 24_181.5:  # a squared error: the mean square, and the variance
        target = data[0][1]
        zero, constant = float(target.square().mean()), float(target.var(correction=0))
    assert found[0] == pytest.approx(zero, rel=1e-5)
    assert found[1] == pytest.approx(constant, rel=1e-3)


def test_a_regression_of_several_columns_has_a_constant_for_each() -> None:
    target = torch.randn(50, 3) + torch.tensor([5.0, -2.0, 0.0])
    found = best_constant(functional.mse_loss, seen((3,), target))
    assert found[1] == pytest.approx(float(target.var(0, correction=0).mean()), rel=1e-4)


def test_outputs_are_those_of_the_model_beside_their_targets() -> None:
    task, model, given = make_task(), nn.Linear(3, 1), batches()
    found = outputs_of(task, model, given)
    assert not isinstance(found, str)
    for (x, y), (output, target) in zip(given, found, strict=True):
        assert torch.equal(output, model(x))
        assert torch.equal(target, y)


def test_where_the_loss_takes_the_model_nothing_can_be_put_in_its_place() -> None:
    task = make_task(loss=lambda model, batch: functional.mse_loss(model(batch[0]), batch[1]))
    assert "the loss takes the model itself" in str(outputs_of(task, nn.Linear(3, 1), batches()))


def test_an_output_that_is_no_tensor_says_so() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    assert "not single tensors" in str(outputs_of(make_task(), Two(), batches()))


@pytest.mark.parametrize("labels", [LABELS, LABELS.reshape(2, 3), LABELS.to(torch.int8)])
def test_classes_are_counted_whatever_their_shape(labels: Tensor) -> None:
    found = classes_of(labels)
    assert found is not None
    assert (found.count, found.labels, found.per_example) == (3, 6, labels.numel() / len(labels))
    assert [found.majority, found.rarest] == pytest.approx([0.5, 1 / 6])
    assert found.entropy == pytest.approx(entropy([3, 1, 2]))


@pytest.mark.parametrize(
    "target", [torch.tensor([0.5, 1.0]), torch.ones(4), torch.arange(2000), torch.empty(0)],
    ids=["numbers", "one class", "as many classes as rows", "nothing"],
)  # fmt: skip
def test_what_is_no_target_of_classes_has_no_balance(target: Tensor) -> None:
    assert classes_of(target) is None


def test_the_scale_of_a_target_is_that_of_its_columns() -> None:
    target = torch.tensor([[0.0, 10.0], [2.0, 30.0]])
    found = target_scale(target)
    assert found is not None
    assert (found.columns, found.offset) == (2, 20.0)
    assert [found.low, found.high] == pytest.approx([math.sqrt(2), 10 * math.sqrt(2)])
    assert target_scale(LABELS) is None
