"""Every figure of performance on a page is in the measured tables."""

from __future__ import annotations

import re

import pytest
from tests.docs.blocks import ROOT

_FIGURE = re.compile(r"\d[\d,.]*(?= ?(?:%|×))|\d+ of \d+")
_CLAIMING = ("index.md", "choose.md", "caveats.md")


def figures(text: str) -> set[str]:
    """Return the figures of a text: percentages, factors, and so many of so many."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {figure.rstrip(".,") for figure in _FIGURE.findall(prose)}


@pytest.mark.parametrize("name", _CLAIMING)
def test_every_figure_of_a_page_stands_in_the_benchmarks(name: str) -> None:
    measured = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    claimed = figures((ROOT / "docs" / name).read_text(encoding="utf-8"))

    assert len(claimed) >= 4
    assert [one for one in sorted(claimed) if not re.search(rf"(?<![\d.,]){re.escape(one)}(?![\d,])", measured)] == []


def test_a_figure_that_nobody_measured_is_noticed() -> None:
    assert figures("regret of 12.34%, 8× faster, on 17 of 24, not in `5`\n```\n99%\n```") == {
        "12.34",
        "8",
        "17 of 24",
    }
