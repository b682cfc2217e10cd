"""keras' schedules against our schedules."""

from __future__ import annotations

import numpy as np
import pytest
from tests.parity.cases import check_cases, check_defects, required
from tests.parity.rows_keras import other_backend, theirs


@pytest.fixture(autouse=True)
def _on_torch() -> None:
    backend = other_backend()
    if backend is not None:
        pytest.skip(f"keras is on {backend} here; the rows are for KERAS_BACKEND=torch")


def test_every_schedule_of_keras_is_one_of_ours_at_each_update(subtests: pytest.Subtests) -> None:
    check_cases(required("keras"), subtests)


def test_what_keras_does_wrong_is_still_there_and_ours_does_not(subtests: pytest.Subtests) -> None:
    check_defects(required("keras"), subtests)


def test_in_its_default_precision_keras_is_right_to_single_precision_only() -> None:
    required("keras")
    single = np.asarray(theirs(lambda s: s.CosineDecay(1.0, 100, alpha=0.1), "float32")(101))
    double = np.asarray(theirs(lambda s: s.CosineDecay(1.0, 100, alpha=0.1))(101))
    assert 1e-9 < np.abs(single - double).max() < 2e-7
