"""A sweep as the store holds it: the same answer without its task, and all that it takes to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from tests.study.plane import make
from tests.study.test_sweeping import keys

from stepsize.errors import InputError, StoreCorruptError, UnknownStudyError
from stepsize.store import Store
from stepsize.study.export import export_to_optuna
from stepsize.study.result import SweepResult
from stepsize.study.study import StudyProgress
from stepsize.study.sweeping import read_sweep, stored_sweep, sweep

WAYS: list[dict[str, Any]] = [
    {},
    {"sampler": "tpe", "momentum": (0.1, 0.9), "trials": 6},
    {"sampler": "random", "trials": 9},
    {"sampler": "sobol", "trials": 6, "repeats": 1},
]


def answer(found: SweepResult) -> dict[str, Any]:
    told = found.to_json()
    del told["cost"]["seconds"]  # of the call; those of a stored sweep are of its runs
    return told


def swept(where: Path, **others: Any) -> SweepResult:
    given: dict[str, Any] = {"lr": (1e-3, 0.3), "seeds": 2, "trials": 5, "name": "mine", "store": where, **others}
    return sweep(make(), **given)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_read_is_what_was_answered(way: dict[str, Any], tmp_path: Path) -> None:
    found = swept(tmp_path / "s.db", **way)
    with Store.open(tmp_path / "s.db") as store:
        again = read_sweep(store, "mine")

    assert answer(again) == answer(found)
    assert again.notes == found.notes
    assert again.complete


def test_a_sweep_that_was_stopped_is_read_as_far_as_it_came_and_goes_on(tmp_path: Path) -> None:
    where = tmp_path / "s.db"

    def stop(progress: StudyProgress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swept(where, on_progress=stop, workers="in-order", sampler="tpe", trials=7)
    with Store.open(where) as store:
        part, kept = read_sweep(store, "mine"), stored_sweep(store, "mine")
    assert (len(part.runs), part.complete) == (3, False)
    assert part.notes[0] == "The sweep ended after 3 of 9 planned runs."

    whole = sweep(make(), store=where, name="mine", workers="in-order", **kept.arguments)
    fresh = swept(tmp_path / "fresh.db", workers="in-order", sampler="tpe", trials=7)
    assert keys(whole) == keys(fresh)
    assert [run.value for run in whole.runs] == [run.value for run in fresh.runs]


def test_what_was_asked_is_kept_with_it(tmp_path: Path) -> None:
    swept(tmp_path / "s.db", asked={"task": "plane.py:task", "steps": 24})
    with Store.open(tmp_path / "s.db") as store:
        assert stored_sweep(store, "mine").asked == {"task": "plane.py:task", "steps": 24}


def test_optuna_opens_a_sweep_that_was_exported_to_it(tmp_path: Path) -> None:
    found = swept(tmp_path / "s.db", trials=5)
    with Store.open(tmp_path / "s.db") as store:
        exported = export_to_optuna(store, "mine", read_sweep(store, "mine").space)
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path / 's.db'}")

    assert len(study.trials) == exported == len({outcome.trial.number for outcome in found.runs}) == 7
    assert found.best is not None
    assert study.best_params["lr"] == pytest.approx(found.best.lr)


def test_names_that_are_not_there_and_studies_that_are_no_sweeps_are_told(tmp_path: Path) -> None:
    swept(tmp_path / "s.db")
    with Store.open(tmp_path / "s.db") as store:
        with pytest.raises(UnknownStudyError, match=r"has no study 'mien'; it holds mine"):
            read_sweep(store, "mien")
        with store.begin("watched", "watch", {}):
            pass
        with pytest.raises(InputError, match=r"must be a sweep, not a watch; got .*sweep show lists the sweeps"):
            stored_sweep(store, "watched")


def test_what_was_asked_for_is_stored_in_full(tmp_path: Path) -> None:
    found = swept(tmp_path / "s.db", **WAYS[-1])
    with Store.open(tmp_path / "s.db") as store:
        kept = stored_sweep(store, "mine")

    assert (kept.sampler, kept.trials, kept.repeats) == ("sobol", 6, 1)
    again = sweep(make(), store=tmp_path / "s.db", name="mine", **kept.arguments)
    assert keys(again) == keys(found)


def test_a_sweep_of_another_form_is_named(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db") as store:
        store.begin("mine", "sweep", {"space": []}).close()
        with pytest.raises(StoreCorruptError, match="holds a sweep 'mine' that stepsize did not write"):
            read_sweep(store, "mine")
