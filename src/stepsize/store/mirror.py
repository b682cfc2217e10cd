"""A study in optuna's own tables beside ours, so that its dashboard and ``optuna.load_study`` open it."""

from __future__ import annotations

import math
import sqlite3
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import event

from stepsize.errors import StoreError
from stepsize.store.address import Address
from stepsize.store.failures import guarded
from stepsize.store.store import Store
from stepsize.store.writer import RUNNING
from stepsize.training.runs import Run, Trial

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage

__all__ = ["Axis", "mirror"]

Axis: TypeAlias = tuple[float, float] | Sequence[float | int | str]
"""A tuple is a range (low, high), a list the values to choose from."""

_MARK = "stepsize"  # the attribute that tells our studies from others
_TRIAL = "trial"  # the attribute that holds our number of a trial


def mirror(
    store: Store, name: str, space: Mapping[str, Axis] | None = None, log: Collection[str] = ("lr", "weight_decay")
) -> int:
    """Write the trials of a study to optuna's tables in the same database; call it by the study's one writer.

    A trial that reached the full horizon is complete, with the mean value over its seeds there; one that was not
    promoted is pruned, with its mean on its longest rung; one that diverged there failed: no infinite value spoils
    a chart. Intermediate values are the means of its rungs, by the share of the horizon in thousandths. Optuna does
    not change a finished trial, so while the study's status is ``"running"`` only trials that are settled (complete
    or failed) are added, in that order; afterwards all of them, and where something has changed since (further
    seeds), the mirror is written anew in the order of trials. Optuna takes some 10 ms a trial: call it at the end of
    a study and every minute or so, not after each run.

    Args:
        store: Where the study is.
        name: Of the study, here and there.
        space: The range or choices of each value; what is not in it spans what was tried.
        log: Which ranges are logarithmic.

    Returns:
        How many trials were written.

    Raises:
        UnknownStudyError: If there is no such study.
        StoreError: If it cannot be written, or optuna's tables hold a study of that name that is not a mirror.
    """
    trials = {trial.number: trial for trial in store.trials(name)}
    runs = store.runs(name)
    study = store.study(name)
    over = study is not None and study.status != RUNNING
    standings = [found for found in _standings(trials, runs) if over or found.settled]
    if not over:
        standings.sort(key=lambda found: found.settled_at)
    axes = _distributions(standings, space or {}, frozenset(log))
    with _optuna_study(store.address, name) as (storage, mirrored):
        written = mirrored.get_trials(deepcopy=False)
        theirs = any(_TRIAL not in trial.user_attrs for trial in written)
        if over and not theirs and not _equal(written, standings, axes):
            _delete(storage, name)
            mirrored, written = _create(storage, name), []
        known = {trial.user_attrs.get(_TRIAL) for trial in written}
        new = [found.frozen(axes) for found in standings if found.trial.number not in known]
        mirrored.add_trials(new)
    return len(new)


