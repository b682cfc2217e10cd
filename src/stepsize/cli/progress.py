"""What runs now, told on stderr: a live display on a terminal, a line a tenth in a file, nothing when asked."""

from __future__ import annotations

import time
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
    from stepsize.study.finding import FindProgress, FindWatcher
    from stepsize.study.study import StudyProgress
    from stepsize.training import Progress
    from stepsize.training.runs import Watcher

__all__ = ["Meter", "find_watcher", "metered", "range_watcher", "train_watcher"]

_FORESEEN = 0.02  # fraction of a budget from which the time left is told
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


def find_watcher(meter: Meter, *, horizon: int, seed: int) -> FindWatcher:
    """Return what ``find`` tells its progress to.

    Args:
        meter: Shows it.
        horizon: Steps of a full run.
        seed: Random seed of the first runs, from which repeats are told.
    """
    from stepsize.curves.numerals import number_text, span_text

    def watch(progress: FindProgress) -> None:
        answer = progress.answer
        parts = [] if answer.lr is None else [f"lr {number_text(answer.lr)} so far"]
        parts += [] if answer.as_good is None else [f"as good from {span_text(answer.as_good)}"]
        parts += _time_left(progress.study.seconds, progress.fraction)
        meter(progress.fraction, _tried(progress.study, horizon, seed), ", ".join(parts))

    return watch


def _tried(study: StudyProgress, horizon: int, seed: int) -> str:
    """Return what is trained now, or what just ended, and why."""
    from stepsize.curves.numerals import number_text

    if study.running is not None:
        setting = study.running.setting
        if setting.steps < horizon:
            kind = f"short run of {setting.steps:,} steps to locate the rate"
        else:
            kind = "full run" if setting.seed == seed else f"full run on another seed ({setting.seed})"
        return f"{kind}: lr {number_text(setting.lr)}, step {study.running.step:,}, {_loss(study.running.loss)}"
    if study.run is None:
        return "getting ready"
    ended = "diverged" if study.run.diverged else _loss(study.run.value)
    return f"run {study.done} ended: lr {number_text(study.run.lr)}, {ended}"


def _time_left(seconds: float, fraction: float) -> list[str]:
    if not _FORESEEN < fraction < 1:
        return []
    left = seconds * (1 - fraction) / fraction
    return [f"at most {left / 60:.0f} min left" if left >= 100 else f"at most {left:.0f} s left"]


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
