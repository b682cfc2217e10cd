"""The strategy of `find`, replayed on trainings whose ground truth is known."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.combos import rounded
from benchmarks.record import RECORDS_FOLDER, header, write_record
from benchmarks.replay import Price, Replay, Truth
from stepsize.curves.answer import Answer
from stepsize.optimizers import OPTIMIZERS
from stepsize.study.until_sure import Question, UntilSure
from stepsize.training.cost import CostModel
from stepsize.training.runs import Divergence, Run, Setting

__all__ = ["BUDGETS", "FIND_FILE", "compute_find", "replayed_answer"]

FIND_FILE = RECORDS_FOLDER / "find.json"
BUDGETS = (0.3, 1.0, 3.0, 5.0, 10.0, 30.0)  # in full runs
_SEEDS = 5
_ROUNDING = 1e-6


def compute_find(truths: Iterable[Truth], path: Path = FIND_FILE) -> None:
    """Replay `find` at every budget on every truth, with its first seeds in turn, and write the record."""
    rows: list[dict[str, Any]] = []
    for truth in truths:
        for budget in BUDGETS:
            rows += [_row(truth, budget, seed) for seed in range(min(_SEEDS, truth.full.seeds))]
        write_record(path, header("find"), rows)
        print(f"{truth.case.name}: find is replayed", flush=True)


def _row(truth: Truth, budget: float, seed: int) -> dict[str, Any]:
    run = Replay(truth, first=seed)
    answer = replayed_answer(run, truth.case.usual, run.price, budget)
    lr = truth.case.usual if answer.lr is None else answer.lr
    best = truth.full.best_lr
    return {
        "tool": f"stepsize find, at most {budget:g}",
        "task": truth.case.task,
        "optimizer": truth.case.optimizer,
        "set": truth.case.set,
        "seed": seed,
        "lr": answer.lr,
        "regret": rounded(max(0.0, float(run.score(lr)))),
        "regret_all": rounded(max(0.0, every_seed(truth, lr))),
        "code": answer.verdict,
        "sure": rounded(answer.sure),
        "tolerance": rounded(answer.tolerance),
        "interval": answer.as_good,
        "holds_best": answer.as_good is not None and answer.as_good[0] <= best <= answer.as_good[1],
        "cost": rounded(run.spent),
    }


def every_seed(truth: Truth, lr: float) -> float:
    """Return the regret of ``lr`` on every seed of the truth, also those that the search trained on."""
    full = truth.full
    ended = sum(full.served(lr, seed)[0] for seed in range(full.seeds)) / full.seeds
    return (ended - full.best_loss) / full.best_loss


def replayed_answer(run: Replay, usual: float, price: Price, budget: float) -> Answer:
    """Return the answer of `find`."""
    horizon = run.truth.horizon
    costs = CostModel(horizon=horizon, accumulate=1, batch_size=1, val_examples=0)
    family = _family(run.truth.case.optimizer)
    question = Question(usual, run.truth.untrained, costs, family, run.truth.parameters, budget=budget)
    strategy = UntilSure(question)
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
    known = [name for name in ("momentum", *OPTIMIZERS) if name in words]
    return OPTIMIZERS[known[0]].family if known else ""
