"""What runs now, told on stderr: a live display on a terminal, a line a tenth in a file, nothing when asked."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from stepsize.cli.output import messages

if TYPE_CHECKING:
    from stepsize.training import Progress, Setting
    from stepsize.training.runs import Watcher

__all__ = ["Meter", "metered", "range_watcher", "search_watcher", "train_watcher"]

_BAR_WIDTH = 30
_REFRESHES = 8.0  # a second


class Meter(Protocol):
    """Takes where a verb is."""

    def __call__(self, share: float, now: str, best: str = "") -> None:
        """Take the share done, in [0, 1], what runs now, and the best so far."""


@contextmanager
def metered(title: str, *, quiet: bool) -> Iterator[Meter]:
    """Show the progress of a verb on stderr while the context lasts.

    Args:
        title: What is done, for example ``"find digits-mlp"``.
        quiet: Whether to say nothing where stderr is no terminal.

    Yields:
        What to tell the progress to; cheap enough to be told each step.
    """
    console = messages()
    if console.is_interactive:
        live = _LiveMeter(title)
        with Live(console=console, get_renderable=live.render, refresh_per_second=_REFRESHES, transient=True):
            yield live
    else:
        yield _nothing if quiet else _LineMeter(console, title)


def search_watcher(meter: Meter, *, horizon: int, budget: float) -> Watcher:
    """Return what ``find`` tells its progress to; the share is that of the budget, by updates alone."""
    return _Search(meter, horizon, budget)


def train_watcher(meter: Meter) -> Watcher:
    """Return what ``train`` tells its progress to."""

    def watch(progress: Progress) -> None:
        steps = progress.setting.steps
        loss = "" if progress.loss is None else f", {_loss(progress.loss)}"  # a watched training never waits for it
        meter(progress.step / steps, f"step {progress.step:,} of {steps:,}{loss}")

    return watch


def range_watcher(meter: Meter, *, steps: int) -> Callable[[float, float], None]:
    """Return what the range test tells its progress to."""
    from stepsize.views import number_text

    done = 0

    def watch(lr: float, loss: float) -> None:
        nonlocal done
        done += 1
        meter(min(1.0, done / steps), f"lr {number_text(lr)}, {_loss(loss)}")

    return watch


class _Search:
    """Follows the runs of a search, and remembers the best of the longest horizon."""

    def __init__(self, meter: Meter, horizon: int, budget: float) -> None:
        self._meter = meter
        self._horizon = horizon
        self._budget = budget
        self._updates = 0
        self._setting: Setting | None = None
        self._losses: deque[float] = deque(maxlen=1)
        self._best: tuple[int, float, float] | None = None  # horizon, loss, rate

    def __call__(self, progress: Progress) -> None:
        from stepsize.views import number_text

        setting = progress.setting
        if progress.stage == "range test":
            self._updates += 1
            share = min(1.0, self._updates / self._horizon / self._budget)
            self._meter(share, f"range test, lr {number_text(setting.lr)}, {_loss(progress.loss)}")
            return
        if setting is not self._setting:
            self._setting = setting
            self._losses = deque(maxlen=max(1, setting.steps // 10))
        self._updates += 1
        if progress.loss is not None:
            self._losses.append(progress.loss)
        if progress.step == setting.steps:
            self._compare(setting)
        spent = self._updates / self._horizon
        now = (
            f"{setting.steps:,} of {self._horizon:,} steps at lr {number_text(setting.lr)}, {_loss(progress.loss)}, "
            f"spent {spent:.2f} of {number_text(self._budget)} trainings"
        )
        best = "" if self._best is None else f"best so far: lr {number_text(self._best[2])}"
        self._meter(min(1.0, spent / self._budget), now, best)

    def _compare(self, setting: Setting) -> None:
        if not self._losses:
            return
        loss = sum(self._losses) / len(self._losses)
        if self._best is None or (setting.steps, -loss) > (self._best[0], -self._best[1]):
            self._best = (setting.steps, loss, setting.lr)


class _LiveMeter:
    """A spinner, a bar and two quiet lines; rendered by the display's own thread."""

    def __init__(self, title: str) -> None:
        self._began = time.monotonic()
        self._spinner = Spinner("dots", style="cyan")
        self._title = title
        self._share = 0.0
        self._lines = ("getting ready", "")

    def __call__(self, share: float, now: str, best: str = "") -> None:
        self._share, self._lines = share, (now, best)

    def render(self) -> RenderableType:
        head = Table.grid(padding=(0, 1))
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        bar = ProgressBar(
            total=1.0, completed=self._share, width=_BAR_WIDTH, complete_style="cyan", finished_style="cyan"
        )
        head.add_row(
            self._spinner, Text(self._title, style="bold"), bar, f"{self._share:4.0%}", f"{minutes}:{seconds:02d}"
        )
        return Group(head, *(Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis") for line in self._lines))


class _LineMeter:
    """A line for each tenth that is done."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._tenths = 0

    def __call__(self, share: float, now: str, best: str = "") -> None:
        if int(10 * share) <= self._tenths:
            return
        self._tenths = int(10 * share)
        text = ", ".join(part for part in (now, best) if part)
        self._console.print(Text(f"{self._title}: {share:4.0%}, {text}"), soft_wrap=True)


def _nothing(share: float, now: str, best: str = "") -> None:
    """Say nothing."""


def _loss(loss: float | None) -> str:
    from stepsize.views import number_text

    return "loss not known yet" if loss is None else f"loss {number_text(loss)}"
