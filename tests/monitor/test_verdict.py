"""The words of a verdict about the rate."""

from __future__ import annotations

import pytest

from stepsize.monitor.verdict import _described


@pytest.mark.parametrize(("gain", "told"), [(-0.001, "and 0% of"), (-0.02, "and -2% of"), (0.304, "and 30% of")])
def test_a_gain_of_nearly_nothing_has_no_sign(gain: float, told: str) -> None:
    assert told in _described({"straightness": 0.05, "log10 distance": 0.5, "loss gain": gain})
