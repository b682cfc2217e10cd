"""Finished runs of one combo in a small JSON file, which belongs to one definition of the task only."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

__all__ = ["FingerprintError", "Row", "RunLog"]

_FORMAT = 1
_TOLERANCE = 1e-3  # of the fingerprint's floats: other processors round differently


class FingerprintError(ValueError):
    """A file of runs was made with another definition of the task."""


@dataclass(frozen=True)
class Row:
    """One finished run; losses are None where it diverged (at the step ``diverged``)."""

    lr: float
    seed: int
    steps: int
    val: float | None
    train: float | None
    metric: float | None
    diverged: int | None
    seconds: float

    @property
    def key(self) -> tuple[float, int, int]:
        """What it is a run of."""
        return self.lr, self.seed, self.steps


class RunLog:
    """The runs of one combo, kept in ``path``; every addition is on disk before :meth:`add` returns.

    Args:
        path: The JSON file; made at the first addition.
        fingerprint: Of the task's present definition; a file that bears another is refused.

    Raises:
        FingerprintError: If the file was made with another definition; names what differs.
    """

    def __init__(self, path: Path, fingerprint: Mapping[str, Any]) -> None:
        self.path = path
        self.fingerprint = dict(fingerprint)
        self._rows: dict[tuple[float, int, int], Row] = {}
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            _compare(path, content["fingerprint"], self.fingerprint)
            self._rows = {row.key: row for row in (Row(*values) for values in content["runs"])}

    @classmethod
    def read(cls, path: Path) -> RunLog:
        """Return the runs in ``path``, whatever definition of the task they belong to."""
        return cls(path, json.loads(path.read_text(encoding="utf-8"))["fingerprint"])

    @property
    def rows(self) -> tuple[Row, ...]:
        """All runs, by steps, seed and rate."""
        return tuple(sorted(self._rows.values(), key=lambda row: (row.steps, row.seed, row.lr)))

    def __contains__(self, key: tuple[float, int, int]) -> bool:
        return key in self._rows

    def add(self, rows: Iterable[Row]) -> None:
        """Keep ``rows``."""
        self._rows.update({row.key: row for row in rows})
        head = {"format": _FORMAT, "fingerprint": self.fingerprint, "columns": [field.name for field in fields(Row)]}
        lines = ",\n  ".join(json.dumps(astuple(row)) for row in self.rows)
        text = json.dumps(head, indent=1)[:-2] + f',\n "runs": [\n  {lines}\n ]\n}}\n'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".tmp")
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, self.path)  # noqa: PTH105 - atomic: a kill leaves the old file or the new one


def _compare(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    names = sorted(found.keys() | expected.keys())
    differing = [name for name in names if not _same(found.get(name), expected.get(name))]
    if differing:
        shown = "; ".join(f"{name}: {found.get(name)!r} there, {expected.get(name)!r} now" for name in differing)
        raise FingerprintError(f"{path.name} belongs to another definition of its task ({shown}); delete it to redo it")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_TOLERANCE)
    return bool(one == other)
