"""Writes what was measured: between the markers of a page, as charts, and as a record of numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import between_markers, header
from docs.guide.charts import stacked
from docs.guide.measuring import Measured

from stepsize.files import write_whole
from stepsize.views import save_chart

__all__ = ["FIGURES", "FOLDER", "NUMBERS", "figure_file", "gists", "numbers_of", "write"]

FOLDER = Path(__file__).parent
FIGURES = FOLDER.parent / "images" / "guide"
NUMBERS = FOLDER / "numbers"


def write(page: str, measured: Measured) -> None:
    """Write the page, figures and numbers of one chapter.

    Raises:
        ValueError: If the page lacks a marker, or a number is not finite.
    """
    bad = [name for name, value in measured.numbers.items() if not math.isfinite(value)]
    if bad:
        raise ValueError(f"{page}: not finite: {', '.join(bad)}")
    path = FOLDER / f"{page}.md"
    text = path.read_text(encoding="utf-8")
    for name, content in measured.blocks.items():
        text = between_markers(text, name, content)
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, charts in measured.figures.items():
        save_chart(stacked(*charts), figure_file(name))
    record = header("") | {"command": f"python -m docs.guide --only {page}"}
    told = {"record": record, "gist": measured.gist, "numbers": {k: _short(v) for k, v in measured.numbers.items()}}
    NUMBERS.mkdir(exist_ok=True)
    written = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(NUMBERS / f"{page}.json", written.encode("utf-8"))
    write_whole(path, text.encode("utf-8"))


def figure_file(name: str) -> Path:
    """Return where a figure lies."""
    return FIGURES / f"{name}.svg"


def numbers_of(page: str) -> dict[str, float]:
    """Return the numbers that a chapter last wrote."""
    numbers: dict[str, float] = _record(page)["numbers"]
    return numbers


def gists(pages: tuple[str, ...]) -> Mapping[str, str]:
    """Return the sentence of each chapter that has been measured."""
    return {page: _record(page)["gist"] for page in pages if (NUMBERS / f"{page}.json").exists()}


def _record(page: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((NUMBERS / f"{page}.json").read_text(encoding="utf-8"))
    return record


def _short(value: float) -> float:
    return float(f"{value:.6g}")
