"""What `find` returns: the answer, what it is for, what it cost, and the runs and curve behind it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stepsize.curves.answer import Answer
from stepsize.curves.lr_model import LrModel
from stepsize.training.conditions import Conditions
from stepsize.training.runs import Run

if TYPE_CHECKING:
    from stepsize.study.study import Stopped
    from stepsize.views import Chart

__all__ = ["Cost", "Found"]


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


@dataclass(frozen=True, eq=False)
class Found:
    """The answer of :func:`stepsize.find`.

    Attributes:
        answer: The recommended rate, the range that is as good, and how sure that is.
        cost: What it cost.
        conditions: What the rate is for.
        runs: Every run, in the order in which they ended.
        curve: The fitted curve of loss against learning rate for full runs.
        notes: What the search did automatically, as sentences.
        name: Name of the search; what it is called in the store.
        where: The store, without its password; None without one.
        restored: Whether random generators and data positions are as before, verified by checksum.
    """

    answer: Answer
    cost: Cost
    conditions: Conditions
    runs: tuple[Run, ...]
    curve: LrModel
    notes: tuple[str, ...]
    name: str
    where: str | None
    restored: bool

    @property
    def lr(self) -> float | None:
        """The recommended peak learning rate; None without an answer."""
        return self.answer.lr

    @property
    def as_good(self) -> tuple[float, float] | None:
        """The lowest and highest rate that are expected to be as good; None without an answer."""
        return self.answer.as_good

    @property
    def sure(self) -> float:
        """Probability that the final loss at ``lr`` is within ``until``, or the noise of a run, of the best."""
        return self.answer.sure

    @property
    def verdict(self) -> str:
        """``"settled"``, ``"flat"``, ``"open"`` or ``"no answer"``."""
        return self.answer.verdict

    @property
    def next(self) -> str:
        """What to do now, as one sentence."""
        return self.answer.next

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``."""
        return {
            **self.answer.to_json(),
            "cost": asdict(self.cost),
            "conditions": asdict(self.conditions),
            "curve": {**self.curve.to_json(), "runs": [_run_json(run) for run in self.runs]},
            "name": self.name,
            "store": self.where,
            "notes": list(self.notes),
            "restored": self.restored,
        }

    def plot(self) -> Chart:
        """Return the chart of loss against learning rate: runs, curve, the range that is as good, the answer."""
        from stepsize.study.plotting import found_chart

        return found_chart(self)


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "lr": run.lr,
        "share": run.share,
        "steps": run.setting.steps,
        "seed": run.seed,
        "value": run.value if math.isfinite(run.value) else None,
        "train_loss": run.train_loss if math.isfinite(run.train_loss) else None,
        "diverged_at_step": None if run.divergence is None else run.divergence.step,
        "status": run.status,
    }
