"""The networks of the built-in tasks; all but the recurrent one can be stacked with ``torch.func.vmap``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mlp(
    sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, *, norm: bool = False, dropout: float = 0.0
) -> nn.Sequential:
    """Return linear layers of the given ``sizes`` with ``activation`` between them.

    ``norm`` puts a LayerNorm before each activation, ``dropout`` is the probability of dropping a hidden unit.
    """
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(sizes[:-1]):
        layers.append(nn.Linear(width, following))
        if norm:
            layers.append(nn.LayerNorm(following))
        layers.append(activation())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def autoencoder(sizes: Sequence[int]) -> nn.Sequential:
    """Return a deep tanh network that narrows along ``sizes`` and widens back to the first of them."""
    return mlp([*sizes, *reversed(sizes[:-1])], nn.Tanh)


def cnn_with_batch_norm(channels: int, classes: int) -> nn.Sequential:
    """Return three convolutions with BatchNorm, mean pooling and a linear layer, for images ``(b, 1, h, w)``."""
    layers: list[nn.Module] = []
    for before, after, stride in ((1, channels, 1), (channels, channels, 1), (channels, 2 * channels, 2)):
        layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(2 * channels, classes))


def plain_cnn(channels: int, hidden: int, classes: int) -> nn.Sequential:
    """Return two convolutions with max pooling and two linear layers, for images ``(b, 1, 28, 28)``."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * 49, hidden),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )


class MixedMLP(nn.Module):
    """One logit from ``numeric`` columns and embedded categories (``sizes``: number of categories per column)."""

    offsets: Tensor

    def __init__(self, numeric: int, sizes: Sequence[int], width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("offsets", starts)  # one table holds all columns: column k begins at offsets[k]
        self.embedding = nn.Embedding(sum(sizes), width)
        self.body = mlp([numeric + width * len(sizes), *hidden, 1], nn.ReLU, norm=True)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return logits ``(b,)`` for numbers ``(b, numeric)`` and category numbers ``(b, columns)``."""
        embedded = self.embedding(categories + self.offsets).flatten(-2)
        logits: Tensor = self.body(torch.cat([numbers, embedded], -1))
        return logits.squeeze(-1)


class CharMLP(nn.Module):
    """Logits of the next symbol from the embedded last ones (Bengio et al. 2003)."""

    def __init__(self, symbols: int, context: int, width: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.body = mlp([context * width, *hidden, symbols])

    def forward(self, context: Tensor) -> Tensor:
        """Return logits ``(b, symbols)`` for symbol numbers ``(b, context)``."""
        logits: Tensor = self.body(self.embedding(context).flatten(-2))
        return logits


class CharGRU(nn.Module):
    """Logits of the next symbol at each position, from a gated recurrent layer (Cho et al. 2014)."""

    def __init__(self, symbols: int, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.recurrent = nn.GRU(width, hidden, batch_first=True)
        self.head = nn.Linear(hidden, symbols)

    def forward(self, sequence: Tensor) -> Tensor:
        """Return logits ``(b, length, symbols)`` for symbol numbers ``(b, length)``."""
        logits: Tensor = self.head(self.recurrent(self.embedding(sequence))[0])
        return logits


class _Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each after its LayerNorm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.norm_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self._attend(self.norm_attention(x)))
        fed: Tensor = self.dropout(self.feed(self.norm_feed(x)))
        return x + fed

    def _attend(self, x: Tensor) -> Tensor:
        queries, keys, values = (
            part.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2) for part in self.project_in(x).chunk(3, -1)
        )
        # by hand: torch's fused attention cannot be stacked with vmap, and gains nothing at these sizes
        position = torch.arange(x.shape[1], device=x.device)
        scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
        scores = scores.masked_fill(position > position.unsqueeze(1), -torch.inf)
        mixed = scores.softmax(-1) @ values
        projected: Tensor = self.project_out(mixed.transpose(1, 2).flatten(-2))
        return projected


class CharTransformer(nn.Module):
    """Logits of the next symbol at each position, from pre-LayerNorm blocks (Radford et al. 2019)."""

    def __init__(self, symbols: int, context: int, width: int, heads: int, depth: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.position = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.Sequential(*(_Block(width, heads, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.position, std=0.1)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, sequence: Tensor) -> Tensor:
        """Return logits ``(b, length, symbols)`` for symbol numbers ``(b, length)``."""
        embedded = self.embedding(sequence) + self.position[: sequence.shape[-1]]
        logits: Tensor = self.head(self.norm(self.blocks(embedded)))
        return logits
