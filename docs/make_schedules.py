"""Writes docs/schedules.md and its pictures from the catalog: ``python docs/make_schedules.py``.

Every number on the page is computed here; a test fails when the page is not what this writes.
"""

from __future__ import annotations

import functools
import html
import io
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

import stepsize.schedules as library
import stepsize.schedules.written as written_module
from stepsize.errors import InputError
from stepsize.schedules import (
    SCHEDULES,
    SHAPES,
    Clock,
    HyperparameterSchedule,
    Peaks,
    Schedule,
    ScheduleEntry,
    preview,
    write,
)
from stepsize.schedules.catalog import CHANGES
from stepsize.schedules.hyperparameters import DecayRule
from stepsize.schedules.leaves import Endpoints
from stepsize.views import ChartInfo, draw, number_text, schedule_info
from stepsize.views.axes import Axis
from stepsize.views.layers import layered, lines
from stepsize.views.marks import Lines
from stepsize.views.theme import CONFIG, MUTED, SERIES, themed
from stepsize.views.vega import alt

DOCS = Path(__file__).parent
PAGE = DOCS / "schedules.md"
PICTURES = DOCS / "images" / "schedules"
BEGIN, END = "<!-- written by hand: begin -->", "<!-- written by hand: end -->"

_UPDATES = 400  # of a thumbnail; enough for 220 pixels
_ENDPOINTS: tuple[Endpoints, ...] = ("start", "end", "both", "neither")
_PLACES = re.compile(r' (?:d|transform|[xy]2?|width|height)="[^"]*"')  # in pixels; texts stay as they are
_FRACTION = re.compile(r"-?\d+\.\d{2,}")
_EVERYWHERE = {name: value for name, value in vars(library).items() if not name.startswith("_")}


def main() -> None:
    """Write the page and the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, text in pictures().items():
        (PICTURES / name).write_text(text, encoding="utf-8")
    PAGE.write_text(page(by_hand(PAGE)), encoding="utf-8")
    sys.stdout.write(f"Wrote {PAGE} and {len(pictures())} pictures.\n")


def by_hand(path: Path) -> str:
    """Return the section of an existing page that no generator writes."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _, begun, rest = text.partition(BEGIN)
    kept, ended, _ = rest.partition(END)
    return kept.strip() if begun and ended else "To be written."


def page(own_section: str) -> str:
    """Return the whole page, with the section that is written by hand."""
    parts = [
        _intro(), _glance(), f"## On an optimizer\n\n{BEGIN}\n{own_section}\n{END}",
        _written(), _units(), _algebra(), _together(), _contract(), _catalog(), _shapes(),
    ]  # fmt: skip
    return "\n\n".join(part.strip() for part in parts) + "\n"


@functools.cache
def pictures() -> dict[str, str]:
    """Return the SVG text of each picture by its file name."""
    found = {
        f"{name}.svg": _svg(_thumbnail(entry.typical(_UPDATES).factors().tolist())) for name, entry in SCHEDULES.items()
    }
    return {**found, "together.svg": _svg(draw(_together_info()))}


def _thumbnail(factors: list[float]) -> alt.LayerChart:
    """Return a small picture of a schedule, whose vertical axis shows 0 and 1, or 0 and a peak that is far from 1."""
    peak = max(factors)
    top = 1.0 if 0.5 <= peak <= 2 else peak
    low, high = min(0.0, *factors), max(top, peak)
    pad = 0.04 * (high - low)
    x, y = _two_ticks(0.0, len(factors), len(factors)), _two_ticks(low - pad, high + pad, top)
    [plot] = schedule_info(range(len(factors)), {"factor": {"lr": factors}}).plots
    drawn = lines(Lines("factor", plot["line0_lr"], SERIES[0], interpolate="step-after"), x, y)
    picture = layered(*drawn, height=90).properties(width=220)
    look = {**CONFIG["axis"], "grid": False, "labelFontSize": 10, "labelColor": MUTED, "tickSize": 3}
    small: alt.LayerChart = themed(picture).configure_view(stroke=None).configure_axis(**look)
    return small


def _two_ticks(low: float, high: float, top: float) -> Axis:
    """Return an axis without a title that has numbers at 0 and ``top``."""
    text = f"{top:,.0f}" if top == round(top) else number_text(top, 2)
    return Axis(low, high, False, "", bare=True, texts=((0.0, "0"), (float(top), text)))


