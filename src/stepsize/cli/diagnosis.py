"""Reports on watched runs: in the terminal, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.output import messages
from stepsize.cli.saved import verdict_style

if TYPE_CHECKING:
    from stepsize.monitor import Finding, GuardAction, RateVerdict, Report

_COLORS = {"info": "dim", "warning": "yellow", "critical": "red"}


def findings_text(report: Report, actions: Sequence[GuardAction] = ()) -> RenderableType:
    """Return verdict, findings and actions as something that rich can show."""
    parts: list[RenderableType] = [Text(report.source, style="dim")] if report.source else []
    parts += [verdict_text(report.verdict), *map(finding_text, report.findings)]
    if actions:
        parts += [Text("\nActions of the guard", style="bold"), *(Text(str(one)) for one in actions)]
    if not report.findings:
        parts.append(Text("No findings.", style="dim"))
    return Group(*parts)


def verdict_text(verdict: RateVerdict) -> Text:
    """Return a verdict as a line of its own."""
    style = f"bold {verdict_style(verdict.code)}"
    return Text.assemble(("\nLearning rate: ", "bold"), (f"{verdict.code}. ", style), verdict.reason)


def finding_text(finding: Finding) -> Text:
    """Return a finding as a heading, what was found, and the suggested fix."""
    fix = f"\nSuggested fix: {finding.remedy}" if finding.remedy else ""
    return Text.assemble(
        (f"\n{finding.code}", f"bold {_COLORS[finding.severity]}"),
        (f"  {finding.severity}, step {finding.step:,}\n", "dim"),
        finding.message,
        (fix, "bold"),
    )


def check_page_path(path: Path) -> Path:
    """Return where a page goes.

    Raises:
        InputError: If it does not end in .html, or its folder does not exist.
    """
    from stepsize.errors import InputError

    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError("html", str(path), "must end in .html", f"Name it '{path.stem}.html'")
    if not path.parent.is_dir():
        raise InputError("html", str(path), "must lie in a folder that exists", f"Create '{path.parent}' first")
    return path


def save_page(
    report: Report,
    path: Path,
    title: str,
    *,
    facts: Sequence[tuple[str, str]] = (),
    actions: Sequence[GuardAction] = (),
) -> None:
    """Write the report as one page and say so on stderr."""
    from stepsize.files import write_whole
    from stepsize.views import report_page

    write_whole(check_page_path(path), report_page(report, title, facts, actions))
    messages().print(Text(f"Report saved to {path}"), soft_wrap=True)
