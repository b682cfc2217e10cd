"""Pictures of the records for docs/benchmarks.md: regret, verdicts and the guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.guard_faults import FAULTS, FAULTS_FILE
from benchmarks.methods import all_picks, methods_chart, reached
from benchmarks.record import read_rows
from benchmarks.regret import SEARCHES_FILE
from benchmarks.verdicts import MULTIPLES, VERDICTS_FILE, Watched, held_out, nearest, said_at_quarter
from stepsize.views import save_chart
from stepsize.views.layers import layered, rows
from stepsize.views.theme import ANSWER, INK, MUTED, SERIES, WARNING, WIDTH, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "PICTURES_FOLDER", "Bar", "Kept", "draw_all", "guard_chart", "guard_info", "verdicts_chart", "verdicts_info",
]  # fmt: skip

Row = Mapping[str, Any]

PICTURES_FOLDER = Path(__file__).parent.parent / "docs" / "images" / "benchmarks"
_SAID = {"too low": SERIES[3], "fine": ANSWER, "too high or diverged": WARNING, "inconclusive": "#D5D9DE"}
_BAR = 0.06  # half the width of a bar, in decades
_CLOSE = 0.02  # above the undisturbed loss


@dataclass(frozen=True)
class Bar:
    """A piece of a stacked bar.

    Attributes:
        times: The multiple of the best rate.
        said: What was told, or is true.
        low: The share at which the piece begins.
        high: The share at which it ends.
        count: Trainings in the piece.
        of: Trainings at this multiple.
    """

    times: float
    said: str
    low: float
    high: float
    count: int
    of: int


@dataclass(frozen=True)
class Kept:
    """How many disturbed trainings ended where the undisturbed one does.

    Attributes:
        fault: What was done.
        guard: "with a guard" or "without".
        count: Of those that ended within 2% above the undisturbed loss.
        of: All of this fault.
    """

    fault: str
    guard: str
    count: int
    of: int


def draw_all(folder: Path = PICTURES_FOLDER) -> list[Path]:
    """Draw every record that is there into ``folder``; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: Iterable[tuple[str, Path, Callable[[Sequence[Row]], alt.LayerChart | alt.VConcatChart]]] = (
        ("regret", SEARCHES_FILE, lambda read: methods_chart(reached(read, all_picks()))),
        ("verdicts", VERDICTS_FILE, lambda read: verdicts_chart(verdicts_info(_said(read)))),
        ("guard", FAULTS_FILE, lambda read: guard_chart(guard_info(read))),
    )
    found = ((name, draw, read_rows(path)) for name, path, draw in pictures)
    return [save_chart(draw(read), folder / f"{name}.svg") for name, draw, read in found if read]


def verdicts_info(read: Iterable[Row]) -> dict[str, list[Bar]]:
    """Return the bars of what was said, and those of what is true, from rows with times, label and said."""
    at: dict[float, list[Row]] = {}
    for row in read:
        at.setdefault(nearest(row["times"], MULTIPLES), []).append(row)
    return {
        "told": [bar for times in sorted(at) for bar in _stacked(times, [row["said"] for row in at[times]])],
        "true": [bar for times in sorted(at) for bar in _stacked(times, [row["label"] for row in at[times]])],
    }


def _said(read: Iterable[Row]) -> list[Row]:
    """Return what was said of the trainings that are held out."""
    rows = [Watched(**{**row, "alarms": tuple(row["alarms"])}) for row in read]
    return [{"times": row.times, "label": row.label, "said": said_at_quarter(row)} for row in rows if held_out(row)]


def guard_info(read: Iterable[Row]) -> list[Kept]:
    """Return, for each fault, how many trainings ended well with a guard and without."""
    read = list(read)
    found = []
    for fault in FAULTS:
        own = [row for row in read if row["fault"] == fault]
        for guard, loss in (("with a guard", "loss"), ("without", "unguarded")):
            close = sum(row[loss] <= (1 + _CLOSE) * row["undisturbed"] for row in own)
            found += [Kept(fault, guard, close, len(own))] if own else []
    return found


