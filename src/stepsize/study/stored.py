"""A sweep as the store holds it: its answer without its task, and what it takes to go on with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from stepsize.errors import InputError
from stepsize.optimizers.usual import UNKNOWN, Usual
from stepsize.store import Store
from stepsize.study.jobs import SWEEP
from stepsize.study.plan import Plan
from stepsize.study.result import SweepResult
from stepsize.study.rungs import Bracket, Rungs, rungs_entry
from stepsize.study.samplers.catalog import sampler_entry
from stepsize.study.space import Space
from stepsize.training.conditions import Conditions

__all__ = ["StoredSweep", "read_sweep", "stored_sweep"]


@dataclass(frozen=True)
class StoredSweep:
    """What was asked of a sweep, as the store keeps it.

    Attributes:
        name: Of the sweep.
        status: ``"running"``, ``"interrupted"`` or ``"done"``; a sweep that was killed stays at the first.
        spec: All that was asked for.
        space: What was searched at the beginning.
    """

    name: str
    status: str
    spec: dict[str, Any]
    space: Space

    @property
    def asked(self) -> dict[str, Any]:
        """The plain values that were kept with it."""
        return dict(self.spec.get("asked", {}))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments with which :func:`stepsize.sweep` goes on with it, beside task, store and workers.

        Raises:
            InputError: If it was given rungs of its own making, which the store does not hold in full.
        """
        if self.spec["rungs"]["kind"] == "own":
            raise InputError("name", self.name, "has rungs of its own making", "Call stepsize.sweep as before")
        return {
            "name": self.name,
            "seeds": list(self.spec["seeds"]),
            "sampler": self.spec["sampler"]["name"],
            "trials": self.spec["sampler"]["trials"],
            "seed": self.spec["sampler"]["seed"],
            "rungs": self.spec["rungs"]["kind"],
            "repeats": self.spec["repeats"],
            "asked": self.asked,
            **{dimension.name: dimension for dimension in self.space.dimensions},
        }

    def plan(self) -> Plan:
        """Return its plan as it was before the first run."""
        sampler, climbed = self.spec["sampler"], self.spec["rungs"]
        kind, shares, eta = climbed["kind"], tuple(climbed["shares"]), climbed["eta"]
        rungs = Rungs(kind, (Bracket(shares),), eta) if kind == "own" else rungs_entry(kind).make(shares[0], eta)
        return Plan(
            self.space,
            sampler_entry(sampler["name"]).make(sampler["seed"], sampler["trials"]),
            trials=sampler["trials"],
            rungs=rungs,
            seeds=self.spec["seeds"],
            repeats=self.spec["repeats"],
        )


def stored_sweep(store: Store, name: str) -> StoredSweep:
    """Return what was asked of the sweep ``name``.

    Raises:
        UnknownStudyError: If the store has no study of that name.
        InputError: If it is no sweep.
    """
    store.trials(name)  # says which names there are
    study = store.study(name)
    assert study is not None
    if study.kind != SWEEP:
        raise InputError("name", name, f"must be a sweep, not a {study.kind}", "stepsize sweep show lists the sweeps")
    spec = dict(study.spec)
    return StoredSweep(name, study.status, spec, Space.from_json(spec["space"]))


def read_sweep(store: Store, name: str) -> SweepResult:
    """Return the answer of the sweep ``name`` as far as it came, from what the store holds alone.

    Args:
        store: Where it is kept.
        name: Of the sweep.

    Returns:
        The same result as :func:`stepsize.sweep` gave, but that the seconds are those of the runs.

    Raises:
        UnknownStudyError: If the store has no study of that name.
        InputError: If it is no sweep.
    """
    kept = stored_sweep(store, name)
    runs = store.runs(name)
    plan = kept.plan()
    plan.restore(store.trials(name), runs)
    task = kept.spec["task"]
    untrained = math.nan if task["untrained"] is None else task["untrained"]
    return SweepResult(
        name=name,
        where=store.where,
        conditions=Conditions(**task["conditions"]),
        space=plan.space,
        notes=tuple(plan.notes),
        runs=runs,
        untrained=untrained,
        seconds=sum(run.seconds for run in runs),
        complete=plan.done,
        usual=Usual(**task["usual"]) if "usual" in task else UNKNOWN,
    )