def python_form(entry: ScheduleEntry) -> str:
    """Return the Python call that makes the entry's example, from its written form.

    Raises:
        ValueError: If the written form has something that this does not know.
    """
    calls = [_call(piece.strip()) for piece in entry.written.split(",")]
    return calls[0] + "".join(f".then({call})" for call in calls[1:])


# ------------------------------------------------------------------ sections


def _intro() -> str:
    return f"""
# Schedules

<!-- Written by docs/make_schedules.py; only "On an optimizer" is written by hand. -->

A schedule gives the fraction of the peak learning rate that each update gets. It is a plain value: a function from
step to factor with a length. It has no state, does not depend on an optimizer, and compares, hashes and pickles by
value. The plot shows exactly what the optimizer gets.

```python
from stepsize.schedules import warmup, constant, cooldown

eta = warmup("5%").then(constant()).then(cooldown("20%"))  # durations relative to the horizon
eta = eta.over(10_000)  # now in steps
eta(0), eta(500), eta(9_000)  # {_numbers(_wsd()([0, 500, 9_000]))}
```

The same from the command line: `stepsize schedule "{write(_open_wsd())}" --steps 10000`.

Words: a *step* is one optimizer update. A *factor* is the rate divided by the peak rate, a number ≥ 0. The *horizon* is
the number of updates of the run. A *phase* is a part of a schedule with a length, such as a warmup.
"""


def _glance() -> str:
    pictures = [f"[![{name}](images/schedules/{name}.svg) {name}](#{name})" for name in SCHEDULES]
    return "\n\n".join(["## At a glance", '<div class="thumbs" markdown="1">', *pictures, "</div>"])


def _key_points() -> str:
    heads = ("schedule", "update 0", "first key point", "last key point", "update 999", "step 1,000", "step 5,000")
    rows = [_contract_row(name, entry.typical(1_000)) for name, entry in SCHEDULES.items()]
    return f"""Each schedule is its example in the catalog. Key points are the steps where another phase begins or the
factor jumps, and the peak.

{_table(heads, rows)}"""


def _folded(summary: str, text: str) -> str:
    return f'<details markdown="1">\n<summary>{summary}</summary>\n\n{text}\n\n</details>'


def _contract() -> str:
    rises = [
        (
            f'`warmup(4, endpoints="{endpoints}")`',
            *_cells(library.warmup(4, endpoints=endpoints).then(library.constant(4)), range(5)),
        )
        for endpoints in ("neither", *_ENDPOINTS[:3])
    ]
    falls = [
        (f'`decay(4, endpoints="{endpoints}")`', *_cells(library.decay(4, endpoints=endpoints), (0, 1, 2, 3, 4, 100)))
        for endpoints in _ENDPOINTS
    ]
    joined = library.warmup(4).then(library.constant(3)).then(library.cooldown(4, shape="linear"))
    owners = ["warmup"] * 4 + ["constant"] * 3 + ["cooldown"] * 4 + ["after the last step"] * 2
    steps = (*range(12), 1000)
    return f"""
## The contract

Four rules hold for every schedule.

1. Update 0 uses the factor of step 0.
2. A phase of N steps covers the updates 0 to N − 1 of its own count. Step N belongs to the next phase.
3. After the last step the factor stays what it is at step `length`. Nothing rises again automatically.
4. Steps are real numbers ≥ 0; whole ones are updates.

Here is `{write(joined)}`, update by update:

{_table(("step", *(f"{step:,}" for step in steps)), [("phase", *owners), ("factor", *_cells(joined, steps))])}

A phase runs from one factor to another. `endpoints` says which of the two an update really takes. A warmup takes
neither (no batch is wasted at rate 0, and the peak belongs to the next phase). Everything else takes its start. A
warmup of 4 steps from 0 to 1, followed by a constant:

{_table(("", "update 0", "update 1", "update 2", "update 3, its last", "update 4, the next phase"), rises)}

A linear decay of 4 steps from 1 to 0 with nothing after it:

{_table(("", "update 0", "update 1", "update 2", "update 3, the last", "step 4, the end", "step 100"), falls)}

With `endpoints="start"` the last update still learns, and the end value is reached right after it. `endpoints="both"`
gives the last update the end value, as several other libraries do. [conformance.md](conformance.md) compares 127
schedules of seven other libraries with ours, step by step.

{_folded("The key points of every schedule over 1,000 steps", _key_points())}
"""


