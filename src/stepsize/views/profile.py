"""The chart of a profile: how the best rate may grow with the batch size, and how far an update moves each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, lr_axis
from stepsize.views.layers import flags, layered, lines, rows, x_encoding
from stepsize.views.marks import Flag, Line, checked_arrays, line_through, place_flags
from stepsize.views.theme import SERIES, WIDTH, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["GrowthCurve", "ProfileInfo", "ProfileView", "profile_chart", "profile_info"]

_ROW = 20  # pixels of a layer
_MOST_LAYERS = 40


@dataclass(frozen=True)
class GrowthCurve:
    """The best rate against the batch size, over that at the present batch size, as one noise scale has it.

    Args:
        name: When the noise scale was measured, as the legend says it.
        noise: The noise scale, in examples; may be infinite.
        sizes: Batch sizes, shape ``(n,)``.
        factors: The factor on the rate at each, of the same shape.

    Raises:
        InputError: If shapes differ or there is no size.
    """

    name: str
    noise: float
    sizes: Sequence[float]
    factors: Sequence[float]

    def __post_init__(self) -> None:
        checked_arrays(sizes=self.sizes, factors=self.factors)
        if not len(self.sizes):
            raise InputError("sizes", self.sizes, "must hold at least one batch size")


@dataclass(frozen=True, eq=False)
class ProfileView:
    """What the chart of a profile shows.

    Args:
        curves: One for each moment at which the noise scale was measured.
        batch_size: The present one.
        layers: Names of layers, and by what share of their size an update moves them.
        layers_at: At which rate, in words.
        title: What was profiled.
        subtitle: A sentence; wrapped by the chart.

    Raises:
        InputError: If there is neither a curve nor a layer.
    """

    curves: tuple[GrowthCurve, ...]
    batch_size: float
    layers: tuple[tuple[str, float], ...]
    layers_at: str = "rate 1"
    title: str = "Profile"
    subtitle: str = ""

    def __post_init__(self) -> None:
        if not self.curves and not self.layers:
            raise InputError("curves", self.curves, "must hold a curve, or layers a layer", "There is nothing to draw")


@dataclass(frozen=True)
class ProfileInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        sizes: The axis of batch sizes; None without curves.
        factors: The axis of factors on the rate; None without curves.
        curves: One line a curve.
        flags: The present batch size, and the noise scales that lie on the axis.
        ratios: The axis of layer movements; None without layers.
        layers: Names and movements, from the input to the output; the middle ones of very many are left out.
        lines: Subtitle and notes below the title.
    """

    sizes: Axis | None
    factors: Axis | None
    curves: tuple[Line, ...]
    flags: tuple[Flag, ...]
    ratios: Axis | None
    layers: tuple[tuple[str, float], ...]
    lines: tuple[str, ...]


def profile_info(view: ProfileView) -> ProfileInfo:
    """Return what the chart of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, lines, flags and sentences.

    Example:
        >>> curve = GrowthCurve("at the start", 64.0, (16.0, 32.0, 64.0), (0.6, 1.0, 1.5))
        >>> info = profile_info(ProfileView((curve,), 32, (("head", 0.01),)))
        >>> [flag.text for flag in info.flags], info.layers
        (['batch size 32', 'noise scale 64 at the start'], (('head', 0.01),))
    """
    sizes = factors = ratios = None
    marks: tuple[Flag, ...] = ()
    if view.curves:
        sizes = lr_axis([size for curve in view.curves for size in curve.sizes], "batch size")
        factors = lr_axis(
            [factor for curve in view.curves for factor in curve.factors],
            "best rate, times that at the present batch size",
        )
        wanted = [(float(view.batch_size), f"batch size {number_text(view.batch_size)}", "lr")]
        wanted += [
            (curve.noise, f"noise scale {number_text(curve.noise, 2)} {curve.name}", "optimum")
            for curve in view.curves
            if math.isfinite(curve.noise) and sizes.low <= curve.noise <= sizes.high
        ]
        marks = place_flags(wanted, sizes, WIDTH)
    if view.layers:
        ratios = lr_axis(
            [ratio for _, ratio in view.layers], f"first update over weights, |u| / |w|, at {view.layers_at}"
        )
    return ProfileInfo(
        sizes=sizes,
        factors=factors,
        curves=tuple(
            line
            for curve in view.curves
            if factors
            for line in line_through(curve.name, curve.sizes, curve.factors, factors)
        ),
        flags=marks,
        ratios=ratios,
        layers=_thinned(view.layers),
        lines=wrapped(view.subtitle, _note(view)),
    )


def profile_chart(view: ProfileView) -> alt.LayerChart | alt.VConcatChart:
    """Return the chart of a profile: the rate against the batch size above, the layers below.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = profile_info(view)
    panels = [*_growth_panel(info), *_layer_panel(info)]
    return themed(alt.vconcat(*panels, spacing=24).properties(title=header(view.title, info.lines)))


def _growth_panel(info: ProfileInfo) -> list[alt.LayerChart]:
    import altair as alt

    if info.sizes is None or info.factors is None:
        return []
    names = list(dict.fromkeys(line.series for line in info.curves))
    scale = alt.Scale(domain=names, range=list(SERIES[: len(names)]))
    colour = alt.Color("series:N", scale=scale, title="noise scale", legend=alt.Legend() if len(names) > 1 else None)
    drawn = lines(info.curves, info.sizes, info.factors, colour, name="growth")
    return [layered(*drawn, *flags(info.flags, info.sizes))]


def _layer_panel(info: ProfileInfo) -> list[alt.LayerChart]:
    import altair as alt

    if info.ratios is None:
        return []
    data = [{"layer": name, "x": ratio, "text": number_text(ratio)} for name, ratio in info.layers]
    look = alt.Axis(labelLimit=WIDTH / 2, labelPadding=8, ticks=False, domain=False, grid=True)
    row = alt.Y("layer:N", title=None, scale=alt.Scale(domain=[name for name, _ in info.layers]), axis=look)
    tooltip = [alt.Tooltip("layer:N"), alt.Tooltip("text:N", title="|u| / |w|")]
    dots = alt.Chart(rows(data), name="layers").mark_point(filled=True, size=60, color=SERIES[0])
    encoded = dots.encode(x=x_encoding(info.ratios), y=row, tooltip=tooltip)
    return [layered(encoded, height=_ROW * len(data))]


def _thinned(layers: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    if len(layers) <= _MOST_LAYERS:
        return layers
    half = _MOST_LAYERS // 2
    return layers[:half] + layers[-half:]


def _note(view: ProfileView) -> str:
    left_out = len(view.layers) - len(_thinned(view.layers))
    return f"Left out: {left_out} layers in the middle." if left_out else ""
