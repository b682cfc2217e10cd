"""``stepsize sweep TASK``: train many configurations, and recommend a learning rate."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import RenderableType

from stepsize.cli.failures import NO_ANSWER, reporting_failures
from stepsize.cli.options import (
    NOWHERE,
    STORE,
    DataOption,
    DeviceOption,
    JsonOption,
    PlotOption,
    ScheduleOptions,
    StepsOption,
    StoreOption,
    TaskArgument,
    TaskOptions,
    WorkersOption,
    kept_in,
)
from stepsize.cli.output import answer_of, hint, plot_path, print_json, save_plot, show
from stepsize.cli.resolve import opened_task
from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.study.result import SweepResult
    from stepsize.study.study import StudyProgress

NAME = "run"
EXAMPLE = "stepsize sweep digits-mlp --lr 1e-4:0.1 --plot sweep.png"
_SPACE = "LOW:HIGH, or comma-separated values"
Charts = Literal["rates", "map", "curves", "cost"]

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the sweep (stepsize sweep show).", show_default=False)
]
ChartOption = Annotated[Charts, typer.Option("--chart", help="What --plot draws.")]
_MOST = 100_000  # configurations or seeds: more than any machine can hold


def names_code(task: str) -> bool:
    """Return whether a task as typed names a file or a module, not a built-in task."""
    return ":" in task or "." in task


def _dimension(flag: str, text: str) -> Any:
    return typer.Option(flag, metavar="RANGE", help=f"{text}: {_SPACE}.")


def command(
    task: TaskArgument,
    *,
    lr: Annotated[str | None, _dimension("--lr", "Peak rates")] = None,
    momentum: Annotated[str | None, _dimension("--momentum", "Momentum or first beta")] = None,
    beta2: Annotated[str | None, _dimension("--beta2", "Second beta")] = None,
    weight_decay: Annotated[str | None, _dimension("--weight-decay", "Weight decay")] = None,
    batch_size: Annotated[str | None, _dimension("--batch-size", "Examples per batch")] = None,
    warmup: Annotated[str | None, _dimension("--warmup", "Warmup, as a fraction of the horizon")] = None,
    sampler: Annotated[
        str | None, typer.Option("--sampler", metavar="NAME", help="Sampler that proposes configurations.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Number of configurations.", max=_MOST)
    ] = None,
    rungs: Annotated[str, typer.Option("--rungs", metavar="NAME", help="full, halving, asha or hyperband.")] = "full",
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", help="Number of seeds for the best ones.", max=_MOST)
    ] = 3,
    workers: WorkersOption = "population",
    store: StoreOption = STORE,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the sweep in the store.")] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer", "--optimizers", metavar="NAMES", help="Instead of the task's own; comma-separated."
        ),
    ] = None,
    schedule: Annotated[
        list[str] | None,
        typer.Option("--schedule", "--schedules", metavar="TEXT", help="Instead of the task's own; can be repeated."),
    ] = None,
    steps: StepsOption = None,
    data: DataOption = None,
    device: DeviceOption = None,
    plot: PlotOption = None,
    chart: ChartOption = "rates",
    as_json: JsonOption = False,
) -> None:
    """Train many configurations, recommend a learning rate and the range that is as good, and say how sure that is.

    Each run is saved as it ends: the same command continues where it was stopped.
    """
    with reporting_failures():
        given = {
            "lr": lr,
            "momentum": momentum,
            "beta2": beta2,
            "weight_decay": weight_decay,
            "batch_size": batch_size,
            "warmup": warmup,
        }
        space = {key: read_dimension(key, text) for key, text in given.items() if text is not None}
        schedules = schedule or []
        if len(schedules) > 1:
            space["schedule"] = list(schedules)
        if optimizer is not None and "," in optimizer:
            space["optimizer"] = [part.strip() for part in optimizer.split(",") if part.strip()]
            optimizer = None
        asked = Asked(
            task=task,
            optimizer=optimizer,
            schedule=schedules[0] if len(schedules) == 1 else None,
            steps=steps,
            data=None if data is None else str(data),
            device=device,
        )
        options = {"sampler": sampler, "trials": trials, "rungs": rungs, "seeds": seeds, "name": name, **space}
        train(asked, options, workers=workers, store=store, outlet=Outlet(plot, chart, as_json))


@dataclass(frozen=True)
class Asked:
    """What the task of a sweep is made from; it is stored with the sweep."""

    task: str
    optimizer: str | None = None
    schedule: str | None = None
    steps: int | None = None
    data: str | None = None
    device: str | None = None

    @property
    def options(self) -> tuple[TaskOptions, ScheduleOptions]:
        """The same as the options of the command line."""
        data = None if self.data is None else Path(self.data)
        return TaskOptions(self.task, self.optimizer, data, self.device), ScheduleOptions(self.schedule, self.steps)


@dataclass(frozen=True)
class Outlet:
    """Where an answer is shown."""

    plot: Path | None = None
    chart: Charts = "rates"
    as_json: bool = False

    def check(self) -> None:
        """Raise InputError if a chart cannot be saved there: before anything is trained."""
        plot_path(self.plot)

    def give(self, found: SweepResult) -> None:
        """Print the answer, draw it, and exit with the code for no answer if there is none."""
        if self.as_json:
            print_json(found.to_json())
        else:
            show(render(found))
        if self.plot is not None:
            if found.runs:
                save_plot(found.plot(self.chart), self.plot)
            else:
                hint("No chart: no run has ended.")
        if not self.as_json:
            hint(f"Next: {found.next}")
        if found.lr is None:
            raise typer.Exit(NO_ANSWER)


def train(asked: Asked, options: dict[str, Any], *, workers: str, store: str, outlet: Outlet) -> None:
    """Train a sweep or continue it, with the arguments ``options`` of :func:`stepsize.sweep`, and give its answer."""
    outlet.check()
    from stepsize.cli.sweep.table import SweepScreen
    from stepsize.study.sweeping import sweep

    begun: list[str] = []

    with opened_task(*asked.options) as opened:
        try:
            with SweepScreen(f"sweep {opened.name}", quiet=outlet.as_json) as screen:

                def watch(progress: StudyProgress) -> None:
                    begun[:] = [progress.name]
                    screen.update(progress)

                kept = {name: value for name, value in asdict(asked).items() if value is not None}
                found = sweep(
                    opened, workers=workers, store=kept_in(store), on_progress=watch, **{"asked": kept, **options}
                )
        except KeyboardInterrupt:
            if store == NOWHERE:
                hint("Nothing was saved: the sweep had --store none.")
            elif begun:
                yes = ["--yes"] * names_code(asked.task)  # it was just run
                again = ["stepsize", "sweep", "resume", begun[0], *yes, *_unless(STORE, store), *_workers(workers)]
                hint(f"Finished runs are saved in {_hidden(store)}. Continue with: {shlex.join(again)}")
                if "://" in store:
                    hint("The password is left out there: write it into the URL, or set PGPASSWORD.")
            raise
    outlet.give(found)


def _unless(default: str, store: str) -> list[str]:
    return [] if store == default else ["--store", _hidden(store)]


def _workers(name: str) -> list[str]:
    return [] if name == "population" else ["--workers", name]


def _hidden(store: str) -> str:
    """Return where the store is, without its password."""
    from stepsize.store.address import as_address

    return str(as_address(store))


def read_dimension(name: str, text: str) -> Any:
    """Return the values of dimension ``name`` as typed: a tuple is a range, a list a choice, a number is fixed.

    Example:
        >>> read_dimension("lr", "1e-4:0.1"), read_dimension("batch_size", "32,64"), read_dimension("momentum", "0.9")
        ((0.0001, 0.1), [32, 64], 0.9)
    """
    if ":" in text:
        low, _, high = text.partition(":")
        return _number(name, low, text), _number(name, high, text)
    values = [_number(name, part, text) for part in text.split(",")]
    return values if len(values) > 1 or name == "lr" else values[0]


def _number(name: str, part: str, text: str) -> float | int:
    try:
        return int(part)
    except ValueError:
        pass
    try:
        return float(part)
    except ValueError:
        option = "--" + name.replace("_", "-")
        raise InputError(option, text, f"must be {_SPACE}", f"For example {option} 0.001:0.1") from None


def render(found: SweepResult) -> RenderableType:
    """Return the answer for rich: the rate on a line of its own, the range that is as good, the verdict, and facts."""
    from stepsize.curves.numerals import number_text
    from stepsize.study.result import named

    summary = found.summary
    rows: list[tuple[str, RenderableType]] = []
    if found.best is not None:
        over = f"{number_text(summary.value, 4)} over {summary.seeds} seed{'s' * (summary.seeds != 1)}"
        rows.append(("best configuration", f"{named(found.best)}: {found.conditions.objective} {over}"))
    if summary.comparison is not None and summary.runner_up is not None:
        rows.append(
            ("runner-up", summary.comparison.told_of("the best", f"the runner-up ({named(summary.runner_up)})"))
        )
    if summary.train_optimum is not None:
        rows.append(("by training loss", f"lr {number_text(summary.train_optimum.lr)}"))
    if found.sensitivity is not None:
        rows.append(("sensitivity", f"{number_text(found.sensitivity.value)} mean excess loss over three decades"))
    return answer_of(found, rows)
