"""Networks whose parameters are stacked along a leading axis of members, in one flat buffer per member."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

__all__ = ["Layer", "Net", "Pretrained", "Role"]

Layer: TypeAlias = Callable[[Tensor], Tensor]
Role: TypeAlias = Literal["hidden", "output", "embedding", "vector"]

ACTIVATIONS: dict[str, Layer] = {"relu": torch.relu, "tanh": torch.tanh, "gelu": F.gelu}


@dataclass(frozen=True)
class _Spec:
    """A parameter of one member: its shape, its role, how it is drawn, and whether it is of the head or an adapter."""

    shape: tuple[int, ...]
    role: Role
    draw: Callable[[Generator], Tensor]
    part: Literal["body", "head", "adapter"]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Pretrained:
    """What trained members of a network of the same facts hand on: weights by parameter, and statistics, (seed, …)."""

    weights: tuple[Tensor, ...]
    running: tuple[tuple[Tensor, Tensor], ...]


class Net:
    """A network of K = seeds × rates members; layers act on tensors of shape (K, examples, features).

    Args:
        init: How weights are drawn.
        rank: Of the low-rank adapters of hidden linear layers, beside which only a new head is trained; 0 is none.
        scale: Factor on what an adapter adds.
    """

    def __init__(self, init: str = "torch", rank: int = 0, scale: float = 1.0) -> None:
        self.init, self.rank, self.scale = init, rank, scale
        self.training = True
        self.new_head = False
        self.tensors: list[Tensor] = []
        self.trained: list[Tensor] = []
        self.gradients: list[Tensor] = []
        self.multiplications = 0  # per example of the network's input
        self._specs: list[_Spec] = []
        self._part: Literal["body", "head", "adapter"] = "body"  # of the parameters that are added now
        self._widths: list[int] = []  # of the running statistics of batch norms
        self._running: list[tuple[Tensor, Tensor]] = []
        self._seeds = 0
        self._masks = torch.Generator()

    @property
    def parameters(self) -> int:
        """Return how many numbers of one member are trained."""
        return sum(spec.size for spec in self._trained_specs)

    @property
    def roles(self) -> tuple[Role, ...]:
        """Return the role of each parameter that is trained."""
        return tuple(spec.role for spec in self._trained_specs)

    @property
    def _trained_specs(self) -> list[_Spec]:
        return [spec for spec in self._specs if self._is_trained(spec)]

    def _is_trained(self, spec: _Spec) -> bool:
        return not self.rank or spec.part == "adapter" or (spec.part == "head" and self.new_head)

    # Parameters ------------------------------------------------------------------------------------------------------

    def begin(self, seeds: Sequence[int], rates: int, before: Pretrained | None = None) -> tuple[Tensor, Tensor]:
        """Draw the weights of every seed for all rates, or take them over from a net that was trained ``before``.

        Returns the flat trained weights and their gradients, shape (K, size).
        """
        drawn: list[list[Tensor]] = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            drawn.append([spec.draw(generator) for spec in self._specs])
        values = [torch.stack(of_seeds) for of_seeds in zip(*drawn, strict=True)]
        if before is not None:
            self._take_over(values, before.weights)
        values = [value.repeat_interleave(rates, dim=0) for value in values]
        own = [value.flatten(1) for value, spec in zip(values, self._specs, strict=True) if self._is_trained(spec)]
        flat = torch.cat(own, dim=1).contiguous()
        gradients = torch.zeros_like(flat)
        self.tensors, self.trained, self.gradients, place = [], [], [], 0
        for value, spec in zip(values, self._specs, strict=True):
            if not self._is_trained(spec):
                self.tensors.append(value)
                continue
            end = place + spec.size
            self.tensors.append(flat[:, place:end].view(-1, *spec.shape).detach().requires_grad_())
            self.trained.append(self.tensors[-1])
            self.gradients.append(gradients[:, place:end].view(-1, *spec.shape))
            place = end
        self._running = [(torch.zeros(len(flat), 1, width), torch.ones(len(flat), 1, width)) for width in self._widths]
        if before is not None:
            self._running = [
                (mean.repeat_interleave(rates, dim=0), variance.repeat_interleave(rates, dim=0))
                for mean, variance in before.running
            ]
        self._seeds = len(seeds)
        self._masks.manual_seed(seeds[0])
        self.training = True
        return flat, gradients

    def _take_over(self, values: list[Tensor], weights: Sequence[Tensor]) -> None:
        """Replace what was trained before; adapters, and a new head, are not."""
        kept = iter(weights)
        for place, spec in enumerate(self._specs):
            if spec.part != "adapter":
                weight = next(kept)
                values[place] = values[place] if spec.part == "head" and self.new_head else weight

    def of_members(self, members: Sequence[int]) -> Pretrained:
        """Return copies of what some members have learned, one a seed."""
        return Pretrained(
            tuple(tensor.detach()[list(members)] for tensor in self.tensors),
            tuple((mean[list(members)], variance[list(members)]) for mean, variance in self._running),
        )

    def _add(self, shape: tuple[int, ...], role: Role, draw: Callable[[Generator], Tensor]) -> int:
        self._specs.append(_Spec(shape, role, draw, self._part))
        return len(self._specs) - 1

    def _add_constant(self, width: int, value: float) -> int:
        return self._add((width,), "vector", lambda _: torch.full((width,), value))

    def add_weight(self, fan_in: int, shape: tuple[int, ...], role: Role) -> int:
        """Add a weight drawn by the net's rule."""
        fan_out = shape[0]
        bound = {
            "torch": 1 / math.sqrt(fan_in),
            "he": math.sqrt(6 / fan_in),
            "xavier": math.sqrt(6 / (fan_in + fan_out)),
            "gpt": 0.02 * math.sqrt(3),
            "small output": 1 / math.sqrt(fan_in) * (0.1 if role == "output" else 1.0),
        }[self.init]
        return self._add(shape, role, lambda generator: (2 * torch.rand(shape, generator=generator) - 1) * bound)

    def add_bias(self, fan_in: int, width: int) -> int:
        """Add a bias: torch's rule, or zero."""
        if self.init != "torch":
            return self._add_constant(width, 0.0)
        bound = 1 / math.sqrt(fan_in)
        return self._add((width,), "vector", lambda generator: (2 * torch.rand(width, generator=generator) - 1) * bound)

    # Layers ----------------------------------------------------------------------------------------------------------

    def linear(self, fan_in: int, fan_out: int, role: Role = "hidden", uses: int = 1) -> Layer:
        """Add a linear layer, which an example passes ``uses`` times."""
        self._part = "head" if role == "output" else "body"
        weight, bias = self.add_weight(fan_in, (fan_out, fan_in), role), self.add_bias(fan_in, fan_out)
        self._part = "body"
        self.multiplications += uses * fan_in * fan_out
        adapter = self._adapter(fan_in, fan_out, uses) if self.rank and role == "hidden" else None

        def layer(x: Tensor) -> Tensor:
            flat = x.reshape(len(x), -1, fan_in)
            out = torch.baddbmm(self.tensors[bias].unsqueeze(1), flat, self.tensors[weight].mT)
            out = out if adapter is None else out + adapter(flat)
            return out.view(*x.shape[:-1], fan_out)

        return layer

    def _adapter(self, fan_in: int, fan_out: int, uses: int) -> Layer:
        """Add scale · B A beside a weight: A is drawn as torch draws a linear layer, B begins at zero."""
        self._part, bound = "adapter", 1 / math.sqrt(fan_in)
        down_shape, up_shape = (self.rank, fan_in), (fan_out, self.rank)
        down = self._add(
            down_shape, "hidden", lambda generator: (2 * torch.rand(down_shape, generator=generator) - 1) * bound
        )
        up = self._add(up_shape, "hidden", lambda _: torch.zeros(up_shape))
        self._part = "body"
        self.multiplications += uses * self.rank * (fan_in + fan_out)
        return lambda flat: self.scale * (flat @ self.tensors[down].mT @ self.tensors[up].mT)

    def recurrent(self, kind: str, fan_in: int, width: int, uses: int) -> Layer:
        """Add a GRU or LSTM as torch's: (K, N, length, fan_in) to all its states, (K, N, length, width)."""
        gates = {"gru": 3, "lstm": 4}[kind] * width
        into, back = (self.add_weight(width, (gates, size), "hidden") for size in (fan_in, width))
        biases = [self.add_bias(width, gates) for _ in range(2)]
        self.multiplications += uses * gates * (fan_in + width)

        def layer(x: Tensor) -> Tensor:
            length = x.shape[2]
            given = torch.baddbmm(
                self.tensors[biases[0]].unsqueeze(1), x.reshape(len(x), -1, fan_in), self.tensors[into].mT
            ).view(*x.shape[:3], gates)
            state = cell = x.new_zeros(*x.shape[:2], width)
            states = []
            for place in range(length):
                own = torch.baddbmm(self.tensors[biases[1]].unsqueeze(1), state, self.tensors[back].mT)
                state, cell = _gated(kind, given[:, :, place], own, state, cell)
                states.append(state)
            return torch.stack(states, dim=2)

        return layer

    def embedding(self, count: int, width: int) -> Callable[[Tensor], Tensor]:
        """Add a table of vectors; ids of shape (K, …) give (K, …, width)."""
        scale = 0.02 if self.init == "gpt" else 1.0  # torch's default otherwise
        table = self._add(
            (count, width), "embedding", lambda generator: scale * torch.randn(count, width, generator=generator)
        )

        def layer(ids: Tensor) -> Tensor:
            weights = self.tensors[table]
            offset = torch.arange(len(ids)).view(-1, *[1] * (ids.dim() - 1)) * count
            return F.embedding(ids + offset, weights.reshape(-1, width))

        return layer

    def positions(self, length: int, width: int) -> Layer:
        """Add a learned vector to each of the last but one axis' places: (K, N, length, width)."""
        table = self._add(
            (length, width), "embedding", lambda generator: 0.1 * torch.randn(length, width, generator=generator)
        )
        return lambda x: x + self.tensors[table].unsqueeze(1)

    def layer_norm(self, width: int) -> Layer:
        """Add a layer norm over the last axis."""
        weight, bias = self._add_constant(width, 1.0), self._add_constant(width, 0.0)

        def layer(x: Tensor) -> Tensor:
            shape = (len(x), *[1] * (x.dim() - 2), width)
            return torch.addcmul(
                self.tensors[bias].view(shape), F.layer_norm(x, (width,)), self.tensors[weight].view(shape)
            )

        return layer

    def batch_norm(self, width: int) -> Layer:
        """Add a batch norm of each member over all but its last axis, with running statistics."""
        weight, bias = self._add_constant(width, 1.0), self._add_constant(width, 0.0)
        self._widths.append(width)
        index = len(self._widths) - 1

        def layer(x: Tensor) -> Tensor:
            flat = x.reshape(len(x), -1, width)
            running_mean, running_variance = self._running[index]
            if self.training:
                count, mean = flat.shape[1], flat.mean(dim=1, keepdim=True)
                centered = flat - mean
                variance = centered.square().mean(dim=1, keepdim=True)  # var_mean takes ten times as long
                with torch.no_grad():
                    running_mean.lerp_(mean, 0.1)
                    running_variance.lerp_(variance * (count / max(1, count - 1)), 0.1)
            else:
                centered, variance = flat - running_mean, running_variance
            scale = (variance + 1e-5).rsqrt() * self.tensors[weight].unsqueeze(1)
            return torch.addcmul(self.tensors[bias].unsqueeze(1), centered, scale).view(x.shape)

        return layer

    def norm(self, kind: str, width: int) -> Layer:
        """Add the norm of that name, or nothing."""
        if kind == "layer":
            return self.layer_norm(width)
        return self.batch_norm(width) if kind == "batch" else lambda x: x

    def dropout(self, rate: float) -> Layer:
        """Return a dropout whose masks are the same for all rates of a seed."""

        def layer(x: Tensor) -> Tensor:
            if not self.training:
                return x
            mask = torch.rand(self._seeds, 1, *x.shape[1:], generator=self._masks) >= rate
            grouped = x.view(self._seeds, -1, *x.shape[1:])
            return (grouped * mask.to(x.dtype).div_(1 - rate)).view(x.shape)

        return layer if rate else lambda x: x

    def convolution(self, channels_in: int, channels_out: int, side: int) -> Layer:
        """Add a 3 × 3 convolution over (N, K · channels, side, side), one group a member."""
        fan_in = 9 * channels_in
        weight = self.add_weight(fan_in, (channels_out, channels_in, 3, 3), "hidden")
        bias = self.add_bias(fan_in, channels_out)
        self.multiplications += fan_in * channels_out * side * side

        def layer(x: Tensor) -> Tensor:
            kernels = self.tensors[weight].reshape(-1, channels_in, 3, 3)
            biases = self.tensors[bias].reshape(-1)
            return F.conv2d(x, kernels, biases, padding=1, groups=len(self.tensors[weight]))

        return layer


def _gated(kind: str, given: Tensor, own: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next state, and cell, of a GRU or LSTM from what inputs and state give its gates."""
    if kind == "gru":
        (reset, update, new), (own_reset, own_update, own_new) = given.chunk(3, -1), own.chunk(3, -1)
        keep = torch.sigmoid(update + own_update)
        candidate = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
        return torch.lerp(candidate, state, keep), cell
    inward, forget, new, outward = (given + own).chunk(4, -1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(inward) * torch.tanh(new)
    return torch.sigmoid(outward) * torch.tanh(cell), cell
