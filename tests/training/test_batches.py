"""Batches of any shape, cut from tensors or read from a source, again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from stepsize.errors import InputError, TaskError
from stepsize.training.batches import Stream, TensorBatches, count_examples, map_tensors, to_device


class Pair(NamedTuple):
    x: Tensor
    label: str


class Named(Mapping[str, Any]):
    """A mapping whose constructor takes no items."""

    def __init__(self) -> None:
        self.items_ = {"x": torch.ones(2)}

    def __getitem__(self, key: str) -> Any:
        return self.items_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.items_)

    def __len__(self) -> int:
        return 1


def double(tensor: Tensor) -> Tensor:
    return tensor * 2


def test_tensors_in_nested_containers_are_changed_and_the_containers_keep_their_kinds() -> None:
    one = torch.ones(2)
    tree = (one, [one, 3, "text"], {"a": one, "b": (one, None)}, Pair(one, "cat"), OrderedDict(k=one))

    changed = map_tensors(tree, double)

    assert [type(part) for part in changed] == [Tensor, list, dict, Pair, OrderedDict]
    assert changed[1][1:] == [3, "text"]
    assert changed[2]["b"][1] is None
    assert changed[3].label == "cat"
    for tensor in (changed[0], changed[1][0], changed[2]["a"], changed[2]["b"][0], changed[3].x, changed[4]["k"]):
        assert tensor.tolist() == [2.0, 2.0]
    assert one.tolist() == [1.0, 1.0]


def test_a_mapping_that_cannot_be_built_from_items_becomes_a_dict() -> None:
    changed = map_tensors(Named(), double)

    assert type(changed) is dict
    assert changed["x"].tolist() == [2.0, 2.0]


def test_what_holds_no_tensor_is_left_alone() -> None:
    thing = object()

    assert map_tensors(thing, double) is thing
    assert map_tensors("text", double) == "text"
    assert map_tensors(MappingProxyType({}), double) == {}


def test_a_batch_is_moved_to_the_device_in_its_own_shape() -> None:
    moved = to_device({"x": torch.ones(2), "name": "a"}, torch.device("meta"))

    assert moved["x"].device.type == "meta"
    assert moved["name"] == "a"


def test_an_object_that_can_move_itself_is_asked_to() -> None:
    class Graph:
        asked: torch.device | None = None

        def to(self, device: torch.device) -> Graph:
            self.asked = device
            return self

    graph = Graph()

    assert to_device(graph, torch.device("cpu")) is graph
    assert graph.asked == torch.device("cpu")


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        ((torch.ones(5, 2), torch.ones(5)), 5),
        ({"ids": torch.ones(3, 7)}, 3),
        ({"meta": "text", "more": [None, torch.ones(4)]}, 4),
        (torch.ones(6), 6),
        (torch.tensor(2.0), 1),
        ("nothing to ask", 1),
        ((), 1),
    ],
)
def test_examples_are_counted_by_the_first_tensor(batch: Any, count: int) -> None:
    assert count_examples(batch) == count


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("n", "size"), [(10, 3), (9, 3), (2, 5), (1, 1)])
def test_a_pass_covers_each_example_exactly_once(n: int, size: int, shuffle: bool) -> None:
    source = TensorBatches((torch.arange(n), -torch.arange(n)), size, shuffle=shuffle)

    for _ in range(2):
        passed = list(source)
        joined = shuffle and (n, size) == (10, 3)  # a single example at the end joins the batch before it
        assert len(passed) == len(source) == -(-n // size) - joined
        assert all(len(x) == size for x, _ in passed[:-1])
        assert sorted(torch.cat([x for x, _ in passed]).tolist()) == list(range(n))
        assert all(torch.equal(x, -y) for x, y in passed)  # parts of an example stay together


def test_the_order_is_drawn_from_the_seed_and_anew_in_each_pass() -> None:
    source = TensorBatches((torch.arange(50),), 50)

    def two_passes(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        return [next(iter(source))[0].tolist() for _ in range(2)]

    assert two_passes(1) == two_passes(1)
    assert two_passes(1) != two_passes(2)
    assert two_passes(1)[0] != two_passes(1)[1]


def test_without_shuffling_nothing_is_drawn() -> None:
    before = torch.get_rng_state()

    assert [x.tolist() for (x,) in TensorBatches((torch.arange(4),), 3, shuffle=False)] == [[0, 1, 2], [3]]
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_that_cannot_be_cut_together_are_refused() -> None:
    with pytest.raises(InputError, match=r"tensors must share their first dimension; got \[2, 3\]"):
        TensorBatches((torch.ones(2), torch.ones(3)), 1)
    with pytest.raises(InputError, match="tensors must hold at least one example"):
        TensorBatches((torch.ones(0),), 1)
    with pytest.raises(InputError, match="batch_size must be at least 1; got 0"):
        TensorBatches((torch.ones(2),), 0)


class Passes:
    """A re-iterable whose batches say which pass they belong to, and which may be empty in some."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = iter(lengths)
        self.passes = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        self.passes += 1
        return iter([(self.passes, index) for index in range(next(self.lengths))])


def test_a_stream_reads_its_source_anew_in_each_pass() -> None:
    stream = Stream(Passes(2, 1, 1))

    assert iter(stream) is stream
    assert stream.take(4) == [(1, 0), (1, 1), (2, 0), (3, 0)]


def test_a_source_that_dries_up_is_told_instead_of_waited_for() -> None:
    with pytest.raises(TaskError, match="val must yield at least one batch"):
        next(Stream(Passes(0, 0), "val"))
    stream = Stream(Passes(1, 0))
    next(stream)
    with pytest.raises(TaskError, match="train must yield at least one batch"):
        next(stream)
