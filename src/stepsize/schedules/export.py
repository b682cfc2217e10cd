"""A schedule as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import TextIO

from stepsize.errors import InputError
from stepsize.files import write_whole
from stepsize.schedules.hyperparameters import HyperparameterSchedule, Peaks, as_hyperparameters
from stepsize.schedules.preview import preview
from stepsize.schedules.schedule import Schedule

CSV_COLUMNS = ("step", "factor", "lr", "momentum", "weight_decay", "effective_lr", "timescale")


def to_csv(
    schedule: HyperparameterSchedule | Schedule | str,
    peaks: Peaks,
    target: str | os.PathLike[str] | TextIO,
    *,
    steps: int | None = None,
) -> Path | None:
    """Write one line per update: step, factor, lr, momentum, weight_decay, effective_lr, timescale.

    The values are those of :func:`~stepsize.schedules.preview`, written so that they read back exactly; columns that
    the peaks do not have stay empty. A file is replaced as a whole, so a failure leaves neither half a file nor a
    damaged older one.

    Args:
        schedule: A schedule of the rate, its written form, or one of rate, momentum and weight decay; resolved.
        peaks: Peak rate, momentum and weight decay.
        target: A path, or a text file that is open for writing.
        steps: Number of updates. Default: its length.

    Returns:
        The path that was written; None for an open file.

    Raises:
        InputError: If the folder of the path does not exist, ``steps`` is missing for an endless schedule, or it
            does not fit the peaks; nothing is written then.

    Example:
        >>> import sys
        >>> from stepsize.schedules import linear
        >>> to_csv(linear(2), Peaks(lr=0.1, weight_decay=0.5), sys.stdout)
        step,factor,lr,momentum,weight_decay,effective_lr,timescale
        0,1.0,0.1,,0.5,,20.0
        1,0.5,0.05,,0.5,,40.0
    """
    schedule = as_hyperparameters("schedule", schedule)
    path = None if hasattr(target, "write") else _place(target)
    seen = preview(schedule, peaks, steps=steps)
    values = {"factor": seen.factors, **{name: getattr(seen.values, name) for name in CSV_COLUMNS[2:]}}
    count = len(seen.steps) - 1  # the last of the preview is after the end
    empty = [""] * count
    cells = [empty if column is None else map(repr, column[:count].tolist()) for column in values.values()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(zip(range(count), *cells, strict=True))
    if path is None:
        target.write(text.getvalue())  # type: ignore[union-attr]
        return None
    write_whole(path, text.getvalue().encode("utf-8"))
    return path


def _place(target: object) -> Path:
    if not isinstance(target, str | os.PathLike):
        raise InputError("target", target, "must be a path or a file open for writing text")
    path = Path(os.path.realpath(target))
    if path.is_dir():
        raise InputError("target", os.fspath(target), "must be a file, not a folder", f"Name it '{path / 'lr.csv'}'")
    if not path.parent.is_dir():
        remedy = f"Create '{path.parent}' first"
        raise InputError("target", os.fspath(target), "must be in a folder that exists", remedy)
    return path
