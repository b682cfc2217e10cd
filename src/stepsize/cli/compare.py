"""``stepsize compare``: optimizers and schedules, each at its own tuned rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.failures import NO_ANSWER
from stepsize.cli.options import NOWHERE, RunOptions, StudyOptions, kept_in, option, stored, typed
from stepsize.cli.output import OutputOptions, facts, hint, verdict_text
from stepsize.cli.progress import metered, show_compare
from stepsize.cli.resolve import opened_task
from stepsize.curves.numerals import number_text

if TYPE_CHECKING:
    from stepsize.study.comparison import Comparison, ContenderResult

NAME = "compare"
EXAMPLE = "stepsize compare digits-mlp --optimizers sgd,momentum,adam --plot compare.png"
Charts = Literal["final", "rates", "steps"]


@dataclass(frozen=True)
class _Output(OutputOptions):
    chart: Annotated[Charts, typer.Option(help="What --plot draws.")] = "final"


def command(
    *,
    optimizers: Annotated[
        str | None,
        option(
            "NAMES",
            "Comma-separated optimizer names. Default: sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw.",
            "--optimizers",
            "--optimizer",
        ),
    ] = None,
    schedules: Annotated[
        list[str] | None,
        option(
            "TEXT",
            "Instead of the task's own; given several times, each optimizer is tuned with each.",
            "--schedules",
            "--schedule",
        ),
    ] = None,
    trials: Annotated[int, option("N", "Number of runs that find the rate of each.")] = 9,
    seeds: Annotated[int, option("N", "Number of final runs of each.", max=100_000)] = 3,
    study: StudyOptions,
    output: _Output,
) -> None:
    """Tune each optimizer and schedule with an equal budget, and say which is better by more than the noise.

    Each run is saved as it ends: the same command continues where it was stopped.
    """
    from stepsize.study.comparing import CLASSICS, compare

    names = list(CLASSICS) if optimizers is None else [part.strip() for part in optimizers.split(",")]
    asked = RunOptions(study.task, data=study.data, device=study.device, steps=study.steps)
    try:
        with opened_task(asked) as opened, metered(f"compare {opened.name}", quiet=output.as_json) as meter:
            found = compare(
                opened,
                names,
                schedules=schedules or None,
                trials=trials,
                seeds=seeds,
                workers=study.workers,
                store=kept_in(study.store),
                name=study.name,
                on_progress=partial(show_compare, meter),
                asked=stored(asked),
            )
    except KeyboardInterrupt:
        if study.store == NOWHERE:
            hint("Nothing was saved: the comparison had --store none.")
        else:
            hint("Finished runs are saved. Run the same command to continue.")
        raise
    output.give(found.to_json, lambda: render(found), lambda: found.plot(output.chart))
    output.hint(f"Next: {_next(found, study.task)}")
    if found.verdict == "no answer":
        raise typer.Exit(NO_ANSWER)


def _next(found: Comparison, task: str) -> str:
    """Return what to do now: the command that settles the rate of the best, if there is one."""
    best = found.best
    if best is None:
        return found.next
    return typed("find", task, optimizer=best.contender.optimizer, schedule=best.contender.schedule)


def render(found: Comparison) -> RenderableType:
    """Return the answer for rich: a table, and the verdict."""
    rows: list[tuple[str, RenderableType]] = [
        ("valid for", f"{found.conditions.horizon:,} steps, selected by {found.conditions.objective}"),
        (
            "protocol",
            f"{found.trials} tuning runs on one seed, then {len(found.seeds)} final run"
            f"{'s' * (len(found.seeds) != 1)} on other seeds",
        ),
        (
            "cost",
            f"{number_text(found.cost.full_runs)} full runs in {found.cost.runs} runs, {number_text(found.seconds)} s",
        ),
    ]
    title = Text(f"{found.conditions.task}: optimizers at their tuned learning rates", style="bold underline")
    return Group(title, Text(""), _table(found), Text(""), verdict_text(found.verdict, found.status), facts(rows))


def _table(found: Comparison) -> Table:
    objective = found.conditions.objective
    all_losses = {
        "training loss": [one.train_loss for one in found.contenders],
        "validation loss": [one.val_loss for one in found.contenders],
    }
    losses = {
        name: values
        for name, values in all_losses.items()
        if name != objective and any(math.isfinite(value) for value in values)
    }
    short = [name.replace("validation", "val").replace("training", "train") for name in (objective, *losses)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    headings = ("lr", short[0], "std over seeds", *short[1:], f"steps to {number_text(found.target)}")
    for heading in (*headings, "as good (×)", "diverges at", "tuning (full runs)"):
        table.add_column(heading, justify="right")
    for place, one in enumerate(found.contenders):
        style = "bold cyan" if one.name in found.tied_with_best else ""
        table.add_row(Text(one.name, style=style), *_cells(one, [values[place] for values in losses.values()]))
    return table


def _cells(one: ContenderResult, losses: list[float]) -> list[str]:
    import numpy as np

    def written(value: float | None) -> str:
        return "–" if value is None or math.isnan(value) else number_text(value)

    values = [value for value in one.values.values() if math.isfinite(value)]
    as_good = None if one.answer is None else one.answer.as_good
    steps = one.target_step
    return [
        "none" if one.lr is None else number_text(one.lr) + (" (open)" if one.open else ""),
        f"{one.diverged} diverged" if one.diverged else written(one.value if one.final_runs else None),
        written(float(np.std(values, ddof=1)) if len(values) > 1 else None),
        *map(written, losses),
        "never" if math.isinf(steps) else "–" if math.isnan(steps) else f"{steps:,.0f}",
        "–" if as_good is None else number_text(as_good[1] / as_good[0], 2),
        written(None if one.tuning is None else one.tuning.lowest_diverged),
        f"{one.tuning_cost:.1f}" if one.tuning_cost else "none",
    ]
