"""Which parameters are looked at together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Layout", "lay_out"]

_MOST = 32  # layer groups; deeper parts are told apart only where this allows it


@dataclass(frozen=True, eq=False)
class Layout:
    """The trainable parameters of one optimizer.

    Attributes:
        parameters: All of them.
        places: The number of the layer group that each belongs to.
        labels: The names of the layer groups.
        rate_groups: The number of the optimizer's group that the parameters of each layer group have their rate from.
    """

    parameters: tuple[Tensor, ...]
    places: tuple[int, ...]
    labels: tuple[str, ...]
    rate_groups: tuple[int, ...]


def lay_out(optimizer: Optimizer, models: Iterable[nn.Module]) -> Layout:
    """Return the layer groups of an optimizer: parameters of one part of the model and of one group of the optimizer.

    Parts are told apart as deeply as 32 groups allow.
    """
    names = {id(p): name for model in models for name, p in model.named_parameters()}
    owned = [
        (p, names.get(id(p), f"parameter {place}"), number)
        for number, group in enumerate(optimizer.param_groups)
        for place, p in enumerate(group["params"])
        if p.requires_grad
    ]
    paths = [name.split(".")[:-1] or [name] for _, name, _ in owned]
    depth = max(map(len, paths), default=1)
    while depth > 1 and len({(*path[:depth], n) for path, (_, _, n) in zip(paths, owned, strict=True)}) > _MOST:
        depth -= 1
    keys = [(".".join(path[:depth]), number) for path, (_, _, number) in zip(paths, owned, strict=True)]
    if len(set(keys)) > _MOST:
        keys = [("", number) for _, number in keys]
    order = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    several = len(optimizer.param_groups) > 1
    labels = tuple(_label(part, number, several) for part, number in order)
    return Layout(
        tuple(p for p, _, _ in owned),
        tuple(order[key] for key in keys),
        labels,
        tuple(number for _, number in order),
    )


def _label(part: str, number: int, several: bool) -> str:
    if not part:
        return f"group {number}"
    return f"{part} (group {number})" if several else part
