"""What a study returns, and what its verbs add: an answer about the learning rate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeAlias

from stepsize.curves.answer import Answer
from stepsize.plain import plain
from stepsize.training.runs import Run

FIND, SWEEP = "find", "sweep"
"""The kinds of the studies of a store that are searches and sweeps."""

Stopped: TypeAlias = Literal["", "budget", "seconds", "interrupted"]
"""Why a study ended before its strategy did; empty if it did not."""


@dataclass(frozen=True)
class Cost:
    """What an answer cost.

    Attributes:
        full_runs: Work of all runs, relative to one full run with its evaluation.
        seconds: Wall time of this call.
        runs: Number of runs, shorter ones included.
        stopped: Why it ended early: ``"budget"``, ``"seconds"`` or ``"interrupted"``; empty if it did not.
    """

    full_runs: float
    seconds: float
    runs: int
    stopped: Stopped = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class StudyOutcome:
    """Result of a study.

    Attributes:
        name: Name of the study, also in the store.
        where: The store, without its password; None without one.
        runs: Every run, in the order in which they ended, with those of earlier calls.
        notes: What the study did automatically, as sentences.
        seconds: Wall time of this call.
        complete: Whether all that the strategy asked for was trained.
        stopped: Why it ended early: ``"budget"``, ``"seconds"`` or ``"interrupted"``; empty if it did not.
        resumed: How many of the runs are from earlier calls.
    """

    name: str
    where: str | None
    runs: tuple[Run, ...]
    notes: tuple[str, ...]
    seconds: float
    complete: bool
    stopped: Stopped = ""
    resumed: int = 0

    @property
    def cost(self) -> Cost:
        """Its cost, with the runs of earlier calls."""
        return Cost(math.fsum(run.cost for run in self.runs), self.seconds, len(self.runs), self.stopped)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        return {
            "name": self.name,
            "store": self.where,
            "complete": self.complete,
            "cost": asdict(self.cost),
            "notes": list(self.notes),
            "runs": [_run_json(run) for run in self.runs],
        }


class _HasAnswer(Protocol):
    @property
    def answer(self) -> Answer: ...


class Answered:
    """The parts of an answer about the learning rate, for results that have one."""

    @property
    def lr(self: _HasAnswer) -> float | None:
        """The recommended peak learning rate; None without an answer."""
        return self.answer.lr

    @property
    def as_good(self: _HasAnswer) -> tuple[float, float] | None:
        """The lowest and highest rate that are expected to be as good; None without an answer."""
        return self.answer.as_good

    @property
    def sure(self: _HasAnswer) -> float:
        """Probability that the final loss at ``lr`` is as good as the best, to 2% or the noise of a run."""
        return self.answer.sure

    @property
    def verdict(self: _HasAnswer) -> str:
        """``"settled"``, ``"flat"``, ``"open"`` or ``"no answer"``."""
        return self.answer.verdict

    @property
    def next(self: _HasAnswer) -> str:
        """What to do now, as one sentence."""
        return self.answer.next


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "trial": run.trial.number,
        **run.trial.values,
        "share": run.share,
        "steps": run.setting.steps,
        "seed": run.seed,
        "status": run.status,
        **plain({"value": run.value, "train_loss": run.train_loss, "val_loss": run.val_loss}),
        "diverged_at_step": None if run.divergence is None else run.divergence.step,
        "cost": run.cost,
    }
