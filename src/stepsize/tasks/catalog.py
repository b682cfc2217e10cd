"""The catalog of built-in tasks: one entry each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from stepsize.catalog import Catalog
from stepsize.checks import check_whole
from stepsize.errors import needing
from stepsize.optimizers import OPTIMIZERS
from stepsize.schedules import cosine
from stepsize.tasks import images, tables, text
from stepsize.tasks.folder import data_files
from stepsize.tasks.parts import Parts
from stepsize.training import Task, TensorBatches

_WARMUP = "5%"
_VAL_BATCH = 1_024  # evaluation takes one or a few forward passes


@dataclass(frozen=True)
class TaskEntry:
    """What stepsize knows of a built-in task.

    ``title`` says what is learned, ``source`` where the data are from and their license; ``steps`` is the full horizon,
    and ``parts`` builds model, loss and data from the paths of ``files`` in the data folder.
    """

    name: str
    title: str
    source: str
    steps: int
    batch_size: int
    optimizer: str
    parts: Callable[..., Parts]
    files: tuple[str, ...] = ()


_DIGITS = "scikit-learn digits: UCI dataset 80, Alpaydin and Kaynak 1998, CC BY 4.0"
_CANCER = "scikit-learn breast cancer: UCI dataset 17, Wolberg et al. 1993, CC BY 4.0"
_DIABETES = "scikit-learn diabetes: Efron et al., Least angle regression, 2004"
_PHOTOS = "scikit-learn sample images china.jpg and flower.jpg: danielbuechele and vultilion on Flickr, CC BY 2.0"
_DOCS = "pydoc_data.topics of the running Python: PSF license"
_SHOPPERS = "online_shoppers_intention.csv.gz: UCI dataset 468, Sakar and Kastro 2018, CC BY 4.0"
_MNIST = "the test part of MNIST: LeCun, Cortes and Burges"
_PLAYS = "tinyshakespeare.txt: public domain text, collected in karpathy/char-rnn"

TASKS: Catalog[TaskEntry] = Catalog("task", (
    TaskEntry("digits-mlp", "Which digit is it? MLP with ReLU", _DIGITS, 600, 128, "adamw", images.digits_mlp),
    TaskEntry("digits-cnn", "Which digit is it? CNN with BatchNorm", _DIGITS, 300, 64, "momentum", images.digits_cnn),
    TaskEntry(
        "digits-autoencoder", "Squeeze a digit through 12 numbers: deep tanh autoencoder", _DIGITS, 800, 64, "adamw",
        images.digits_autoencoder,
    ),
    TaskEntry(
        "cancer-mlp", "Is the tumor benign? MLP with GELU and dropout", _CANCER, 800, 64, "adamw", tables.cancer_mlp,
    ),
    TaskEntry(
        "diabetes-regression", "How far will the disease progress? MLP regression with dropout", _DIABETES, 800, 64,
        "momentum", tables.diabetes_regression,
    ),
    TaskEntry(
        "photos-mlp", "Which color has a pixel, given its surroundings? MLP regression", _PHOTOS, 800, 256, "adamw",
        images.photos_mlp,
    ),
    TaskEntry(
        "docs-chars-mlp", "Next character of Python's documentation: MLP", _DOCS, 800, 128, "adamw",
        text.docs_chars_mlp,
    ),
    TaskEntry(
        "docs-chars-gpt", "Next character of Python's documentation: transformer", _DOCS, 400, 16, "adamw",
        text.docs_chars_gpt,
    ),
    TaskEntry(
        "docs-chars-gru", "Next character of Python's documentation: GRU", _DOCS, 400, 32, "adamw", text.docs_chars_gru,
    ),
    TaskEntry(
        "shoppers-mlp", "Will the visit end in a purchase? MLP with LayerNorm on numbers and categories", _SHOPPERS,
        800, 192, "adamw", tables.shoppers_mlp, tables.SHOPPERS_FILES,
    ),
    TaskEntry(
        "mnist-cnn", "Which digit is it? CNN without normalization", _MNIST, 500, 64, "momentum", images.mnist_cnn,
        images.MNIST_FILES,
    ),
    TaskEntry(
        "shakespeare-gpt", "Next character of plays: transformer with dropout", _PLAYS, 400, 16, "adamw",
        text.shakespeare_gpt, text.SHAKESPEARE_FILES,
    ),
))  # fmt: skip


def build_task(
    name: str,
    *,
    optimizer: str | None = None,
    data: str | Path | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    steps: int | None = None,
) -> Task:
    """Return the built-in task ``name``.

    Split and scaling of the data do not depend on ``seed``. The schedule warms up linearly over 5% of the horizon and
    then falls along half a cosine to 0.

    Args:
        name: Key of :data:`TASKS`, for example ``"digits-mlp"``.
        optimizer: Name of an optimizer in the catalog. Default: the task's own.
        data: Folder that holds the task's files. Default: ``$STEPSIZE_DATA``.
        seed: Random seed of the first run (weight initialization, batch order, dropout), >= 0.
        device: Device to train on. Default: CUDA if available.
        steps: Horizon in steps, >= 1. Default: the task's own.

    Returns:
        The task, named after the entry.

    Raises:
        UnknownNameError: If no entry or optimizer has that name; the message suggests the nearest.
        DataUnavailableError: If a data file is missing; the message says where it was expected.
        InputError: If another argument breaks its rule.

    Example:
        >>> task = build_task("digits-mlp", optimizer="momentum", steps=50)
        >>> task.name, task.horizon, task.optimizer_name
        ('digits-mlp', 50, 'SGD, momentum 0.9')
    """
    entry = TASKS[name]
    chosen = OPTIMIZERS[entry.optimizer if optimizer is None else optimizer]
    horizon = entry.steps if steps is None else check_whole("steps", steps, unit="steps")
    files = data_files(entry.files, data)
    with needing("tasks"):
        parts = entry.parts(*files)
    return Task(
        model=parts.model,
        loss=parts.loss,
        train=TensorBatches(parts.train, entry.batch_size),
        val=TensorBatches(parts.val, _VAL_BATCH, shuffle=False),
        optimizer=chosen.name,
        steps=horizon,
        schedule=cosine(warmup=_WARMUP),
        metrics=parts.metrics,
        clip=parts.clip,
        device=device,
        seed=seed,
        name=entry.name,
    )
