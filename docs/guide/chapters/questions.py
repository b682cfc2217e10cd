"""Chapter 13: short answers, each with a figure from the other chapters or from the records of the benchmarks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from benchmarks.combos import all_combos
from benchmarks.methods import all_picks
from benchmarks.regret import case_of, load_curves
from benchmarks.replay import SETS
from benchmarks.truth import TRUTH_FOLDER
from docs.guide.measuring import SMALL, Effort, Measured, per_cent
from docs.guide.pages import numbers_of

from stepsize.views import number_text

_TOLERANCE = 0.05
_PAGES = (
    "02-too-high-too-low",
    "03-noise",
    "04-fixed-or-adaptive",
    "05-schedules",
    "06-momentum",
    "08-pitfalls",
    "09-unseen-data",
    "10-your-data",
    "11-following",
    "12-a-real-case",
)


def measure(_effort: Effort) -> Measured:
    """Read the figures that were measured; nothing is trained."""
    of = {page: numbers_of(page) for page in _PAGES}
    picked = {name: _regret(name) for name in ("fixed default", "stepsize range_test", _FIND)}
    widths = _widths()
    answers = [
        *_on_choosing(of, picked, float(np.median(widths))),
        *_on_trouble(of),
        *_on_methods(of),
        *_on_belief(of, picked[_FIND]),
    ]
    return Measured(
        gist=f"{len(answers)} questions; for instance, how exact must a rate be? Within {per_cent(_TOLERANCE)} of the "
        "best "
        f"loss lies a range of rates whose ends are {number_text(float(np.median(widths)), 2)} times apart (median of "
        f"{len(widths)} trainings).",
        numbers={
            "width": float(np.median(widths)),
            "narrowest": min(widths),
            **{f"median_{name}".replace(" ", "_"): values[0] for name, values in picked.items()},
            **{f"worst_{name}".replace(" ", "_"): values[2] for name, values in picked.items()},
        },
        blocks={"answers": "\n\n".join(f"**{question}**\n{answer}" for question, answer in answers)},
    )


_FIND = "stepsize find, at most 3"
_Numbers = Mapping[str, Mapping[str, float]]


def _regret(tool: str) -> tuple[float, float, float]:
    """Return median, 90 % quantile and worst of a tool's regret over all built-in tasks of the benchmarks."""
    rows = [row for row in all_picks() if case_of(row).set == SETS[0]]
    found = [row["regret"] for row in rows if row["tool"] == tool]
    return float(np.median(found)), float(np.quantile(found, 0.9)), max(found)


def _widths() -> list[float]:
    """Return highest ÷ lowest of the rates around the best with a regret of at most 5 %, of each training's truth."""
    known = [combo for combo in all_combos() if combo.task in ("digits-mlp", "cancer-mlp", "diabetes-regression")]
    curves = load_curves(known, TRUTH_FOLDER)
    return [high / low for low, high in (curve.good(_TOLERANCE) for curve in curves.values())]


def _on_choosing(of: _Numbers, picked: Mapping[str, tuple[float, float, float]], width: float) -> list[tuple[str, str]]:
    default, ramp, found = (picked[name] for name in ("fixed default", "stepsize range_test", _FIND))
    fixed = of["04-fixed-or-adaptive"]
    losses = ", ".join(f"{task} {per_cent(fixed[f'default_adam_{task}'], sign=True)}" for task in SMALL)
    return [
        (
            "Can I just take the default?",
            f"On twelve tasks with two optimizers each the defaults lost {per_cent(default[0])} in the median and "
            f"{per_cent(default[2])} at worst. Let it be found: `stepsize find TASK` lost {per_cent(found[0])} in the "
            "median at the cost of three full runs.",
        ),
        (
            "Is 1e-3 right for Adam?",
            f"Against Adam's own best rate it lost {losses} on the guide's small tasks (chapter 4).",
        ),
        (
            "Is a range test enough?",
            f"It lost {per_cent(ramp[0])} in the median and {per_cent(ramp[2])} at worst on those twelve tasks. It "
            "says "
            "where learning happens; it does not know the horizon, the schedule or overfitting (chapter 7).",
        ),
        (
            "How exact must a rate be?",
            f"Rates within {per_cent(_TOLERANCE)} of the best loss are a factor of {number_text(width, 2)} wide in the "
            "median of six full-length trainings of built-in tasks.",
        ),
    ]


