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
    """Rungs that one group of trials climbs.

    Attributes:
        shares: Fractions of the full horizon, rising; the last is 1.
        weight: Number of its trials relative to the other brackets.
    """

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
        >>> rungs = Rungs.halving()
        >>> rungs.shares
        (0.0625, 0.25, 1.0)
        >>> rungs.cost(32)  # 32 / 16 + 8 / 4 + 2
        6.0
    """

    name: str
    brackets: tuple[Bracket, ...]
    eta: int = 4
    waits: bool = True

    def __post_init__(self) -> None:
        check_whole("eta", self.eta, 2, remedy="4 promotes the best quarter")
        if not self.brackets:
            raise InputError("brackets", self.brackets, "must hold at least one", "Take (Bracket((0.25, 1.0)),)")

    @staticmethod
    def full() -> Rungs:
        """Return one rung: every trial is trained on the full horizon."""
        return Rungs("full", (Bracket((1.0,)),))

    @staticmethod
    def halving(start: float = 1 / 16, eta: int = 4) -> Rungs:
        """Return successive halving: each rung is decided when all its trials are told.

        Args:
            start: The lowest rung, as a fraction of the full horizon, in (0, 1).
            eta: One of so many is promoted, >= 2; the next rung is so many times longer.

        Returns:
            The rungs start, start · eta, … and 1; one above 1 / √eta is left out, being no cheaper.

        Raises:
            InputError: If ``start`` or ``eta`` is out of range.

        Example:
            >>> Rungs.halving(0.1, 3).shares
            (0.1, 0.3..., 1.0)
        """
        return Rungs("halving", (Bracket(_shares(start, eta)),), eta)

    @staticmethod
    def asha(start: float = 1 / 16, eta: int = 4) -> Rungs:
        """Return asynchronous successive halving: a trial in the top 1 / eta of its rung is promoted immediately.

        No worker waits for a rung to fill, at the price of some promotions that the whole rung would not have made.
        When no trial is left to start, the rungs are decided as those of :meth:`halving`, whose arguments it has.
        """
        return Rungs("asha", (Bracket(_shares(start, eta)),), eta, waits=False)

    @staticmethod
    def hyperband(start: float = 1 / 16, eta: int = 4) -> Rungs:
        """Return Hyperband: brackets of halving, from many trials on short horizons to few on the full one.

        With the k + 1 rungs of halving, whose arguments it has, bracket s = k … 0 starts s rungs below the full
        horizon and takes trials in proportion to ceil((k + 1) · eta^s / (s + 1)), so all brackets cost about the same.

        Example:
            >>> [(bracket.weight, bracket.shares) for bracket in Rungs.hyperband().brackets]
            [(16, (0.0625, 0.25, 1.0)), (6, (0.25, 1.0)), (3, (1.0,))]
        """
        shares = _shares(start, eta)
        count = len(shares)
        below = range(count - 1, -1, -1)
        return Rungs("hyperband", tuple(Bracket(shares[-1 - s :], -(-count * eta**s // (s + 1))) for s in below), eta)

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

    def sizes(self, trials: int) -> tuple[int, ...]:
        """Return how many of ``trials`` each bracket takes: by weight, the rest to the largest remainders.

        Example:
            >>> Rungs.hyperband().sizes(10)
            (7, 2, 1)
        """
        total = sum(bracket.weight for bracket in self.brackets)
        exact = [divmod(trials * bracket.weight, total) for bracket in self.brackets]
        order = sorted(range(len(exact)), key=lambda at: (-exact[at][1], at))
        extra = set(order[: trials - sum(whole for whole, _ in exact)])
        return tuple(whole + (at in extra) for at, (whole, _) in enumerate(exact))

    def assigned(self, trials: int) -> tuple[int, ...]:
        """Return the bracket of each of ``trials`` in order of proposal; they take turns in proportion to their sizes.

        Example:
            >>> Rungs.hyperband().assigned(10)
            (0, 0, 1, 0, 0, 2, 0, 0, 1, 0)
        """
        sizes = self.sizes(trials)
        credit = [0] * len(sizes)
        turns = []
        for _ in range(trials):
            credit = [had + size for had, size in zip(credit, sizes, strict=True)]
            turn = max(range(len(sizes)), key=credit.__getitem__)
            credit[turn] -= trials
            turns.append(turn)
        return tuple(turns)

    def cost(self, trials: int) -> float:
        """Return the cost of ``trials`` in full runs, on one seed and if none diverges.

        Further promotions of :meth:`asha` are not known in advance.

        Example:
            >>> Rungs.full().cost(32), Rungs.hyperband().cost(25)
            (32.0, 8.5)
        """
        total = 0.0
        for bracket, count in zip(self.brackets, self.sizes(trials), strict=True):
            for share in bracket.shares:
                total += count * share
                count = self.closing_quota(count)
        return total


@dataclass(frozen=True)
class RungsEntry:
    """A way to climb rungs; ``make`` takes the lowest rung and eta."""

    name: str
    make: Callable[[float, int], Rungs]
    title: str
    source: str = ""


RUNGS: Catalog[RungsEntry] = Catalog(
    "rungs",
    (
        RungsEntry("full", lambda start, eta: Rungs.full(), "Every trial on the full horizon"),
        RungsEntry(
            "halving",
            Rungs.halving,
            "Successive halving: rung by rung, the best continue",
            "Jamieson & Talwalkar (2016), arXiv 1502.07943",
        ),
        RungsEntry(
            "asha",
            Rungs.asha,
            "Asynchronous halving: the best so far continue immediately",
            "Li et al. (2020), arXiv 1810.05934",
        ),
        RungsEntry(
            "hyperband",
            Rungs.hyperband,
            "Hyperband: halving from several lowest rungs",
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
