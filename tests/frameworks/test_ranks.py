"""Two processes that train together in a framework see the same, and decide alike about a bad batch of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.frameworks.plain import needs
from tests.monitor.ranks import told_by_two

_BEGIN = """
import os
from pathlib import Path
from tests.frameworks.plain import loader, net, rows, spoiled_rows
from tests.frameworks.trainers import TRAINERS, keras_model

name, folder = sys.argv[4], Path(sys.argv[5])
os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
x, y = rows()
y[160] = 90.0  # in a batch of one process
KINDS = (("watch", (x, y), {}), ("guard", spoiled_rows(20), {"guard": True, "every": 5}))
told = {}

def tell(kind, seen, watching, weights, steps, loss):
    record = watching.record
    told[kind] = {
        "broken": watching.broken, "steps": [steps, record.step, record.facts.steps],
        "actions": [[one.kind, one.step, one.back_to] for one in getattr(seen, "actions", ())],
        "findings": [[one.code, one.step] for one in seen.findings],
        "verdict": [seen.verdict.code, seen.verdict.reason],
        "signals": {name: record.history(name).values.tolist() for name in record.traces},
        "weights": [one.tolist() for one in weights], "loss": loss,
        "finite": all(bool(one.isfinite().all()) for one in weights),
    }
"""
_TRAINER = f"""{_BEGIN}
more = {{"strategy": "ddp", "devices": 2}} if name == "lightning" else {{}}
for kind, data, options in KINDS:
    seen = TRAINERS[name].callback(**options)
    fitted = TRAINERS[name].fit(folder, seen, data=data, epochs=8, **more)
    tell(kind, seen, seen.watching, fitted.parameters, fitted.steps, fitted.loss)
"""
_LOOP = f"""{_BEGIN}
for kind, _, options in KINDS:
    data = (x, y) if kind == "watch" else rows()
    if name == "accelerate":
        from tests.frameworks.test_every_loop import accelerator_of
        accelerator = accelerator_of()
        assert accelerator.num_processes == 2
        module = net()
        model, optimizer, batches = accelerator.prepare(
            module, torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.5), loader(data))
        backward = accelerator.backward
    else:  # fit of Keras trains in one process; this is the way of its guide to several
        module = keras_model()
        model = nn.parallel.DistributedDataParallel(module)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.5)
        half = [one.reshape(24, 8, -1)[rank::2].flatten(0, 1) for one in data]
        batches, backward = loader(half), torch.autograd.backward
    begin = stepsize.guard if options.pop("guard", False) else stepsize.watch
    with begin(model, optimizer, steps=96, **options) as seen:
        for epoch in range(8):
            for inputs, outputs in (seen.batches(batches) if kind == "guard" else batches):
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(inputs), outputs)
                if kind == "guard" and epoch == 3 and rank == 0 and not seen.actions:
                    loss = loss * math.nan
                backward(loss)
                optimizer.step()
                seen.step(loss)
    watching = getattr(seen, "watching", seen)
    done = nn.functional.mse_loss(module(rows()[0]), rows()[1]).item()
    made = watching.record.step - watching.record.repeated
    tell(kind, seen, watching, list(module.parameters()), made, done)
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [pytest.param(one, marks=needs(one)) for one in ("lightning", "transformers")])
def test_two_processes_see_the_same_and_decide_alike(name: str, tmp_path: Path) -> None:
    same_in_both(*told_by_two(_TRAINER, tmp_path, name, str(tmp_path / "run")), acts=["rollback"] * 8)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [pytest.param(one, marks=needs(one)) for one in ("accelerate", "keras")])
def test_in_loops_of_ones_own_too(name: str, tmp_path: Path) -> None:
    same_in_both(*told_by_two(_LOOP, tmp_path, name, ""), acts=["replay"])


def same_in_both(one: Any, two: Any, *, acts: list[str]) -> None:
    """Assert that both processes saw the same and acted alike, on bad batches that one of them had."""
    assert str(one) == str(two)  # NaN equals itself only in writing
    for kind in ("watch", "guard"):
        assert one[kind]["broken"] == ""
        made, recorded, planned = one[kind]["steps"]
        assert made == planned == 96 <= recorded
        assert one[kind]["finite"]
        assert len(one[kind]["signals"]["cosine"]) >= 40
    assert one["watch"]["findings"]
    assert [done for done, _, _ in one["guard"]["actions"]] == acts
    assert one["guard"]["loss"] < 1
