"""The page of a watched training: one file, legible on a phone, without a network."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError
from stepsize.views.axes import Axis, step_axis, value_axis
from stepsize.views.layers import layered, lines, rows, x_encoding
from stepsize.views.marks import Line, line_through
from stepsize.views.theme import INK, MUTED, SERIES, WARNING, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["FindingView", "PanelInfo", "ReportView", "report_info", "report_page"]

_WIDTH, _HEIGHT = 320, 140  # of a phone: wider screens show it enlarged, or two beside each other
_EXTENT = 42  # pixels for the numbers at the left, the same in all panels, so that steps stand below each other
_NUMBER = 16, 13  # pixels that the number of a finding takes, and from row to row
_ROWS = 4
Severity: TypeAlias = Literal["info", "warning", "critical"]
_COLOURS = {"info": MUTED, "warning": SERIES[1], "critical": WARNING}
_INKS = {**_COLOURS, "warning": "#8A5A00", "critical": "#B34700"}  # darker, to be read as text on white


@dataclass(frozen=True)
class FindingView:
    """A finding as the page shows it.

    Args:
        code: Of its rule.
        severity: ``"info"``, ``"warning"`` or ``"critical"``.
        step: Where it is marked.
        message: What is the case.
        remedy: What to do; may be empty.
        reference: Where the rule comes from.
        would_change: What would change its mind.
    """

    code: str
    severity: Severity
    step: int
    message: str
    remedy: str = ""
    reference: str = ""
    would_change: str = ""


@dataclass(frozen=True, eq=False)
class ReportView:
    """What the page of a watched training shows.

    Args:
        title: What was trained.
        status: How it went, as a sentence.
        verdict: On the rate, in a word or two.
        reason: Why, with numbers.
        findings: The earliest first.
        panels: Of each panel its title and its series: steps and values by name; steps rising.
        facts: What else is known of the training, as names and texts.
        acts: What was done about it, as sentences.

    Raises:
        InputError: If a series has other steps than values.
    """

    title: str
    status: str
    verdict: str
    reason: str
    findings: Sequence[FindingView]
    panels: Mapping[str, Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]]
    facts: Sequence[tuple[str, str]] = ()
    acts: Sequence[str] = ()

    def __post_init__(self) -> None:
        for panel in self.panels.values():
            for name, (steps, values) in panel.items():
                if len(steps) != len(values):
                    raise InputError(name, (len(steps), len(values)), "must have one value for each step")


@dataclass(frozen=True)
class PanelInfo:
    """One panel at its place.

    Attributes:
        title: What it shows.
        x: The axis of steps, shared by all panels.
        y: The axis of values, logarithmic where they span decades.
        lines: Of each series.
        names: Of the series.
        marks: The number, step and severity of each finding.
    """

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    names: tuple[str, ...]
    marks: tuple[tuple[int, int, Severity], ...]


def report_info(view: ReportView) -> tuple[PanelInfo, ...]:
    """Return what the panels of ``view`` show, and where.

    Example:
        >>> steps = np.arange(3)
        >>> found = FindingView("diverging", "critical", 2, "It diverged.")
        >>> view = ReportView("net", "", "", "", [found], {"loss": {"training": (steps, np.array([2.0, 1.0, 9.0]))}})
        >>> [info] = report_info(view)
        >>> info.title, info.names, info.marks
        ('loss', ('training',), ((1, 2, 'critical'),))
    """
    last = max(
        (int(steps[-1]) for panel in view.panels.values() for steps, _ in panel.values() if len(steps)), default=1
    )
    x = step_axis(last)
    marks = tuple((number, one.step, one.severity) for number, one in enumerate(view.findings, start=1))
    infos = []
    for title, panel in view.panels.items():
        values = np.concatenate([values for _, values in panel.values()])
        finite = values[np.isfinite(values)]
        if not finite.size:
            continue
        y = value_axis(values, "", may_log=True, keep=_begins(panel))
        drawn = tuple(line for name, (s, v) in panel.items() for line in line_through(name, s, v, y))
        infos.append(PanelInfo(title, x, y, drawn, tuple(panel), marks))
    return tuple(infos)


def _begins(panel: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]]) -> list[float]:
    """Return where each series begins: a training's start is no outlier."""
    return [float(values[np.isfinite(values)][0]) for _, values in panel.values() if np.isfinite(values).any()]


