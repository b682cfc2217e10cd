"""The page of the fifteen statements, made from the records alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims.answers import Answer, Material, answer_of, load_material
from benchmarks.claims.campaign import CLAIMS_FILE
from benchmarks.claims.effects import CONFIRMED, NOT_CONFIRMED, PARTLY, Part
from benchmarks.claims.figures import figures_of
from benchmarks.claims.rules import HOW, RULES, Rule
from benchmarks.claims.wording import agreement, conditions_text, effect_text, middle, typical
from benchmarks.claims.words import READ, SHORT
from benchmarks.tables import markdown_table, update_page

__all__ = ["claims_report", "write_page"]

IMAGES = "images/claims"
_MARKS = {CONFIRMED: "✔", PARTLY: "◐", NOT_CONFIRMED: "✘"}


def write_page(page: Path, path: Path = CLAIMS_FILE) -> None:
    """Write the answers into ``page``, between its markers, and their pictures beside it."""
    from benchmarks.claims.pictures import draw

    material = load_material(path)
    update_page(page, "claims", claims_report(material, path))
    for number in RULES:
        answer = answer_of(number, material)
        if any(part.units for part in answer.parts):
            print(draw(answer, page.parent / IMAGES))


def claims_report(material: Material, path: Path = CLAIMS_FILE) -> str:
    """Return the overview and a section a statement."""
    answers = [answer_of(number, material) for number in RULES]
    parts = [HOW, _about(material, path), "## Overview", _overview(answers)]
    for answer in answers:
        parts += _section(answer, figures_of(answer.number, material))
    return "\n\n".join(parts)


def _about(material: Material, path: Path) -> str:
    if not path.exists():
        return "No record yet: `python -m benchmarks claims`."
    head = json.loads(path.read_text(encoding="utf-8"))["record"]
    seconds = sum(row.get("seconds", 0.0) for row in material.rows)
    trainings = sum("lr" in row and "arm" in row for row in material.rows)
    machine = f"{head['date'][:10]}, {head['machine']['processor']}, torch {head['versions']['torch']}"
    return (
        f"{trainings:,} runs were made for this page, in {seconds / 60:.0f} minutes on one busy core; the rest is "
        "read from the ground truth and from other records. The rules were committed before the first of these "
        f"runs, which was made at commit {head['commit']} ({machine})."
    )


def _overview(answers: Sequence[Answer]) -> str:
    lines = []
    for answer in answers:
        rule = RULES[answer.number]
        figures = "<br>".join(_in_short(part) for part in answer.parts)
        link = f"[{rule.statement}](#{_anchor(rule)})"
        short = f": {SHORT[answer.number]}" if answer.number in SHORT else ""
        lines.append([str(answer.number), link, f"{_MARKS[answer.verdict]} **{answer.verdict}**{short}", figures])
    heads = ["", "statement", "verdict", "parts: cases that agree, median effect"]
    return markdown_table(heads, lines)


def _in_short(part: Part) -> str:
    return f"{_MARKS[part.verdict]} {part.name}: {agreement(part)}, {middle(part)}"


def _section(answer: Answer, figures: Sequence[str]) -> list[str]:
    rule = RULES[answer.number]
    told = READ.get(answer.number)
    return [
        f"## {rule.number}. {rule.title}",
        f"> {rule.statement}",
        f"**{answer.verdict.capitalize()}.**" + (f" {told}" if told else ""),
        _parts(answer),
        f"![Every case with its interval: {rule.title}]({IMAGES}/claim-{answer.number:02d}.svg)",
        *([" ".join(figures)] if figures else []),
        f"Measured: {rule.measured} Repeat with `python -m benchmarks claims --only {rule.number}`.",
        _details(answer),
    ]


def _parts(answer: Answer) -> str:
    rule = RULES[answer.number]
    lines = []
    for part in answer.parts:
        decides = rule.parts[part.name].replace("|", "\\|")  # norms of vectors, not cells of the table
        lines.append([part.name, decides, agreement(part), typical(part), _verdict(part)])
    heads = ["part", "the rule, written before the runs", "agree", "effect: median (lowest … highest)", "verdict"]
    return markdown_table(heads, lines)


def _verdict(part: Part) -> str:
    if part.verdict != PARTLY:
        return f"{_MARKS[part.verdict]} {part.verdict}"
    return f"{_MARKS[PARTLY]} {PARTLY}: {', '.join(part.conditions) or 'most cases, see below'}"


def _details(answer: Answer) -> str:
    lines = []
    for part in answer.parts:
        lines += _places(part)
    table = markdown_table(["part", "case", "effects with 95% intervals", "agrees"], lines)
    split = [
        f"{part.name}, by properties known before: {text}."
        for part in answer.parts
        if part.verdict != CONFIRMED and (text := conditions_text(part))
    ]
    return "\n\n".join(['<details markdown="1"><summary>Every case</summary>', *split, table, "</details>"])


def _places(part: Part) -> list[list[str]]:
    return [
        [
            part.name,
            unit.name,
            "; ".join(dict.fromkeys(f"{check.name}: {effect_text(check)}" for check in unit.checks)),
            "yes" if unit.holds else "the opposite" if unit.opposed else "open",
        ]
        for unit in part.units
    ]


def _anchor(rule: Rule) -> str:
    """Return how GitHub names the section's heading."""
    kept = "".join(letter for letter in f"{rule.number}. {rule.title}".lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")
