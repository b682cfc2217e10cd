"""Copies of models, with whatever is computed on the way."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

_T = TypeVar("_T")


def deepcopied(model: nn.Module, together: _T) -> _T:
    """Return a deep copy of ``together``, which holds ``model``.

    torch refuses to copy computed tensors. The old ``weight_norm`` keeps one as an attribute: its value is copied.
    """
    computed = [
        (vars(module), name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    try:
        for attributes, name, value in computed:
            attributes[name] = value.detach()
        return copy.deepcopy(together)
    finally:
        for attributes, name, value in computed:
            attributes[name] = value