@dataclass(frozen=True)
class _Standing:
    """How a trial stands: the means of its rungs by share, whether it diverged on the last, what it took."""

    trial: Trial
    rungs: Mapping[float, float]
    seconds: float
    settled_at: int  # the position of the run since which it is complete or failed; -1 where it is neither

    @property
    def settled(self) -> bool:
        return self.settled_at >= 0

    @property
    def value(self) -> float:
        return self.rungs[max(self.rungs)]

    @property
    def state(self) -> str:
        if not math.isfinite(self.value):
            return "FAIL"
        return "COMPLETE" if max(self.rungs) >= 1 else "PRUNED"

    def frozen(self, axes: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
        from optuna.trial import TrialState, create_trial

        made = create_trial(
            state=TrialState[self.state],
            value=None if self.state == "FAIL" else self.value,
            params=dict(self.trial.values),
            distributions={name: axes[name] for name in self.trial.values},
            user_attrs={_TRIAL: self.trial.number},
            intermediate_values=self.intermediate,
        )
        if made.datetime_complete is not None:
            made.datetime_start = made.datetime_complete - timedelta(seconds=self.seconds)
        return made

    @property
    def intermediate(self) -> dict[int, float]:
        return {max(1, round(1000 * share)): mean for share, mean in self.rungs.items() if math.isfinite(mean)}


def _standings(trials: Mapping[int, Trial], runs: Sequence[Run]) -> Iterator[_Standing]:
    """Yield how each trial with runs stands, in the order of their numbers."""
    of_trial: defaultdict[int, list[tuple[int, Run]]] = defaultdict(list)
    for position, run in enumerate(runs):
        of_trial[run.trial.number].append((position, run))
    for number in sorted(of_trial):
        rungs: defaultdict[float, list[float]] = defaultdict(list)
        for _, run in of_trial[number]:
            rungs[run.share].append(run.value)
        settling = [at for at, run in of_trial[number] if run.share >= 1 or not math.isfinite(run.value)]
        yield _Standing(
            trials[number],
            {share: statistics.fmean(values) for share, values in sorted(rungs.items())},
            sum(run.seconds for _, run in of_trial[number]),
            next(iter(settling), -1),
        )


def _distributions(
    standings: Sequence[_Standing], space: Mapping[str, Axis], log: frozenset[str]
) -> dict[str, BaseDistribution]:
    """Return what each name ranges over: as given, widened to what was tried."""
    tried: defaultdict[str, list[float | int | str]] = defaultdict(list)
    for found in standings:
        for name, value in found.trial.values.items():
            tried[name].append(value)
    return {name: _distribution(values, space.get(name), name in log) for name, values in tried.items()}


def _distribution(tried: Sequence[float | int | str], axis: Axis | None, log: bool) -> BaseDistribution:
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


def _equal(
    written: Sequence[optuna.trial.FrozenTrial], standings: Sequence[_Standing], axes: Mapping[str, BaseDistribution]
) -> bool:
    """Return whether what is written can stay: the same trials so far, in their order, with nothing changed since."""
    from optuna.distributions import check_distribution_compatibility

    if len(written) > len(standings):
        return False
    for trial, found in zip(written, standings, strict=False):
        same = (
            trial.user_attrs.get(_TRIAL) == found.trial.number
            and trial.state.name == found.state
            and trial.value == (None if found.state == "FAIL" else found.value)
            and trial.intermediate_values == found.intermediate
            and trial.params == found.trial.values
        )
        if not same:
            return False
        try:
            for name, distribution in trial.distributions.items():
                check_distribution_compatibility(distribution, axes[name])
        except ValueError:
            return False
    return True


@contextmanager
def _optuna_study(address: Address, name: str) -> Iterator[tuple[RDBStorage, optuna.Study]]:
    """Open optuna's storage in the store's database, quietly, and the mirror in it."""
    import optuna
    from optuna.storages import RDBStorage

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with guarded(address):
            # Optuna fills in a template, in which braces are doubled.
            url = address.url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
            storage = RDBStorage(url)
            try:
                if address.path is not None:  # as in our own connections: a commit need not reach the disk to be safe
                    storage.engine.dispose()
                    event.listen(storage.engine, "connect", _relax)
                yield storage, _create(storage, name)
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except (optuna.exceptions.OptunaError, RuntimeError) as error:
        raise StoreError(f"optuna's tables in {address} failed: {address.hide(str(error))}") from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def _relax(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")


def _create(storage: RDBStorage, name: str) -> optuna.Study:
    """Make the mirror or open it; what is not ours is refused."""
    import optuna

    study = optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=optuna.samplers.RandomSampler(),  # the default one costs more to make, and none is asked
        direction="minimize",
        load_if_exists=True,
    )
    if _MARK not in study.user_attrs:
        if study.get_trials(deepcopy=False) or study.direction.name != "MINIMIZE":
            raise StoreError(f"optuna's tables hold another study '{name}', which was left as it is; rename ours or it")
        study.set_user_attr(_MARK, "mirror")
    return study


def _delete(storage: RDBStorage, name: str) -> None:
    import optuna

    optuna.delete_study(study_name=name, storage=storage)
