"""`sweep`: a study whose strategy is a plan; what was asked for, and the same answer read from a store."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stepsize.errors import InputError, StoreCorruptError
from stepsize.optimizers import OPTIMIZERS
from stepsize.optimizers.usual import Usual, usual_rate
from stepsize.plain import builder
from stepsize.study.outcome import SWEEP
from stepsize.study.plan import Plan
from stepsize.study.result import SweepResult
from stepsize.study.samplers.catalog import SAMPLERS
from stepsize.study.space import Range, Space, as_space
from stepsize.study.study import StudyWatcher, described, run_study, seeds_of
from stepsize.study.workers import Workers
from stepsize.training.conditions import RunConditions
from stepsize.training.loop import StreamingExecutor
from stepsize.training.start import look_at_start
from stepsize.training.taking import takes_parts
from stepsize.training.task import Task

if TYPE_CHECKING:
    from stepsize.store import Store

_UNKNOWN_RANGE = (1e-5, 0.1)  # of lr, for an optimizer that the catalog does not know
_PER_DECADE = 4  # trials, if only the rate is searched
_PER_DIMENSION = 16  # … if more is
_MOST = 64  # trials, unless more are asked for


@takes_parts
def sweep(
    task: Task | Any,
    lr: Any = None,
    *,
    seeds: int | Sequence[int] = 3,
    sampler: str | None = None,
    trials: int | None = None,
    repeats: int = 2,
    workers: str | StreamingExecutor | Workers = "population",
    store: Any = None,
    name: str | None = None,
    seed: int = 0,
    on_progress: StudyWatcher | None = None,
    source: Any = None,
    asked: Mapping[str, Any] | None = None,
    budget: float | None = None,
    seconds: float | None = None,
    on_interrupt: Literal["raise", "answer"] = "raise",
    **others: Any,
) -> SweepResult:
    """Search the peak learning rate of ``task``, alone or with other hyperparameters, and say how sure the answer is.

    Every trial is trained on the first seed. If no rate on one side of the best is clearly worse, the range is widened
    there by a decade, twice at most. Then the best trials are trained on the other seeds, the same for all of them, and
    compared in pairs.

    Args:
        task: What to train, as for :func:`stepsize.find`; without ``val`` the training loss selects.
        lr: Absolute peak rates: a range ``(low, high)`` or a list. None takes the range of the optimizer's catalog
            entry.
        seeds: Seeds of weights, batch order and dropout, or how many, counted from the task's.
        sampler: A name of :data:`~stepsize.study.samplers.SAMPLERS`. Default: a grid for the rate alone, else
            ``"tpe"``.
        trials: Number of configurations, without those of a widened range. Default: four per decade for the rate
            alone, else sixteen per dimension, at most 64.
        repeats: How many of the best trials are trained on the other seeds.
        workers: A name of :data:`~stepsize.study.workers.WORKERS`, an executor, or workers that were made for this
            task; they are closed at the end.
        store: A :class:`~stepsize.store.Store`, a path or a URL that saves each run as it ends; the same call then
            continues a sweep that was stopped. None saves nothing.
        name: Name of the sweep in the store. Defaults to the task and a digest of what is asked for.
        seed: Random seed of the sampler.
        on_progress: Called with a :class:`StudyProgress`.
        source: How workers in other processes get the task: an import path or a built-in name; None sends the task.
        asked: Plain values that the store keeps with the sweep, such as what the task was made from.
        budget: Limit in full runs: no run begins whose cost does not fit; None for no limit.
        seconds: Wall time of this call after which no run begins; None for no limit.
        on_interrupt: What Ctrl-C does: ``"raise"`` raises it, ``"answer"`` returns what is known.
        others: What is searched or fixed beside the rate, by the names of :class:`~stepsize.training.Changes`:
            ``momentum=(0.5, 0.99)``, ``batch_size=[32, 64]``, ``optimizer=["sgd", "adamw"]``, ...

    Returns:
        The answer as :func:`stepsize.find` gives it (``.lr``, ``.as_good``, ``.sure``, ``.verdict``, ``.next``,
        ``.curve``), with ``.best``, the configuration of least loss, ``.comparison`` with the runner-up,
        ``.sensitivity`` and ``.status``.

    Raises:
        InputError: If an argument is out of range, or the store has a sweep of that name for something else.
        UnknownNameError: If a name is in no catalog.
        TaskError: If the parts of the task do not fit together.
        StoreError: If the store cannot be read or written.

    Example:
        >>> from stepsize.tasks import build_task
        >>> found = sweep(build_task("cancer-mlp", steps=40), lr=(1e-4, 1.0), trials=5, seeds=2)
        >>> found.complete, len(found.runs) >= 7, found.as_good[0] <= found.lr <= found.as_good[1]
        (True, True, True)

    Reference:
        Wortsman et al., "Small-scale proxies for large-scale transformer training instabilities", 2023, for the
        sensitivity.
    """
    task = Task.of(task)
    space = as_space(lr=_range(task) if lr is None else lr, **others)
    spec = SweepSpec(
        space=space,
        sampler=sampler or ("grid" if len(space.free) <= 1 else "tpe"),
        trials=_trials(space) if trials is None else trials,
        seed=seed,
        seeds=seeds_of(task, seeds),
        repeats=repeats,
        asked=dict(asked or {}),
    )
    plan = spec.plan()
    start, usual = look_at_start(task, spec.seeds[0]), usual_rate(task.optimizer)
    about = described(task, start) | {
        "source": source if isinstance(source, str) else None,
        "usual": usual._asdict(),
    }
    found = run_study(
        task,
        plan,
        start=start,
        workers=workers,
        source=source,
        learns=SAMPLERS[spec.sampler].learns,
        store=store,
        name=name,
        kind=SWEEP,
        spec={"task": about, **asdict(spec)},
        on_progress=on_progress,
        budget=budget,
        seconds=seconds,
        on_interrupt=on_interrupt,
    )
    conditions = RunConditions.of(task, start.batch_size)
    return SweepResult(**vars(found), conditions=conditions, space=plan.space, untrained=start.untrained, usual=usual)


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep was asked for, as the store keeps it, beside its task: the arguments of :func:`stepsize.sweep`."""

    space: Space
    sampler: str
    trials: int
    seed: int
    seeds: tuple[int, ...]
    repeats: int
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments with which :func:`stepsize.sweep` continues it, beside name, task, store and workers."""
        fields = ("seeds", "sampler", "trials", "seed", "repeats", "asked")
        dimensions = {dimension.name: dimension for dimension in self.space.dimensions}
        return {**{name: getattr(self, name) for name in fields}, **dimensions}

    def plan(self) -> Plan:
        """Return its plan as it was before the first run."""
        return Plan(
            self.space,
            SAMPLERS[self.sampler].make(self.seed, self.trials),
            trials=self.trials,
            seeds=self.seeds,
            repeats=self.repeats,
        )


def stored_sweep(store: Store, name: str) -> SweepSpec:
    """Return what the sweep ``name`` was asked for, or raise why the store has no such sweep."""
    study = store.known(name)
    if study.kind != SWEEP:
        raise InputError("name", name, f"must be a sweep, not a {study.kind}", "stepsize sweep show lists the sweeps")
    try:
        spec: SweepSpec = builder(SweepSpec)({name: one for name, one in study.spec.items() if name != "task"})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise StoreCorruptError(f"{store.where} holds a sweep '{name}' that stepsize did not write ({why})") from error
    return spec


def read_sweep(store: Store, name: str, *, curves: bool = True) -> SweepResult:
    """Return the answer of the sweep ``name`` as far as it came, from the store alone.

    It is the result of :func:`stepsize.sweep`, but its seconds are those of the runs; without ``curves``, these have no
    training losses, which take about 40% of the time. Raises as :func:`stored_sweep`.
    """
    from stepsize.store.failures import understood

    spec, study = stored_sweep(store, name), store.known(name)
    runs, trials = store.runs(name, curves=curves), store.trials(name)
    with understood(store.address):
        plan = spec.plan()
        plan.restore(trials, runs)
        notes, complete = list(plan.notes), plan.done
        if not complete and (left := plan.remaining()):
            made = f"{len(runs):,} of {len(runs) + left:,} planned runs"
            running = store.status(study) == "running"
            notes.insert(0, f"The sweep is running: {made} so far." if running else f"The sweep ended after {made}.")
        task = study.spec["task"]
        return SweepResult(
            name=name,
            where=store.where,
            conditions=RunConditions(**task["conditions"]),
            space=plan.space,
            notes=tuple(notes),
            runs=runs,
            untrained=math.nan if task["untrained"] is None else task["untrained"],
            seconds=sum(run.seconds for run in runs),
            complete=complete,
            usual=Usual(**task["usual"]),
        )


def _range(task: Task) -> tuple[float, float]:
    return OPTIMIZERS[task.optimizer].lr_range if isinstance(task.optimizer, str) else _UNKNOWN_RANGE


def _trials(space: Space) -> int:
    if len(space.free) > 1:
        return min(_MOST, _PER_DIMENSION * len(space.free))
    rates = space.lr
    if not isinstance(rates, Range):
        return len(rates.values)
    return min(_MOST, max(3, round(_PER_DECADE * math.log10(rates.high / rates.low)) + 1))
