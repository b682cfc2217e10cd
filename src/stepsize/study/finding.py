"""`find`: recommend a learning rate, and go on until the answer is sure or the budget is spent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from stepsize.curves.answer import Answer, answer_from
from stepsize.curves.lr_model import LrModel, fit_lr_model
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.optimizers.usual import usual_rate
from stepsize.study.outcome import FIND, Answered, StudyOutcome
from stepsize.study.strategy import point_of
from stepsize.study.study import StudyProgress, described, run_study
from stepsize.study.until_sure import Question, UntilSure
from stepsize.training.conditions import RunConditions
from stepsize.training.snapshot import Snapshot
from stepsize.training.start import Start, look_at_start
from stepsize.training.taking import takes_parts
from stepsize.training.task import Task
from stepsize.views import Pictured

if TYPE_CHECKING:
    from stepsize.store import Store
    from stepsize.study.workers import Workers
    from stepsize.training.loop import StreamingExecutor
    from stepsize.views import Chart

_FORMAT = 1  # of the specification that a store keeps
_UNITS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_WRITTEN = re.compile(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*([a-z]*)\s*")
_RULE = "must be a positive number of full runs, or a time such as '90s', '10min' or '2h'"


@dataclass(frozen=True)
class Budget:
    """A limit on a search in full runs and seconds; with ``either`` it may go on while one of the two is left."""

    runs: float = math.inf
    seconds: float = math.inf
    either: bool = False

    def __str__(self) -> str:
        runs = f"{self.runs:.3g} full run{'s' * (self.runs != 1)}"
        if math.isinf(self.seconds):
            return runs
        seconds = f"{self.seconds / 60:.3g} min" if self.seconds >= 60 else f"{self.seconds:.3g} s"
        return seconds if math.isinf(self.runs) else f"{runs} or {seconds}"


_DEFAULT = Budget(3.0, 60.0, either=True)


def as_budget(given: float | str | None) -> Budget:
    """Return the budget that was asked for: full runs as a number (also written), or a time such as ``"10min"``.

    None allows three full runs or one minute, whichever is more. Raises InputError if it is neither.

    Example:
        >>> str(as_budget("10min")), str(as_budget("3")), str(as_budget(None))
        ('10 min', '3 full runs', '3 full runs or 1 min')
    """
    if given is None:
        return _DEFAULT
    if isinstance(given, str):
        match = _WRITTEN.fullmatch(given.lower())
        try:
            number, unit = (float(match[1]), match[2]) if match else (math.nan, "")
        except ValueError:
            number, unit = math.nan, ""
        if unit in _UNITS and 0 < number * _UNITS[unit] < math.inf:
            return Budget(seconds=number * _UNITS[unit])
        if unit not in ("", "runs", "run", "x") or not 0 < number < math.inf:
            raise InputError("budget", given, _RULE)
        return Budget(number)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise InputError("budget", given, _RULE)
    return Budget(float(given))


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Found(Pictured, Answered, StudyOutcome):
    """The answer of :func:`stepsize.find`.

    Attributes:
        answer: The recommended rate, the range that is as good, and how sure that is.
        conditions: What the rate is for.
        curve: The fitted curve of loss against learning rate for full runs.
        restored: Whether random generators and data positions are as before, verified by checksum.
    """

    answer: Answer
    conditions: RunConditions
    curve: LrModel
    restored: bool

    @property
    def status(self) -> str:
        """The answer in a line: rate, range that is as good, how sure, cost and what to do now."""
        cost = f"Cost: {number_text(self.cost.full_runs)} full runs."
        if self.lr is None or self.as_good is None:
            return f"{self.verdict.capitalize()}. {cost} {self.next}"
        low, high = map(number_text, self.as_good)
        rate = f"lr {number_text(self.lr)}, as good from {low} to {high}, {self.sure:.0%} sure"
        return f"{self.verdict.capitalize()}: {rate}. {cost} {self.next}"

    def suggest(self, trial: Any, name: str = "lr") -> float:
        """Ask a trial of optuna for a learning rate within the range that is as good.

        A study of other hyperparameters then spends its trials on them, and not on rates that were ruled out.

        Args:
            trial: The ``optuna.Trial`` of an objective.
            name: Name of the parameter.

        Raises:
            InputError: If there is no answer.
        """
        if self.as_good is None:
            raise InputError("found", self.verdict, "must have a range of rates that is as good", self.next)
        low, high = self.as_good
        return float(trial.suggest_float(name, low, high, log=True))

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``."""
        return {
            **super().to_json(),
            **self.answer.to_json(),
            "conditions": asdict(self.conditions),
            "curve": self.curve.to_json(),
            "restored": self.restored,
        }

    def plot(self) -> Chart:
        """Return the chart of loss against learning rate: runs, curve, the range that is as good, the answer."""
        from stepsize.study.plotting import found_chart

        return found_chart(self)


@dataclass(frozen=True)
class FindProgress:
    """Where a search is.

    Attributes:
        study: The runs so far, what is trained now, and the cost.
        answer: The present answer.
        budget: What may be spent, in words.
        fraction: The fraction of the budget that is spent, in [0, 1].
    """

    study: StudyProgress
    answer: Answer
    budget: str
    fraction: float


FindWatcher: TypeAlias = Callable[[FindProgress], None]


