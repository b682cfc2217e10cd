"""How far one update moves each layer, relative to its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """The parameters that one module of the model holds itself.

    Attributes:
        name: Name of the module in the model, or of the parameter if the model itself holds it.
        kind: Class of the module.
        parameters: Number of trainable numbers.
        weight: |w|, the norm of its weights.
        gradient: |G|, the norm of its mean gradient.
        matrix: Whether one of its parameters has two dimensions or more, unlike gains and biases.
        ratio: |u| / |w|: its update relative to its size at rate 1; None if it is all zero, or never updated.
    """

    name: str
    kind: str
    parameters: int
    weight: float
    gradient: float
    matrix: bool
    ratio: float | None

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


def layers_of(
    model: nn.Module, gradients: Mapping[str, Tensor | None], direction: Mapping[str, Tensor | None]
) -> tuple[Layer, ...]:
    """Return the layers of ``model``, given the mean gradient and the update for unit rate by parameter name."""
    groups: dict[str, list[str]] = {}
    weights = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name in weights:
        groups.setdefault(name.rpartition(".")[0] or name, []).append(name)
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    return tuple(
        _layer(name, kinds.get(name, "Parameter"), [(weights[m], gradients.get(m), direction.get(m)) for m in members])
        for name, members in groups.items()
    )


def without_gradient(gradients: Mapping[str, Tensor | None]) -> tuple[str, ...]:
    """Return the names of the parameters whose mean gradient is missing or zero throughout."""
    return tuple(name for name, gradient in gradients.items() if gradient is None or not bool(gradient.any()))


def _layer(name: str, kind: str, members: list[tuple[Tensor, Tensor | None, Tensor | None]]) -> Layer:
    """Return the layer of ``members``: the weights, the mean gradient and the update of each parameter."""
    weight = _norm([w for w, _, _ in members])
    moved = _norm([u for _, _, u in members if u is not None])
    return Layer(
        name=name,
        kind=kind,
        parameters=sum(w.numel() for w, _, _ in members),
        weight=weight,
        gradient=_norm([g for _, g, _ in members if g is not None]),
        matrix=any(w.ndim >= 2 for w, _, _ in members),
        ratio=moved / weight if weight > 0 and moved > 0 else None,
    )


def _norm(tensors: list[Tensor]) -> float:
    return float(sum(float(tensor.detach().double().square().sum()) for tensor in tensors) ** 0.5)
