"""The gallery has every chart of the package, and its page is what the generator writes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import get_args

import pytest
from docs import command_text, make_gallery

from stepsize.cli.compare import Charts as CompareCharts
from stepsize.cli.sweep.run import Charts as SweepCharts


def drawing() -> dict[str, str]:
    """Return the default chart of each command that has ``--plot``, by its full name."""
    found = {}
    for name, command in command_text.commands():
        options = {option.name: option.default for option in command.params}
        if "plot" in options:
            found[name] = options.get("chart", "")
    return found


def shown() -> set[tuple[str, str]]:
    """Return (command, chart) of each picture on the page; an empty chart where the command has only one."""
    defaults = drawing()
    found = set()
    for chart in make_gallery.charts():
        words = shlex.split(chart.command)
        name = next(
            name for name in sorted(defaults, key=len, reverse=True) if words[: name.count(" ") + 1] == name.split()
        )
        kind = words[words.index("--chart") + 1] if "--chart" in words else defaults[name]
        found.add((name, kind))
    return found


def test_the_committed_page_is_what_the_generator_writes() -> None:
    assert make_gallery.PAGE.read_text(encoding="utf-8") == make_gallery.page(), "run: python -m docs.make_gallery none"


def test_every_command_that_draws_is_there_with_each_of_its_charts() -> None:
    kinds = {"stepsize sweep": get_args(SweepCharts), "stepsize compare": get_args(CompareCharts)}
    same = {"stepsize sweep show", "stepsize sweep resume"}  # draw what sweep draws
    wanted = {(name, kind) for name in drawing() if name not in same for kind in kinds.get(name, ("",))}

    assert wanted <= shown()


@pytest.mark.parametrize("chart", make_gallery.charts(), ids=[Path(chart.file).stem for chart in make_gallery.charts()])
def test_each_picture_is_there(chart: make_gallery.Chart) -> None:
    assert (make_gallery.DOCS / "images" / chart.file).stat().st_size > 1_000
    assert not [path for path in make_gallery.PICTURES.iterdir() if f"gallery/{path.name}" not in _files()]


def _files() -> set[str]:
    return {chart.file for chart in make_gallery.charts()}
