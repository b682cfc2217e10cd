"""What is seen of the columns of the inputs."""

from __future__ import annotations

import pytest
import torch
from tests.training.small import ReIterable, batches, examples, make_task
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from stepsize.probe.profiling.features import InputData, features_of, input_data


def columns(rows: int = 400) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(rows, 5, generator=generator, dtype=torch.float64)


def test_the_spread_of_scales_is_that_of_the_columns_that_change() -> None:
    x = columns() * torch.tensor([1.0, 10.0, 1e-3, 1.0, 0.0])
    found = features_of("x", x)
    deviations = x[:, :4].std(0)
    assert (found.unit, found.rows, found.columns, found.constant) == ("column", 400, 5, 1)
    assert found.low == pytest.approx(float(deviations.min()))
    assert found.high == pytest.approx(float(deviations.max()))


@pytest.mark.parametrize("value", [3.7, 1e6, -1e-9, 0.1])
def test_a_column_of_one_value_is_constant_whatever_rounding_makes_of_its_mean(value: float) -> None:
    x = columns().float()
    x[:, 2] = value
    assert features_of("x", x).constant == 1


def test_entries_that_are_not_finite_are_counted_and_their_rows_left_out() -> None:
    x = columns()
    x[3, 1], x[7, 0], x[7, 4] = torch.nan, torch.inf, -torch.inf
    found = features_of("x", x)
    kept = x[torch.isfinite(x).all(1)]
    assert found.not_finite == 3
    assert found.high == pytest.approx(float(kept.std(0).max()))


def test_an_offset_is_told_in_deviations() -> None:
    x = columns()
    x[:, 1] += 40
    assert features_of("x", x).offset == pytest.approx(40, rel=0.15)


def test_outliers_count_against_their_own_and_the_typical_scale() -> None:
    x = columns(4000)
    x[5, 0] = 100.0  # far in its own column and beside the others
    x[:, 1] *= 1e-4
    x[6, 1] = 0.01  # far in its own column, nothing beside the others
    found = features_of("x", x)
    assert found.far == 1
    assert found.farthest == pytest.approx(100 / float(x[:, 0].std()), rel=0.1)


@pytest.mark.parametrize(
    ("shape", "unit", "count"),
    [((50,), "column", 1), ((50, 4), "column", 4), ((50, 9, 4), "column", 4), ((50, 3, 6, 6), "channel", 3)],
)
def test_a_column_is_the_last_dimension_and_of_images_the_channel(
    shape: tuple[int, ...], unit: str, count: int
) -> None:
    x = torch.randn(*shape)
    found = features_of("x", x)
    assert (found.unit, found.columns) == (unit, count)
    channels = x.movedim(1, -1) if x.ndim == 4 else x[:, None] if x.ndim == 1 else x
    assert found.high == pytest.approx(float(channels.flatten(0, -2).double().std(0).max()))


def test_tables_without_anything_to_compare_are_looked_at_without_a_warning() -> None:
    assert features_of("x", torch.ones(1, 3)).low is None
    assert features_of("x", torch.full((5, 3), torch.nan)).not_finite == 15
    assert features_of("x", torch.zeros(5, 3)).constant == 3


def test_a_task_of_tensors_is_seen_whole_and_a_loader_by_its_batches() -> None:
    x, y = examples()
    whole = input_data(make_task(), batches()[:2])
    assert isinstance(whole, InputData)
    assert whole.source == "48 training examples"
    assert [(name, torch.equal(part, x)) for name, part in whole.inputs] == [("input", True)]
    assert whole.target is not None
    assert torch.equal(whole.target, y)

    loader = DataLoader(TensorDataset(x, y), batch_size=8)
    drawn = input_data(make_task(train=loader), list(loader)[:2])
    assert isinstance(drawn, InputData)
    assert drawn.source == "the batches that were drawn"
    assert torch.equal(drawn.inputs[0][1], x[:16])


def test_mappings_name_their_inputs_and_say_nothing_of_a_target() -> None:
    given = [{"ids": torch.ones(4, 2), "mask": torch.ones(4)}] * 2
    found = input_data(make_task(train=ReIterable(*given), loss=lambda model, batch: batch), given)
    assert isinstance(found, InputData)
    assert [name for name, _ in found.inputs] == ["ids", "mask"]
    assert found.target is None


@pytest.mark.parametrize("batch", [torch.ones(3), ("text", torch.ones(3))], ids=["bare tensor", "text"])
def test_batches_of_another_form_cannot_be_looked_into(batch: object) -> None:
    assert "not tuples or mappings of tensors" in str(input_data(make_task(train=ReIterable(batch)), [batch]))


def test_batches_of_different_widths_cannot_be_joined() -> None:
    given = [(torch.ones(3, 4), torch.ones(3)), (torch.ones(3, 5), torch.ones(3))]
    assert isinstance(input_data(make_task(train=ReIterable(*given)), given), str)
