"""What `sweep` returns, and how it is read off the runs: pure numbers, trains nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from stepsize.curves.answer import Answer, answer_from, no_answer
from stepsize.curves.lr_model import LrModel, fit_lr_model
from stepsize.curves.numerals import number_text
from stepsize.curves.pairs import PairedComparison, compare_pairs, pooled_noise, two_way
from stepsize.curves.sensitivity import LrSensitivity, lr_sensitivity
from stepsize.errors import InputError
from stepsize.optimizers.usual import UNKNOWN, Usual, usual_rate
from stepsize.plain import plain
from stepsize.study.outcome import Answered, StudyOutcome
from stepsize.study.space import Space
from stepsize.study.strategy import point_of, sharing
from stepsize.training.conditions import RunConditions
from stepsize.training.runs import Run, Trial, Value
from stepsize.views import Chart, Pictured

_Key: TypeAlias = frozenset[tuple[str, Value]]

_OWN = 3  # rates with the same other values that have a curve of their own
_DOUBTFUL = 0.5  # how sure an answer is at most that rests on runs with other values
_COMPARED = 0.5  # fraction of the configurations, the best ones, whose noise is pooled


@dataclass(frozen=True, eq=False)
class Summary:
    """What the runs of a sweep say.

    Attributes:
        best: The configuration of least loss, corrected for seeds; None without one.
        value: Its mean over its seeds, lower is better; NaN without one.
        seeds: Number of its seeds.
        answer: The recommended rate with the other values of ``best``, the range that is as good, and how sure that is.
        curve: The fitted curve of loss against learning rate; None without runs.
        sensitivity: How much the rate matters; None if the loss at initialization or the range is unknown.
        train_optimum: The configuration of least training loss; None if it is unknown.
        runner_up: The second best configuration; None if there is none.
        comparison: ``best`` (first) against ``runner_up`` (second).
        diverged: Number of runs that diverged.
        lowest_diverged: The lowest rate of a run that diverged; None without one.
    """

    best: Trial | None
    value: float
    seeds: int
    answer: Answer
    curve: LrModel | None
    sensitivity: LrSensitivity | None
    train_optimum: Trial | None
    runner_up: Trial | None
    comparison: PairedComparison | None
    diverged: int
    lowest_diverged: float | None

    @property
    def status(self) -> str:
        """The answer as sentences: the best configuration, the rate, and the comparison with the runner-up."""
        answer = self.answer
        if answer.lr is None or self.best is None:
            return f"No answer. {answer.reason} {answer.next}"
        over = f"{number_text(self.value, 4)} over {self.seeds} seed{'s' * (self.seeds != 1)}"
        parts = [f"The best configuration is {named(self.best)} ({over}).", str(answer)]
        if self.comparison is not None and self.runner_up is not None:
            parts.append(self.comparison.told_of("it", f"the runner-up ({named(self.runner_up)})"))
        else:
            parts.append("There is no other configuration to compare it with.")
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``; a number that is not finite becomes None."""
        best = None if self.best is None else {**_trial_json(self.best), "value": self.value, "seeds": self.seeds}
        sensitivity = self.sensitivity
        found: dict[str, Any] = plain(
            {
                **self.answer.to_json(),
                "best": best,
                "status": self.status,
                "curve": None if self.curve is None else self.curve.to_json(),
                "sensitivity": None if sensitivity is None else {**asdict(sensitivity), "share": sensitivity.share},
                "train_optimum": None if self.train_optimum is None else _trial_json(self.train_optimum),
                "runner_up": None if self.runner_up is None else _trial_json(self.runner_up),
                "comparison": None if self.comparison is None else asdict(self.comparison),
                "diverged": self.diverged,
                "lowest_diverged": self.lowest_diverged,
            }
        )
        return found


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SweepResult(Pictured, Answered, StudyOutcome):
    """The answer of :func:`stepsize.sweep`.

    Attributes:
        conditions: What the rates are for; what the space varies is as the task has it.
        space: What was searched, as wide as it became.
        untrained: The objective at initialization.
        usual: The usual rate of the task's optimizer, and its family.
    """

    conditions: RunConditions
    space: Space
    untrained: float
    usual: Usual = UNKNOWN

    @cached_property
    def summary(self) -> Summary:
        """What the runs say, in full; computed when it is first needed."""
        validated = self.conditions.objective != "training loss"
        return summarize(self.runs, untrained=self.untrained, usual=self.usual, validated=validated)

    @property
    def answer(self) -> Answer:
        """The recommended rate with the other values of ``best``, the range that is as good, and how sure that is."""
        return self.summary.answer

    @property
    def best(self) -> Trial | None:
        """The trained configuration of least loss; None if each diverged."""
        return self.summary.best

    @property
    def comparison(self) -> PairedComparison | None:
        """Whether ``best`` is distinguishable from the runner-up; None without one."""
        return self.summary.comparison

    @property
    def curve(self) -> LrModel | None:
        """The fitted curve of loss against learning rate; None without runs."""
        return self.summary.curve

    @property
    def sensitivity(self) -> LrSensitivity | None:
        """How much the choice of the rate matters."""
        return self.summary.sensitivity

    @property
    def status(self) -> str:
        """The answer as sentences."""
        return self.summary.status

    def plot(self, kind: Literal["rates", "map", "curves", "cost"] = "rates") -> Chart:
        """Return a chart.

        Args:
            kind: ``"rates"`` is the loss against the rate, ``"map"`` the loss over the rate and the first dimension
                searched beside it (by momentum, with the line of constant lr/(1 - m)), ``"curves"`` the training losses
                over time, ``"cost"`` the best value so far against the cost.

        Raises:
            InputError: If there is no such chart, or no run to draw.
        """
        from stepsize.study import plotting

        charts = {
            "rates": plotting.rates_chart,
            "map": plotting.map_chart,
            "curves": plotting.curves_chart,
            "cost": plotting.cost_chart,
        }
        if kind not in charts:
            raise InputError("kind", kind, f"must be one of: {', '.join(charts)}")
        if not self.runs:
            raise InputError("runs", 0, "must hold at least one run to be drawn")
        return charts[kind](self)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``."""
        return {
            **super().to_json(),
            **self.summary.to_json(),
            "conditions": asdict(self.conditions),
            "space": self.space.to_json(),
        }


def summarize(
    runs: Sequence[Run], *, untrained: float | None = None, usual: Usual = UNKNOWN, validated: bool = True
) -> Summary:
    """Read the answer of a sweep off its runs.

    The levels of configurations are means over seeds, corrected for what each seed does to all configurations alike, so
    that none wins by the lucky seed only; one with a run that diverged does not win. The curve and the answer are those
    of the rate with the other values of the best configuration; if fewer than three rates were trained with these, all
    runs count, the rate is that of the best configuration, and the verdict stays open. ``untrained`` is the objective
    at initialization.
    """
    known = [run for run in runs if not math.isnan(run.value)]
    trials: dict[_Key, Trial] = {}
    values: dict[_Key, dict[int, float]] = {}
    keyed = [(_key(run.trial), run) for run in known]
    for key, run in keyed:
        trials.setdefault(key, run.trial)
        values.setdefault(key, {})[run.seed] = run.value
    ranked = _ranked(keyed, lambda run: run.value)
    by_train = _ranked(keyed, lambda run: run.train_loss)
    best = trials[ranked[0]] if ranked else None
    second = trials[ranked[1]] if len(ranked) > 1 else None
    held = _held(known, best)
    start = untrained if untrained is not None and math.isfinite(untrained) else None
    curve, answer = _answered(held or known, best, _reached(runs, start), usual, alone=bool(held), validated=validated)
    lrs, reached = [run.trial.lr for run in held or known], [run.value for run in held or known]
    diverged = [run.trial.lr for run in runs if math.isinf(run.value)]
    return Summary(
        best=best,
        value=math.nan if best is None else float(np.mean(list(values[_key(best)].values()))),
        seeds=0 if best is None else len(values[_key(best)]),
        answer=answer,
        curve=curve,
        sensitivity=None if start is None else lr_sensitivity(lrs, reached, untrained=start),
        train_optimum=trials[by_train[0]] if by_train else None,
        runner_up=second,
        comparison=_against_second([values[key] for key in ranked]),
        diverged=len(diverged),
        lowest_diverged=min(diverged, default=None),
    )


def named(trial: Trial) -> str:
    """Return the values of a trial in words, the rate first."""
    rest = {name: value for name, value in trial.values.items() if name != "lr"}
    texts = [f"{name} {number_text(value) if isinstance(value, float) else value}" for name, value in rest.items()]
    return ", ".join([f"lr {number_text(trial.lr)}", *texts])


def _key(trial: Trial) -> _Key:
    return frozenset(trial.values.items())


def _ranked(runs: Sequence[tuple[_Key, Run]], value: Callable[[Run], float]) -> list[_Key]:
    """Return the configurations of which no run diverged, best first."""
    diverged = {key for key, run in runs if math.isinf(run.value)}
    safe = [(key, run) for key, run in runs if math.isfinite(value(run)) and key not in diverged]
    if not safe:
        return []
    numbers = {key: number for number, key in enumerate(dict.fromkeys(key for key, _ in safe))}
    levels, _ = two_way(
        np.array([numbers[key] for key, _ in safe]),
        np.array([run.seed for _, run in safe]),
        np.array([value(run) for _, run in safe], dtype=np.float64),
    )
    return sorted(numbers, key=lambda key: (float(levels[numbers[key]]), numbers[key]))


def _against_second(values: Sequence[Mapping[int, float]]) -> PairedComparison | None:
    """Compare the best configuration with the runner-up, from the values of all by seed, best first."""
    if len(values) < 2:
        return None
    others = values[2 : max(4, math.ceil(_COMPARED * len(values)))]
    return compare_pairs(values[0], values[1], noise=pooled_noise(others))


def _held(runs: Sequence[Run], best: Trial | None) -> list[Run]:
    """Return the runs that differ from ``best`` in the rate only; none if too few rates do."""
    if best is None:
        return []
    held = sharing(runs, best)
    return held if len(held) == len(runs) or len({run.trial.lr for run in held}) >= _OWN else []


def _reached(runs: Sequence[Run], untrained: float | None) -> float:
    """Return the objective at initialization; if unknown, one that every run that did not diverge improved on."""
    if untrained is not None:
        return untrained
    worst = max((run.value for run in runs if math.isfinite(run.value)), default=1.0)
    return worst + (abs(worst) or 1.0)


def _answered(
    runs: Sequence[Run], best: Trial | None, untrained: float, usual: Usual, *, alone: bool, validated: bool
) -> tuple[LrModel | None, Answer]:
    """Return the fitted curve and its answer; ``alone`` says that ``runs`` share the other values of the best."""
    optimizer = None if best is None else best.values.get("optimizer")
    lr, family = usual if optimizer is None else usual_rate(str(optimizer))
    model = fit_lr_model([point_of(run) for run in runs], usual=lr, untrained=untrained, family=family)
    answer = answer_from(model, validated=validated)
    curve = model if runs else None
    if answer.lr is None or alone:
        return curve, answer
    if best is None:
        why = "Every configuration diverged on at least one of its seeds."
        return curve, no_answer(why, "Try lower rates, a warmup or clipped gradients.")
    return curve, _at(answer, model, best)


def _at(answer: Answer, model: LrModel, best: Trial) -> Answer:
    """Return an answer at the best configuration's own rate, if the curve is that of runs with other values, too."""
    assert answer.as_good is not None
    chance = model.chance(answer.tolerance)
    at = int(np.argmin(np.abs(model.x - math.log10(best.lr))))
    low, high = answer.as_good
    return replace(
        answer,
        lr=best.lr,
        as_good=(min(low, best.lr), max(high, best.lr)),
        sure=min(float(chance[at]), _DOUBTFUL),
        excess=float(model.expected[at]),
        verdict="open",
        reason="Fewer than three rates were trained with the other values of the best configuration, so the curve is "
        "that of all configurations.",
        next="Sweep the learning rate alone with these values to settle it.",
    )


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {"trial": trial.number, "lr": trial.lr, "values": dict(trial.values)}
