"""Optuna opens our studies: the same best trial, no infinite value, nothing of others touched."""

from __future__ import annotations

import dataclasses
import importlib
import logging
import math
import threading
from collections.abc import Callable, Iterator
from datetime import datetime

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool
from tests.store.examples import a_run

from stepsize.errors import StoreError, UnknownStudyError
from stepsize.store import Store
from stepsize.store.address import as_address
from stepsize.study.export import export_to_optuna
from stepsize.study.space import as_space
from stepsize.training.runs import Run, Setting, Trial

SPACE = as_space(lr=(1e-6, 1.0))


@pytest.fixture
def storage(where: str) -> Iterator[RDBStorage]:
    """Optuna's own storage, as a user of optuna would open it."""
    url = as_address(where).url.render_as_string(hide_password=False)
    opened = RDBStorage(url, engine_kwargs={"poolclass": NullPool})
    yield opened
    opened.remove_session()


@pytest.fixture
def opened(storage: RDBStorage) -> Callable[[], optuna.Study]:
    """Open the study ``digits`` there."""
    return lambda: optuna.load_study(study_name="digits", storage=storage)


def test_optuna_reads_the_same_best_trial(store: Store, opened: Callable[[], optuna.Study]) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        for number in range(6):
            writer.add_run(a_run(number, value=abs(number - 3.25)))
        writer.finish("done")
        assert export_to_optuna(store, "digits", SPACE) == 6

    study = opened()
    assert study.best_trial.number == 3
    assert study.best_params == {"lr": 0.125}
    assert study.best_value == 0.25
    assert [trial.params["lr"] for trial in study.trials] == [2.0**-number for number in range(6)]
    assert optuna.importance.get_param_importances(study) is not None


def test_what_diverged_failed_and_seeds_are_averaged(store: Store, opened: Callable[[], optuna.Study]) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(0, value=math.inf))
        writer.add_run(a_run(1, value=0.4))
        assert export_to_optuna(store, "digits", SPACE) == 2
        writer.add_run(a_run(1, seed=1, value=0.6))
        assert export_to_optuna(store, "digits", SPACE) == 2  # written anew each time

    diverged, ended = opened().trials
    assert (diverged.state, diverged.values) == (TrialState.FAIL, None)
    assert ended.state == TrialState.COMPLETE
    assert ended.value == pytest.approx(0.5)
    assert [trial.user_attrs["trial"] for trial in (diverged, ended)] == [0, 1]


def test_values_of_every_kind_have_their_axis(store: Store, opened: Callable[[], optuna.Study]) -> None:
    space = as_space(lr=(0.001, 1.0), batch_size=(16, 64), optimizer=["sgd", "adamw", "lion"], momentum=(0.5, 0.9))
    values: dict[str, float | int | str] = {"lr": 0.1, "batch_size": 64, "optimizer": "adamw", "momentum": 0.9}
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(Run(Setting(0.1, 0, 3), value=1.0, trial=Trial(0, values)))
        export_to_optuna(store, "digits", space)

    assert opened().trials[0].distributions == {
        "lr": optuna.distributions.FloatDistribution(0.001, 1.0, log=True),
        "batch_size": optuna.distributions.IntDistribution(16, 64, log=True),
        "optimizer": optuna.distributions.CategoricalDistribution(["sgd", "adamw", "lion"]),
        "momentum": optuna.distributions.FloatDistribution(0.5, 0.9),
    }


@pytest.mark.parametrize("ours", [False, True])
def test_a_study_with_trials_of_others_is_refused(store: Store, storage: RDBStorage, ours: bool) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run())
        if ours:
            export_to_optuna(store, "digits", SPACE)
        theirs = optuna.create_study(study_name="digits", storage=storage, load_if_exists=True)
        theirs.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1.0, log=True), n_trials=1)
        before = theirs.trials
        with pytest.raises(StoreError, match="optuna's tables hold another study 'digits', which was left as it is"):
            export_to_optuna(store, "digits", SPACE)

    assert theirs.trials == before


def test_each_trial_has_its_own_times(store: Store, opened: Callable[[], optuna.Study]) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        for number, seconds in ((0, 10.0), (1, 20.0), (0, 5.0)):
            writer.add_run(dataclasses.replace(a_run(number, seed=int(seconds)), seconds=seconds))
        export_to_optuna(store, "digits", SPACE)

    one, other = opened().trials
    begun = one.datetime_start
    assert begun is not None
    assert abs((begun - datetime.now()).total_seconds()) < 60  # noqa: DTZ005 - as optuna's own
    ends = [one.datetime_complete, other.datetime_start, other.datetime_complete]
    assert [end and (end - begun).total_seconds() for end in ends] == [35.0, 10.0, 30.0]


def test_an_unknown_study_is_not_exported(store: Store) -> None:
    with pytest.raises(UnknownStudyError, match="no study 'digits'"):
        export_to_optuna(store, "digits", SPACE)


def test_it_says_nothing_and_leaves_optuna_as_talkative_as_it_was(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    optuna.logging.set_verbosity(logging.INFO)
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run())
        export_to_optuna(store, "digits", SPACE)

    assert optuna.logging.get_verbosity() == logging.INFO
    assert capfd.readouterr() == ("", "")


def test_a_path_with_braces_is_no_template(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("a {b} %20")
    with Store.open(folder / "s?.db") as store, store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run())
        assert export_to_optuna(store, "digits", SPACE) == 1

    assert {file.name for file in folder.iterdir()} == {"s?.db"}


def test_exports_that_are_made_at_once_all_come_about(sqlite: str) -> None:
    importlib.import_module("optuna.trial")  # once, not in four threads
    names = [f"study-{number}" for number in range(4)]
    with Store.open(sqlite) as store:
        for name in names:
            with store.begin(name, "sweep", {}) as writer:
                writer.add_run(a_run(0))
    begun = threading.Barrier(len(names))
    written: list[int] = []

    def export(name: str) -> None:
        with Store.open(sqlite) as store:
            begun.wait(20)
            written.append(export_to_optuna(store, name, SPACE))

    threads = [threading.Thread(target=export, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert written == [1] * len(names)