def verdicts_chart(panels: Mapping[str, Sequence[Bar]]) -> alt.VConcatChart:
    """Return the picture of the verdicts: what was told above, what is true below."""
    import altair as alt

    below = "rate over the best one, nearest of these (log axis)"
    parts = [
        _bars(panels["told"], "told after a quarter", height=200, below=None),
        _bars(panels["true"], "true at the end", height=90, below=below),
    ]
    told = (
        f"{sum(bar.count for bar in panels['told'])} watched runs that are held out, by their rate.",
        "Fine: within 10% of the best loss at the end of the training.",
    )
    title = header("What watching says of a rate, and what is so", told)
    return themed(alt.vconcat(*parts, spacing=12).properties(title=title))


def guard_chart(found: Sequence[Kept]) -> alt.LayerChart:
    """Return the picture of the guard: two bars a fault."""
    import altair as alt

    guards = ["with a guard", "without"]
    data = [asdict(one) | {"share": one.count / one.of, "text": f"{one.count} of {one.of}"} for one in found]
    base = alt.Chart(rows(data))
    look = alt.Axis(ticks=False, domain=False, labelLimit=WIDTH / 2, labelPadding=8)
    fault = alt.Y("fault:N", title=None, sort=list(FAULTS), axis=look, scale=alt.Scale(paddingInner=0.3))
    share = alt.X("share:Q", title="share of trainings", axis=alt.Axis(format="%", tickCount=5))
    share = share.scale(domain=[0, 1])
    place = {"x": share, "y": fault, "yOffset": alt.YOffset("guard:N", sort=guards)}
    colour = alt.Color("guard:N", title=None, scale=alt.Scale(domain=guards, range=[ANSWER, MUTED]), sort=guards)
    text = base.mark_text(align="left", dx=5, color=INK, fontSize=11).encode(**place, text="text:N")
    bars = base.properties(name="bars").mark_bar().encode(**place, color=colour)
    chart = layered(bars, text, height=46 * len({one.fault for one in found}))
    told = ("Trainings disturbed on purpose that end within 2% above the loss of the undisturbed one.",)
    return themed(chart.properties(title=header("Faults, with a guard and without", told)))


def _stacked(times: float, said: Sequence[str]) -> list[Bar]:
    merged = ["too high or diverged" if one in ("too high", "diverged") else one for one in said]
    bars, before = [], 0
    for name in _SAID:
        count = merged.count(name)
        if count:
            bars.append(Bar(times, name, before / len(said), (before + count) / len(said), count, len(said)))
        before += count
    return bars


def _bars(bars: Sequence[Bar], title: str, *, height: int, below: str | None) -> alt.LayerChart:
    import altair as alt

    width = 10**_BAR
    data = [asdict(bar) | {"left": bar.times / width, "right": bar.times * width} for bar in bars]
    domain = [MULTIPLES[0] / width**2, MULTIPLES[-1] * width**2]
    look = alt.Axis(values=list(MULTIPLES), format="~g", labelOverlap=False, grid=False)
    x = alt.X("left:Q", title=below, axis=look)
    x = x.scale(type="log", domain=domain, nice=False)
    y = alt.Y("low:Q", title=title, axis=alt.Axis(format="%", tickCount=4), scale=alt.Scale(domain=[0, 1]))
    legend = alt.Legend(title=None, symbolType="square", columns=4)
    colours = alt.Scale(domain=list(_SAID), range=list(_SAID.values()))
    colour = alt.Color("said:N", scale=colours, legend=legend)
    tooltip = ["said:N", "count:Q", "of:Q"]
    mark = alt.Chart(rows(data), name="bars").mark_rect(stroke="white", strokeWidth=0.5)
    return layered(mark.encode(x=x, x2="right:Q", y=y, y2="high:Q", color=colour, tooltip=tooltip), height=height)
