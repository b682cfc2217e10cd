"""Chapter 8: trainings with one thing wrong each, watched; and how often the verdict on the rate is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from docs.guide.charts import Series, Upright, line_chart, plain_axis
from docs.guide.measuring import (
    SMALL,
    Effort,
    Measured,
    Tuned,
    decades,
    per_cent,
    small_task,
    table,
    trained,
    tuned,
)  # fmt: skip

import stepsize
from stepsize import schedules
from stepsize.monitor import WatchedRun
from stepsize.training import Task
from stepsize.views import number_text

_RANGE = (0.001, 1)
_MULTIPLES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_FINE = 0.1  # excess up to which a rate is fine
_SIDES = ("too low", "fine", "too high", "inconclusive")


@dataclass(frozen=True)
class _Case:
    """A training with something done to it.

    Attributes:
        what: What was done.
        task: What is trained.
        lr: The rate.
        wanted: The codes of which one should be found; empty where nothing is wrong.
    """

    what: str
    task: Task
    lr: float
    wanted: frozenset[str]


def measure(effort: Effort) -> Measured:
    """Watch trainings with a fault and without, and trainings at rates from far too low to far too high."""
    steps = effort(300, 48)
    best = {name: _tuned(name, steps, effort) for name in SMALL}
    cases = _cases(best, steps)
    seeds = range(20, 20 + effort(3, 1))
    seen = {case.what: [stepsize.watch_task(case.task, case.lr, seed=seed) for seed in seeds] for case in cases}
    faulty = [case for case in cases if case.wanted]
    caught = sum(bool(case.wanted & _codes(one)) for case in faulty for one in seen[case.what])
    clean = [one for case in cases if not case.wanted for one in seen[case.what]]
    alarms = sum(any(found.severity != "info" for found in one.report.findings) for one in clean)
    judged = _judged(best, steps, effort)
    told = [(label, verdict) for label, verdict in judged if verdict != "inconclusive"]
    right = sum(label == verdict for label, verdict in told)
    overfit = seen["trained for far too long"]
    return Measured(
        gist=f"`stepsize.watch` named the fault in {caught} of {len(faulty) * len(seeds)} faulty runs and raised an "
        f"alarm in {alarms} of {len(clean)} healthy ones. It gave a verdict on the rate in {len(told)} of "
        f"{len(judged)} runs; {right} of these were right.",
        numbers={
            "caught": caught,
            "faulty": len(faulty) * len(seeds),
            "alarms": alarms,
            "sound": len(clean),
            "verdicts_told": len(told),
            "verdicts": len(judged),
            "verdicts_right": right,
        },
        blocks={
            "faults": table(
                ("what was changed", "validation loss", "verdict on the rate", "findings (number of runs)"),
                [
                    (case.what, _loss(seen[case.what]), _verdicts(seen[case.what]), _found(seen[case.what]))
                    for case in cases
                ],
            )
            + f"\n\nThe fault was named in {caught} of {len(faulty) * len(seeds)} faulty runs. {_missed(faulty, seen)} "
            f"Of the {len(clean)} healthy runs, {alarms} had an alarm (a finding above the level *info*).",
            "verdicts": table(
                ("ground truth", *(f"verdict: {side}" for side in _SIDES)),
                [(label, *(sum(pair == (label, side) for pair in judged) for side in _SIDES)) for label in _SIDES[:3]],
            )
            + f"\n\nA verdict was given in {len(told)} of {len(judged)} runs, and {right} of these were right. "
            "`diverged` counts as too high.",
            "overfitting": _turning(overfit),
        },
        figures={"overfitting": (_chart(overfit[0]),)},
    )


def _tuned(name: str, steps: int, effort: Effort) -> Tuned:
    task = small_task(name, "momentum", steps=steps, schedule="cosine warmup=5%")
    return tuned(task, decades(*_RANGE, effort(4, 1)), effort)


def _cases(best: dict[str, Tuned], steps: int) -> list[_Case]:
    lr = best["digits"].lr
    cosine = "cosine warmup=5%"

    def digits(schedule: Any = cosine, optimizer: Any = "momentum", **parts: Any) -> Task:
        return small_task("digits", optimizer, steps=steps, schedule=schedule, **parts)

    held = replace(digits(), optimizer=_first_layer_held, epochs=None)
    tumors = small_task("cancer", "momentum", steps=steps, schedule=cosine)
    long = small_task("diabetes", "adam", steps=3 * steps)
    return [
        _Case("nothing: the best rate", digits(), lr, frozenset()),
        _Case("nothing, on the tumors", tumors, best["cancer"].lr, frozenset()),
        _Case("the rate ÷ 100", digits(), lr / 100, frozenset({"too-low", "underfitting"})),
        _Case("the rate × 30", digits(), 30 * lr, frozenset({"too-high", "diverging", "about-to-diverge"})),
        _Case("a schedule made for a third of the steps", digits(_ends_at(steps // 3)), lr,
              frozenset({"schedule-end", "zero-rate"})),
        _Case("a rate that never decays", digits("constant"), lr, frozenset({"schedule-end"})),
        _Case("gradients clipped to 0.01", digits(clip=0.01), lr, frozenset({"clipping"})),
        _Case("the first layer has rate 0", held, lr, frozenset({"dead-group"})),
        _Case("trained for far too long", long, 0.01, frozenset({"overfitting"})),
    ]  # fmt: skip


def _ends_at(steps: int) -> Callable[[int], float]:
    whole = schedules.parse("cosine").over(steps)
    return lambda step: float(whole(step))  # holds its last factor, as schedulers do


def _first_layer_held(params: Iterable[Any], lr: float) -> torch.optim.Optimizer:
    weights = list(params)
    groups = [{"params": weights[:2], "lr": 0.0}, {"params": weights[2:], "lr": lr}]
    return torch.optim.SGD(groups, lr=lr, momentum=0.9)


def _judged(best: dict[str, Tuned], steps: int, effort: Effort) -> list[tuple[str, str]]:
    """Return (truth, verdict) of watched trainings from far below the best rate to far above it."""
    found = []
    for name, one in list(best.items())[: effort(3, 1)]:
        task = small_task(name, "momentum", steps=steps, schedule="cosine warmup=5%")
        rates = [one.lr * times for times in (_MULTIPLES if effort.full else _MULTIPLES[::3])]
        grid = trained(task, rates, effort.judging)
        least = float(one.grid.means().min())
        for lr in rates:
            excess = float(grid.losses(lr).mean()) / least - 1
            label = "fine" if excess <= _FINE else "too low" if lr < one.lr else "too high"
            for seed in range(20, 21):
                said = stepsize.watch_task(task, lr, seed=seed).report.verdict.code
                found.append((label, "too high" if said == "diverged" else str(said)))
    return found


def _codes(one: WatchedRun) -> set[str]:
    return {found.code for found in one.report.findings}


def _found(runs: list[WatchedRun]) -> str:
    counts = Counter(code for one in runs for code in _codes(one))
    return ", ".join(f"`{code}` ({count})" for code, count in counts.most_common()) or "none"


def _verdicts(runs: list[WatchedRun]) -> str:
    counts = Counter(one.report.verdict.code for one in runs)
    return ", ".join(f"{code} ({count})" for code, count in counts.most_common())


def _loss(runs: list[WatchedRun]) -> str:
    losses = [one.run.val_loss for one in runs if one.run.divergence is None]
    return number_text(float(np.mean(losses))) if losses else "diverged"


def _missed(faulty: list[_Case], seen: dict[str, list[WatchedRun]]) -> str:
    missed = [case.what for case in faulty if not all(case.wanted & _codes(one) for one in seen[case.what])]
    return f"Missed at least once: {'; '.join(missed)}." if missed else "No fault was missed."


def _turning(runs: list[WatchedRun]) -> str:
    gains = [one.run.evaluations[-1].loss / min(seen.loss for seen in one.run.evaluations) - 1 for one in runs]
    steps = [found.step for one in runs for found in one.report.findings if found.code == "overfitting"]
    lows = [min(one.run.evaluations, key=lambda seen: seen.loss).step for one in runs]
    said = f"`watch` reported it at step {np.mean(steps):.0f}" if steps else "`watch` did not report it"
    return (
        f"The validation loss was lowest at step {np.mean(lows):.0f} and ended {per_cent(float(np.mean(gains)))} above "
        f"that (means of {len(runs)} seeds). {said}."
    )


def _chart(one: WatchedRun) -> Any:
    losses = one.run.losses
    width = max(1, len(losses) // 60)
    whole = len(losses) // width * width
    smooth = losses[:whole].reshape(-1, width).mean(1)
    unseen = [seen.loss for seen in one.run.evaluations]
    series = (
        Series("training", np.arange(1, len(smooth) + 1) * width, smooth),
        Series("validation", [seen.step for seen in one.run.evaluations], unseen, points=True),
    )
    flags = [Upright(found.step, found.code) for found in one.report.findings if found.code == "overfitting"]
    x = plain_axis([0, len(losses)], "step", may_log=False)
    y = plain_axis([0.0, *smooth[2:], *unseen], "loss", may_log=False)
    return line_chart(series, x, y, "Loss vs. step of a run that is far too long", uprights=flags)
