"""What `find` returns: the answer, what it is for, what it cost, and the runs and curve behind it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stepsize.curves.answer import Answer
from stepsize.curves.lr_model import LrModel
from stepsize.errors import InputError
from stepsize.study.outcome import Answered, StudyOutcome
from stepsize.training.conditions import RunConditions
from stepsize.views import Pictured, number_text

if TYPE_CHECKING:
    from stepsize.views import Chart


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
