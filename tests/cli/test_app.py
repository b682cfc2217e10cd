"""The command itself: version, help, the table of commands."""

from __future__ import annotations

import shlex

import pytest
from tests.cli.conftest import Invoke
from typer.main import get_command

import stepsize
from stepsize.cli import main
from stepsize.cli.app import app

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
GROUPS = {name: list(group.commands) for name, group in COMMANDS.items() if hasattr(group, "commands")}
PAGES = [[name] for name in COMMANDS] + [[group, name] for group, names in GROUPS.items() for name in names]


def test_the_version_is_that_of_the_package(invoke: Invoke) -> None:
    done = invoke("--version")

    assert (done.exit_code, done.stdout) == (0, f"{stepsize.__version__}\n")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_command_an_example_and_the_exit_codes(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments)

    assert done.exit_code == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout
    assert "Example: stepsize find digits-mlp" in done.stdout
    assert "3 no answer, or the run diverged" in done.stdout


def test_main_exits_with_the_code_of_the_command() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["find", "digits-mpl"])

    assert ended.value.code == 2


def test_the_doctor_reports_as_json_and_as_a_table(invoke: Invoke) -> None:
    told, shown = invoke("doctor", "--json"), invoke("doctor")

    assert told.exit_code == shown.exit_code == 0
    assert '"status": "Ready to train on cpu' in told.stdout
    assert "Ready to train on cpu" in shown.stdout
    assert "Example: stepsize doctor" in invoke("doctor", "--help").stdout


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_the_help_of_each_command_has_an_example_of_it(invoke: Invoke, words: list[str]) -> None:
    done = invoke(*words, "--help")

    assert done.exit_code == 0
    example = shlex.split(done.stdout.partition("Example: stepsize ")[2])
    first = words[0] in GROUPS and words[1:] in ([], GROUPS[words[0]][:1])  # which can be left out
    assert example[: len(words)] == words or (first and example[0] == words[0])


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_without_a_command_shows_the_options_of_the_first_and_the_others(invoke: Invoke, group: str) -> None:
    done = invoke(group)
    first, *others = GROUPS[group]

    assert (done.exit_code, done.stdout) == (0, invoke(group, "-h").stdout)
    assert "--steps" in done.stdout
    assert all(f" {name} " in done.stdout for name in others)
    assert f" {first} " not in done.stdout.partition("Commands")[2]
