"""The examples run, each in a minute at most, and say something short."""

from __future__ import annotations

import contextlib
import io
import runpy
from pathlib import Path

import altair as alt
import pytest
from docs import examples_text

_SCRIPTS = [pytest.param(path, id=path.stem) for path in examples_text.paths() if path.suffix == ".py"]
_NOTEBOOKS = [pytest.param(path, id=path.stem) for path in examples_text.paths() if path.suffix == ".ipynb"]


@pytest.mark.parametrize("path", _SCRIPTS)
def test_an_example_runs_and_says_something_short(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")

    said = capsys.readouterr()
    assert (said.err, caplog.text) == ("", "")
    assert 2 <= len(said.out.splitlines()) <= 25, said.out


def test_the_table_says_what_it_takes_where_its_data_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEPSIZE_DATA", str(tmp_path / "nowhere"))
    task = runpy.run_path(str(examples_text.EXAMPLES / "tabular.py"))["a_task"]()

    assert task.name == "cancer-mlp"
    assert capsys.readouterr().out.startswith("No shoppers here, tumors instead (There is no data folder")


@pytest.mark.parametrize("path", _NOTEBOOKS)
def test_the_cells_of_a_notebook_run_and_print_what_it_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [cell for cell in examples_text.cells(path) if cell["cell_type"] == "code"]
    names = {"__name__": "notebook"}
    printed = io.StringIO()
    with alt.renderers.enable("default"), contextlib.redirect_stdout(printed):
        for number, cell in enumerate(cells, start=1):
            exec(compile(cell["source"], f"{path.name}, cell {number}", "exec"), names)

    said = printed.getvalue()
    assert "Settled: " in said or "Flat: " in said or "Open: " in said, said
    assert len(cells) >= 4
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])


def test_every_example_is_on_its_page_with_its_code() -> None:
    page = examples_text.page()
    assert len(examples_text.paths()) >= 6
    assert [path.name for path in examples_text.paths() if f"## {path.name}\n" not in page] == []
    assert "stepsize.range_test(gan.step" in page
