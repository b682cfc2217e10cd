"""``stepsize translate``: a rate for one configuration, rescaled to another."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.failures import check_answer
from stepsize.cli.options import JsonOption, argument, number, option, pair
from stepsize.cli.output import facts, give, hint
from stepsize.curves.numerals import number_text, span_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepsize.optimizers import Translation

NAME = "translate"
EXAMPLE = "stepsize translate 0.1 --from sgd --to momentum --batch-size 64:256"
_T = TypeVar("_T")


def command(
    lr: Annotated[float, argument("LR", "A rate that is good under the first conditions.", parser=number)],
    *,
    from_: Annotated[str, option("NAME", "Optimizer that the rate is good for.", "--from")],
    to: Annotated[str | None, option("NAME", "Optimizer to rescale it to. Default: the same.")] = None,
    momentum: Annotated[str | None, option("FROM:TO", "Momentum, or beta1.")] = None,
    batch_size: Annotated[str | None, option("FROM:TO", "Examples per update.")] = None,
    horizon: Annotated[str | None, option("FROM:TO", "Steps of the full run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rescale a rate to another optimizer, momentum, batch size or horizon, with a range and its sources."""
    from stepsize.optimizers import Conditions, translate

    betas = _pair("--momentum", momentum, float, "0.9:0.95")
    sizes = _pair("--batch-size", batch_size, int, "64:256")
    horizons = _pair("--horizon", horizon, int, "1000:10000")
    before = Conditions(from_, betas[0], sizes[0], horizons[0])
    after = Conditions(to or from_, betas[1], sizes[1], horizons[1])
    found = translate(lr, from_=before, to=after)
    give(lambda: asdict(found), lambda: render(found), as_json=as_json)
    if before == after and not as_json:
        hint("Nothing changes: say what does with --to, --momentum, --batch-size or --horizon.")
    check_answer(found.lr)


def render(found: Translation) -> RenderableType:
    """Return where to start, the range, each rule and its warning, for rich."""
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
