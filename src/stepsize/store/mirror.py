"""A study in optuna's own tables of the same database, so that optuna's dashboard and functions open it."""

from __future__ import annotations

import math
import sqlite3
import statistics
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from stepsize.errors import StoreError
from stepsize.store.address import Address
from stepsize.store.failures import guarded
from stepsize.store.store import Store
from stepsize.training.runs import Run, Trial, Value

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage

Axis: TypeAlias = tuple[float, float] | Sequence[Value]
"""A tuple is a range (low, high), a list the values to choose from."""

_MARK = "stepsize"  # the attribute of our studies
_TRIES = 10
_TRIAL = "trial"  # the attribute that holds our number of a trial


def mirror(
    store: Store, name: str, space: Mapping[str, Axis] | None = None, log: Collection[str] = ("lr", "weight_decay")
) -> int:
    """Write the trials of a study to optuna's tables in the same database, in place of what was written before.

    A trial that reached the full horizon is complete, with the mean value over its seeds; one that was not promoted
    is pruned, with its mean on its longest rung; one that diverged there failed, so that no infinite value spoils a
    chart. Intermediate values are the means of its rungs, by thousandths of the horizon. The times are those of one
    worker: the runs one after the other since the study began. Optuna needs about 10 ms per trial.

    Args:
        store: Store that holds the study.
        name: Name of the study, in both.
        space: Range or choices of each value; others span what was tried.
        log: Names of the logarithmic ranges.

    Returns:
        The number of trials written.

    Raises:
        UnknownStudyError: If there is no such study.
        StoreError: If it cannot be written, or optuna's tables hold a study of that name with trials of others.
    """
    trials = {trial.number: trial for trial in store.trials(name)}
    runs: defaultdict[int, list[Run]] = defaultdict(list)
    kept = store.study(name)
    assert kept is not None  # its trials were read
    times: dict[int, tuple[datetime, datetime]] = {}  # of the first run's begin and the last run's end
    now = kept.created.astimezone().replace(tzinfo=None)  # optuna's are without a zone
    for run in store.runs(name):
        number = run.trial.number
        runs[number].append(run)
        begin, now = now, now + timedelta(seconds=run.seconds)
        times[number] = times.get(number, (begin,))[0], now
    axes = _axes([trials[number] for number in runs], space or {}, frozenset(log))
    frozen = [_frozen(trials[number], runs[number], axes, *times[number]) for number in sorted(runs)]
    with _emptied(store.address, name) as study:
        study.add_trials(frozen)
    return len(frozen)


def _frozen(
    trial: Trial, runs: Sequence[Run], axes: Mapping[str, BaseDistribution], begin: datetime, end: datetime
) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState, create_trial

    values: defaultdict[float, list[float]] = defaultdict(list)
    for run in runs:
        values[run.share].append(run.value)
    rungs = {share: statistics.fmean(values[share]) for share in sorted(values)}
    longest = max(rungs)
    failed = not math.isfinite(rungs[longest])
    made = create_trial(
        state=TrialState.FAIL if failed else TrialState.COMPLETE if longest >= 1 else TrialState.PRUNED,
        value=None if failed else rungs[longest],
        params=dict(trial.values),
        distributions={name: axes[name] for name in trial.values},
        user_attrs={_TRIAL: trial.number},
        intermediate_values={max(1, round(1000 * at)): mean for at, mean in rungs.items() if math.isfinite(mean)},
    )
    made.datetime_start, made.datetime_complete = begin, end
    return made


def _axes(trials: Sequence[Trial], space: Mapping[str, Axis], log: frozenset[str]) -> dict[str, BaseDistribution]:
    """Return the range of each name: as given, widened to what was tried."""
    tried: defaultdict[str, list[Value]] = defaultdict(list)
    for trial in trials:
        for name, value in trial.values.items():
            tried[name].append(value)
    return {name: _distribution(values, space.get(name), name in log) for name, values in tried.items()}


def _distribution(tried: Sequence[Value], axis: Axis | None, log: bool) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    numbers = [value for value in tried if not isinstance(value, str)]
    if len(numbers) < len(tried) or (axis is not None and not isinstance(axis, tuple)):
        choices = [] if axis is None else list(axis)
        return CategoricalDistribution(list(dict.fromkeys([*choices, *sorted(tried, key=str)])))
    ends = [*numbers, *(end for end in axis or () if not isinstance(end, str))]
    low, high = min(ends), max(ends)
    if all(isinstance(value, int) for value in numbers):
        return IntDistribution(math.floor(low), math.ceil(high), log=log and low >= 1)
    return FloatDistribution(low, high, log=log and low > 0)


@contextmanager
def _emptied(address: Address, name: str) -> Iterator[optuna.Study]:
    """Open the mirror in optuna's storage, without trials and quietly; studies with trials of others are refused."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with guarded(address):
            # Optuna fills in a template, in which braces are doubled.
            url = address.url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
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
    finally:
        optuna.logging.set_verbosity(verbosity)


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
    """Make the mirror or open it; raises StoreError if it is not ours, or others added trials."""
    import optuna

    study = optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=optuna.samplers.RandomSampler(),  # the default one costs more to make, and none is asked
        direction="minimize",
        load_if_exists=True,
    )
    trials = study.get_trials(deepcopy=False)
    if any(_TRIAL not in trial.user_attrs for trial in trials) or study.direction.name != "MINIMIZE":
        raise StoreError(f"optuna's tables hold another study '{name}', which was left as it is; rename ours or it")
    study.set_user_attr(_MARK, "mirror")
    return study
