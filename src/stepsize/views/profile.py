"""The chart of a profile: how the best rate may grow with the batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, lr_axis
from stepsize.views.layers import flags, layered, lines, series_encodings, stacked
from stepsize.views.marks import Flag, Line, line_through, place_flags
from stepsize.views.theme import SERIES, WIDTH
from stepsize.views.vega import Chart


@dataclass(frozen=True)
class GrowthCurve:
    """The factor on the best rate at each batch size, as a noise scale (in examples) has it."""

    name: str
    noise: float
    sizes: Sequence[float]
    factors: Sequence[float]


@dataclass(frozen=True)
class ProfileInfo:
    """Everything on the chart, at its place."""

    title: str
    lines: tuple[str, ...]
    sizes: Axis
    factors: Axis
    curves: tuple[Line, ...]
    flags: tuple[Flag, ...]  # the present batch size, and the noise scales that are on the axis


def profile_info(
    curves: Sequence[GrowthCurve], batch_size: float, *, title: str = "Profile", subtitle: str = ""
) -> ProfileInfo:
    """Return what the chart of a profile shows, and where.

    Example:
        >>> curve = GrowthCurve("at the start", 64.0, (16.0, 32.0, 64.0), (0.6, 1.0, 1.5))
        >>> [flag.text for flag in profile_info([curve], 32).flags]
        ['batch size 32', 'noise scale 64 at the start']
    """
    if not curves:
        raise InputError("curves", curves, "must hold a curve", "No noise scale could be measured")
    sizes = lr_axis([size for curve in curves for size in curve.sizes], "batch size")
    factors = lr_axis(
        [factor for curve in curves for factor in curve.factors], "best rate ÷ best rate at the present batch size"
    )
    wanted = [(float(batch_size), f"batch size {number_text(batch_size)}", "lr")]
    wanted += [
        (curve.noise, f"noise scale {number_text(curve.noise, 2)} {curve.name}", "optimum")
        for curve in curves
        if math.isfinite(curve.noise) and sizes.low <= curve.noise <= sizes.high
    ]
    return ProfileInfo(
        title=title,
        lines=wrapped(subtitle),
        sizes=sizes,
        factors=factors,
        curves=tuple(line for one in curves for line in line_through(one.name, one.sizes, one.factors, factors)),
        flags=place_flags(wanted, sizes, WIDTH),
    )


def profile_chart(info: ProfileInfo) -> Chart:
    """Return the chart of a profile: the rate against the batch size."""
    names = list(dict.fromkeys(str(line.series) for line in info.curves))
    color, _ = series_encodings(names, SERIES, "noise scale")
    drawn = lines(info.curves, info.sizes, info.factors, color, name="growth")
    return stacked(info.title, info.lines, layered(*drawn, *flags(info.flags, info.sizes)))
