"""Properties of the columns of the inputs: scales, constants, outliers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepsize.training.batches import TensorBatches
from stepsize.training.task import Task

_MOST_ROWS = 8_192
_FAR = 10.0  # standard deviations from the mean beyond which an entry is an outlier
_CONSTANT = 1e-7  # of the column's magnitude: a spread below it is rounding
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """One input of the model, column by column.

    Attributes:
        name: Name of the input in the batch.
        unit: What a column is: ``"column"``, or ``"channel"`` of images.
        rows: Number of rows that were read.
        columns: Number of columns.
        not_finite: Number of entries that are NaN or infinite.
        constant: Number of columns that never change.
        low: Smallest standard deviation of a column that changes; None without such a column.
        high: Largest standard deviation.
        typical: Median standard deviation.
        offset: Largest |mean| / standard deviation of a column that changes.
        far: Number of columns with an entry more than 10 standard deviations from their mean, of the column's own
            and of the typical one.
        farthest: Largest distance of an entry from its column's mean, in the larger of those deviations.
    """

    name: str
    unit: str
    rows: int
    columns: int
    not_finite: int = 0
    constant: int = 0
    low: float | None = None
    high: float | None = None
    typical: float | None = None
    offset: float = 0.0
    far: int = 0
    farthest: float = 0.0


@dataclass(frozen=True, eq=False)
class InputData:
    """Inputs by name, the target if the batches show it, and where they are from."""

    inputs: tuple[tuple[str, Tensor], ...]
    target: Tensor | None
    source: str


def input_data(task: Task, batches: Sequence[Any]) -> InputData | str:
    """Return inputs and target of ``task``: all rows if it holds tensors, else those of ``batches``; or why none."""
    if isinstance(task.train, TensorBatches):
        parts: Any = task.train.tensors
        source = f"{len(parts[0]):,} training examples"
    else:
        parts = _joined(batches)
        if parts is None:
            return "the batches are not tuples or mappings of tensors of one shape"
        source = "the batches that were drawn"
    if isinstance(parts, Mapping):
        return InputData(tuple((str(name), tensor) for name, tensor in parts.items()), None, source)
    last = len(parts) - 1 if task.loss_takes == "output" and len(parts) > 1 else len(parts)
    inputs = tuple((f"input {number}" if last > 1 else "input", part) for number, part in enumerate(parts[:last]))
    return InputData(inputs, parts[last] if last < len(parts) else None, source)


def features_of(name: str, tensor: Tensor) -> Features:
    """Return the properties of the columns of ``tensor``, on at most 8,192 evenly spaced rows.

    A column of images ``(rows, channels, height, width)`` is a channel, of other shapes the last dimension.
    """
    stride = max(1, -(-len(tensor) // _MOST_ROWS))
    rows = tensor[::stride].detach()
    table, unit = _table(rows)
    finite = np.isfinite(table)
    clean = table[finite.all(1)]
    basic = {"rows": len(rows), "columns": table.shape[1], "not_finite": int((~finite).sum())}
    if len(clean) < 2:
        return Features(name, unit, **basic)
    mean, spread = clean.mean(0), clean.std(0, ddof=1)
    moving = spread > _CONSTANT * np.maximum(np.abs(mean), np.abs(clean).max(0))
    if not moving.any():
        return Features(name, unit, **basic, constant=table.shape[1])
    kept, mean, spread = clean[:, moving], mean[moving], spread[moving]
    typical = float(np.median(spread))
    # A column that hardly moves beside the others, as a pixel at the rim, does not count, however long its tail.
    farthest = np.abs(kept - mean).max(0) / np.maximum(spread, typical)
    return Features(
        name,
        unit,
        **basic,
        constant=int((~moving).sum()),
        low=float(spread.min()),
        high=float(spread.max()),
        typical=typical,
        offset=float((np.abs(mean) / spread).max()),
        far=int((farthest > _FAR).sum()),
        farthest=float(farthest.max()),
    )


def _table(rows: Tensor) -> tuple[Array, str]:
    if rows.ndim == 1:
        rows, unit = rows[:, None], "column"
    elif rows.ndim >= 4:
        rows, unit = rows.movedim(1, -1).flatten(0, -2), "channel"
    else:
        rows, unit = rows.flatten(0, -2), "column"
    stride = max(1, -(-len(rows) // (8 * _MOST_ROWS)))  # an image has many pixels
    return rows[::stride].double().cpu().numpy(), unit


def _joined(batches: Sequence[Any]) -> Any:
    """Return the batches' tensors, each joined over the batches; None where that cannot be done."""
    first = batches[0]
    keys: Sequence[Any]
    if isinstance(first, Mapping):
        keys = list(first)
    elif isinstance(first, tuple | list):
        keys = range(len(first))
    else:
        return None
    columns = {key: [batch[key] for batch in batches] for key in keys}
    for parts in columns.values():
        if not all(isinstance(part, Tensor) and part.ndim and part.shape[1:] == parts[0].shape[1:] for part in parts):
            return None
    joined = {key: torch.cat(parts) for key, parts in columns.items()}
    return joined if isinstance(first, Mapping) else tuple(joined.values())
