"""The page of the fifteen statements: what it says of a tiny record, and that the committed one is not stale."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from benchmarks.claims.answers import Answer, Material, answer_of, load_material
from benchmarks.claims.effects import Check, Effect, Part, Unit
from benchmarks.claims.pictures import draw, placed
from benchmarks.claims.report import claims_report
from benchmarks.claims.rules import RULES
from benchmarks.claims.wording import effect_text, typical, value_text
from benchmarks.record import between_markers, header, read_rows, write_record

PAGE = Path(__file__).parents[2] / "docs" / "claims.md"


def tiny(tmp_path: Path) -> tuple[Material, Path]:
    """A record of claim 5 only."""
    rows = [
        {"study": "updates", "task": "digits-mlp", "optimizer": optimizer, "seed": seed, "slope": 1.0, "off": 0.001,
         "way": 0.5, "spread": spread + 0.001 * seed, "rank": rank}
        for optimizer, spread, rank in (("sgd", 0.001, None), ("adam", 1.2, -0.9), ("rmsprop", 0.1, -0.9))
        for seed in range(5)
    ]  # fmt: skip
    path = tmp_path / "record.json"
    write_record(path, header("claims"), rows)
    return Material(read_rows(path), {}, [], [], []), path


def test_the_report_says_what_holds_where(tmp_path: Path) -> None:
    material, path = tiny(tmp_path)
    report = claims_report(material, path)
    assert report.count("\n## ") == 1 + len(RULES)
    assert "| adaptive: per parameter | digits-mlp, adam | spread in decades: 1.2 (1.2 … 1.2) | yes |" in report
    assert (
        "| adaptive: per parameter | digits-mlp, rmsprop | spread in decades: 0.102 (0.1 … 0.104) | the opposite |"
        in report
    )
    assert "adaptive: from past gradients: 2 of 2" in report
    assert "✔ fixed: the same for all: 1 of 1" in report
    assert "](#5-per-parameter-steps) | ◐ **confirmed under these conditions**" in report


def test_without_a_record_the_command_is_named(tmp_path: Path) -> None:
    report = claims_report(Material([], {}, [], [], []), tmp_path / "none.json")
    assert "No record yet: `python -m benchmarks claims`." in report
    assert "nothing measured yet" in report


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (math.log(1.25), "ratio", "+25%"),
        (math.log(0.96), "ratio", "-4.0%"),
        (math.log(3.0), "ratio", "3×"),
        (math.log(0.25), "ratio", "0.25×"),
        (0.031, "share", "+3.1 points"),
        (0.12, "percent", "12%"),
        (-0.3, "decades", "-0.30 decades"),
        (1.00002, "number", "1.0000"),
        (math.inf, "ratio", "∞"),
    ],
)
def test_values_as_people_read_them(value: float, scale: str, text: str) -> None:
    assert value_text(value, scale) == text  # type: ignore[arg-type]


def test_the_typical_effect_is_the_median_with_its_ends() -> None:
    units = tuple(
        Unit(str(x), (Check("t", Effect(math.log(x), math.log(x), math.log(x), 5), "above"),)) for x in (1.1, 1.2, 4)
    )
    assert typical(Part("p", units)) == "+20% (+10% … 4×)"
    assert effect_text(units[0].checks[0]) == "+10% (+10% … +10%)"


def test_what_lies_far_away_stands_on_the_edge_of_the_picture(tmp_path: Path) -> None:
    unit = Unit("far", (Check("t", Effect(9.0, 0.1, 20.0, 5), "above"),))
    shown = placed(unit)
    assert shown["high"] == pytest.approx(100.0)
    assert shown["state"] == "agrees"
    picture = draw(Answer(2, (Part("p", (unit,)), Part("nothing", ()))), tmp_path)
    assert "p: 1 of 1" in picture.read_text(encoding="utf-8")


def test_the_committed_page_is_what_the_generator_writes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    written = between_markers(text, "claims", claims_report(load_material()))
    assert text == written, "run: python -m benchmarks claims --page docs/claims.md"


def test_every_statement_has_a_picture_and_something_measured() -> None:
    material = load_material()
    for number in RULES:
        assert all(part.units for part in answer_of(number, material).parts), number
        assert (PAGE.parent / "images" / "claims" / f"claim-{number:02d}.svg").exists()
