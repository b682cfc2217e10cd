"""From the runs of a sweep to its answer: pure numbers, trains nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from stepsize.curves import Verdict
from stepsize.curves.noisy_curve import NoisyCurve, fit_noisy_curve
from stepsize.curves.numerals import number_text, span_text
from stepsize.curves.pairs import PairedComparison, compare_pairs, pooled_noise, two_way
from stepsize.curves.ranks import RankAgreement, rank_agreement
from stepsize.curves.sensitivity import Basin, LrSensitivity, basin, lr_sensitivity
from stepsize.training.runs import Run, Trial, Value

__all__ = ["RungAgreement", "Summary", "plain", "summarise"]

_Key: TypeAlias = frozenset[tuple[str, Value]]

_BEYOND = 0.5  # probability of a best rate beyond all that were tried from which the answer lies at the edge
_FITTED = 96  # runs that the curve is fitted to, at most
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
        best: The setting of least loss on the longest rung, seeds compared like with like; None without an answer.
        value: Its mean over its seeds, lower is better; NaN without an answer.
        seeds: How many seeds it was trained with.
        interval: Where the best rate lies, given the other values of ``best`` (80 %); None where fewer than three
            rates survived.
        curve: The fit behind it.
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
        cost: In trainings, in all.
        seconds: Wall time of the runs, in all.
        runs: How many there were.
        verdict: How far to trust the answer: ``"clear"``, ``"tied"`` (the winner is not distinguishable from the
            runner-up), ``"alone"`` (there is none), and where there is none to trust ``"at-edge"``,
            ``"nothing-learned"``, ``"all-diverged"`` or ``"nothing-trained"``.
    """

    best: Trial | None
    value: float
    seeds: int
    interval: tuple[float, float] | None
    curve: NoisyCurve | None
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
    seconds: float
    runs: int
    verdict: Verdict

    @property
    def status(self) -> str:
        """The answer as sentences."""
        return self.verdict.reason

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``; a figure that is not finite becomes None."""
        best = None if self.best is None else {**_trial_json(self.best), "value": self.value, "seeds": self.seeds}
        compared = None if self.comparison is None else asdict(self.comparison)
        sensitivity = None
        if self.sensitivity is not None:
            sensitivity = {**asdict(self.sensitivity), "share": self.sensitivity.share}
        found: dict[str, Any] = {
            "best": best,
            "interval": self.interval,
            "status": self.status,
            "verdict": self.verdict.code,
            "curve": None if self.curve is None else _curve_json(self.curve),
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
            "cost": {"trainings": self.cost, "seconds": self.seconds, "runs": self.runs},
        }
        told: dict[str, Any] = plain(found)
        return told


def summarise(runs: Sequence[Run], *, untrained: float | None = None) -> Summary:
    """Read the answer of a sweep off its runs.

    Settings are compared on the longest rung that any reached. Their levels are means over seeds, corrected for what
    each seed does to all settings alike, so that nobody wins by having been trained on the lucky seed only; a
    setting of which a run diverged does not win. The curve, the interval and the sensitivity are those of the rate
    with the other values held at the best setting's, where at least three rates were trained so; else of all
    runs, whose other values then act as noise.

    Args:
        runs: In the order in which they were told.
        untrained: The judged value before training; None where it is not known.

    Returns:
        The summary; without any run it says so.

    Example:
        >>> from stepsize.study.jobs import Job
        >>> runs = {1e-4: 0.9, 1e-3: 0.5, 1e-2: 0.4, 1e-1: 0.7}
        >>> jobs = [Job(Trial(number, {"lr": lr}), 1.0, seed) for number, lr in enumerate(runs) for seed in (0, 1)]
        >>> found = summarise([Run(job, runs[job.trial.lr] + 0.01 * job.seed, cost=1.0) for job in jobs])
        >>> found.best.lr, found.verdict.code
        (0.01, 'clear')
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
    curve = _curve(held, untrained)
    lrs, judged = [o.trial.lr for o in held], [o.value for o in held]
    lost = [o.trial.lr for o in runs if math.isinf(o.value)]
    alive = [o.trial.lr for o in runs if math.isfinite(o.value)]
    value = math.nan if best is None else float(np.mean(list(values[best].values())))
    answer = _Answer(settings, best, value, second, comparison, curve, untrained)
    return Summary(
        best=None if best is None else settings.trials[best],
        value=value,
        seeds=0 if best is None else len(values[best]),
        interval=_interval(curve, None if best is None else settings.trials[best].lr),
        curve=curve,
        sensitivity=None if untrained is None else lr_sensitivity(lrs, judged, untrained=untrained),
        basin=basin(lrs, judged, untrained=untrained),
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
        seconds=math.fsum(run.seconds for run in runs),
        runs=len(runs),
        verdict=answer.verdict(),
    )


def _interval(curve: NoisyCurve | None, lr: float | None) -> tuple[float, float] | None:
    """Return where the best rate lies; the best setting's own rate is in it, also where other values are the noise."""
    if curve is None:
        return None
    low, high = curve.interval()
    return (low, high) if lr is None else (min(low, lr), max(high, lr))


def _key(trial: Trial) -> _Key:
    return frozenset(trial.values.items())


