"""A disk that fails at one call, whichever it is."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """Counts the calls that reach the disk, and lets the one with the number ``fails`` raise.

    Args:
        monkeypatch: Puts the calls back.
        fails: Number of the call, from 0.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: int) -> None:
        self.fails, self.calls = fails, 0
        for owner, name in ((os, "fsync"), (Path, "chmod"), (Path, "replace")):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))
        opened = Path.open
        monkeypatch.setattr(Path, "open", lambda path, *mode: self._file(self._counted(opened)(path, *mode)))

    @property
    def failed(self) -> bool:
        """Whether the call was reached."""
        return self.calls > self.fails

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self.fails + 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return call(*arguments, **named)

        return counted

    def _file(self, file: io.BufferedWriter) -> Any:
        disk = self

        class Failing(io.BufferedWriter):
            def write(self, content: Any) -> int:
                """Write half of the content before the disk fails."""
                super().write(content[: len(content) // 2])
                return int(disk._counted(super().write)(content[len(content) // 2 :]))

            def flush(self) -> None:
                """Flush, or fail."""
                disk._counted(super().flush)()

        return Failing(file.detach())
