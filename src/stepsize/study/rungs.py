"""Rungs: on which shortened horizons a sweep trains before the full one, and who is promoted from one to the next.

Numbers and shares, no jobs: a plan makes jobs of them.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from stepsize.catalog import Catalog
from stepsize.checks import check_whole
from stepsize.errors import InputError
from stepsize.study.strategy import others_of
from stepsize.training.runs import Run, Trial


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


Promotion = tuple[int, float]
"""The number of a trial, and the rung that it goes on to, as a fraction of the full horizon."""


def rank(run: Run) -> tuple[bool, float, int]:
    """Return the key that sorts runs, the best first: by value, those without a finite one last, then by trial."""
    finite = math.isfinite(run.value)
    return (not finite, run.value if finite else 0.0, run.trial.number)


@dataclass
class _Rung:
    """One rung: how many entered and were told, whether it is decided, and ranks of those that did not diverge."""

    share: float
    entered: int = 0
    told: int = 0
    closed: bool = False
    ranked: list[tuple[bool, float, int]] = field(default_factory=list)
    promoted: set[int] = field(default_factory=set)
    gone: list[Trial] = field(default_factory=list)  # what diverged here
    replaced: int = 0  # how many came in for them

    @property
    def finished(self) -> int:
        """How many have a finite value."""
        return sum(not failed for failed, _, _ in self.ranked)


class Ladder:
    """The rungs of one bracket and the trials on them.

    Short runs favor high rates. So each trial that diverges on a rung that it was promoted to is replaced by the next
    best of the rung below, first by one that does not have its values at a rate as high; a rung without any value
    takes all that there are, one after the other. Promotions depend only on the order of what is told, so telling the
    same again rebuilds the ladder.
    """

    def __init__(self, bracket: Bracket, rungs: Rungs) -> None:
        self._rules = rungs
        self._rungs = [_Rung(share) for share in bracket.shares]
        self._levels = {share: level for level, share in enumerate(bracket.shares)}
        self._trials: dict[int, Trial] = {}
        self._filled = False

    def enter(self) -> float:
        """Take a new trial in; returns its first rung."""
        self._rungs[0].entered += 1
        return self._rungs[0].share

    def tell(self, run: Run) -> list[Promotion]:
        """Take the run of a trial on a rung; returns who is promoted because of it."""
        level = self._levels[run.share]
        rung = self._rungs[level]
        rung.told += 1
        place = len(rung.ranked)
        self._trials[run.trial.number] = run.trial
        if run.diverged:
            rung.gone.append(run.trial)
        else:
            place = bisect(rung.ranked, rank(run))
            insort(rung.ranked, rank(run))
        promotions = [] if self._rules.waits else self._promote_early(level, place)
        return promotions + self._close()

    def fill(self) -> list[Promotion]:
        """No further trial enters; returns who is promoted because of it."""
        self._filled = True
        return self._close()

    def reopen(self) -> None:
        """Further trials may enter; they compete with those that were here before."""
        self._filled = False
        for rung in self._rungs:
            rung.closed = False

    def remaining(self, coming: int) -> int:
        """Return how many jobs are without run if ``coming`` more trials enter and none diverges."""
        return sum(count - rung.told for count, rung in zip(self._expected(coming), self._rungs, strict=True))

    def finishing(self, coming: int) -> int:
        """Return how many reach the last rung if ``coming`` more trials enter and none diverges."""
        return self._expected(coming)[-1]

    def _expected(self, coming: int) -> list[int]:
        """Return how many trials each rung will have had."""
        counts = []
        count = self._rungs[0].entered + coming
        for rung in self._rungs:
            count = max(count, rung.entered)
            counts.append(count)
            count = 0 if rung.closed else self._rules.closing_quota(count)
        return counts

    def replaced(self) -> list[tuple[float, int]]:
        """Return (rung, how many came in for trials that diverged there) of each rung where some did."""
        return [(rung.share, rung.replaced) for rung in self._rungs if rung.replaced]

    def climbed(self) -> list[tuple[float, float, int, int]]:
        """Return (rung, next rung, how many were promoted, of how many) of each rung but the last."""
        pairs = zip(self._rungs, self._rungs[1:], strict=False)
        return [(rung.share, above.share, len(rung.promoted), rung.told) for rung, above in pairs]

    def _promote_early(self, level: int, place: int) -> list[Promotion]:
        """Promote who came into the top 1 / eta: the newcomer, or the one that the grown quota now takes in."""
        quota = self._rules.quota(self._rungs[level].told)
        return self._promote(level, [at for at in sorted({place, quota - 1}) if 0 <= at < quota])

    def _close(self) -> list[Promotion]:
        """Decide every rung that no trial will enter any more and whose trials are all told, from below."""
        promotions: list[Promotion] = []
        complete = self._filled
        for level, rung in enumerate(self._rungs):
            complete = complete and rung.told == rung.entered
            if not complete:
                break
            if not rung.closed:
                instead = self._replace(level)
                if instead:
                    return promotions + instead
                rung.closed = True
                promotions += self._promote(level, range(self._rules.closing_quota(rung.told - rung.replaced)))
        return promotions

    def _replace(self, level: int) -> list[Promotion]:
        """Promote to a rung as many as diverged on it, the likeliest to survive first."""
        rung = self._rungs[level]
        missing = min(len(rung.gone), rung.entered - rung.replaced) - rung.replaced
        nobody = not rung.finished
        for lower in range(level - 1, -1, -1):
            chosen = self._left(lower, rung.gone)[: max(missing, int(nobody))]
            if chosen:
                return self._come_in(lower, chosen)
            if not nobody:  # only for the sake of an answer is it worth to begin further below
                break
        return []

    def _left(self, level: int, gone: Sequence[Trial]) -> list[int]:
        """Return the finished trials of a rung that were not promoted, those safer than what diverged first."""
        rung = self._rungs[level]
        left = [number for failed, _, number in rung.ranked if not failed and number not in rung.promoted]
        return sorted(left, key=lambda number: any(_no_safer(self._trials[number], trial) for trial in gone))

    def _come_in(self, level: int, numbers: Sequence[int]) -> list[Promotion]:
        above = self._rungs[level + 1]
        self._rungs[level].promoted.update(numbers)
        above.closed = False
        above.entered += len(numbers)
        above.replaced += len(numbers)
        return [(number, above.share) for number in numbers]

    def _promote(self, level: int, places: Iterable[int]) -> list[Promotion]:
        if level + 1 == len(self._rungs):
            return []
        rung, above = self._rungs[level], self._rungs[level + 1]
        numbers = [rung.ranked[place][-1] for place in places if place < len(rung.ranked)]
        fresh = [number for number in numbers if number not in rung.promoted]
        rung.promoted.update(fresh)
        above.entered += len(fresh)
        return [(number, above.share) for number in fresh]


def _no_safer(trial: Trial, gone: Trial) -> bool:
    """Return whether ``trial`` has the values of one that diverged, at the same or a higher rate."""
    return trial.lr >= gone.lr and others_of(trial) == others_of(gone)


def promotion_notes(ladders: Sequence[Ladder]) -> list[str]:
    """Return one sentence per rung on how many of its trials were promoted, over all brackets."""
    counts: dict[tuple[float, float], tuple[int, int]] = {}
    for ladder in ladders:
        for share, above, promoted, told in ladder.climbed():
            before = counts.get((share, above), (0, 0))
            counts[share, above] = (before[0] + promoted, before[1] + told)
    notes = [
        f"Promoted {promoted} of {told} trials from {written_share(share)} to {written_share(above)}."
        for (share, above), (promoted, told) in sorted(counts.items())
        if promoted
    ]
    came: dict[float, int] = {}
    for ladder in ladders:
        for share, number in ladder.replaced():
            came[share] = came.get(share, 0) + number
    notes += [
        f"{number} of them replaced trials that diverged over {written_share(share)}: the next best of the rung below."
        for share, number in sorted(came.items())
    ]
    return notes


def written_share(share: float) -> str:
    """Return a rung in words: ``1/16 of the horizon``, ``30% of the horizon``, ``the full horizon``."""
    if share == 1:
        return "the full horizon"
    near = Fraction(share).limit_denominator(1000)
    exact = near.numerator == 1 and math.isclose(near, share)
    return f"{near if exact else f'{100 * share:.3g}%'} of the horizon"
