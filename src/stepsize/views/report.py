"""The page of a watched run: one file, legible on a phone, without a network."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError
from stepsize.views.axes import Axis, step_axis, value_axis
from stepsize.views.layers import layered, lines, rows, x_encoding
from stepsize.views.marks import Line, line_through
from stepsize.views.theme import INK, MUTED, SERIES, WARNING, header, themed
from stepsize.views.vega import Chart, alt

_WIDTH, _HEIGHT = 320, 140  # of a phone: wider screens show it enlarged, or two beside each other
EXTENT = 42  # pixels for the numbers at the left, the same in all panels, so that steps stand below each other
_NUMBER = 16, 13  # pixels that the number of a finding takes, and from row to row
_ROWS = 4
Severity: TypeAlias = Literal["info", "warning", "critical"]
_COLORS = {"info": MUTED, "warning": SERIES[1], "critical": WARNING}
_INKS = {**_COLORS, "warning": "#8A5A00", "critical": "#B34700"}  # darker, to be read as text on white


Series: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps and values."""

PANELS = {
    "loss": ("loss", "val_loss"),
    "learning rate": ("lr/0", "lr/1", "lr/2"),
    "update / weight": ("update_ratio",),
    "cosine of successive gradients": ("cosine",),
    "gradient norm": ("grad_norm",),
    "critical learning rate / learning rate": ("headroom",),
    "gradient norm after / before clipping": ("clipped",),
}
NAMES = {"loss": "training", "val_loss": "validation"}
_MOST_POINTS = 400
_CLIPPED = 0.999


@dataclass(frozen=True, eq=False)
class ReportView:
    """What the page of a watched run shows.

    Args:
        title: Name of the run.
        status: Summary.
        verdict: Verdict on the learning rate in a word or two.
        reason: Explanation with numbers.
        findings: Findings with code, severity, step, message, remedy, reference and how_to_check, the earliest first.
        signals: Steps (rising) and values by name.
        facts: Further facts about the run: names and texts.
        actions: Actions of a guard.

    Raises:
        InputError: If a signal does not have one value for each step.
    """

    title: str
    status: str
    verdict: str
    reason: str
    findings: Sequence[Any]
    signals: Mapping[str, Series]
    facts: Sequence[tuple[str, str]] = ()
    actions: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, (steps, values) in self.signals.items():
            if len(steps) != len(values):
                raise InputError(name, (len(steps), len(values)), "must have one value for each step")


@dataclass(frozen=True)
class PanelInfo:
    """One panel.

    Attributes:
        title: Title.
        x: Axis of steps, shared by all panels.
        y: Axis of values, logarithmic if they span decades.
        lines: Line of each series.
        names: Names of the series.
        marks: Number, step and severity of each finding.
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
        >>> view = ReportView("net", "", "", "", [], {"loss": (steps, np.array([2.0, 1.0, 9.0]))})
        >>> [info] = report_info(view)
        >>> info.title, info.names
        ('loss', ('training',))
    """
    panels = {title: _series(view, names) for title, names in PANELS.items()}
    last = max((int(steps[-1]) for panel in panels.values() for steps, _ in panel.values()), default=1)
    x = step_axis(last)
    marks = tuple((number, one.step, one.severity) for number, one in enumerate(view.findings, start=1))
    infos = []
    for title, panel in panels.items():
        values = np.concatenate([np.empty(0), *(values for _, values in panel.values())])
        if not np.isfinite(values).any():
            continue
        y = value_axis(values, "", may_log=True, keep=first_values(panel.values()))
        drawn = tuple(line for name, (s, v) in panel.items() for line in line_through(name, s, v, y))
        infos.append(PanelInfo(title, x, y, drawn, tuple(panel), marks))
    return tuple(infos)


