"""Optuna opens our studies: the same best trial, no infinite value, nothing of others touched."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from datetime import datetime

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool
from tests.store.examples import a_run

from stepsize.errors import StoreError, UnknownStudyError
from stepsize.store import Store, mirror
from stepsize.store.address import as_address
from stepsize.store.writer import Writer
from stepsize.training.runs import Run, Setting, Trial


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


def halving(writer: Writer) -> None:
    """Add what successive halving leaves: one diverged, two not promoted, one at the full horizon with two seeds."""
    writer.add_run(a_run(0, 0.25, value=math.inf))
    for number, value in ((1, 0.9), (2, 0.8), (3, 0.7)):
        writer.add_run(a_run(number, 0.25, value=value))
    writer.add_run(a_run(3, 1.0, 0, value=0.4))
    writer.add_run(a_run(3, 1.0, 1, value=0.6))


def test_optuna_reads_the_same_best_trial(store: Store, opened: Callable[[], optuna.Study]) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        for number in range(6):
            writer.add_run(a_run(number, value=abs(number - 3.25)))
        writer.finish("done")
        assert mirror(store, "digits") == 6

    study = opened()
    assert study.best_trial.number == 3
    assert study.best_params == {"lr": 0.125}
    assert study.best_value == 0.25
    assert [trial.params["lr"] for trial in study.trials] == [2.0**-number for number in range(6)]
    assert optuna.importance.get_param_importances(study) is not None


def test_a_finished_study_shows_what_came_of_each_trial(store: Store, opened: Callable[[], optuna.Study]) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        halving(writer)
        writer.finish("done")
        mirror(store, "digits")

    diverged, lost, also_lost, won = opened().trials
    assert [trial.state for trial in (diverged, lost, won)] == [
        TrialState.FAIL,
        TrialState.PRUNED,
        TrialState.COMPLETE,
    ]
    assert diverged.values is None
    assert (lost.value, also_lost.value) == (0.9, 0.8)
    assert won.value == pytest.approx(0.5)
    assert won.intermediate_values == {250: 0.7, 1000: pytest.approx(0.5)}


def test_it_is_written_anew_each_time(store: Store, opened: Callable[[], optuna.Study]) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        halving(writer)
        assert mirror(store, "digits") == 4
        writer.add_run(a_run(2, 1.0, value=0.1))
        assert mirror(store, "digits") == 4
        assert opened().best_value == 0.1
        writer.add_run(a_run(2, 1.0, 1, value=0.3))
        assert mirror(store, "digits") == 4

    assert opened().best_value == pytest.approx(0.2)
    assert [trial.number for trial in opened().trials] == [0, 1, 2, 3]
    assert [trial.user_attrs["trial"] for trial in opened().trials] == [0, 1, 2, 3]


def test_values_of_every_kind_have_their_axis(store: Store, opened: Callable[[], optuna.Study]) -> None:
    tried = [(0.1, 64, "adamw"), (0.01, 32, "sgd"), (1.0, 16, "sgd")]
    with store.begin("digits", "sweep", {}) as writer:
        for number, (lr, batch, optimizer) in enumerate(tried):
            values: dict[str, float | int | str] = {
                "lr": lr,
                "batch_size": batch,
                "optimizer": optimizer,
                "momentum": 0.9,
            }
            writer.add_run(Run(Setting(lr, 0, 3), value=1.0, trial=Trial(number, values)))
            mirror(store, "digits", {"lr": (0.001, 0.1), "optimizer": ["sgd", "adamw", "lion"]})

    axes = opened().trials[-1].distributions
    assert axes["lr"] == optuna.distributions.FloatDistribution(0.001, 1.0, log=True)
    assert axes["batch_size"] == optuna.distributions.IntDistribution(16, 64)
    assert axes["optimizer"] == optuna.distributions.CategoricalDistribution(["sgd", "adamw", "lion"])
    assert axes["momentum"] == optuna.distributions.FloatDistribution(0.9, 0.9)


@pytest.mark.parametrize("ours", [False, True])
def test_a_study_with_trials_of_others_is_refused(store: Store, storage: RDBStorage, ours: bool) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run())
        if ours:
            mirror(store, "digits")
        theirs = optuna.create_study(study_name="digits", storage=storage, load_if_exists=True)
        theirs.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1.0, log=True), n_trials=1)
        before = theirs.trials
        with pytest.raises(StoreError, match="optuna's tables hold another study 'digits', which was left as it is"):
            mirror(store, "digits")

    assert theirs.trials == before


def test_each_trial_has_its_own_times(store: Store, opened: Callable[[], optuna.Study]) -> None:
    with store.begin("digits", "sweep", {}) as writer:
        for number, seconds in ((0, 10.0), (1, 20.0), (0, 5.0)):
            writer.add_run(dataclasses.replace(a_run(number, 0.25 if seconds > 5 else 1.0), seconds=seconds))
        mirror(store, "digits")

    one, other = opened().trials
    begun = one.datetime_start
    assert begun is not None
    assert abs((begun - datetime.now()).total_seconds()) < 60  # noqa: DTZ005 - as optuna's own
    ends = [one.datetime_complete, other.datetime_start, other.datetime_complete]
    assert [end and (end - begun).total_seconds() for end in ends] == [35.0, 10.0, 30.0]


def test_an_unknown_study_has_no_mirror(store: Store) -> None:
    with pytest.raises(UnknownStudyError, match="no study 'digits'"):
        mirror(store, "digits")


def test_it_says_nothing_and_leaves_optuna_as_talkative_as_it_was(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    optuna.logging.set_verbosity(logging.INFO)
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run())
        mirror(store, "digits")

    assert optuna.logging.get_verbosity() == logging.INFO
    assert capfd.readouterr() == ("", "")


def test_a_path_with_braces_is_no_template(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("a {b} %20")
    with Store.open(folder / "s?.db") as store, store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run())
        assert mirror(store, "digits") == 1

    assert {file.name for file in folder.iterdir()} == {"s?.db"}
