"""The signals of watched runs in panels: which ones, on which axes, and how lines are told apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepsize.views.axes import Axis, step_axis, value_axis
from stepsize.views.theme import COLORS, DASHES

Series: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps and values."""

_PANELS: dict[str, tuple[str, ...]] = {
    "loss": ("loss", "val_loss"),
    "learning rate": tuple(f"lr/{group}" for group in range(len(DASHES))),
    "momentum": tuple(f"momentum/{group}" for group in range(len(DASHES))),
    "update / weight": ("update_ratio",),
    "cosine of successive gradients": ("cosine",),
    "gradient norm": ("grad_norm",),
    "critical learning rate / learning rate": ("headroom",),
    "gradient norm after / before clipping": ("clipped",),
}
_TITLE = {"val_loss": "validation loss", "loss": "training loss"}
SHOWN_SIGNALS = frozenset(name for names in _PANELS.values() for name in names)
"""Names of the signals that are shown."""

_CLIPPED = 0.999
_LEAST_RATE = 1e-3  # of the highest one


@dataclass(frozen=True)
class SignalLine:
    """A signal of a run: its name on the page, its color and its dashes; no two of a panel have both in common."""

    run: str
    signal: str
    name: str
    color: str
    dash: tuple[float, ...]


@dataclass(frozen=True)
class SignalPanel:
    """A panel: its title, the axes for the points so far, and what it shows."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[SignalLine, ...]


def signals_info(runs: Mapping[str, Mapping[str, Series]], planned: int = 0) -> tuple[SignalPanel, ...]:
    """Return the panels of one run, or of several runs on top of each other; all ``planned`` steps are on the axis.

    Example:
        >>> import numpy as np
        >>> signals = {"loss": (np.arange(3), np.array([2.0, 1.0, 0.5])), "lr/0": (np.arange(3), np.full(3, 0.1))}
        >>> [(panel.title, [one.name for one in panel.lines]) for panel in signals_info({"net": signals})]
        [('loss', ['training']), ('learning rate', ['group 0'])]
        >>> [(panel.title, [one.name for one in panel.lines]) for panel in signals_info({"a": signals, "b": signals})]
        [('training loss', ['a', 'b']), ('learning rate', ['a', 'b'])]
    """
    last = max((int(steps[-1]) for one in runs.values() for steps, _ in one.values() if len(steps)), default=0)
    x = step_axis(max(last, planned))
    panels = []
    for title, signals in _wanted(alone=len(runs) < 2).items():
        known = [(run, name) for name in signals for run, one in runs.items() if _is_shown(name, one)]
        if (y := _axis(title, (runs[run][name] for run, name in known))) is not None:
            panels.append(SignalPanel(title, x, y, _lines(known, list(runs))))
    return tuple(panels)


def _is_shown(name: str, signals: Mapping[str, Series]) -> bool:
    """Return whether there is anything of a signal: a panel of ones says nothing of clipping."""
    if name not in signals or not len(signals[name][0]):
        return False
    return name != "clipped" or bool(np.nanmin(signals[name][1], initial=1.0) < _CLIPPED)


def _name(signal: str) -> str:
    """Return the name of a signal within its panel."""
    return {"loss": "training", "val_loss": "validation"}.get(signal, re.sub(r".*/", "group ", signal))


def _axis(title: str, series: Iterable[Series]) -> Axis | None:
    """Return the axis of a panel, with the first value of each series: the start of a run is not an outlier.

    Rates of less than a thousandth of the highest, as at the end of a schedule, are beyond it.
    None if nothing is finite.
    """
    finite = [kept for _, values in series if (kept := values[np.isfinite(values)]).size]
    if title == "learning rate" and finite:
        least = _LEAST_RATE * max(float(values.max()) for values in finite)
        finite = [kept for values in finite if (kept := values[values >= least]).size]
    if not finite:
        return None
    return replace(
        value_axis(np.concatenate(finite), "", may_log=True, keep=[float(one[0]) for one in finite]), count=4
    )


def _wanted(*, alone: bool) -> dict[str, tuple[str, ...]]:
    """Return the signals of each panel: of one run together, of several runs one signal a panel, and one group."""
    if alone:
        return _PANELS
    every = [(title, name) for title, names in _PANELS.items() for name in names]
    return {_TITLE.get(name, title): (name,) for title, name in every if name.partition("/")[2] in ("", "0")}


def _lines(known: Sequence[tuple[str, str]], runs: Sequence[str]) -> tuple[SignalLine, ...]:
    """Return the series with their looks: of several runs a run has the same one in all panels."""
    found = []
    for place, (run, signal) in enumerate(known):
        alone = len(runs) == 1
        index = place if alone else runs.index(run)
        name = _name(signal) if alone else run
        dash = DASHES[(index + index // len(COLORS)) % len(DASHES)]
        found.append(SignalLine(run, signal, name, COLORS[index % len(COLORS)], tuple(dash)))
    return tuple(found)