def _series(view: ReportView, names: Sequence[str]) -> dict[str, Series]:
    """Return the series of a panel, thinned; of clipping only if anything was clipped."""
    shown = {}
    for name in names:
        steps, values = view.signals.get(name, (np.empty(0, np.int64), np.empty(0)))
        if len(steps) and (name != "clipped" or was_clipped(values)):
            parts = np.array_split(np.arange(len(steps)), min(_MOST_POINTS, len(steps)))
            means = np.array([_mean(values[part]) for part in parts])
            shown[NAMES.get(name, name.replace("lr/", "group "))] = (steps[[part[0] for part in parts]], means)
    return shown


def _mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def first_values(panel: Iterable[Series]) -> list[float]:
    """Return the first finite value of each series: the start of a run is not an outlier."""
    return [float(values[np.isfinite(values)][0]) for _, values in panel if np.isfinite(values).any()]


def was_clipped(values: NDArray[np.float64]) -> bool:
    """Return whether gradients were clipped at all: a panel of ones says nothing."""
    return bool(np.nanmin(values, initial=1.0) < _CLIPPED)


def report_page(view: ReportView) -> bytes:
    """Return the page: one self-contained HTML file that loads nothing and runs nothing."""
    found = "".join(_section(number, one) for number, one in enumerate(view.findings, start=1))
    pictures = "".join(f"<figure>{_svg(info, place)}</figure>" for place, info in enumerate(report_info(view)))
    known = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in view.facts)
    actions = "".join(f"<li>{html.escape(one)}</li>" for one in view.actions)
    body = _PAGE.format(
        title=html.escape(view.title),
        status=html.escape(view.status),
        verdict=html.escape(view.verdict),
        reason=html.escape(view.reason),
        findings=found or "<p>No findings.</p>",
        pictures=pictures or "<p>No signals were saved.</p>",
        facts=f"<dl>{known}</dl>" if known else "",
        actions=f"<h2>Actions of the guard</h2><ul>{actions}</ul>" if actions else "",
        ink=INK,
        muted=MUTED,
    )
    return body.encode("utf-8")


def report_chart(view: ReportView) -> Chart:
    """Return the panels as one chart: the loss at the top, two of the others beside each other.

    Raises:
        InputError: If there are no signals.
    """
    panels = [_panel(info) for info in report_info(view)]
    if not panels:
        raise InputError("signals", "none", "must hold at least one value", "Train a step first")
    pairs = [alt.hconcat(*panels[at : at + 2]).resolve_scale(color="independent") for at in range(0, len(panels), 2)]
    drawn = alt.vconcat(*pairs).resolve_scale(color="independent")
    chart: Chart = themed(drawn.properties(title=header(view.title, (view.status,))))
    return chart


def _section(number: int, one: Any) -> str:
    parts = [
        f'<p><b style="color:{_INKS[one.severity]}">{number}. {html.escape(one.code)}</b> '
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
    scale = alt.Scale(domain=list(info.names), range=list(SERIES[: len(info.names)]))
    legend = None if len(info.names) == 1 else alt.Legend(orient="top", title=None)
    colour = alt.Color("series:N", scale=scale, legend=legend)
    marks = [
        {"x": step, "y": row, "number": str(number), "line": _COLORS[severity], "ink": _INKS[severity]}
        for (number, step, severity), row in zip(info.marks, _rows_of(info), strict=True)
    ]
    base = alt.Chart(rows(marks)).encode(x=x_encoding(info.x))
    rules = base.mark_rule(strokeWidth=1.5, strokeDash=[4, 3]).encode(color=alt.Color("line:N", scale=None))
    text = base.encode(text="number:N", y=alt.Y("y:Q", scale=None))
    style: dict[str, Any] = {"dx": 7, "fontSize": 12, "fontWeight": "bold"}
    halo = text.mark_text(stroke="white", strokeWidth=4, strokeJoin="round", **style)
    numbers = text.mark_text(**style).encode(color=alt.Color("ink:N", scale=None))
    drawn = lines(info.lines, info.x, info.y, colour, name=re.sub(r"\W+", "_", f"line {info.title}"), width=1.8)
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
<h2>Learning rate: {verdict}</h2><p>{reason}</p>
<h2>Findings</h2>{findings}{actions}
<h2>Signals</h2><div class="signals">{pictures}</div>
</body></html>
"""
