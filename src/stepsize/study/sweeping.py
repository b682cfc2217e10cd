"""The sweep: a study whose strategy is a plan, and the answer that is read off what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from stepsize.optimizers import OPTIMIZERS
from stepsize.optimizers.usual import usual_rate
from stepsize.study.jobs import SWEEP
from stepsize.study.plan import Plan
from stepsize.study.result import SweepResult
from stepsize.study.rungs import Rungs, rungs_entry
from stepsize.study.samplers.catalog import sampler_entry
from stepsize.study.space import Range, Space, as_space
from stepsize.study.study import StudyWatcher, run_study, seeds_of
from stepsize.study.workers import Workers
from stepsize.training.conditions import Conditions
from stepsize.training.executor import StreamingExecutor
from stepsize.training.start import look_at_start
from stepsize.training.task import Task

__all__ = ["sweep"]

_UNKNOWN_RANGE = (1e-5, 0.1)  # of lr, for an optimizer that the catalog does not know
_PER_DECADE = 4  # trials, where only the rate is searched
_PER_DIMENSION = 16  # … where more is
_MOST = 64  # trials, unless more are asked for
_START, _ETA = 1 / 16, 4  # of rungs that are named
_FORMAT = 2  # of the specification that a store keeps


def sweep(
    task: Task,
    lr: Any = None,
    *,
    seeds: int | Sequence[int] = 3,
    sampler: str | None = None,
    trials: int | None = None,
    rungs: str | Rungs = "full",
    repeats: int = 2,
    workers: str | StreamingExecutor | Workers = "population",
    store: Any = None,
    name: str | None = None,
    seed: int = 0,
    watcher: StudyWatcher | None = None,
    source: Any = None,
    asked: Mapping[str, Any] | None = None,
    budget: float | None = None,
    seconds: float | None = None,
    on_interrupt: Literal["raise", "answer"] = "raise",
    **others: Any,
) -> SweepResult:
    """Search the peak learning rate of ``task``, alone or with other hyperparameters, and say how sure the answer is.

    Every trial is trained on the first seed. A rate at which training diverges bounds the rates that are proposed
    after it; if no rate on one side of the best is clearly worse, the range is widened there by a decade, twice at
    most. Then the best trials are
    trained on the other seeds, the same for all of them, and compared in pairs. On a shorter rung a training has the
    task's whole schedule, compressed.

    Args:
        task: What to train; without ``val`` the training loss judges.
        lr: Absolute peak rates: a range ``(low, high)`` or a list. None takes the range of the
            optimizer's catalog entry.
        seeds: The seeds of weights, batch order and dropout, or how many, counted from the task's.
        sampler: A name of :data:`~stepsize.study.SAMPLERS`; None takes a grid for the rate alone, else ``"tpe"``.
        trials: How many settings are proposed, those of a widened range not counted; None takes four a decade for the
            rate alone, else sixteen a dimension, at most 64.
        rungs: ``"full"`` trains all trials on the whole horizon; ``"halving"``, ``"asha"`` and ``"hyperband"`` begin
            with a sixteenth and go on with the best quarter; or a :class:`~stepsize.study.Rungs`.
        repeats: How many of the best trials are trained on the other seeds.
        workers: A name of :data:`~stepsize.study.WORKERS`, an executor, or workers that were hired for this task;
            they are closed at the end.
        store: A :class:`~stepsize.store.Store`, a path or a URL in which each run is kept as it ends; a sweep that
            was stopped goes on from there when it is called again. None keeps nothing.
        name: Of the sweep in the store; None makes one from the task and what is asked for.
        seed: Of the sampler.
        watcher: Called with a :class:`StudyProgress`.
        source: How workers in other processes get the task: an import path or a built-in name; None sends the task.
        asked: Plain values that the store keeps with the sweep, such as what the task was made from.
        budget: In full runs: no run is begun whose cost does not fit; None for no limit.
        seconds: Wall time of this call, after which no run is begun; None for no limit.
        on_interrupt: What Ctrl-C does: ``"raise"`` passes it on, ``"answer"`` returns what is known.
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
        sensitivity; Li et al., "A system for massively parallel hyperparameter tuning", 2020, for asynchronous rungs.
    """
    space = as_space(lr=_range(task) if lr is None else lr, **others)
    chosen = sampler or ("grid" if len(space.free) <= 1 else "tpe")
    entry = sampler_entry(chosen)
    count = _trials(space) if trials is None else trials
    climbed = rungs if isinstance(rungs, Rungs) else rungs_entry(rungs).make(_START, _ETA)
    own = seeds_of(task, seeds)
    plan = Plan(space, entry.make(seed, count), trials=count, rungs=climbed, seeds=own, repeats=repeats)
    start, usual = look_at_start(task, own[0]), usual_rate(task.optimizer)
    spec = {
        "format": _FORMAT,
        "task": {
            "name": task.name,
            "source": source if isinstance(source, str) else None,
            "start": start.fingerprint,
            "untrained": start.judged if math.isfinite(start.judged) else None,
            "usual": usual._asdict(),
            "conditions": asdict(Conditions.of(task, start.batch_size)),
        },
        "space": space.to_json(),
        "sampler": {"name": chosen, "seed": seed, "trials": count},
        "rungs": {
            "kind": rungs if isinstance(rungs, str) else "own",
            "shares": list(climbed.shares),
            "eta": climbed.eta,
        },
        "seeds": list(own),
        "repeats": repeats,
        "asked": dict(asked or {}),
    }
    found = run_study(
        task,
        plan,
        start=start,
        workers=workers,
        source=source,
        learns=entry.learns,
        store=store,
        name=name,
        kind=SWEEP,
        spec=spec,
        watcher=watcher,
        budget=budget,
        seconds=seconds,
        on_interrupt=on_interrupt,
    )
    return SweepResult(
        name=found.name,
        where=found.where,
        conditions=Conditions.of(task, start.batch_size),
        space=plan.space,
        notes=found.notes,
        runs=found.runs,
        untrained=start.judged,
        seconds=found.seconds,
        complete=found.complete,
        stopped=found.stopped,
        usual=usual,
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
