"""What `compare` returns: each contender at its own tuned rate, and whether one is distinguishable from the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from stepsize.curves.answer import Answer
from stepsize.curves.numerals import number_text
from stepsize.curves.pairs import PairedComparison, compare_pairs, pooled_noise
from stepsize.errors import InputError
from stepsize.plain import plain
from stepsize.study.outcome import Cost
from stepsize.study.result import Summary
from stepsize.training.conditions import RunConditions
from stepsize.training.runs import Run
from stepsize.views import Chart, Pictured

CompareCode: TypeAlias = Literal["distinguishable", "not distinguishable", "alone", "no answer"]

_WINDOW = 0.05  # of a run's losses: the mean over so many must reach the target, since single batches dip below it
_TOLD = (
    "name", "lr", "value", "train_loss", "val_loss", "values", "diverged", "steps_to_target", "seconds", "tuning_cost",
    "tuning_uncertainty", "against_best",
)  # fmt: skip
_TUNING = ("lr", "value", "train_loss")  # of a tuning run, in JSON
_ERROR = 0.05  # probability of a winner where there is none, over all comparisons together


@dataclass(frozen=True)
class Contender:
    """An optimizer and schedule that take part in a comparison.

    Attributes:
        optimizer: A name of the catalog.
        schedule: Schedule as text; None for the task's own.
        tuned: Whether its rate is searched; False takes the optimizer's default, for those that estimate the rate.
    """

    optimizer: str
    schedule: str | None = None
    tuned: bool = True

    @property
    def name(self) -> str:
        """What tables call it."""
        name = self.optimizer if self.schedule is None else f"{self.optimizer} with {self.schedule}"
        return name if self.tuned else f"{name} (untuned)"


@dataclass(frozen=True, eq=False)
class ContenderResult:
    """Result of one configuration (optimizer and schedule).

    Attributes:
        contender: The configuration.
        lr: Its peak rate in the final runs; None if every rate diverged.
        tuning: What the runs that search the rate say; None if it was not searched.
        tuning_runs: The runs that search the rate.
        final_runs: The final runs, one per seed.
        steps_to_target: Steps until the training loss reached the target, by seed; infinite if it never did.
        against_best: The best configuration against this one; None for the best itself.
    """

    contender: Contender
    lr: float | None
    tuning: Summary | None
    tuning_runs: tuple[Run, ...]
    final_runs: tuple[Run, ...]
    steps_to_target: Mapping[int, float]
    against_best: PairedComparison | None = None

    @property
    def name(self) -> str:
        """The contender's name."""
        return self.contender.name

    @property
    def values(self) -> dict[int, float]:
        """The objective by seed, lower is better; infinite if it diverged."""
        return {run.seed: run.value for run in self.final_runs}

    @property
    def value(self) -> float:
        """The mean objective over the seeds; infinite without a rate."""
        return float(np.mean(list(self.values.values()))) if self.final_runs else math.inf

    @property
    def tuning_cost(self) -> float:
        """Cost of the search of its rate, in full runs."""
        return math.fsum(run.cost for run in self.tuning_runs)

    @property
    def answer(self) -> Answer | None:
        """What the search of its rate says: recommended rate, range, how sure; None if the rate was not searched."""
        return None if self.tuning is None else self.tuning.answer

    @property
    def open(self) -> bool:
        """Whether its rate is not settled, so that a longer search may find a better one."""
        return self.answer is not None and self.answer.verdict == "open"

    @property
    def tuning_uncertainty(self) -> float:
        """How much lower the objective is expected to be at the best rate; 0 if the rate was not searched."""
        curve = None if self.tuning is None else self.tuning.curve
        if curve is None or self.lr is None:
            return 0.0
        excess = float(np.interp(math.log10(self.lr), curve.x, curve.expected))
        return excess * (abs(self.value) if curve.relative else curve.depth)

    @property
    def train_loss(self) -> float:
        """The mean training loss over the last tenth, over the seeds that did not diverge."""
        return _mean(run.train_loss for run in self.final_runs)

    @property
    def val_loss(self) -> float:
        """The mean validation loss, over the seeds that did not diverge."""
        return _mean(run.val_loss for run in self.final_runs)

    @property
    def diverged(self) -> int:
        """Number of final runs that diverged."""
        return sum(run.diverged for run in self.final_runs)

    @property
    def target_step(self) -> float:
        """The median of ``steps_to_target``; infinite if most seeds never reached it, NaN without a rate."""
        return float(np.median(list(self.steps_to_target.values()))) if self.steps_to_target else math.nan

    @property
    def seconds(self) -> float:
        """Mean wall time of a final run, its share if several were trained together."""
        return _mean(run.seconds for run in self.final_runs)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``; a number that is not finite becomes None."""
        tuning = self.tuning
        sensitivity = None if tuning is None else tuning.sensitivity
        return {
            **asdict(self.contender),
            **{name: plain(getattr(self, name)) for name in _TOLD},
            "answer": None if self.answer is None else self.answer.to_json(),
            "tuning_runs": [plain({name: getattr(run, name) for name in _TUNING}) for run in self.tuning_runs],
            "sensitivity": None if sensitivity is None else sensitivity.value,
            "lowest_diverged": None if tuning is None else tuning.lowest_diverged,
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Ranking:
    """Configurations, best first, and which are not distinguishable from the best.

    Attributes:
        contenders: The results, best first.
        tied_with_best: Names of the best configuration and of all that are not distinguishable from it.
        verdict: ``"distinguishable"`` (one is better than all others by more than the noise), ``"not
            distinguishable"``, ``"alone"`` (there is only one), or ``"no answer"`` (none trained the model).
        reason: The verdict as sentences.
    """

    contenders: tuple[ContenderResult, ...]
    tied_with_best: tuple[str, ...]
    verdict: CompareCode
    reason: str

    @property
    def best(self) -> ContenderResult | None:
        """The winner; None if it is not distinguishable from others."""
        return self.contenders[0] if self.verdict in ("distinguishable", "alone") else None


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Comparison(Pictured, Ranking):
    """The answer of :func:`stepsize.compare`.

    Attributes:
        name: Name of the comparison; those of its sweeps in the store begin with it.
        conditions: What it is for; what is compared is as the task has it.
        target: The training loss of ``steps_to_target``: the median of the final ones; NaN if none was trained.
        trials: Number of rates that each configuration was tuned with.
        seeds: Seeds of the final runs; tuning had another one.
        seconds: Wall time of this call.
    """

    name: str
    conditions: RunConditions
    target: float
    trials: int
    seeds: tuple[int, ...]
    seconds: float

    @property
    def status(self) -> str:
        """The answer as sentences."""
        return self.reason

    @property
    def next(self) -> str:
        """What to do now, as one sentence."""
        if self.verdict == "no answer":
            return "Train for more steps, or check the data and the loss."
        if self.best is None:
            return "Raise the number of seeds and trials, or take the cheapest of the best."
        return f"Settle the learning rate of {self.best.name} with stepsize.find, then train with it."

    @property
    def cost(self) -> Cost:
        """Its cost, with the runs of earlier calls."""
        runs = [run for one in self.contenders for run in (*one.tuning_runs, *one.final_runs)]
        return Cost(math.fsum(run.cost for run in runs), self.seconds, len(runs))

    def plot(self, kind: Literal["final", "rates", "steps"] = "final") -> Chart:
        """Return a chart.

        Args:
            kind: ``"final"`` shows the final losses, a dot per seed; ``"rates"`` the loss over the rate
                while tuning, a line per configuration; ``"steps"`` the training loss over time at the tuned rate.

        Raises:
            InputError: If there is no such chart, or no run to draw.
        """
        from stepsize.study.plotting import final_chart, steps_chart, tuning_chart

        charts = {"final": final_chart, "rates": tuning_chart, "steps": steps_chart}
        if kind not in charts:
            raise InputError("kind", kind, f"must be one of: {', '.join(charts)}")
        if not any(one.final_runs for one in self.contenders):
            raise InputError("contenders", 0, "must hold at least one run to be drawn")
        return charts[kind](self)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "status": self.status,
            "next": self.next,
            "conditions": asdict(self.conditions),
            "trials": self.trials,
            "seeds": list(self.seeds),
            "cost": asdict(self.cost),
            "tied_with_best": list(self.tied_with_best),
            "target": plain(self.target),
            "contenders": [one.to_json() for one in self.contenders],
        }


def rank_contenders(contenders: Sequence[ContenderResult], *, untrained: float = math.nan) -> Ranking:
    """Rank contenders, and say which are not distinguishable from the best.

    The best is compared with each of the k - 1 others on the seeds that all of them were trained with, at the level
    1 - 0.05 / (k - 1): the probability that a winner is declared among equals is at most 5% over all of them together.
    A lead that a finer search of the other's rate may reverse does not count either. ``untrained`` is the objective at
    initialization.

    Reference:
        Hsu, "Constrained simultaneous confidence intervals for multiple comparisons with the best", The Annals of
        Statistics 12 (1984); the step from his quantile to Bonferroni's, which is never smaller, is ours.
    """
    ranked = sorted(contenders, key=lambda one: (one.diverged if one.final_runs else math.inf, _last(one.value)))
    best, others = ranked[0], ranked[1:]
    if not math.isfinite(best.value):
        reason = "Every one diverged, at every rate or on one of the seeds: check the data and the loss first."
        return Ranking(contenders=tuple(ranked), tied_with_best=(), verdict="no answer", reason=reason)
    level = 1 - _ERROR / max(1, len(others))
    kept = ranked[: max(4, math.ceil(len(ranked) / 2))]
    compared = [best]
    for other in others:
        noise = pooled_noise([one.values for one in kept if one not in (best, other)])
        paired = compare_pairs(best.values, other.values, level=level, noise=noise)
        compared.append(replace(other, against_best=paired))
    tied = tuple(one.name for one in compared if one is best or not _beaten(one))
    verdict, reason = _verdict(compared, tied, untrained)
    return Ranking(contenders=tuple(compared), tied_with_best=tied, verdict=verdict, reason=reason)


def steps_to(run: Run, target: float) -> float:
    """Return after how many steps the mean over 5% of a run's losses was down at ``target``; infinite if never."""
    losses = np.asarray(run.losses, dtype=np.float64)
    if not len(losses) or math.isnan(target):
        return math.inf
    width = max(1, round(_WINDOW * len(losses)))
    means = np.convolve(losses, np.full(width, 1 / width), mode="valid")
    reached = np.flatnonzero(means <= target)
    return float(run.steps[reached[0] + width - 1]) + 1 if len(reached) else math.inf


