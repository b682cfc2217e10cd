"""``stepsize translate``: a rate for one configuration, rescaled to another."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.failures import NO_ANSWER, reporting_failures
from stepsize.cli.options import JsonOption, number, pair
from stepsize.cli.output import facts, hint, print_json, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepsize.optimizers import Translation

NAME = "translate"
EXAMPLE = "stepsize translate 0.1 --from sgd --to momentum --batch-size 64:256"
_T = TypeVar("_T")


def command(
    lr: Annotated[
        float,
        typer.Argument(
            metavar="LR", parser=number, help="A rate that is good under the first conditions.", show_default=False
        ),
    ],
    *,
    from_: Annotated[
        str, typer.Option("--from", metavar="NAME", help="Optimizer that the rate is good for.", show_default=False)
    ],
    to: Annotated[
        str | None, typer.Option("--to", metavar="NAME", help="Optimizer to rescale it to. Default: the same.")
    ] = None,
    momentum: Annotated[str | None, typer.Option("--momentum", metavar="FROM:TO", help="Momentum, or beta1.")] = None,
    batch_size: Annotated[
        str | None, typer.Option("--batch-size", metavar="FROM:TO", help="Examples per update.")
    ] = None,
    horizon: Annotated[str | None, typer.Option("--horizon", metavar="FROM:TO", help="Steps of the full run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rescale a rate to another optimizer, momentum, batch size or horizon, with a range and its sources."""
    with reporting_failures():
        from stepsize.optimizers import Conditions, translate

        betas = _pair("--momentum", momentum, float, "0.9:0.95")
        sizes = _pair("--batch-size", batch_size, int, "64:256")
        horizons = _pair("--horizon", horizon, int, "1000:10000")
        before = Conditions(from_, betas[0], sizes[0], horizons[0])
        after = Conditions(to or from_, betas[1], sizes[1], horizons[1])
        found = translate(lr, from_=before, to=after)
        if as_json:
            print_json(asdict(found))
        else:
            show(render(found))
            if before == after:
                hint("Nothing changes: say what does with --to, --momentum, --batch-size or --horizon.")
        if found.lr is None:
            raise typer.Exit(NO_ANSWER)


def render(found: Translation) -> RenderableType:
    """Return where to start, the range, each rule and its warning, for rich."""
    from stepsize.curves.numerals import number_text, span_text

    start = "none: no scaling rule known" if found.lr is None else number_text(found.lr)
    rows: list[tuple[str, RenderableType]] = [
        ("start at", Text(start, style="bold cyan" if found.lr is not None else "bold yellow")),
        ("search from", span_text((found.low, found.high))),
    ]
    for rule in found.rules:
        low, high = number_text(rule.low), number_text(rule.high)
        rows.append((rule.what, f"× {number_text(rule.factor)} ({low} to {high}), holding {rule.held}"))
        rows.append(("", Text(rule.source, style="dim")))
    rows += [("careful", Text(f"{warning}.", style="yellow")) for warning in found.warnings]
    return Group(facts(rows))


def _pair(option: str, text: str | None, kind: Callable[[str], _T], example: str) -> tuple[_T | None, _T | None]:
    return (None, None) if text is None else pair(option, text, kind, example)