def _units() -> str:
    clock = Clock(horizon=10_000, batch_size=8, accumulate=4, world_size=2, sequence_length=1_024, steps_per_epoch=390)
    rows = [
        (f"`{text}`", unit, needs, f"{clock.steps(text):,}")
        for text, unit, needs in (
            ("500", "steps", "nothing"),
            ("5%", "percent of the horizon", "the horizon"),
            ("2ep", "epochs", "`steps_per_epoch`"),
            ("100k samples", "samples", "`batch_size`"),
            ("1.5M tok", "tokens", "`batch_size`, `sequence_length`"),
        )
    ]
    thirds = library.warmup("33%").then(library.constant("33%")).then(library.cooldown("34%")).over(10)
    return f"""
## Units

A duration is a number of steps or a text with a unit. `.over(steps, clock)` resolves all of them into steps, once. A
step takes `batch_size` · `accumulate` · `world_size` samples, and that times `sequence_length` tokens. The last column
is for `Clock(batch_size=8, accumulate=4, world_size=2, sequence_length=1_024, steps_per_epoch=390)` and 10,000 steps.

{_table(("written", "unit", "needs", "steps"), rows)}

Numbers take k, M, G (or B) and T. Long forms work too: `epochs`, `samples`, `examples`, `tokens`, `updates`.

A phase without a length takes the rest of the horizon; only one phase can. Ends of phases are rounded, not lengths, so
percentages that add up to 100% end exactly with the horizon: 33%, 33% and 34% of 10 steps are `{write(thirds)}`.
Phases that are longer or shorter than the horizon are an error; they are never stretched silently.
"""


_OPERATIONS = (
    ("constant(2).then(linear(4))", "one after the other; each counts its own steps"),
    ("linear(6).times(exponential(0.5))", "the product; lengths must agree, or one has no end"),
    ("linear(6).scaled(0.5)", "all factors multiplied"),
    ("linear(6).floored(at=0.4)", "never below a floor"),
    ("linear(6).capped(at=0.6)", "never above a ceiling"),
    ("linear(3).repeated(2, per_cycle=0.5)", "again and again, each cycle lower"),
    ("inverse_sqrt(1).first(6)", "the beginning; gives an endless schedule an end"),
    ("linear(8).after(2)", "what is left after the beginning"),
    ('constant().cooled_down(4, at=2, shape="linear")', "stop at step 2 and decay from the factor there"),
    ("linear(3).extended(6)", "the same shape over another length"),
    ("linear(4).extended(6, at=2)", "another horizon from step 2 on, without a jump"),
    ('linear(4).extended(6, at=2, by="holding")', "the same, but first held at the factor of step 2"),
    ("linear(4).switched(cosine(6), at=2)", "another schedule from step 2 on, scaled so that nothing jumps"),
)


def _algebra() -> str:
    rows = []
    for code, what in _OPERATIONS:
        made: Schedule = eval(code, dict(_EVERYWHERE))
        rows.append((_code(code), what, _numbers(made.factors()), _code(write(made))))
    return f"""
## Putting schedules together

Each operation returns a new schedule. The factors are those of the updates 0 to 5.

{_table(("Python", "what it does", "factors", "written"), rows)}

`a.then(b).then(c)` equals `a.then(b.then(c))`. The changes of a running schedule (`cooled_down`, `extended`,
`switched`) never jump at the step where they begin. To begin later, put a constant
before: `constant(2).then(linear(4))`.
"""


def _catalog() -> str:
    sections = [_entry_section(entry) for entry in SCHEDULES.values()]
    head = """
## The catalog

t is the step and p = t / steps the progress, both counted from the end of the warmup if there is one. Pictures show
400 updates. `stepsize schedule list` prints this list."""
    return "\n\n".join([head.strip(), *sections])


def _entry_section(entry: ScheduleEntry) -> str:
    rows = [
        ("factor", _code(entry.formula)),
        ("written", _code(entry.written)),
        ("Python", _code(python_form(entry))),
        ("takes", ", ".join(f"`{parameter.name}`" for parameter in entry.parameters)),
    ]
    if entry.source:
        rows.append(("source", entry.source))
    title = f"{entry.title[0].upper()}{entry.title[1:]}."
    picture = f"![{entry.name}](images/schedules/{entry.name}.svg)"
    facts = _folded("Formula, written form, Python, arguments, source", _table(("", ""), rows))
    return f"### {entry.name}\n\n{title}\n\n{picture}\n\n{facts}"