def _on_trouble(of: _Numbers) -> list[tuple[str, str]]:
    high, watched = of["02-too-high-too-low"], of["08-pitfalls"]
    return [
        (
            "My loss became NaN. How far down should I go?",
            f"The best rate lay {number_text(high['room'], 2)} times below the one that diverges on a small network "
            "without "
            "noise (chapter 2). Divide by three, then look at neighbours.",
        ),
        (
            "My loss falls smoothly. Is the rate right?",
            f"Not therefore. A tenth of the best rate fell without a single rise as well and ended "
            f"{per_cent(high['excess_tenth'])} higher (chapter 2).",
        ),
        (
            "Can the watch be trusted?",
            f"It named {watched['caught']:.0f} of {watched['faulty']:.0f} faults made on purpose, with alarms in "
            f"{watched['alarms']:.0f} of {watched['sound']:.0f} sound trainings. On the rate it gave a verdict in "
            f"{watched['verdicts_told']:.0f} of {watched['verdicts']:.0f} runs, and {watched['verdicts_right']:.0f} of "
            "these "
            "were right (chapter 8).",
        ),
    ]


def _on_methods(of: _Numbers) -> list[tuple[str, str]]:
    plan, momentum, data, follow = (
        of[page] for page in ("05-schedules", "06-momentum", "10-your-data", "11-following")
    )
    return [
        (
            "Do I need a schedule?",
            f"On small trainings with few rows it was clearly better than a constant rate in {plan['better']:.0f} of "
            f"{plan['cases']:.0f} cases and clearly worse in {plan['worse']:.0f}, each at its own best peak. At a rate "
            "three "
            f"times too high, a cosine was clearly better on {plan['saved']:.0f} of {len(SMALL)} tasks (chapter 5).",
        ),
        (
            "I change momentum from 0 to 0.9. What about the rate?",
            "Divide it by ten. The rule missed the measured best rate by "
            f"{number_text(abs(math.log10(momentum['rule'])), 2)} "
            f"decades; who kept the rate ended {per_cent(momentum['kept_rate'])} higher (chapter 6).",
        ),
        (
            "I change the batch size. What about the rate?",
            f"The best one went with the batch size to the power {number_text(data['power_batch_sgd'], 2)} for SGD and "
            f"{number_text(data['power_batch_adam'], 2)} for Adam (chapter 10). `stepsize.translate` knows the rules.",
        ),
        (
            "Is there a method that needs no rate?",
            f"From a hundredth of the best rate, `follow` ended {per_cent(follow['median_follow_0.01'], sign=True)} "
            "from the "
            f"tuned training at {number_text(follow['cost_follow'], 2)} trainings' cost; "
            f"the best adapting rule {per_cent(_best_rule(follow), sign=True)} (chapter 11).",
        ),
    ]


def _best_rule(follow: Mapping[str, float]) -> float:
    """Return the least median excess from the lowest start of the rules that adapt in each update."""
    known = ("median_fixed_0.01", "median_follow_0.01", "median_Plateau_0.01")
    return min(value for name, value in follow.items() if name.startswith("median_") and name.endswith("_0.01")
               and name not in known)  # fmt: skip


def _on_belief(of: _Numbers, found: tuple[float, float, float]) -> list[tuple[str, str]]:
    unseen, real, noise = of["09-unseen-data"], of["12-a-real-case"], of["03-noise"]
    worst = max(SMALL, key=lambda task: unseen[f"cost_{task}"])
    luck = max(unseen[f"optimism_{task}"] for task in SMALL)
    return [
        (
            "May I choose by the training loss?",
            f"It chose a rate {number_text(unseen[f'apart_{worst}'], 2)} times higher than unseen data did on {worst}, "
            "and "
            f"ended {per_cent(unseen[f'cost_{worst}'])} worse there (chapter 9).",
        ),
        (
            "Can I report the loss that chose the rate?",
            f"A rate chosen with one seed by one half of the unseen data lost up to {per_cent(luck)} on the other half "
            "against "
            "that half's own choice (chapter 9). Keep rows back.",
        ),
        (
            "Does time help against a loss that has stopped falling?",
            f"Not at a constant rate: the floor goes with the rate to the power {number_text(noise['power_drawn'], 2)} "
            "(rows drawn at random; chapter 3). Lower the rate.",
        ),
        (
            "What does all of this bring on a real problem?",
            f"On web visits the log loss changed by {per_cent(real['final_gain'], sign=True)} from a first guess to a "
            "found "
            "rate with a schedule (chapter 12, with its interval).",
        ),
        (
            "When does `find` fail?",
            f"One pick in ten lost more than {per_cent(found[1])}, the worst {per_cent(found[2])}: where overfitting "
            "begins "
            "only on the full horizon. `--budget 3` and a look at unseen data are the remedy.",
        ),
    ]
