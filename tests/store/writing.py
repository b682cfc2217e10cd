"""A process that writes runs until it is killed: ``python writing.py STUDY``, the store in $STEPSIZE_TEST_STORE."""

from __future__ import annotations

import os
import sys

import numpy as np

from stepsize.store import Store
from stepsize.training.runs import Evaluation, Run, Setting, Trial


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(study: str) -> None:
    """Add runs, two to a trial, and print the key of each that the store has acknowledged."""
    with (
        Store.open(os.environ["STEPSIZE_TEST_STORE"]) as store,
        store.begin(study, "sweep", {"lr": [1e-3, 1.0]}) as writer,
    ):
        start = len(store.runs(study))
        say("begun")
        for count in range(start, start + 100_000):
            losses, seen = np.full(count % 50 + 1, float(count)), (Evaluation(1, float(count)),)
            trial = Trial(count // 2, {"lr": 0.5})
            writer.add_run(Run(Setting(0.5, count % 2, 50), losses, seen, value=float(count), trial=trial))
            say(str(count))


if __name__ == "__main__":
    main(sys.argv[1])
