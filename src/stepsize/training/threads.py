"""Threads of a run: one if its updates are small, so that threads would wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_SMALL = 1e8  # multiply-adds of a forward pass of a batch: some milliseconds on one core


class Operations:
    """Counts the multiply-adds of the layers that have weights."""

    def __init__(self) -> None:
        self.operations = 0.0

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Take note of a forward pass of ``module``: each output position meets each weight once."""
        del inputs
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor) and first.ndim:
            weights = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            channels = 1 if isinstance(module, nn.modules.conv._ConvNd) and first.ndim > 1 else -1
            self.operations += weights * first.numel() / max(1, first.shape[channels])


@contextmanager
def counted_operations(model: nn.Module) -> Iterator[Operations]:
    """Count the operations of what passes through ``model`` within the context; its hooks are gone after it."""
    counter = Operations()
    layers = [
        module
        for module in model.modules()
        if next(module.parameters(recurse=False), None) is not None and not isinstance(module, nn.Embedding)
    ]
    handles = [layer.register_forward_hook(counter) for layer in layers]
    try:
        yield counter
    finally:
        for handle in handles:
            handle.remove()


def threads_for(operations: float) -> int | None:
    """Return the threads of a run of so many multiply-adds per forward pass, whatever the time; None leaves them."""
    return 1 if 0 < operations < _SMALL else None


@contextmanager
def training_threads(operations: float) -> Iterator[None]:
    """Let torch compute with :func:`threads_for` within the context; as before after it, whatever happens."""
    wanted, before = threads_for(operations), torch.get_num_threads()
    if wanted is None or wanted == before:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
