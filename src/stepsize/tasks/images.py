"""Tasks on pictures: hand-written digits and photographs."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stepsize.errors import DataUnavailableError
from stepsize.tasks.folder import unpacked
from stepsize.tasks.models import autoencoder, cnn_with_batch_norm, mlp, plain_cnn
from stepsize.tasks.parts import ACCURACY, Parts, split_rows

MNIST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
_IMAGE_MAGIC, _LABEL_MAGIC = 0x803, 0x801
_BLOCK, _PATCH, _HIDDEN, _DRAWS = 32, 9, 3, 40


@cache
def _digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return (train, val) of 8 x 8 digits, each (pixels in [0, 1] of shape (n, 64), labels)."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(pixels).float() / 16, torch.from_numpy(labels).long()
    train, val = split_rows(len(x), 0.2)
    return (x[train], y[train]), (x[val], y[val])


def _scaled(x: Tensor, x_val: Tensor) -> tuple[Tensor, Tensor]:
    """Return both, centered per pixel but with one scale for all: a pixel of the rim must not outweigh the digit."""
    mean, scale = x.mean(0), x.std()
    return (x - mean) / scale, (x_val - mean) / scale


def digits_mlp() -> Parts:
    """Return a wide network for the digits as rows of 64 pixels."""
    (x, y), (x_val, y_val) = _digits()
    x, x_val = _scaled(x, x_val)
    model = partial(mlp, (64, 512, 512, 10))
    return Parts(model, nn.functional.cross_entropy, (x, y), (x_val, y_val), ACCURACY)


def digits_cnn() -> Parts:
    """Return a convolutional network for the digits as pictures."""
    (x, y), (x_val, y_val) = _digits()
    mean, scale = x.mean(), x.std()
    images, images_val = (((part - mean) / scale).reshape(-1, 1, 8, 8) for part in (x, x_val))
    return Parts(
        partial(cnn_with_batch_norm, 24, 10), nn.functional.cross_entropy, (images, y), (images_val, y_val), ACCURACY
    )


def digits_autoencoder() -> Parts:
    """Return an autoencoder of the digits; the target is the input."""
    (x, _), (x_val, _) = _digits()
    x, x_val = _scaled(x, x_val)
    return Parts(partial(autoencoder, (64, 256, 128, 64, 12)), nn.functional.mse_loss, (x, x), (x_val, x_val))


@cache
def _photo_patches() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return (train, val), each (surroundings in [0, 1] of shape (n, 72, 3), middle pixels (n, 3)).

    The photographs are cut into blocks; a patch lies within one block, and a block is either training or
    validation data, so that no pixel is in both.
    """
    from sklearn.datasets import load_sample_images

    images = [torch.from_numpy(image.astype(np.float32)) / 255 for image in load_sample_images().images]
    blocks = torch.cat([_blocks(image) for image in images])
    positions = _BLOCK - _PATCH + 1
    draws = torch.randint(positions, (len(blocks), _DRAWS, 2), generator=torch.Generator().manual_seed(1))
    patches = blocks.unfold(1, _PATCH, 1).unfold(2, _PATCH, 1)  # (block, row, column, color, 9, 9)
    number = torch.arange(len(blocks)).unsqueeze(1)
    drawn = patches[number, draws[..., 0], draws[..., 1]].permute(0, 1, 3, 4, 2)  # (block, draw, 9, 9, color)
    visible = torch.ones(_PATCH, _PATCH, dtype=torch.bool)
    rim, middle = (_PATCH - _HIDDEN) // 2, _PATCH // 2
    visible[rim : rim + _HIDDEN, rim : rim + _HIDDEN] = False
    surroundings, target = drawn[:, :, visible], drawn[:, :, middle, middle]
    train, val = split_rows(len(blocks), 0.2)
    return (
        (surroundings[train].flatten(0, 1), target[train].flatten(0, 1)),
        (surroundings[val].flatten(0, 1), target[val].flatten(0, 1)),
    )


def _blocks(image: Tensor) -> Tensor:
    """Return the whole blocks of an image (height, width, 3), shape (n, block, block, 3)."""
    rows, columns = image.shape[0] // _BLOCK, image.shape[1] // _BLOCK
    cut = image[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK, 3)
    return cut.transpose(1, 2).flatten(0, 1)


def photos_mlp() -> Parts:
    """Return a regression of a pixel's three colors on its surroundings beyond the nearest pixels."""
    (x, y), (x_val, y_val) = _photo_patches()
    mean, scale = x.mean((0, 1)), x.std((0, 1))  # of each color
    x, x_val, y, y_val = ((part - mean) / scale for part in (x, x_val, y, y_val))
    model = partial(mlp, (72 * 3, 192, 192, 3))
    return Parts(model, nn.functional.mse_loss, (x.flatten(1), y), (x_val.flatten(1), y_val))


@cache
def _idx(path: Path, magic: int, header: int) -> Tensor:
    """Return the bytes behind the header of an IDX file, after a check of its magic number."""
    raw = unpacked(path)
    if int.from_bytes(raw[:4], "big") != magic:
        raise DataUnavailableError(f"{path} is not the IDX file that it should be: its magic number is {raw[:4].hex()}")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=header).copy())


def mnist_cnn(images: Path, labels: Path) -> Parts:
    """Return a convolutional network for 10,000 digits of 28 x 28 pixels, 8,000 of them to learn from."""
    x = _idx(images, _IMAGE_MAGIC, 16).view(-1, 1, 28, 28).float() / 255
    y = _idx(labels, _LABEL_MAGIC, 8).long()
    train, val = split_rows(len(x), 0.2)
    mean, scale = x[train].mean(), x[train].std()
    x = (x - mean) / scale
    model = partial(plain_cnn, 16, 64, 10)
    return Parts(model, nn.functional.cross_entropy, (x[train], y[train]), (x[val], y[val]), ACCURACY)
