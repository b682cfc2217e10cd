"""The chart of one run: its losses step by step, and the learning rate of each step below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import wrapped
from stepsize.curves.smoothing import smooth
from stepsize.views.axes import step_axis, value_axis
from stepsize.views.marks import Dots, Lines, checked_some, edge_notes, line_through, place_flags, place_point, thinned
from stepsize.views.plot import ChartInfo, Looks, Plot
from stepsize.views.theme import INK, SERIES, WIDTH

_MOST_POINTS = 3000
_LR_HEIGHT = 90
_FIRST = 5  # steps whose median says where a run began
_FEWEST_SMOOTHED, _MOST_SMOOTHED = 20, 400  # points; smoothing takes time and memory with their square
_LOG_SPAN = 30.0  # the largest loss over the smallest, beyond which their logarithms are smoothed
_SMOOTHING = 0.05  # half the smoother's window, as a fraction of the run


def run_info(
    losses: NDArray[np.float64] | Sequence[float],
    *,
    steps: NDArray[np.int64] | Sequence[int] = (),
    lrs: NDArray[np.float64] | Sequence[float] = (),
    val_steps: NDArray[np.int64] | Sequence[int] = (),
    val_losses: NDArray[np.float64] | Sequence[float] = (),
    diverged_step: int | None = None,
    title: str = "Training",
    subtitle: str = "",
) -> ChartInfo:
    """Return what the chart of a run shows, and where: its training losses, also smoothed, and its learning rates.

    Losses may be NaN or infinite; ``steps`` are theirs, by default all; no rates leave the lower panel out.

    Example:
        >>> [plot] = run_info([2.0, 1.0, float("inf")], diverged_step=2).plots
        >>> [point.kind for point in plot["points"]], plot.flags[0].text
        (['inside', 'inside', 'not finite'], 'diverged at step 2')
    """
    checked_some(losses=losses)
    levels, rates = (np.asarray(array, dtype=np.float64) for array in (losses, lrs))
    made = np.asarray(steps if len(steps) else np.arange(len(levels)))
    smoothed = _smoothed(levels)
    x = step_axis(max(int(made[-1]) + 1, *(int(step) for step in val_steps), diverged_step or 0))
    y = value_axis(levels, "loss", keep=_seen(levels, [] if diverged_step is not None else val_losses), may_log=True)
    kept = thinned(levels, _MOST_POINTS)
    placed = tuple(place_point(made[i], levels[i], "training", y) for i in kept.tolist())
    evals = tuple(place_point(step, loss, "validation", y) for step, loss in zip(val_steps, val_losses, strict=True))
    diverged = [] if diverged_step is None else [(diverged_step, f"diverged at step {diverged_step}", "diverged")]
    notes = ["Blue dots: the training loss of each step."]
    if smoothed.size:
        notes.append("Blue line: smoothed.")
    if evals:
        notes.append("Orange diamonds: validation loss.")
    smooth_line = line_through("training", made[kept], smoothed[kept], y) if smoothed.size else ()
    losses_plot = Plot(
        x=x,
        y=y,
        marks=(
            Dots("points", placed, size=14, opacity=0.3),
            Lines("smoothed", smooth_line, width=2.2),
            Lines("val_line", line_through("validation", val_steps, val_losses, y), width=1.5),
            Dots("evals", evals, size=90, opacity=1, shape="diamond"),
        ),
        looks=Looks(("training", "validation"), SERIES[:2]),
        flags=place_flags(diverged, x, WIDTH),
    )
    plots = [losses_plot]
    finite = rates[np.isfinite(rates)]
    if finite.size:
        lr = replace(value_axis(finite, "learning rate", keep=[0.0, finite.max()]), count=3)
        at = thinned(rates, _MOST_POINTS)
        line = Lines("lr", line_through("learning rate", made[at], rates[at], lr), INK, width=1.8)
        plots.append(replace(losses_plot, y=lr, marks=(line,), height=_LR_HEIGHT))
    return ChartInfo(title, wrapped(subtitle, " ".join(notes), " ".join(edge_notes(placed + evals))), tuple(plots))


def _smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smoothed losses; none if there are too few, NaN from the first that is not finite."""
    n = len(losses) if np.isfinite(losses).all() else int(np.argmin(np.isfinite(losses)))
    if n < _FEWEST_SMOOTHED or math.isclose(float(np.ptp(losses[:n])), 0.0):
        return np.empty(0)
    blocks = np.array_split(np.arange(n), min(n, _MOST_SMOOTHED))
    x = np.array([block.mean() for block in blocks])
    y = np.array([losses[block].mean() for block in blocks])
    spans = float(y.min()) > 0 and float(y.max()) > _LOG_SPAN * float(y.min())  # a log axis
    line = smooth(x, np.log(y) if spans else y, at=x, half_width=_SMOOTHING * n).y
    curve = np.full(len(losses), np.nan)
    curve[:n] = np.interp(np.arange(n), x, np.exp(line) if spans else line)
    return curve


def _seen(losses: NDArray[np.float64], val_losses: NDArray[np.float64] | Sequence[float]) -> list[float]:
    """The levels that must be seen: where the run began, and the validation losses."""
    seen = [float(loss) for loss in val_losses if math.isfinite(loss)]
    finite = losses[np.isfinite(losses)]
    if finite.size:
        first = sorted(finite[:_FIRST].tolist())
        begin = first[len(first) // 2]
        seen.append(begin + 0.1 * (begin - float(finite.min())))
    return seen
