"""A digest is the same for states that are equal bit for bit, and for no others."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

from stepsize.training.digest import digest

BASE = torch.arange(6.0)
BIG = torch.rand(2000, generator=torch.Generator().manual_seed(0))


def changed(tensor: torch.Tensor, index: int, value: float) -> torch.Tensor:
    """Return a copy of ``tensor``, which may be sparse, with one other value."""
    copied = tensor.clone()
    (copied._values() if copied.is_sparse else copied)[index] = value
    return copied


EQUAL: dict[str, tuple[Any, Any]] = {
    "a copy": (BASE, BASE.clone()),
    "another layout of the same values": (BASE.reshape(2, 3).t(), BASE.reshape(2, 3).t().contiguous()),
    "NaN": (torch.tensor([float("nan")]), torch.tensor([float("nan")])),
    "with and without gradient": (BASE, BASE.clone().requires_grad_()),
    "no elements": (torch.ones(0, 3), torch.zeros(0, 3)),
    "kinds of mappings": ({"a": 1}, OrderedDict(a=1)),
    "sparse": (BIG.to_sparse(), BIG.to_sparse()),
    "functions, which have no state": (lambda: 1, lambda: 2),
}
OTHER: dict[str, tuple[Any, Any]] = {
    "a value": (BASE, changed(BASE, 3, 9.0)),
    "the last bit": (BASE, changed(BASE, 3, float(np.nextafter(np.float32(3), np.float32(4))))),
    "the sign of zero": (torch.tensor(0.0), torch.tensor(-0.0)),
    "a dtype": (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
    "a shape": (BASE, BASE.reshape(2, 3)),
    "half precision": (torch.tensor(1.0).bfloat16(), torch.tensor(2.0).bfloat16()),
    "a truth value in a tensor": (torch.tensor([True]), torch.tensor([False])),
    "one of many sparse values": (BIG.to_sparse(), changed(BIG.to_sparse(), 1000, 0.5)),
    "a key": ({"a": 1}, {"b": 1}),
    "a kind of key": ({"1": 1}, {1: 1}),
    "a kind of value": ({"a": 1}, {"a": 1.0}),
    "a truth value": ({"a": 1}, {"a": True}),
    "nothing": ({"a": None}, {"a": 0}),
    "nesting": ([[1], 2], [[1, 2]]),
    "an order": ([1, 2], [2, 1]),
    "a length": ([1], [1, 1]),
    "an array": (np.arange(3.0), np.array([0.0, 1.0, 3.0])),
    "a number of numpy": (np.float32(1), np.float32(2)),
    "bytes": (b"a", b"b"),
    "text": ("a", "b"),
}


@pytest.mark.parametrize(("one", "two"), EQUAL.values(), ids=EQUAL)
def test_equal_states_share_a_digest(one: Any, two: Any) -> None:
    assert digest(one) == digest(two)
    assert digest({"at": [one]}) == digest({"at": [two]})


@pytest.mark.parametrize(("one", "two"), OTHER.values(), ids=OTHER)
def test_other_states_have_other_digests(one: Any, two: Any) -> None:
    assert digest(one) != digest(two)
    assert digest({"at": (one,)}) != digest({"at": (two,)})


def test_a_digest_is_64_hexadecimal_characters_and_the_same_in_every_process() -> None:
    state = {"w": torch.tensor([1.0, 2.0]), "step": 3}

    assert digest(state) == "6a9b69bd26dfd38138309a3f688d7a7eb9269fbf06d7c5b30369092f8eba6097"
