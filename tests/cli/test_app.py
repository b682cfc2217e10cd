"""The command itself: version, help, the table of commands."""

from __future__ import annotations

import pytest
from tests.cli.conftest import Invoke

import stepsize
from stepsize.cli import main


def test_the_version_is_that_of_the_package(invoke: Invoke) -> None:
    done = invoke("--version")

    assert (done.exit_code, done.stdout) == (0, f"{stepsize.__version__}\n")


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_command_an_example_and_the_exit_codes(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    done = invoke(*arguments)

    assert done.exit_code == 0
    for command in (
        "find",
        "range-test",
        "sweep",
        "profile",
        "train",
        "watch",
        "steer",
        "runs",
        "report",
        "tasks",
        "doctor",
    ):
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
