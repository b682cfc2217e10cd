"""The learned ceiling: the rate above which runs diverge, given what else is varied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from stepsize.curves.numerals import number_text
from stepsize.study.space import Choice, Range, Space
from stepsize.training.runs import Run, Value

Floats: TypeAlias = NDArray[np.float64]
Group: TypeAlias = tuple[Value, ...]

_PROBABLE = 0.75  # a rate that diverges with a higher probability is not worth a run
_NOISE = 0.01  # probability of an outcome that says nothing: a bad seed, a lucky one
_WIDTHS = np.array([0.05, 0.15, 0.5])  # decades over which finishing turns into divergence
_WIDTH_ODDS = np.array([0.65, 0.3, 0.05])  # mostly sharp
_TILT = 1.5  # prior decades by which one whole dimension moves the ceiling
_REACH = (0.5, 1.5)  # decades below and above all rates that may contain the ceiling
_PLACES = 128  # candidates of the ceiling's place
_TILTS = 64  # candidates of its tilt, in each of the two rounds
_KEPT = 512  # members of the posterior that a ceiling is made of
_LATEST = 256  # runs of a group that count; more only cost time


@dataclass(frozen=True, eq=False)
class Ceiling:
    """The rate above which runs diverge, as a posterior over lines in log lr.

    In a member of the posterior a run diverges with probability σ((log10 lr − c − w · z) / s), z the coordinates of the
    other ranges, −1/2 at their low and 1/2 at their high end. Each choice from the lists has a ceiling of its own.

    Attributes:
        space: Space in which it was learned.
        members: By choice from the lists, an array of c, s, w…, shape ``(members, 2 + ranges)``.
        counts: By choice, how many runs diverged and how many there were.
    """

    space: Space
    members: Mapping[Group, Floats]
    counts: Mapping[Group, tuple[int, int]]
    _known: dict[tuple[Group, tuple[float, ...]], float] = field(default_factory=dict, repr=False)

    def bound(self, values: Mapping[str, Value]) -> float | None:
        """Return the rate above which a run with ``values`` diverges with a probability of more than 3/4.

        It may be outside the space; None if no such run diverged. The ``"lr"`` of ``values`` does not matter.
        """
        group = _group(self.space, values)
        if group not in self.members:
            return None
        key = (group, _coordinates(self.space, values))
        if key not in self._known:
            self._known[key] = 10.0 ** _crossing(self.members[group], np.asarray(key[1]))
        return self._known[key]

    def describe(self) -> str:
        """Return in one sentence what was learned; empty if nothing was.

        Example:
            >>> from stepsize.training.runs import Divergence, Setting, Trial
            >>> from stepsize.study.space import as_space
            >>> def run(number, lr, diverged):
            ...     end = Divergence(10, "not finite") if diverged else None
            ...     return Run(Setting(lr, 0, 100), value=1.0, divergence=end, trial=Trial(number, {"lr": lr}))
            >>> rates = [0.001, 0.01, 0.03, 0.1, 0.3, 1.0]
            >>> seen = [run(number, lr, lr > 0.1) for number, lr in enumerate(rates)]
            >>> learn_ceiling(seen, as_space(lr=(1e-4, 1.0))).describe()
            'runs diverge at lr 0.25 and above (2 of 6 did)'
        """
        parts = [self._part(group) for group in self.members]
        return f"runs diverge {'; '.join(parts)}" if parts else ""

    def _part(self, group: Group) -> str:
        ranges, lists = _others(self.space)
        diverged, count = self.counts[group]
        members = self.members[group]
        steepest = np.sign(members[:, 2:].mean(axis=0)) / 2  # the corner of the space where the ceiling is highest
        low, high = (10.0 ** _crossing(members, corner) for corner in (-steepest, steepest))
        rates = f"lr {number_text(low, 2)}"
        depends = ""
        if number_text(high, 2) != number_text(low, 2):
            rates = f"{rates} to {number_text(high, 2)}"
            depends = f", depending on {' and '.join(one.name for one in ranges)}"
        chosen = ", ".join(f"{one.name} {value}" for one, value in zip(lists, group, strict=True) if not one.fixed)
        return f"at {rates} and above{depends}{f' with {chosen}' if chosen else ''} ({diverged} of {count} did)"


def learn_ceiling(runs: Sequence[Run], space: Space) -> Ceiling:
    """Return the ceiling that follows from ``runs``; a trial counts once per seed, by its longest rung.

    The model is logistic in log10 lr and linear in the coordinates of the other ranges. The mean over its posterior
    leaves most of a wide gap between the highest rate that finished and the lowest that diverged open, and one odd
    seed moves it little. It is found on a grid with draws from a fixed seed: the same runs give the same ceiling.
    """
    found: dict[Group, Floats] = {}
    counts: dict[Group, tuple[int, int]] = {}
    for group, rows in _evidence(runs, space).items():
        diverged = sum(fell for _, _, fell in rows)
        if not diverged:
            continue
        counts[group] = (diverged, len(rows))
        latest = rows[-_LATEST:]
        rates, others, fell = (np.array(column, dtype=np.float64) for column in zip(*latest, strict=True))
        found[group] = _posterior(rates, others.reshape(len(latest), -1), fell > 0, _limits(space))
    return Ceiling(space, found, counts)


def _evidence(runs: Sequence[Run], space: Space) -> dict[Group, list[tuple[float, tuple[float, ...], bool]]]:
    """Return log10 lr, coordinates and divergence of each trial and seed, by what was chosen from lists."""
    if not any(run.diverged for run in runs):
        return {}  # the usual case, before anything is sorted
    longest: dict[tuple[int, int], Run] = {}
    for run in runs:
        key = (run.trial.number, run.seed)
        known = longest.get(key)
        # What diverged over a short horizon is not made good by a longer one.
        if known is None or (run.diverged, run.share) >= (known.diverged, known.share):
            longest[key] = run
    rows: dict[Group, list[tuple[float, tuple[float, ...], bool]]] = {}
    for run in longest.values():
        trial = run.trial
        row = (math.log10(trial.lr), _coordinates(space, trial.values), run.diverged)
        rows.setdefault(_group(space, trial.values), []).append(row)
    return rows


def _others(space: Space) -> tuple[list[Range], list[Choice]]:
    beside = [dimension for dimension in space.dimensions if dimension.name != "lr"]
    return [one for one in beside if isinstance(one, Range)], [one for one in beside if isinstance(one, Choice)]


def _group(space: Space, values: Mapping[str, Value]) -> Group:
    return tuple(values[one.name] for one in _others(space)[1])


def _coordinates(space: Space, values: Mapping[str, Value]) -> tuple[float, ...]:
    return tuple(one.to_unit(values[one.name]) - 0.5 for one in _others(space)[0])


def _limits(space: Space) -> tuple[float, float]:
    """Return the bounds of log10 lr."""
    rates = (space.lr.low, space.lr.high) if isinstance(space.lr, Range) else [float(lr) for lr in space.lr.values]
    return math.log10(min(rates)), math.log10(max(rates))


def _posterior(rates: Floats, others: Floats, fell: NDArray[np.bool_], limits: tuple[float, float]) -> Floats:
    """Return ``_KEPT`` members c, s, w… drawn from the posterior."""
    low, high = min(rates.min(), limits[0]) - _REACH[0], max(rates.max(), limits[1]) + _REACH[1]
    places = np.linspace(low, high, _PLACES)
    dimensions = others.shape[1]
    if dimensions == 0:
        tilts, weights = np.zeros((1, 0)), np.zeros(1)
        logs = _evidence_of(tilts, places, rates, others, fell)
    else:
        tilts, weights, logs = _tilts(places, rates, others, fell)
    total = logs + np.log(_WIDTH_ODDS)[None, None, :] + weights[:, None, None]
    chances = np.exp(total - total.max()).ravel()
    # Evenly spaced quantiles of the posterior instead of random draws: nothing of it is left to luck.
    steps = (np.arange(_KEPT) + 0.5) / _KEPT * chances.sum()
    picked = np.minimum(np.searchsorted(np.cumsum(chances), steps), len(chances) - 1)
    tilt, place, width = np.unravel_index(picked, total.shape)
    return np.column_stack([places[place], _WIDTHS[width], tilts[tilt]])


def _tilts(places: Floats, rates: Floats, others: Floats, fell: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Return candidates of the tilt, the log of prior over proposal density for each, and their evidence.

    Two rounds of importance sampling: draws from the prior first, then from a normal law around what of them fits.
    """
    dimensions = others.shape[1]
    normal = np.random.default_rng(0).standard_normal((2, _TILTS, dimensions))
    first = normal[0] * _TILT
    logs = _evidence_of(first, places, rates, others, fell)
    fit = np.exp(logs - logs.max()).sum(axis=(1, 2))
    fit /= fit.sum()
    middle = fit @ first
    # Wider than what was found: few draws understate the spread, and too narrow a law cannot find its way back.
    spread = 2 * np.sqrt(fit @ (first - middle) ** 2 + (0.05 * _TILT) ** 2)
    second = middle + spread * normal[1]
    prior = -0.5 * ((second / _TILT) ** 2).sum(axis=1)
    proposal = -0.5 * (normal[1] ** 2).sum(axis=1)
    return second, prior - proposal, _evidence_of(second, places, rates, others, fell)


