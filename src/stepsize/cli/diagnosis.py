"""Reports on watched runs: in the terminal, and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.output import say
from stepsize.cli.saved import verdict_style

if TYPE_CHECKING:
    from stepsize.monitor import Finding, GuardAction, RateVerdict, Report
    from stepsize.store import OrderRecord

_COLORS = {"info": "dim", "warning": "yellow", "critical": "red"}


def findings_text(
    report: Report, actions: Sequence[GuardAction] = (), orders: Sequence[OrderRecord] = (), *, most: int | None = None
) -> RenderableType:
    """Return verdict, findings, actions and orders, of each the last ``most``, as something that rich can show."""
    last, found = slice(None if most is None else -most, None), report.findings
    parts: list[RenderableType] = [Text(report.source, style="dim")] if report.source else []
    parts.append(_verdict_text(report.verdict))
    if len(found[last]) < len(found):
        parts.append(Text(f"\n{len(found) - len(found[last])} earlier findings", style="dim"))
    parts += map(_finding_text, found[last])
    parts += _steps_taken("Actions of the guard", map(str, actions[last]))
    parts += _steps_taken("Orders", map(_order_text, orders[last]))
    if not found:
        parts.append(Text("No findings.", style="dim"))
    return Group(*parts)


def _steps_taken(title: str, lines: Iterable[str]) -> list[RenderableType]:
    """Return lines with a title above them; nothing without lines."""
    shown = [Text(line) for line in lines]
    return [Text(f"\n{title}", style="bold"), *shown] if shown else []


def _order_text(order: OrderRecord) -> str:
    """Return an order, who gave it, and what became of it."""
    given = ", ".join(f"{name} {value}" for name, value in order.arguments.items() if value not in (None, False))
    step = "" if order.step is None else f" from step {order.step:,}"
    return f"{order.number}. {order.verb}{f' {given}' * bool(given)} by {order.who}: {order.state}{step}. {order.reply}"


def _verdict_text(verdict: RateVerdict) -> Text:
    """Return a verdict as a line of its own."""
    style = f"bold {verdict_style(verdict.code)}"
    return Text.assemble(("\nLearning rate: ", "bold"), (f"{verdict.code}. ", style), verdict.reason)


def _finding_text(finding: Finding) -> Text:
    """Return a finding as a heading, what was found, and the suggested fix."""
    fix = f"\nSuggested fix: {finding.remedy}" if finding.remedy else ""
    return Text.assemble(
        (f"\n{finding.code}", f"bold {_COLORS[finding.severity]}"),
        (f"  {finding.severity}, step {finding.step:,}\n", "dim"),
        finding.message,
        (fix, "bold"),
    )


def check_page_path(path: Path | None) -> None:
    """Refuse a place where no page can be written, before anything is read or trained."""
    from stepsize.checks import check_output_path

    if path is not None:
        check_output_path("html", path, (".html", ".htm"))


def save_page(
    report: Report,
    path: Path | None,
    title: str,
    *,
    facts: Sequence[tuple[str, str]] = (),
    actions: Sequence[GuardAction] = (),
) -> None:
    """Write the report as one page, if a path is given, and say so on stderr."""
    from stepsize.files import write_whole
    from stepsize.views import report_page

    if path is None:
        return
    write_whole(path, report_page(report, title, facts, actions))
    say(f"Report saved to {path}")
