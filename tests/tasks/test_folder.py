"""Where data files are looked for, and what is said where they are missing."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from stepsize.errors import DataUnavailableError
from stepsize.tasks import build_task, data_folder
from stepsize.tasks.folder import data_files, unpacked


def test_argument_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, named = tmp_path / "given", tmp_path / "named"
    given.mkdir()
    named.mkdir()
    monkeypatch.setenv("STEPSIZE_DATA", str(named))
    assert data_folder(given) == given
    assert data_folder(str(given)) == given
    assert data_folder() == named


def test_without_argument_and_environment_the_message_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPSIZE_DATA", raising=False)
    with pytest.raises(DataUnavailableError, match=r"\$STEPSIZE_DATA is unset.*--data .*\$STEPSIZE_DATA"):
        data_folder()


def test_a_folder_that_does_not_exist_is_named_with_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPSIZE_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataUnavailableError, match=r"gone \(from \$STEPSIZE_DATA\)"):
        data_folder()
    with pytest.raises(DataUnavailableError, match=r"absent \(given as data\)"):
        data_folder(tmp_path / "absent")


def test_missing_files_are_named_with_the_folder_that_was_searched(tmp_path: Path) -> None:
    (tmp_path / "t10k-labels-idx1-ubyte.gz").touch()
    with pytest.raises(DataUnavailableError, match=rf"{tmp_path.name} has no t10k-images-idx3-ubyte.gz\. .*--data"):
        build_task("mnist-cnn", data=tmp_path)


def test_files_are_returned_in_order_with_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert data_files(("b", "a"), ".") == (tmp_path.resolve() / "b", tmp_path.resolve() / "a")


@pytest.mark.parametrize("kept", [0, 10, -9], ids=["nothing", "header", "all but the end"])
def test_broken_gzip_files_are_named(kept: int, tmp_path: Path) -> None:
    packed = gzip.compress(b"0123456789" * 50)
    (tmp_path / "whole.gz").write_bytes(packed)
    (tmp_path / "broken.gz").write_bytes(packed[:kept] or b"text")
    assert unpacked(tmp_path / "whole.gz") == b"0123456789" * 50
    with pytest.raises(DataUnavailableError, match=r"broken\.gz cannot be read as a gzip file"):
        unpacked(tmp_path / "broken.gz")
