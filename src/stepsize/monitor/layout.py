"""Which parameters are measured together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

_MOST = 32  # layer groups


@dataclass(frozen=True, eq=False)
class Layout:
    """The trainable parameters of one optimizer, the number of the layer group of each, and the groups' names."""

    parameters: tuple[Tensor, ...]
    places: tuple[int, ...]
    labels: tuple[str, ...]


def lay_out(optimizer: Optimizer, models: Iterable[nn.Module]) -> Layout:
    """Return the layer groups: one part of the model within one group of the optimizer, as fine as 32 groups allow."""
    names = {id(p): name for model in models for name, p in model.named_parameters()}
    owned = [
        (p, names.get(id(p), f"parameter {place}"), number)
        for number, group in enumerate(optimizer.param_groups)
        for place, p in enumerate(group["params"])
        if p.requires_grad
    ]
    paths = [_path(name)[:-1] or [name] for _, name, _ in owned]
    depth = max(map(len, paths), default=1)
    while depth > 1 and len({(*path[:depth], n) for path, (_, _, n) in zip(paths, owned, strict=True)}) > _MOST:
        depth -= 1
    keys = [(".".join(path[:depth]), number) for path, (_, _, number) in zip(paths, owned, strict=True)]
    if len(set(keys)) > _MOST:
        keys = [("", number) for _, number in keys]
    order = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    several = len(optimizer.param_groups) > 1
    labels = tuple(_label(part, number, several) for part, number in order)
    return Layout(tuple(p for p, _, _ in owned), tuple(order[key] for key in keys), labels)


def _path(name: str) -> list[str]:
    """Return the parts of a parameter's name; Keras has all in one dict, and their layers in the keys."""
    _, within, path = name.rpartition("._torch_params.")
    return path.split("/") if within else name.split(".")


def _label(part: str, number: int, several: bool) -> str:
    if not part:
        return f"group {number}"
    return f"{part} (group {number})" if several else part
