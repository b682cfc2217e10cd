"""Two processes that train together in a framework see the same, and decide alike about a bad batch of one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.frameworks.plain import needs
from tests.monitor.ranks import told_by_two

_TRAINER = """
import os
from pathlib import Path
from tests.frameworks.plain import rows, spoiled_rows
from tests.frameworks.trainers import TRAINERS

name, folder = sys.argv[4], Path(sys.argv[5])
os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
more = {"strategy": "ddp", "devices": 2} if name == "lightning" else {}
x, y = rows()
y[160] = 90.0  # in a batch of one process
told = {}
for kind, data, options in (("watch", (x, y), {}), ("guard", spoiled_rows(20), {"guard": True, "every": 5})):
    seen = TRAINERS[name].callback(**options)
    fitted = TRAINERS[name].fit(folder, seen, data=data, epochs=8, **more)
    record = seen.watching.record
    told[kind] = {
        "broken": seen.watching.broken, "steps": [fitted.steps, record.step, record.facts.steps],
        "actions": [[one.kind, one.step, one.back_to] for one in seen.actions],
        "findings": [[one.code, one.step] for one in seen.findings],
        "verdict": [seen.verdict.code, seen.verdict.reason],
        "signals": {name: record.history(name).values.tolist() for name in record.traces},
        "weights": [one.tolist() for one in fitted.parameters], "finite": fitted.finite, "loss": fitted.loss,
    }
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [pytest.param(one, marks=needs(one)) for one in ("lightning", "transformers")])
def test_two_processes_see_the_same_and_decide_alike(name: str, tmp_path: Path) -> None:
    one, two = told_by_two(_TRAINER, tmp_path, name, str(tmp_path / "run"))
    assert str(one) == str(two)  # NaN equals itself only in writing
    for kind in ("watch", "guard"):
        assert one[kind]["broken"] == ""
        assert one[kind]["steps"] == [96, 96, 96]
        assert one[kind]["finite"]
        assert len(one[kind]["signals"]["cosine"]) >= 40
    assert one["watch"]["findings"]
    assert [act for act, _, _ in one["guard"]["actions"]] == ["rollback"] * 8  # the bad batch comes in each epoch
    assert one["guard"]["loss"] < 1
