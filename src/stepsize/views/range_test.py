"""The chart of a range test: losses along the ramp, the fit, and the rates read off it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, span_text, wrapped
from stepsize.views.axes import lr_axis, value_axis
from stepsize.views.marks import Dots, Lines, checked_some, edge_notes, line_through, place_flags, place_point, thinned
from stepsize.views.plot import ChartInfo, Looks, Plot
from stepsize.views.theme import INK, SERIES, WIDTH

_MOST_POINTS = 4000
_ENOUGH = 8  # points before the divergence that say where the interesting losses are
_HEADROOM = 0.4  # of the interesting losses' height, for the beginning of the blow-up


def range_test_info(
    lrs: NDArray[np.float64] | Sequence[float],
    losses: NDArray[np.float64] | Sequence[float],
    *,
    fit_lrs: NDArray[np.float64] | Sequence[float] = (),
    fit_losses: NDArray[np.float64] | Sequence[float] = (),
    title: str = "Range test",
    subtitle: str = "",
    start_loss: float | None = None,
    low: float | None = None,
    lr: float | None = None,
    high: float | None = None,
    diverged_at: float | None = None,
    interval: tuple[float, float] | None = None,
    ramp: NDArray[np.int64] | Sequence[int] = (),
) -> ChartInfo:
    """Return what the chart of a range test shows, and where.

    Losses may be NaN or infinite; the smoothed curve may be empty; ``ramp`` says which of several ramps a point
    belongs to.

    Example:
        >>> [plot] = range_test_info([1e-3, 1e-2, 1e-1], [2.0, 1.0, float("nan")], lr=0.004).plots
        >>> [point.kind for point in plot["points"]], plot.flags[0].text
        (['inside', 'inside', 'not finite'], 'lr 0.004')
    """
    rates, levels = np.asarray(lrs, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    numbers = np.asarray(ramp if len(ramp) else np.zeros(len(rates)), dtype=np.int64)
    checked_some(lrs=lrs)
    read_off = (("low", low), ("lr", lr), ("high", high), ("diverged", diverged_at))
    marked = [(rate, f"{role} {number_text(rate)}", role) for role, rate in read_off if rate is not None]
    x = lr_axis([*rates.tolist(), *(rate for rate, _, _ in marked), *(interval or ())])
    safe = [y for at, y in zip(fit_lrs, fit_losses, strict=True) if at <= (high or lr or 0.0)]
    keep = [y for y in (*safe, start_loss) if y is not None and np.isfinite(y)]
    if diverged_at is not None and keep:  # and the first of the blow-up
        keep.append(max(keep) + _HEADROOM * (max(keep) - min(keep)))
    y = value_axis(levels[_interesting(diverged_at, rates, levels)], "training loss", keep=keep)
    names = {number: f"ramp {rank + 1}" for rank, number in enumerate(np.unique(numbers).tolist())}
    if len(names) == 1:
        names = dict.fromkeys(names, "loss of each step")
    placed = tuple(
        place_point(rates[i], levels[i], names[int(numbers[i])], y) for i in thinned(levels, _MOST_POINTS).tolist()
    )
    notes = ["Dots: the loss of each step."]
    if len(fit_lrs):
        notes.append("Line: smoothed, without lag.")
    if interval is not None:
        notes.append(f"Green: the interval of lr, {span_text(interval)}.")
    fit = line_through("smoothed", fit_lrs, fit_losses, y)
    colors = tuple(SERIES[place % len(SERIES)] for place in range(len(names)))
    plot = Plot(
        x=x,
        y=y,
        marks=(Dots("points", placed, size=22, opacity=0.45), Lines("fit", fit, INK, width=2.2)),
        looks=Looks(tuple(names.values()), colors, shapes=("circle",) * len(names), legend=len(names) > 1),
        flags=place_flags(marked, x, WIDTH),
        interval=interval,
        level=None if start_loss is None else (start_loss, "start"),
    )
    return ChartInfo(title, wrapped(subtitle, " ".join(notes), " ".join(edge_notes(placed))), (plot,))


def _interesting(diverged_at: float | None, lrs: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The points that decide about the limits: those before the divergence, if there are enough of them."""
    before = lrs < (np.inf if diverged_at is None else diverged_at)
    enough = int((before & np.isfinite(losses)).sum()) >= _ENOUGH
    return before if enough else np.ones(len(lrs), dtype=np.bool_)