def _evidence_of(tilts: Floats, places: Floats, rates: Floats, others: Floats, fell: NDArray[np.bool_]) -> Floats:
    """Return the log likelihood of the runs, shape ``(tilts, places, widths)``."""
    reduced = rates[None, :] - tilts @ others.T  # the rate that would be as near to its ceiling at the middle
    sign = np.where(fell, 1.0, -1.0)
    logs = np.empty((len(tilts), len(places), len(_WIDTHS)))
    for row, line in enumerate(reduced):  # one tilt at a time keeps the arrays in the cache
        distance = sign * (line[None, :] - places[:, None])
        for column, width in enumerate(_WIDTHS):
            logs[row, :, column] = np.log(_NOISE + (1 - 2 * _NOISE) * expit(distance / width)).sum(axis=1)
    return logs


def _crossing(members: Floats, coordinates: Floats) -> float:
    """Return log10 of the rate at which the mean over ``members`` reaches ``_PROBABLE``."""
    places = members[:, 0] + members[:, 2:] @ coordinates
    widths = members[:, 1]
    low, high = float(places.min() - 10), float(places.max() + 10)
    for _ in range(40):
        middle = (low + high) / 2
        if float(expit((middle - places) / widths).mean()) < _PROBABLE:
            low = middle
        else:
            high = middle
    return low
