"""The page of schedules is what its generator writes from the catalog, and every entry is on it."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from docs.make_schedules import PAGE, PICTURES, by_hand, page, pictures, python_form

import stepsize.schedules as library
from stepsize.schedules import SCHEDULES, SHAPES

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MOST_BYTES = 12_000
_HOW = "run: python docs/make_schedules.py"


def test_the_committed_page_is_what_the_generator_writes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(by_hand(PAGE)), _HOW


def test_the_committed_pictures_are_those_that_the_generator_draws_and_thumbnails_are_small() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in PICTURES.iterdir()}

    assert set(committed) == set(pictures())
    for name, drawn in pictures().items():
        assert _NUMBER.sub("#", committed[name]) == _NUMBER.sub("#", drawn), (name, _HOW)
        # Other machines may round the last digit of a pixel otherwise.
        numbers = [list(map(float, _NUMBER.findall(text))) for text in (committed[name], drawn)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.11), (name, _HOW)
        assert name == "together.svg" or len(drawn.encode()) <= _MOST_BYTES


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_entry_has_a_section_whose_written_and_python_forms_make_its_example(name: str) -> None:
    entry = SCHEDULES[name]
    section = PAGE.read_text(encoding="utf-8").partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", section, flags=re.MULTILINE))

    assert f"(images/schedules/{name}.svg)" in section
    assert library.parse(_code(rows["written"])) == entry.example
    assert eval(_code(rows["Python"]), dict(vars(library))) == entry.example
    assert _code(rows["factor"]) == entry.formula
    assert entry.source in section
    assert _code(rows["Python"]) == python_form(entry)


def test_every_shape_is_listed() -> None:
    shapes = PAGE.read_text(encoding="utf-8").partition("\n## Shapes\n")[2]

    assert re.findall(r"^\| `([\w-]+)`", shapes, flags=re.MULTILINE) == list(SHAPES)


def test_the_section_written_by_hand_survives(tmp_path: Path) -> None:
    written = tmp_path / "page.md"
    written.write_text(page("Mine: keep *this*."), encoding="utf-8")

    assert by_hand(written) == "Mine: keep *this*."
    assert page(by_hand(written)) == written.read_text(encoding="utf-8")


def test_code_in_a_table_can_be_pasted_as_a_browser_shows_it() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert "\\|" not in text  # which a browser shows in code
    for cell in re.findall(r"<code>.*?</code>", text):
        assert isinstance(library.parse(_code(cell)), library.Schedule)


def _code(cell: str) -> str:
    return html.unescape(cell.removeprefix("<code>").removesuffix("</code>").strip("`"))
