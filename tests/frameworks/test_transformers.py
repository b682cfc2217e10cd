"""What only the Trainer of transformers has: losses of one's own, callbacks that it makes again from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.frameworks.plain import needs
from tests.frameworks.trainers import TRAINERS
from tests.frameworks.trainers import fit_transformers as fit

pytestmark = [needs("transformers"), needs("accelerate")]

callback = TRAINERS["transformers"].callback


def test_a_loss_of_ones_own_is_taken_from_the_log(tmp_path: Path) -> None:
    seen = callback()
    fit(tmp_path, seen, own_loss=True, logging_steps=2, epochs=2)
    record = seen.watching.record
    assert (record.step, record.skipped) == (48, 0)
    assert len(record.recent("grad_norm")) == 48
    assert len(record.recent("loss")) >= 20


def test_a_callback_that_the_trainer_makes_again_goes_on(tmp_path: Path) -> None:
    trainer = TRAINERS["transformers"]
    seen = trainer.resume(tmp_path, lambda: callback(guard=True), restore_callback_states_from_checkpoint=True)
    record = seen.watching.record
    assert record.step == record.facts.steps == 96
    assert record.history("loss").values == pytest.approx(_losses(tmp_path), rel=1e-5)


def _losses(folder: Path) -> list[float]:
    whole = callback(guard=True)
    fit(folder / "whole", whole, epochs=4)
    return whole.watching.record.history("loss").values.tolist()  # type: ignore[no-any-return]
