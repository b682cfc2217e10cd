"""Write docs/findings.md from the catalog of rules: ``python docs/make_findings.py``."""

from __future__ import annotations

from pathlib import Path

from stepsize.monitor.finding import Rule
from stepsize.monitor.record import GLOBAL
from stepsize.monitor.rules.catalog import RULES, URGENT

PAGE = Path(__file__).parent / "findings.md"
_HEAD = """# Findings

What `stepsize.watch` may say of a training. This page is written from the rules themselves
(`python docs/make_findings.py`). Each finding has a code, a severity, the step at which it was first seen, evidence, a
remedy with a factor of the rate where there is one, a source, and what would change its mind. Rules are silent without
the signals that they need.
"""


def page() -> str:
    """Return the page."""
    signals = ["", "## Signals", "", "| signal | what it is |", "|---|---|"]
    signals += [f"| `{name}` | {text} |" for name, text in GLOBAL.items()]
    signals += ["| `lr/N` | rate that group N was updated with |", "| `update_ratio/NAME` | of one part of the model |"]
    return "\n".join([_HEAD.rstrip(), *(line for rule in RULES for line in _rule(rule)), *signals]) + "\n"


def _rule(rule: Rule) -> list[str]:
    when = "every step" if rule in URGENT else "64 times in a training"
    return [
        "",
        f"## {rule.title}",
        "",
        f"`{rule.code}`, {rule.severity}; looked for {when}; needs {', '.join(f'`{name}`' for name in rule.signals)}.",
        "",
        rule.meaning,
        "",
        f"Would change its mind: {rule.would_change}",
        "",
        f"Source: {rule.reference}.",
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
