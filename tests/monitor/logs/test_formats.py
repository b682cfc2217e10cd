"""Logs of many tools are read as they were written, each row at its step, and judged at their end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepsize.errors import InputError
from stepsize.monitor import Report, diagnose
from stepsize.monitor.logs.steps import steps_of
from stepsize.monitor.logs.texts import read_text


def loss(n: int) -> float:
    return 0.2 + 2 * math.exp(-n / 60) + 0.02 * math.sin(n * 12.9898)


def read(folder: Path, text: str, name: str = "log.txt") -> Report:
    (folder / name).write_text(text)
    return diagnose(folder / name)


ROWS = range(0, 2_000, 10)
JSON, TEXT = "JSON lines", "text"


def lines(line: Callable[[int], str], head: str = "") -> str:
    return head + "\n".join(line(n) for n in ROWS) + "\n"


def fairseq(n: int) -> str:
    row = {"epoch": 1, "update": n / 50, "loss": f"{loss(n):.5f}", "lr": "0.001", "num_updates": str(n)}
    return f"2021-01-01 10:00:00 | INFO | train_inner | {json.dumps(row)}"


def megatron(n: int) -> str:
    return (
        f" [2024-01-01 10:00:00] iteration {n:8d}/  500000 | consumed samples: {n * 512:12d} | elapsed time "
        f"per iteration (ms): 1234.5 | learning rate: 1.000E-03 | lm loss: {loss(n):.6E} | grad norm: 1.234 |"
    )


def ultralytics(n: int) -> str:
    return f"{n // 10:>23},{loss(n) / 2:>23},{loss(n) / 4:>23},{loss(n) / 4:>23},{0.5:>23},{0.001:>23},{0.002:>23}"


def espnet(n: int) -> str:
    batches = f"{n // 400 + 1}epoch:train:{n % 400 + 1}-{n % 400 + 10}batch"
    head = f"[host] 2022-01-01 10:00:00,000 (trainer:700) INFO: {batches}"
    return f"{head}: loss_ctc=20.1, loss={loss(n):.5f}, optim0_lr0=0.001"


STATE: dict[str, Any] = {
    "global_step": 2_000,
    "max_steps": 4_000,
    "log_history": [
        *({"step": n, "epoch": n / 500, "loss": loss(n), "learning_rate": 1e-3} for n in ROWS),
        {"step": 1_990, "train_runtime": 3.0, "train_loss": 0.4},
    ],
}
FORMATS = {  # name of the file: format, steps per row, text
    "trainer_state.json": ("trainer state of transformers", 10, json.dumps(STATE)),
    "lines.json": (JSON, 10, lines(lambda n: json.dumps({"step": n, "loss": loss(n), "lr": 1e-3, "mode": "train"}))),
    "printed.log": ("printed dicts", 10, lines(lambda n: str({"loss": loss(n), "learning_rate": "1e-3", "step": n}))),
    "epochs.log": (
        "printed dicts",
        1,
        lines(lambda n: str({"loss": loss(n), "learning_rate": 1e-3, "epoch": n / 500})),
    ),
    "detr.txt": (JSON, 1, lines(lambda n: json.dumps({"train_lr": 1e-3, "train_loss": loss(n), "epoch": n // 10}))),
    "fairseq.log": (JSON, 10, lines(fairseq)),
    "plain.txt": (TEXT, 10, lines(lambda n: f"step {n}: loss {loss(n):.5f}, lr 1.00e-03, time 12.3ms")),
    "nanogpt.txt": (
        *(TEXT, 10),
        lines(
            lambda n: (
                (f"step {n}: train loss 1.0, val loss 1.1\n" if n % 250 == 0 else "")
                + f"iter {n}: loss {loss(n):.5f}, time 12.30ms, lr: 0.001"
            )
        ),
    ),
    "llm.c.txt": (
        TEXT,
        10,
        lines(lambda n: f"step {n:4d}/4000 | loss {loss(n):.6f} (+0.2z)| norm 1.2 (+0.1z)| lr 1.00e-03"),
    ),
    "main.log": (TEXT, 10, lines(lambda n: f"s:{n} trl:{loss(n):.5f} lr:0.001")),
    "megatron.log": (TEXT, 10, lines(megatron)),
    "torchtune.txt": (
        TEXT,
        10,
        lines(lambda n: f"Step {n} | loss:{loss(n)} lr:0.001 tokens_per_second_per_gpu:1000.1"),
    ),
    "espnet.log": (TEXT, 1, lines(espnet)),
    "darknet.log": (
        TEXT,
        10,
        lines(lambda n: f" {n}: {loss(n):.6f}, 1.5 avg loss, 0.001000 rate, 3.1 seconds, 64 images"),
    ),
    "semicolons.csv": ("CSV", 10, lines(lambda n: f"{n};{loss(n)};0.001", "step;loss;lr\n")),
    "tabs.tsv": ("CSV", 10, lines(lambda n: f"{n}\t{loss(n)}\t0.001", "step\ttrain_loss\tLearning Rate\n")),
    "padded.csv": ("CSV", 10, lines(lambda n: f"  {n},  {loss(n)},  0.001", "  step,  train/loss , lr/pg0\n")),
    "wandb.csv": (
        "CSV",
        10,
        lines(
            lambda n: f'"{n}","{loss(n)}","0.001","9"',
            '"step","run-1 - train/loss","run-1 - lr","run-1 - train/loss__MAX"\n',
        ),
    ),
    "ultralytics.csv": (
        "CSV",
        1,
        lines(ultralytics, "epoch,train/box_loss,train/cls_loss,train/dfl_loss,val/box_loss,lr/pg0,lr/pg1\n"),
    ),
    "fastai.txt": (
        "table",
        1,
        lines(
            lambda n: f"{n // 10:<9} {loss(n):.6f}    0.9    0.001   00:10",
            "epoch     train_loss  valid_loss  lr  time\n",
        ),
    ),
    "lightning.csv": (
        *("CSV", 10),
        lines(lambda n: f"0,,{n},{loss(n)},\n0,0.001,{n},,", "epoch,lr-AdamW,step,train_loss_step,train_loss_epoch\n")
        + "0,,1990,,0.5\n",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, tmp_path: Path) -> None:
    form, every, text = FORMATS[name]
    report = read(tmp_path, text, name)
    values = report.signals["loss"]
    assert values.steps.tolist() == list(range(0, 200 * every, every))
    assert values.values.tolist() == pytest.approx([loss(n) for n in ROWS], abs=1e-5)
    assert report.signals["lr/0"].values[0] == pytest.approx(1e-3)
    assert f"{name} ({form}): 200 losses, steps 0 to {199 * every:,}; loss from '" in str(report).splitlines()[0]
    assert report.planned == (
        4_000 if name in ("trainer_state.json", "llm.c.txt") else 500_000 if name == "megatron.log" else None
    )


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


BLOWN = [loss(n) if n < 220 else 50 + math.sin(n) for n in range(300)]
ENDED = [loss(n) for n in range(300)]
JUMP = [4.4 if n == 200 else loss(n) for n in range(300)]
FAULTS = {  # header, rows, findings with their steps, words of the answer
    "steps of 100": ("step,loss", [f"{100 * n},{BLOWN[n]}" for n in range(300)], {"diverging": 22_000}, ""),
    **{
        f"ends in {gone!r}": (
            *("step,loss", [f"{n},{x}" for n, x in enumerate([*ENDED, *[gone] * 9])]),
            *({"diverging": 300}, "the loss became nan"),
        )
        for gone in ("", "None", "nan")
    },
    "a rate that jumps": (
        *("step,loss,lr", [f"{n},{JUMP[n]},{1e-3 if n < 200 else 0.1}" for n in range(300)]),
        *({"spike": 200}, "had just been raised from 0.001 to 0.1"),
    ),
    "one loss that is not finite": (
        *("step,loss", [f"{n},{'nan' if n == 200 else loss(n)}" for n in range(300)]),
        *({"spike": 201}, "The loss of step 200 was not finite, and later ones are"),
    ),
    "a rate with 5 decimals": (
        *("step,loss,lr", [f"{n},{loss(n)},{3.1e-6 * (1 - n / 400):.5f}" for n in range(400)]),
        *({}, "left out: 400 learning rates that were rounded to zero"),
    ),
    "a part of a cosine": (
        *("step,loss,lr", [f"{n},{2 / (n + 10) ** 0.3},{0.1 + 0.1 * math.cos(n / 1300)}" for n in range(600)]),
        *({}, "the schedule does not decay, or the log ends before it does"),
    ),
    "a decay": (
        *("step,loss,lr", [f"{n},{4 - n / 200 + 0.01 * math.sin(n * 12.98)},{0.1 - n / 5000}" for n in range(500)]),
        *({}, "The schedule has ended: the last learning rate is 0.2% of the highest."),
    ),
    "nothing learned": (
        *("step,loss", [f"{100 * n},{2.3 + 0.01 * math.sin(n * 12.98)}" for n in range(1720)]),
        *({"not-learning": 26_000}, "The training loss never fell below its first values"),
    ),
    "a slow blow-up": ("step,loss", [f"{n},{6.9 * 1.0375**n}" for n in range(201)], {"diverging": 7}, ""),
    "back to the start": (
        *("step,loss", [f"{n},{loss(n) if n < 200 else 2.1}" for n in range(300)]),
        *({"diverging": 200}, "returned to its initial value"),
    ),
    "a blow-up that is taken back": (
        *("step,loss", [f"{n},{loss(n) + (40 if 100 <= n < 140 else 0)}" for n in range(400)]),
        *({"spike": 100}, "No warning sign before it"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_log_is_judged_at_its_end(name: str, tmp_path: Path) -> None:
    head, rows, expected, words = FAULTS[name]
    report = read(tmp_path, "\n".join([head, *rows]))
    assert {one.code: one.step for one in report.findings if one.code != "plateau"} == expected
    assert words in str(report)
    assert "until 35%" not in str(report)
    assert report.verdict.code == ("diverged" if "diverging" in expected else "inconclusive")


def ramp(x: float) -> float:
    return float(2.3 - 2 / (1 + (0.01 / x) ** 1.5) + x**2)


RAMPS = {
    "exponential": [10 ** (-5 + n / 33) for n in range(200)],
    "linear": [1e-4 + n * 0.005 for n in range(400)],
}


@pytest.mark.parametrize("name", RAMPS)
@pytest.mark.parametrize("fault", ["", "one NaN", "resumed", "ends in NaN"])
def test_the_log_of_a_range_test_is_read_as_one(name: str, fault: str, tmp_path: Path) -> None:
    rows = [f"{n},{ramp(x) + 0.01 * math.sin(n * 12.9898)},{x}" for n, x in enumerate(RAMPS[name])]
    if fault == "one NaN":
        rows[len(rows) // 3] = f"{len(rows) // 3},nan,{RAMPS[name][len(rows) // 3]}"
    elif fault == "resumed":
        rows = [*rows[:100], *(f"{n},9.9,{RAMPS[name][n]}" for n in range(100, 140)), *rows[100:]]
    elif fault:
        rows += [f"{len(rows) + n},nan,{RAMPS[name][-1] * 1.1}" for n in range(3)]
    report = read(tmp_path, "\n".join(["step,loss,lr", *rows]))
    assert report.findings == ()
    assert "The log is a range test" in report.verdict.reason
    assert 0.01 < report.verdict.signals["suggested_lr"] < 0.5


def test_a_constant_epoch_and_loss(tmp_path: Path) -> None:
    assert read(tmp_path, "epoch,loss\n" + "3,2.5\n" * 80).findings == ()


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


CSV = "step,loss\n" + "\n".join(f"{n},{loss(n)}" for n in range(50))
FOLDERS = {  # files, and the run that is read, or what is said
    "csv files": (("run0.csv", "run1.csv"), "run0.csv, run1.csv"),
    "versions": (("version_2/metrics.csv", "version_10/metrics.csv"), r"version_2, version_10.*diagnose .*version_10"),
    "one version": (("version_0/metrics.csv", "version_0/hparams.json"), None),
    "a settings file": (("log.csv", "args.txt", "config.json", "requirements.txt"), None),
    "nothing": (("weights.pt",), r"which holds weights.pt.*stepsize diagnose FILE"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name: str, tmp_path: Path) -> None:
    files, refusal = FOLDERS[name]
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(CSV)
    if refusal is None:
        assert diagnose(tmp_path).steps == 50
        return
    with pytest.raises(InputError, match=refusal):
        diagnose(tmp_path)


def test_of_several_checkpoints_the_last_state_is_read(tmp_path: Path) -> None:
    for end in (500, 1_500):
        folder = tmp_path / f"checkpoint-{end}"
        folder.mkdir()
        rows = [one for one in STATE["log_history"] if one["step"] < end]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": rows}))
    assert diagnose(tmp_path).steps == 1_491


def test_an_export_of_several_runs_is_not_mixed(tmp_path: Path) -> None:
    text = "step,a - loss,b - loss\n" + "\n".join(f"{n},{loss(n)},{loss(n) + 1}" for n in range(50))
    (tmp_path / "export.csv").write_text(text)
    with pytest.raises(InputError, match=r"a - loss, b - loss.*--loss 'a - loss'"):
        diagnose(tmp_path / "export.csv")
    assert diagnose(tmp_path / "export.csv", loss="b - loss").signals["loss"].values[0] == pytest.approx(loss(0) + 1)


def test_text_without_numbers_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("nothing to see\nin here\n")
    with pytest.raises(InputError, match=r"trainer_state\.json and lines like"):
        diagnose(tmp_path / "log.txt")


def test_rows_of_one_step_with_other_columns(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss,val_loss\n0,1.0,\n0,,2.0\n1,0.9,\n1,,1.9\n")
    rows = read_text(tmp_path / "metrics.csv").rows
    assert steps_of(rows, ["loss"]) == ([0, 0, 1, 1], True)
