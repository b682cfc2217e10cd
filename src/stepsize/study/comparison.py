"""What `compare` returns: each contender at its own tuned rate, and whether one is distinguishable from the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from stepsize.curves.answer import Answer
from stepsize.curves.numerals import number_text
from stepsize.curves.pairs import PairedComparison, compare_pairs, pooled_noise
from stepsize.errors import InputError
from stepsize.study.found import Cost
from stepsize.study.summary import Summary, plain
from stepsize.training.conditions import Conditions
from stepsize.training.runs import Run
from stepsize.views import Chart

__all__ = ["Comparison", "Contender", "Round", "Standing", "judge_round", "steps_to", "tuning_doubt"]

RoundCode: TypeAlias = Literal["distinguishable", "not distinguishable", "alone", "no answer"]

_WINDOW = 0.05  # of a run's losses: the mean over so many must reach the target, since single batches dip below it
_DEPENDS = "depends on batch size"
_ERROR = 0.05  # chance of a winner where there is none, over all comparisons of a round together


@dataclass(frozen=True)
class Contender:
    """What takes part in a comparison.

    Attributes:
        optimizer: A name of the catalog.
        schedule: As text; None for the task's own.
        tuned: Whether its rate is searched; False takes the optimizer's default, for those that estimate it themselves.
    """

    optimizer: str
    schedule: str | None = None
    tuned: bool = True

    @property
    def name(self) -> str:
        """What tables call it."""
        parts = [self.optimizer if self.schedule is None else f"{self.optimizer} with {self.schedule}"]
        return " ".join([*parts, *([] if self.tuned else ["(untuned)"])])


@dataclass(frozen=True, eq=False)
class Standing:
    """What one contender reached.

    Attributes:
        contender: It.
        lr: Its peak rate in the final trainings; None where every rate diverged.
        tuning: What the search of the rate saw; None where there was none.
        tuning_cost: Of that search, in trainings.
        finals: The final trainings, one a seed.
        tuned_by: What came of each training of that search.
        steps_to_target: By seed: after how many updates the training loss was down at the round's target; infinite
            where it never was.
        against_best: The best contender of the round against this one; None for the best itself.
    """

    contender: Contender
    lr: float | None
    tuning: Summary | None
    tuning_cost: float
    finals: tuple[Run, ...]
    tuned_by: tuple[Run, ...]
    steps_to_target: Mapping[int, float]
    against_best: PairedComparison | None = None

    @property
    def judged(self) -> dict[int, float]:
        """The judged figure by seed, lower is better; infinite where it diverged."""
        return {run.seed: run.value for run in self.finals}

    @property
    def value(self) -> float:
        """Its mean over the seeds; infinite without a rate."""
        return float(np.mean(list(self.judged.values()))) if self.finals else math.inf

    @property
    def answer(self) -> Answer | None:
        """What the search of its rate says: recommended rate, range, how sure; None if the rate was not searched."""
        return None if self.tuning is None else self.tuning.answer

    @property
    def open(self) -> bool:
        """Whether its rate is not settled, so that a longer search may find a better one."""
        return self.answer is not None and self.answer.verdict == "open"

    @property
    def doubt(self) -> float:
        """How much lower a finer search of the rate may have got (:func:`tuning_doubt`)."""
        return tuning_doubt(self.tuned_by)

    @property
    def train_loss(self) -> float:
        """The mean training loss over the last tenth, over the seeds that did not diverge."""
        return _mean(run.train_loss for run in self.finals)

    @property
    def val_loss(self) -> float:
        """The mean loss on unseen data, over the seeds that did not diverge."""
        return _mean(run.val_loss for run in self.finals)

    @property
    def diverged(self) -> int:
        """How many of the final trainings diverged."""
        return sum(run.diverged for run in self.finals)

    @property
    def target_step(self) -> float:
        """The median of ``steps_to_target``; infinite where most seeds never got there, NaN without a rate."""
        return float(np.median(list(self.steps_to_target.values()))) if self.steps_to_target else math.nan

    @property
    def seconds(self) -> float:
        """Mean wall time of a final training, its share where several ran at once."""
        return _mean(run.seconds for run in self.finals)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``; a figure that is not finite becomes None."""
        tuning = self.tuning
        basin = None if tuning is None else tuning.basin
        sensitivity = None if tuning is None else tuning.sensitivity
        found = {
            "name": self.contender.name,
            **asdict(self.contender),
            "lr": self.lr,
            "answer": None if self.answer is None else self.answer.to_json(),
            "value": self.value,
            "train_loss": self.train_loss,
            "val_loss": self.val_loss,
            "judged": {str(seed): value for seed, value in self.judged.items()},
            "diverged": self.diverged,
            "steps_to_target": {str(seed): step for seed, step in self.steps_to_target.items()},
            "seconds": self.seconds,
            "tuning_cost": self.tuning_cost,
            "doubt": self.doubt,
            "tuned_by": [
                {"lr": seen.trial.lr, "value": seen.value, "train_loss": seen.train_loss} for seen in self.tuned_by
            ],
            "sensitivity": None if sensitivity is None else sensitivity.value,
            "basin": None if basin is None else {**asdict(basin), "decades": basin.decades},
            "highest_survivor": None if tuning is None else tuning.highest_survivor,
            "lowest_diverged": None if tuning is None else tuning.lowest_diverged,
            "against_best": None if self.against_best is None else asdict(self.against_best),
        }
        told: dict[str, Any] = plain(found)
        return told


