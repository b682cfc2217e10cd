"""Chapter 5: what a falling rate brings, each schedule at its own best peak, and what happens at a single drop."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.by_schedule import judged
from benchmarks.record import RECORDS_FOLDER
from docs.guide.charts import Series, line_chart, plain_axis
from docs.guide.measuring import (
    SMALL,
    Effort,
    Mean,
    Measured,
    Tuned,
    change_text,
    decades,
    difference_text,
    pairs,
    small_task,
    table,
    trained,
    tuned,
)  # fmt: skip

from stepsize.views import number_text

_SCHEDULES = {
    "constant": "constant",
    "steps": "step every=30% gamma=0.3",
    "exponential": "exponential end=0.01",
    "linear": "linear",
    "cosine": "cosine",
    "constant, then cooldown": "constant, cooldown 20%",
}
_RANGE = (0.002, 2)
_BATCH = 32  # small enough that noise is there to be cooled


def measure(effort: Effort) -> Measured:
    """Tune each schedule's peak on each task, and drop the rate of one training in its middle."""
    steps = effort(400, 40)
    found = {(task, name): _tuned(task, name, steps, effort) for task in SMALL for name in _SCHEDULES}
    gains = {
        (task, name): pairs(found[task, name].losses, found[task, "constant"].losses)
        for task in SMALL
        for name in _SCHEDULES
        if name != "constant"
    }
    better = [key for key, gain in gains.items() if gain.clear and gain.value < 0]
    worse = [key for key, gain in gains.items() if gain.clear and gain.value > 0]
    same = {task: _same_peak(task, steps, effort, 3 * found[task, "constant"].lr) for task in SMALL}
    rise = {task: found[task, "cosine"].lr / found[task, "constant"].lr for task in SMALL}
    drop, end, curves = _drop(effort)
    larger = _larger()
    saved = [task for task, gain in same.items() if gain.clear and gain.value < 0]
    told = ", ".join(f"{task} {number_text(ratio, 2)} ×" for task, ratio in rise.items())
    return Measured(
        gist=f"Little on small tasks, with each schedule at its own best peak: significantly better than a constant "
        f"rate in {len(better)} of {len(gains)} cases, significantly worse in {len(worse)}. At a peak three times too "
        f"high, a cosine was significantly better on {len(saved)} of {len(SMALL)} tasks. On larger tasks, each tuned, "
        f"it was on {sum(one.clear and one.value < 0 for one in larger.values())} of {len(larger)}.",
        numbers={
            "better": len(better),
            "worse": len(worse),
            "cases": len(gains),
            **{f"cosine_{task}": gains[task, "cosine"].value for task in SMALL},
            **{f"same_peak_{task}": gain.value for task, gain in same.items()},
            **{f"peak_ratio_{task}": ratio for task, ratio in rise.items()},
            **{f"larger_{task}".replace(", ", "_"): gain.value for task, gain in larger.items()},
            "drop": drop.value,
            "drop_at_the_end": end.value,
            "saved": len(saved),
        },
        blocks={
            "drop": f"Both runs started at three times the best constant rate. {_after(effort)} steps after the drop "
            f"to a tenth, the validation loss was {difference_text(drop, 'the run without a drop')}. At the end it was "
            f"{difference_text(end, 'the run without a drop')} ({len(effort.judging)} seeds).",
            "tuned": table(
                ("schedule", *SMALL),
                [
                    (
                        name,
                        *(
                            str(found[task, name].mean) if name == "constant" else change_text(gains[task, name])
                            for task in SMALL
                        ),
                    )
                    for name in _SCHEDULES
                ],
            ),
            "peaks": f"Best peak of the cosine ÷ best constant rate: {told}.",
            "same": "Cosine compared with a constant rate, both at three times the best constant rate: "
            + "; ".join(f"{task}: {_told(gain)}" for task, gain in same.items())
            + ".",
            "larger": "; ".join(
                f"{task}: the cosine ended {difference_text(gain, 'a constant rate')}" for task, gain in larger.items()
            )
            + ".",
        },
        figures={"one-drop": (curves,)},
    )


def _tuned(task: str, schedule: str, steps: int, effort: Effort) -> Tuned:
    one = small_task(task, "momentum", steps=steps, schedule=_SCHEDULES[schedule], **_batches(task))
    return tuned(one, decades(*_RANGE, effort(5, 1)), effort)


def _batches(task: str) -> dict[str, Any]:
    train = small_task(task).train
    return {"train": type(train)(train.tensors, _BATCH)}  # type: ignore[attr-defined, call-arg]


def _same_peak(task: str, steps: int, effort: Effort, lr: float) -> Mean:
    losses = []
    for schedule in ("cosine", "constant"):
        one = small_task(task, "momentum", steps=steps, schedule=schedule, **_batches(task))
        losses.append(trained(one, (lr,), effort.judging).losses(lr))
    return pairs(*losses)


def _told(gain: Mean) -> str:
    if gain.value == gain.half == 0:
        return "all runs diverged, with the schedule too"
    return difference_text(gain, "a constant rate")


def _larger() -> dict[str, Mean]:
    """Return what a cosine brings against a constant rate in the record of larger trainings."""
    found = dict(judged(RECORDS_FOLDER / "by_schedule.json"))
    return {task: pairs(of["cosine"], of["constant"]) for task, of in found.items()}


def _after(effort: Effort) -> int:
    return effort(20, 4)


def _drop(effort: Effort) -> tuple[Mean, Mean, Any]:
    """Return how the loss differs shortly after a drop and at the end, and the chart of both trainings."""
    steps = effort(400, 40)
    looks = effort(10, 2)
    marks = list(range(looks, steps, looks))
    constant = _tuned("diabetes", "constant", steps, effort).lr
    runs = {
        name: trained(
            small_task("diabetes", "momentum", steps=steps, schedule=schedule, **_batches("diabetes")),
            (3 * constant,),
            effort.judging,
            evals=marks,
        )
        for name, schedule in (("constant", "constant"), ("a tenth in the second half", "step every=50% gamma=0.1"))
    }
    means = {
        name: np.asarray([[seen.loss for seen in run.evaluations] for run in grid.runs.values()])
        for name, grid in runs.items()
    }
    at = (steps // 2 + _after(effort)) // looks - 1
    kept, dropped = means.values()
    series = [Series(name, [*marks, steps], found.mean(0)) for name, found in means.items()]
    levels = [found.mean(0)[2:] for found in means.values()]
    y = plain_axis(np.concatenate(levels), "validation loss")
    chart = line_chart(
        series, plain_axis([0, steps], "step", may_log=False), y, "Validation loss vs. step: diabetes", columns=1
    )
    return pairs(dropped[:, at], kept[:, at]), pairs(dropped[:, -1], kept[:, -1]), chart
