"""One look for all charts: sizes, a palette that color-blind readers can tell apart, fonts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from stepsize.views.offline import offline
from stepsize.views.vega import alt

if TYPE_CHECKING:
    Drawn = TypeVar("Drawn", alt.LayerChart, alt.VConcatChart)

WIDTH = 640
HEIGHT = 320
LINE_HEIGHT = 16  # of a row of flags, in pixels
EXTENT = 42  # pixels for the numbers at the left of panels whose steps stand below each other

# Okabe and Ito, "Color Universal Design", 2008: distinguishable under every common color blindness.
_ORANGE, _SKY, _BLUE = "#E69F00", "#56B4E9", "#0072B2"
_VERMILLION, _PURPLE = "#D55E00", "#CC79A7"
INK = "#1B1F24"
MUTED = "#5B6470"
_GRID = "#E6E8EB"

ANSWER = "#007A59"  # their bluish green, darkened so that it can be read as text; kept for the recommendation
WARNING = _VERMILLION  # kept for what went wrong
SERIES = (_BLUE, _ORANGE, _PURPLE, _SKY, MUTED)
# For charts on which no answer and no warning stands, so that their colors are free for more series.
COLORS = (*SERIES[:4], ANSWER, WARNING, INK, MUTED)
DASHES: tuple[list[float], ...] = ([], [8, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 2], [1, 3], [10, 3, 2, 3, 2, 3])
_LIGHTEST = 0.55  # of the way from the darkest shade to white: the lightest one
SHAPES = ("circle", "square", "diamond", "triangle-right", "stroke")  # none that marks an edge
ROLE_COLORS = {"low": MUTED, "lr": ANSWER, "high": MUTED, "diverged": WARNING, "optimum": MUTED, "tried": MUTED}
ROLE_DASHES: dict[str, list[float]] = {
    "low": [6, 3],
    "lr": [],
    "high": [6, 3],
    "diverged": [2, 2],
    "optimum": [6, 4],
    "tried": [1, 4],
}

# What each color of a light chart, in capitals, is on a dark page; the others are light enough for both.
DARK = {
    INK: "#E3E8EE",
    MUTED: "#9BA6B2",
    _GRID: "#262D35",
    _BLUE: "#4BA3E3",
    _VERMILLION: "#FF8A4C",
    ANSWER: "#3DBE96",
    "WHITE": "#14191F",
    "#8A5A00": "#E69F00",
    "#B34700": "#FF8A4C",
    "#ECEEF1": "#2A323B",
    "#B8BEC6": "#3B444E",
    "#8A929C": "#66717D",
}

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


def dark_style() -> str:
    """Return the style sheet of a page with charts as SVG, for readers who prefer a dark page."""
    rules = [
        f'svg [{what}="{light}" i] {{ {what}: {dark}; }}' for light, dark in DARK.items() for what in ("fill", "stroke")
    ]
    page = f"body, svg {{ background: {DARK['WHITE']} !important; color: {DARK[INK]}; }}"
    return f"@media (prefers-color-scheme: dark) {{ {page} {' '.join(rules)} }}"


def header(title: str, lines: tuple[str, ...]) -> alt.TitleParams:
    """Return the title with its lines below."""
    return alt.TitleParams(text=title, subtitle=list(lines) if lines else alt.Undefined, offset=12)


def themed(chart: Drawn) -> Drawn:
    """Return ``chart`` in the look of all charts, with its title and lines as a text for those who cannot see it."""
    styled: Drawn = offline(chart.configure(**CONFIG), dark_style())
    title = styled.title
    if not isinstance(title, alt.TitleParams) or title.text is alt.Undefined:
        return styled
    below: list[str] = title.subtitle if isinstance(title.subtitle, list) else []
    described: Drawn = styled.properties(description=" ".join([str(title.text).rstrip(".") + ".", *below]))
    return described


def shades(count: int) -> list[str]:
    """Return ``count`` shades of one color for series in an order, the last one the darkest.

    Example:
        >>> shades(1), shades(2)
        (['#0072b2'], ['#8cc0dc', '#0072b2'])
    """
    return [_mixed(_BLUE, "#FFFFFF", _LIGHTEST * (count - 1 - place) / max(1, count - 1)) for place in range(count)]


def _mixed(first: str, second: str, fraction: float) -> str:
    pairs = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + fraction * (b - a)):02x}" for a, b in pairs)
