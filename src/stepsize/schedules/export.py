"""Schedules for other tools: a function of the step for frameworks, a table for spreadsheets."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, final

from stepsize.errors import InputError
from stepsize.files import write_whole
from stepsize.schedules.catalog import holds_function
from stepsize.schedules.hyperparameters import HyperparameterSchedule, Peaks
from stepsize.schedules.preview import preview
from stepsize.schedules.schedule import Schedule

CSV_COLUMNS = ("step", "factor", "lr", "momentum", "weight_decay", "effective_lr", "timescale")
_BLOCK = 1_024  # updates evaluated at once: a single step costs as much as hundreds


@final
class _Factors:
    """The callable that :func:`to_lambda` returns; it compares by value."""

    # LambdaLR saves the __dict__ of a callable in its own state_dict, and restores it on loading. This one stays empty,
    # so that the state is plain and a resume follows the schedule that it was given, not the saved one.
    __slots__ = ("__dict__", "_begin", "_block", "_in_blocks", "_schedule")

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._in_blocks = not holds_function(schedule.node)
        self._begin, self._block = 0, list[float]()

    def __call__(self, step: int) -> float:
        if type(step) is not int or step < 0 or not self._in_blocks:
            return self._schedule(step)
        place = step - self._begin
        if not 0 <= place < len(self._block):
            place = step % _BLOCK
            self._begin = step - place
            self._block = self._schedule(range(self._begin, self._begin + _BLOCK)).tolist()
        return self._block[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Factors) and other._schedule == self._schedule

    def __hash__(self) -> int:
        return hash((_Factors, self._schedule))

    def __reduce__(self) -> tuple[Callable[[Schedule], object], tuple[Schedule]]:
        return to_lambda, (self._schedule,)

    def __repr__(self) -> str:
        return f"to_lambda({self._schedule!r})"


def to_lambda(schedule: Schedule) -> Callable[[int], float]:
    """Return ``schedule`` as a plain callable from step to factor: what torch's LambdaLR and Hugging Face take.

    It pickles and compares by value. The ``state_dict`` of a LambdaLR contains nothing of it: a resume follows the
    schedule that is given then.

    Args:
        schedule: A resolved schedule.

    Returns:
        A callable: factor(step), a Python float, for whole steps >= 0.

    Raises:
        InputError: If it is no schedule or not resolved.

    Example:
        >>> from stepsize.schedules import cosine
        >>> factor = to_lambda(cosine(100, warmup=5))
        >>> factor(5), round(factor(52), 3), factor(1_000)
        (1.0, 0.508, 0.0)
    """
    _check(schedule, Schedule)
    _ = schedule.length  # of a resolved one only
    return _Factors(schedule)


def to_csv(
    schedule: HyperparameterSchedule | Schedule,
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
        schedule: A schedule of the rate, or of rate, momentum and weight decay; resolved.
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
    _check(schedule, HyperparameterSchedule, Schedule)
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


def _check(value: object, *kinds: type) -> None:
    if not isinstance(value, kinds):
        rule = f"must be a {' or a '.join(kind.__name__ for kind in kinds)}"
        raise InputError(
            "schedule", value, rule, "Make one with stepsize.schedules; of a HyperparameterSchedule use .rate"
        )
