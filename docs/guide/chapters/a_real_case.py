"""Chapter 12: predicting a purchase from a visit: a first guess, a schedule, a found rate, and what each brought."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from docs.guide.charts import Series, Upright, line_chart, log_axis, plain_axis
from docs.guide.measuring import Effort, Mean, Measured, change_text, difference_text, pairs, per_cent, table
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import stepsize
from stepsize.training import Task, TensorBatches
from stepsize.views import number_text

_GUESS = 1e-3  # AdamW's default in torch
_TOP = 0.1  # of the visits: those rated most likely
_SCHEDULE = "cosine warmup=5%"  # the built-in task's own, settled anew
_BUDGETS = (1.0, 3.0)
_KEPT_BACK = 0.2  # of the training rows


@dataclass(frozen=True, eq=False)
class _Stage:
    """One way to train, over several seeds.

    Attributes:
        name: What it is.
        lrs: The peak rate of each seed.
        losses: Log loss on the rows that nothing has seen, shape (seeds,).
        areas: Area under the ROC curve there.
        top: Share of purchases among the visits rated most likely.
        cost: Trainings, with those that chose the rate.
    """

    name: str
    lrs: NDArray[np.float64]
    losses: NDArray[np.float64]
    areas: NDArray[np.float64]
    top: NDArray[np.float64]
    cost: float


def measure(effort: Effort) -> Measured:
    """Train in stages, each judged by rows that neither trained nor chose.

    Raises:
        DataUnavailableError: If the data folder does not hold the visits.
    """
    task, test = _split(stepsize.build_task("shoppers-mlp", device="cpu", steps=effort(800, 60)))
    seeds = effort.judging
    constant = replace(task, schedule=None, epochs=None)
    guess = _trained("first guess: AdamW, 1e-3, constant", constant, test, [_GUESS] * len(seeds), seeds, 1.0)
    planned = _trained("with a schedule: warmup and cosine", task, test, [_GUESS] * len(seeds), seeds, 1.0)
    stages, last = [guess, planned], None
    shorter = replace(task, steps=task.horizon // 4, schedule=_SCHEDULE, epochs=None)
    searched = [(f"`find`, budget {budget:g}", task, budget) for budget in _BUDGETS] if effort.full else []
    for name, one, budget in [*searched, ("a quarter of the steps, `find`, budget 3", shorter, 3.0)]:
        answers = [stepsize.find(one, budget=budget, seed=seed + 100) for seed in seeds]
        lrs = [_GUESS if answer.lr is None else answer.lr for answer in answers]
        share = one.horizon / task.horizon
        cost = share * (1.0 + float(np.mean([answer.cost.full_runs for answer in answers])))
        stages.append(_trained(name, one, test, lrs, seeds, cost))
        last = answers[0] if last is None or one is task else last
    assert last is not None
    watched = [stepsize.watch_task(one, _GUESS, seed=seeds[0]) for one in (constant, task)]
    bought = float(test[-1].mean())
    base = -(bought * np.log(bought) + (1 - bought) * np.log(1 - bought))
    gains = {one.name: pairs(one.losses, guess.losses) for one in stages[1:]}
    final = stages[-1]
    return Measured(
        gist="On the test set, the log loss with a schedule ended "
        f"{difference_text(gains[planned.name], 'the guess')}; with fewer steps and a rate from `find` it ended "
        f"{difference_text(gains[final.name], 'the guess')}.",
        numbers={
            "base_loss": float(base),
            "base_rate": bought,
            "guess_loss": float(guess.losses.mean()),
            "final_loss": float(final.losses.mean()),
            "schedule_gain": gains[planned.name].value,
            "final_gain": gains[final.name].value,
            "found_lr": float(np.median(final.lrs)),
            "final_area": float(final.areas.mean()),
        },
        blocks={
            "data": f"{_count(task.train):,} visits are for training, {_count(task.val):,} for validation (the rate is "
            f"selected on them) and {len(test[0]):,} are the test set, which nothing else uses. {per_cent(bought)} of "
            "the test visits end in a purchase; predicting just that fraction for every visit has a log loss of "
            f"{number_text(float(base))}.",
            "stages": table(
                (
                    "run",
                    "peak rate",
                    "cost in full runs",
                    "log loss",
                    "relative to the guess",
                    "relative to 1e-3 with the schedule",
                    "area under ROC",
                    "purchases in the top 10%",
                ),
                [
                    (
                        one.name,
                        _rates(one.lrs),
                        number_text(one.cost, 2),
                        str(Mean.of(one.losses)),
                        "" if one is guess else change_text(gains[one.name]),
                        "" if one in (guess, planned) else change_text(pairs(one.losses, planned.losses)),
                        str(Mean.of(one.areas)),
                        per_cent(float(one.top.mean())),
                    )
                    for one in stages
                ],
            ),
            "watched": "On the first seed, `watch` reported: "
            + "; ".join(
                f"{name}: learning rate {one.report.verdict.code}, {_findings(one)}"
                for name, one in zip(("first guess", "with a schedule"), watched, strict=True)
            )
            + ".",
            "found": f"The first answer at the largest budget, over all steps: {_answer(last)}. "
            f"The verdict is *{last.verdict}*.",
        },
        figures={"a-real-case": (_chart(last),)},
    )


def _count(batches: Any) -> int:
    return len(batches.tensors[0])


def _split(task: Task) -> tuple[Task, tuple[torch.Tensor, ...]]:
    """Return the task with a part of its training rows kept back, and these rows."""
    assert isinstance(task.train, TensorBatches)
    rows = task.train.tensors
    order = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(0))
    back = round(_KEPT_BACK * len(order))
    kept, rest = order[:back], order[back:]
    train = replace(task.train, tensors=tuple(part[rest] for part in rows))
    return replace(task, train=train, epochs=None), tuple(part[kept] for part in rows)


def _trained(
    name: str, task: Task, test: tuple[torch.Tensor, ...], lrs: list[float], seeds: tuple[int, ...], cost: float
) -> _Stage:
    judged = [_judge(stepsize.train(task, lr, seed=seed).model, test) for lr, seed in zip(lrs, seeds, strict=True)]
    losses, areas, top = np.asarray(judged).T
    return _Stage(name, np.asarray(lrs), losses, areas, top, cost)


def _judge(model: Any, test: tuple[torch.Tensor, ...]) -> tuple[float, float, float]:
    """Return log loss, area under the ROC curve, and the share of purchases among the visits rated most likely."""
    *inputs, bought = test
    model.eval()
    with torch.no_grad():
        rated = model(*inputs)
        loss = float(torch.nn.functional.binary_cross_entropy_with_logits(rated, bought))
    first = rated.argsort(descending=True)[: round(_TOP * len(rated))]
    return loss, float(roc_auc_score(bought.numpy(), rated.numpy())), float(bought[first].mean())


def _rates(lrs: NDArray[np.float64]) -> str:
    low, high = number_text(float(lrs.min()), 2), number_text(float(lrs.max()), 2)
    return low if low == high else f"{low} to {high}"


def _findings(one: stepsize.monitor.WatchedRun) -> str:
    codes = Counter(found.code for found in one.report.findings)
    return "findings " + ", ".join(f"`{code}`" for code in codes) if codes else "no finding"


def _answer(found: Any) -> str:
    if found.lr is None or found.as_good is None:
        return "none"
    low, high = found.as_good
    return f"{number_text(found.lr)}, with {number_text(low)} to {number_text(high)} as good"


def _chart(found: Any) -> Any:
    by_steps: dict[int, list[tuple[float, float]]] = {}
    for run in found.runs:
        if run.divergence is None:
            by_steps.setdefault(run.setting.steps, []).append((run.setting.lr, run.val_loss))
    series = [
        Series(f"{steps} steps", [a for a, _ in sorted(runs)], [b for _, b in sorted(runs)], points=True)
        for steps, runs in sorted(by_steps.items())
    ]
    lrs = [a for runs in by_steps.values() for a, _ in runs]
    losses = [b for runs in by_steps.values() for _, b in runs]
    y = plain_axis(losses, "log loss on the validation visits")
    return line_chart(
        series,
        log_axis(lrs),
        y,
        "Log loss vs. learning rate, by number of steps",
        uprights=[] if found.lr is None else [Upright(found.lr, "found")],
    )
