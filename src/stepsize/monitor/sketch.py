"""A few thousand coordinates of gradient and weights, from which norms and angles of the whole are estimated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_BUDGET = 16_384  # coordinates in all
_LEAST, _MOST = 64, 2_048  # of one tensor
_G, _W, _D = 0, 2, 4  # places: gradient now and before, weights now and before, the step between
_SLOTS = 5


class Sketch:
    """Inner products between this update's gradient, the last one's, and the step between the two.

    Of each tensor every k-th coordinate is sampled, with k odd and coprime to the last dimension, so that no column
    is preferred. A tensor's products count k-fold, so every sum is an unbiased estimate over coordinates; small
    tensors are taken whole, and exact. Only the moment before an update is sampled: the step d of the last update is
    the difference of the weights then and now. All parameters are on one device.
    """

    def __init__(self, parameters: Sequence[Tensor], groups: Sequence[int]) -> None:
        self._parameters = list(parameters)
        device = self._parameters[0].device
        most = min(_MOST, max(_LEAST, _BUDGET // len(self._parameters)))
        self._strides = [_stride(parameter, most) for parameter in self._parameters]
        lengths = [-(-p.numel() // stride) for p, stride in zip(self._parameters, self._strides, strict=True)]
        count = len(lengths)
        self._held = torch.zeros((count, _SLOTS, max(lengths)), dtype=torch.float32, device=device)
        rows = [[self._held[row, slot, :length] for row, length in enumerate(lengths)] for slot in range(_SLOTS)]
        self._rows = rows
        self._sums = torch.zeros((max(groups) + 1, count), dtype=torch.float32, device=device)
        for row, (group, stride) in enumerate(zip(groups, self._strides, strict=True)):
            self._sums[group, row] = float(stride)
        self._roots = torch.tensor([[math.sqrt(stride)] for stride in self._strides], device=device)
        self._now = 0

    def part(self, gradient: Tensor) -> Tensor:
        """Return the sampled coordinates of the first parameter's gradient, as a view."""
        return _every(gradient, self._strides[0])

    def weights(self) -> Tensor:
        """Return the sampled weights, each times the root of the number of coordinates that it represents.

        The shape is ``(tensors, coordinates)``, padded with zeros, on the device.
        """
        kept = torch.zeros_like(self._held[:, _W])
        rows = [row[: len(part)] for row, part in zip(kept, self._rows[_W], strict=True)]
        with torch.no_grad():
            torch._foreach_copy_(rows, self._sampled())
            return kept * self._roots

    def take(self, scale: Tensor | None = None) -> Tensor:
        """Sample weights and gradients right before an update; ``scale`` is what gradients are still multiplied by.

        Returns:
            Products of each group, shape ``(groups, 6)``: |g|², ⟨g, g'⟩, ⟨g, d⟩, ⟨g', d⟩, |d|², |w|², with g' and d
            of the last update, on the device. A parameter without a gradient counts as 0.
        """
        self._now ^= 1
        now, then = self._now, self._now ^ 1
        with torch.no_grad():
            gradients = [parameter.grad for parameter in self._parameters]
            if any(gradient is None or gradient.is_sparse for gradient in gradients):
                self._held[:, _G + now].zero_()
            pairs = [
                (row, _every(gradient, stride))
                for row, gradient, stride in zip(self._rows[_G + now], gradients, self._strides, strict=True)
                if gradient is not None and not gradient.is_sparse
            ]
            if pairs:
                torch._foreach_copy_([row for row, _ in pairs], [view for _, view in pairs])
            if scale is not None:
                self._held[:, _G + now].div_(scale.to(self._held.device))
            torch._foreach_copy_(self._rows[_W + now], self._sampled())
            torch.sub(self._held[:, _W + now], self._held[:, _W + then], out=self._held[:, _D])
            gram = torch.bmm(self._held, self._held.transpose(1, 2))
            g, before, w = _G + now, _G + then, _W + now
            pairs_of = ((g, g), (g, before), (g, _D), (before, _D), (_D, _D), (w, w))
            return self._sums @ torch.stack([gram[:, one, two] for one, two in pairs_of], dim=1)

    def _sampled(self) -> list[Tensor]:
        return [_every(p.detach(), stride) for p, stride in zip(self._parameters, self._strides, strict=True)]


def _stride(parameter: Tensor, most: int) -> int:
    """Return the smallest odd stride that leaves at most ``most`` coordinates and mixes the columns."""
    stride = -(-parameter.numel() // most)
    if stride <= 1:
        return 1
    columns = parameter.shape[-1] if parameter.ndim > 1 else 1
    stride |= 1
    while math.gcd(stride, columns) > 1:
        stride += 2
    return stride


def _every(tensor: Tensor, stride: int) -> Tensor:
    flat = tensor.view(-1) if tensor.is_contiguous() else tensor.reshape(-1)
    return flat if stride == 1 else flat[::stride]
