"""What every test relies on: seeded randomness, one thread, and the data folder."""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# The same examples on every run and no clock: a red test is red for everybody.
settings.register_profile("stepsize", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stepsize")

# Tests run in two processes; more threads than cores would only wait for each other.
torch.set_num_threads(1)

# Without a GPU, torch.manual_seed would write down the stack of its caller for each kind of GPU that is not there.
_seed_torch = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed

gc.disable()  # while pytest collects its tests, which make much and leave nothing: a fifth of the time


def pytest_collection_finish() -> None:
    gc.freeze()  # what the imports made stays: no collection of garbage has to walk through it
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> None:
    """Leave what earlier modules made out of each collection, and of each search of a range test for its modules."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  code under test may read the global generator
    _seed_torch(0)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of data that the package does not ship; skips where there is none."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("STEPSIZE_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; set STEPSIZE_DATA")
    return folder
