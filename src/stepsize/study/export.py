"""A sweep in optuna's own tables of the same database, so that optuna's dashboard and functions open it."""

from __future__ import annotations

import math
import sqlite3
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from stepsize.errors import StoreError, needing
from stepsize.store import Store
from stepsize.store.address import Address
from stepsize.store.failures import guarded
from stepsize.study.samplers.guided import quiet
from stepsize.study.space import Choice, Dimension, Space
from stepsize.training.runs import Run

with needing("search"):
    from sqlalchemy import event
    from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage

_TRIES = 10
_TRIAL = "trial"  # the attribute that holds our number of a trial


def export_to_optuna(store: Store, name: str, space: Space) -> int:
    """Write the trials of a study to optuna's tables in the same database, in place of what was written before.

    A trial is complete, with the mean value over its seeds; one that diverged failed, so that no infinite value spoils
    a chart. The times are those of one worker: the runs one after the other since the study began. Optuna needs about
    10 ms per trial. Raises StoreError if optuna's tables hold a study of that name with trials of others.
    """
    trials: dict[int, list[Run]] = {}
    spans: dict[int, tuple[datetime, datetime]] = {}  # from the begin of the first run to the end of the last
    now = store.known(name).created.astimezone().replace(tzinfo=None)  # optuna's are without a zone
    for run in store.runs(name):
        number = run.trial.number
        trials.setdefault(number, []).append(run)
        begin, now = now, now + timedelta(seconds=run.seconds)
        spans[number] = spans.get(number, (begin,))[0], now
    with quiet():
        axes = {one.name: _axis(one) for one in space.dimensions}
        frozen = [_frozen(trials[number], axes, *spans[number]) for number in sorted(trials)]
        with _emptied(store.address, name) as study:
            study.add_trials(frozen)
    return len(frozen)


def _frozen(
    runs: Sequence[Run], axes: dict[str, BaseDistribution], begin: datetime, end: datetime
) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState, create_trial

    trial, value = runs[0].trial, statistics.fmean(run.value for run in runs)
    ended = math.isfinite(value)
    made = create_trial(
        state=TrialState.COMPLETE if ended else TrialState.FAIL,
        value=value if ended else None,
        params=dict(trial.values),
        distributions={name: axes[name] for name in trial.values},
        user_attrs={_TRIAL: trial.number},
    )
    made.datetime_start, made.datetime_complete = begin, end
    return made


def _axis(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    log = dimension.scale == "log"
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=log)
    return FloatDistribution(dimension.low, dimension.high, log=log)


@contextmanager
def _emptied(address: Address, name: str) -> Iterator[optuna.Study]:
    """Open the study in optuna's storage, without trials; studies with trials of others are refused."""
    import optuna

    # Optuna fills in a template, in which braces are doubled.
    url = address.url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    try:
        with guarded(address):
            storage = _opened(url)
            try:
                if address.path is not None:  # as in our own connections: a commit need not reach the disk to be safe
                    storage.engine.dispose()
                    event.listen(storage.engine, "connect", _relax)
                study = _created(storage, name)
                if study.get_trials(deepcopy=False):
                    optuna.delete_study(study_name=name, storage=storage)
                    study = _created(storage, name)
                yield study
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except (optuna.exceptions.OptunaError, RuntimeError) as error:
        raise StoreError(f"optuna's tables in {address} failed: {address.hide(str(error))}") from error


def _opened(url: str) -> RDBStorage:
    """Open optuna's storage; making its tables fails while another process makes them, and is tried again."""
    from optuna.exceptions import OptunaError
    from optuna.storages import RDBStorage

    for left in reversed(range(_TRIES)):
        try:
            return RDBStorage(url)
        except (AssertionError, DBAPIError, OptunaError, RuntimeError):  # half of the tables, or locked
            if not left:
                raise
            time.sleep(0.2)
    raise AssertionError


def _relax(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")


def _created(storage: RDBStorage, name: str) -> optuna.Study:
    """Make the study or open it; raises StoreError if others added trials."""
    import optuna

    study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
    trials = study.get_trials(deepcopy=False)
    if any(_TRIAL not in trial.user_attrs for trial in trials) or study.direction.name != "MINIMIZE":
        raise StoreError(f"optuna's tables hold another study '{name}', which was left as it is; rename ours or it")
    return study
