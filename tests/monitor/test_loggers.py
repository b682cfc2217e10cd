"""What is watched is also logged to TensorBoard, W&B, MLflow and functions; one that fails stops nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from tests.monitor.logs.test_trackers import written
from tests.monitor.loops import update
from torch import nn

from stepsize import diagnose, guard, watch
from stepsize.errors import InputError
from stepsize.monitor import Finding

STEPS = 200
TRAIN = """
import math, sys, torch, stepsize
net = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
with stepsize.watch(net, optimizer, steps=200, log_to=log_to) as watching:
    for n in range(200):
        loss = net(torch.ones(2, 4)).square().mean() * (math.nan if n == 150 else 1)
        optimizer.zero_grad(); loss.backward(); optimizer.step(); watching.step(loss)
"""
WANDB = "import sys, wandb; log_to = wandb.init(project='p', dir=sys.argv[1])" + TRAIN + "log_to.finish()"
MLFLOW = (
    "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); mlflow.start_run(); log_to = 'mlflow'"
    + TRAIN
    + "mlflow.end_run()"
)


def trained(
    log_to: Any, *, nan_at: int = 150, start: Any = watch, each: Callable[[Any], object] = lambda _: None, **more: Any
) -> Any:
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with start(net, optimizer, steps=STEPS, log_to=log_to, **more) as watching:
        for n in range(STEPS):
            watching.step(update(net, optimizer, torch.ones(2, 4), times=math.nan if n == nan_at else 1))
            each(watching)
    return watching


@pytest.mark.parametrize("start", [watch, guard])
def test_a_function_gets_signals_at_their_steps_and_findings(start: Any) -> None:
    got: list[tuple[dict[str, Any], int]] = []
    watching = trained(lambda values, step: got.append((values, step)), start=start)
    losses = {step: values["stepsize/loss"] for values, step in got if "stepsize/loss" in values}
    assert {0, 149} <= set(losses)
    assert all(math.isfinite(loss) for loss in losses.values())
    assert got[0][0]["stepsize/lr/0"] == pytest.approx(0.01)
    assert [values["stepsize/finding"] for values, _ in got if "stepsize/finding" in values] == [
        str(one) for one in watching.findings
    ]


class Writer:
    """Takes what a SummaryWriter takes."""

    def add_scalar(self, name: str, value: float, step: int) -> None: ...

    def add_text(self, name: str, text: str, step: int) -> None: ...


@pytest.mark.parametrize(("log_to", "charts"), [(Writer(), 1), (lambda values, step: None, 0)])
def test_the_chart_is_drawn_once_at_the_end_for_those_that_take_it(
    log_to: Any, charts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr("stepsize.views.save_chart", lambda chart, path: drawn.append(1))
    on_the_way: list[int] = []

    def each(watching: Any) -> None:
        watching.report()
        on_the_way.extend(drawn)

    watching = trained(log_to, each=each)
    assert not on_the_way
    watching.report()
    watching.close()
    assert len(drawn) == charts


def test_a_long_run_gets_about_500_values() -> None:
    from stepsize.monitor.loggers import as_loggers
    from stepsize.monitor.record import Record

    got, record = [], Record()
    loggers = as_loggers(lambda values, step: got.append((values, step)), 50_000)
    assert loggers is not None
    for step in range(50_000):
        record.step = step + 1
        record.add("loss", step, float(step))
        loggers.note(record, [])
    assert len(got) == 500
    assert got[1] == ({"stepsize/loss": 50.5}, 100)  # the mean since the last time


def test_a_logger_that_fails_is_reported_once_and_training_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def failing(values: dict[str, Any], step: int) -> None:
        raise ValueError("no network")

    others: list[int] = []
    with caplog.at_level(logging.WARNING, logger="stepsize"):
        watching = trained([failing, lambda values, step: others.append(step)])
    assert not watching.broken
    assert others
    message = "stepsize.watch: log_to (Function) failed and gets nothing more: ValueError: no network"
    assert [one.getMessage() for one in caplog.records] == [message]


@pytest.mark.parametrize("log_to", ["tensorboard", 3, [print, "wandb"]])
def test_what_is_no_logger_is_refused(log_to: Any) -> None:
    with pytest.raises(InputError, match=r'log_to must be "mlflow", a SummaryWriter, a W&B run or a function'):
        trained(log_to)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    watching = trained(writer)
    writer.close()
    report = diagnose(tmp_path)
    assert report.signals["loss"].values[0] == pytest.approx(watching.record.first[0])
    assert report.signals["lr/0"].values[-1] == pytest.approx(0.01)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [one.step for one in events.Images("stepsize/report")] == [STEPS - 1]
    assert events.Images("stepsize/report")[0].width > 400
    (text,) = events.Tensors("stepsize/diverging/text_summary")
    assert b"the loss became nan" in text.tensor_proto.string_val[0]


@pytest.mark.slow
def test_wandb(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    written(WANDB, str(tmp_path), tmp_path)
    report = diagnose(tmp_path)
    assert "offline run of W&B" in report.source
    assert len(report.signals["loss"].values) > 30
    assert list(tmp_path.rglob("media/images/stepsize/report*.png"))


@pytest.mark.slow
def test_mlflow(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    written(MLFLOW, f"file://{tmp_path}/mlruns", tmp_path)
    report = diagnose(tmp_path)
    assert len(report.signals["loss"].values) > 30
    assert list(tmp_path.rglob("artifacts/stepsize/report.png"))
    (tag,) = tmp_path.rglob("tags/stepsize.diverging")
    assert "the loss became nan" in tag.read_text()


def test_an_objective_can_prune_itself_from_within_a_finding() -> None:
    def prune(finding: Finding) -> None:
        if finding.severity == "critical":
            raise optuna.TrialPruned(finding.message)

    def objective(trial: optuna.Trial) -> float:
        watching = trained(None, nan_at=20 if trial.number else STEPS, on_finding=prune)
        assert not trial.number
        return float(watching.record.last("loss"))

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
