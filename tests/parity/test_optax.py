"""optax's schedules against our schedules."""

from __future__ import annotations

import pytest
from tests.parity.cases import check_cases, check_defects, required


def test_every_schedule_of_optax_is_one_of_ours_at_each_update(subtests: pytest.Subtests) -> None:
    check_cases(required("optax"), subtests)


def test_what_optax_does_wrong_is_still_there_and_ours_does_not(subtests: pytest.Subtests) -> None:
    check_defects(required("optax"), subtests)


def test_the_wider_precision_ends_with_the_evaluation() -> None:
    required("optax").cases[0].theirs(3)
    import jax.numpy

    assert jax.numpy.zeros(1).dtype == jax.numpy.float32
