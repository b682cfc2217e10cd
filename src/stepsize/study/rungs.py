"""Rungs: on which shortened horizons a sweep trains before the full one, and who is promoted from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stepsize.errors import InputError, UnknownNameError

__all__ = ["RUNGS", "Bracket", "Rungs", "RungsEntry", "rungs_entry"]


@dataclass(frozen=True)
class Bracket:
    """Rungs that one group of trials climbs.

    Attributes:
        shares: Of the full horizon, rising; the last is 1.
        weight: How many trials it takes relative to the other brackets.
    """

    shares: tuple[float, ...]
    weight: int = 1


@dataclass(frozen=True)
class Rungs:
    """On which horizons trials are trained, and which share of them goes on: a plain value.

    Every rung has a complete decay of its own, so that a promoted trial is trained anew, from its start. Of the n
    trials of a rung the best floor(n / eta) go on, at least one, and never one that diverged.

    Attributes:
        name: Its name in :data:`RUNGS`.
        brackets: Groups of trials that compete among themselves only.
        eta: Of how many one is promoted, >= 2.
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

    @staticmethod
    def full() -> Rungs:
        """Return one rung: every trial is trained on the full horizon."""
        return Rungs("full", (Bracket((1.0,)),))

    @staticmethod
    def halving(start: float = 1 / 16, eta: int = 4) -> Rungs:
        """Return successive halving: each rung is decided when all its trials are told.

        Args:
            start: The lowest rung, as a share of the full horizon, in (0, 1).
            eta: Of how many one is promoted, >= 2; the next rung is as many times longer.

        Returns:
            The rungs start, start · eta, … and 1; one that would lie above 1 / √eta is left out, being no cheaper.

        Raises:
            InputError: If ``start`` or ``eta`` is out of its range.

        Example:
            >>> Rungs.halving(0.1, 3).shares
            (0.1, 0.3..., 1.0)

        Reference: Jamieson & Talwalkar (2016), arXiv 1502.07943.
        """
        return Rungs("halving", (Bracket(_shares(start, eta)),), eta)

    @staticmethod
    def asha(start: float = 1 / 16, eta: int = 4) -> Rungs:
        """Return asynchronous successive halving: whoever is in the top 1 / eta of its rung goes on at once.

        No worker waits for a rung to fill, at the price of some promotions that the whole rung would not have made.
        When no trial is left to start, the rungs are decided as those of :meth:`halving`.

        Args:
            start: The lowest rung, as a share of the full horizon, in (0, 1).
            eta: Of how many one is promoted, >= 2; the next rung is as many times longer.

        Returns:
            The rungs of :meth:`halving`.

        Raises:
            InputError: If ``start`` or ``eta`` is out of its range.

        Reference: Li et al. (2020), arXiv 1810.05934.
        """
        return Rungs("asha", (Bracket(_shares(start, eta)),), eta, waits=False)

    @staticmethod
    def hyperband(start: float = 1 / 16, eta: int = 4) -> Rungs:
        """Return Hyperband: brackets of halving, from many trials on short horizons to few on the full one.

        With the k + 1 rungs of halving, bracket s = k … 0 starts s rungs below the full horizon and takes trials in
        proportion to ceil((k + 1) · eta^s / (s + 1)), so that all brackets cost about the same.

        Args:
            start: The lowest rung, as a share of the full horizon, in (0, 1).
            eta: Of how many one is promoted, >= 2; the next rung is as many times longer.

        Returns:
            The brackets, that of most trials first.

        Raises:
            InputError: If ``start`` or ``eta`` is out of its range.

        Example:
            >>> [(bracket.weight, bracket.shares) for bracket in Rungs.hyperband().brackets]
            [(16, (0.0625, 0.25, 1.0)), (6, (0.25, 1.0)), (3, (1.0,))]

        Reference: Li et al. (2018), JMLR 18(185), algorithm 1.
        """
        shares = _shares(start, eta)
        count = len(shares)
        below = range(count - 1, -1, -1)
        return Rungs("hyperband", tuple(Bracket(shares[-1 - s :], -(-count * eta**s // (s + 1))) for s in below), eta)

    @property
    def shares(self) -> tuple[float, ...]:
        """All rungs, as shares of the full horizon, rising."""
        return max((bracket.shares for bracket in self.brackets), key=len)

    def quota(self, told: int) -> int:
        """Return how many of ``told`` trials of a rung are promoted before it is closed: floor(told / eta)."""
        return told // self.eta

    def closing_quota(self, told: int) -> int:
        """Return how many of the ``told`` trials of a closed rung are promoted: at least one, where there is one."""
        return max(self.quota(told), min(told, 1))

    def sizes(self, trials: int) -> tuple[int, ...]:
        """Return how many of ``trials`` each bracket takes: by weight, what is left over to the largest remainders.

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
        """Return the bracket of each of ``trials`` in order of proposal.

        The brackets take turns in proportion to their sizes, so that each gets the whole of a range that a sampler
        walks through in order, as the grid does.

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
        """Return what ``trials`` cost in trainings, on one seed and if none diverges.

        The sum over brackets and rungs of the number of trials there times the share of the rung. What asynchronous
        promotion trains beyond that, because its first trials flattered themselves, is not foreseen.

        Args:
            trials: How many are proposed, >= 0.

        Returns:
            The cost, in trainings of the full horizon.

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
    """What stepsize knows of a way to climb rungs; ``make`` takes the lowest rung and eta."""

    name: str
    make: Callable[[float, int], Rungs]
    title: str
    source: str


_ENTRIES = (
    RungsEntry("full", lambda start, eta: Rungs.full(), "Every trial on the full horizon", ""),
    RungsEntry(
        "halving",
        Rungs.halving,
        "Successive halving: rung by rung, the best go on",
        "Jamieson & Talwalkar (2016), arXiv 1502.07943",
    ),
    RungsEntry(
        "asha",
        Rungs.asha,
        "Asynchronous halving: the best so far go on at once",
        "Li et al. (2020), arXiv 1810.05934",
    ),
    RungsEntry(
        "hyperband",
        Rungs.hyperband,
        "Hyperband: halving from several lowest rungs",
        "Li et al. (2018), JMLR 18(185)",
    ),
)

RUNGS: dict[str, RungsEntry] = {entry.name: entry for entry in _ENTRIES}


def rungs_entry(name: str) -> RungsEntry:
    """Return the catalog entry of ``name``.

    Args:
        name: A key of :data:`RUNGS`, for example ``"halving"``.

    Returns:
        The entry.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest.

    Example:
        >>> rungs_entry("asha").make(1 / 4, 2).shares
        (0.25, 0.5, 1.0)
    """
    if name not in RUNGS:
        raise UnknownNameError("rungs", name, RUNGS)
    return RUNGS[name]


def _shares(start: float, eta: int) -> tuple[float, ...]:
    if not 0 < start < 1:
        raise InputError("start", start, "must be a share of the horizon between 0 and 1", "A usual one is 1/16")
    if isinstance(eta, bool) or not isinstance(eta, int) or eta < 2:
        raise InputError("eta", eta, "must be a whole number of at least 2")
    shares = [start]
    while shares[-1] * eta * eta**0.5 <= 1:
        shares.append(shares[-1] * eta)
    return (*shares, 1.0)
