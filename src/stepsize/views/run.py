"""The chart of one run: its losses step by step, and the learning rate of each step below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, step_axis, value_axis
from stepsize.views.layers import edges, flags, layered, lines, points
from stepsize.views.marks import (
    Flag,
    Line,
    Point,
    checked_arrays,
    edge_notes,
    line_through,
    place_flags,
    place_point,
    thinned,
)
from stepsize.views.theme import INK, SERIES, WIDTH, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["RunInfo", "RunView", "run_chart", "run_info"]

_MOST_POINTS = 3000
_LR_HEIGHT = 90
_FIRST = 5  # steps whose median says where a training began


@dataclass(frozen=True, eq=False)
class RunView:
    """What the chart of a run shows.

    Args:
        losses: The training loss of each step, shape ``(steps,)``; may hold NaN and infinities.
        lrs: The learning rate of each step, of the same shape; empty leaves the lower panel out.
        smoothed: The smoothed training loss of each step, of the same shape; may be empty.
        val_steps: After how many updates it was judged on unseen data, shape ``(marks,)``.
        val_losses: The losses there, of the same shape.
        diverged_step: The step at which it was given up.
        title: What was trained.
        subtitle: How it ended, as a sentence; wrapped by the chart.
        loss_label: The title of the vertical axis.

    Raises:
        InputError: If shapes differ or there is no step.
    """

    losses: NDArray[np.float64] | Sequence[float]
    lrs: NDArray[np.float64] | Sequence[float] = ()
    smoothed: NDArray[np.float64] | Sequence[float] = ()
    val_steps: NDArray[np.int64] | Sequence[int] = ()
    val_losses: NDArray[np.float64] | Sequence[float] = ()
    diverged_step: int | None = None
    title: str = "Training"
    subtitle: str = ""
    loss_label: str = "loss"

    def __post_init__(self) -> None:
        checked_arrays(val_steps=self.val_steps, val_losses=self.val_losses)
        checked_arrays(losses=self.losses)
        if not len(self.losses):
            raise InputError("losses", self.losses, "must hold at least one step")
        for name, array in (("lrs", self.lrs), ("smoothed", self.smoothed)):
            if len(array):
                checked_arrays(losses=self.losses, **{name: array})


@dataclass(frozen=True)
class RunInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        x: The axis of steps, shared by both panels.
        y: The axis of losses: clipped where they explode, log where they span decades.
        lr_axis: The axis of learning rates; None where there are none.
        points: The training loss of each step, thinned where there are very many.
        marks: The losses on unseen data.
        smoothed: The smoothed training loss.
        val_line: The losses on unseen data, connected.
        lr_line: The learning rate of each step.
        flags: The divergence, where there was one.
        lines: Status and notes below the title.
    """

    x: Axis
    y: Axis
    lr_axis: Axis | None
    points: tuple[Point, ...]
    marks: tuple[Point, ...]
    smoothed: tuple[Line, ...]
    val_line: tuple[Line, ...]
    lr_line: tuple[Line, ...]
    flags: tuple[Flag, ...]
    lines: tuple[str, ...]


def run_info(view: RunView) -> RunInfo:
    """Return what the chart of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, points (those beyond the axes moved onto the edge), lines, flags and sentences.

    Example:
        >>> info = run_info(RunView([2.0, 1.0, float("inf")], diverged_step=2))
        >>> [point.kind for point in info.points], info.flags[0].text
        (['inside', 'inside', 'not finite'], 'diverged at step 2')
    """
    losses, lrs = np.asarray(view.losses, dtype=np.float64), np.asarray(view.lrs, dtype=np.float64)
    x = step_axis(max(len(losses), *(int(step) for step in view.val_steps), view.diverged_step or 0))
    y = value_axis(losses, view.loss_label, keep=_seen(view), may_log=True)
    kept = thinned(losses, _MOST_POINTS).tolist()
    placed = tuple(place_point(i, losses[i], "training", y) for i in kept)
    marks = tuple(
        place_point(step, loss, "validation", y) for step, loss in zip(view.val_steps, view.val_losses, strict=True)
    )
    finite_lrs = lrs[np.isfinite(lrs)]
    rates = (
        replace(value_axis(finite_lrs, "learning rate", keep=[0.0, finite_lrs.max()]), count=3)
        if finite_lrs.size
        else None
    )
    diverged = [] if view.diverged_step is None else [view.diverged_step]
    at = thinned(lrs, _MOST_POINTS)
    smooth = np.asarray(view.smoothed, dtype=np.float64)
    return RunInfo(
        x=x,
        y=y,
        lr_axis=rates,
        points=placed,
        marks=marks,
        smoothed=line_through("training", np.asarray(kept), smooth[kept], y) if smooth.size else (),
        val_line=line_through("validation", view.val_steps, view.val_losses, y) if marks else (),
        lr_line=line_through("learning rate", at, lrs[at], rates) if rates else (),
        flags=place_flags([(step, f"diverged at step {step}", "diverged") for step in diverged], x, WIDTH),
        lines=wrapped(view.subtitle, " ".join(_legend(view)), " ".join(edge_notes(placed + marks))),
    )


def run_chart(view: RunView) -> alt.LayerChart | alt.VConcatChart:
    """Return the chart of a run: losses above, the learning rate of each step below.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = run_info(view)
    title = header(view.title, info.lines)
    if info.lr_axis is None:
        return themed(_loss_panel(info, info.x).properties(title=title))
    upper = _loss_panel(info, replace(info.x, bare=True))
    lower = layered(
        *lines(info.lr_line, info.x, info.lr_axis, alt.value(INK), name="lr", width=1.8),
        *flags(info.flags, info.x, height=_LR_HEIGHT, texts=False),
        height=_LR_HEIGHT,
    )
    return themed(alt.vconcat(upper, lower, spacing=10).properties(title=title))


def _loss_panel(info: RunInfo, x: Axis) -> alt.LayerChart:
    import altair as alt

    names = ["training", "validation"] if info.marks else ["training"]
    scale = alt.Scale(domain=names, range=list(SERIES[: len(names)]))
    colour = alt.Color("series:N", scale=scale, legend=None)
    return layered(
        points(info.points, x, info.y, colour, size=14, opacity=0.3),
        *lines(info.smoothed, x, info.y, colour, name="smoothed", width=2.2),
        *lines(info.val_line, x, info.y, colour, name="val_line", width=1.5),
        points(info.marks, x, info.y, colour, name="marks", shape=alt.value("diamond"), size=90, opacity=1),
        *edges((*info.points, *info.marks), x, info.y, colour),
        *flags(info.flags, x),
    )


def _seen(view: RunView) -> list[float]:
    """The levels that must be seen: where the training began, and all the marks unless it diverged."""
    losses = np.asarray(view.losses, dtype=np.float64)
    finite = losses[np.isfinite(losses)]
    seen = []
    if finite.size:
        first = sorted(finite[:_FIRST].tolist())
        begin = first[len(first) // 2]
        seen.append(begin + 0.1 * (begin - float(finite.min())))
    if view.diverged_step is None:
        seen += [float(loss) for loss in view.val_losses if math.isfinite(loss)]
    return seen


def _legend(view: RunView) -> list[str]:
    notes = ["Blue dots: the training loss of each step."]
    if len(view.smoothed):
        notes.append("Blue line: smoothed.")
    if len(view.val_steps):
        notes.append("Orange diamonds: the loss on unseen data.")
    return notes
