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
        self._turned, self._slots = self._held.transpose(1, 2), self._held.unbind(1)
        self._rows = [[slot[row, :length] for row, length in enumerate(lengths)] for slot in self._slots]
        self._sums = torch.zeros((max(groups) + 1, count), dtype=torch.float32, device=device)
        for row, (group, stride) in enumerate(zip(groups, self._strides, strict=True)):
            self._sums[group, row] = float(stride)
        self._roots = torch.tensor([[math.sqrt(stride)] for stride in self._strides], device=device)
        self._now = 0
        self._places = [torch.tensor(_products_at(now), device=device) for now in range(2)]

    def part(self, gradient: Tensor) -> Tensor:
        """Return the sampled coordinates of the first parameter's gradient, as a view."""
        return _every(gradient, self._strides[0])

    def weights(self) -> Tensor:
        """Return a copy of the sampled weights, one tensor after the other, on the device."""
        return torch.cat(self._sampled()).float()

    def by_tensor(self, weights: Tensor) -> Tensor:
        """Return several copies of the weights, each weight times the root of how many coordinates it represents.

        The shape is ``(copies, tensors, coordinates)``, padded with zeros.
        """
        padded = weights.new_zeros((len(weights), *self._slots[_W].shape))
        lengths = [len(row) for row in self._rows[_W]]
        for row, part in enumerate(torch.split(weights, lengths, dim=1)):
            padded[:, row, : lengths[row]] = part
        return padded * self._roots

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
                self._slots[_G + now].zero_()
            pairs = [
                (row, _every(gradient, stride))
                for row, gradient, stride in zip(self._rows[_G + now], gradients, self._strides, strict=True)
                if gradient is not None and not gradient.is_sparse
            ]
            if pairs:
                torch._foreach_copy_([row for row, _ in pairs], [view for _, view in pairs])
            if scale is not None:
                self._slots[_G + now].div_(scale.to(self._held.device))
            torch._foreach_copy_(self._rows[_W + now], self._sampled())
            torch.sub(self._slots[_W + now], self._slots[_W + then], out=self._slots[_D])
            gram = torch.bmm(self._held, self._turned)
            return self._sums @ gram.reshape(-1, _SLOTS * _SLOTS).index_select(1, self._places[now])

    def _sampled(self) -> list[Tensor]:
        return [_every(p.detach(), stride) for p, stride in zip(self._parameters, self._strides, strict=True)]


def _products_at(now: int) -> list[int]:
    """Return where the products of :meth:`Sketch.take` are in a flat matrix of those of all slots."""
    g, before, w = _G + now, _G + (now ^ 1), _W + now
    pairs = ((g, g), (g, before), (g, _D), (before, _D), (_D, _D), (w, w))
    return [one * _SLOTS + two for one, two in pairs]


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
