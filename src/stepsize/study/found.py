"""What `find` returns: the recommendation, what it is for, and its evidence."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepsize.curves import Verdict
from stepsize.curves.lr_curve import LrCurve
from stepsize.probe.range_test import RangeTest
from stepsize.training.conditions import Conditions
from stepsize.training.runs import Run
from stepsize.views import Chart, CurveFit, CurvePoint, LrCurveView, lr_curve_chart

__all__ = ["Cost", "CurveData", "Found"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """What an answer cost.

    Attributes:
        trainings: Forward and backward passes spent, over those of one full training with its evaluation; those of
            a crowd by what they cost at once. It is what the budget is kept in.
        wall: Wall time spent, over that of one full training (from the measured time of a step); None without a run.
        seconds: Wall time spent.
        runs: How many short runs were trained.
        gain: How many times cheaper than a plain run each of a crowd was; 1.0 where there were none.
    """

    trainings: float
    wall: float | None
    seconds: float
    runs: int
    gain: float = 1.0


@dataclass(frozen=True, eq=False)
class CurveData:
    """The lr curve: the runs behind it, and the fit at the full horizon.

    Attributes:
        runs: Every run, in the order of training.
        judged: What each reached, lower is better (a metric that is to be maximised is negated); infinite if diverged.
        fit: The fit, carried to the full horizon; None where no run learned.
    """

    runs: tuple[Run, ...]
    judged: tuple[float, ...]
    fit: LrCurve | None


@dataclass(frozen=True, eq=False)
class Found:
    """The answer of :func:`stepsize.find`.

    Attributes:
        lr: The recommended peak rate; None without a trustworthy answer.
        interval: Where the best rate lies: 80 % of the posterior.
        verdict: How far to trust it, with the reason.
        cost: What it cost.
        conditions: What the rate is for.
        curve: The runs and the fit.
        train_optimum: The rate that the training loss alone would choose; None where it cannot tell.
        regret: The expected relative excess of the loss at ``lr`` over the best one; None without an answer.
        range_test: The range test that began it; None where the budget did not pay for one.
        restored: Whether generators and data positions are back as they were, proven by digests.
    """

    lr: float | None
    interval: tuple[float, float] | None
    verdict: Verdict
    cost: Cost
    conditions: Conditions
    curve: CurveData
    train_optimum: float | None
    regret: float | None
    range_test: RangeTest | None
    restored: bool

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``."""
        return {
            "lr": self.lr,
            "interval": None if self.interval is None else list(self.interval),
            "verdict": self.verdict.code,
            "reason": self.verdict.reason,
            "expected_regret": self.regret,
            "train_optimum": self.train_optimum,
            "conditions": asdict(self.conditions),
            "cost": asdict(self.cost),
            "curve": {
                "runs": [self._run_json(index) for index in range(len(self.curve.runs))],
                "fit": self._fit_json(),
            },
            "range_test": None if self.range_test is None else self.range_test.summary(),
            "restored": self.restored,
        }

    def plot(self) -> Chart:
        """Return the chart of the lr curve: runs, fit, interval and recommendation."""
        view = LrCurveView(
            points=tuple(self._point(index) for index in range(len(self.curve.runs))),
            optimizer=self.conditions.optimizer,
            schedule=self.conditions.schedule,
            horizon=self.conditions.horizon,
            batch_size=self.conditions.batch_size,
            fit=self._drawn_fit(),
            lr=self.lr,
            interval=self.interval,
            train_optimum=self.train_optimum,
            title=f"lr curve of {self.conditions.task}",
            verdict=str(self.verdict),
            loss_label=self.conditions.judge,
        )
        return lr_curve_chart(view)

    def _point(self, index: int) -> CurvePoint:
        run, value = self.curve.runs[index], self.curve.judged[index]
        setting = run.setting
        return CurvePoint(setting.lr, value, setting.steps, setting.seed, diverged=run.divergence is not None)

    def _drawn_fit(self) -> CurveFit | None:
        """Return the fit at the longest trained horizon's level, over the tried rates and the interval."""
        fit = self.curve.fit
        pairs = zip(self.curve.runs, self.curve.judged, strict=True)
        alive = [(run, value) for run, value in pairs if math.isfinite(value)]
        if fit is None or not alive:
            return None
        longest = max(run.setting.steps for run, _ in alive)
        level = min(value for run, value in alive if run.setting.steps == longest)
        tried = np.log10([*(run.setting.lr for run in self.curve.runs), *(self.interval or ())])
        shown = (fit.rates >= tried.min()) & (fit.rates <= tried.max())
        if level <= 0 or not shown.any():  # relative excess has no meaning for a loss that is not positive
            return None
        mean, low, high = (level * (1 + part[shown]) for part in (fit.regret, fit.regret_low, fit.regret_high))
        return CurveFit(10 ** fit.rates[shown], mean, low, high)

    def _run_json(self, index: int) -> dict[str, Any]:
        run, value = self.curve.runs[index], self.curve.judged[index]
        return {
            "lr": run.setting.lr,
            "steps": run.setting.steps,
            "seed": run.setting.seed,
            "judged": value if math.isfinite(value) else None,
            "train_loss": run.train_loss if math.isfinite(run.train_loss) else None,
            "diverged_at_step": None if run.divergence is None else run.divergence.step,
            "status": run.status,
        }

    def _fit_json(self) -> dict[str, list[float]] | None:
        fit = self.curve.fit
        if fit is None:
            return None
        return {
            "lr": (10**fit.rates).tolist(),
            "regret": fit.regret.tolist(),
            "regret_low": fit.regret_low.tolist(),
            "regret_high": fit.regret_high.tolist(),
        }