@dataclass(frozen=True, eq=False)
class Round:
    """Contenders on one batch size: only within a round are they compared.

    Attributes:
        batch_size: Examples a batch; None for the task's own.
        standings: Best first.
        target: The training loss whose step is told; NaN where no contender got anywhere.
        leaders: The best contender, and all that are not distinguishable from it.
        verdict: ``"distinguishable"`` (one is better than all others beyond the noise), ``"not distinguishable"``,
            ``"alone"`` (there is one only), or ``"no answer"`` (none trained the model).
        reason: The verdict as sentences.
    """

    batch_size: int | None
    standings: tuple[Standing, ...]
    target: float
    leaders: tuple[str, ...]
    verdict: RoundCode
    reason: str

    @property
    def best(self) -> Standing | None:
        """The winner; None where it is not distinguishable from others."""
        return self.standings[0] if self.verdict in ("distinguishable", "alone") else None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        told: dict[str, Any] = plain(
            {
                "batch_size": self.batch_size,
                "verdict": self.verdict,
                "reason": self.reason,
                "leaders": self.leaders,
                "target": self.target,
                "standings": [standing.to_json() for standing in self.standings],
            }
        )
        return told


@dataclass(frozen=True, eq=False)
class Comparison:
    """The answer of :func:`stepsize.compare`.

    Attributes:
        name: Of the comparison; the sweeps in the store begin with it.
        conditions: What it is for; what the contenders have of their own is as the task has it.
        rounds: One a batch size.
        trials: Rates that each contender was tuned with.
        seeds: Of the final trainings; tuning had another one.
        seconds: Wall time of this call.
    """

    name: str
    conditions: Conditions
    rounds: tuple[Round, ...]
    trials: int
    seeds: tuple[int, ...]
    seconds: float

    @property
    def verdict(self) -> str:
        """That of the only round; of several the same if all have it with the same leaders.

        ``"depends on batch size"`` if the rounds differ, ``"no answer"`` if one of them has none.
        """
        codes = {one.verdict for one in self.rounds}
        if "no answer" in codes:
            return "no answer"
        return codes.pop() if len(codes) == 1 and len({one.leaders for one in self.rounds}) == 1 else _DEPENDS

    @property
    def status(self) -> str:
        """The answer as sentences."""
        if len(self.rounds) == 1:
            return self.rounds[0].reason
        return " ".join(f"At batch size {one.batch_size}: {one.reason}" for one in self.rounds)

    @property
    def next(self) -> str:
        """What to do now, as one sentence."""
        best = self.rounds[0].best
        if self.verdict == "no answer":
            return "Train for more steps, or check the data and the loss."
        if best is None or self.verdict == _DEPENDS:
            return "Raise the number of seeds and trials, or take the cheapest of the leaders."
        return f"Settle the rate of {best.contender.name} with stepsize.find, then train with it."

    @property
    def cost(self) -> Cost:
        """What it cost."""
        runs = [
            run for one in self.rounds for standing in one.standings for run in (*standing.tuned_by, *standing.finals)
        ]
        return Cost(math.fsum(run.cost for run in runs), self.seconds, len(runs))

    def plot(self, kind: Literal["final", "rates", "steps"] = "final") -> Chart:
        """Return a chart.

        Args:
            kind: ``"final"`` shows what each contender reached, a dot a seed; ``"rates"`` the loss over the rate while
                tuning, a line a contender; ``"steps"`` the training loss over time at the tuned rate.

        Raises:
            InputError: If there is no such chart, or no run to draw.
        """
        from stepsize.study import comparison_plots

        charts = {
            "final": comparison_plots.final_chart,
            "rates": comparison_plots.tuning_chart,
            "steps": comparison_plots.steps_chart,
        }
        if kind not in charts:
            raise InputError("kind", kind, f"must be one of: {', '.join(charts)}")
        if not any(standing.finals for one in self.rounds for standing in one.standings):
            raise InputError("standings", 0, "must hold at least one training to be drawn")
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
            "rounds": [one.to_json() for one in self.rounds],
        }


