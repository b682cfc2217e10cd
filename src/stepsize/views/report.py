"""The page of a watched run: one file, legible on a phone, without a network."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError
from stepsize.views.layers import layered, lines, looks, rows, x_encoding
from stepsize.views.marks import Flag, Line, Lines, line_through, place_flags
from stepsize.views.signals import SHOWN_SIGNALS, Series, SignalPanel, signals_info
from stepsize.views.theme import EXTENT, INK, MUTED, SERIES, WARNING, dark_style, header, themed
from stepsize.views.vega import Chart, alt

_WIDTH, _HEIGHT = 320, 140  # of a phone: wider screens show it enlarged, or two beside each other
_ROWS, _ROW = 4, 13  # of numbers of findings: how many at most, and pixels from one to the next
_COLORS = {"info": MUTED, "warning": SERIES[1], "critical": WARNING}
_INKS = {**_COLORS, "warning": "#8A5A00", "critical": "#B34700"}  # darker, to be read as text on white

_MOST_POINTS = 400


@dataclass(frozen=True)
class PanelInfo:
    """One panel with its lines; the text of a mark is the number of a finding, its role the severity."""

    panel: SignalPanel
    lines: tuple[Line, ...]
    marks: tuple[Flag, ...]


def report_info(report: Any) -> tuple[PanelInfo, ...]:
    """Return what the panels of a ``Report`` show, and where: its signals, and its findings at their steps."""
    shown = {name: points for name, points in report.signals.items() if name in SHOWN_SIGNALS and len(points.steps)}
    signals = {name: _thinned(points.steps, points.values) for name, points in shown.items()}
    found = [(one.step, str(number), one.severity) for number, one in enumerate(report.findings, start=1)]
    return tuple(
        PanelInfo(
            panel,
            tuple(line for one in panel.lines for line in line_through(one.name, *signals[one.signal], panel.y)),
            place_flags(found, panel.x, _WIDTH),
        )
        for panel in signals_info({"": signals})
    )


def _thinned(steps: NDArray[np.int64], values: NDArray[np.float64]) -> Series:
    """Return the mean of each of at most 400 stretches, at its first step."""
    parts = np.array_split(np.arange(len(steps)), min(_MOST_POINTS, len(steps)))
    return steps[[part[0] for part in parts]], np.array([_mean(values[part]) for part in parts])


def _mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def report_page(
    report: Any, title: str, facts: Sequence[tuple[str, str]] = (), actions: Sequence[object] = ()
) -> bytes:
    """Return the page of a ``Report``: one self-contained HTML file that loads nothing and runs nothing.

    ``facts`` are names and texts, ``actions`` those of a guard.
    """
    found = "".join(_section(number, one) for number, one in enumerate(report.findings, start=1))
    pictures = "".join(f"<figure>{_svg(info, place)}</figure>" for place, info in enumerate(report_info(report)))
    known = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in facts)
    acted = "".join(f"<li>{html.escape(str(one))}</li>" for one in actions)
    body = _PAGE.format(
        title=html.escape(title),
        status=html.escape(report.status),
        verdict=html.escape(report.verdict.code),
        reason=html.escape(report.verdict.reason),
        findings=found or "<p>No findings.</p>",
        pictures=pictures or "<p>No signals were saved.</p>",
        facts=f"<dl>{known}</dl>" if known else "",
        actions=f"<h2>Actions of the guard</h2><ul>{acted}</ul>" if acted else "",
        ink=INK,
        inks=" ".join(f".{name} {{ color: {ink}; }}" for name, ink in _INKS.items()),
        dark=dark_style(),
    )
    return body.encode("utf-8")


def report_chart(report: Any, title: str) -> Chart:
    """Return the panels as one chart, two beside each other."""
    panels = [_panel(info) for info in report_info(report)]
    if not panels:
        raise InputError("signals", "none", "must hold at least one value", "Train a step first")
    pairs = [alt.hconcat(*panels[at : at + 2]).resolve_scale(color="independent") for at in range(0, len(panels), 2)]
    drawn = alt.vconcat(*pairs).resolve_scale(color="independent")
    chart: Chart = themed(drawn.properties(title=header(title, (report.status,))))
    return chart


def _section(number: int, one: Any) -> str:
    parts = [
        f'<p><b class="{one.severity}">{number}. {html.escape(one.code)}</b> '
        f'<span class="quiet">{one.severity}, step {one.step:,}</span><br>{html.escape(one.message)}</p>'
    ]
    if one.remedy:
        parts.append(f"<p><b>Suggested fix:</b> {html.escape(one.remedy)}</p>")
    quiet = [text for text in (one.how_to_check and f"How to check: {one.how_to_check}", one.reference) if text]
    parts += [f'<p class="quiet">{html.escape(text)}</p>' for text in quiet]
    return f'<section style="border-left-color:{_COLORS[one.severity]}">{"".join(parts)}</section>'


def _svg(info: PanelInfo, place: int) -> str:
    chart = themed(_panel(info)).configure_axisY(minExtent=EXTENT, maxExtent=EXTENT)
    text = io.StringIO()
    chart.save(text, format="svg")
    picture = text.getvalue()
    picture = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>panel{place}-", picture)  # names are those of the whole page
    # scaled by the page: the drawing keeps its own measures in viewBox
    return re.sub(r'(<svg[^>]*?) width="[\d.]+" height="[\d.]+"', r'\1 width="100%"', picture, count=1)


def _panel(info: PanelInfo) -> alt.LayerChart:
    panel = info.panel
    names = [one.name for one in panel.lines]
    legend = None if len(names) == 1 else alt.Legend(orient="top", title=None, symbolType="stroke")
    look = looks(names, legend, [one.color for one in panel.lines], [one.dash for one in panel.lines])
    marks = [
        {
            "x": mark.x,
            "y": 9.0 + min(mark.row, _ROWS - 1) * _ROW,
            "number": mark.text,
            "line": _COLORS[mark.role],
            "ink": _INKS[mark.role],
        }
        for mark in info.marks
    ]
    base = alt.Chart(rows(marks)).encode(x=x_encoding(panel.x))
    rules = base.mark_rule(strokeWidth=1.5, strokeDash=[4, 3]).encode(color=alt.Color("line:N", scale=None))
    text = base.encode(text="number:N", y=alt.Y("y:Q", scale=None))
    style: dict[str, Any] = {"dx": 7, "fontSize": 12, "fontWeight": "bold"}
    halo = text.mark_text(stroke="white", strokeWidth=4, strokeJoin="round", **style)
    numbers = text.mark_text(**style).encode(color=alt.Color("ink:N", scale=None))
    name = re.sub(r"\W+", "_", f"line {panel.title}")
    drawn = lines(Lines(name, info.lines, width=1.8), panel.x, panel.y, **look)
    layers = [*drawn, rules, halo, numbers] if marks else [*drawn]
    return layered(*layers, height=_HEIGHT).properties(title=header(panel.title, ()), width=_WIDTH)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.5 Helvetica, Arial, "Liberation Sans", sans-serif; color: {ink}; max-width: 60rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .3rem; }} h2 {{ font-size: 1.15rem; margin: 1.6rem 0 .4rem; }}
p, section, li {{ max-width: 44rem; }} p {{ margin: .3rem 0; }} ul {{ padding-left: 1.2rem; }}
section {{ border-left: 4px solid; padding: .1rem 0 .1rem .8rem; margin: .8rem 0; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .6rem 0; }}
dd {{ margin: 0; }} dt, .quiet {{ opacity: .72; }} .quiet {{ font-size: .9rem; }}
.signals {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: .4rem 1rem; }}
figure {{ margin: 0; }} svg {{ height: auto; display: block; }}
{inks}
{dark}
@media (prefers-color-scheme: dark) {{ b[class] {{ filter: brightness(1.7); }} }}
</style></head><body>
<h1>{title}</h1><p>{status}</p>{facts}
<h2>Learning rate: {verdict}</h2><p>{reason}</p>
<h2>Findings</h2>{findings}{actions}
<h2>Signals</h2><div class="signals">{pictures}</div>
</body></html>
"""
