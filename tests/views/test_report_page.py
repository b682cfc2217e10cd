"""The page of a watched training: marks at their steps, numbers that do not collide, nothing from elsewhere."""

from __future__ import annotations

import re

import numpy as np
import pytest

from stepsize.monitor import Finding, RateVerdict, Report
from stepsize.monitor.trace import LossPoints
from stepsize.views.report import report_info, report_page

STEPS = np.arange(100)


def view(*at: int, signals: tuple[str, ...] = ("loss", "cosine")) -> Report:
    found = [Finding("spike", "warning", step, f"It jumped at <{step}>.", remedy="Lower it & see.") for step in at]
    series = LossPoints(STEPS, np.cos(STEPS / 9))
    return Report(100, None, "SGD", RateVerdict.unknown("So."), tuple(found), dict.fromkeys(signals, series))


def test_findings_are_marked_where_they_happened_in_every_panel() -> None:
    infos = report_info(view(3, 50))
    for info in infos:
        assert [(mark.text, mark.x, mark.role) for mark in info.marks] == [("1", 3, "warning"), ("2", 50, "warning")]
    assert infos[0].panel.x.position(50) == pytest.approx(0.5, abs=0.02)


def test_numbers_that_would_collide_stand_in_rows() -> None:
    [info] = report_info(view(3, 5, 7, 60, signals=("loss",)))
    assert [mark.row for mark in info.marks] == [2, 1, 0, 0]
    page = report_page(view(*range(20), signals=("loss",)), "crowded").decode()
    heights = re.findall(r'aria-label="step: \d+; y: (\d+); number', page)
    assert len(heights) >= 20
    assert {float(height) for height in heights} == {9, 22, 35, 48}  # of a panel of 140


def test_the_page_needs_nothing_from_elsewhere_and_says_all() -> None:
    page = report_page(view(3), "net <1>", [("status", "done & over")], ["step 4: cut"]).decode()
    assert page.count("<svg") == 2
    assert set(re.findall(r"https?://[^\"' )]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    for absent in ("<script", "<link", "@import", "src="):
        assert absent not in page
    assert not re.search(r"url\((?!#)", page)
    names = re.findall(r'\sid="([^"]+)"', page)
    assert len(names) == len(set(names)) >= 2
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(names)
    for shown in ("net &lt;1&gt;", "It jumped at &lt;3&gt;.", "Lower it &amp; see.", "done &amp; over", "step 4: cut"):
        assert shown in page
    assert 'name="viewport"' in page
    assert "@media (prefers-color-scheme: dark)" in page


def test_a_page_without_signals_says_so() -> None:
    assert "No signals were saved." in report_page(view(signals=()), "net").decode()