def judge_round(
    standings: Sequence[Standing], *, batch_size: int | None, target: float, untrained: float = math.nan
) -> Round:
    """Rank contenders, and say which are not distinguishable from the best.

    The best is held against each of the k - 1 others on the seeds that all of them were trained with, at the level
    1 - 0.05 / (k - 1): the chance that a winner is declared among equals is at most 5 % over all of them together. A
    lead that a finer search of the other's rate may undo does not count either.

    Args:
        standings: In any order.
        batch_size: Of the round.
        target: Of the round.
        untrained: The judged figure before training; NaN where it is not known.

    Returns:
        The round.

    Reference:
        Hsu, "Constrained simultaneous confidence intervals for multiple comparisons with the best", The Annals of
        Statistics 12 (1984); the step from his quantile to Bonferroni's, which is never smaller, is ours.
    """
    ranked = sorted(standings, key=lambda one: (one.diverged if one.finals else math.inf, _last(one.value)))
    best, others = ranked[0], ranked[1:]
    if not math.isfinite(best.value):
        reason = "Every one diverged, at every rate or on one of the seeds: check the data and the loss first."
        return Round(batch_size, tuple(ranked), target, (), "no answer", reason)
    level = 1 - _ERROR / max(1, len(others))
    kept = ranked[: max(4, math.ceil(len(ranked) / 2))]
    compared = [best]
    for other in others:
        noise = pooled_noise([one.judged for one in kept if one not in (best, other)])
        paired = compare_pairs(best.judged, other.judged, level=level, noise=noise)
        compared.append(_with(other, paired))
    leaders = tuple(one.contender.name for one in compared if one is best or not _beaten(one))
    return Round(batch_size, tuple(compared), target, leaders, *_verdict(compared, leaders, untrained))


