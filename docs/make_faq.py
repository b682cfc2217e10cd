"""Writes the measured answers of ``docs/faq.md`` from records of guide and benchmarks: ``python -m docs.make_faq``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.combos import all_combos
from benchmarks.methods import all_picks
from benchmarks.record import between_markers
from benchmarks.regret import case_of, load_curves
from benchmarks.replay import SETS
from benchmarks.truth import TRUTH_FOLDER
from docs.guide.catalog import CHAPTERS
from docs.guide.measuring import SMALL, per_cent
from docs.guide.pages import numbers_of

from stepsize.files import write_whole
from stepsize.views import number_text

PAGE = Path(__file__).parent / "faq.md"
_CLOSE = 0.05  # excess of a rate that is near enough to the best
_FIND = "stepsize find, at most 3"

_Numbers = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class _Regret:
    """Median, 90th percentile and worst case of a method's regret on the built-in tasks."""

    median: float
    high: float
    worst: float


def answers() -> dict[str, str]:
    """Return each measured question with its answer."""
    of = {chapter.page: numbers_of(chapter.page) for chapter in CHAPTERS}
    find = _regret(_FIND)
    return {**_on_choosing(of, find), **_on_a_run(of), **_on_methods(of), **_on_evaluation(of, find)}


def page() -> str:
    """Return the page with its answers as they are measured now."""
    text = "\n\n".join(f"### {question}\n\n{answer}" for question, answer in answers().items())
    return between_markers(PAGE.read_text(encoding="utf-8"), "answers", text)


def _regret(tool: str) -> _Regret:
    found = [row["regret"] for row in all_picks() if case_of(row).set == SETS[0] and row["tool"] == tool]
    return _Regret(float(np.median(found)), float(np.quantile(found, 0.9)), max(found))


def _near_width() -> tuple[float, int]:
    """Return highest ÷ lowest of the rates that are near enough to the best: the median, and over how many cases."""
    known = [combo for combo in all_combos() if combo.task in ("digits-mlp", "cancer-mlp", "diabetes-regression")]
    ranges = [curve.good(_CLOSE) for curve in load_curves(known, TRUTH_FOLDER).values()]
    return float(np.median([high / low for low, high in ranges])), len(ranges)


def _on_choosing(of: _Numbers, find: _Regret) -> dict[str, str]:
    default, ramp = _regret("fixed default"), _regret("stepsize range_test")
    fixed = of["04-fixed-or-adaptive"]
    excess = ", ".join(f"{task} {per_cent(fixed[f'default_adam_{task}'], sign=True)}" for task in SMALL)
    width, cases = _near_width()
    return {
        "Can I use the default learning rate?": f"You can, but it is a guess. On twelve tasks with two optimizers "
        f"each, the final loss at the default rate is {per_cent(default.median)} above the best (median; worst case "
        f"{per_cent(default.worst)}). With `find` and three full runs it is {per_cent(find.median)} (median).",
        "Is 1e-3 right for Adam?": "Sometimes. Final loss at 1e-3 relative to Adam's best rate on the small tasks of "
        f"the guide: {excess} ([chapter 4](guide/04-fixed-or-adaptive.md)).",
        "Is a range test enough?": f"No. Its final loss on those twelve tasks is {per_cent(ramp.median)} above the "
        f"best (median; worst case {per_cent(ramp.worst)}). It shows where the loss falls and where it rises. It does "
        "not know the number of steps, the schedule or overfitting ([chapter 7](guide/07-choosing.md)).",
        "How exact must the learning rate be?": f"Not very exact. The rates within {_CLOSE:.0%} of the best "
        f"loss span a factor of {number_text(width, 2)} (median of {cases} full-length built-in runs).",
    }


def _on_a_run(of: _Numbers) -> dict[str, str]:
    high, watched = of["02-too-high-too-low"], of["08-pitfalls"]
    return {
        "My loss became NaN. How much lower should the rate be?": "Divide it by three, then compare neighboring rates. "
        f"On a small network without noise, the best rate was {number_text(high['room'], 2)} times below the lowest "
        "rate that diverges ([chapter 2](guide/02-too-high-too-low.md)).",
        "My loss falls smoothly. Is the rate right?": "Not necessarily. A tenth of the best rate also fell without a "
        f"single rise, and ended {per_cent(high['excess_tenth'])} higher "
        "([chapter 2](guide/02-too-high-too-low.md)).",
        "How reliable is `watch`?": f"It named {watched['caught']:.0f} of {watched['faulty']:.0f} faults made on "
        f"purpose, and raised an alarm in {watched['alarms']:.0f} of {watched['sound']:.0f} healthy runs. On the "
        f"learning rate it gave a verdict in {watched['verdicts_told']:.0f} of {watched['verdicts']:.0f} runs; "
        f"{watched['verdicts_right']:.0f} of these were right ([chapter 8](guide/08-pitfalls.md)).",
    }


