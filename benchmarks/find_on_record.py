"""The strategy of `find`, replayed on tasks of the record, each with a prior that has not seen its data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.lr_prior import RECORD_FILE, Curve, curves, learned_prior
from benchmarks.record import RECORDS_FOLDER, header, write_record
from stepsize.curves.lr_prior import Prior
from stepsize.study.until_sure import Question, UntilSure
from stepsize.training.cost import CostModel
from stepsize.training.runs import Divergence, Run, Setting

__all__ = ["compute_find_on_record"]

_FILE = RECORDS_FOLDER / "find_on_record.json"
_BUDGETS = (3.0, 5.0, 10.0, 16.0)  # in full runs
_SHARES = (1 / 16, 1 / 8, 1 / 4, 1.0)
_DEEP = 0.1  # log ratio of untrained to best loss from which a task takes part
_ROUNDING = 1e-6


@dataclass(eq=False)
class _Task:
    """Runs of one recorded task, at rates relative to the usual one, log-linear between the recorded rates."""

    curve: Curve
    spent: float = 0.0

    def run(self, lr: float, share: float, seed: int) -> tuple[float, bool, float]:
        """Return the final validation loss, whether it diverged, and the cost of a run of the nearest length."""
        row = min(range(len(_SHARES)), key=lambda at: abs(math.log(_SHARES[at] / share)))
        seed %= self.curve.losses.shape[2]
        self.spent += _SHARES[row]
        nearest = int(np.abs(self.curve.x - math.log10(lr)).argmin())
        return self._loss(lr, row, seed), bool(self.curve.failed[row, nearest, seed]), _SHARES[row]

    def price(self, share: float) -> float:
        return min(_SHARES, key=lambda known: abs(math.log(known / share)))

    def regret(self, lr: float) -> float:
        """Return the regret on all seeds, relative to the best recorded rate."""
        full = self.curve.losses[-1]
        ended = np.mean([self._loss(lr, -1, seed) for seed in range(full.shape[1])])
        return max(0.0, float(ended / full.mean(axis=1).min() - 1))

    def _loss(self, lr: float, row: int, seed: int) -> float:
        return float(np.exp(np.interp(math.log10(lr), self.curve.x, np.log(self.curve.losses[row, :, seed]))))


def compute_find_on_record(count: int = 150) -> None:
    """Replay `find` on tasks of the record, print what it loses, and write the record of it."""
    found = list(curves(RECORD_FILE))
    prior = learned_prior(found)
    deep = [at for at in np.random.default_rng(7).permutation(len(found)) if found[at].depth >= _DEEP]
    rows: list[dict[str, Any]] = []
    for at in deep[:count]:
        rows += _rows(found[at], _without(prior, found, found[at].data), int(at))
    write_record(_FILE, header("find-on-record"), rows)
    for budget in _BUDGETS:
        print(_summary(budget, [row for row in rows if row["budget"] == budget]))


def _without(prior: Prior, found: Sequence[Curve], data: str) -> Prior:
    """Return the prior without the curves of one data set."""
    kept = np.array([curve.data != data for curve in found])
    return replace(
        prior,
        heights=prior.heights[kept],
        families=prior.families[kept],
        steps=prior.steps[kept],
        parameters=prior.parameters[kept],
    )


def _rows(curve: Curve, prior: Prior, number: int) -> list[dict[str, Any]]:
    """Return what `find` answers at each budget; a larger one follows the same plan further."""
    costs = CostModel(horizon=int(curve.steps), accumulate=1, batch_size=1, val_examples=0)
    strategy = UntilSure(Question(1.0, curve.untrained, costs, curve.family, curve.parameters, prior=prior))
    task, waiting, rows = _Task(curve), None, []
    best = float(10 ** curve.x[curve.losses[-1].mean(axis=1).argmin()])
    for budget in _BUDGETS:
        while not strategy.done and (job := waiting or strategy.ask()) is not None:
            waiting = job if task.spent + task.price(job.share) > budget + _ROUNDING else None
            if waiting:
                break
            value, diverged, cost = task.run(job.trial.lr, job.share, job.seed)
            steps = max(1, round(job.share * curve.steps))
            end = Divergence(steps, "as recorded") if diverged else None
            setting = Setting(job.trial.lr, job.seed, steps)
            strategy.tell(Run(setting, value=value, divergence=end, trial=job.trial, share=job.share, cost=cost))
        answer = strategy.answer
        rows.append(
            {
                "task": number,
                "budget": budget,
                "lr": answer.lr,
                "best": best,
                "regret": task.regret(answer.lr or 1.0),
                "verdict": answer.verdict,
                "sure": answer.sure,
                "tolerance": answer.tolerance,
                "interval": answer.as_good,
                "cost": task.spent,
            }
        )
    return rows


def _summary(budget: float, rows: Sequence[dict[str, Any]]) -> str:
    regret = 100 * np.array([row["regret"] for row in rows])
    kept = np.array([row["regret"] <= row["tolerance"] + 1e-9 for row in rows])
    decided = np.array([row["verdict"] in ("settled", "flat") for row in rows])
    holds = [_holds(row["interval"], row["best"]) for row in rows]
    median, high = np.quantile(regret, (0.5, 0.9))
    right = f"{kept[decided].mean():.0%} of them right" if decided.any() else "-"
    sure = np.mean([row["sure"] for row in rows])
    return (
        f"{budget:g} full runs: {median:.1f}% / {high:.0f}% / {regret.max():.0f}%, mean log regret "
        f"{np.log1p(regret / 100).mean():.3f}, {decided.mean():.0%} decided, {right}; sure {sure:.2f}, "
        f"as good {kept.mean():.2f}; the range holds the best rate in {np.mean(holds):.0%}"
    )


def _holds(interval: tuple[float, float] | None, best: float) -> bool:
    """Return whether a range, which is rounded to two digits, contains the best rate."""
    return interval is not None and interval[0] <= 1.01 * best and best <= 1.01 * interval[1]
