"""Whether short runs can be trusted: how a rung ranks configurations, compared with full runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from stepsize.curves.numerals import number_text
from stepsize.curves.sensitivity import excess_unit
from stepsize.errors import InputError

Array = NDArray[np.float64]
Key = TypeVar("Key")

_DRAWS = 1000
_FEW = 5  # configurations below which a correlation says nothing
_TRUSTED = 0.01  # regret of the rung's own choice up to which it chose as well as the end would have


@dataclass(frozen=True)
class RankAgreement:
    """How a rung ranks the configurations that were also trained to the end.

    Attributes:
        settings: Number of configurations.
        spearman: Rank correlation, in [-1, 1]; NaN if all of one side are tied or there is only one.
        kendall: Kendall's tau-b; NaN in the same cases.
        interval: Bootstrap interval of ``spearman``; (-1, 1) if there are too few configurations.
        level: Level of the interval.
        regret: Relative excess, at the end, of the rung's best configuration over the best of all; infinite if that one
            diverged, NaN if all did.
    """

    settings: int
    spearman: float
    kendall: float
    interval: tuple[float, float]
    level: float
    regret: float

    @property
    def sentence(self) -> str:
        """The agreement as a sentence."""
        if math.isnan(self.regret):
            return "All runs diverged, so there is nothing to rank."
        cost = (
            "the configuration it ranks first diverged at the end"
            if math.isinf(self.regret)
            else f"its first choice is {number_text(100 * self.regret, 2)}% above the best"
        )
        if self.settings < _FEW or math.isnan(self.spearman):
            return f"Too few configurations ({self.settings}) to say how well the rung ranks; {cost}."
        low, high = (f"{bound:.2f}" for bound in self.interval)
        word = "as well as" if self.regret <= _TRUSTED else "worse than"
        return (
            f"Rank correlation with the end {self.spearman:.2f} ({low} to {high} at {self.level:.0%}) over "
            f"{self.settings} configurations; it chooses {word} the end: {cost}."
        )


def rank_agreement(
    rung: Mapping[Key, float],
    end: Mapping[Key, float],
    *,
    untrained: float | None = None,
    level: float = 0.8,
    seed: int = 0,
) -> RankAgreement:
    """Compare how a rung and the end rank the configurations that both know; a diverged one ranks last.

    Args:
        rung: Value of each configuration on the rung, lower is better; infinite if it diverged, NaN if unknown.
        end: Value at the full length.
        untrained: Value at initialization, the unit of regret if values are not positive.
        level: Level of the percentile bootstrap interval, in (0, 1).
        seed: Random seed of the bootstrap.

    Raises:
        InputError: If the level is not inside (0, 1).

    Reference:
        Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945).
    """
    if not 0 < level < 1:
        raise InputError("level", level, "must lie in (0, 1)")
    keys = [key for key in rung if key in end and not (math.isnan(rung[key]) or math.isnan(end[key]))]
    early = np.array([rung[key] for key in keys], dtype=np.float64)
    late = np.array([end[key] for key in keys], dtype=np.float64)
    spearman = float(_spearman(early[None, :], late[None, :])[0]) if len(keys) > 1 else math.nan
    kendall = math.nan if math.isnan(spearman) else float(stats.kendalltau(early, late).statistic)
    interval = _bootstrap(early, late, level, seed)
    return RankAgreement(len(keys), spearman, kendall, interval, level, _regret(early, late, untrained))


def _spearman(early: Array, late: Array) -> Array:
    """Return the correlation of ranks along the last axis; NaN where one side is all tied."""
    ranks = [stats.rankdata(side, axis=-1) for side in (early, late)]
    a, b = (rank - rank.mean(axis=-1, keepdims=True) for rank in ranks)
    power = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.asarray(np.divide((a * b).sum(axis=-1), power, out=np.full(power.shape, math.nan), where=power > 0))


def _bootstrap(early: Array, late: Array, level: float, seed: int) -> tuple[float, float]:
    if len(early) < _FEW:
        return -1.0, 1.0
    drawn = np.random.default_rng(seed).integers(len(early), size=(_DRAWS, len(early)))
    found = _spearman(early[drawn], late[drawn])
    found = found[~np.isnan(found)]
    if not len(found):
        return -1.0, 1.0
    low, high = np.quantile(found, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _regret(early: Array, late: Array, untrained: float | None) -> float:
    if not np.isfinite(late).any():
        return math.nan
    if not np.isfinite(early).any():
        return math.inf
    best = float(late.min())
    # Of several tied first on the rung, the worst: the rung cannot distinguish them.
    return (float(late[early == early.min()].max()) - best) / excess_unit(best, untrained)
