"""The strategy of `find`, replayed on trainings whose ground truth is known."""

from __future__ import annotations

from benchmarks.replay import Price, Replay
from stepsize.curves.answer import Answer
from stepsize.optimizers import OPTIMIZERS
from stepsize.study.until_sure import Question, Recipe, UntilSure
from stepsize.training.cost import CostModel
from stepsize.training.runs import Divergence, Run, Setting

__all__ = ["find_search", "replayed_answer"]

_ROUNDING = 1e-6


def find_search(run: Replay, usual: float, price: Price, budget: float, seed: int) -> float:
    """Return the rate that `find` recommends after at most ``budget`` full runs; the usual one without an answer."""
    lr = replayed_answer(run, usual, price, budget, seed).lr
    return usual if lr is None else lr


def replayed_answer(run: Replay, usual: float, price: Price, budget: float, seed: int) -> Answer:
    """Return the answer of `find`; where the truth has no shorter runs, it makes full ones only."""
    horizon = run.truth.horizon
    costs = CostModel(horizon=horizon, accumulate=1, batch_size=1, val_examples=0)
    family = _family(run.truth.case.optimizer)
    question = Question(usual, run.truth.untrained, costs, family, run.truth.parameters, budget=budget)
    strategy = UntilSure(question, recipe=None if len(run.shares) > 1 else Recipe(short=()))
    del seed  # the replay's first seed follows from it
    while not strategy.done and (job := strategy.ask()) is not None:
        if run.spent + price(job.share) > budget + _ROUNDING:
            break
        before = run.spent
        value, diverged = run(job.trial.lr, job.share, job.seed)
        steps = max(1, round(job.share * horizon))
        end = Divergence(steps, "as in the ground truth") if diverged else None
        setting = Setting(job.trial.lr, job.seed, steps)
        cost = run.spent - before
        strategy.tell(Run(setting, value=value, divergence=end, trial=job.trial, share=job.share, cost=cost))
    return strategy.answer


def _family(optimizer: str) -> str:
    """Return the family that a training's own words for its optimizer name; "" if none."""
    words = optimizer.lower().replace(",", " ").split()
    known = [name for name in OPTIMIZERS if name in words]
    return "momentum" if "momentum" in words else known[0] if known else ""
