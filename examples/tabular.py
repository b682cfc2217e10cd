"""Tabular data: will a visitor of a shop buy? Which rate, and is one seed's winner the winner?

The data are `online_shoppers_intention.csv.gz` of the UCI repository, in the folder that `$STEPSIZE_DATA` names.
Without it, the tumours that come with scikit-learn take its place, and the program says so.
"""

from __future__ import annotations

import stepsize
from stepsize.errors import DataUnavailableError


def a_task() -> stepsize.Task:
    """Return the task on the shoppers, or on the tumours where there is no folder."""
    try:
        return stepsize.build_task("shoppers-mlp", steps=120)
    except DataUnavailableError as error:
        print(f"No shoppers here, tumours instead ({str(error).splitlines()[0]})")
        return stepsize.build_task("cancer-mlp", steps=120)


def main() -> None:
    task = a_task()
    found = stepsize.profile(task)
    print(f"{task.name}: what the data say before any search")
    for advice in found.advice[:3]:
        print(f"  {advice.sentence}")
    swept = stepsize.sweep(task, lr=(1e-4, 0.1), trials=9, seeds=3)
    print(swept.status)
    for run in sorted(swept.runs, key=lambda one: (one.lr, one.seed)):
        print(f"  lr {run.lr:<8.2g} seed {run.seed}: unseen loss {run.val_loss:.4f}")


if __name__ == "__main__":
    main()
