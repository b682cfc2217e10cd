"""What is known of curves before any run."""

from __future__ import annotations

import numpy as np
import pytest

from stepsize.curves.lr_prior import Prior, prior_of, shipped_prior, tabulated
from stepsize.optimizers import OPTIMIZERS


def small(**changes: object) -> Prior:
    heights = np.array([[[0.0, -0.5, -1.0, 0.0], [0.0, -1.0, -0.5, 0.0]], [[-1.0, -0.8, -0.6, -0.4]] * 2])
    settings = {"x": np.array([-1.0, 0.0, 1.0, 2.0]), "k": np.array([-2.0, 0.0]), "heights": heights}
    sizes = {"steps": np.array([2.0, 3.0]), "parameters": np.array([3.0, 4.0])}
    return Prior(**{**settings, **sizes, "families": np.array(["sgd", "adamw"]), **changes})  # type: ignore[arg-type]


def slow_height(prior: Prior, curve: int, place: float, k: float) -> float:
    """Bilinear interpolation, a number at a time."""
    rows = [np.interp(place, prior.x, row) for row in prior.heights[curve]]
    return float(np.interp(k, prior.k, rows))


def test_heights_are_interpolated_as_one_by_one() -> None:
    prior = small()
    random = np.random.default_rng(0)
    curves = random.integers(0, 2, 50)
    place, k = random.uniform(-1, 1.99, (50, 7)), random.uniform(-3, 1, 7)
    fast = prior.heights_at(curves, place, k)
    slow = [[slow_height(prior, curve, at, length) for at, length in zip(row, k, strict=True)]
            for curve, row in zip(curves, place, strict=True)]  # fmt: skip
    assert fast == pytest.approx(np.array(slow), abs=1e-9)


def test_beyond_the_table_a_curve_keeps_its_last_height() -> None:
    prior = small()
    ends = prior.heights_at(np.array([1]), np.array([[-9.0, 9.0]]), np.array([0.0, 0.0]))
    assert ends[0] == pytest.approx([-1.0, -0.4], abs=1e-3)


def test_curves_of_the_family_count_more_and_an_unknown_family_takes_all_alike() -> None:
    prior = small(other_families=0.25)
    assert prior.weights("sgd") == pytest.approx([0.8, 0.2])
    assert prior.weights("") == pytest.approx([0.5, 0.5])
    assert prior.weights("mine") == pytest.approx([0.5, 0.5])


def test_the_best_rate_moves_with_steps_and_parameters() -> None:
    prior = small(per_steps=-0.3, per_parameters=-0.1)
    # From 10^2 steps to 10^4 and from 10^3 parameters to 10^5: 2 * -0.3 + 2 * -0.1; from 10^3 and 10^4: -0.3 - 0.1.
    assert prior.moved(np.array([0, 1]), (10_000, 100_000)) == pytest.approx([-0.8, -0.4])
    assert prior.moved(np.array([0, 1]), None) == pytest.approx([0.0, 0.0])


def test_the_shipped_record_is_sound() -> None:
    prior = shipped_prior()
    curves, lengths, rates = prior.heights.shape
    assert (lengths, rates, curves) == (len(prior.k), len(prior.x), len(prior.families))
    assert curves >= 20
    assert np.isfinite(prior.heights).all()
    assert prior.heights.max() <= 1e-6
    assert np.allclose(np.diff(prior.x), prior.x[1] - prior.x[0], atol=1e-5)
    assert (np.diff(prior.k) > 0).all()
    assert prior.k[-1] == 0
    assert set(prior.families) <= {"", *OPTIMIZERS}, "families are names of the catalog"
    assert prior.weights("adamw").sum() == pytest.approx(1)
    assert len(prior.deviations) == len(prior.deviation_weights) + 1
    assert sum(prior.deviation_weights) == pytest.approx(1)


def test_numbers_in_the_file_replace_those_of_the_code() -> None:
    prior = small()
    names = ("x", "k", "heights", "families", "steps", "parameters")
    spacing = np.array(prior.x[1] - prior.x[0])
    own = {"first": np.full(len(prior.heights), prior.x[0]), "spacing": spacing, "shift": np.array(0.7)}
    read = prior_of({name: getattr(prior, name) for name in names} | own)
    assert read.heights == pytest.approx(prior.heights, abs=1e-3)
    assert (read.shift, read.noise) == (0.7, prior.noise)


def test_heights_between_the_rates_of_a_curve_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    heights, first, x = rng.uniform(-1, 0, (7, 3, 5)), rng.uniform(-1, 1, 7), np.linspace(-3, 4, 50)
    slow = [
        [np.interp(x, start + 0.38 * np.arange(5), row) for row in own]
        for start, own in zip(first, heights, strict=True)
    ]
    assert tabulated(heights, first, 0.38, x) == pytest.approx(np.array(slow), abs=1e-8)
