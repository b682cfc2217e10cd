"""The site builds strictly, works from a folder without a network, and picks up the guide."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from docs import command_text, make_reference
from docs.examples_text import paths
from tests.docs.blocks import ROOT

pytestmark = pytest.mark.skipif(find_spec("material") is None, reason='needs pip install "stepsize[docs]"')

_LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=\"?([^\">\s]+)[^>]*>")


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages of ``docs`` strictly, with the project's own settings."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    text = text.replace("docs_dir: docs", f"docs_dir: {docs}").replace("- docs/hooks.py", f"- {ROOT}/docs/hooks.py")
    settings = site.with_suffix(".yml")
    settings.write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(settings), "--site-dir", str(site)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site: that of $STEPSIZE_SITE, where it has been built already."""
    if "STEPSIZE_SITE" in os.environ:
        return Path(os.environ["STEPSIZE_SITE"])
    folder = tmp_path_factory.mktemp("site") / "built"
    done = build(ROOT / "docs", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    made = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    written = {str(path.relative_to(ROOT / "docs").with_suffix(".html")) for path in (ROOT / "docs").rglob("*.md")}
    generated = {name.replace(".md", ".html") for name in make_reference.reference_pages()}

    assert written | generated | {"changelog.html", "examples.html"} <= made
    assert not [*site.rglob("*.py")]


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = {
        address
        for path in site.rglob("*.html")
        for address in _LOADED.findall(path.read_text(encoding="utf-8"))
        if "canonical" not in address
    }

    assert any("search" in address or "bundle" in address for address in loaded)
    assert [address for address in loaded if re.match(r"(https?:)?//", address)] == []


def test_what_is_loaded_is_there(site: Path) -> None:
    gone = [
        f"{path.relative_to(site)}: {address}"
        for path in site.rglob("*.html")
        for address in _LOADED.findall(path.read_text(encoding="utf-8"))
        if not address.startswith(("data:", "#"))
        and not (path.parent / address.partition("#")[0].partition("?")[0]).exists()
        and path.name != "404.html"
    ]

    assert gone == []


def test_the_search_knows_verbs_commands_and_examples(site: Path) -> None:
    text = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    titles = {entry["title"] for entry in json.loads(text.removeprefix("var __index = "))["docs"]}

    assert {"stepsize.find", "stepsize.bind", "schedules.cosine"} <= titles
    assert {name for name, _ in command_text.commands()} <= titles
    assert {path.name for path in paths()} <= titles


def test_a_chapter_comes_into_the_menu_by_being_there_and_a_link_to_nowhere_stops_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    lab = docs / "guide" / "interactive"
    lab.mkdir(parents=True, exist_ok=True)
    (lab / "learning_rate.html").write_text("<!doctype html><title>lab</title>", encoding="utf-8")
    (lab / "template.html").write_text("a source", encoding="utf-8")
    (docs / "guide" / "index.md").write_text("# The guide begins here\n", encoding="utf-8")
    (docs / "guide" / "99-last.md").write_text("# A chapter of a test\n\n[back](index.md)\n", encoding="utf-8")
    with (docs / "caveats.md").open("a", encoding="utf-8") as page:
        page.write("\n[gone](choose.md#no-such-heading)\n")

    done = build(docs, tmp_path / "built")

    assert done.returncode != 0
    [warning] = [line for line in done.stderr.splitlines() if line.startswith(("WARNING", "ERROR"))]
    assert "no-such-heading" in warning, "and nothing else is wrong"
    begin = (tmp_path / "built" / "guide" / "index.html").read_text(encoding="utf-8")
    assert "guide/index.html" in (tmp_path / "built" / "caveats.html").read_text(encoding="utf-8")
    assert re.search(r'href="99-last.html"', begin), "the chapter is in the menu beside the begin of the guide"
    assert re.search(r'href="interactive/learning_rate.html"', begin), "and so is the interactive page"
    assert [path.name for path in (tmp_path / "built" / "guide" / "interactive").iterdir()] == ["learning_rate.html"]
