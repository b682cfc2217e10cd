"""``stepsize compare``: optimizers and schedules, each at its own tuned rate."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.failures import NO_ANSWER, reporting_failures
from stepsize.cli.options import (
    DataOption,
    DeviceOption,
    JsonOption,
    PlotOption,
    ScheduleOptions,
    StepsOption,
    TaskArgument,
    TaskOptions,
)
from stepsize.cli.output import facts, hint, print_json, save_plot, show, verdict_text
from stepsize.cli.progress import metered
from stepsize.cli.resolve import opened_task
from stepsize.cli.sweep.run import NOWHERE, STORE, StoreOption, WorkersOption, kept_in
from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.cli.progress import Meter
    from stepsize.study import CompareProgress, Comparison, Round, Standing

__all__ = ["EXAMPLE", "NAME", "command", "render"]

NAME = "compare"
EXAMPLE = "stepsize compare digits-mlp --optimizers sgd,momentum,adam --plot compare.png"
Charts = Literal["final", "rates", "steps"]


def command(
    task: TaskArgument,
    *,
    optimizers: Annotated[
        str | None,
        typer.Option(
            "--optimizers",
            "--optimizer",
            metavar="NAMES",
            help="Between commas. Default: sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw.",
            show_default=False,
        ),
    ] = None,
    schedules: Annotated[
        list[str] | None,
        typer.Option(
            "--schedules",
            "--schedule",
            metavar="TEXT",
            help="Instead of the task's own; given several times, each optimizer is tuned with each.",
        ),
    ] = None,
    batch_sizes: Annotated[
        str | None, typer.Option("--batch-sizes", metavar="NUMBERS", help="Compare anew at each; between commas.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", metavar="N", help="Runs that find the rate of each.")] = 9,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", help="Final runs of each.", max=100_000)] = 3,
    target: Annotated[
        float | None,
        typer.Option("--target", metavar="LOSS", help="Tell the steps to this training loss. Default: the median end."),
    ] = None,
    drift: Annotated[
        float | None,
        typer.Option("--drift", metavar="TURNS", help="Turn the inputs this far around during a run.", min=0),
    ] = None,
    workers: WorkersOption = "population",
    store: StoreOption = STORE,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Of the comparison in the store.")] = None,
    steps: StepsOption = None,
    data: DataOption = None,
    device: DeviceOption = None,
    plot: PlotOption = None,
    chart: Annotated[Charts, typer.Option("--chart", help="What --plot draws.")] = "final",
    as_json: JsonOption = False,
) -> None:
    """Tune each optimizer and schedule with an equal budget, and say which is better beyond the noise.

    Each run is kept as it ends: the same command goes on where it was stopped.
    """
    with reporting_failures():
        if plot is not None:
            from stepsize.views import check_plot_path

            plot = check_plot_path(plot)
        from stepsize.study import CLASSICS, compare

        names = list(CLASSICS) if optimizers is None else [part.strip() for part in optimizers.split(",")]
        sizes = None if batch_sizes is None else [_size(part, batch_sizes) for part in batch_sizes.split(",")]
        kept = {
            "task": task,
            "steps": steps,
            "drift": drift,
            "data": None if data is None else str(data),
            "device": device,
        }
        try:
            with (
                opened_task(TaskOptions(task, None, data, device), ScheduleOptions(steps=steps)) as opened,
                metered(f"compare {opened.name}", quiet=as_json) as meter,
            ):
                from stepsize.tasks import drifting

                found = compare(
                    opened if drift is None else drifting(opened, drift),
                    names,
                    schedules=schedules or None,
                    batch_sizes=sizes,
                    trials=trials,
                    seeds=seeds,
                    target=target,
                    workers=workers,
                    store=kept_in(store),
                    name=name,
                    watcher=_watcher(meter),
                    asked={key: value for key, value in kept.items() if value is not None},
                )
        except KeyboardInterrupt:
            if store == NOWHERE:
                hint("Nothing was kept: the comparison had --store none.")
            else:
                hint("What ended is kept: the same command goes on from there.")
            raise
        if as_json:
            print_json(found.to_json())
        else:
            show(render(found))
        if plot is not None:
            save_plot(found.plot(chart), plot)
        if not as_json:
            hint(f"Next: {_next(found, task)}")
        if found.verdict == "no answer":
            raise typer.Exit(NO_ANSWER)


def _next(found: Comparison, task: str) -> str:
    """Return what to do now: the command that settles the rate of the best, if there is one."""
    best = found.rounds[0].best
    if found.verdict not in ("distinguishable", "alone") or best is None:
        return found.next
    schedule = [] if best.contender.schedule is None else ["--schedule", best.contender.schedule]
    return shlex.join(["stepsize", "find", task, "--optimizer", best.contender.optimizer, *schedule])


def render(found: Comparison) -> RenderableType:
    """Return the answer as something that rich can show: a table a round, and the verdict."""
    from stepsize.curves.numerals import number_text

    rows: list[tuple[str, RenderableType]] = [
        ("valid for", f"{found.conditions.horizon:,} steps, selected by {found.conditions.objective}"),
        (
            "each",
            f"tuned with {found.trials} runs on one seed (cost in full runs), then trained on {len(found.seeds)} "
            f"other{'s' * (len(found.seeds) != 1)}",
        ),
        (
            "cost",
            f"{number_text(found.cost.full_runs)} full runs in {found.cost.runs} runs, {number_text(found.seconds)} s",
        ),
    ]
    tables: list[RenderableType] = []
    for one in found.rounds:
        if one.batch_size is not None:
            tables.append(Text(f"batch size {one.batch_size}", style="bold"))
        tables += [_table(one, found.conditions.objective), Text("")]
    title = Text(f"{found.conditions.task}: each at its own tuned rate", style="bold underline")
    return Group(title, Text(""), *tables, verdict_text(found.verdict, found.status), facts(rows))


def _table(one: Round, judge: str) -> Table:
    from stepsize.curves.numerals import number_text

    beside = _beside(one, judge)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    losses = [name.replace("validation", "val").replace("training", "train") for name in (judge, *beside)]
    headings = ("lr", losses[0], "std over seeds", *losses[1:], f"steps to {number_text(one.target)}")
    for heading in (*headings, "as good (×)", "diverges at", "tuning cost"):
        table.add_column(heading, justify="right")
    for standing in one.standings:
        leading = standing.contender.name in one.leaders
        cells = _cells(standing, [values[standing.contender.name] for values in beside.values()])
        table.add_row(Text(standing.contender.name, style="bold cyan" if leading else ""), *cells)
    return table


def _beside(one: Round, judge: str) -> dict[str, dict[str, float]]:
    """Return the losses that are known beside the one that judges."""
    losses = {
        "training loss": {standing.contender.name: standing.train_loss for standing in one.standings},
        "validation loss": {standing.contender.name: standing.val_loss for standing in one.standings},
    }
    return {
        name: values
        for name, values in losses.items()
        if name != judge and any(math.isfinite(value) for value in values.values())
    }


def _cells(standing: Standing, losses: list[float]) -> list[str]:
    import numpy as np

    from stepsize.curves.numerals import number_text

    def told(value: float | None) -> str:
        return "–" if value is None or math.isnan(value) else number_text(value)

    values = [value for value in standing.judged.values() if math.isfinite(value)]
    tuning = standing.tuning
    as_good = None if standing.answer is None else standing.answer.as_good
    steps = standing.target_step
    return [
        "none" if standing.lr is None else number_text(standing.lr) + (" (open)" if standing.open else ""),
        f"{standing.diverged} diverged" if standing.diverged else told(standing.value if standing.finals else None),
        told(float(np.std(values, ddof=1)) if len(values) > 1 else None),
        *map(told, losses),
        "never" if math.isinf(steps) else "–" if math.isnan(steps) else f"{steps:,.0f}",
        "–" if as_good is None else number_text(as_good[1] / as_good[0], 2),
        told(None if tuning is None else tuning.lowest_diverged),
        f"{standing.tuning_cost:.1f}" if standing.tuning_cost else "none",
    ]


def _watcher(meter: Meter) -> Any:
    from stepsize.curves.numerals import number_text

    def told(progress: CompareProgress) -> None:
        running = progress.sweep.running
        step = "" if running is None else f", step {running.step} of {running.setting.steps}"
        best = "" if progress.best is None else f"{progress.best[0]} {number_text(progress.best[1])}"
        where = f"{progress.done} of {progress.total} runs, {progress.contender.name}, {progress.phase}{step}"
        meter(progress.done / progress.total, where, best)

    return told


def _size(part: str, text: str) -> int:
    try:
        return int(part)
    except ValueError:
        raise InputError("--batch-sizes", text, "must be whole numbers between commas", "For example 32,128") from None
