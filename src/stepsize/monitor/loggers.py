"""``log_to=``: signals, findings and the chart of a watched run, sent to TensorBoard, W&B, MLflow or any function."""

from __future__ import annotations

import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

from stepsize.errors import InputError, MissingExtraError, needing

if TYPE_CHECKING:
    from stepsize.monitor.finding import Finding
    from stepsize.monitor.record import Record
    from stepsize.monitor.report import Report

_LOG = logging.getLogger("stepsize")
_PREFIX = "stepsize/"
_POINTS = 500  # values of each signal over a run of known length
_EVERY = 20  # steps between two values if the length is unknown
_ALERTS = {"info": "INFO", "warning": "WARN", "critical": "ERROR"}  # levels of W&B
LogTo: TypeAlias = Any
"""A ``SummaryWriter``, a W&B run, ``"mlflow"``, a function of a dict and a step, or several of them."""


class _Logger(ABC):
    """One place to which a run is logged."""

    @abstractmethod
    def values(self, values: Mapping[str, float], step: int) -> None:
        """Log values of signals."""

    @abstractmethod
    def finding(self, finding: Finding) -> None:
        """Log a finding."""

    def chart(self, png: Path, step: int) -> None:  # noqa: B027 - a function takes no pictures
        """Log a picture."""


@final
class _TensorBoard(_Logger):
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def values(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finding(self, finding: Finding) -> None:
        self._writer.add_text(f"{_PREFIX}{finding.code}", str(finding), finding.step)

    def chart(self, png: Path, step: int) -> None:
        if not hasattr(self._writer, "_get_file_writer"):
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        content = png.read_bytes()
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))  # of the PNG's header
        image = Summary.Image(encoded_image_string=content, height=height, width=width, colorspace=4)
        summary = Summary(value=[Summary.Value(tag=f"{_PREFIX}report", image=image)])
        self._writer._get_file_writer().add_summary(summary, step)


@final
class _WandB(_Logger):
    def __init__(self, run: Any) -> None:
        self._run = run
        run.define_metric(f"{_PREFIX}*", step_metric=f"{_PREFIX}step")  # the steps of the run itself are the user's

    def values(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, f"{_PREFIX}step": step})

    def finding(self, finding: Finding) -> None:
        level = _ALERTS[finding.severity]
        self._run.alert(title=f"stepsize: {finding.code}", text=str(finding), level=level)

    def chart(self, png: Path, step: int) -> None:
        import wandb

        self._run.log({f"{_PREFIX}report": wandb.Image(str(png)), f"{_PREFIX}step": step})


@final
class _MLflow(_Logger):
    def __init__(self) -> None:
        with needing("mlflow"):
            import mlflow
        if mlflow.active_run() is None:
            raise InputError("log_to", "mlflow", "needs an active run", "Call mlflow.start_run() first")
        self._mlflow = mlflow

    def values(self, values: Mapping[str, float], step: int) -> None:
        named = {name.replace("/", ".").replace(".", "/", 1): value for name, value in values.items()}
        self._mlflow.log_metrics(named, step=step)  # a metric cannot be the folder of another

    def finding(self, finding: Finding) -> None:
        self._mlflow.set_tag(f"stepsize.{finding.code}", str(finding))

    def chart(self, png: Path, step: int) -> None:  # noqa: ARG002 - an artifact has no step
        self._mlflow.log_artifact(str(png), artifact_path="stepsize")


@final
class _Function(_Logger):
    def __init__(self, function: Callable[[dict[str, Any], int], object]) -> None:
        self._function = function

    def values(self, values: Mapping[str, float], step: int) -> None:
        self._function(dict(values), step)

    def finding(self, finding: Finding) -> None:
        self._function({f"{_PREFIX}finding": str(finding)}, finding.step)


@final
class Loggers:
    """Everything that a run is logged to; the first error of one is logged, and it gets nothing more."""

    def __init__(self, loggers: Sequence[_Logger], steps: int | None) -> None:
        self._loggers = list(loggers)
        self._every = max(1, steps // _POINTS) if steps else _EVERY
        self._next = 0
        self._sent: dict[str, int] = {}

    def note(self, record: Record, new: Iterable[Finding]) -> None:
        """Log what is new: findings immediately, signals at intervals."""
        for finding in new:
            self._send("finding", finding)
        if record.step >= self._next:
            self._next = record.step + self._every
            self._values(record)

    def close(self, record: Record, report: Report) -> None:
        """Log the last values, and the chart if one of them takes it and the packages that draw it are installed."""
        from stepsize.views import save_chart

        self._values(record)
        if not record.traces or all(type(one).chart is _Logger.chart for one in self._loggers):
            return
        try:
            with tempfile.TemporaryDirectory() as folder:
                png = Path(folder) / "report.png"
                save_chart(report.plot(), png)
                self._send("chart", png, max(0, record.step - 1))
        except (ImportError, MissingExtraError):
            _LOG.info("stepsize.watch: log_to gets no chart: the extra 'plot' is not installed")

    def _values(self, record: Record) -> None:
        """Log for each signal the mean of the values since the last time, at their last step."""
        by_step: dict[int, dict[str, float]] = {}
        for name in list(record.traces):
            new = record.recent(name).finite().since(self._sent.get(name, -1) + 1)
            if len(new):
                last = self._sent[name] = int(new.steps[-1])
                by_step.setdefault(last, {})[_PREFIX + name] = float(new.values.mean())
        for step in sorted(by_step):
            self._send("values", by_step[step], step)

    def _send(self, what: str, *given: object) -> None:
        """Call a method of each logger."""
        for logger in list(self._loggers):
            try:
                getattr(logger, what)(*given)
            except Exception as error:  # noqa: BLE001 - logging must not break training
                self._loggers.remove(logger)
                kind = type(logger).__name__.lstrip("_")
                why = f"{type(error).__name__}: {error}"
                _LOG.warning("stepsize.watch: log_to (%s) failed and gets nothing more: %s", kind, why)


def as_loggers(log_to: LogTo, steps: int | None) -> Loggers | None:
    """Return what ``log_to`` names; None for None."""
    if log_to is None:
        return None
    several = log_to if isinstance(log_to, list | tuple) else [log_to]
    return Loggers([_as_logger(one) for one in several], steps)


def _as_logger(one: Any) -> _Logger:
    if isinstance(one, str) and one == "mlflow":
        return _MLflow()
    if hasattr(one, "add_scalar"):
        return _TensorBoard(one)
    if hasattr(one, "define_metric") and hasattr(one, "log"):
        return _WandB(one)
    if callable(one):
        return _Function(one)
    raise InputError("log_to", one, 'must be "mlflow", a SummaryWriter, a W&B run or a function of a dict and a step')
