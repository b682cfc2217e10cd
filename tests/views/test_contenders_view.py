"""The chart of contenders: lines over rates or steps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from tests.views.chart_specs import named, values

from stepsize.errors import InputError
from stepsize.views import ContenderLine, ContendersView, contenders_chart, contenders_info, save_chart

pytestmark = pytest.mark.filterwarnings("error")

SGD = ContenderLine("sgd", [0.01, 0.1, 1.0], [0.9, 0.4, math.inf], marked=0.1)
ADAM = ContenderLine("adam", [1e-4, 1e-3, 1e-2], [0.8, 0.3, 0.5], marked=1e-3)


def test_each_line_ends_where_it_diverged_and_its_tuned_rate_is_marked() -> None:
    info = contenders_info(ContendersView((ADAM, SGD)))
    adam, sgd = info.curves
    assert (sgd.x, sgd.y) == ((0.01, 0.1), (0.9, 0.4))
    assert adam.x == (1e-4, 1e-3, 1e-2)
    assert [(point.series, point.x) for point in info.marked] == [("adam", 1e-3), ("sgd", 0.1)]
    assert info.x.log
    assert info.x.low < 1e-4
    assert info.x.high > 1.0
    assert info.lines == ("Crosses at the top: 1 not finite.",)


def test_over_steps_there_are_lines_only() -> None:
    steps = np.arange(1.0, 60.0)
    view = ContendersView((ContenderLine("sgd", steps, 1 / steps),), over="step", loss_label="training loss")
    info = contenders_info(view)
    assert info.points == ()
    assert not info.x.log
    spec = contenders_chart(view).to_dict()
    assert len(values(spec, named(spec, "contenders")[0])) == 59


def test_more_than_eight_are_named_instead_of_drawn(tmp_path: Path) -> None:
    many = tuple(ContenderLine(f"c{n}", [0.1, 1.0], [1.0 + n, 2.0 + n]) for n in range(10))
    view = ContendersView(many)
    info = contenders_info(view)
    assert info.names == tuple(f"c{n}" for n in range(8))
    assert "Not drawn, to keep lines apart: c8, c9." in info.lines
    assert save_chart(contenders_chart(view), tmp_path / "c.svg").read_text(encoding="utf-8").startswith("<svg")


def test_bad_input_is_told() -> None:
    with pytest.raises(InputError, match="x of 'a' must rise"):
        ContenderLine("a", [1.0, 0.1], [1.0, 2.0])
    with pytest.raises(InputError, match="x of 'a' must hold at least one point"):
        ContenderLine("a", [], [])
    with pytest.raises(InputError, match="name must not be empty"):
        ContenderLine("", [1.0], [1.0])
    with pytest.raises(InputError, match="contenders must hold at least one"):
        ContendersView(())
    with pytest.raises(InputError, match="contenders must have different names"):
        ContendersView((SGD, SGD))
    with pytest.raises(InputError, match="over must be 'learning rate' or 'step'; got 'epoch'"):
        ContendersView((SGD,), over="epoch")
