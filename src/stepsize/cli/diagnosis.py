"""Reports on watched trainings: in the terminal, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.output import messages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stepsize.monitor import Entry, Report
    from stepsize.views import ReportView

__all__ = ["SEVERITY_COLOURS", "check_page_path", "findings_text", "save_page", "view_of_report"]

SEVERITY_COLOURS = {"info": "dim", "warning": "yellow", "critical": "red"}
_VERDICTS = {"fine": "green", "cannot tell": "dim"}
_PANELS = {
    "loss": ("loss", "val_loss"),
    "learning rate": ("lr/0", "lr/1", "lr/2"),
    "update / weight": ("update_ratio", "equilibrium"),
    "cosine of successive gradients": ("cosine",),
    "gradient norm": ("grad_norm",),
    "critical rate / rate": ("headroom",),
    "share left by clipping": ("clipped",),
}
_SERIES = {"loss": "training", "val_loss": "unseen data", "update_ratio": "measured"}
_MOST_POINTS = 400
_CLIPPED = 0.999


def findings_text(report: Report, acts: Sequence[Entry] = ()) -> RenderableType:
    """Return verdict, findings and acts as something that rich can show."""
    verdict = report.verdict
    parts: list[RenderableType] = [Text(report.read, style="dim")] if report.read else []
    parts += [
        Text.assemble(
            ("\nThe rate: ", "bold"),
            (f"{verdict.code}. ", f"bold {_VERDICTS.get(verdict.code, 'red')}"),
            verdict.reason,
        )
    ]
    parts += [
        Text.assemble(
            (f"\n{one.code}", f"bold {SEVERITY_COLOURS[one.severity]}"),
            (f"  {one.severity}, step {one.step:,}\n", "dim"),
            one.message,
            (f" {one.remedy}" if one.remedy else "", "bold"),
        )
        for one in report.findings
    ]
    if acts:
        parts.append(Text("\nWhat the guard did", style="bold"))
        parts += [Text(str(act)) for act in acts]
    if not report.findings:
        parts.append(Text("Nothing was found.", style="dim"))
    return Group(*parts)


def check_page_path(path: Path) -> Path:
    """Return where a page goes.

    Raises:
        InputError: If it is no name of a page, or lies in no folder that exists.
    """
    from stepsize.errors import InputError

    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError("html", str(path), "must end in .html", f"Name it '{path.stem}.html'")
    if not path.parent.is_dir():
        raise InputError("html", str(path), "must lie in a folder that exists", f"Create '{path.parent}' first")
    return path


def save_page(
    report: Report, path: Path, title: str, *, facts: Sequence[tuple[str, str]] = (), acts: Sequence[Entry] = ()
) -> None:
    """Write the report as one page and say so on stderr."""
    from stepsize.files import write_whole
    from stepsize.views import report_page

    write_whole(check_page_path(path), report_page(view_of_report(report, title, facts, acts)))
    messages().print(Text(f"Report saved to {path}"), soft_wrap=True)


def view_of_report(
    report: Report, title: str, facts: Sequence[tuple[str, str]] = (), acts: Sequence[Entry] = ()
) -> ReportView:
    """Return what the page of a report shows."""
    import numpy as np

    from stepsize.views import FindingView, ReportView

    def thinned(name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        signal = report.signals[name]
        parts = np.array_split(np.arange(len(signal.steps)), min(_MOST_POINTS, len(signal.steps)))
        values = [_mean(signal.values[part]) for part in parts]
        return signal.steps[[part[0] for part in parts]], np.asarray(values)

    def worth(name: str) -> bool:
        signal = report.signals.get(name)
        if signal is None or not len(signal.steps):
            return False
        return name != "clipped" or bool(np.nanmin(signal.values, initial=1.0) < _CLIPPED)

    panels = {
        panel: {_SERIES.get(name, name.replace("lr/", "group ")): thinned(name) for name in names if worth(name)}
        for panel, names in _PANELS.items()
    }
    findings = [
        FindingView(one.code, one.severity, one.step, one.message, one.remedy, one.reference, one.would_change)
        for one in report.findings
    ]
    verdict = report.verdict
    shown = {panel: series for panel, series in panels.items() if series}
    done = [str(act) for act in acts]
    return ReportView(title, report.status, verdict.code, verdict.reason, findings, shown, facts, done)


def _mean(values: NDArray[np.float64]) -> float:
    import numpy as np

    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
