"""The Markdown tables that docs/benchmarks.md shows, made from the records alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.combos import Combo, all_combos
from benchmarks.record import between_markers, read_rows
from benchmarks.truth_curve import TruthCurve

__all__ = ["markdown_table", "per_task_table", "percent", "regret_report", "tool_table", "truth_table", "update_page"]

Row = Mapping[str, Any]
_PLACES = {"design tasks": False, "held-out tasks": True, "all tasks": None}


def regret_report(record: Path, curves: Mapping[Combo, TruthCurve]) -> str:
    """Return every table of the regret record, with the sentences that say how to read them."""
    rows = [row for row in read_rows(record) if "regret" in row]
    if not rows:
        return "No pick could be scored yet."
    head = json.loads(record.read_text(encoding="utf-8"))["record"]
    parts = [_about(head, rows, curves)]
    for title, held_out in _PLACES.items():
        chosen = [row for row in rows if held_out is None or _combo(row).held_out == held_out]
        if chosen:
            count = len({_combo(row) for row in chosen})
            parts += [f"### {title.capitalize()} ({count} tasks × optimizers)", tool_table(chosen)]
    parts += ["### Median regret on each task", per_task_table(rows), "### The truth", truth_table(curves)]
    return "\n\n".join(parts)


def _about(head: Row, rows: Sequence[Row], curves: Mapping[Combo, TruthCurve]) -> str:
    seeds = sorted({curve.seeds for curve in curves.values()})
    errors = [curve.best_error for curve in curves.values() if not math.isnan(curve.best_error)]
    noise = f"{percent(float(np.median(errors)))} in the median" if errors else "unknown with one seed"
    tool_seeds = ", ".join(str(seed) for seed in sorted({row["seed"] for row in rows}))
    machine, versions = head["machine"], head["versions"]
    return (
        f"Regret: final validation loss above that of the best rate, in per cent of it. Tools ran with the seeds "
        f"{tool_seeds}; the truth is the mean over {'–'.join(map(str, seeds))} other seeds, and its standard error "
        f"at the best rate is {noise}. "
        f"A diverged training counts as an untrained model; no answer counts with the optimizer's default rate. "
        f"Cost is in trainings, by forward and backward passes. "
        f"Commit {head['commit']}, {head['date'][:10]}, {machine['cores']} cores ({machine['processor']}), "
        f"Python {versions['python']}, torch {versions['torch']}."
    )


def tool_table(rows: Iterable[Row]) -> str:
    """Return one line a tool: median, p90 and worst regret, picked ÷ best rate, cost, diverged, no answer."""
    lines = []
    for tool, own in _by(rows, lambda row: row["tool"]).items():
        regrets = [row["regret"] for row in own]
        ratios = [row["picked_to_best"] for row in own if row["picked_to_best"] is not None]
        costs = [row["cost"] for row in own if row["cost"] is not None]
        lines.append(
            [
                tool,
                percent(float(np.median(regrets))),
                percent(float(np.quantile(regrets, 0.9))),
                percent(max(regrets)),
                f"{_times(min(ratios))} … {_times(max(ratios))}" if ratios else "–",
                f"{np.median(costs):.2g} ({max(costs):.2g})" if costs else "–",
                str(sum(row["diverged"] for row in own)),
                str(sum(row["lr"] is None for row in own)),
                str(len(own)),
            ]
        )
    heads = ["what picks the rate", "median", "p90", "worst", "rate picked ÷ best"]
    return markdown_table([*heads, "cost: median (most)", "diverged", "no answer", "picks"], lines)


def per_task_table(rows: Iterable[Row]) -> str:
    """Return the median regret of every tool on every task × optimizer; ``!`` marks that a pick diverged."""
    rows = list(rows)
    tools = list(_by(rows, lambda row: row["tool"]))
    lines = []
    for combo, own in _by(rows, _combo).items():
        cells = []
        for tool in tools:
            picks = [row for row in own if row["tool"] == tool]
            mark = "!" if any(row["diverged"] for row in picks) else ""
            cells.append(percent(float(np.median([row["regret"] for row in picks]))) + mark if picks else "–")
        lines.append([f"{combo.task}, {combo.optimizer}{' (held out)' if combo.held_out else ''}", *cells])
    return markdown_table(["task", *tools], lines)


def truth_table(curves: Mapping[Combo, TruthCurve]) -> str:
    """Return the best rate of every task × optimizer, its loss, and how wide the good rates lie around it."""
    lines = []
    for combo in (combo for combo in all_combos() if combo in curves):
        curve = curves[combo]
        low, high = curve.good(0.05)
        safe = curve.lrs[~curve.diverged.any(axis=0)]
        lines.append(
            [
                f"{combo.task}, {combo.optimizer}",
                f"{curve.best_lr:.2g}{' (edge)' if curve.at_edge else ''}",
                f"{curve.best_loss:.4g} ± {percent(curve.best_error)}",
                f"{curve.cap:.3g}",
                f"{low:.2g} … {high:.2g}",
                f"{safe.max():.2g}" if len(safe) else "none",
                str(curve.seeds),
            ]
        )
    heads = ["task", "best rate", "best loss ± standard error", "untrained", "regret ≤ 5 %", "highest not diverged"]
    return markdown_table([*heads, "seeds"], lines)


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def update_page(page: Path, name: str, content: str) -> None:
    """Put ``content`` between the markers ``name`` of ``page``."""
    page.write_text(between_markers(page.read_text(encoding="utf-8"), name, content), encoding="utf-8")


def _combo(row: Row) -> Combo:
    return Combo(row["task"], row["optimizer"])


def _by(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"


def percent(fraction: float) -> str:
    """Return a fraction as people read it, in per cent."""
    if math.isnan(fraction):
        return "?"
    value = 100 * fraction
    return f"{value:,.0f} %" if abs(value) >= 10 else f"{value:.1f} %"
