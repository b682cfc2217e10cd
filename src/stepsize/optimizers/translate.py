"""A rate for one configuration, transferred to another: where to start there, and how far to search."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from stepsize.checks import check_lr, check_whole
from stepsize.errors import InputError
from stepsize.optimizers.catalog import OPTIMIZERS
from stepsize.optimizers.usual import PLAIN


@dataclass(frozen=True)
class Conditions:
    """What a rate is valid for. A value that is None on one side must be None on the other side too.

    Args:
        optimizer: Name in the catalog.
        momentum: m, or β₁, in [0, 1). Default: that of the optimizer.
        batch_size: Examples per update, at least 1.
        horizon: Steps of the full run, at least 1.

    Raises:
        UnknownNameError: If the optimizer is not known.
        InputError: If a number breaks its rule.
    """

    optimizer: str
    momentum: float | None = None
    batch_size: int | None = None
    horizon: int | None = None

    def __post_init__(self) -> None:
        entry = OPTIMIZERS[self.optimizer]
        if self.momentum is not None:
            if entry.momentum is None:
                raise InputError("momentum", self.momentum, f"has no meaning to {entry.title}")
            if not 0 <= self.momentum < 1:
                raise InputError("momentum", self.momentum, "must lie in [0, 1)")
        for name in ("batch_size", "horizon"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))

    @property
    def effective(self) -> float:
        """Factor of the movement under a steady gradient: 1 / (1 − m) for heavy-ball momentum, else 1."""
        return OPTIMIZERS[self.optimizer].effective_lr(1.0, self.momentum)


@dataclass(frozen=True)
class RuleApplied:
    """One rule of a translation.

    Attributes:
        what: What changes.
        factor: Factor of the rate.
        low: Lowest plausible factor.
        high: Highest plausible factor.
        held: What the rule keeps constant.
        source: Author, title, year.
        warning: Where it is known not to hold, or to contradict another rule; empty if nothing is known.
    """

    what: str
    factor: float
    low: float
    high: float
    held: str
    source: str
    warning: str = ""


@dataclass(frozen=True)
class Translation:
    """A rate for other conditions.

    Attributes:
        lr: Rate to start with; None if no scaling rule is known.
        low: Lowest rate to search.
        high: Highest rate to search.
        rules: Rules that were applied, in order.
        warnings: What is unreliable.
    """

    lr: float | None
    low: float
    high: float
    rules: tuple[RuleApplied, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        if self.lr is None:
            return f"no scaling rule known: search {self.low:.3g} to {self.high:.3g}"
        return f"start at {self.lr:.3g}, search from {self.low:.3g} to {self.high:.3g}"


def translate(lr: float, *, from_: Conditions | str, to: Conditions | str) -> Translation:
    """Return where a rate that is good under some conditions lies under others.

    Factors multiply, and so do the ends of their ranges; what does not change is left out. The factors are
    those of the sources; the widths of the ranges are our judgment, not a measurement.

    - momentum, heavy-ball: lr / (1 − m) is constant;
    - batch size × k: lr k for SGD (√k is the other rule: the range includes it), lr √k for adaptive optimizers;
    - horizon × k: lr k^−0.25;
    - optimizer: only between variants; there is no rule between Adam and SGD.

    Args:
        lr: Absolute rate, good under ``from_``.
        from_: Conditions that it is good under; a name is an optimizer.
        to: Conditions that a rate is needed for.

    Returns:
        Where to start, the range to search, the rules with their sources, and warnings.

    Raises:
        InputError: If ``lr`` is not positive, or a condition is given on one side only.
        UnknownNameError: If an optimizer is not known.

    Example:
        >>> found = translate(0.1, from_="sgd", to="momentum")
        >>> round(found.lr, 4), found.rules[0].held
        (0.01, 'lr / (1 − m)')
        >>> print(translate(0.1, from_="sgd", to="adamw"))
        no scaling rule known: search 1e-05 to 0.1
        >>> before, after = Conditions("adamw", batch_size=64), Conditions("adamw", batch_size=256)
        >>> print(translate(1e-3, from_=before, to=after))
        start at 0.002, search from 0.001 to 0.004
    """
    check_lr("lr", lr)
    before = Conditions(from_) if isinstance(from_, str) else from_
    after = Conditions(to) if isinstance(to, str) else to
    for name in ("batch_size", "horizon"):
        one, other = getattr(before, name), getattr(after, name)
        if (one is None) != (other is None):
            raise InputError(name, (one, other), "must be given on both sides or on neither")
    rules = tuple(_rules(before, after))
    warnings = tuple(rule.warning for rule in rules if rule.warning)
    if not _related(before.optimizer, after.optimizer):
        one, other = (OPTIMIZERS[name].title for name in (before.optimizer, after.optimizer))
        said = f"No scaling rule is known from {one} to {other}. Search, for example with stepsize.find"
        return Translation(None, *OPTIMIZERS[after.optimizer].lr_range, (), (said,))
    factor, low, high = (math.prod(getattr(rule, name) for rule in rules) for name in ("factor", "low", "high"))
    return Translation(lr * factor, lr * low, lr * high, rules, warnings)


def _rules(before: Conditions, after: Conditions) -> Iterator[RuleApplied]:
    if before.optimizer != after.optimizer and (pair := _pair(before.optimizer, after.optimizer)) is not None:
        yield pair
    if before.effective != after.effective:
        yield _by_momentum(before.effective / after.effective)
    if before.batch_size is not None and after.batch_size is not None and before.batch_size != after.batch_size:
        yield _by_batch(after.batch_size / before.batch_size, _family(after.optimizer))
    if before.horizon is not None and after.horizon is not None and before.horizon != after.horizon:
        yield _by_horizon(after.horizon / before.horizon)


def _by_momentum(factor: float) -> RuleApplied:
    return RuleApplied(
        f"movement of a steady gradient × {1 / factor:.3g}", factor, factor / 2, factor * 2, "lr / (1 − m)",
        "K. Yuan, B. Ying, A. Sayed, On the Influence of Momentum Acceleration on Online Learning, 2016",
        "It is shown for small rates; at large ones momentum raises the limit that curvature sets, too",
    )  # fmt: skip


def _by_batch(k: float, family: str | None) -> RuleApplied:
    root, what = math.sqrt(k), f"batch size × {k:.3g}"
    if family == "sgd":
        return RuleApplied(
            what, k, min(root, k), max(root, k), "the noise of the updates, by examples seen",
            "P. Goyal et al., Accurate, Large Minibatch SGD, 2017",
            "√k is the other rule (A. Krizhevsky, 2014); beyond the critical batch size neither holds",
        )  # fmt: skip
    return RuleApplied(
        what, root, min(1.0, k), max(1.0, k), "the noise of the updates, with 1 − β₁ and 1 − β₂ × k and ε / √k",
        "S. Malladi et al., On the SDEs and Scaling Rules for Adaptive Gradient Algorithms, 2022",
        "Without changing the betas too it holds for small changes only",
    )  # fmt: skip


def _by_horizon(k: float) -> RuleApplied:
    low, high = sorted((1.0, k**-0.5))
    return RuleApplied(
        f"horizon × {k:.3g}", k**-0.25, low, high, "batch size, model and the shape of the schedule",
        "J. Bjorck et al., Scaling Optimal LR Across Token Horizons, 2024",
        "Exponents from 0 to -0.5 are measured; if the batch size grows with the horizon it is positive",
    )  # fmt: skip


_ADAM = "adam"
_FAMILIES = {
    "sgd": PLAIN,
    _ADAM: ("adam", "adamw", "nadam", "radam", "adopt", "ademamix", "muon"),
}
_SAME = "the size of an update's elements, near lr"
_FREE = "A. Defazio et al., The Road Less Scheduled, 2024"
# From, to: factor, range, source, warning. The way back is the inverse.
_PAIRS: dict[tuple[str, str], tuple[float, float, float, str, str]] = {
    ("adamw", "lion"): (
        1 / 5, 1 / 10, 1 / 3, "X. Chen et al., Symbolic Discovery of Optimization Algorithms, 2023",
        "Weight decay needs to be 3 to 10 times as large, so that lr · decay stays",
    ),
    ("adamw", "schedule-free-adamw"): (3, 1, 10, _FREE, ""),
    ("sgd", "schedule-free-sgd"): (20, 10, 50, _FREE, ""),
    ("adam", "adamax"): (2, 1, 4, "D. Kingma, J. Ba, Adam: A Method for Stochastic Optimization, 2015", ""),
}  # fmt: skip


def _family(name: str) -> str | None:
    return next((family for family, members in _FAMILIES.items() if name in members), None)


def _related(one: str, other: str) -> bool:
    family = _family(one)
    return one == other or (family is not None and family == _family(other)) or _pair(one, other) is not None


def _pair(one: str, other: str) -> RuleApplied | None:
    """Return the rule between two optimizers; None if there is none, or nothing to change but the momentum."""
    what = f"{OPTIMIZERS[one].title} to {OPTIMIZERS[other].title}"
    if (one, other) in _PAIRS:
        factor, low, high, source, warning = _PAIRS[one, other]
        return RuleApplied(what, factor, low, high, _SAME, source, warning)
    if (other, one) in _PAIRS:
        factor, low, high, source, warning = _PAIRS[other, one]
        return RuleApplied(what, 1 / factor, 1 / high, 1 / low, _SAME, source, warning)
    if _family(one) == _family(other) == _ADAM:
        return RuleApplied(
            what, 1.0, 1 / 3, 3.0, _SAME,
            "K. Wen et al., Fantastic Pretraining Optimizers and Where to Find Them, 2025",
            "Variants share the order of their rates: tuned ones may lie 3 times apart",
        )  # fmt: skip
    return None
