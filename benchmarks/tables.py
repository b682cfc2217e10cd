"""Markdown tables, and how they get into a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.record import between_markers

__all__ = ["markdown_table", "percent", "update_page"]


def markdown_table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def update_page(page: Path, name: str, content: str) -> None:
    """Put ``content`` between the markers ``name`` of ``page``."""
    page.write_text(between_markers(page.read_text(encoding="utf-8"), name, content), encoding="utf-8")


def percent(fraction: float) -> str:
    """Return a fraction as a percentage."""
    if math.isnan(fraction):
        return "?"
    value = 100 * fraction
    return f"{value:,.0f}%" if abs(value) >= 10 else f"{value:.1f}%"
