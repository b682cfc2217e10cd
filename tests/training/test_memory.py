"""What is free, and that a search takes little more memory than the training that it is for."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from stepsize.training.memory import free_memory

SCRIPT = """
    import resource
    import sys
    import torch
    from torch import nn
    import stepsize
    from stepsize.training.population import population as populations

    width = 3500
    x = torch.randn(32, width)
    task = stepsize.Task(
        model=lambda: nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 1)),
        loss=nn.functional.mse_loss, train=(x, x[:, :1]), val=(x, x[:, :1]), optimizer="adamw", steps=4, batch_size=16,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.argv[1] == "train":
        stepsize.train(task, 1e-4)
    else:
        populations._MEMORY_SHARE = 1e-3  # as on a machine on which two do not fit
        assert stepsize.sweep(task, lr=[1e-5, 1e-4, 1e-3], seeds=1, repeats=0, workers="population").complete
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def peak(what: str) -> float:
    """Return by how much the peak of a new process grew."""
    code = textwrap.dedent(SCRIPT)
    done = subprocess.run([sys.executable, "-c", code, what], capture_output=True, text=True, check=True, timeout=300)
    return float(done.stdout.split()[-1])


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_search_over_a_large_model_peaks_hardly_above_one_training() -> None:
    assert peak("search") <= 1.3 * peak("train")


def test_free_memory_is_less_than_there_is_and_falls_by_what_is_taken() -> None:
    device = torch.device("cpu")
    before = free_memory(device)
    assert 1e7 < before < 1e14
    held = torch.ones(50_000_000)  # 200 MB, in use
    assert free_memory(device) < before + 1e8
    assert held.sum() == 50_000_000
