"""``stepsize sweep TASK``: train many configurations, and recommend a learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import RenderableType

from stepsize.cli.failures import check_answer
from stepsize.cli.options import NOWHERE, RunOptions, StudyOptions, argument, kept_in, option, restored, stored
from stepsize.cli.output import OutputOptions, answer_of, hint
from stepsize.cli.progress import metered, show_sweep
from stepsize.cli.resolve import opened_task
from stepsize.cli.saved import again
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.study.result import SweepResult
    from stepsize.study.study import StudyProgress

NAME = "run"
EXAMPLE = "stepsize sweep digits-mlp --lr 1e-4:0.1 --plot sweep.png"
_SPACE = "LOW:HIGH, or comma-separated values"
_MOST = 100_000  # configurations or seeds: more than any machine can hold
Charts = Literal["rates", "map", "curves", "cost"]
NameArgument = Annotated[str, argument("NAME", "Name of the sweep (stepsize sweep show).")]


@dataclass(frozen=True)
class SweepOutput(OutputOptions):
    """Where the answer of a sweep goes."""

    chart: Annotated[Charts, typer.Option(help="What --plot draws.")] = "rates"

    def answer(self, found: SweepResult) -> None:
        """Print the answer, draw it, and exit with the code for no answer if there is none."""
        self.give(found.to_json, lambda: render(found), (lambda: found.plot(self.chart)) if found.runs else None)
        self.hint(f"Next: {found.next}")
        check_answer(found.lr)


def names_code(task: str) -> bool:
    """Return whether a task as typed names a file or a module, not a built-in task."""
    return ":" in task or "." in task


def _dimension(text: str) -> Any:
    return option("RANGE", f"{text}: {_SPACE}.")


@dataclass(frozen=True)
class _Dimensions:
    """What is searched, as it was typed."""

    lr: Annotated[str | None, _dimension("Peak rates")] = None
    momentum: Annotated[str | None, _dimension("Momentum or first beta")] = None
    beta2: Annotated[str | None, _dimension("Second beta")] = None
    weight_decay: Annotated[str | None, _dimension("Weight decay")] = None
    batch_size: Annotated[str | None, _dimension("Examples per batch")] = None
    warmup: Annotated[str | None, _dimension("Warmup, as a fraction of the horizon")] = None


def command(
    *,
    searched: _Dimensions,
    sampler: Annotated[str | None, option("NAME", "Sampler that proposes configurations.")] = None,
    trials: Annotated[int | None, option("N", "Number of configurations.", max=_MOST)] = None,
    seeds: Annotated[int, option("N", "Number of seeds for the best ones.", max=_MOST)] = 3,
    optimizer: Annotated[
        str | None, option("NAMES", "Instead of the task's own; comma-separated.", "--optimizer", "--optimizers")
    ] = None,
    schedule: Annotated[
        list[str] | None, option("TEXT", "Instead of the task's own; can be repeated.", "--schedule", "--schedules")
    ] = None,
    study: StudyOptions,
    output: SweepOutput,
) -> None:
    """Train many configurations, recommend a learning rate and the range that is as good, and say how sure that is.

    Each run is saved as it ends: the same command continues where it was stopped, and so does 'resume'.
    """
    space = {key: read_dimension(key, text) for key, text in vars(searched).items() if text is not None}
    schedules = schedule or []
    if len(schedules) > 1:
        space["schedule"] = list(schedules)
    if optimizer is not None and "," in optimizer:
        space["optimizer"] = [part.strip() for part in optimizer.split(",") if part.strip()]
        optimizer = None
    one = schedules[0] if len(schedules) == 1 else None
    asked = stored(RunOptions(study.task, optimizer, study.data, study.device, one, study.steps))
    options = {"sampler": sampler, "trials": trials, "seeds": seeds, "name": study.name, **space}
    train(asked, options, workers=study.workers, store=study.store, output=output)


def train(
    asked: Mapping[str, Any], options: Mapping[str, Any], *, workers: str, store: str, output: SweepOutput
) -> None:
    """Train a sweep or continue it, with the arguments ``options`` of :func:`stepsize.sweep`, and give its answer."""
    from stepsize.store.address import as_address
    from stepsize.study.sweeping import sweep

    begun: list[str] = []

    with opened_task(restored(asked)) as opened:
        try:
            with metered(f"sweep {opened.name}", quiet=output.as_json) as meter:

                def watch(progress: StudyProgress) -> None:
                    begun[:] = [progress.name]
                    show_sweep(meter, progress)

                found = sweep(
                    opened, workers=workers, store=kept_in(store), on_progress=watch, **{"asked": asked, **options}
                )
        except KeyboardInterrupt:
            if store == NOWHERE:
                hint("Nothing was saved: the sweep had --store none.")
            elif begun:
                yes = ["--yes"] * names_code(asked["task"])  # it was just run
                by = [] if workers == "population" else ["--workers", workers]
                resume = again("sweep resume", begun[0], store, *yes, *by)
                hint(f"Finished runs are saved in {as_address(store)}. Continue with: {resume}")
                if "://" in store:
                    hint("The password is left out there: write it into the URL, or set PGPASSWORD.")
            raise
    output.answer(found)


def read_dimension(name: str, text: str) -> Any:
    """Return the values of dimension ``name`` as typed: a tuple is a range, a list a choice, a number is fixed."""
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
