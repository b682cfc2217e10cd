"""One look for all charts: sizes, a palette that colour-blind readers can tell apart, fonts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import altair as alt

    Chart = TypeVar("Chart", alt.LayerChart, alt.VConcatChart)

__all__ = [
    "ANSWER", "CONFIG", "HEIGHT", "INK", "LINE_HEIGHT", "MUTED", "ROLE_COLOURS", "ROLE_DASHES", "SERIES", "SHAPES",
    "WARNING", "WIDTH", "header", "themed",
]  # fmt: skip

WIDTH = 640
HEIGHT = 320
LINE_HEIGHT = 16  # of a row of flags, in pixels

# Okabe and Ito, "Color Universal Design", 2008: told apart under every common colour blindness.
_ORANGE, _SKY, _BLUE = "#E69F00", "#56B4E9", "#0072B2"
_VERMILLION, _PURPLE = "#D55E00", "#CC79A7"
INK = "#1B1F24"
MUTED = "#5B6470"
_GRID = "#E6E8EB"

ANSWER = "#007A59"  # their bluish green, darkened so that it can be read as text; kept for the recommendation
WARNING = _VERMILLION  # kept for what went wrong
SERIES = (_BLUE, _ORANGE, _PURPLE, _SKY, MUTED)
SHAPES = ("circle", "square", "diamond", "triangle-right", "stroke")  # none that stands for an edge
ROLE_COLOURS = {"low": MUTED, "lr": ANSWER, "high": MUTED, "diverged": WARNING, "optimum": MUTED}
ROLE_DASHES: dict[str, list[float]] = {"low": [6, 3], "lr": [], "high": [6, 3], "diverged": [2, 2], "optimum": [6, 4]}

_FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"

CONFIG: dict[str, Any] = {
    "background": "white",
    "font": _FONT,
    "padding": 12,
    "view": {"stroke": "#B8BEC6"},
    "axis": {
        "labelColor": INK,
        "labelFontSize": 12,
        "titleColor": INK,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": _GRID,
        "domainColor": "#8A929C",
        "tickColor": "#8A929C",
    },
    "legend": {
        "labelColor": INK,
        "labelFontSize": 12,
        "titleColor": INK,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "orient": "bottom",
        "titleOrient": "left",
        "titleLimit": 300,
        "symbolSize": 70,
        "symbolStrokeWidth": 1.5,
        "symbolOpacity": 0.9,
    },
    "title": {
        "anchor": "start",
        "frame": "bounds",
        "color": INK,
        "fontSize": 15,
        "fontWeight": "bold",
        "subtitleColor": MUTED,
        "subtitleFontSize": 12,
        "subtitleLineHeight": 16,
        "subtitlePadding": 5,
    },
}


def header(title: str, lines: tuple[str, ...]) -> alt.TitleParams:
    """Return the title with its lines below."""
    import altair as alt

    subtitle = list(lines) if lines else alt.Undefined
    return alt.TitleParams(text=title, subtitle=subtitle, offset=12)


def themed(chart: Chart) -> Chart:
    """Return ``chart`` in the look of all charts; it travels with the spec, so every renderer shows it."""
    styled: Chart = chart.configure(**CONFIG)
    return styled
