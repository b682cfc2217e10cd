"""What the pages show must run as it stands: Python blocks run, commands exist with these options."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.docs.blocks import PAGES, Block, blocks, commands, name_of

from stepsize.cli import main
from stepsize.cli.app import app

_ALONE = ("README.md", "docs/guide/")  # whose Python blocks stand for themselves; elsewhere one goes on with the last
_SLOW = {"docs/howto/many-machines.md"}  # starts processes and a Ray cluster
_SHELLS = ("sh", "bash", "console")
_FRAMEWORKS = ("keras", "lightning", "ray", "transformers")

WITH_BLOCKS = [path for path in PAGES if blocks(path, "python", *_SHELLS)]
COMMANDS = [
    pytest.param(words, id=f"{name_of(path)}: stepsize {' '.join(words)}")
    for path in PAGES
    for block in blocks(path, *_SHELLS)
    for words in commands(block.code)
]


def marked(path: Path) -> Any:
    marks = [pytest.mark.slow] if name_of(path) in _SLOW else []
    return pytest.param(path, id=name_of(path), marks=marks)


@pytest.mark.parametrize("path", [marked(path) for path in WITH_BLOCKS])
def test_the_blocks_of_a_page_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in one empty folder, as a reader would; of the commands those that train nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    left_out: set[str] = set()
    names = fresh_names()
    found = blocks(path, "python", *_SHELLS)
    with warnings.catch_warnings():
        if any(f"import {name}" in block.code for block in found for name in _FRAMEWORKS):
            warnings.simplefilter("ignore")  # the frameworks' own are not what is tested here
        for block in found:
            if block.language != "python":
                run_commands(block)
                continue
            left_out |= block.missing()
            if left_out:  # what follows may need what this would have made
                continue
            if name_of(path).startswith(_ALONE):
                names = fresh_names()
            run(path, block, names)
    if left_out:
        pytest.skip(f"{', '.join(sorted(left_out))} not installed; the blocks before were run")


def fresh_names() -> dict[str, Any]:
    return {"__name__": "page"}


def run(path: Path, block: Block, names: dict[str, Any]) -> None:
    """Run a block so that a failure shows the line of its page."""
    exec(compile("\n" * (block.line - 1) + block.code, str(path), "exec"), names)


def run_commands(block: Block) -> None:
    for words in commands(block.code):
        if trains_nothing(words):
            with pytest.raises(SystemExit) as ended:
                main(words)
            assert ended.value.code in (None, 0), words


def trains_nothing(words: list[str]) -> bool:
    if any("://" in word for word in words):  # a server that is not there
        return False
    return words[0] in ("tasks", "translate", "schedule", "doctor", "diagnose") or words[:2] in (
        ["sweep", "show"],
        ["sweep", "export"],
    )


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_exists_and_takes_these_options(words: list[str]) -> None:
    parsed(words)


def parsed(words: list[str]) -> str:
    """Parse a command line as the command itself would, and return the name of what it would run."""
    from typer.main import get_command

    command: Any = get_command(app)
    context = command.make_context("stepsize", list(words))
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        if not rest:
            break
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return str(command.name)


def test_a_wrong_option_or_command_is_noticed() -> None:
    for words in (["find", "digits-mlp", "--no-such-option"], ["no-such-command"], ["train", "digits-mlp"]):
        with pytest.raises(Exception, match=r"(?i)no such|missing"):
            parsed(words)


def test_pages_and_their_blocks_are_found() -> None:
    found = {name_of(path) for path in WITH_BLOCKS}
    assert {"README.md", "docs/index.md", "docs/howto/gan.md", "docs/schedules.md"} <= found
    assert len(COMMANDS) >= 20


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in WITH_BLOCKS])
def test_no_line_of_a_block_is_wider_than_120(path: Path) -> None:
    shown = [line for block in blocks(path, "python", *_SHELLS) for line in block.code.splitlines()]
    assert [line for line in shown if len(line) > 120] == []
