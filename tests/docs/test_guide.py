"""The guide runs: each chapter measures, in its short form, finite and sane numbers that its page has a place for."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from benchmarks.record import between_markers
from docs.guide.__main__ import main
from docs.guide.catalog import CHAPTERS, Chapter
from docs.guide.charts import Series, line_chart, log_axis, plain_axis, stacked
from docs.guide.measuring import SHORT, Mean, Measured, difference_text, pairs, per_cent, small_task, trained
from docs.guide.pages import FIGURES, FOLDER, NUMBERS, figure_file

from stepsize.errors import DataUnavailableError

_MARKER = re.compile(r"<!-- (\w+):begin -->")

# What must hold even in the short form, where twenty updates and two seeds say little about anything else.
_SANE: Mapping[str, Callable[[Mapping[str, float]], bool]] = {
    "01-the-rate": lambda n: n["length_error"] < 1e-3 and 900 < n["louder_sgd"] < 1_100 and n["louder_adam"] < 1.1,
    "02-too-high-too-low": lambda n: n["room"] > 1 and n["excess_hundredth"] > n["excess_tenth"] > 0,
    "03-noise": lambda n: n["full_batch_excess"] < 1e-5 and n["shrink_8_to_128"] > 3 and n["noise_start_8"] > 1,
    "04-fixed-or-adaptive": lambda n: all(n[name] >= 1 for name in ("spread_sgd", "spread_adam")),
    "05-schedules": lambda n: 0 <= n["better"] + n["worse"] <= n["cases"],
    "06-momentum": lambda n: n["spread_lr"] > 10 and n["spread_effective"] < n["spread_lr"],
    "07-choosing": lambda n: n["median_fixed_default"] > 0 and n["cost_stepsize_find,_budget_0.5"] <= 0.5,
    "08-pitfalls": lambda n: 0 < n["caught"] <= n["faulty"] and n["verdicts_right"] <= n["verdicts_told"],
    "09-validation-data": lambda n: all(n[f"cost_{task}"] >= 0 for task in ("digits", "cancer", "diabetes")),
    "10-your-data": lambda n: all(value >= 1 for name, value in n.items() if name.startswith("moved")),
    "11-following": lambda n: n["median_follow_0.01"] < n["median_fixed_0.01"] and 1 < n["cost_follow"] < 6,
    "12-a-real-case": lambda n: 0.1 < n["base_rate"] < 0.2 and 0.4 < n["final_area"] <= 1,
}


def _measured(chapter: Chapter) -> Measured:
    try:
        return chapter.measure(SHORT)
    except DataUnavailableError as error:
        pytest.skip(str(error))


def _page(chapter: Chapter) -> str:
    return (FOLDER / f"{chapter.page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=[one.page for one in CHAPTERS])
def test_each_chapter_measures_sane_numbers_for_the_places_of_its_page_and_writes_nothing(chapter: Chapter) -> None:
    text = _page(chapter)

    measured = _measured(chapter)

    assert measured.numbers
    assert [name for name, value in measured.numbers.items() if not math.isfinite(value)] == []
    assert _SANE[chapter.page](measured.numbers), dict(measured.numbers)
    assert measured.gist.endswith((".", ").")), measured.gist
    assert set(_MARKER.findall(text)) == set(measured.blocks)
    assert {f"../images/guide/{name}.svg" for name in measured.figures} == set(re.findall(r"\]\((\S+\.svg)\)", text))
    for name in measured.figures:
        assert stacked(*measured.figures[name]).to_dict()["config"]["background"] == "white"
    assert _page(chapter) == text


def test_every_chapter_has_been_measured_in_full_and_is_on_the_index() -> None:
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    for chapter in CHAPTERS:
        told = json.loads((NUMBERS / f"{chapter.page}.json").read_text(encoding="utf-8"))
        assert told["record"]["command"] == f"python -m docs.guide --only {chapter.page}"
        assert f"[{chapter.question}]({chapter.page}.md) | {told['gist']} |" in index
        assert between_markers(_page(chapter), _MARKER.findall(_page(chapter))[0], "x") != _page(chapter)


def test_pages_and_pictures_are_of_a_size_that_is_read() -> None:
    assert {path.stem for path in FOLDER.glob("[0-9]*.md")} == {one.page for one in CHAPTERS}
    assert [one.page for one in CHAPTERS if not 15 <= _page(one).count("\n") <= 140] == []
    shown = {Path(name).name for one in CHAPTERS for name in re.findall(r"\]\((\S+\.svg)\)", _page(one))}
    assert {path.name for path in FIGURES.iterdir()} == shown
    assert [path.name for path in FIGURES.iterdir() if path.stat().st_size > 120_000] == []
    assert figure_file("x").parent == FIGURES


def test_the_command_runs_one_chapter_and_refuses_an_unknown_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["guide", "--short", "--only", "01-the-rate"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("01-the-rate")
    monkeypatch.setattr(sys, "argv", ["guide", "--only", "nonsense"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "got 'nonsense'" in capsys.readouterr().err


def test_means_and_differences_say_what_the_noise_allows() -> None:
    mean = Mean.of([1.0, 2.0, 3.0])

    assert (mean.value, round(mean.half, 3), mean.clear) == (2.0, 2.484, False)  # t(0.975, 2) = 4.303, error = 0.577
    assert difference_text(pairs([1.0, 1.01], [2.0, 2.0]), "that").startswith("50% ± ")
    assert difference_text(pairs([1.0, 3.0], [2.0, 2.0]), "that").startswith("within the noise of that (+0.0%")
    assert (per_cent(0.0123), per_cent(-0.5, sign=True), per_cent(12.3)) == ("1.2%", "-50%", "1,230%")


def test_a_grid_counts_a_diverged_run_as_an_untrained_model_and_never_calls_it_best() -> None:
    grid = trained(small_task("diabetes", steps=30), (0.01, 100.0), (0, 1))

    assert grid.diverged(100.0) == 2
    assert grid.losses(100.0).tolist() == [grid.cap, grid.cap]
    assert grid.best() == 0.01
    assert grid.lost_from() == 100.0


def test_a_chart_leaves_out_what_is_not_finite() -> None:
    series = [Series("one", [1.0, 2.0, 3.0], [1.0, math.nan, 0.0], points=True)]

    drawn = stacked(line_chart(series, log_axis([1, 3]), plain_axis([0.1, 1], "loss"), "title")).to_dict()

    found = [[row["y"] for row in values] for values in drawn["datasets"].values()]
    assert found == [[1.0, 0.0]]  # the line and its points share their data
