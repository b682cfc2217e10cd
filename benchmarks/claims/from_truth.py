"""What the ground truth says: claims 2, 3, 10, 11 and 15, each seed against the best rate of the other seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.claims.effects import Check, Effect, Part, Unit, log_ratio, paired
from benchmarks.claims.finals import Finals
from benchmarks.combos import Combo
from stepsize.optimizers import OPTIMIZERS as CATALOG

__all__ = [
    "FEW_EXAMPLES",
    "TABLES",
    "beside_the_best",
    "labels_of",
    "overfitting",
    "predictions",
    "underfitting",
    "unseen",
]

FEW_EXAMPLES = ("cancer-mlp", "diabetes-regression")  # fewer than 1,000 to train on
TABLES = ("shoppers-mlp", "cancer-mlp", "diabetes-regression")
_LEAST_SEEDS = 5
_TINY = 1e-12

Tables = Mapping[Combo, Finals]
Choice = Callable[[Finals, int], int | None]  # a seed to the index of a rate
Known = list[tuple[int, int, int]]  # seed, index of its best rate, index of the chosen one
Tests = Callable[[Finals, Known], tuple[Check, ...]]


def labels_of(task: str, optimizer: str) -> tuple[str, ...]:
    """Return the properties of a place that were known before."""
    return optimizer, "fewer than 1,000 examples" if task in FEW_EXAMPLES else "1,000 examples or more"


def _best(finals: Finals, seed: int) -> int:
    return finals.best_for(seed)


def times(factor: float) -> Choice:
    """Return the choice of the rate at ``factor`` times the best one."""
    return lambda finals, seed: finals.beside(finals.best_for(seed), factor)


def _always(index: int) -> Choice:
    return lambda _finals, _seed: index


def _places(tables: Tables, choice: Choice, tests: Tests) -> tuple[Unit, ...]:
    """Return a unit a place where enough seeds have both their best rate and the chosen one."""
    units = []
    for combo, finals in tables.items():
        chosen = [(seed, _best(finals, seed), choice(finals, seed)) for seed in range(finals.seeds)]
        known = [(seed, best, other) for seed, best, other in chosen if other is not None]
        if len(known) >= _LEAST_SEEDS:
            labels = labels_of(combo.task, combo.optimizer)
            units.append(Unit(f"{combo.task}, {combo.optimizer}", tests(finals, known), labels, (combo.task,)))
    return tuple(units)


def _ratio(finals: Finals, known: Known, table: str = "val") -> Effect:
    values = getattr(finals, table)
    pairs = [(max(values[seed, other], _TINY), max(values[seed, best], _TINY)) for seed, best, other in known]
    return log_ratio([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def beside_the_best(tables: Tables, part: str, choice: Choice, name: str) -> Part:
    """Return the part that says that another rate than the best ends worse."""
    return Part(part, _places(tables, choice, lambda finals, known: (Check(name, _ratio(finals, known), "above"),)))


def overfitting(tables: Tables, part: str) -> Part:
    """Return the part of claim 10 about high rates."""

    def tests(finals: Finals, known: Known) -> tuple[Check, ...]:
        gap = (finals.unseen - finals.train) / finals.unseen
        base = [finals.unseen[seed, best] for seed, best, _ in known]
        high = [
            (finals.unseen[seed, other] - finals.train[seed, other]) / b
            for (seed, _, other), b in zip(known, base, strict=True)
        ]
        return (
            Check(
                "gap, of the best loss",
                paired(high, [gap[seed, best] for seed, best, _ in known]),
                "above",
                0.0,
                "share",
            ),
            Check("validation loss", _ratio(finals, known, "unseen"), "above"),
            Check("training loss", _ratio(finals, known, "train"), "not above"),
        )

    return Part(part, _places(tables, lambda f, seed: f.highest_sound(f.best_for(seed), 3.0, 10.0), tests))


def underfitting(tables: Tables, part: str) -> Part:
    """Return the part of claim 10 about small rates."""

    def tests(finals: Finals, known: Known) -> tuple[Check, ...]:
        return (
            Check("training loss", _ratio(finals, known, "train"), "above"),
            Check("validation loss", _ratio(finals, known, "unseen"), "above"),
        )

    return Part(part, _places(tables, times(0.1), tests))


def _worse_neighbour(finals: Finals, seed: int) -> int | None:
    best = finals.best_for(seed)
    near = [at for at in (finals.beside(best, 10**side) for side in (-0.5, 0.5)) if at is not None]
    others = np.arange(finals.seeds) != seed
    return max(near, key=lambda at: float(finals.val[others, at].mean())) if near else None


def unseen(tables: Tables, influences: str, choose: str) -> tuple[Part, Part]:
    """Return the parts of claim 11."""
    return (
        beside_the_best(tables, influences, _worse_neighbour, "validation loss, three times away"),
        beside_the_best(
            tables, choose, lambda f, seed: f.best_for(seed, by="train"), "validation loss, chosen by training"
        ),
    )


def predictions(tables: Tables, default: str, tenth: str, ten: str) -> tuple[Part, ...]:
    """Return the parts of claim 15 about losses."""
    own = {combo: finals for combo, finals in tables.items() if combo.task in TABLES}
    units: list[Unit] = []
    for combo, finals in own.items():
        usual = finals.nearest(CATALOG[combo.optimizer].default_lr)
        units += beside_the_best({combo: finals}, default, _always(usual), "validation loss at the default").units
    return (
        Part(default, tuple(units)),
        beside_the_best(own, tenth, times(0.1), "validation loss at a tenth"),
        beside_the_best(own, ten, times(10.0), "validation loss at ten times"),
    )
