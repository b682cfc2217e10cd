"""Programs beside a test that begin at once: forked from a process that has imported torch, which takes two seconds."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "stepsize.monitor", "stepsize.store", "stepsize.study.sweeping"])


class Program:
    """``python FILE ARGUMENTS`` in a process of its own, which ends with the ``with`` block at the latest.

    Args:
        file: The program.
        arguments: What it finds in ``sys.argv`` behind its name.
        environment: What it finds in ``os.environ`` beside the rest.
    """

    def __init__(self, file: str | Path, *arguments: str, **environment: str) -> None:
        read, write = os.pipe()
        self.stdout = os.fdopen(read, encoding="utf-8")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the program
        out, errors = Connection(write, readable=False), Connection(os.dup(self._errors.fileno()))
        given = (str(file), arguments, environment, out, errors)
        self._process = _CONTEXT.Process(target=_run, args=given, daemon=True)
        self._process.start()
        out.close()
        errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.join()
        self._process.close()
        self.stdout.close()
        self._errors.close()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()

    def wait(self, seconds: float) -> int | None:
        """Wait until it has ended, at most so long; return its exit code, negative after a signal."""
        self._process.join(seconds)
        return self._process.exitcode

    def errors(self) -> str:
        """Return what it has written to stderr."""
        self._errors.seek(0)
        return self._errors.read().decode()


def _run(file: str, arguments: Sequence[str], environment: dict[str, str], out: Connection, errors: Connection) -> None:
    os.dup2(out.fileno(), 1)
    os.dup2(errors.fileno(), 2)
    out.close()
    errors.close()
    os.environ.update(environment)
    sys.argv = [file, *arguments]
    runpy.run_path(file, run_name="__main__")
