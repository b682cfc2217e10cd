"""Our schedules against those of other libraries and published formulas, row by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.parity.cases import BEYOND, PEERS, Peer, check_case, check_defect, peer
from tests.parity.rows_keras import other_backend, theirs
from tests.parity.rows_timm import PEER as TIMM
from tests.parity.rows_timm import Twin

# A scheduler of torch that is wrapped or resumed steps before the optimizer that it was given has.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def required(name: str) -> Peer:
    """The rows of one peer, or a skip that says what to install."""
    found = peer(name)
    if found.version is None:
        pytest.skip(f'{found.package} is not installed; pip install -c constraints.txt -e ".[peers]"')
    if name == "keras" and other_backend() is not None:
        pytest.skip(f"keras is on {other_backend()} here; the rows are for KERAS_BACKEND=torch")
    return found


@pytest.mark.parametrize("name", PEERS)
def test_every_schedule_of_a_peer_is_one_of_ours_at_each_update(name: str, subtests: pytest.Subtests) -> None:
    for case in required(name).cases:
        with subtests.test(msg=case.name):
            check_case(case)


@pytest.mark.parametrize("name", [name for name in PEERS if name != "formulas"])
def test_what_a_peer_does_wrong_is_still_there_and_ours_does_not(name: str, subtests: pytest.Subtests) -> None:
    defects = required(name).defects
    assert defects
    for defect in defects:
        with subtests.test(msg=defect.name):
            check_defect(defect)


def test_in_its_default_precision_keras_is_right_to_single_precision_only() -> None:
    required("keras")
    single = np.asarray(theirs(lambda s: s.CosineDecay(1.0, 100, alpha=0.1), "float32")(101))
    double = np.asarray(theirs(lambda s: s.CosineDecay(1.0, 100, alpha=0.1))(101))
    assert 1e-9 < np.abs(single - double).max() < 2e-7


def test_the_wider_precision_of_optax_ends_with_the_evaluation() -> None:
    required("optax").cases[0].theirs(3)
    import jax.numpy

    assert jax.numpy.zeros(1).dtype == jax.numpy.float32


def test_the_formulas_of_timm_are_what_timm_itself_gives(subtests: pytest.Subtests) -> None:
    scheduler = pytest.importorskip("timm.scheduler", reason="timm and its torchvision are not installed")
    twins = [(case.theirs, case.steps + BEYOND) for case in TIMM.cases]
    twins += [(defect.theirs, max(defect.updates) + 1) for defect in TIMM.defects]
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
