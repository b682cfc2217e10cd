"""The global generators: seeded, saved and put back, all of them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from stepsize.training.digest import digest
from stepsize.training.position import RngState, preserved, seed_everything


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002  the global generator


def interrupted(expected: tuple[float, float, float]) -> None:
    assert draw() == expected
    raise KeyboardInterrupt


def test_a_seed_settles_every_generator() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first
    seed_everything(4)
    assert all(now != then for now, then in zip(draw(), first, strict=True))


def test_a_seed_may_be_larger_than_numpy_takes() -> None:
    seed_everything(2**40 + 1)
    first = draw()
    seed_everything(2**40 + 1)
    assert draw() == first


def test_a_state_that_was_taken_can_be_put_back_again_and_again() -> None:
    draw()
    state = RngState.take()

    first = draw()
    for _ in range(2):
        state.restore()
        assert draw() == first


@pytest.mark.parametrize("index", range(3), ids=["python", "numpy", "torch"])
def test_the_parts_tell_which_generator_was_drawn_from(index: int) -> None:
    before = {name: digest(part) for name, part in RngState.take().parts().items()}
    (random.random, np.random.rand, lambda: torch.rand(()))[index]()
    after = {name: digest(part) for name, part in RngState.take().parts().items()}

    differing = [name for name in before if before[name] != after[name]]
    assert differing == [["rng.python", "rng.numpy", "rng.torch"][index]]


def test_a_block_of_its_own_randomness_leaves_no_trace() -> None:
    before = {name: digest(part) for name, part in RngState.take().parts().items()}

    with preserved(seed=5):
        inside = draw()
    with pytest.raises(KeyboardInterrupt), preserved(seed=5):
        interrupted(inside)

    assert {name: digest(part) for name, part in RngState.take().parts().items()} == before
