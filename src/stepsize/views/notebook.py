"""Results in a notebook: one line and a picture instead of every number, and a bar while something runs."""

from __future__ import annotations

import html
import io
import sys
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from stepsize.errors import StepsizeError
from stepsize.views.vega import Chart

_EVERY = 0.2  # seconds between two pictures of a bar
_WIDTH = 30  # characters of a bar in a terminal


class Pictured:
    """A result that prints as one line and that a notebook shows with its chart."""

    @property
    @abstractmethod
    def status(self) -> str:
        """What it says, as sentences."""

    @abstractmethod
    def plot(self) -> Chart:
        """Return its chart."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.status}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return bundle(repr(self), self.status, self.plot)


def bundle(plain: str, status: str, plot: Callable[[], Chart]) -> dict[str, str]:
    """Return what a notebook shows: text and picture; only text if the chart cannot be drawn."""
    picture = io.StringIO()
    try:
        plot().save(picture, format="svg")
    except (StepsizeError, ImportError):  # nothing to draw, or the extra 'plot' is missing
        return {"text/plain": plain}
    return {"text/plain": plain, "text/html": f"<p>{html.escape(status)}</p>{picture.getvalue()}"}


def progress_bar(title: str = "") -> Callable[[Any], None]:
    """Return a progress bar for ``on_progress=``: in a notebook as an element of the page, else on stderr.

    Args:
        title: Text before the bar.

    Example:
        >>> import stepsize
        >>> task = stepsize.build_task("cancer-mlp", optimizer="adamw", steps=200)
        >>> found = stepsize.find(task, budget=3, on_progress=stepsize.progress_bar("find"))
    """
    shown, last = _handle(), 0.0

    def show(progress: Any) -> None:
        nonlocal last
        fraction = min(1.0, progress.fraction)
        if fraction < 1 and time.monotonic() < last + _EVERY:
            return
        last = time.monotonic()
        answer = getattr(progress, "answer", None)
        lr = getattr(answer, "lr", None)
        now = "" if lr is None else f", lr {lr:.3g} so far"
        shown(fraction, f"{title} {fraction:.0%}{now}".strip())

    return show


def _handle() -> Callable[[float, str], None]:
    """Return what draws a bar: a display of IPython that is updated in place, or a line of stderr."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return _on_stderr
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)

    def draw(fraction: float, text: str) -> None:
        handle.update(HTML(f'<progress value="{fraction:.3f}" max="1"></progress> {html.escape(text)}'))

    return draw


def _on_stderr(fraction: float, text: str) -> None:
    bar = "#" * round(fraction * _WIDTH)
    sys.stderr.write(f"\r[{bar:<{_WIDTH}}] {text}" + ("\n" if fraction >= 1 else ""))
    sys.stderr.flush()
