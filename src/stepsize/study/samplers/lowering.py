"""Moving a proposal below the learned ceiling."""

from __future__ import annotations

from stepsize.study.ceiling import Ceiling
from stepsize.study.space import Choice, Space
from stepsize.training.runs import Value

__all__ = ["lowered"]


def lowered(values: dict[str, Value], space: Space, ceiling: Ceiling | None, depth: float = 1.0) -> dict[str, Value]:
    """Return ``values`` with the rate at or below the ceiling; the lowest of the space where none is.

    What lies above is folded down linearly on the scale of the rate: a little above becomes a little below. Rates
    spread evenly over the space stay so, and different rates stay different. From a list the next lower rate that is
    allowed is taken.

    Args:
        values: A proposal.
        space: Where it lies.
        ceiling: What bounds it; None bounds nothing.
        depth: The share of the allowed range that the fold reaches, from its top, in (0, 1].

    Example:
        >>> from stepsize.study.space import as_space
        >>> lowered({"lr": 0.5}, as_space(lr=(1e-4, 1.0)), None)
        {'lr': 0.5}
    """
    bound = None if ceiling is None else ceiling.bound(values)
    if bound is None or float(values["lr"]) <= bound:
        return values
    rates = space.lr
    if isinstance(rates, Choice):
        allowed = [rate for rate in rates.values if float(rate) <= bound]
        return values | {"lr": max(allowed) if allowed else min(rates.values)}
    if bound <= rates.low:
        return values | {"lr": rates.low}
    top = rates.to_unit(bound)
    above = (rates.to_unit(values["lr"]) - top) / (1 - top) if top < 1 else 0.0
    lr = float(rates.from_unit(top * (1 - depth * above)))
    return values | {"lr": min(lr, bound)}  # which rounding may have passed
