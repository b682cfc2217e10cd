"""From the runs of a sweep to its answer: pure numbers, trains nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from stepsize.curves.answer import Answer, answer_from, no_answer
from stepsize.curves.lr_model import LrModel, fit_lr_model
from stepsize.curves.numerals import number_text
from stepsize.curves.pairs import PairedComparison, compare_pairs, pooled_noise, two_way
from stepsize.curves.ranks import RankAgreement, rank_agreement
from stepsize.curves.sensitivity import Basin, LrSensitivity, basin, lr_sensitivity
from stepsize.optimizers.usual import UNKNOWN, Usual, usual_rate
from stepsize.study.jobs import point_of
from stepsize.training.runs import Run, Trial, Value

__all__ = ["RungAgreement", "Summary", "named", "plain", "sharing", "summarise"]

_Key: TypeAlias = frozenset[tuple[str, Value]]

_OWN = 3  # rates with the same other values from which these have a curve of their own
_DOUBTFUL = 0.5  # how sure an answer is at most that rests on runs with other values
_CONTENDERS = 0.5  # share of the settings, the best ones, whose noise is pooled


@dataclass(frozen=True)
class RungAgreement:
    """How a rung ranks the settings that were also trained on the longest one.

    Attributes:
        share: The rung.
        agreement: With the longest rung.
    """

    share: float
    agreement: RankAgreement


@dataclass(frozen=True, eq=False)
class Summary:
    """What a sweep found.

    Attributes:
        best: The configuration of least loss on the longest rung, seeds compared like with like; None without one.
        value: Its mean over its seeds, lower is better; NaN without one.
        seeds: How many seeds it was trained with.
        answer: The recommended rate with the other values of ``best``, the range that is as good, and how sure that is.
        curve: The fitted curve of loss against learning rate behind it; None without runs.
        sensitivity: How much the rate matters; None where the untrained value or the range is not known.
        basin: The rates within 5 % of the best.
        train_optimum: The setting that the training loss would choose; None where it is not known.
        gap: Loss on unseen data less training loss of ``best``; NaN where not both are known.
        runner_up: The second best setting; None where there is none.
        comparison: Of ``best`` (first) with ``runner_up`` (second).
        best_so_far: (cost in trainings, lowest value of a single run on the longest rung), in the order of being
            told: a point at each improvement, and one at the end.
        rungs: How each shorter rung ranks the settings, ascending.
        diverged: How many runs diverged.
        highest_survivor: The highest rate of which a run survived; None without one.
        lowest_diverged: The lowest rate of which a run diverged; None without one.
        cost: Of all runs, in full runs.
        runs: How many there were.
    """

    best: Trial | None
    value: float
    seeds: int
    answer: Answer
    curve: LrModel | None
    sensitivity: LrSensitivity | None
    basin: Basin | None
    train_optimum: Trial | None
    gap: float
    runner_up: Trial | None
    comparison: PairedComparison | None
    best_so_far: tuple[tuple[float, float], ...]
    rungs: tuple[RungAgreement, ...]
    diverged: int
    highest_survivor: float | None
    lowest_diverged: float | None
    cost: float
    runs: int

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
        """Return the result as plain values for ``json.dumps``; a figure that is not finite becomes None."""
        best = None if self.best is None else {**_trial_json(self.best), "value": self.value, "seeds": self.seeds}
        compared = None if self.comparison is None else asdict(self.comparison)
        sensitivity = None
        if self.sensitivity is not None:
            sensitivity = {**asdict(self.sensitivity), "share": self.sensitivity.share}
        found: dict[str, Any] = {
            **self.answer.to_json(),
            "best": best,
            "status": self.status,
            "curve": None if self.curve is None else self.curve.to_json(),
            "sensitivity": sensitivity,
            "basin": None if self.basin is None else {**asdict(self.basin), "decades": self.basin.decades},
            "train_optimum": None if self.train_optimum is None else _trial_json(self.train_optimum),
            "gap": self.gap,
            "runner_up": None if self.runner_up is None else _trial_json(self.runner_up),
            "comparison": compared,
            "best_so_far": self.best_so_far,
            "rungs": [{"share": rung.share, **asdict(rung.agreement)} for rung in self.rungs],
            "diverged": self.diverged,
            "highest_survivor": self.highest_survivor,
            "lowest_diverged": self.lowest_diverged,
            "cost": {"full_runs": self.cost, "runs": self.runs},
        }
        told: dict[str, Any] = plain(found)
        return told


def summarise(
    runs: Sequence[Run], *, untrained: float | None = None, usual: Usual = UNKNOWN, validated: bool = True
) -> Summary:
    """Read the answer of a sweep off its runs.

    Settings are compared on the longest rung that any reached. Their levels are means over seeds, corrected for what
    each seed does to all settings alike, so that nobody wins by having been trained on the lucky seed only; a
    setting of which a run diverged does not win. The curve and the answer are those of the rate with the other values
    held at the best setting's (:func:`~stepsize.curves.lr_model.fit_lr_model` on runs of all lengths); where fewer than
    three rates were trained so, all runs count, the rate is that of the best setting, and the verdict stays open.

    Args:
        runs: In the order in which they were told.
        untrained: The judged value before training; None where it is not known.
        usual: The rate that people start from with the optimizer, and its family; where the best setting has an
            optimizer of its own, that one's count.
        validated: Whether validation data select.

    Returns:
        The summary; without any run it says so.

    Example:
        >>> from stepsize.training.runs import Setting
        >>> loss = {1e-4: 0.9, 1e-3: 0.5, 1e-2: 0.4, 1e-1: 0.7}
        >>> runs = [Run(Setting(lr, seed, 100), value=loss[lr] + 0.01 * seed) for lr in loss for seed in (0, 1)]
        >>> found = summarise(runs)
        >>> found.best.lr, 2e-3 < found.answer.lr < 3e-2
        (0.01, True)
    """
    settings = _Settings.of(runs)
    ranked = settings.ranked(lambda run: run.value)
    by_train = settings.ranked(lambda run: run.train_loss)
    best = ranked[0] if ranked else None
    second = ranked[1] if len(ranked) > 1 else None
    values = settings.values
    comparison = None
    if best is not None and second is not None:
        contenders = ranked[: max(4, math.ceil(_CONTENDERS * len(ranked)))]
        others = [values[key] for key in contenders if key not in (best, second)]
        comparison = compare_pairs(values[best], values[second], noise=pooled_noise(others))
    held = settings.beside(best)
    known = untrained if untrained is not None and math.isfinite(untrained) else None
    curve, answer = _answered(settings, best, _reached(runs, known), usual, validated=validated)
    lrs, judged = [o.trial.lr for o in held], [o.value for o in held]
    lost = [o.trial.lr for o in runs if math.isinf(o.value)]
    alive = [o.trial.lr for o in runs if math.isfinite(o.value)]
    value = math.nan if best is None else float(np.mean(list(values[best].values())))
    return Summary(
        best=None if best is None else settings.trials[best],
        value=value,
        seeds=0 if best is None else len(values[best]),
        answer=answer,
        curve=curve,
        sensitivity=None if known is None else lr_sensitivity(lrs, judged, untrained=known),
        basin=basin(lrs, judged, untrained=known),
        train_optimum=settings.trials[by_train[0]] if by_train else None,
        gap=settings.gap(best),
        runner_up=None if second is None else settings.trials[second],
        comparison=comparison,
        best_so_far=settings.best_so_far(),
        rungs=settings.agreements(untrained),
        diverged=len(lost),
        highest_survivor=max(alive, default=None),
        lowest_diverged=min(lost, default=None),
        cost=math.fsum(run.cost for run in runs),
        runs=len(runs),
    )


def named(trial: Trial) -> str:
    """Return the values of a trial in words, the rate first."""
    rest = {name: value for name, value in trial.values.items() if name != "lr"}
    texts = [f"{name} {number_text(v) if isinstance(v, float) else v}" for name, v in rest.items()]
    return ", ".join([f"lr {number_text(trial.lr)}", *texts])


def _reached(runs: Sequence[Run], untrained: float | None) -> float:
    """Return the untrained value; where it is not known, one that every run that did not diverge improved on."""
    if untrained is not None:
        return untrained
    worst = max((run.value for run in runs if math.isfinite(run.value)), default=1.0)
    return worst + (abs(worst) or 1.0)


def _answered(
    settings: _Settings, best: _Key | None, untrained: float, usual: Usual, *, validated: bool
) -> tuple[LrModel | None, Answer]:
    """Return the fitted curve of the rate with the other values held at the best setting's, and its answer."""
    own = settings.sharing(best)
    together = len(own) > 0
    points = [point_of(run) for run in (own or settings.known)]
    optimizer = None if best is None else settings.trials[best].values.get("optimizer")
    lr, family = usual_rate(str(optimizer)) if optimizer is not None else usual
    model = fit_lr_model(points, usual=lr, untrained=untrained, family=family)
    answer = answer_from(model, validated=validated)
    curve = model if points else None
    if answer.lr is None or together:
        return curve, answer
    if best is None:
        why = "Every configuration diverged on at least one of its seeds."
        return curve, no_answer(why, "Try lower rates, a warmup or clipped gradients.")
    return curve, _at(answer, model, settings.trials[best])


