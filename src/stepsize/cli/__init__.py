"""The command line: one file per command, each a thin call of one function."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stepsize.errors import MissingExtraError, needing


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: Words after ``stepsize``. Default: those of the process.

    Raises:
        SystemExit: Always: 0 success, 1 error while running, 2 invalid input, 3 no answer or the run diverged,
            130 interrupted.

    Example:
        >>> main(["--version"])
        Traceback (most recent call last):
        SystemExit: 0
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
