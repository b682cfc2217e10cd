"""What `find` returns: the answer, what it is for, what it cost, and the runs and curve behind it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stepsize.curves.answer import Answer
from stepsize.curves.lr_model import LrModel
from stepsize.study.outcome import Answered, StudyOutcome
from stepsize.training.conditions import RunConditions

if TYPE_CHECKING:
    from stepsize.views import Chart


@dataclass(frozen=True, eq=False, kw_only=True)
class Found(Answered, StudyOutcome):
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
