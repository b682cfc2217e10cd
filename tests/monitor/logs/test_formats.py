"""Logs of many tools are read as they were written, each row at its step, and judged at their end."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from stepsize.errors import InputError
from stepsize.monitor import Report, diagnose
from stepsize.monitor.logs.tables import read_rows, steps_of


def loss(n: int) -> float:
    return 0.2 + 2 * math.exp(-n / 60) + 0.02 * math.sin(n * 12.9898)


def read(folder: Path, text: str, name: str = "log.txt") -> Report:
    (folder / name).write_text(text)
    return diagnose(folder / name)


ROWS = range(0, 2_000, 10)
FORMATS = {
    "trainer_state.json": json.dumps(
        {
            "global_step": 2_000,
            "log_history": [
                *({"step": n, "epoch": n / 500, "loss": loss(n), "learning_rate": 1e-3} for n in ROWS),
                {"step": 1_990, "train_runtime": 3.0, "train_loss": 0.4},
            ],
        }
    ),
    "lines.json": "\n".join(json.dumps({"step": n, "loss": loss(n), "lr": 1e-3, "mode": "train"}) for n in ROWS),
    "printed.log": "\n".join(str({"loss": loss(n), "learning_rate": 1e-3, "step": n}) for n in ROWS),
    "plain.txt": "\n".join(f"step {n}: loss {loss(n):.5f}, lr 1.00e-03, time 12.3ms" for n in ROWS),
    "nanogpt.txt": "\n".join(f"iter {n}: loss {loss(n):.5f}, time 12.30ms, lr: 0.001" for n in ROWS),
    "semicolons.csv": "step;loss;lr\n" + "\n".join(f"{n};{loss(n)};0.001" for n in ROWS),
    "tabs.tsv": "step\ttrain_loss\tLearning Rate\n" + "\n".join(f"{n}\t{loss(n)}\t0.001" for n in ROWS),
    "padded.csv": "  step,  train/loss , lr/pg0\n" + "\n".join(f"  {n},  {loss(n)},  0.001" for n in ROWS),
    "wandb.csv": '"step","run-1 - train/loss","run-1 - lr"\n' + "\n".join(f'"{n}","{loss(n)}","0.001"' for n in ROWS),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path) -> None:
    report = read(tmp_path, FORMATS[name], name)
    values = report.signals["loss"]
    assert len(values.steps) == 200
    assert values.steps[:3].tolist() == [0, 10, 20]
    assert values.values.tolist() == pytest.approx([loss(n) for n in ROWS], abs=1e-5)
    assert report.signals["lr/0"].values[0] == pytest.approx(1e-3)
    assert name in report.source
    assert "200 losses, steps 0 to 1,990; loss from '" in str(report).splitlines()[0]


@pytest.mark.parametrize(
    "epoch",
    [lambda n: f"{n / 100:.2f}", lambda n: str(n // 40), lambda n: "3"],
    ids=["fractions", "repeated", "constant"],
)
def test_a_counter_that_is_no_step_leaves_the_rows_in_order(epoch: object, tmp_path: Path) -> None:
    rows = "\n".join(f"{epoch(n)},{loss(n)}" for n in range(400))  # type: ignore[operator]
    report = read(tmp_path, "epoch,loss\n" + rows)
    assert report.signals["loss"].steps.tolist() == list(range(400))
    assert "diverging" not in [one.code for one in report.findings]


def test_iterations_that_begin_anew_each_epoch(tmp_path: Path) -> None:
    rows = "\n".join(f"{n // 100},{n % 100},{loss(n)}" for n in range(400))
    report = read(tmp_path, "epoch,iter,loss\n" + rows)
    assert report.signals["loss"].values.tolist() == pytest.approx([loss(n) for n in range(400)])


def test_of_a_resumed_log_the_later_rows_count(tmp_path: Path) -> None:
    first = [f"{n},{loss(n) if n < 300 else 1e6 * n}" for n in range(400)]
    second = [f"{n},{loss(n)}" for n in range(300, 600)]
    report = read(tmp_path, "\n".join(["step,loss", *first, *second]))
    assert report.signals["loss"].steps.tolist() == list(range(600))
    assert float(max(report.signals["loss"].values)) < 3


def test_losses_that_are_none_at_the_end_are_not_finite(tmp_path: Path) -> None:
    rows = [f"{n},{loss(n)}" for n in range(300)] + [f"{n},None" for n in range(300, 320)]
    report = read(tmp_path, "\n".join(["step,loss", *rows]))
    (found,) = [one for one in report.findings if one.code == "diverging"]
    assert found.step == 300


def test_the_dense_loss_is_read(tmp_path: Path) -> None:
    rows = [f"{n},{loss(n)},{7.0 if n % 100 == 0 else ''}" for n in range(1_000)]
    report = read(tmp_path, "\n".join(["step,train/loss,loss", *rows]))
    assert "loss from 'train/loss'" in report.source


def test_overfitting_that_the_rest_of_the_log_refutes_is_left_out(tmp_path: Path) -> None:
    def val(n: int) -> float:
        rise = 0.8 * math.exp(-(((n - 450) / 90) ** 2))
        return 0.3 + 1.5 * math.exp(-n / 120) + rise - 0.0001 * n

    rows = [f"{n},{loss(n)},{val(n)}" for n in range(0, 1_500, 5)]
    report = read(tmp_path, "\n".join(["step,loss,val_loss", *rows]))
    assert "overfitting" not in [one.code for one in report.findings]


def test_a_folder_of_several_runs_is_not_merged(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"run{number}.csv").write_text("step,loss\n" + "\n".join(f"{n},{loss(n)}" for n in range(50)))
    with pytest.raises(InputError, match=r"run0\.csv, run1\.csv"):
        diagnose(tmp_path)


def test_text_without_numbers_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("nothing to see\nin here\n")
    with pytest.raises(InputError, match=r"trainer_state\.json and lines like"):
        diagnose(tmp_path / "log.txt")


def test_rows_of_one_step_with_other_columns(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss,val_loss\n0,1.0,\n0,,2.0\n1,0.9,\n1,,1.9\n")
    rows = read_rows(tmp_path / "metrics.csv")
    assert steps_of(rows) == ([0, 0, 1, 1], "step")
