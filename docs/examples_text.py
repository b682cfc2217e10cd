"""The page of the examples: what each says of itself, and its code."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

_HEAD = """# Examples

Complete programs, each under a minute on one core: `python examples/NAME.py` in a checkout. The tests run all of them.
"""


def page() -> str:
    """Return the page."""
    return "\n\n".join([_HEAD.strip(), *(_section(path) for path in paths())]) + "\n"


def paths() -> list[Path]:
    """Return the examples in their order: scripts, then notebooks."""
    return [*sorted(EXAMPLES.glob("*.py")), *sorted(EXAMPLES.glob("*.ipynb"))]


def cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a notebook, each with its source as one text."""
    held = json.loads(path.read_text(encoding="utf-8"))
    return [{**cell, "source": "".join(cell["source"])} for cell in held["cells"]]


def _section(path: Path) -> str:
    if path.suffix == ".ipynb":
        return f"## {path.name}\n\n" + "\n\n".join(_cell(cell) for cell in cells(path))
    text = path.read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(text)) or ""
    _, _, code = text.partition('"""\n')
    return f"## {path.name}\n\n{said}\n\n```python\n{code.strip()}\n```"


def _cell(cell: dict[str, Any]) -> str:
    if cell["cell_type"] == "markdown":
        return str(cell["source"]).replace("# ", "### ", 1) if cell["source"].startswith("# ") else str(cell["source"])
    parts = [f"```python\n{cell['source'].strip()}\n```"]
    for output in cell["outputs"]:
        if "text" in output:
            parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
        elif "image/png" in output.get("data", {}):
            picture = "".join(output["data"]["image/png"]).replace("\n", "")
            parts.append(f"![What the cell draws](data:image/png;base64,{picture})")
    return "\n\n".join(parts)
