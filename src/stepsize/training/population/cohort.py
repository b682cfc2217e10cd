"""A cohort: settings of one seed and horizon that are trained together, step by step, on the same batches."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from stepsize.errors import NotStackableError
from stepsize.training.batches import Stream, count_examples
from stepsize.training.border import undisturbed
from stepsize.training.digest import digest
from stepsize.training.population.members import Members, Rehearsal, rehearse
from stepsize.training.population.stacked import StackedOptimizer, stack_optimizers
from stepsize.training.recording import Recording
from stepsize.training.runs import Progress, Run, Setting, Watcher
from stepsize.training.stepping import build_model, build_optimizer, reading_lag, rung_factors
from stepsize.training.task import Task

__all__ = ["Cohort", "Look", "build_stacked", "clip_gradients", "clip_limits", "look", "train_cohort"]

_COPIES = 6  # of its parameters that a member takes: gradients, two moments, scratch
_CLIP_EPS = 1e-6  # torch.nn.utils.clip_grad_norm_ adds it to the norm


@final
class Look:
    """What is known of a task before a cohort of it is trained: see :func:`look`.

    Attributes:
        rehearsal: What one plain pass told.
        weight: Bytes of the trained parameters of one member.
    """

    def __init__(self, rehearsal: Rehearsal, weight: int) -> None:
        self.rehearsal = rehearsal
        self.weight = weight

    @property
    def member(self) -> int:
        """Bytes that one more member takes: parameters, gradients, two moments, scratch, and what backward needs."""
        return _COPIES * self.weight + 2 * self.rehearsal.saved


def look(task: Task, setting: Setting, *, room: float = math.inf) -> Look:
    """Find out on two members whether runs of ``task`` can be stacked; random generators and data stay as they were.

    Args:
        task: What would be trained.
        setting: One of them.
        room: Bytes that they may take; where two do not fit, nothing is copied.

    Raises:
        NotStackableError: If they cannot; the message is the reason.
        TaskError: If the parts of the task do not fit together.
    """
    with undisturbed(task, setting.seed, inspected=True):
        model = build_model(task)
        weight = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
        _check_room(2 * _COPIES * weight, room)
        batch = next(Stream(task.train))
        rehearsal = rehearse(task, model, batch)
        known = Look(rehearsal, weight)
        _check_room(2 * known.member, room)
        members = Members(task, model, 2, rehearsal)
        build_stacked([task, task], [setting, setting], members)
        members.check(batch, rehearsal)
    return known


def _check_room(wanted: float, room: float) -> None:
    if wanted > room:
        raise NotStackableError(f"two at once take {wanted / 1e9:.2g} GB, more than a quarter of the free memory")


def train_cohort(
    tasks: Sequence[Task],
    settings: Sequence[Setting],
    known: Look,
    watcher: Watcher | None,
    marks: frozenset[int] = frozenset(),
) -> list[Run]:
    """Train all settings at once and return their runs in that order.

    Args:
        tasks: One a setting: the task with the setting's changes, which share model, loss and data.
        settings: Of one seed and one number of steps.
        known: What was found out about the task.
        watcher: Called with the progress of each member.
        marks: Numbers of updates after which to evaluate on unseen data, besides the end.
    """
    with undisturbed(tasks[0], settings[0].seed, inspected=True):
        return Cohort(tasks, settings, known, watcher, marks).run()


@final
class Cohort:
    """Several runs while they go on together; made by :func:`train_cohort`."""

    def __init__(
        self,
        tasks: Sequence[Task],
        settings: Sequence[Setting],
        known: Look,
        watcher: Watcher | None,
        marks: frozenset[int],
    ) -> None:
        self._began = time.perf_counter()
        self._task = tasks[0]
        self._watcher = watcher
        self._marks = marks if self._task.val is not None else frozenset()
        self._steps = settings[0].steps
        self._recordings = [Recording(task, setting) for task, setting in zip(tasks, settings, strict=True)]
        self._members = Members(self._task, build_model(self._task), len(settings), known.rehearsal)
        self._initial = digest(dict(self._members.model.state_dict()))
        self._optimizer = build_stacked(tasks, settings, self._members)
        self._clips = clip_limits(tasks, self._members)
        tables = {id(task): rung_factors(task, self._steps) for task in tasks}  # most are one task
        factors = torch.tensor([tables[id(task)] for task in tasks], dtype=torch.float64)
        # One factor for all is a float; own ones are a row of a table on the device.
        self._shared = factors[0].tolist() if bool((factors == factors[0]).all()) else None
        self._factors = factors.T.to(next(iter(self._members.parameters.values())).device)
        self._stream = Stream(self._task.train)
        self._examples = 0
        self._batches = 0
        self._seconds = [0.0] * len(settings)
        self._live = list(range(len(settings)))
        self._unread: list[tuple[Tensor, Sequence[Any]]] = []
        self._lag = reading_lag(self._task)

    def run(self) -> list[Run]:
        """Train to the end and return a run a setting."""
        moment = self._began
        for step in range(self._steps):
            self._update(step)
            if len(self._unread) >= self._lag or step + 1 == self._steps:
                lost = self._read()
                if lost:
                    moment = self._charge(moment)
                    self._drop(lost)
            if step + 1 in self._marks and step + 1 < self._steps and self._live:
                moment = self._charge(moment)
                self._evaluate(step + 1)
                moment = time.perf_counter()
            self._tell(step + 1)
            if not self._live:
                break
        self._charge(moment)
        self._evaluate(self._steps)
        examples = self._examples / self._batches
        return [
            recording.run(seconds=seconds, examples=examples, initial=self._initial)
            for recording, seconds in zip(self._recordings, self._seconds, strict=True)
        ]

    def _update(self, step: int) -> None:
        batches = [next(self._stream) for _ in range(self._task.accumulate)]
        self._examples += sum(count_examples(batch) for batch in batches)
        self._batches += len(batches)
        losses, gradients = self._members.gradients(batches)
        if self._clips is not None:
            clip_gradients(gradients, self._clips)
        self._optimizer.step(gradients, self._factors[step] if self._shared is None else self._shared[step])
        self._unread.append((losses, batches))

    def _read(self) -> set[int]:
        """Take the losses since the last look; return the members that are lost."""
        unread, self._unread = self._unread, []
        values = torch.stack([losses for losses, _ in unread]).double().tolist()
        lost: set[int] = set()
        for row, (_, batches) in zip(values, unread, strict=True):
            for member, value in zip(self._live, row, strict=True):
                if member not in lost and not self._recordings[member].take(value, batches):
                    lost.add(member)
        return lost

    def _evaluate(self, step: int) -> None:
        """Look at unseen data with each member after ``step`` updates; the last look decides whether it was lost."""
        for place, member in enumerate(self._live):
            began = time.perf_counter()
            model = self._members.put_on(place)
            if step < self._steps:
                self._recordings[member].evaluate(model, step)
            else:
                self._recordings[member].finish(model)
            self._seconds[member] += time.perf_counter() - began

    def _drop(self, lost: set[int]) -> None:
        """Go on without the lost members, so that the others get cheaper."""
        places = [place for place, member in enumerate(self._live) if member not in lost]
        self._live = [self._live[place] for place in places]
        if not places:
            return
        kept = torch.tensor(places, device=self._factors.device)
        self._members.keep(kept)
        self._optimizer.keep(kept, list(self._members.parameters.values()))
        self._factors = self._factors.index_select(1, kept)
        if self._clips is not None:
            self._clips = self._clips.index_select(0, kept)

    def _charge(self, since: float) -> float:
        """Share the time since then between those that were trained in it."""
        now = time.perf_counter()
        for member in self._live:
            self._seconds[member] += (now - since) / len(self._live)
        return now

    def _tell(self, step: int) -> None:
        if self._watcher is not None:
            for member in self._live:
                recording = self._recordings[member]
                self._watcher(Progress(recording.setting, step, recording.last_loss))


def build_stacked(tasks: Sequence[Task], settings: Sequence[Setting], members: Members) -> StackedOptimizer:
    """Return the optimizer of the members, each at its setting's rate."""
    model = members.model
    optimizers = [build_optimizer(task, model, setting.lr) for task, setting in zip(tasks, settings, strict=True)]
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return stack_optimizers(optimizers, [own] * len(optimizers), list(members.parameters.values()))


def clip_limits(tasks: Sequence[Task], members: Members) -> Tensor | None:
    """Return the members' largest gradient norms, shape (K,), infinite for one that does not clip; None for none."""
    if all(task.clip is None for task in tasks):
        return None
    parameter = next(iter(members.parameters.values()))
    limits = [float("inf") if task.clip is None else float(task.clip) for task in tasks]
    return torch.tensor(limits, device=parameter.device, dtype=parameter.dtype)


def clip_gradients(gradients: Sequence[Tensor | None], limits: Tensor) -> None:
    """Scale each member's gradients in place, so that their global norm is at most its limit."""
    given = [gradient for gradient in gradients if gradient is not None]
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in given])
    share = (limits / (torch.linalg.vector_norm(norms, dim=0) + _CLIP_EPS)).clamp(max=1.0)
    for gradient in given:
        gradient.mul_(share.view(-1, *[1] * (gradient.dim() - 1)))