@dataclass(frozen=True, eq=False)
class _Settings:
    """The runs of a sweep by setting; trials with the same values are one setting.

    Attributes:
        runs: All, in the order of being told.
        longest: Those of the longest rung that are known.
        trials: The first trial of each setting.
    """

    runs: tuple[Run, ...]
    longest: tuple[Run, ...]
    trials: Mapping[_Key, Trial]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> _Settings:
        longest = max((run.share for run in runs), default=1.0)
        trials: dict[_Key, Trial] = {}
        for run in runs:
            trials.setdefault(_key(run.trial), run.trial)
        known = tuple(o for o in runs if o.share == longest and not math.isnan(o.value))
        return cls(tuple(runs), known, trials)

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

    def beside(self, best: _Key | None) -> list[Run]:
        """Return the runs on the longest rung that differ from ``best`` in the rate only; all where too few do."""
        if best is None:
            return list(self.longest)
        rest = dict(best)
        del rest["lr"]
        same = [o for o in self.longest if {k: v for k, v in o.trial.values.items() if k != "lr"} == rest]
        return same if len({o.trial.lr for o in same if math.isfinite(o.value)}) >= 3 else list(self.longest)

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


def _thinned(runs: Sequence[Run]) -> Sequence[Run]:
    """Return at most _FITTED runs: those nearest to the best rate, and an even choice of the others.

    The time of the fit grows with the third power of their number, and far from the best one they say little.
    """
    if len(runs) <= _FITTED:
        return runs
    best = min(runs, key=lambda run: run.value).lr
    order = sorted(runs, key=lambda run: abs(math.log(run.trial.lr / best)))
    near, far = order[: _FITTED // 2], order[_FITTED // 2 :]
    return near + [far[round(k)] for k in np.linspace(0, len(far) - 1, _FITTED - len(near))]


def _curve(runs: Sequence[Run], untrained: float | None) -> NoisyCurve | None:
    if len({o.trial.lr for o in runs if math.isfinite(o.value)}) < 3:
        return None
    runs = _thinned(runs)
    lrs = [run.trial.lr for run in runs]
    seeds = [run.seed for run in runs]
    return fit_noisy_curve(lrs, [o.value for o in runs], seeds, untrained=untrained)


@dataclass(frozen=True, eq=False)
class _Answer:
    """What the verdict is read off."""

    settings: _Settings
    best: _Key | None
    value: float
    second: _Key | None
    comparison: PairedComparison | None
    curve: NoisyCurve | None
    untrained: float | None

    def verdict(self) -> Verdict:
        """Return how far to trust the answer."""
        if self.best is None:
            return self._without_any()
        values = list(self.settings.values[self.best].values())
        if self.untrained is not None and not self.value < self.untrained:
            reached, start = number_text(self.value, 4), number_text(self.untrained, 4)
            return Verdict(
                "nothing-learned",
                f"No answer: nothing learned. The best setting, {self._named(self.best)}, reached {reached}; untrained "
                f"it is {start}. Try higher rates, a longer horizon, or look at the data and the loss.",
                False,
            )
        over = f"{number_text(self.value, 4)} over {len(values)} seed{'s' * (len(values) != 1)}"
        found = f"The best setting is {self._named(self.best)} ({over})"
        if side := self._edge():
            return Verdict(
                "at-edge",
                f"No answer yet: {found[0].lower()}{found[1:]}, at the {side} edge of the rates tried, so the best "
                f"rate may lie {'below' if side == 'lower' else 'above'}. Widen the range to {side} rates.",
                False,
            )
        within = (
            "too few rates survived for an interval"
            if self.curve is None
            else f"the best rate lies in {span_text(self.curve.interval())} with probability 80 %"
        )
        if self.second is None or self.comparison is None:
            return Verdict("alone", f"{found}; {within}. No other setting survived to compare it with.", True)
        told = self.comparison.told_of("it", f"the runner-up ({self._named(self.second)})")
        return Verdict("clear" if self.comparison.distinguishable else "tied", f"{found}; {within}. {told}", True)

    def _without_any(self) -> Verdict:
        if not self.settings.longest:
            return Verdict("nothing-trained", "No answer: no run has ended that could be judged.", False)
        lost = [o.trial.lr for o in self.settings.longest if math.isinf(o.value)]
        return Verdict(
            "all-diverged",
            f"No answer: every setting diverged, down to lr {number_text(min(lost))}. Try lower rates, a warm-up or a "
            "smaller norm to clip at.",
            False,
        )

    def _named(self, key: _Key) -> str:
        values = dict(self.settings.trials[key].values)
        named = [f"lr {number_text(float(values.pop('lr')))}"]
        named += [f"{k} {number_text(v) if isinstance(v, float) else v}" for k, v in values.items()]
        return ", ".join(named)

    def _edge(self) -> str:
        """Return at which edge of all rates tried, on any rung, the best one lies: "lower", "higher", or neither."""
        assert self.best is not None
        tried = sorted({run.trial.lr for run in self.settings.runs})
        lr = self.settings.trials[self.best].lr
        if len(tried) < 2:
            return ""
        below = above = 0.0
        if self.curve is not None:
            x, weights = self.curve.posterior.optima, self.curve.posterior.weights
            below = float(weights[x < math.log10(tried[0]) - 1e-9].sum())
            above = float(weights[x > math.log10(tried[-1]) + 1e-9].sum())
        if lr == tried[0] or below > _BEYOND:
            return "lower"
        return "higher" if lr == tried[-1] or above > _BEYOND else ""


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {"trial": trial.number, "lr": trial.lr, "values": dict(trial.values)}


def _curve_json(curve: NoisyCurve) -> dict[str, Any]:
    return {
        "lr": curve.lrs.tolist(),
        "loss": curve.loss.tolist(),
        "low": curve.low.tolist(),
        "high": curve.high.tolist(),
        "noise": curve.noise.tolist(),
        "expected_regret": curve.posterior.regret.tolist(),
        "best_lr": curve.best,
        "interval_95": list(curve.interval(0.95)),
    }


def plain(value: Any) -> Any:
    """Return ``value`` with lists for tuples and None for figures that are not finite."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
