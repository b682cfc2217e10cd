"""Tabular data: will a visitor of a shop buy? Which learning rate, and is the winner of one seed the winner?

The data are `online_shoppers_intention.csv.gz` of the UCI repository, in the folder that `$STEPSIZE_DATA` names.
Without it, the program uses the tumor data that come with scikit-learn, and says so.
"""

from __future__ import annotations

import stepsize
from stepsize.errors import DataUnavailableError


def a_task() -> stepsize.Task:
    """Return the task on the shoppers, or on the tumors if there is no folder."""
    try:
        return stepsize.build_task("shoppers-mlp", steps=120)
    except DataUnavailableError as error:
        print(f"No shoppers here, tumors instead ({str(error).splitlines()[0]})")
        return stepsize.build_task("cancer-mlp", steps=120)


def main() -> None:
    task = a_task()
    found = stepsize.profile(task)
    print(f"{task.name}: what the data say before a search")
    for advice in found.advice[:3]:
        print(f"  {advice.sentence}")
    swept = stepsize.sweep(task, lr=(1e-4, 0.1), trials=9, seeds=3)
    print(swept.status)
    for run in sorted(swept.runs, key=lambda one: (one.lr, one.seed)):
        print(f"  lr {run.lr:<8.2g} seed {run.seed}: validation loss {run.val_loss:.4f}")


if __name__ == "__main__":
    main()
