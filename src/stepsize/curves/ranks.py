"""Whether short runs can be trusted: how a rung ranks settings, against the end."""

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

__all__ = ["RankAgreement", "rank_agreement"]

Array = NDArray[np.float64]
Key = TypeVar("Key")

_DRAWS = 1000
_FEW = 5  # settings below which a correlation says nothing
_TRUSTED = 0.01  # regret of the rung's own choice up to which it chose as well as the end would have


@dataclass(frozen=True)
class RankAgreement:
    """How a rung ranks the settings that were also trained to the end.

    Attributes:
        settings: How many there are.
        spearman: The correlation of ranks, in [-1, 1]; NaN where all of one side are tied or there is one only.
        kendall: tau-b: pairs ranked alike less pairs ranked oppositely, ties allowed for; NaN alike.
        interval: Of ``spearman``, by bootstrap over settings; (-1, 1) where there are too few to tell.
        level: Of the interval.
        regret: What choosing by the rung alone would have cost: the relative excess, at the end, of the rung's best
            setting over the best of all; infinite where that one diverged, NaN where nothing survived.
    """

    settings: int
    spearman: float
    kendall: float
    interval: tuple[float, float]
    level: float
    regret: float

    @property
    def sentence(self) -> str:
        """The agreement in words."""
        if math.isnan(self.regret):
            return "Nothing survived, so there is nothing to rank."
        cost = (
            "the setting it ranks first diverged at the end"
            if math.isinf(self.regret)
            else f"choosing by it alone would have cost {number_text(100 * self.regret, 2)} %"
        )
        if self.settings < _FEW or math.isnan(self.spearman):
            return f"Too few settings ({self.settings}) to say how well the rung ranks; {cost}."
        low, high = (f"{bound:.2f}" for bound in self.interval)
        word = "as well as" if self.regret <= _TRUSTED else "worse than"
        return (
            f"Rank correlation with the end {self.spearman:.2f} ({low} to {high} at {self.level:.0%}) over "
            f"{self.settings} settings; it chooses {word} the end: {cost}."
        )


def rank_agreement(
    rung: Mapping[Key, float],
    end: Mapping[Key, float],
    *,
    untrained: float | None = None,
    level: float = 0.8,
    seed: int = 0,
) -> RankAgreement:
    """Compare how a rung and the end rank the settings that both know.

    A setting that diverged is worse than any that did not, and as bad as any other that did. The interval is that of
    the percentile bootstrap: settings are drawn with replacement and ranked anew.

    Args:
        rung: What each setting reached on the rung, lower is better; infinite if it diverged, NaN if not known.
        end: The same at the full length.
        untrained: The value before training; only needed as the unit of regret where values are not positive.
        level: Of the interval, in (0, 1).
        seed: Of the bootstrap.

    Returns:
        The agreement.

    Raises:
        InputError: If the level is not inside (0, 1).

    Example:
        >>> found = rank_agreement({"a": 3.0, "b": 1.0, "c": 2.0}, {"a": 0.9, "b": 0.6, "c": 0.5})
        >>> round(found.spearman, 2), round(found.kendall, 2), round(found.regret, 2)
        (0.5, 0.33, 0.2)

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
    # Of several that the rung ranks first alike, the worst: it could not have told them apart.
    return (float(late[early == early.min()].max()) - best) / excess_unit(best, untrained)
