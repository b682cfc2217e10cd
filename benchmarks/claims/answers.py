"""From what was measured to the answer on each statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.by_schedule import BY_SCHEDULE_FILE, judged
from benchmarks.claims import from_runs, from_truth
from benchmarks.claims.campaign import CLAIMS_FILE
from benchmarks.claims.effects import Part, verdict_of
from benchmarks.claims.finals import Finals, load_finals
from benchmarks.claims.from_records import REPLAYED, search_parts
from benchmarks.claims.rules import RULES
from benchmarks.combos import Combo
from benchmarks.record import read_rows
from benchmarks.regret import REGRET_FILE, SEARCHES_FILE, case_of
from benchmarks.replay import SETS

__all__ = ["Answer", "Material", "answer_of", "load_material"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Material:
    """All that the answers are made of.

    Attributes:
        rows: Of the claims' own record.
        tables: The ground truth.
        picks: Of the record of regret.
        searches: Of the record of searches.
        schedules: Final losses by schedule on each task, of the record of by-schedule.
    """

    rows: Rows
    tables: Mapping[Combo, Finals]
    picks: Rows
    searches: Rows
    schedules: Sequence[tuple[str, Mapping[str, Sequence[float]]]]

    def study(self, name: str) -> list[Mapping[str, Any]]:
        """Return the rows of a study."""
        return [row for row in self.rows if row["study"] == name]


@dataclass(frozen=True)
class Answer:
    """What is said of a statement."""

    number: int
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> str:
        """The verdict on the whole statement."""
        return verdict_of(self.parts)


def load_material(path: Path = CLAIMS_FILE) -> Material:
    """Read the records and the truth."""
    picks, searches = (
        [row for row in read_rows(record) if "regret" in row and case_of(row).set == SETS[0]]
        for record in (REGRET_FILE, SEARCHES_FILE)
    )
    searches = [row for row in searches if row["search"] in REPLAYED]
    return Material(read_rows(path), load_finals(), picks, searches, judged(BY_SCHEDULE_FILE))


def answer_of(number: int, material: Material) -> Answer:
    """Return the answer on statement ``number``."""
    return Answer(number, _PARTS[number](material, tuple(RULES[number].parts)))


def _two(material: Material, names: Sequence[str]) -> tuple[Part, ...]:
    own = material.study("around")
    return (
        from_truth.beside_the_best(material.tables, names[0], from_truth.times(10.0), "validation loss at ten times"),
        from_runs.against(own, names[1], from_runs.around("ten times", "best"), "overshoot", "above"),
    )


def _three(material: Material, names: Sequence[str]) -> tuple[Part, ...]:
    own, long = material.study("around"), "a tenth, four times the time"
    slow, poor = (from_runs.around(long, other, ("momentum",)) for other in ("a tenth", "best"))
    return (
        from_truth.beside_the_best(material.tables, names[0], from_truth.times(0.1), "validation loss at a tenth"),
        from_runs.against(own, names[1], slow, "val", "below"),
        from_runs.against(own, names[2], poor, "val", "above"),
    )


def _four(material: Material, names: Sequence[str]) -> tuple[Part, ...]:
    own, short = material.study("around"), "best, a quarter of the time"
    return tuple(
        from_runs.against(own, name, from_runs.around(short, other), "val", "below")
        for name, other in zip(names, ("a tenth", "ten times"), strict=True)
    )


def _six(material: Material, names: Sequence[str]) -> tuple[Part, ...]:
    own = material.study("methods")
    return tuple(
        from_runs.against(own, name, from_runs.adaptive(condition), "val", "below")
        for name, condition in zip(names, ("noise", "drift"), strict=True)
    )


def _seven(material: Material, names: Sequence[str]) -> tuple[Part, ...]:
    own, places = material.study("decays"), from_runs.decays(from_runs.DECAYED, "constant")
    better = from_runs.against(own, names[0], places, "val", "below")
    recorded = from_runs.schedules_record(material.schedules)
    return Part(names[0], (*better.units, *recorded)), from_runs.against(own, names[1], places, "wobble", "below")


def _eight(material: Material, names: Sequence[str]) -> tuple[Part, ...]:
    own, without = material.study("methods"), from_runs.momentum("plain", ("plain", "sgd"))
    return (
        from_runs.against(own, names[0], without, "val", "below"),
        from_runs.against(own, names[1], without, "overshoot", "below"),
        from_runs.landscape_part(material.study("landscapes"), names[2]),
        from_runs.against(own, names[3], from_runs.momentum("at SGD's rate"), "val", "above"),
    )


def _thirteen(material: Material, names: Sequence[str]) -> tuple[Part, ...]:
    own = material.study("decays")
    return tuple(
        from_runs.against(own, name, from_runs.decays(("plateau",), other), "odd", "below")
        for name, other in zip(names, ("constant", "linear"), strict=True)
    )


def _fourteen(material: Material, names: Sequence[str]) -> tuple[Part, ...]:
    own, places = material.study("around"), from_runs.around("erratic", "best")
    return tuple(
        from_runs.against(own, name, places, figure, "above")
        for name, figure in zip(names, ("val", "overshoot"), strict=True)
    )


def _fifteen(material: Material, names: Sequence[str]) -> tuple[Part, ...]:
    places = [("shoppers-mlp", ("best", optimizer), ("default", optimizer)) for optimizer in ("momentum", "adamw")]
    return (
        *from_truth.predictions(material.tables, *names[:3]),
        from_runs.against(material.study("shop"), names[3], places, "auc", "above"),
    )


_PARTS = {
    1: lambda material, names: from_runs.update_parts(material.study("updates"), 1, names),
    2: _two,
    3: _three,
    4: _four,
    5: lambda material, names: from_runs.update_parts(material.study("updates"), 5, names),
    6: _six,
    7: _seven,
    8: _eight,
    9: lambda material, names: search_parts(material.picks, material.searches, names),
    10: lambda material, names: (
        from_truth.overfitting(material.tables, names[0]),
        from_truth.underfitting(material.tables, names[1]),
    ),
    11: lambda material, names: from_truth.unseen(material.tables, *names),
    12: lambda material, names: from_runs.data_parts(material.study("data"), names),
    13: _thirteen,
    14: _fourteen,
    15: _fifteen,
}
