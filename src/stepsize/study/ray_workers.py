"""Workers on a Ray cluster: many machines that come and go."""

from __future__ import annotations

import logging
import math
import os
import time
import uuid
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stepsize.checks import check_number, check_positive, check_whole
from stepsize.errors import InputError, TaskError, needing
from stepsize.study.remote import (
    LOOK_SECONDS,
    Failure,
    RemoteWorkers,
    Submitted,
    TaskSource,
    WorkerPayload,
    WorkerRuntime,
    as_task_source,
    attempt,
)
from stepsize.training import Run, Setting, Task

if TYPE_CHECKING:
    from ray import ObjectRef

_LOG = logging.getLogger("stepsize")
_OPEN = (
    "Ray has no password: a program that reaches its ports can run code, and it may listen on all addresses of this "
    "machine; use it in a network that you trust, or protect its ports with a firewall"
)
_MEMORY = (
    "Most often memory runs out: ask for more cpus per run, so that fewer share a machine, or raise retries "
    "if machines are taken away"
)


class RayWorkers(RemoteWorkers):
    """Trains each configuration as a task of a Ray cluster, on any machine with room.

    A run whose worker or machine is lost is trained again elsewhere; what was collected stays collected. The
    processes of the cluster keep the task that they built. There is no progress within a run.

    Args:
        task: A Task (whose own code is sent with it), an import path that every machine knows, a built-in name, or a
            :class:`~stepsize.study.remote.TaskSource`.
        address: ``"auto"`` is the cluster that runs on this machine, ``"ray://..."`` or ``"host:port"`` another. None
            uses such a cluster if there is one, else starts Ray on this machine, and ends it when closed. After
            ``ray.init``, that connection is used, and left open.
        cpus: Cores per run, > 0; torch uses as many threads, at least one.
        gpus: GPUs per run, >= 0; below 1 several runs share one.
        retries: How often a configuration is tried again after its worker or machine was lost, >= 0.

    Raises:
        InputError: If a number is out of range, no cluster answers at ``address``, or a run fits on none of its
            machines.
        TaskError: If the task cannot be sent to another process.
        MissingExtraError: If Ray is not installed.
    """

    def __init__(
        self,
        task: Task | TaskSource | str,
        address: str | None = None,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        retries: int = 3,
    ) -> None:
        check_positive("cpus", cpus, "number of cores")
        check_number("gpus", gpus, least=0)
        check_whole("retries", retries, 0)
        with needing("ray"):
            import ray
        self._ray = ray
        super().__init__(WorkerPayload(as_task_source(task, far=True), max(1, int(cpus))), retries, _MEMORY)
        self._cpus, self._gpus = cpus, gpus
        self._pending: dict[ObjectRef[Any], Submitted] = {}
        self._ours = not self._ray.is_initialized()
        if self._ours:
            _connect(self._ray, address)
        try:
            self._check_fit()
            self._key = uuid.uuid4().hex  # names the task among those that a process of the cluster keeps
            self._parcel = [self._ray.put(self._payload)]  # within a list it is fetched only if it is not kept yet
            # a process that holds a GPU would otherwise end after each run, and the task with it
            self._train = self._ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=0)(_train)
        except BaseException:
            self.close()
            raise
        self._looked = -math.inf
        self._capacity = 1

    @property
    def capacity(self) -> int:
        """How many runs the cluster has room for at this moment, at least one."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._capacity = max(1, sum(self._room(node) for node in self._nodes()))
            self._looked = time.monotonic()
        return self._capacity

    def submit(self, ticket: int, setting: Setting) -> None:
        """Take a configuration; the cluster begins it when there is room."""
        self._send(Submitted(ticket, setting))

    def close(self) -> None:
        """Cancel what is not collected; end Ray if it was started here."""
        pending, self._pending = self._pending, {}
        if not self._ray.is_initialized():
            return
        for ref in pending:
            self._ray.cancel(ref, force=True)
        if self._ours:
            self._ray.shutdown()
            _set_noise(True)

    def _send(self, job: Submitted) -> None:
        self._pending[self._train.remote(self._key, self._parcel, job.setting)] = job

    @property
    def _busy(self) -> bool:
        return bool(self._pending)

    def _listen(self, seconds: float) -> None:
        refs = list(self._pending)
        if not refs or (seconds and not self._ray.wait(refs, num_returns=1, timeout=seconds)[0]):
            return
        for ref in self._ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
            self._take(ref)

    def _take(self, ref: ObjectRef[Any]) -> None:
        """Take the run behind ``ref``; if there is none, it is tried again or an error."""
        job = self._pending.pop(ref)
        exceptions = self._ray.exceptions
        try:
            answer: Run | Failure = self._ray.get(ref)
        except exceptions.RayTaskError as error:  # before our code was reached: stepsize is not installed
            self._fail(_unreachable(self._payload.source.label, error))
        except exceptions.RayError as error:  # worker, machine or result lost
            if self._tries_again(job, _first_sentence(error)):
                self._send(job)
        else:
            if isinstance(answer, Failure):
                self._fail(answer.error)
            else:
                self._done.append((job.ticket, answer))

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _room(self, node: dict[str, float]) -> int:
        room = math.floor(node.get("CPU", 0.0) / self._cpus)
        return min(room, math.floor(node.get("GPU", 0.0) / self._gpus)) if self._gpus else room

    def _check_fit(self) -> None:
        nodes = self._nodes()
        if any(self._room(node) for node in nodes):
            return
        argument = "gpus" if self._gpus and not any(node.get("GPU", 0.0) >= self._gpus for node in nodes) else "cpus"
        there = ", ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
        raise InputError(
            argument, getattr(self, f"_{argument}"), "must fit on one machine of the cluster", f"They have: {there}"
        )


_KEPT: dict[str, WorkerRuntime] = {}


def _train(key: str, parcel: list[ObjectRef[WorkerPayload]], setting: Setting) -> Run | Failure:
    """Train ``setting`` in a process of the cluster, which keeps the last task that it built."""
    import ray

    def train() -> Run:
        if key not in _KEPT:
            _KEPT.clear()
            _KEPT[key] = WorkerRuntime(ray.get(parcel[0]))
        return _KEPT[key].train(setting)

    return attempt(train)


def _connect(ray: ModuleType, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked to send figures anywhere
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise InputError(
            "address", address, f"must lead to a Ray cluster ({_first_sentence(error)})", "Start one: ray start --head"
        ) from error
    if address is None:
        _LOG.warning("stepsize: %s", _OPEN)
    _set_noise(False)


def _set_noise(shown: bool) -> None:
    """Let Ray print what happens to its machines, or not: it writes to stdout, which belongs to the answer."""
    from ray._private import worker

    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = shown


def _unreachable(label: str, error: Exception) -> TaskError:
    cause = str(error).strip().splitlines()[-1]
    return TaskError(
        "task",
        label,
        f"must reach stepsize on every machine of the cluster; one of them got {cause}",
        "Install the same stepsize and torch on all of them, or name them in ray.init(runtime_env=...)",
    )


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.partition(". ")[0].rstrip(".")[:200] or type(error).__name__