def _at(answer: Answer, model: LrModel, best: Trial) -> Answer:
    """Return an answer at the best setting's own rate, where the curve is that of runs with other values, too."""
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


def _key(trial: Trial) -> _Key:
    return frozenset(trial.values.items())


@dataclass(frozen=True, eq=False)
class _Settings:
    """The runs of a sweep by setting; trials with the same values are one setting.

    Attributes:
        runs: All, in the order of being told.
        known: Those whose value is known, or that diverged.
        longest: Those of the longest rung among them.
        trials: The first trial of each setting.
    """

    runs: tuple[Run, ...]
    known: tuple[Run, ...]
    longest: tuple[Run, ...]
    trials: Mapping[_Key, Trial]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> _Settings:
        longest = max((run.share for run in runs), default=1.0)
        trials: dict[_Key, Trial] = {}
        for run in runs:
            trials.setdefault(_key(run.trial), run.trial)
        known = tuple(run for run in runs if not math.isnan(run.value))
        return cls(tuple(runs), known, tuple(run for run in known if run.share == longest), trials)

    @property
    def values(self) -> dict[_Key, dict[int, float]]:
        """What each setting reached on the longest rung, by seed."""
        return _by_setting(self.longest)

    def ranked(self, figure: Callable[[Run], float]) -> list[_Key]:
        """Return the settings of which no run diverged on the longest rung, best first by ``figure``."""
        lost = {_key(run.trial) for run in self.longest if math.isinf(run.value)}
        safe = [o for o in self.longest if math.isfinite(figure(o)) and _key(o.trial) not in lost]
        if not safe:
            return []
        numbers = {key: number for number, key in enumerate(dict.fromkeys(_key(o.trial) for o in safe))}
        fit = two_way(
            np.array([numbers[_key(o.trial)] for o in safe]),
            np.array([o.seed for o in safe]),
            np.array([figure(o) for o in safe], dtype=np.float64),
        )
        return sorted(numbers, key=lambda key: (float(fit.levels[numbers[key]]), numbers[key]))

    def sharing(self, best: _Key | None) -> list[Run]:
        """Return the runs, on any rung, that differ from ``best`` in the rate only; none where too few rates do."""
        if best is None:
            return []
        same = sharing(self.known, self.trials[best])
        longest = {id(run) for run in self.longest}
        rates = {run.trial.lr for run in same if id(run) in longest}
        alone = len({_others(run.trial) for run in self.longest}) == 1
        return same if alone or len(rates) >= _OWN else []

    def beside(self, best: _Key | None) -> list[Run]:
        """Return the runs on the longest rung that differ from ``best`` in the rate only; all where too few do."""
        longest = {id(run) for run in self.longest}
        return [run for run in self.sharing(best) if id(run) in longest] or list(self.longest)

    def gap(self, best: _Key | None) -> float:
        """Return the mean of loss on unseen data less training loss of a setting."""
        gaps = [o.val_loss - o.train_loss for o in self.longest if _key(o.trial) == best and not o.diverged]
        return float(np.mean(gaps)) if gaps else math.nan

    def best_so_far(self) -> tuple[tuple[float, float], ...]:
        """Return (cost, lowest value of a run on the longest rung): at each improvement, and at the end."""
        points: list[tuple[float, float]] = []
        cost, best, counted = 0.0, math.inf, set(map(id, self.longest))
        for run in self.runs:
            cost += run.cost
            if id(run) in counted and run.value < best:
                best = run.value
                points.append((cost, best))
        if points and cost > points[-1][0]:
            points.append((cost, best))
        return tuple(points)

    def agreements(self, untrained: float | None) -> tuple[RungAgreement, ...]:
        """Return how each shorter rung ranks the settings, against the longest."""
        end = _means(self.longest)
        longest = max((run.share for run in self.runs), default=1.0)
        found = []
        for share in sorted({o.share for o in self.runs if o.share < longest}):
            rung = _means([o for o in self.runs if o.share == share and not math.isnan(o.value)])
            found.append(RungAgreement(share, rank_agreement(rung, end, untrained=untrained)))
        return tuple(found)


def _by_setting(runs: Sequence[Run]) -> dict[_Key, dict[int, float]]:
    found: dict[_Key, dict[int, float]] = {}
    for run in runs:
        found.setdefault(_key(run.trial), {})[run.seed] = run.value
    return found


def _means(runs: Sequence[Run]) -> dict[_Key, float]:
    return {key: float(np.mean(list(by_seed.values()))) for key, by_seed in _by_setting(runs).items()}


def _others(trial: Trial) -> _Key:
    return frozenset((name, value) for name, value in trial.values.items() if name != "lr")


def sharing(runs: Sequence[Run], trial: Trial) -> list[Run]:
    """Return the runs that differ from ``trial`` in the rate only."""
    rest = _others(trial)
    return [run for run in runs if _others(run.trial) == rest]


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {"trial": trial.number, "lr": trial.lr, "values": dict(trial.values)}


def plain(value: Any) -> Any:
    """Return ``value`` with lists for tuples and None for figures that are not finite."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