def _on_methods(of: _Numbers) -> dict[str, str]:
    plan, momentum, data, follow = (
        of[page] for page in ("05-schedules", "06-momentum", "10-your-data", "11-following")
    )
    return {
        "Do I need a schedule?": f"On small tasks with few rows it was significantly better than a constant rate in "
        f"{plan['better']:.0f} of {plan['cases']:.0f} cases and significantly worse in {plan['worse']:.0f}, each at "
        f"its own best peak. At a rate three times too high, a cosine was significantly better on {plan['saved']:.0f} "
        f"of {len(SMALL)} tasks ([chapter 5](guide/05-schedules.md)).",
        "I change momentum from 0 to 0.9. What about the rate?": "Divide it by ten. The rule missed the measured best "
        f"rate by {number_text(abs(math.log10(momentum['rule'])), 2)} decades. Keeping the rate ended "
        f"{per_cent(momentum['kept_rate'])} higher ([chapter 6](guide/06-momentum.md)).",
        "I change the batch size. What about the rate?": "Rescale it with `stepsize.translate`, then search around the "
        "result. The best rate was proportional to the batch size to the power "
        f"{number_text(data['power_batch_sgd'], 2)} for SGD and {number_text(data['power_batch_adam'], 2)} for Adam "
        "([chapter 10](guide/10-your-data.md)).",
        "Is there a method without a learning rate?": "Not one that works everywhere. Started 100 times too low on "
        f"three small tasks, `follow` ended {per_cent(follow['median_follow_0.01'], sign=True)} from the tuned run "
        f"(median) at {number_text(follow['cost_follow'], 2)} times the cost of one run; `adapt` ended "
        f"{per_cent(follow['median_adapt_0.01'], sign=True)} from it ([chapter 11](guide/11-following.md)).",
        "My loss has stopped falling. Does more time help?": "Not at a constant rate. The loss settles at a floor that "
        "is proportional to the learning rate to the power "
        f"{number_text(of['03-noise']['power_drawn'], 2)} if rows are drawn at random "
        "([chapter 3](guide/03-noise.md)). Lower the rate.",
    }


def _on_evaluation(of: _Numbers, find: _Regret) -> dict[str, str]:
    validation, real = of["09-validation-data"], of["12-a-real-case"]
    worst = max(SMALL, key=lambda task: validation[f"cost_{task}"])
    luck = max(validation[f"optimism_{task}"] for task in SMALL)
    return {
        "Can I select the rate by training loss?": f"Better not. On {worst} the training loss selects a rate "
        f"{number_text(validation[f'apart_{worst}'], 2)} times higher than the validation loss does, and the "
        f"validation loss there is {per_cent(validation[f'cost_{worst}'])} higher "
        "([chapter 9](guide/09-validation-data.md)).",
        "Can I report the validation loss that selected the rate?": "Report the loss on a test set instead. A rate "
        f"selected with one seed on half of the validation data had a regret of up to {per_cent(luck)} on the other "
        "half ([chapter 9](guide/09-validation-data.md)).",
        "What do I gain on a real problem?": "On visits to a web shop, the log loss on the test set changed by "
        f"{per_cent(real['final_gain'], sign=True)} from a first guess to a schedule, fewer steps and a rate from "
        "`find` ([chapter 12](guide/12-a-real-case.md), with the interval).",
        "When does `find` fail?": f"With three full runs, one answer in ten is more than {per_cent(find.high)} above "
        f"the best loss on the built-in tasks; the worst is {per_cent(find.worst)} above. Small budgets, very noisy "
        "runs and very long runs are the weak points ([caveats](caveats.md#where-find-goes-wrong)).",
    }


def write_page() -> None:
    """Write the page anew."""
    write_whole(PAGE, page().encode("utf-8"))


if __name__ == "__main__":
    write_page()
