"""Write docs/findings.md from the catalog of rules: ``python docs/make_findings.py``."""

from __future__ import annotations

from pathlib import Path

from stepsize.monitor.finding import Rule
from stepsize.monitor.record import SIGNALS
from stepsize.monitor.rules.catalog import RULES

PAGE = Path(__file__).parent / "findings.md"
_HEAD = """# Findings

What `stepsize.watch` can report about a run. This page is generated from the rules (`python docs/make_findings.py`).
Each finding has a code, a severity, the step at which it was first detected, evidence, a suggested fix (with a factor
for the learning rate if it is known), a source, and a way to check it. A rule reports nothing without the signals that
it needs.
"""


def page() -> str:
    """Return the page."""
    signals = ["", "## Signals", "", "| signal | meaning |", "|---|---|"]
    signals += [f"| `{name}` | {text} |" for name, text in SIGNALS.items()]
    signals += [
        "| `lr/N` | learning rate of group N |",
        "| `update_ratio/NAME` | update_ratio of one part of the model |",
    ]
    return "\n".join([_HEAD.rstrip(), *(line for rule in RULES for line in _rule(rule)), *signals]) + "\n"


def _rule(rule: Rule) -> list[str]:
    when = "at every step" if rule.urgent else "64 times per run"
    needs = ", ".join(f"`{name}`" for name in rule.signals)
    return [
        "",
        f"## {rule.title}",
        "",
        f"`{rule.code}`, {rule.severity}; checked {when}; needs {needs}.",
        "",
        rule.meaning,
        "",
        f"How to check: {rule.how_to_check}",
        "",
        f"Source: {rule.reference}.",
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