def _beaten(one: ContenderResult) -> bool:
    """Return whether the best is better than this one by more than the noise and than a finer search may change."""
    if not one.final_runs or one.against_best is None:
        return not one.final_runs
    gap = abs(one.against_best.difference)
    return one.against_best.distinguishable and (bool(one.diverged) or gap > one.tuning_uncertainty)


def _verdict(compared: Sequence[ContenderResult], tied: tuple[str, ...], untrained: float) -> tuple[CompareCode, str]:
    best = compared[0]
    reached = f"{best.name} reaches {number_text(best.value)}"
    unsettled = [one.name for one in compared if one.open]
    more = f" The learning rate is not settled for {', '.join(unsettled)}." if unsettled else ""
    if best.value >= untrained:
        return "no answer", f"No optimizer improved on the initial loss ({number_text(untrained)}): train longer."
    if len(compared) == 1:
        return "alone", f"{reached}; there is nothing to compare it with.{more}"
    second = next(one for one in compared if one.name == tied[1]) if len(tied) > 1 else compared[1]
    paired = second.against_best
    margin = "" if paired is None else f" {paired.told_of(best.name, second.name)}"
    if len(tied) == 1:
        return "distinguishable", f"{reached} and is better than all others by more than the noise.{margin}{more}"
    if paired is not None and paired.distinguishable:
        margin += f" A finer search of the rate of {tied[1]} could reverse this: raise the number of trials."
    rest = " and ".join([", ".join(tied[1:-1]), tied[-1]] if len(tied) > 2 else tied[1:])
    return "not distinguishable", f"No winner: {reached} and is not distinguishable from {rest}.{margin}{more}"


def _last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
