"""``stepsize train``: one run at one learning rate."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.diagnosis import check_page_path, findings_text, save_page
from stepsize.cli.failures import NO_ANSWER
from stepsize.cli.options import STORE, RunOptions, SeedOption, flag, kept_in, number, option
from stepsize.cli.output import OutputOptions, facts, hint
from stepsize.cli.progress import metered, show_run
from stepsize.cli.resolve import opened_task
from stepsize.cli.saved import again
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.study.following import Followed
    from stepsize.training import Run, Task
    from stepsize.views import Chart

NAME = "train"
EXAMPLE = "stepsize train digits-mlp --lr 0.01 --plot training.png"


def command(
    asked: RunOptions,
    *,
    lr: Annotated[float, option("X", "Peak learning rate.", parser=number)],
    seed: SeedOption = None,
    evals: Annotated[int, option("N", "Number of validation evaluations, including the final one.", min=1)] = 10,
    follow: Annotated[
        bool,
        flag("--follow", "Correct the learning rate by the validation loss (up to 2.5 times the cost of one run)."),
    ] = False,
    watch: Annotated[bool, flag("--watch", "Monitor the run and diagnose its learning rate.")] = False,
    guard: Annotated[bool, flag("--guard", "Monitor the run and roll back to a good state on divergence.")] = False,
    control: Annotated[bool, flag("--control", "Monitor the run and take orders (stepsize steer).")] = False,
    fork: Annotated[
        bool, flag("--fork", "Also fork a run at 25% of the steps to 0.5× and 2× the learning rate, and compare.")
    ] = False,
    html: Annotated[Path | None, option("PATH", "Write the report of --watch as one HTML page.")] = None,
    store: Annotated[
        str, option("WHERE", "Where --watch and --guard save the run: a path, a PostgreSQL URL, or none.")
    ] = STORE,
    name: Annotated[str | None, option("NAME", "Name of the watched run in the store. Default: the task's.")] = None,
    output: OutputOptions,
) -> None:
    """Train once at a learning rate and report the result."""
    check_page_path(html)
    watch = watch or guard or control or html is not None
    if follow and watch:
        raise InputError("follow", True, "cannot be combined with watch or guard", "Leave one of them out")
    from stepsize.monitor import watch_task as watching
    from stepsize.study.following import follow as following
    from stepsize.training import counterfactual, train

    with opened_task(asked) as opened, metered(f"train {opened.name}", quiet=output.as_json) as meter:
        on_progress = partial(show_run, meter)
        followed = following(opened, lr, seed=seed, on_progress=on_progress) if follow else None
        watched = None
        if watch:
            kept = kept_in(store)
            watched = watching(
                opened,
                lr,
                seed=seed,
                guarded=guard,
                on_progress=on_progress,
                store=kept,
                name=name,
                control=control,
            )
        forked = counterfactual(opened, lr, seed=seed) if fork else None
        done = followed or watched
        evals_at = _steps(opened.horizon, evals)
        run = done.run if done else train(opened, lr, seed=seed, evals=evals_at, on_progress=on_progress)

    def text() -> RenderableType:
        parts = [render(run, opened, followed)]
        parts += [] if watched is None else [findings_text(watched.report, watched.actions)]
        return Group(*parts, *([] if forked is None else [Text(f"\n{forked.status}")]))

    more = {} if forked is None else {"fork": forked.to_json()}
    output.give(
        lambda: {**(done or run).to_json(), **more},
        text,
        lambda: chart(run, opened),
    )
    if watched is not None:
        save_page(watched.report, html, opened.name, actions=watched.actions)
    if watched is not None and watched.name is not None:
        hint(f"Run saved. Show it with: {again('report', watched.name, store)}")
    if run.divergence is not None:
        raise typer.Exit(NO_ANSWER)


def render(run: Run, task: Task, followed: Followed | None = None) -> RenderableType:
    """Return a table of facts about a run, and how it ended, for rich."""
    setting = run.setting
    rows = [("learning rate", number_text(setting.lr))]
    if followed is not None:
        rows[0] = ("learning rate", f"{number_text(setting.lr)}, begun at {number_text(followed.start)}")
        rows.append(("chosen", followed.reason))
    if run.divergence is None:
        rows.append(("training loss", f"{number_text(run.train_loss)}, mean of the last tenth"))
    if run.evaluations:
        final = run.evaluations[-1]
        rows.append(("validation loss", number_text(final.loss)))
        rows += [(f"validation {name}", number_text(value)) for name, value in final.metrics.items()]
    full_runs = "" if followed is None else f", {followed.cost:.1f} full runs"
    rows += [
        (
            "valid for",
            f"{task.optimizer_name}, schedule {task.schedule_name}, {setting.steps:,} steps, seed {setting.seed}",
        ),
        ("cost", f"{number_text(run.seconds)} s{full_runs}"),
    ]
    color = "green" if run.divergence is None else "red"
    return Group(Text(task.name, style="bold underline"), facts(rows), Text(f"\n{run.status}", style=f"bold {color}"))


def chart(run: Run, task: Task) -> Chart:
    """Return the chart of a run, with the rate of each step."""
    from stepsize.training.stepping import rung_schedule

    setting = run.setting
    factor = rung_schedule(task, setting.steps)
    rates = [setting.lr * factor(step) for step in range(len(run.losses))]
    conditions = f"{task.optimizer_name}, schedule {task.schedule_name}, seed {setting.seed}."
    return run.plot(f"Loss vs. step: {task.name} at lr {number_text(setting.lr)}", conditions, lrs=rates)


def _steps(horizon: int, count: int) -> list[int]:
    count = min(count, horizon)
    return sorted({max(1, round(horizon * part / count)) for part in range(1, count + 1)})
