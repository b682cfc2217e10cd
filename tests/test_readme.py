"""What README shows is there; that its blocks run is tested with those of all pages."""

from __future__ import annotations

import re

from tests.docs.blocks import ROOT, blocks

_TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_there_are_blocks_and_their_pictures_and_pages_exist() -> None:
    named = [*re.findall(r"!\[[^]]*\]\(([^)]+)\)", _TEXT), *re.findall(r"`((?:docs/)?[A-Z\w]+(?:/\w+)*\.md)`", _TEXT)]

    assert len(blocks(ROOT / "README.md", "python")) == 5
    assert len(named) >= 4
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_command_of_the_table_exists() -> None:
    from typer.main import get_command

    from stepsize.cli.app import app

    shown = set(re.findall(r"^\| `stepsize ([a-z-]+)", _TEXT, flags=re.MULTILINE))

    assert shown == set(get_command(app).commands)  # type: ignore[attr-defined]
