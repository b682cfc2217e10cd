"""``stepsize range-test``: ramps over the learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.failures import check_answer
from stepsize.cli.options import SeedOption, TaskOptions, option, pair, typed
from stepsize.cli.output import OutputOptions, facts, rate_lines, verdict_text
from stepsize.cli.progress import metered, range_watcher
from stepsize.cli.resolve import opened_task
from stepsize.curves.numerals import number_text, span_text

if TYPE_CHECKING:
    from stepsize.probe import RangeTest
    from stepsize.training import Task

NAME = "range-test"
EXAMPLE = "stepsize range-test digits-mlp --lr 1e-6:1 --plot range.png"


def command(
    asked: TaskOptions,
    *,
    steps: Annotated[int, option("N", "Steps to spend on ramps.")] = 300,
    lr: Annotated[str, option("LOW:HIGH", "Lowest and highest rate to consider.")] = "1e-7:10",
    seed: SeedOption = None,
    output: OutputOptions,
) -> None:
    """Raise the learning rate step by step, and report which rates learn and which diverge."""
    rates = pair("--lr", lr, float, "1e-6:1")
    from stepsize.probe import range_test

    with opened_task(asked) as opened, metered(f"range-test {opened.name}", quiet=output.as_json) as meter:
        on_progress = range_watcher(meter, steps=steps)
        found = range_test(opened, lr=rates, steps=steps, seed=seed, on_progress=on_progress)
    output.give(found.to_json, lambda: render(found, opened), lambda: found.plot(title=f"Range test of {opened.name}"))
    output.hint(f"For full runs: {typed('find', asked.task)}")
    check_answer(found.lr)


def render(found: RangeTest, task: Task) -> RenderableType:
    """Return the rate on a separate line, the verdict, and facts, for rich."""
    rates = {
        "loss falls from": found.low,
        "loss rises from": found.high,
        "diverges at": found.diverged_at,
        "critical rate": found.critical.lr,
    }
    rows: list[tuple[str, RenderableType]] = []
    if found.interval is not None:
        rows.append(("over the noise", f"{span_text(found.interval)} in 90% of resamplings"))
    rows += [(name, number_text(rate)) for name, rate in rates.items() if rate is not None]
    rows += [
        ("valid for", f"{task.optimizer_name}, constant rate, first steps only; for full runs use stepsize find"),
        ("cost", f"{found.calls} steps, {number_text(found.seconds)} s"),
    ]
    if not found.restored:
        rows.append(("restored", Text(f"no: {', '.join(found.differences)}", style="red")))
    title = Text(task.name, style="bold underline")
    return Group(title, *rate_lines(found.lr, None), verdict_text(found.verdict, found.reason), facts(rows))
