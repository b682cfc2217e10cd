"""Trains the digits with six optimizers at many rates: ``python docs/guide/interactive/runs.py`` writes ``runs.json``.

The page ``learning_rate.html`` shows these runs; ``make.py`` puts them into it. Takes a few minutes on one thread.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stepsize.tasks import TASKS, build_task
from stepsize.training import Changes, Population, Run, Setting

RUNS = Path(__file__).parent / "runs.json"
TASK, STEPS, SEED, RATES = "digits-mlp", 100, 0, 25
MARKS = (1, 2, 3, 4, 6, 8, *range(10, STEPS + 1, 5))  # updates after which unseen data are looked at
MOMENTA = (0.0, 0.5, 0.9, 0.99)
_THIN = 2  # training losses a mean
_DIGITS = 3  # of a loss


@dataclass(frozen=True)
class Family:
    """Runs that differ in the rate alone."""

    optimizer: str
    momentum: float | None
    low: float
    high: float

    def settings(self) -> list[Setting]:
        """Return one setting a rate, evenly spaced on a log scale."""
        changes = Changes(momentum=self.momentum)
        rates = np.geomspace(self.low, self.high, RATES)
        return [Setting(float(f"{lr:.3g}"), seed=SEED, steps=STEPS, changes=changes) for lr in rates]


# From rates at which little is learned to those at which all is lost.
FAMILIES = (
    Family("sgd", None, 1e-3, 1e2),
    *(Family(name, m, 1e-4, 1e1) for name in ("momentum", "nesterov") for m in MOMENTA),
    Family("adagrad", None, 1e-4, 1e1),
    *(Family("rmsprop", m, 1e-6, 1e-1) for m in MOMENTA),
    *(Family("adam", m, 1e-5, 1e0) for m in MOMENTA),
)


def main() -> None:
    """Train all families and write them."""
    torch.set_num_threads(1)
    families = []
    for family in FAMILIES:
        families.append(trained(family))
        print(family, flush=True)
    RUNS.write_text(packed(families), encoding="utf-8")
    print(f"Wrote {RUNS.name}: {len(families)} families of {RATES} runs.", file=sys.stderr)


def trained(family: Family) -> dict[str, Any]:
    """Return the runs of a family as plain values."""
    task = build_task(TASK, optimizer=family.optimizer, steps=STEPS, device="cpu")
    settings = family.settings()
    runs = Population(evals=MARKS)(task, settings)
    return {
        "optimizer": family.optimizer,
        "momentum": family.momentum,
        "rates": [setting.lr for setting in settings],
        "runs": [told(run) for run in runs],
    }


def told(run: Run) -> dict[str, Any]:
    """Return what the page shows of a run: where it was lost, and its losses."""
    whole = len(run.losses) // _THIN * _THIN
    train = run.losses[:whole].reshape(-1, _THIN).mean(1)
    last = run.evaluations[-1] if run.divergence is None else None
    return {
        "lost": None if run.divergence is None else run.divergence.step,
        "right": None if last is None else round(last.metrics["accuracy"], 4),
        "train": [_short(loss) for loss in train],
        "unseen": [_short(seen.loss) for seen in run.evaluations],
    }


def packed(families: list[dict[str, Any]]) -> str:
    """Return the file's text: one line a run, so that a change is seen where it is."""
    entry = TASKS[TASK]
    head = {"task": TASK, "source": entry.source, "steps": STEPS, "batch": entry.batch_size, "seed": SEED}
    head |= {"thin": _THIN, "marks": list(MARKS), "start": math.log(10)}
    lines = [json.dumps(head)[:-1] + ', "families": [']
    for family in families:
        runs = ",\n".join(json.dumps(run, separators=(",", ":"), allow_nan=False) for run in family["runs"])
        rest = {key: value for key, value in family.items() if key != "runs"}
        lines.append(json.dumps(rest)[:-1] + ', "runs": [\n' + runs + "]},")
    return "\n".join(lines).removesuffix(",") + "\n]}\n"


def _short(loss: float) -> float | None:
    return float(f"{loss:.{_DIGITS}g}") if math.isfinite(loss) else None


if __name__ == "__main__":
    main()
