"""The networks of the sixteen trainings that are more than a row of layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = [
    "Denoiser",
    "FactorizationMachine",
    "LowRank",
    "Mixer",
    "Residual",
    "RowReader",
    "Sine",
    "TinyGPT",
    "VisionTransformer",
    "WordLSTM",
    "plain",
    "with_adapters",
]


def plain(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, *, norm: bool = False) -> nn.Sequential:
    """Return linear layers with an activation, and BatchNorm in front of it, between them."""
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(width, following), *([nn.BatchNorm1d(following)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Residual(nn.Module):
    """``x + body(x)``."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class _Transposed(nn.Module):
    """Applies a module along the second dimension instead of the last."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """An MLP-mixer over the patches of an image (Tolstikhin et al. 2021)."""

    def __init__(self, side: int, patch: int, width: int, depth: int, classes: int) -> None:
        super().__init__()
        patches = (side // patch) ** 2
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        blocks: list[nn.Module] = []
        for _ in range(depth):
            tokens = nn.Sequential(nn.Linear(patches, 2 * patches), nn.GELU(), nn.Linear(2 * patches, patches))
            channels = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            blocks += [Residual(nn.LayerNorm(width), _Transposed(tokens)), Residual(nn.LayerNorm(width), channels)]
        self.body = nn.Sequential(*blocks, nn.LayerNorm(width))
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(b, classes)``."""
        return self.head(self.body(self.patches(images).flatten(2).transpose(1, 2)).mean(1))  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """Self-attention, causal or not."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.into, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.into(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _transformer(width: int, heads: int, depth: int, *, causal: bool, norm: type[nn.Module]) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for _ in range(depth):
        feed = (nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        blocks += [Residual(norm(width), _Attention(width, heads, causal=causal)), Residual(norm(width), *feed)]
    return nn.Sequential(*blocks, norm(width))


class VisionTransformer(nn.Module):
    """A transformer over the patches of an image, with a class token (Dosovitskiy et al. 2021)."""

    def __init__(self, side: int, patch: int, width: int, heads: int, depth: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2 + 1, width))
        self.body = _transformer(width, heads, depth, causal=False, norm=nn.LayerNorm)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(b, classes)``."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(images), -1, -1), patches], 1) + self.places
        return self.head(self.body(x)[:, 0])  # type: ignore[no-any-return]


class TinyGPT(nn.Module):
    """A decoder with RMSNorm whose head is its embedding; logits ``(b, symbols, length)`` as cross_entropy wants."""

    def __init__(self, symbols: int, length: int, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        nn.init.normal_(self.embedding.weight, std=0.05)
        self.body = _transformer(width, heads, depth, causal=True, norm=nn.RMSNorm)

    def forward(self, symbols: Tensor) -> Tensor:
        """Return logits ``(b, symbols, length)`` for symbol numbers ``(b, length)``."""
        x = self.body(self.embedding(symbols) + self.places[: symbols.shape[1]])
        return (x @ self.embedding.weight.T).transpose(1, 2)  # type: ignore[no-any-return]


class WordLSTM(nn.Module):
    """Two LSTM layers over characters; logits ``(b, symbols, length)``."""

    def __init__(self, symbols: int, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.recurrent = nn.LSTM(width, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, symbols)

    def forward(self, symbols: Tensor) -> Tensor:
        """Return logits ``(b, symbols, length)`` for symbol numbers ``(b, length)``."""
        return self.head(self.recurrent(self.embedding(symbols))[0]).transpose(1, 2)  # type: ignore[no-any-return]


class RowReader(nn.Module):
    """A GRU that reads an image row by row and answers after the last one."""

    def __init__(self, side: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(side, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(b, classes)``."""
        return self.head(self.recurrent(images.squeeze(1))[0][:, -1])  # type: ignore[no-any-return]


class FactorizationMachine(nn.Module):
    """A logit from categories: their own weights, and the products of their vectors (Rendle 2010)."""

    def __init__(self, symbols: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Embedding(symbols, 1)
        self.vectors = nn.Embedding(symbols, width)
        self.bias = nn.Parameter(torch.zeros(()))
        nn.init.normal_(self.vectors.weight, std=0.1)
        nn.init.zeros_(self.weights.weight)

    def forward(self, categories: Tensor) -> Tensor:
        """Return logits ``(b,)`` for category numbers ``(b, columns)``."""
        vectors = self.vectors(categories)
        pairs = 0.5 * (vectors.sum(1).square() - vectors.square().sum(1)).sum(-1)
        return self.bias + self.weights(categories).sum((1, 2)) + pairs  # type: ignore[no-any-return]


class Denoiser(nn.Module):
    """A convolutional autoencoder that sees images with noise on them while it trains."""

    def __init__(self, channels: int, code: int, side: int) -> None:
        super().__init__()
        small = side // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(1, channels, 3, 2, 1), nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, 2, 1), nn.LeakyReLU(0.1),
            nn.Flatten(), nn.Linear(channels * small * small, code),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(code, channels * small * small), nn.Unflatten(1, (channels, small, small)), nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(channels, channels, 4, 2, 1), nn.LeakyReLU(0.1),
            nn.ConvTranspose2d(channels, 1, 4, 2, 1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Return images like those given."""
        noisy = images + 0.3 * torch.randn_like(images) if self.training else images
        return self.decoder(self.encoder(noisy))  # type: ignore[no-any-return]


class Sine(nn.Module):
    """Sine layers from positions to colors, initialized as in SIREN (Sitzmann et al. 2020)."""

    def __init__(self, width: int, depth: int, frequency: float) -> None:
        super().__init__()
        sizes = [2, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.head, self.frequency = nn.Linear(width, 3), frequency
        for place, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            bound = 1 / layer.in_features if place == 0 else math.sqrt(6 / layer.in_features) / frequency
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return colors ``(b, 3)`` for positions ``(b, 2)``."""
        for layer in self.layers:
            x = torch.sin(self.frequency * layer(x))
        return self.head(x)  # type: ignore[no-any-return]


class LowRank(nn.Module):
    """A frozen linear layer with a trainable product of rank ``rank`` beside it (Hu et al. 2022)."""

    def __init__(self, frozen: nn.Linear, rank: int) -> None:
        super().__init__()
        self.frozen = frozen.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, frozen.in_features) / math.sqrt(frozen.in_features))
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(x) + (x @ self.down.T) @ self.up.T  # type: ignore[no-any-return]


def with_adapters(model: nn.Module, rank: int) -> nn.Module:
    """Freeze ``model`` and put a :class:`LowRank` in the place of each of its linear layers."""
    model.requires_grad_(False)
    places = [(module, name, part) for module in model.modules() for name, part in module.named_children()]
    for module, name, part in places:
        if isinstance(part, nn.Linear):
            setattr(module, name, LowRank(part, rank))
    return model
