"""What a notebook shows of a result: a line and a picture, and a bar meanwhile."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from typing import Any

import pytest

import stepsize
from stepsize.schedules import cosine
from stepsize.tasks import build_task
from stepsize.views import Pictured, progress_bar

BUDGET = 2


@pytest.fixture(scope="module")
def bars() -> io.StringIO:
    """What was written to stderr while the results were made."""
    return io.StringIO()


@pytest.fixture(scope="module")
def results(bars: io.StringIO) -> dict[str, Pictured]:
    task = build_task("cancer-mlp", optimizer="adamw", steps=60)
    watched = stepsize.watch_task(task, 1e-3)
    with contextlib.redirect_stderr(bars):
        found = stepsize.find(task, budget=BUDGET, on_progress=progress_bar("find"))
        run = stepsize.train(task, 1e-3, evals=[30, 60], on_progress=progress_bar())
        sweep = stepsize.sweep(task, lr=(1e-3, 1e-1), trials=2, on_progress=progress_bar("sweep"))
        stepsize.compare(task, ["sgd", "adam"], trials=3, seeds=1, on_progress=progress_bar("compare"))
    return {
        "found": found,
        "sweep": sweep,
        "range test": stepsize.range_test(task, steps=60),
        "run": run,
        "watched run": watched,
        "report": watched.report,
        "profile": stepsize.profile(task),
    }


def test_a_result_is_one_line_and_a_picture(results: dict[str, Pictured]) -> None:
    for name, result in results.items():
        assert len(repr(result)) < 1_000, name
        assert repr(result).startswith(f"<{type(result).__name__}: "), name
        shown = result._repr_mimebundle_()
        assert shown["text/plain"] == repr(result)
        assert shown["text/html"].count("<svg") == 1, name


def test_the_line_of_an_answer(results: dict[str, Pictured]) -> None:
    assert "as good from" in repr(results["found"])
    assert "% sure. Cost: " in repr(results["found"])


def test_a_schedule_shows_its_curve_if_it_has_a_length() -> None:
    assert "<svg" in cosine(100)._repr_mimebundle_()["text/html"]
    assert list(cosine("90%")._repr_mimebundle_()) == ["text/plain"]
    axes = [cosine("100%").plot(100, lr=lr).to_json() for lr in (None, 0.1)]
    assert ['"factor"' in one for one in axes] == [True, False]


def test_without_the_extra_there_is_only_text(results: dict[str, Pictured], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "altair", None)
    assert list(results["run"]._repr_mimebundle_()) == ["text/plain"]


def test_a_bar_on_stderr(results: dict[str, Pictured], bars: io.StringIO) -> None:
    shown = bars.getvalue()
    assert "] find " in shown
    assert re.search(r", lr 0\.\d+ so far", shown)
    done = "[##############################] 100%\n"
    ends = [shown.index(end) for end in (done, done.replace("]", "] sweep"), done.replace("]", "] compare"))]
    assert ends == sorted(ends)
    assert shown.endswith(done.replace("]", "] compare"))


CELLS = (
    "import stepsize\ntask = stepsize.build_task('cancer-mlp', optimizer='adamw', steps=60)",
    f"stepsize.find(task, budget={BUDGET}, on_progress=stepsize.progress_bar('find'))",
    "stepsize.schedules.cosine(100)",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_notebook_runs_without_a_browser() -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    outputs: list[list[Any]] = [cell.outputs for cell in nbclient.NotebookClient(book, timeout=100).execute().cells]
    bar, found = outputs[1]
    assert bar.output_type == "display_data"
    assert '<progress value="' in bar.data["text/html"]
    assert found.data["text/plain"].startswith("<Found: ")
    assert [output.data["text/html"].count("<svg") for output in (found, *outputs[2])] == [1, 1]
