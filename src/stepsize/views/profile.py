"""The chart of a profile: how the best rate may grow with the batch size, and how far an update moves each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, lr_axis
from stepsize.views.layers import flags, layered, lines, row_encoding, rows, series_encodings, stacked, x_encoding
from stepsize.views.marks import Flag, Line, line_through, place_flags
from stepsize.views.theme import SERIES, WIDTH
from stepsize.views.vega import Chart, alt

_ROW = 20  # pixels of a layer
_MOST_LAYERS = 40


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
    sizes: Axis | None  # None without curves, as are the factors
    factors: Axis | None
    curves: tuple[Line, ...]
    flags: tuple[Flag, ...]  # the present batch size, and the noise scales that are on the axis
    ratios: Axis | None  # None without layers
    layers: tuple[tuple[str, float], ...]  # from the input to the output; the middle ones of very many are left out


def profile_info(
    curves: Sequence[GrowthCurve],
    batch_size: float,
    layers: Sequence[tuple[str, float]],
    *,
    layers_at: str = "rate 1",
    title: str = "Profile",
    subtitle: str = "",
) -> ProfileInfo:
    """Return what the chart of a profile shows, and where: ``layers`` are names and relative sizes of an update.

    Example:
        >>> curve = GrowthCurve("at the start", 64.0, (16.0, 32.0, 64.0), (0.6, 1.0, 1.5))
        >>> info = profile_info([curve], 32, [("head", 0.01)])
        >>> [flag.text for flag in info.flags], info.layers
        (['batch size 32', 'noise scale 64 at the start'], (('head', 0.01),))
    """
    if not curves and not layers:
        raise InputError("curves", curves, "must hold a curve, or layers a layer", "There is nothing to draw")
    half = _MOST_LAYERS // 2
    kept = tuple(layers) if len(layers) <= _MOST_LAYERS else (*layers[:half], *layers[-half:])
    left_out = len(layers) - len(kept)
    sizes = factors = None
    wanted: list[tuple[float, str, str]] = []
    if curves:
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
    movement = f"update ÷ weights (norms) in the first step, at {layers_at}"
    return ProfileInfo(
        title=title,
        lines=wrapped(subtitle, f"Left out: {left_out} layers in the middle." if left_out else ""),
        sizes=sizes,
        factors=factors,
        curves=tuple(
            line
            for curve in curves
            if factors
            for line in line_through(curve.name, curve.sizes, curve.factors, factors)
        ),
        flags=place_flags(wanted, sizes, WIDTH) if sizes else (),
        ratios=lr_axis([ratio for _, ratio in layers], movement) if layers else None,
        layers=kept,
    )


def profile_chart(info: ProfileInfo) -> Chart:
    """Return the chart of a profile: the rate against the batch size above, the layers below."""
    panels = []
    if info.sizes is not None and info.factors is not None:
        names = list(dict.fromkeys(str(line.series) for line in info.curves))
        color, _ = series_encodings(names, SERIES, "noise scale")
        drawn = lines(info.curves, info.sizes, info.factors, color, name="growth")
        panels.append(layered(*drawn, *flags(info.flags, info.sizes)))
    if info.ratios is not None:
        data = rows({"layer": name, "x": ratio, "text": number_text(ratio)} for name, ratio in info.layers)
        tooltip = [alt.Tooltip("layer:N"), alt.Tooltip("text:N", title="update ÷ weights")]
        dots = alt.Chart(data, name="layers").mark_point(filled=True, size=60, color=SERIES[0])
        row = row_encoding("layer", [name for name, _ in info.layers])
        encoded = dots.encode(x=x_encoding(info.ratios), y=row, tooltip=tooltip)
        panels.append(layered(encoded, height=_ROW * len(info.layers)))
    return stacked(info.title, info.lines, *panels, spacing=24)
