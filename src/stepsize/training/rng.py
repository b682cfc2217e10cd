"""The random number generators of python, numpy and torch: seeding, saving, putting back."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


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
