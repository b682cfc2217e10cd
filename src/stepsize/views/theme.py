"""One look for all charts: sizes, a palette that colour-blind readers can tell apart, fonts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import altair as alt

    Chart = TypeVar("Chart", alt.LayerChart, alt.VConcatChart)

__all__ = [
    "ANSWER", "COLOURS", "CONFIG", "DASHES", "HEIGHT", "INK", "LINE_HEIGHT", "MUTED", "ROLE_COLOURS", "ROLE_DASHES",
    "SEQUENCE", "SERIES", "SHAPES", "WARNING", "WIDTH", "header", "sequence_colour", "shades", "themed",
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
# For charts on which no answer and no warning stands, so that their colours are free for more series.
COLOURS = (*SERIES[:4], ANSWER, WARNING, INK, MUTED)
DASHES: tuple[list[float], ...] = ([], [8, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 2], [1, 3], [10, 3, 2, 3, 2, 3])
# Of ordered numbers, from low to high: ten colours of viridis (Smith and van der Walt, 2015), whose lightness rises
# evenly, so that grey prints keep the order; the lightest yellow is left out, for lines on white.
SEQUENCE = (
    "#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26",
)  # fmt: skip
_LIGHTEST = 0.68  # how far the lightest shade lies from the darkest towards white
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
    """Return ``chart`` in the look of all charts, with its title and lines as a text for those who cannot see it.

    Both travel with the spec, so every renderer has them.
    """
    import altair as alt

    styled: Chart = chart.configure(**CONFIG)
    title = styled.title
    if not isinstance(title, alt.TitleParams) or title.text is alt.Undefined:
        return styled
    told: Chart = styled.properties(description=_spoken(title.text, title.subtitle))
    return told


def sequence_colour(share: float) -> str:
    """Return the colour at ``share`` of the way, in [0, 1], along the sequence from low to high.

    Example:
        >>> sequence_colour(0.0), sequence_colour(1.0)
        ('#440154', '#bddf26')
    """
    place = min(max(share, 0.0), 1.0) * (len(SEQUENCE) - 1)
    first = min(int(place), len(SEQUENCE) - 2)
    return _mixed(SEQUENCE[first], SEQUENCE[first + 1], place - first)


def shades(count: int) -> list[str]:
    """Return ``count`` shades of one colour for series in an order, the last one the darkest.

    Example:
        >>> shades(1), shades(2)
        (['#0072b2'], ['#add2e6', '#0072b2'])
    """
    return [_mixed(_BLUE, "#FFFFFF", _LIGHTEST * (count - 1 - place) / max(1, count - 1)) for place in range(count)]


def _mixed(first: str, second: str, share: float) -> str:
    """Return the colour at ``share`` of the way from ``first`` to ``second``."""
    pairs = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in pairs)


def _spoken(title: object, lines: object) -> str:
    sentence = str(title).rstrip(".") + "."
    return " ".join([sentence, *lines]) if isinstance(lines, list) else sentence
