"""Writes the interactive page from its parts and its runs: ``python docs/guide/interactive/make.py``.

``page/`` has the parts: HTML, CSS and JavaScript, one file per subject. ``runs.json`` has the runs that the second
panel shows; ``runs.py`` makes it, which takes minutes. The page is one file and works without a network.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stepsize.views import theme

HERE = Path(__file__).parent
PAGE = HERE / "learning_rate.html"
PARTS = HERE / "page"
RUNS = HERE / "runs.json"
# In this order: each uses what stands before it.
SCRIPTS = (
    "surfaces", "optimizers", "theory", "numbers", "verdict", "charts", "relief", "controls", "ground", "real", "main",
)  # fmt: skip

_BLUE, _ORANGE, _SKY = theme.SERIES[0], theme.SERIES[1], theme.SERIES[3]
# The look of all charts, and what a page needs beyond them. Texts differ at least 4.5 to 1 from what they stand on.
LIGHT = {
    "paper": "#ffffff", "raised": "#f3f5f7", "ink": theme.INK, "soft": "#3c444d", "muted": theme.MUTED,
    "line": "#e1e4e8", "edge": "#8a929c", "family": "#c4cad1", "focus": _SKY,
    "blue": _BLUE, "blue-text": _BLUE, "orange": _ORANGE, "orange-text": "#8a5a00",
    "crawls": "#8a929c", "crawls-text": theme.MUTED, "good": theme.ANSWER, "good-text": theme.ANSWER,
    "warning": theme.WARNING, "warning-text": "#b84f00",
    "deep": "#8fc1de", "high": "#f6f8f9", "contour": "#5f87a0",
}  # fmt: skip
DARK = {
    "paper": "#14181d", "raised": "#1e242b", "ink": "#eef1f4", "soft": "#c6ccd3", "muted": "#9aa4af",
    "line": "#2b323a", "edge": "#6f7985", "family": "#454e58", "focus": _SKY,
    "blue": _SKY, "blue-text": _SKY, "orange": _ORANGE, "orange-text": _ORANGE,
    "crawls": "#7d8793", "crawls-text": "#a9b2bc", "good": "#1f9c79", "good-text": "#3fc39c",
    "warning": theme.WARNING, "warning-text": "#f48a48",
    "deep": "#0b4468", "high": "#1d2329", "contour": "#5a7f98",
}  # fmt: skip
ABOUT = (
    "A network with two hidden layers of 512 units learns to read 8 × 8 pictures of digits: {total} runs of 100 steps "
    "with 128 pictures each, a warmup of 5 steps and a cosine decay to zero. All start from the same weights and use "
    "the same batches; only the configuration differs."
)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"Wrote {PAGE.name}: {PAGE.stat().st_size / 1000:.0f} kB.\n")


def page() -> str:
    """Return the whole page as one text."""
    css = _filled(_part("page.css"), light=_properties(LIGHT), dark=_properties(DARK, indent=4))
    return _filled(_part("page.html"), css=css.rstrip(), js=_script())


def _script() -> str:
    """Return all scripts as one function, so that no name of theirs is a global one."""
    parts = [f"const RUNS = {_runs()};", *(_part(f"{name}.js").rstrip() for name in SCRIPTS)]
    return '(() => {\n"use strict";\n\n' + "\n\n".join(parts) + "\n})();"


def _runs() -> str:
    """Return the runs as a JavaScript object, one line a run."""
    told: dict[str, Any] = json.loads(RUNS.read_text(encoding="utf-8")) | {"about": ABOUT}
    families = told.pop("families")
    head = json.dumps(told, ensure_ascii=False, separators=(",", ":")).removesuffix("}")
    lines = [json.dumps(family, separators=(",", ":")).replace('},{"lost"', '},\n{"lost"') for family in families]
    return head + ',"families":[\n' + ",\n".join(lines) + "\n]}"


def _properties(colours: dict[str, str], indent: int = 2) -> str:
    return "\n".join(f"{' ' * indent}--{name}: {colour};" for name, colour in colours.items())


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _filled(template: str, **parts: str) -> str:
    """Return the template with each ``{{name}}`` replaced, once and all of them."""
    for name, text in parts.items():
        mark = "{{" + name + "}}"
        assert template.count(mark) == 1, f"{mark} must stand once in its template"
        template = template.replace(mark, text)
    return template


if __name__ == "__main__":
    main()
