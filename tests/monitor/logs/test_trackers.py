"""Runs that TensorBoard, W&B and MLflow themselves wrote are read."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepsize.errors import InputError
from stepsize.monitor import diagnose
from stepsize.monitor.logs.sources import read_log

STEPS = 300


def loss(n: int) -> float:
    return 0.2 + 2 * math.exp(-n / 60)


WANDB = """
import math, sys, wandb
run = wandb.init(project="p", dir=sys.argv[1])
for n in range(300):
    held_out = {"val": {"loss": 1.0 + n}} if n % 50 == 0 else {}
    run.log({"train/loss": 0.2 + 2 * math.exp(-n / 60), "train/lr": 1e-3, "note": "x" * 400, **held_out})
run.finish()
"""
MLFLOW = """
import math, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
with mlflow.start_run():
    for n in range(300):
        mlflow.log_metric("train/loss", 0.2 + 2 * math.exp(-n / 60), step=n)
    mlflow.log_metric("val_loss", math.nan, step=299)
"""


def written(script: str, where: str, folder: Path) -> None:
    """Run the tracker in a process of its own: it keeps threads and changes the working folder."""
    quiet = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
    subprocess.run([sys.executable, "-c", script, where], check=True, cwd=folder, env={**os.environ, **quiet})


@pytest.mark.slow
def test_an_offline_run_of_wandb(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    written(WANDB, str(tmp_path), tmp_path)
    report = diagnose(tmp_path)
    assert "(offline run of W&B): 300 losses, steps 0 to 299; loss from 'train/loss'" in report.source
    assert report.signals["loss"].values.tolist() == pytest.approx([loss(n) for n in range(STEPS)])
    assert report.signals["val_loss"].steps.tolist() == list(range(0, 300, 50))
    assert report.signals["lr/0"].values[0] == 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("where", ["file://{}/mlruns", "sqlite:///{}/mlflow.db"])
def test_a_run_of_mlflow(tmp_path: Path, where: str) -> None:
    pytest.importorskip("mlflow")
    written(MLFLOW, where.format(tmp_path), tmp_path)
    report = diagnose(tmp_path if "mlruns" in where else tmp_path / "mlflow.db")
    assert "(run of MLflow): 300 losses, steps 0 to 299; loss from 'train/loss'" in report.source
    assert report.signals["loss"].values.tolist() == pytest.approx([loss(n) for n in range(STEPS)])
    assert math.isnan(report.signals["val_loss"].values[-1])


def events(folder: Path, **tags: Any) -> None:
    writer = pytest.importorskip("tensorboard.summary").Writer(str(folder))
    for tag, value in tags.items():
        for n in range(0, STEPS, 10):
            writer.add_scalar(tag, value(n), n)
    writer.close()


def test_the_two_folders_of_keras_are_one_run(tmp_path: Path) -> None:
    events(tmp_path / "train", epoch_loss=loss, epoch_learning_rate=lambda n: 0.1)
    events(tmp_path / "validation", epoch_loss=lambda n: loss(n) + 1)
    report = diagnose(tmp_path)
    assert report.signals["loss"].values.tolist() == pytest.approx([loss(n) for n in range(0, STEPS, 10)])
    assert report.signals["val_loss"].values.tolist() == pytest.approx([loss(n) + 1 for n in range(0, STEPS, 10)])
    assert report.signals["lr/0"].values[-1] == pytest.approx(0.1)


def test_what_is_no_run_of_a_tracker_is_refused(tmp_path: Path) -> None:
    for name, match in (("run-1.wandb", "must be the file of an offline run"), ("mlflow.db", "a database of MLflow")):
        (tmp_path / name).write_bytes(b"something else, and long enough to be read as more than a header")
        with pytest.raises(InputError, match=match):
            read_log(tmp_path / name)
