"""Batches of any shape: nested containers of tensors, in memory or from a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, SequentialSampler, Subset

from stepsize.errors import InputError, TaskError

_PART_SEED = 20_240  # of the part of the validation data for short runs: one for all runs, whatever their seed


@dataclass(frozen=True)
class TensorBatches:
    """Batches cut from tensors that share their first dimension; shuffled again in every pass.

    The order of a pass is drawn from torch's global generator when the pass begins, so a seeded run
    sees the same batches at any learning rate. A single example that would be the last shuffled batch, on which
    BatchNorm cannot be trained, joins the batch before it.

    Args:
        tensors: Tensors of shape ``(n, ...)``; a batch is the tuple of their slices.
        batch_size: Examples per batch, >= 1; the last batch of a pass can be smaller.
        shuffle: Whether every pass draws a new order.

    Raises:
        InputError: If the tensors differ in length, or there are no examples.

    Example:
        >>> batches = TensorBatches((torch.arange(5), torch.arange(5) * 2), batch_size=2, shuffle=False)
        >>> [tuple(x.tolist() for x in batch) for batch in batches]
        [([0, 1], [0, 2]), ([2, 3], [4, 6]), ([4], [8])]
    """

    tensors: tuple[Tensor, ...]
    batch_size: int
    shuffle: bool = True

    def __post_init__(self) -> None:
        lengths = [len(tensor) for tensor in self.tensors]
        if len(set(lengths)) != 1:
            raise InputError("tensors", lengths, "must share their first dimension")
        if lengths[0] == 0:
            raise InputError("tensors", lengths, "must hold at least one example")
        if self.batch_size < 1:
            raise InputError("batch_size", self.batch_size, "must be at least 1")

    def __len__(self) -> int:
        n = len(self.tensors[0])
        joined = self.shuffle and n > self.batch_size > 1 and n % self.batch_size == 1
        return n // self.batch_size if joined else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        n, count = len(self.tensors[0]), len(self)
        order = torch.randperm(n) if self.shuffle else None
        for number in range(count):
            start = number * self.batch_size
            stop = start + self.batch_size if number < count - 1 else n
            index = slice(start, stop) if order is None else order[start:stop].to(self.tensors[0].device)
            yield tuple(tensor[index] for tensor in self.tensors)


class Stream:
    """An endless iterator over a re-iterable of batches: a new pass begins when one ends."""

    def __init__(self, source: Iterable[Any], argument: str = "train") -> None:
        self._source = source
        self._argument = argument
        self._iterator = iter(source)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        for batch in self._iterator:
            return batch
        self._iterator = iter(self._source)
        for batch in self._iterator:
            return batch
        raise TaskError(self._argument, type(self._source).__name__, "must yield at least one batch")

    def take(self, count: int) -> list[Any]:
        """Return the next batches: those of one update."""
        return [next(self) for _ in range(count)]


def length_of(source: Any) -> int | None:
    """Return how many batches ``source`` holds; None if it does not say, as a loader over an endless data set."""
    try:
        return len(source)
    except (TypeError, NotImplementedError):
        return None


def part_of(source: Any, examples: int) -> Any:
    """Return a random part of ``source`` of at least ``examples``, in whole batches, the same part each time.

    The first validation data are no sample of data that are sorted. A source without numbers is returned whole.
    """
    random = torch.Generator().manual_seed(_PART_SEED)
    if isinstance(source, TensorBatches):
        if examples >= len(source.tensors[0]):
            return source  # in the order of a full evaluation, to the last bit
        chosen = torch.randperm(len(source.tensors[0]), generator=random)[: _whole(examples, source.batch_size)]
        return TensorBatches(tuple(t[chosen.to(t.device)] for t in source.tensors), source.batch_size, shuffle=False)
    if isinstance(source, DataLoader) and isinstance(source.sampler, SequentialSampler) and source.batch_size:
        if examples >= len(source.sampler):
            return source
        order = torch.randperm(len(source.sampler), generator=random)[: _whole(examples, source.batch_size)]
        return _loader_over(source, Subset(source.dataset, order.tolist()))
    if isinstance(source, list | tuple):
        return [source[place] for place in torch.randperm(len(source), generator=random).tolist()]
    return source


def _whole(examples: int, size: int) -> int:
    return -(-examples // size) * size


def _loader_over(loader: DataLoader[Any], data: Subset[Any]) -> DataLoader[Any]:
    return DataLoader(
        data,
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )


def map_tensors(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return ``tree`` with ``change`` applied to each tensor in its tuples, lists and mappings."""

    def changed(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, Mapping):  # a class that pytree does not know
            return _like(value, {key: map_tensors(item, change) for key, item in value.items()})
        return value

    return tree_map(changed, tree)


def copied(batch: Any) -> Any:
    """Return ``batch`` with copies of its tensors, which a model may change in place."""
    return map_tensors(batch, lambda tensor: tensor.detach().clone())


def tensors_in(tree: Any) -> list[Tensor]:
    """Return the tensors in the tuples, lists and mappings of ``tree``, in order."""
    found: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(tree, collect)
    return found


def to_device(batch: Any, device: torch.device) -> Any:
    """Return ``batch`` with its tensors on ``device``; objects with a ``to`` of their own are asked."""
    if not isinstance(batch, Tensor | Mapping | Sequence) and hasattr(batch, "to"):
        return batch.to(device)
    return map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))


def holds_non_finite(batch: Any) -> bool:
    """Return whether a floating-point tensor of ``batch`` holds NaN or infinity."""
    return any(t.is_floating_point() and not bool(torch.isfinite(t).all()) for t in tensors_in(batch))


def nan_in_data(argument: str, where: str) -> TaskError:
    """Return the error for data that are not finite."""
    rule, remedy = "must hold finite numbers", "Clean the data: no learning rate can fix this"
    return TaskError(argument, f"NaN or infinity in {where}", rule, remedy)


def count_examples(batch: Any) -> int:
    """Return the length of the first tensor of ``batch``; 1 if there is none to ask."""
    first = next(iter(tensors_in(batch)), None)
    return len(first) if first is not None and first.ndim else 1


def _like(tree: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    try:
        return type(tree)(items)  # type: ignore[call-arg]
    except TypeError:  # a mapping with a constructor of its own: a dict holds the same keys
        return items
