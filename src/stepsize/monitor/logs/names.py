"""What the columns of logs are called: one table of names for losses, rates, norms and counters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_MEAN = "total|epoch|batch|iter|step|avg|average|mean|running|smoothed"
_HELD_OUT = "valid|validation|val|eval|evaluation|test|dev"
NAMES: Mapping[str, re.Pattern[str]] = {  # patterns of names as plain_name writes them
    "loss": re.compile(rf"(?:(?:train|training|lm|{_MEAN}) )*loss(?: (?:train|training|{_MEAN}))*|trl"),
    "lr": re.compile(
        r"(?:(?:train|training|epoch|optim\d*|optimizer|base|current|hyperparameters) )*(?:lr|learning rate)\d*"
        r"(?: (?!scale|decay|mult|factor|sched)[a-z]\w*)?(?: (?:pg|group)? ?\d+)?|train rate"
    ),
    "val": re.compile(
        rf"(?:epoch )?(?:(?:{_HELD_OUT})(?: (?:{_MEAN}))* loss(?: (?:{_MEAN}))*|{_HELD_OUT})"
        rf"|loss (?:{_HELD_OUT})|(?:{_HELD_OUT}) valid loss|tel"
    ),
    "grad_norm": re.compile(r"(?:(?:train|training|total) )*(?:grad|gradient|total grad) ?norm(?: total)?|gnorm|norm"),
}
_PARTS = {  # parts of a loss that no column holds the sum of
    "loss": re.compile(r"(?:train|training) [\w ]+ loss"),
    "val": re.compile(rf"(?:{_HELD_OUT}) [\w ]+ loss"),
}
COUNTERS = (
    *("trainer global step", "train global step", "global step", "num updates", "step", "iteration", "iter", "iters"),
    *("it", "update", "s", "batch", "epoch"),
)
_EXTREME = re.compile(r"__(?:MIN|MAX)$")  # beside each column of an export of W&B


def plain_name(name: str) -> str:
    """Return a column's name in lower case, with one space for each run of other signs.

    Example:
        >>> plain_name(" Train/Loss_step "), plain_name("run-1 - trainLoss")
        ('train loss step', 'train loss')
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name.rpartition(" - ")[2])
    plain = re.sub(r"[\s/_.-]+", " ", words.strip().lower()).strip()
    return plain.removeprefix("stepsize ")  # of log_to


def columns_of(kind: str, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the columns of a kind, of those with so many values: the densest usual name, or parts to be added."""
    usable = {name: plain_name(name) for name in counts if not _EXTREME.search(name)}
    found = [name for name, plain in usable.items() if NAMES[kind].fullmatch(plain)]
    if found:
        most = max(counts[name] for name in found)
        dense = [name for name in found if 2 * counts[name] >= most]
        shortest = min(len(usable[name]) for name in dense)
        return tuple(name for name in dense if len(usable[name]) == shortest)[:1] if _one_run(dense) else tuple(dense)
    if kind not in _PARTS:
        return ()
    return tuple(name for name, plain in usable.items() if _PARTS[kind].fullmatch(plain))


def _one_run(names: Iterable[str]) -> bool:
    return len({name.rpartition(" - ")[0] for name in names}) <= 1


def counter_in(row: Mapping[str, float]) -> str | None:
    """Return the column that counts the steps of a row, or None."""
    plain = {plain_name(name): name for name in row}
    return next((plain[usual] for usual in COUNTERS if usual in plain), None)
