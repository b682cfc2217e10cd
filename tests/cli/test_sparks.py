"""Curves of block characters."""

from __future__ import annotations

import math

import pytest

from stepsize.cli.watch import spark


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 10, ""),
        ([1.0], 10, "▁"),
        ([2.0, 2.0], 10, "▁▁"),
        ([0.0, 7.0], 10, "▁█"),
        (list(map(float, range(8))), 8, "▁▂▃▄▅▆▇█"),
        ([-1.0, 1e3], 2, "▁█"),
        ([1.0, 1e2, 1e4], 3, "▁▅█"),
        ([1.0, math.nan, math.inf, 2.0], 4, "▁××█"),
        ([math.nan] * 3, 3, "×××"),
        ([0.0, 0.0, 8.0, 8.0, math.nan, 4.0], 3, "▁█▅"),
    ],
)
def test_a_line_shows_means_between_the_lowest_and_the_highest(values: list[float], width: int, line: str) -> None:
    assert spark(values, width) == line


def test_a_line_is_as_wide_as_asked() -> None:
    assert [len(spark([float(n) for n in range(1000)], width)) for width in (1, 7, 60)] == [1, 7, 60]
