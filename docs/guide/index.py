"""Writes the table of chapters into the index, each with the sentence that its measurement ended in."""

from __future__ import annotations

from benchmarks.record import between_markers
from docs.guide.catalog import CHAPTERS
from docs.guide.measuring import table
from docs.guide.pages import FOLDER, gists

from stepsize.files import write_whole

__all__ = ["write_index"]


def write_index() -> None:
    """Write the table into ``index.md``."""
    found = gists(tuple(one.page for one in CHAPTERS))
    rows = [
        (number, f"[{one.question}]({one.page}.md)", found.get(one.page, "")) for number, one in enumerate(CHAPTERS, 1)
    ]
    path = FOLDER / "index.md"
    text = between_markers(
        path.read_text(encoding="utf-8"), "chapters", table(("", "question", "answer, as measured"), rows)
    )
    write_whole(path, text.encode("utf-8"))
