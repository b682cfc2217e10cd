"""``stepsize find``: the whole answer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.failures import NO_ANSWER, reporting_failures
from stepsize.cli.options import (
    DataOption,
    DeviceOption,
    JsonOption,
    OptimizerOption,
    PlotOption,
    ScheduleOption,
    SeedOption,
    StepsOption,
    TaskArgument,
    number,
)
from stepsize.cli.output import facts, hint, print_json, save_plot, show, verdict_text
from stepsize.cli.progress import metered, search_watcher
from stepsize.cli.resolve import Wishes, opened_task

if TYPE_CHECKING:
    from stepsize.study import Found
    from stepsize.views import Chart

__all__ = ["EXAMPLE", "NAME", "command", "render"]

NAME = "find"
EXAMPLE = "stepsize find digits-mlp --plot lr.png"


def command(
    task: TaskArgument,
    *,
    budget: Annotated[
        float, typer.Option("--budget", metavar="X", parser=number, help="What may be spent, in trainings.")
    ] = 1.0,
    optimizer: OptimizerOption = None,
    schedule: ScheduleOption = None,
    steps: StepsOption = None,
    data: DataOption = None,
    device: DeviceOption = None,
    seed: SeedOption = None,
    gain: Annotated[
        float | None,
        typer.Option(
            "--gain",
            metavar="X",
            parser=number,
            help="How many times cheaper each of eight rates at once is: measured, so that it may come out "
            "differently; given, the plan is the same again.",
        ),
    ] = None,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend a peak learning rate for a training, from short trainings within a budget."""
    with reporting_failures():
        from stepsize.views import check_plot_path, number_text

        path = None if plot is None else check_plot_path(plot)
        from stepsize.study import find

        with (
            opened_task(task, Wishes(optimizer, steps, data, device, schedule)) as opened,
            metered(f"find {opened.name}", quiet=as_json) as meter,
        ):
            watcher = search_watcher(meter, horizon=opened.horizon, budget=budget)
            found = find(opened, budget, seed=seed, gain=gain, watcher=watcher)
        if as_json:
            print_json(found.to_json())
        else:
            show(render(found, budget))
        if path is not None:
            chart = _chart(found)
            if chart is None:
                hint("No chart: nothing was trained.")
            else:
                save_plot(chart, path)
        if not found.verdict.trustworthy:
            raise typer.Exit(NO_ANSWER)
        if not as_json and found.lr is not None:
            again = ["stepsize", "train", task, "--lr", number_text(found.lr), *_repeated(optimizer, steps, data)]
            hint(f"Train with it: {shlex.join(again)}")


def render(found: Found, budget: float) -> RenderableType:
    """Return the answer as something that rich can show.

    Args:
        found: The answer of ``find``.
        budget: What might have been spent, in trainings.

    Returns:
        A table of facts and the verdict.
    """
    from stepsize.curves.numerals import span_text
    from stepsize.views import number_text

    cost = found.cost
    rows: list[tuple[str, RenderableType]] = [
        ("learning rate", Text("none" if found.lr is None else number_text(found.lr), style="bold cyan"))
    ]
    if found.interval is not None:
        rows.append(("interval", span_text(found.interval)))
    if found.train_optimum is not None:
        rows.append(("training loss", f"alone would choose {number_text(found.train_optimum)}"))
    rows += [
        ("for", str(found.conditions)),
        (
            "cost",
            f"{cost.trainings:.2f} of {number_text(budget)} trainings in {cost.runs} short runs, "
            f"{number_text(cost.seconds)} s",
        ),
    ]
    if not found.restored:
        rows.append(("restored", Text("no: random generators or data positions are not as they were", style="red")))
    return Group(Text(found.conditions.task, style="bold underline"), facts(rows), verdict_text(found.verdict))


def _chart(found: Found) -> Chart | None:
    """Return the lr curve, or what there is where nothing was trained."""
    if found.curve.runs:
        return found.plot()
    return None if found.range_test is None else found.range_test.plot()


def _repeated(optimizer: str | None, steps: int | None, data: Path | None) -> list[str]:
    """Return the options that the next command must have too."""
    given = {"--optimizer": optimizer, "--steps": steps, "--data": data}
    return [part for name, value in given.items() if value is not None for part in (name, str(value))]
