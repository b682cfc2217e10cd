"""The command line: one file per command, each a thin call of one function."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stepsize.errors import MissingExtraError, needing


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with the words after ``stepsize``, default those of the process, and exit.

    The exit code is 0 on success, 1 for an error while running, 2 for invalid input, 3 if there is no answer or the run
    diverged, and 130 if interrupted.
    """
    try:
        with needing("cli"):
            from stepsize.cli.app import run
    except MissingExtraError as error:
        sys.exit(_refused(error))
    run(arguments)


def _refused(error: MissingExtraError) -> int:
    sys.stderr.write(f"Error: {error}\n")
    return 2
