"""Files that are whole or not there, and keep what they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.failing_io import Disk

from stepsize.files import write_whole


def test_permissions_and_links_are_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)

    write_whole(link, b"new")

    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.txt", "real.txt"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"into the pipe")
    assert os.read(reader, 100) == b"into the pipe"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), b"x" * 100_000)
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"x")


def test_a_long_name_has_room_for_the_file_beside_it(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    write_whole(path, b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("there", [True, False])
def test_an_error_at_any_call_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path, there: bool) -> None:
    path, failed = tmp_path / "file", 0
    for number in range(20):
        if there:
            path.write_bytes(b"old")
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = Disk(monkeypatch, number)
            try:
                write_whole(path, b"the new content")
            except OSError as error:
                assert "Input/output error" in str(error)  # noqa: PT017  the last of them succeeds
        if not disk.failed:
            break
        failed += 1
        replaced = there and path.read_bytes() == b"the new content"  # the error came after the exchange
        assert [one.name for one in tmp_path.iterdir()] == (["file"] if there else [])
        assert not there or replaced or path.read_bytes() == b"old"
    assert path.read_bytes() == b"the new content"
    assert failed >= 4 + there