def _shapes() -> str:
    rows = [
        (
            f"`{name}`",
            _code(shape.title),
            ", ".join(f"{each} = {default:g}" for each, default, _ in shape.parameters) or "–",
            shape.source or "–",
        )
        for name, shape in SHAPES.items()
    ]
    inexact = [f"`{name}`" for name, shape in SHAPES.items() if not shape.exact]
    return f"""
## Shapes

A shape is how a phase gets from one factor to another. It is written as a name, with its parameters in parentheses:
`cooldown 20% polynomial(3)`. The formulas fall from 1 at p = 0 to 0 at p = 1; a phase that rises uses them mirrored in
time. At the place of a schedule a shape is a decay along it: `polynomial(3) 100`.
{" and ".join(inexact)} are published formulas that do not end exactly there.

{_table(("shape", "formula", "parameters", "source"), rows)}
"""


# ------------------------------------------------- written form, momentum, decay


_EXAMPLES = (
    ("warmup 5% linear, constant 75%, cooldown 20% 1-sqrt", "phases that follow each other, separated by commas"),
    ("linear * exp gamma=0.1 every=50%", "a product, step by step; binds tighter than the comma"),
    ("wsd * 0.5", "a number is a constant factor"),
    ("warmup 5%, constant | floored 0.1", "a change applies to the phase right before the bar"),
    ("(warmup 5%, cosine) | floored 0.1", "or to a group in parentheses"),
    ("linear 300 | repeated 3", "three times"),
    ("multi-step 50%|75% gamma=0.1", "several durations"),
    ("points 0:0.1|20%:1|100%:0", "several points, step:factor"),
    ("wsd warmup=none cooldown=30% polynomial(3)", "None, and a shape with a parameter"),
    ("one-cycle start=0.95 peak=0.85 end=0.95", "momenta, for --momentum"),
    ("constant | cooled-down 20%", "stop and decay at the end of the horizon"),
)


def _written() -> str:
    rows = []
    for text, what in _EXAMPLES:
        eta = library.parse(text).over(1_000 if "300" not in text else 900)
        shown = _cells(eta, (0, 300, 600, (eta.length or 0) - 1))
        rows.append((_code(text), what, *shown))
    changes = ", ".join(f"`{name}`" for name in CHANGES)
    grammar = re.search(r"```\n(.*?)```", written_module.__doc__ or "", flags=re.DOTALL)
    assert grammar is not None
    fault = ""
    try:
        library.parse("warmup 5%, constnat 75%, cooldown 20%")
    except InputError as error:
        fault = "\n".join(str(error).splitlines()[:3])
    return f"""
## The written form

A schedule is one line of a small expression language, for the command line, configuration files and saved states.
`parse(text)` reads it, `write(schedule)` and `str(schedule)` write it, and reading what was written gives an equal
schedule. The factors are those of updates 0, 300, 600 and the last, over 1,000 steps (900 for the repeated one).

{_table(("written", "what it shows", "0", "300", "600", "last"), rows)}

A value without a name is the first duration that the call takes; a shape needs no name either. Everything else is
`name=value`. `none` is Python's None. The changes that may follow a bar: {changes}.

```
{grammar[1].rstrip()}
```

A mistake is shown where it is:

```
{fault}
```
"""


_TOGETHER = HyperparameterSchedule(
    library.one_cycle(), momentum=library.one_cycle_momentum(low=0.85, high=0.95), weight_decay="corrected"
)
_TOGETHER_PEAKS = Peaks(lr=0.1, momentum=0.9, weight_decay=5e-4)


def _together() -> str:
    shrinking = []
    eta = library.linear(4)
    for rule in get_args(DecayRule):
        values = HyperparameterSchedule(eta, weight_decay=rule).values(Peaks(0.1, weight_decay=0.01), np.arange(5.0))
        assert values.weight_decay is not None
        shrink = values.lr * values.weight_decay
        shrinking.append((f'`"{rule}"`', _numbers(values.weight_decay), _numbers(shrink)))
    momentum = library.points({0: 0.9, 4: 0.5})
    moved = HyperparameterSchedule(eta, momentum=momentum, keep_effective=True)
    kept = moved.values(Peaks(0.1, momentum=0.9), np.arange(5.0))
    assert kept.momentum is not None
    assert kept.effective_lr is not None
    moving = [
        ("momentum", _numbers(kept.momentum)),
        ("lr", _numbers(kept.lr)),
        ("lr / (1 − momentum)", _numbers(kept.effective_lr)),
    ]
    return f"""
## Momentum and weight decay beside the rate

`HyperparameterSchedule(rate, momentum=…, weight_decay=…, keep_effective=…)` says what an optimizer gets at each step.
`Peaks` are the values that it multiplies. `preview(schedule, peaks)` computes every update without training.

![One cycle with momentum against it and corrected weight decay](images/schedules/together.svg)

**Momentum** is a schedule of momenta, not of factors. With `keep_effective=True` the rate is corrected so
that lr / (1 − momentum) follows the schedule. This is for heavy-ball momentum; Adam's β₁ does not scale its update.
Here `linear(4)` with momentum from 0.9 to 0.5, at lr 0.1, steps 0 to 4:

{_table(("", "values"), moving)}

**Weight decay** has three rules, or its own schedule of factors. Decoupled optimizers (AdamW) shrink weights by
lr · weight decay at each update. So with `linear(4)`, lr 0.1 and weight decay 0.01, steps 0 to 4:

{_table(("rule", "weight decay", "lr · weight decay"), shrinking)}

`"follows"` is what torch does: the shrinkage follows the rate. `"independent"` keeps the shrinkage at its peak value
whatever the rate is. `"corrected"` makes it proportional to the square of the rate. 1 / (lr · weight decay) is the
number of steps over which weights forget; `stepsize schedule` shows it beside lr / (1 − momentum).
"""


