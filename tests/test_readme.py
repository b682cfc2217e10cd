"""What README shows must run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_TEXT = (_ROOT / "README.md").read_text(encoding="utf-8")
_BLOCKS = re.findall(r"^```python\n(.*?)^```$", _TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", _BLOCKS, ids=[f"block {number}" for number in range(1, len(_BLOCKS) + 1)])
def test_each_python_block_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


def test_there_are_blocks_and_their_pictures_and_pages_exist() -> None:
    named = [*re.findall(r"!\[[^]]*\]\(([^)]+)\)", _TEXT), *re.findall(r"`((?:docs/)?[A-Z\w]+(?:/\w+)*\.md)`", _TEXT)]

    assert len(_BLOCKS) == 4
    assert len(named) >= 4
    assert [name for name in named if not (_ROOT / name).is_file()] == []


def test_every_command_of_the_table_exists() -> None:
    from typer.main import get_command

    from stepsize.cli.app import app

    shown = set(re.findall(r"^\| `stepsize ([a-z-]+)", _TEXT, flags=re.MULTILINE))

    assert shown == set(get_command(app).commands)  # type: ignore[attr-defined]
