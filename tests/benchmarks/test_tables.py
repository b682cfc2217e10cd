from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.record import between_markers, header, read_rows, write_record
from benchmarks.tables import update_page


def test_a_page_keeps_what_lies_outside_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- regret:begin -->\nold\n<!-- regret:end -->\nafter\n", encoding="utf-8")
    update_page(page, "regret", "new\n")
    update_page(page, "regret", "newer\n")
    assert page.read_text(encoding="utf-8") == "before\n<!-- regret:begin -->\nnewer\n<!-- regret:end -->\nafter\n"


@pytest.mark.parametrize(
    "text", ["nothing", "<!-- a:end --><!-- a:begin -->", "<!-- a:begin --><!-- a:begin --><!-- a:end -->"]
)
def test_a_page_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must hold <!-- a:begin -->"):
        between_markers(text, "a", "new")


def test_a_record_says_where_and_with_what_it_was_made(tmp_path: Path) -> None:
    head = header("regret --seeds 1")
    assert head["command"] == "python -m benchmarks regret --seeds 1"
    assert head["machine"]["cores"] >= 1
    assert head["versions"]["torch"].startswith("2.")
    path = tmp_path / "deep" / "record.json"
    write_record(path, head, [{"a": 1}, {"a": None}])
    assert read_rows(path) == [{"a": 1}, {"a": None}]
    assert read_rows(tmp_path / "none.json") == []
