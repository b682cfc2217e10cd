"""The page of conformance, and the table behind it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.parity.cases import PEERS, Case, check_case, check_defect, peer
from tests.parity.page import PAGE, text, unlike_pinned
from tests.parity.rows_torch import PEER as TORCH

from stepsize.schedules import constant, linear


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
def test_the_page_is_what_the_table_gives_now() -> None:
    reason = unlike_pinned()
    if reason is not None:
        pytest.skip(reason)
    assert PAGE.read_text(encoding="utf-8") == text(), "write it anew: python -m tests.parity.page"


def test_no_row_stands_twice() -> None:
    for name in PEERS:
        found = peer(name)
        names = [case.name for case in found.cases] + [defect.name for defect in found.defects]
        assert len(names) == len(set(names))


def _linear(count: int) -> list[float]:
    return [max(0.0, 1 - step / 10) for step in range(count)]


def test_a_row_that_is_off_by_more_than_its_tolerance_fails() -> None:
    check_case(Case("linear", _linear, linear(10), 10, 5))
    with pytest.raises(AssertionError, match="Mismatched elements: 1 / 31"):
        check_case(Case("linear", lambda count: [1 + 2e-12, *_linear(count)[1:]], linear(10), 10, 5))


def test_a_row_that_agrees_further_than_it_says_fails() -> None:
    with pytest.raises(AssertionError, match="drop `agree`"):
        check_case(Case("linear", _linear, linear(10), 10, 5, agree=11, note="rises"))
    with pytest.raises(AssertionError, match="drop `since`"):
        check_case(Case("linear", _linear, linear(10), 10, 5, since=1, note="begins at 0"))


def test_a_peer_that_raises_where_it_must_agree_fails() -> None:
    broken = Case("linear", lambda count: [*_linear(count)[:-1], math.nan], linear(10), 10, 5)
    with pytest.raises(AssertionError, match="nan"):
        check_case(broken)
    check_case(replace(broken, agree=30, note="raises at update 30"))


def test_a_defect_that_is_fixed_or_shown_by_nothing_fails() -> None:
    rises = TORCH.defects[0]
    check_defect(rises)
    with pytest.raises(AssertionError, match="fixed"):
        check_defect(replace(rises, theirs=rises.ours.factors))
    with pytest.raises(AssertionError, match="shows nothing"):
        check_defect(
            replace(rises, theirs=lambda count: [1.0] * count, stated=(1.0,) * 5, ours=constant(), contract=(1.0,) * 5)
        )
