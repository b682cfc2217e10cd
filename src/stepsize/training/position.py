"""Where a run stands in its randomness and its data: global generators, those of samplers, loaders with a position."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PARTS = ("sampler", "batch_sampler", "dataset")


@dataclass(frozen=True, eq=False)
class RngState:
    """The state of every global generator at one moment."""

    python: Any
    numpy: Any
    torch: Tensor
    cuda: tuple[Tensor, ...]

    @classmethod
    def take(cls) -> RngState:
        """Return the present state."""
        cuda = tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else ()
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)  # noqa: NPY002

    def restore(self) -> None:
        """Put the state back."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002 - the legacy generator is the global one
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(list(self.cuda))

    def parts(self) -> dict[str, Any]:
        """Return the state as named plain values and tensors, for a digest."""
        named: dict[str, Any] = {"rng.python": self.python, "rng.numpy": self.numpy, "rng.torch": self.torch}
        return named | {f"rng.cuda.{index}": state for index, state in enumerate(self.cuda)}


def seed_everything(seed: int) -> None:
    """Seed python's, numpy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - users' data pipelines draw from it
    torch.manual_seed(seed)


@dataclass(frozen=True, eq=False)
class DataPosition:
    """The position of a source of batches: generators of its samplers, and its ``state_dict`` if it has one."""

    generators: tuple[tuple[torch.Generator, torch.Tensor], ...]
    loader: Any
    state: Any

    @classmethod
    def take(cls, source: Any) -> DataPosition:
        """Return the present position of ``source``."""
        generators = tuple((generator, generator.get_state()) for generator in _generators(source))
        state = _state_of(source)
        return cls(generators, None if state is None else source, state)

    def restore(self) -> None:
        """Put the position back."""
        for generator, state in self.generators:
            generator.set_state(state)
        if self.loader is not None:
            self.loader.load_state_dict(copy.deepcopy(self.state))

    def parts(self) -> dict[str, Any]:
        """Return the position as named plain values and tensors, for a digest."""
        named: dict[str, Any] = {f"data.generator.{i}": state for i, (_, state) in enumerate(self.generators)}
        return named | ({"data.state": self.state} if self.loader is not None else {})


@contextmanager
def preserved(*sources: Any, seed: int | None = None) -> Iterator[None]:
    """Put generators and positions of ``sources`` back after the block, which runs under ``seed``, if given."""
    randomness = RngState.take()
    positions = [DataPosition.take(source) for source in sources if source is not None]
    try:
        if seed is not None:
            seed_everything(seed)
        yield
    finally:
        for position in positions:
            position.restore()
        randomness.restore()


def _state_of(source: Any) -> Any:
    if not (hasattr(source, "state_dict") and hasattr(source, "load_state_dict")):
        return None
    try:
        return copy.deepcopy(source.state_dict())
    except AttributeError:  # a wrapper, such as that of Accelerate, around a loader that keeps no state
        return None


def _generators(source: Any) -> list[torch.Generator]:
    found: list[torch.Generator] = []
    pending, seen = [source], set()
    while pending:
        part = pending.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        generator = getattr(part, "generator", None)
        if isinstance(generator, torch.Generator) and all(generator is not other for other in found):
            found.append(generator)
        pending += [getattr(part, name, None) for name in _PARTS]
    return found