def tuning_doubt(runs: Sequence[Run]) -> float:
    """Return how much lower the judged figure may get between the rates that were tried, or beyond them.

    Between two worse rates it is the vertex of the parabola through the three, in log rate. Where one neighbor
    diverged, half of what the step from the other one gained; at an edge, all of it: as if it went on like that.

    Args:
        runs: Of the search, one a rate.

    Returns:
        The difference, at least 0; 0 where a single rate is known.

    Example:
        >>> from stepsize.training.runs import Setting
        >>> def tried(values):
        ...     return [Run(Setting(10.0**n, 0, 100), value=value) for n, value in enumerate(values)]
        >>> round(tuning_doubt(tried([0.5, 0.2, 0.3])), 3), round(tuning_doubt(tried([0.5, 0.4, 0.3])), 3)
        (0.013, 0.1)
    """
    seen = sorted(runs, key=lambda run: run.trial.lr)
    values = [run.value for run in seen]
    alive = [index for index, value in enumerate(values) if math.isfinite(value)]
    if len(alive) < 2:
        return 0.0
    at = min(alive, key=lambda index: values[index])
    sides = [values[index] - values[at] for index in (at - 1, at + 1) if 0 <= index < len(values)]
    gained = [side for side in sides if math.isfinite(side)]
    if not gained:
        return 0.0
    if len(sides) < 2:
        return gained[0]
    if len(gained) < 2:
        return gained[0] / 2
    x = np.log([seen[index].trial.lr for index in (at - 1, at, at + 1)])
    a, b, _ = np.polyfit(x - x[1], [gained[0], 0.0, gained[1]], 2)
    return float(b * b / (4 * a)) if a > 0 else 0.0


def steps_to(run: Run, target: float) -> float:
    """Return after how many updates the mean over 5 % of a run's losses was down at ``target``; infinite if never."""
    losses = np.asarray(run.losses, dtype=np.float64)
    if not len(losses) or math.isnan(target):
        return math.inf
    width = max(1, round(_WINDOW * len(losses)))
    means = np.convolve(losses, np.full(width, 1 / width), mode="valid")
    reached = np.flatnonzero(means <= target)
    return float(run.steps[reached[0] + width - 1]) + 1 if len(reached) else math.inf


def _beaten(one: Standing) -> bool:
    """Return whether the best is better than this one beyond noise and beyond what a finer search may change."""
    if not one.finals or one.against_best is None:
        return not one.finals
    gap = abs(one.against_best.difference)
    return one.against_best.distinguishable and (bool(one.diverged) or gap > one.doubt)


def _verdict(compared: Sequence[Standing], leaders: tuple[str, ...], untrained: float) -> tuple[RoundCode, str]:
    best = compared[0]
    name, value = best.contender.name, number_text(best.value)
    unsettled = _open_note(compared)
    if best.value >= untrained:
        return "no answer", f"No optimizer improved on the untrained model ({number_text(untrained)}): train longer."
    if len(compared) == 1:
        return "alone", f"{name} reaches {value}; there is nothing to compare it with.{unsettled}"
    second = next(one for one in compared if one.contender.name == leaders[1]) if len(leaders) > 1 else compared[1]
    paired = second.against_best
    margin = "" if paired is None else f" {paired.told_of(name, second.contender.name)}"
    if len(leaders) == 1:
        reason = f"{name} reaches {value} and is better than all others beyond the noise.{margin}{unsettled}"
        return "distinguishable", reason
    if paired is not None and paired.distinguishable:
        margin += f" A finer search of {leaders[1]}'s rate may undo that: raise the number of trials."
    rest = " and ".join([", ".join(leaders[1:-1]), leaders[-1]] if len(leaders) > 2 else leaders[1:])
    reason = f"No winner: {name} reaches {value} and is not distinguishable from {rest}.{margin}{unsettled}"
    return "not distinguishable", reason


def _open_note(compared: Sequence[Standing]) -> str:
    """Say whose rate may be better than the one found, since that would change the order."""
    names = [one.contender.name for one in compared if one.open]
    return f" The learning rate is not settled for {', '.join(names)}." if names else ""


def _with(standing: Standing, paired: PairedComparison) -> Standing:
    return replace(standing, against_best=paired)


def _last(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _mean(values: Any) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan
