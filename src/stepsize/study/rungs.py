"""Rungs: on which shortened horizons a sweep trains before the full one, and who is promoted from one to the next."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from stepsize.catalog import Catalog
from stepsize.checks import check_whole
from stepsize.errors import InputError


@dataclass(frozen=True)
class Bracket:
    """Rungs that one group of trials climbs, rising to 1, and how many trials it gets relative to the others."""

    shares: tuple[float, ...]
    weight: int = 1

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in itertools.pairwise((0.0, *self.shares)))
        if not (self.shares and rising and self.shares[-1] == 1):
            remedy = "Take (0.25, 1.0) for a quarter, then the whole horizon"
            raise InputError("shares", self.shares, "must be rising fractions of the horizon that end with 1", remedy)
        check_whole("weight", self.weight)


@dataclass(frozen=True)
class Rungs:
    """On which horizons trials are trained, and how many continue: a plain value.

    Every rung has a complete decay of its own, so a promoted trial is trained anew, from its start. Of the n trials of
    a rung the best floor(n / eta) continue, at least one, and never one that diverged.

    Attributes:
        name: Its name in :data:`RUNGS`.
        brackets: Groups of trials that compete among themselves only.
        eta: One of so many is promoted, >= 2.
        waits: Whether a rung is decided when all its trials are told; if not, a trial is promoted as soon as it is
            in the top 1 / eta of those told so far.

    Example:
        >>> RUNGS["halving"].make(1 / 16, eta=4).shares
        (0.0625, 0.25, 1.0)
    """

    name: str
    brackets: tuple[Bracket, ...]
    eta: int = 4
    waits: bool = True

    def __post_init__(self) -> None:
        check_whole("eta", self.eta, 2, remedy="4 promotes the best quarter")
        if not self.brackets:
            raise InputError("brackets", self.brackets, "must hold at least one", "Take (Bracket((0.25, 1.0)),)")

    @property
    def shares(self) -> tuple[float, ...]:
        """All rungs, as fractions of the full horizon, rising."""
        return max((bracket.shares for bracket in self.brackets), key=len)

    def quota(self, told: int) -> int:
        """Return how many of ``told`` trials of a rung are promoted before it is closed: floor(told / eta)."""
        return told // self.eta

    def closing_quota(self, told: int) -> int:
        """Return how many of the ``told`` trials of a closed rung are promoted: at least one, if there is one."""
        return max(self.quota(told), min(told, 1))

    def assigned(self, trials: int) -> tuple[int, ...]:
        """Return the bracket of each of ``trials`` in order of proposal, in proportion to their weights."""
        weights = [bracket.weight for bracket in self.brackets]
        credit = [0] * len(weights)
        turns = []
        for _ in range(trials):
            credit = [had + weight for had, weight in zip(credit, weights, strict=True)]
            turn = max(range(len(weights)), key=credit.__getitem__)
            credit[turn] -= sum(weights)
            turns.append(turn)
        return tuple(turns)


@dataclass(frozen=True)
class RungsEntry:
    """A way to climb rungs; ``brackets`` takes all rungs and eta."""

    name: str
    title: str
    brackets: Callable[[tuple[float, ...], int], tuple[Bracket, ...]]
    source: str = ""
    waits: bool = True

    def make(self, start: float = 1 / 16, eta: int = 4) -> Rungs:
        """Return the rungs start, start · eta, … and 1; one above 1 / √eta is left out, being no cheaper.

        ``start`` is the lowest rung, as a fraction of the full horizon, in (0, 1).
        """
        return Rungs(self.name, self.brackets(_shares(start, eta), eta), eta, self.waits)


def _hyperband(shares: tuple[float, ...], eta: int) -> tuple[Bracket, ...]:
    """Return brackets that cost about the same, from many trials on short rungs to few on the full horizon.

    With the k + 1 rungs of halving, bracket s = k … 0 starts s rungs below the full horizon and takes trials in
    proportion to ceil((k + 1) · eta^s / (s + 1)).
    """
    count = len(shares)
    return tuple(Bracket(shares[-1 - s :], -(-count * eta**s // (s + 1))) for s in range(count - 1, -1, -1))


RUNGS: Catalog[RungsEntry] = Catalog(
    "rungs",
    (
        RungsEntry("full", "Every trial on the full horizon", lambda shares, eta: (Bracket((1.0,)),)),
        RungsEntry(
            "halving",
            "Successive halving: rung by rung, the best continue",
            lambda shares, eta: (Bracket(shares),),
            "Jamieson & Talwalkar (2016), arXiv 1502.07943",
        ),
        RungsEntry(
            "asha",
            "Asynchronous halving: the best so far continue immediately",
            lambda shares, eta: (Bracket(shares),),
            "Li et al. (2020), arXiv 1810.05934",
            waits=False,  # no worker waits for a rung to fill, at the price of some promotions
        ),
        RungsEntry(
            "hyperband",
            "Hyperband: halving from several lowest rungs",
            _hyperband,
            "Li et al. (2018), JMLR 18(185)",
        ),
    ),
)


def _shares(start: float, eta: int) -> tuple[float, ...]:
    if not 0 < start < 1:
        raise InputError("start", start, "must be a fraction of the horizon between 0 and 1", "A usual one is 1/16")
    check_whole("eta", eta, 2, remedy="4 promotes the best quarter")
    shares = [start]
    while shares[-1] * eta * eta**0.5 <= 1:
        shares.append(shares[-1] * eta)
    return (*shares, 1.0)
