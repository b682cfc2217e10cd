"""Adds what is generated to the site: the reference, the changelog, the examples, the guide."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_ROOT)]

from docs import examples_text, make_reference  # noqa: E402  found by the line above

_LAST_FOUND = ("benchmarks.md", "claims.md", "conformance.md", "changelog.md", "examples.md")
_LAB, _LAB_TITLE = "guide/interactive/learning_rate.html", "Interactive page"  # a page of its own, no Markdown
_GUIDE, _LIBRARY = "Guide", "Library"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the chapters of the guide and the pages of the library to the menu."""
    docs = Path(config.docs_dir)
    chapters = [str(path.relative_to(docs)) for path in sorted((docs / "guide").glob("*.md"))]
    chapters.sort(key=lambda name: name != "guide/index.md")
    lab = [{_LAB_TITLE: _LAB}] if (docs / _LAB).exists() else []
    found: dict[str, list[Any]] = {
        _GUIDE: [*chapters, *lab],
        _LIBRARY: [{title: page} for title, page in make_reference.room_pages().items()],
    }
    config.nav = _filled(config.nav or [], found)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, the changelog and the examples."""
    changelog = (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    made = {**make_reference.reference_pages(), "changelog.md": changelog, "examples.md": examples_text.page()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  mkdocs asks
    """Rank pages that are mostly tables last in the search."""
    if page.file.src_uri in _LAST_FOUND:
        page.meta["search"] = {"boost": 0.2}
    return markdown


def _filled(entries: list[Any], found: dict[str, list[Any]]) -> list[Any]:
    """Return the menu with its empty sections filled, or left out if there is nothing for them."""
    made = []
    for entry in entries:
        if not isinstance(entry, dict):
            made.append(entry)
            continue
        ((title, inside),) = entry.items()
        if title in found:
            inside = found[title]
        elif isinstance(inside, list):
            inside = _filled(inside, found)
        if inside:
            made.append({title: inside})
    return made
