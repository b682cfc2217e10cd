"""What `sweep` returns: the answer, the best configuration, what it cost, and the runs behind it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from stepsize.curves.answer import Answer
from stepsize.curves.lr_model import LrModel
from stepsize.curves.pairs import PairedComparison
from stepsize.curves.sensitivity import LrSensitivity
from stepsize.errors import InputError
from stepsize.optimizers.usual import UNKNOWN, Usual
from stepsize.study.found import Cost
from stepsize.study.space import Space
from stepsize.study.study import Stopped
from stepsize.study.summary import Summary, plain, summarise
from stepsize.training.conditions import Conditions
from stepsize.training.runs import Run, Trial
from stepsize.views import Chart

__all__ = ["SweepResult"]


@dataclass(frozen=True, eq=False)
class SweepResult:
    """The answer of :func:`stepsize.sweep`.

    Attributes:
        name: Of the sweep; what it is called in the store.
        where: The store, without its password; None without one.
        conditions: What the rates are for; what the space varies is as the task has it.
        space: What was searched, as wide as it became.
        notes: What the sweep did by itself, as sentences.
        runs: Every run, in the order in which they ended.
        untrained: The judged value before training.
        seconds: Wall time of this call.
        complete: Whether all that was planned was trained.
        stopped: Why it ended early: ``"budget"``, ``"seconds"`` or ``"interrupted"``; empty if it did not.
        usual: The rate that people start from with the task's optimizer, and its family.
    """

    name: str
    where: str | None
    conditions: Conditions
    space: Space
    notes: tuple[str, ...]
    runs: tuple[Run, ...]
    untrained: float
    seconds: float
    complete: bool
    stopped: Stopped = ""
    usual: Usual = UNKNOWN

    @cached_property
    def summary(self) -> Summary:
        """What was found, in full; worked out when it is asked for first."""
        validated = self.conditions.objective != "training loss"
        return summarise(self.runs, untrained=self.untrained, usual=self.usual, validated=validated)

    @property
    def answer(self) -> Answer:
        """The recommended rate with the other values of ``best``, the range that is as good, and how sure that is."""
        return self.summary.answer

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
        """Probability that the final loss at ``lr`` is within 2%, or the noise of a run, of the best."""
        return self.answer.sure

    @property
    def verdict(self) -> str:
        """``"settled"``, ``"flat"``, ``"open"`` or ``"no answer"``."""
        return self.answer.verdict

    @property
    def next(self) -> str:
        """What to do now, as one sentence."""
        return self.answer.next

    @property
    def best(self) -> Trial | None:
        """The trained configuration of least loss on the longest horizon; None where each diverged."""
        return self.summary.best

    @property
    def comparison(self) -> PairedComparison | None:
        """Whether ``best`` is distinguishable from the runner-up; None without one."""
        return self.summary.comparison

    @property
    def curve(self) -> LrModel | None:
        """The fitted curve of loss against learning rate behind the answer; None without runs."""
        return self.summary.curve

    @property
    def sensitivity(self) -> LrSensitivity | None:
        """How much the choice of the rate matters."""
        return self.summary.sensitivity

    @property
    def cost(self) -> Cost:
        """What it cost, the runs of earlier parts included."""
        return Cost(self.summary.cost, self.seconds, self.summary.runs, self.stopped)

    @property
    def status(self) -> str:
        """The answer as sentences."""
        return self.summary.status

    def plot(self, kind: Literal["rates", "map", "curves", "cost"] = "rates") -> Chart:
        """Return a chart.

        Args:
            kind: ``"rates"`` is the loss against the rate, ``"map"`` the loss over the rate and the first dimension
                searched beside it (by momentum, with the line of constant lr/(1 - m)), ``"curves"`` the training losses
                over time, ``"cost"`` the best value so far against what was spent.

        Raises:
            InputError: If there is no such chart, or no run to draw.
        """
        from stepsize.study import plotting

        charts = {
            "rates": plotting.rates_chart,
            "map": plotting.map_chart,
            "curves": plotting.curves_chart,
            "cost": plotting.cost_chart,
        }
        if kind not in charts:
            raise InputError("kind", kind, f"must be one of: {', '.join(charts)}")
        if not self.runs:
            raise InputError("runs", 0, "must hold at least one run to be drawn")
        return charts[kind](self)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``."""
        return {
            "name": self.name,
            "store": self.where,
            "complete": self.complete,
            **self.summary.to_json(),
            "cost": asdict(self.cost),
            "conditions": asdict(self.conditions),
            "space": self.space.to_json(),
            "notes": list(self.notes),
            "runs": [_run_json(run) for run in self.runs],
        }


def _run_json(run: Run) -> dict[str, Any]:
    figures = {"value": run.value, "train_loss": run.train_loss, "val_loss": run.val_loss}
    return {
        "trial": run.trial.number,
        **run.trial.values,
        "share": run.share,
        "seed": run.seed,
        "status": run.status,
        **plain(figures),
        "diverged_at": run.diverged_at,
        "cost": run.cost,
    }
