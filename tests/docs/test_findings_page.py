"""The page of findings is what its generator writes from the rules."""

from __future__ import annotations

from docs.make_findings import PAGE, page

from stepsize.monitor.rules.catalog import RULES


def test_the_committed_page_is_what_the_generator_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python docs/make_findings.py"


def test_codes_are_unique_and_on_the_page() -> None:
    codes = [rule.code for rule in RULES]
    assert len(set(codes)) == len(codes)
    assert all(f"`{code}`" in page() for code in codes)
