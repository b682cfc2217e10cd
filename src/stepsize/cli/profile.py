"""``stepsize profile``: what about data and model makes the rate what it is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stepsize.cli.options import SeedOption, TaskOptions, option
from stepsize.cli.output import OutputOptions
from stepsize.cli.progress import metered, show_run
from stepsize.cli.resolve import opened_task
from stepsize.curves.numerals import number_text, span_text

if TYPE_CHECKING:
    from stepsize.probe import Advice, Profile, ProfileMeasurement

NAME = "profile"
EXAMPLE = "stepsize profile digits-mlp --plot profile.svg"


def command(
    asked: TaskOptions,
    *,
    batches: Annotated[
        int | None, option("N", "Batches whose gradients are compared. Default: by the horizon.")
    ] = None,
    seed: SeedOption = None,
    output: OutputOptions,
) -> None:
    """Measure the properties of data and model that determine the learning rate, and advise."""
    from stepsize.probe import profile

    with opened_task(asked) as opened, metered(f"profile {opened.name}", quiet=output.as_json) as meter:
        found = profile(opened, seed=seed, batches=batches, on_progress=partial(show_run, meter))
    drawn = (lambda: found.plot(title=f"Profile of {opened.name}")) if found.facts.noise else None
    output.give(found.to_json, lambda: render(found), drawn)


def render(found: Profile) -> RenderableType:
    """Return the measured quantities, numbered advice with its evidence, and what was not measured, for rich."""
    facts = found.facts
    head = Text.assemble(
        (facts.task, "bold underline"),
        f"  {facts.optimizer}, batch size {facts.batch_size}, {facts.horizon:,} steps",
    )
    parts: list[RenderableType] = [head, Text(), _measured(found.measured), Text()]
    for number, advice in enumerate(found.advice, start=1):
        parts.append(_advice(number, advice))
    parts += [Text(f"Not measured: {sentence}", style="yellow") for sentence in found.unavailable]
    parts.append(Text(found.status, style="dim"))
    if not found.restored:
        parts.append(Text("The data position could not be restored.", style="red"))
    return Group(*parts)


def _measured(measured: tuple[ProfileMeasurement, ...]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for each in measured:
        table.add_row(each.name, _value(each), each.follows)
    return table


def _value(measured: ProfileMeasurement) -> str:
    unit = f" {measured.unit}" if measured.unit else ""
    spread = "" if measured.interval is None else f" ({span_text(measured.interval)})"
    digits = 4 if measured.name.startswith(("loss", "entropy")) else 3  # what is read by comparing
    return f"{number_text(measured.value, digits)}{unit}{spread}"


def _advice(number: int, advice: Advice) -> RenderableType:
    return Group(
        Text.assemble((f"{number}. {advice.about.capitalize()}. ", "bold green"), advice.sentence),
        Padding(Text(f"Evidence: {advice.evidence}", style="dim"), (0, 0, 0, 3)),
        Padding(Text(f"To confirm: {advice.confirm}", style="dim"), (0, 0, 1, 3)),
    )
