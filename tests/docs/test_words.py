"""User-facing text is in plain American English: none of the words that say something else than they mean to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from docs import make_reference
from tests.docs.blocks import ROOT, name_of
from tests.docs.words import Text, bare_fields, classes_of, docstring_text, messages_of, prose

# Made from the code, whose strings are checked below, or a record of how it was.
_ELSEWHERE = (
    "schedules.md", "findings.md", "conformance.md", "architecture.md",
)  # fmt: skip
_TABLES = ("benchmarks.md",)  # between whose markers are tables that the benchmarks write
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name not in _ELSEWHERE),
]
PACKAGES = sorted(path for path in (ROOT / "src" / "stepsize").iterdir() if (path / "__init__.py").exists())

_SHARED = {"Stepsize"}  # the callback of each framework, imported from its own module


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in PAGES])
def test_a_page_is_in_plain_english(path: Path) -> None:
    assert prose(path, name_of(path), generated=path.name not in _TABLES).hits() == []


def public(package: Path) -> list[tuple[str, Any]]:
    """Return the public names of a package, as they are on its page of the reference."""
    home = f"stepsize.{package.name}"
    return [
        (name, thing)
        for name, thing in make_reference.subjects().items()
        if f"{thing.__module__}.".startswith(f"{home}.")
    ]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_messages_of_a_package_are_in_plain_english(package: Path) -> None:
    texts = [text for path in sorted(package.rglob("*.py")) for text in messages_of(path, name_of(path))]
    hits = [hit for text in texts for hit in text.hits()]
    assert hits == [], f"{len(hits)} places"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_public_docstrings_of_a_package_are_in_plain_english(package: Path) -> None:
    hits = [hit for name, thing in public(package) for hit in docstring_text(thing, name).hits()]
    assert hits == [], f"{len(hits)} places"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_what_a_docstring_says_of_a_field_can_be_read_alone(package: Path) -> None:
    bare = [field for name, thing in public(package) for field in bare_fields(thing, name)]
    assert bare == [], f"{len(bare)} places"


def test_no_two_classes_have_one_name() -> None:
    counts = Counter(name for package in PACKAGES for path in package.rglob("*.py") for name in classes_of(path))
    assert [name for name, count in counts.items() if count > 1 and name not in _SHARED] == []


def test_the_words_are_noticed_and_their_plain_use_is_not() -> None:
    odd = Text("x", "Unseen data judge a training, which loses 3 % in the median and survives at the edge.")
    plain = Text("x", "Otherwise, validation loss is 3% above the best on the training set, at the edge of stability.")

    assert len(odd.hits()) == 7
    assert plain.hits() == []