def report_page(view: ReportView) -> bytes:
    """Return the page: HTML with its pictures in it.

    Args:
        view: Plain data.

    Returns:
        One self-contained file; nothing in it is loaded from elsewhere, and nothing is run.
    """
    told = "".join(_told(number, one) for number, one in enumerate(view.findings, start=1))
    pictures = "".join(f"<figure>{_svg(info, place)}</figure>" for place, info in enumerate(report_info(view)))
    known = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in view.facts)
    acts = "".join(f"<li>{html.escape(act)}</li>" for act in view.acts)
    body = _PAGE.format(
        title=html.escape(view.title),
        status=html.escape(view.status),
        verdict=html.escape(view.verdict),
        reason=html.escape(view.reason),
        findings=told or "<p>Nothing was found.</p>",
        pictures=pictures or "<p>No signal was kept.</p>",
        facts=f"<dl>{known}</dl>" if known else "",
        acts=f"<h2>What was done</h2><ul>{acts}</ul>" if acts else "",
        ink=INK,
        muted=MUTED,
    )
    return body.encode("utf-8")


def _told(number: int, one: FindingView) -> str:
    parts = [
        f'<p><b style="color:{_INKS[one.severity]}">{number}. {html.escape(one.code)}</b> '
        f'<span class="quiet">{one.severity}, step {one.step:,}</span><br>{html.escape(one.message)}</p>'
    ]
    if one.remedy:
        parts.append(f"<p><b>Do:</b> {html.escape(one.remedy)}</p>")
    quiet = [
        text for text in (one.would_change and f"Would change its mind: {one.would_change}", one.reference) if text
    ]
    parts += [f'<p class="quiet">{html.escape(text)}</p>' for text in quiet]
    return f'<section style="border-left-color:{_COLOURS[one.severity]}">{"".join(parts)}</section>'


def _svg(info: PanelInfo, place: int) -> str:
    chart = themed(_panel(info)).configure_axisY(minExtent=_EXTENT, maxExtent=_EXTENT)
    text = io.StringIO()
    chart.save(text, format="svg")
    picture = text.getvalue()
    picture = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>panel{place}-", picture)  # names are those of the whole page
    # scaled by the page: the drawing keeps its own measures in viewBox
    return re.sub(r'(<svg[^>]*?) width="[\d.]+" height="[\d.]+"', r'\1 width="100%"', picture, count=1)


def _panel(info: PanelInfo) -> alt.LayerChart:
    import altair as alt

    scale = alt.Scale(domain=list(info.names), range=list(SERIES[: len(info.names)]))
    legend = None if len(info.names) == 1 else alt.Legend(orient="top", title=None)
    colour = alt.Color("series:N", scale=scale, legend=legend)
    marks = [
        {"x": step, "y": row, "number": str(number), "line": _COLOURS[severity], "ink": _INKS[severity]}
        for (number, step, severity), row in zip(info.marks, _rows_of(info), strict=True)
    ]
    base = alt.Chart(rows(marks)).encode(x=x_encoding(info.x))
    rules = base.mark_rule(strokeWidth=1.5, strokeDash=[4, 3]).encode(color=alt.Color("line:N", scale=None))
    text = base.encode(text="number:N", y=alt.Y("y:Q", scale=None))
    style: dict[str, Any] = {"dx": 7, "fontSize": 12, "fontWeight": "bold"}
    halo = text.mark_text(stroke="white", strokeWidth=4, strokeJoin="round", **style)
    numbers = text.mark_text(**style).encode(color=alt.Color("ink:N", scale=None))
    drawn = lines(info.lines, info.x, info.y, colour, name="line", width=1.8)
    layers = [*drawn, rules, halo, numbers] if marks else [*drawn]
    return layered(*layers, height=_HEIGHT).properties(title=header(info.title, ()), width=_WIDTH)


def _rows_of(info: PanelInfo) -> list[float]:
    """Return how far below the top the number of each finding stands: those that are near in steps, in rows."""
    ends = [-math.inf] * _ROWS
    places = []
    for _, step, _ in info.marks:
        x = info.x.position(step) * _WIDTH
        row = next((row for row, end in enumerate(ends) if x >= end), ends.index(min(ends)))
        ends[row] = x + _NUMBER[0]
        places.append(float(9 + row * _NUMBER[1]))
    return places


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.5 Helvetica, Arial, "Liberation Sans", sans-serif; color: {ink}; max-width: 60rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .3rem; }} h2 {{ font-size: 1.15rem; margin: 1.6rem 0 .4rem; }}
p, section, li {{ max-width: 44rem; }} p {{ margin: .3rem 0; }} ul {{ padding-left: 1.2rem; }}
section {{ border-left: 4px solid; padding: .1rem 0 .1rem .8rem; margin: .8rem 0; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .6rem 0; }}
dt {{ color: {muted}; }} dd {{ margin: 0; }} .quiet {{ color: {muted}; font-size: .9rem; }}
.signals {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: .4rem 1rem; }}
figure {{ margin: 0; }} svg {{ height: auto; display: block; }}
</style></head><body>
<h1>{title}</h1><p>{status}</p>{facts}
<h2>The rate: {verdict}</h2><p>{reason}</p>
<h2>Findings</h2>{findings}{acts}
<h2>Signals</h2><div class="signals">{pictures}</div>
</body></html>
"""
