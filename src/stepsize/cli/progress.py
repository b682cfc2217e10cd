"""What runs now, on stderr: a live display on a terminal, one line per tenth in a file, nothing if asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from stepsize.cli.output import messages
from stepsize.curves.numerals import number_text, span_text

if TYPE_CHECKING:
    from stepsize.study.comparing import CompareProgress
    from stepsize.study.finding import FindProgress
    from stepsize.study.study import StudyProgress
    from stepsize.training import Progress, Run

_FORESEEN = 0.02  # fraction of a budget from which the time left is shown
_BAR_WIDTH = 30
_REFRESHES = 8.0  # a second


class Meter(Protocol):
    """Takes how far a command is: the fraction done, what runs now, and the best so far."""

    def __call__(self, share: float, now: str, best: str = "") -> None: ...


@contextmanager
def metered(title: str, *, quiet: bool) -> Iterator[Meter]:
    """Show the progress of a command while the context lasts; if ``quiet``, on a terminal only."""
    console = messages()
    if console.is_interactive:
        with _LiveMeter(title, console) as live:
            yield live
    else:
        yield _nothing if quiet else _line_meter(console, title)


def show_find(meter: Meter, horizon: int, seed: int, progress: FindProgress) -> None:
    """Show where ``find`` is; runs on other seeds than ``seed`` are repeats."""
    answer = progress.answer
    parts = [] if answer.lr is None else [f"lr {number_text(answer.lr)} so far"]
    parts += [] if answer.as_good is None else [f"as good from {span_text(answer.as_good)}"]
    parts += _time_left(progress.study.seconds, progress.fraction)
    meter(progress.fraction, _tried(progress.study, horizon, seed), ", ".join(parts))


def _tried(study: StudyProgress, horizon: int, seed: int) -> str:
    """Return what is trained now, or what just ended, and why."""
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
    return [f"at most {_duration(left)} left"]


def show_sweep(meter: Meter, progress: StudyProgress) -> None:
    """Show where ``sweep`` is."""
    parts = [f"{progress.done} of {progress.done + progress.remaining} runs"]
    if progress.run is not None:
        parts.append(_ended(progress.run, progress.objective))
    elif progress.running is not None:
        parts.append(f"step {progress.running.step:,} of {progress.running.setting.steps:,}")
    meter(progress.fraction, ", ".join(parts), _so_far(progress))


def _ended(run: Run, objective: str) -> str:
    from stepsize.study.result import named

    return f"{named(run.trial)}: {'diverged' if run.diverged else f'{objective} {number_text(run.value, 4)}'}"


def _so_far(progress: StudyProgress) -> str:
    """Return the best run so far, what was spent, and the time that it will take, as far as known."""
    fresh = progress.done - progress.resumed
    parts = [] if progress.best is None else [f"best {_ended(progress.best, progress.objective)}"]
    parts.append(f"cost {number_text(progress.spent)} full runs")
    parts += [f"{progress.diverged} of {progress.done} diverged"] if progress.diverged else []
    parts += [f"about {_duration(progress.seconds / fresh * progress.remaining)} left"] if fresh else []
    return "; ".join(parts)


def show_compare(meter: Meter, progress: CompareProgress) -> None:
    """Show where ``compare`` is."""
    running = progress.sweep.running
    step = "" if running is None else f", step {running.step} of {running.setting.steps}"
    best = "" if progress.best is None else f"{progress.best[0]} {number_text(progress.best[1])}"
    where = f"{progress.done} of {progress.total} runs, {progress.contender.name}, {progress.phase}{step}"
    meter(progress.fraction, where, best)


def show_run(meter: Meter, progress: Progress) -> None:
    """Show where a run is."""
    steps = progress.setting.steps
    loss = "" if progress.loss is None else f", {_loss(progress.loss)}"  # a watched run never waits for it
    meter(progress.fraction, f"step {progress.step:,} of {steps:,}{loss}")


def range_watcher(meter: Meter, *, steps: int) -> Callable[[float, float], None]:
    """Return what the range test reports its progress to."""
    done = 0

    def watch(lr: float, loss: float) -> None:
        nonlocal done
        done += 1
        meter(min(1.0, done / steps), f"lr {number_text(lr)}, {_loss(loss)}")

    return watch


class _LiveMeter(Bar):
    """A spinner, a bar and two quiet lines."""

    def __init__(self, title: str, console: Console) -> None:
        self._lines = ("getting ready", "")
        columns = (
            SpinnerColumn(style="cyan"),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(_BAR_WIDTH, complete_style="cyan", finished_style="cyan"),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        super().__init__(*columns, console=console, refresh_per_second=_REFRESHES, transient=True)
        self._shown = self.add_task(title, total=1.0)

    def __call__(self, share: float, now: str, best: str = "") -> None:
        self._lines = (now, best)
        self.update(self._shown, completed=share)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield from (Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis") for line in self._lines)


def _line_meter(console: Console, title: str) -> Meter:
    """Return what prints one line per tenth that is done."""
    tenths = 0

    def meter(share: float, now: str, best: str = "") -> None:
        nonlocal tenths
        if int(10 * share) > tenths:
            tenths = int(10 * share)
            text = ", ".join(part for part in (now, best) if part)
            console.print(Text(f"{title}: {share:4.0%}, {text}"), soft_wrap=True)

    return meter


def _nothing(share: float, now: str, best: str = "") -> None:
    """Say nothing."""


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"


def _loss(loss: float | None) -> str:
    return "loss not known yet" if loss is None else f"loss {number_text(loss)}"