def _together_info() -> ChartInfo:
    seen = preview(_TOGETHER.over(_UPDATES), _TOGETHER_PEAKS)
    every = {name: getattr(seen.values, name) for name in ("lr", "momentum", "weight_decay", "effective_lr")}
    curve = {name: values[:-1] for name, values in every.items()}  # updates only
    return schedule_info(
        seen.steps[:-1], {"one cycle": curve}, title="One cycle, momentum against it, corrected weight decay"
    )


# ------------------------------------------------------------------- details


def _open_wsd() -> Schedule:
    return library.warmup("5%").then(library.constant()).then(library.cooldown("20%"))


def _wsd() -> Schedule:
    return _open_wsd().over(10_000)


def _contract_row(name: str, eta: Schedule) -> tuple[str, ...]:
    points = [point for point in preview(eta, Peaks(1.0)).points if 0 < point.step < 999]
    shown = [f"{_number(eta(point.step))} at {point.step}" for point in points] or ["–"]
    return (f"`{name}`", *_cells(eta, (0,)), shown[0], shown[-1], *_cells(eta, (999, 1_000, 5_000)))


def _call(piece: str) -> str:
    name, *words = piece.split()
    entry = SCHEDULES[name]
    kinds = {parameter.name: parameter.kind for parameter in entry.parameters}
    unnamed = next((name for name, kind in kinds.items() if kind == "duration"), "")
    make: Callable[..., Schedule] = entry.make
    arguments = []
    if isinstance(make, functools.partial):
        arguments = [f"{key}={value!r}" for key, value in make.keywords.items()]
        make = make.func
    for word in words:
        key, given, value = word.rpartition("=")
        key = key if given else unnamed
        arguments.append(f"{key}={_literal(kinds[key], value)}")
    return f"{make.__name__}({', '.join(arguments)})".replace("'", '"')


def _literal(kind: str, text: str) -> str:
    if kind == "number":
        return repr(float(text)).removesuffix(".0")
    if kind == "durations":
        return f"[{', '.join(repr(part) for part in text.split('|'))}]"
    if kind == "points":
        pairs = (part.rsplit(":", 1) for part in text.split("|"))
        return "{" + ", ".join(f"{int(at) if at.isdigit() else at!r}: {float(value):g}" for at, value in pairs) + "}"
    if kind in ("duration", "shape", "word"):
        return text if text.isdigit() else repr(text)
    raise ValueError(kind)


def _cells(eta: Schedule, steps: Iterable[int]) -> tuple[str, ...]:
    return tuple(_number(eta(step)) for step in steps)


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(_number(float(value)) for value in values)


def _number(value: float) -> str:
    return "∞" if value == float("inf") else number_text(value)


def _code(text: str) -> str:
    """Return code for a cell of a table; a bar is an entity there, so that what a browser shows can be pasted."""
    return f"<code>{html.escape(text, quote=False).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")


def _svg(chart: Any) -> str:
    """Return a chart as SVG, the same on every run: short numbers, and ids that count from 1."""
    text = io.StringIO()
    chart.save(text, format="svg")
    found = _PLACES.sub(lambda place: _FRACTION.sub(_short, place[0]), text.getvalue())
    ids = list(dict.fromkeys(re.findall(r'id="([a-z]+\d+)"', found)))
    for number, name in enumerate(ids, start=1):
        found = re.sub(rf'(id="|url\(#){name}(?=["\)])', rf"\g<1>part{number}", found)
    return found


if __name__ == "__main__":
    main()
