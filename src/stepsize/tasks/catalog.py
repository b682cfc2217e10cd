"""One entry a task: what it is, where its data come from, and how it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from stepsize.errors import InputError, UnknownNameError
from stepsize.optimizers import OPTIMIZERS
from stepsize.schedules import cosine
from stepsize.tasks import images, tables, text
from stepsize.tasks.folder import data_files
from stepsize.tasks.parts import Parts
from stepsize.training import Task, TensorBatches

__all__ = ["TASKS", "TaskEntry", "build_task"]

_WARMUP = "5%"
_VAL_BATCH = 1_024  # evaluation takes one or a few forward passes


@dataclass(frozen=True)
class TaskEntry:
    """What stepsize knows of a built-in task.

    Attributes:
        name: What it is called, on the command line too.
        title: What is learned, in one line.
        source: Where the data come from, and their licence.
        steps: The horizon of a full training, in optimizer updates.
        batch_size: Examples a batch of training data.
        optimizer: The optimizer that it is trained with unless another is named.
        parts: Makes model, loss and data; called with the paths of ``files``.
        files: The files that it needs from the data folder; none where no folder is needed.
    """

    name: str
    title: str
    source: str
    steps: int
    batch_size: int
    optimizer: str
    parts: Callable[..., Parts]
    files: tuple[str, ...] = ()

    @property
    def needs_data(self) -> bool:
        """Whether it needs a data folder."""
        return bool(self.files)


_DIGITS = "scikit-learn digits: UCI dataset 80, Alpaydin and Kaynak 1998, CC BY 4.0"
_CANCER = "scikit-learn breast cancer: UCI dataset 17, Wolberg et al. 1993, CC BY 4.0"
_DIABETES = "scikit-learn diabetes: Efron et al., Least angle regression, 2004"
_PHOTOS = "scikit-learn sample images china.jpg and flower.jpg: danielbuechele and vultilion on Flickr, CC BY 2.0"
_DOCS = "pydoc_data.topics of the running Python: PSF licence"
_SHOPPERS = "online_shoppers_intention.csv.gz: UCI dataset 468, Sakar and Kastro 2018, CC BY 4.0"
_MNIST = "the test part of MNIST: LeCun, Cortes and Burges"
_PLAYS = "tinyshakespeare.txt: public domain text, collected in karpathy/char-rnn"

_ENTRIES = (
    TaskEntry("digits-mlp", "Which digit is it? MLP with ReLU", _DIGITS, 600, 128, "adamw", images.digits_mlp),
    TaskEntry("digits-cnn", "Which digit is it? CNN with BatchNorm", _DIGITS, 300, 64, "momentum", images.digits_cnn),
    TaskEntry(
        "digits-autoencoder",
        "Squeeze a digit through 12 numbers: deep tanh autoencoder",
        _DIGITS,
        800,
        64,
        "adamw",
        images.digits_autoencoder,
    ),
    TaskEntry(
        "cancer-mlp", "Is the tumour benign? MLP with GELU and dropout", _CANCER, 800, 64, "adamw", tables.cancer_mlp
    ),
    TaskEntry(
        "diabetes-regression",
        "How far will the disease progress? MLP regression with dropout",
        _DIABETES,
        800,
        64,
        "momentum",
        tables.diabetes_regression,
    ),
    TaskEntry(
        "photos-mlp",
        "Which colour has a pixel, given its surroundings? MLP regression",
        _PHOTOS,
        800,
        256,
        "adamw",
        images.photos_mlp,
    ),
    TaskEntry(
        "docs-chars-mlp", "Next character of Python's documentation: MLP", _DOCS, 800, 128, "adamw", text.docs_chars_mlp
    ),
    TaskEntry(
        "docs-chars-gpt",
        "Next character of Python's documentation: transformer",
        _DOCS,
        400,
        16,
        "adamw",
        text.docs_chars_gpt,
    ),
    TaskEntry(
        "docs-chars-gru", "Next character of Python's documentation: GRU", _DOCS, 400, 32, "adamw", text.docs_chars_gru
    ),
    TaskEntry(
        "shoppers-mlp",
        "Will the visit end in a purchase? MLP with LayerNorm on numbers and categories",
        _SHOPPERS,
        800,
        192,
        "adamw",
        tables.shoppers_mlp,
        tables.SHOPPERS_FILES,
    ),
    TaskEntry(
        "mnist-cnn",
        "Which digit is it? CNN without normalisation",
        _MNIST,
        500,
        64,
        "momentum",
        images.mnist_cnn,
        images.MNIST_FILES,
    ),
    TaskEntry(
        "shakespeare-gpt",
        "Next character of plays: transformer with dropout",
        _PLAYS,
        400,
        16,
        "adamw",
        text.shakespeare_gpt,
        text.SHAKESPEARE_FILES,
    ),
)

TASKS: dict[str, TaskEntry] = {entry.name: entry for entry in _ENTRIES}


def build_task(
    name: str,
    *,
    optimizer: str | None = None,
    data: str | Path | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    steps: int | None = None,
) -> Task:
    """Return the built-in task ``name``, ready to be trained.

    Split and scaling of the data are the same whatever ``seed`` is; the schedule warms up linearly over a
    twentieth of the horizon and then falls along half a cosine to 0.

    Args:
        name: A key of :data:`TASKS`, for example ``"digits-mlp"``.
        optimizer: A name of the optimizer catalog; None takes the entry's own.
        data: The folder that holds the entry's files; None takes ``$STEPSIZE_DATA``.
        seed: Of the first run: initial weights, batch order, dropout; >= 0.
        device: Where to train; None takes CUDA where there is one.
        steps: The horizon in optimizer updates, >= 1; None takes the entry's own.

    Returns:
        The task, named after the entry.

    Raises:
        UnknownNameError: If no entry or optimizer has that name; the message suggests the nearest.
        DataUnavailableError: If a data file is missing; the message says where it was looked for.
        InputError: If another argument breaks its rule.

    Example:
        >>> task = build_task("digits-mlp", optimizer="momentum", steps=50)
        >>> task.name, task.horizon, task.optimizer_name
        ('digits-mlp', 50, 'SGD, momentum 0.9')
    """
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    entry = TASKS[name]
    chosen = OPTIMIZERS[entry.optimizer if optimizer is None else optimizer]
    horizon = entry.steps if steps is None else steps
    if isinstance(horizon, bool) or not isinstance(horizon, int):
        raise InputError("steps", steps, "must be a whole number of updates, at least 1")
    parts = entry.parts(*data_files(entry.files, data))
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
