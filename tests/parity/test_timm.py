"""timm's schedulers, by formula, against our schedules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.parity.cases import BEYOND, check_cases, check_defects, required
from tests.parity.rows_timm import PEER, Twin


def test_every_scheduler_of_timm_is_one_of_ours_at_each_update(subtests: pytest.Subtests) -> None:
    check_cases(required("timm"), subtests)


def test_what_timm_does_wrong_is_in_its_formulas_and_not_in_ours(subtests: pytest.Subtests) -> None:
    check_defects(required("timm"), subtests)


def test_the_twins_are_what_timm_itself_gives(subtests: pytest.Subtests) -> None:
    scheduler = pytest.importorskip("timm.scheduler", reason="timm and its torchvision are not installed")
    twins = [(case.theirs, case.steps + BEYOND) for case in PEER.cases]
    twins += [(defect.theirs, max(defect.updates) + 1) for defect in PEER.defects]
    for twin, count in twins:
        assert isinstance(twin, Twin)
        with subtests.test(msg=str(twin)):
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
            real = getattr(scheduler, twin.scheduler)(optimizer, **twin.arguments)
            rates = []
            for update in range(count):
                real.step(update)
                rates.append(optimizer.param_groups[0]["lr"])
            np.testing.assert_allclose(twin(count), rates, rtol=0, atol=1e-12)