@takes_parts
def find(
    task: Task | Any,
    until: float = 0.02,
    budget: float | str | None = None,
    *,
    seed: int | None = None,
    workers: str | StreamingExecutor | Workers = "in-order",
    store: Any = None,
    name: str | None = None,
    source: Any = None,
    on_progress: FindWatcher | None = None,
) -> Found:
    """Recommend a peak learning rate for ``task``, selected by validation loss, and say how sure that is.

    Short runs locate the rate around the one that is usual for the optimizer; full runs then decide, with further
    seeds where the noise of a run matters. The final loss is modeled against the rate from runs of all lengths and
    seeds (:func:`~stepsize.curves.lr_model.fit_lr_model`). The search stops when the recommended rate is within
    ``until`` of the best, or within the noise of a single run if that is more (at most 10%), with a probability of 90%.

    Args:
        task: What to train: a task, or what :meth:`Task.of` makes one of, such as a ``Trainer`` of transformers. The
            parts of a Lightning training can also be separate arguments: ``find(module, datamodule, trainer)``.
            Without ``val`` the training loss selects, and the answer says so.
        until: Excess of the final loss over the best that counts as equally good, as a fraction. Default 0.02 (2%).
        budget: Full runs as a number, or a time such as ``"10min"``. Default: three full runs or one minute,
            whichever is more. Below 1, shorter runs answer and the verdict stays open.
        seed: Random seed of the first runs and of the search. Defaults to the task's; further seeds follow it.
        workers: What trains the runs: ``"in-order"`` (default), ``"population"``, ``"processes"``, ``"ray"``, or
            workers of your own.
        store: A :class:`~stepsize.store.Store`, a path or a URL that saves each run; the same call then continues a
            search that was stopped, also with a larger budget. Default None saves nothing.
        name: Name of the search in the store. Defaults to the task and a digest of what is asked.
        source: How workers in other processes get the task: an import path or a built-in name. Default: the task
            itself is sent.
        on_progress: Called with a :class:`FindProgress` after each run and each step.

    Returns:
        The answer, with its runs and its curve. Ctrl-C stops the search and returns what is known.

    Raises:
        InputError: If ``until`` or ``budget`` is out of range.
        TaskError: If the parts of the task do not fit together.
        StoreError: If the store cannot be read or written.

    Example:
        >>> from stepsize.tasks import build_task
        >>> found = find(build_task("cancer-mlp", optimizer="adamw", steps=200), budget=4)
        >>> 1e-4 < found.lr < 1e-1, found.cost.full_runs <= 4, found.restored
        (True, True, True)

    Reference:
        Thompson sampling on a model learned from recorded runs; ``docs/benchmarks.md`` compares it with other
        methods.
    """
    if isinstance(until, bool) or not isinstance(until, int | float) or not 0 < until < 1:
        raise InputError("until", until, "must be a fraction between 0 and 1", "Write 2% as 0.02")
    limit, task = as_budget(budget), Task.of(task)
    first = task.seed if seed is None else seed
    world = Snapshot(data=[data for data in (task.train, task.val) if data is not None])
    try:
        start = look_at_start(task, first)
        usual, family = usual_rate(task.optimizer)
        question = Question(
            usual,
            start.untrained,
            start.costs,
            family,
            start.parameters,
            float(until),
            task.val is not None,
            math.inf if limit.either else limit.runs,
        )
        strategy = UntilSure(question, seed=first)
        outcome = run_study(
            task,
            strategy,
            start=start,
            workers=workers,
            source=source,
            store=store,
            name=name,
            kind=FIND,
            spec=_spec(task, start, question, first),
            on_progress=None if on_progress is None else _watching(strategy, limit, on_progress),
            budget=None if limit.either or math.isinf(limit.runs) else limit.runs,
            seconds=None if math.isinf(limit.seconds) else limit.seconds,
            at_least=limit.runs if limit.either else 0.0,
            on_interrupt="answer",
        )
    finally:
        world.restore()
    return Found(
        **vars(outcome),
        answer=strategy.answer,
        conditions=RunConditions.of(task, start.batch_size),
        curve=strategy.model(),
        restored=world.intact(),
    )


def read_found(store: Store, name: str) -> Found:
    """Return the answer of the search ``name`` as far as it came, from the store alone."""
    study = store.known(name)
    if study.kind != FIND:
        raise InputError("name", name, f"must be a search of stepsize find, not a {study.kind}")
    runs = store.runs(name)
    spec, described = study.spec, study.spec["task"]
    conditions = RunConditions(**described["conditions"])
    worst = max((run.value for run in runs if math.isfinite(run.value)), default=1.0)
    model = fit_lr_model(
        [point_of(run) for run in runs],
        usual=spec["usual"],
        untrained=worst if described["untrained"] is None else described["untrained"],
        family=spec["family"],
        size=(conditions.horizon, spec["parameters"]) if spec["parameters"] else None,
        seed=len(runs),
    )
    answer = answer_from(model, until=spec["until"], validated=conditions.objective != "training loss")
    return Found(
        name=name,
        where=store.where,
        runs=runs,
        notes=(),
        seconds=sum(run.seconds for run in runs),
        complete=study.status == "done",
        answer=answer,
        conditions=conditions,
        curve=model,
        restored=True,
    )


def _spec(task: Task, start: Start, question: Question, seed: int) -> dict[str, Any]:
    """Return what a stored search must share to be continued; the budget is not part of it."""
    return {
        "format": _FORMAT,
        "task": described(task, start),
        "usual": question.usual,
        "family": question.family,
        "parameters": question.parameters,
        "until": question.until,
        "seed": seed,
    }


def _watching(strategy: UntilSure, limit: Budget, on_progress: FindWatcher) -> Callable[[StudyProgress], None]:
    horizon = strategy.question.costs.horizon

    def watch(progress: StudyProgress) -> None:
        running = 0.0 if progress.running is None else progress.running.step / horizon
        parts = [(progress.spent + running) / limit.runs, progress.seconds / limit.seconds]
        fraction = min(parts) if limit.either else max(parts)
        on_progress(FindProgress(progress, strategy.answer, str(limit), min(1.0, fraction)))

    return watch
