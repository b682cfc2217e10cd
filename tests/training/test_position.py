"""Where a source of batches stands, as far as it can be told, and back to there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from stepsize.training.digest import digest
from stepsize.training.position import DataPosition

DATA = TensorDataset(torch.arange(12))


def order(loader: DataLoader[Any]) -> list[int]:
    return [int(value) for (batch,) in loader for value in batch]


class Counting:
    """A loader that tells its position, in a state that it goes on changing."""

    def __init__(self) -> None:
        self.state: dict[str, list[int]] = {"drawn": []}

    def __iter__(self) -> Iterator[Tensor]:
        while True:
            self.state["drawn"].append(len(self.state["drawn"]))
            yield torch.tensor(self.state["drawn"][-1])

    def state_dict(self) -> dict[str, list[int]]:
        return self.state

    def load_state_dict(self, state: dict[str, list[int]]) -> None:
        self.state = state


def loader_with_generator() -> DataLoader[Any]:
    return DataLoader(DATA, batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(1))


def loader_with_sampler() -> DataLoader[Any]:
    return DataLoader(DATA, batch_size=4, sampler=RandomSampler(DATA, generator=torch.Generator().manual_seed(1)))


def loader_with_batch_sampler() -> DataLoader[Any]:
    sampler = RandomSampler(DATA, generator=torch.Generator().manual_seed(1))
    return DataLoader(DATA, batch_sampler=BatchSampler(sampler, 4, drop_last=False))


def test_generators_of_loaders_and_their_samplers_are_put_back() -> None:
    for make in (loader_with_generator, loader_with_sampler, loader_with_batch_sampler):
        loader = make()
        order(loader)
        position = DataPosition.take(loader)
        first = order(loader)
        assert order(loader) != first
        position.restore()
        assert order(loader) == first
        position.restore()
        assert order(loader) == first


def test_one_generator_in_several_places_is_taken_once() -> None:
    assert len(DataPosition.take(loader_with_generator()).generators) == 1


def test_a_loader_that_tells_its_position_is_put_back_however_often() -> None:
    loader = Counting()
    batches = iter(loader)
    assert [int(next(batches)) for _ in range(2)] == [0, 1]
    position = DataPosition.take(loader)

    for _ in range(3):
        assert [int(next(batches)) for _ in range(3)] == [2, 3, 4]
        position.restore()


def test_the_parts_tell_a_position_from_another() -> None:
    for source in (loader_with_generator(), Counting()):
        before = digest(DataPosition.take(source).parts())
        assert digest(DataPosition.take(source).parts()) == before
        next(iter(source))
        assert digest(DataPosition.take(source).parts()) != before


def test_a_plain_list_has_no_position() -> None:
    position = DataPosition.take([1, 2])

    assert position.parts() == {}
    position.restore()
