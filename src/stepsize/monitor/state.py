"""A watched training as plain values, for the checkpoints of trainers, and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from stepsize.curves.divergence import DivergenceRule
from stepsize.errors import InputError
from stepsize.monitor.blocks import Blocks
from stepsize.monitor.record import Record
from stepsize.monitor.trace import Trace

__all__ = ["load_record", "record_state"]

_SCHEMA = 1
_PLAIN = ("step", "skipped", "lost")


def record_state(record: Record) -> dict[str, Any]:
    """Return all signals so far, as values that JSON and ``torch.load(weights_only=True)`` take."""
    return {
        "schema": _SCHEMA,
        **{name: getattr(record, name) for name in _PLAIN},
        "first": list(record.first),
        "divergence": _rule_state(record.divergence),
        "traces": {name: _trace_state(trace) for name, trace in record.traces.items()},
    }


def load_record(record: Record, state: Mapping[str, Any]) -> None:
    """Put the signals back that :func:`record_state` returned.

    Raises:
        InputError: If it is no such state; nothing is changed then.
    """
    try:
        if state["schema"] != _SCHEMA:
            raise KeyError(state["schema"])
        traces = {name: _trace(values) for name, values in state["traces"].items()}
        step, skipped, lost = int(state["step"]), int(state["skipped"]), state["lost"]
        first, rule = [float(one) for one in state["first"]], dict(state["divergence"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("state", sorted(state), "must be what the state_dict of a watch returned") from error
    record.traces, record.step, record.skipped = traces, step, skipped
    record.lost = None if lost is None else (int(lost[0]), str(lost[1]))
    record.first[:] = first
    _load_rule(record.divergence, rule)


def _rule_state(rule: DivergenceRule) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, deque) else value for name, value in vars(rule).items()}


def _load_rule(rule: DivergenceRule, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        now = getattr(rule, name)
        setattr(rule, name, deque(value, maxlen=now.maxlen) if isinstance(now, deque) else value)


def _trace_state(trace: Trace) -> dict[str, Any]:
    recent = trace.recent()
    return {
        "counts": [trace.count, trace.bad, trace.first_bad],
        "range": [trace.low, trace.peak],
        "steps": recent.steps.tolist(),
        "values": recent.values.tolist(),
        "blocks": [part.tolist() for part in trace.blocks.to_arrays()],
    }


def _trace(state: Mapping[str, Any]) -> Trace:
    made = Trace()
    for step, value in zip(state["steps"], state["values"], strict=True):
        made.add(int(step), float(value))
    made.count, made.bad, made.first_bad = state["counts"]
    made.low, made.peak = state["range"]
    firsts, sums, counts, filled = state["blocks"]
    whole = [np.array(part, dtype=np.int64) for part in (firsts, counts, filled)]
    made.blocks = Blocks.from_arrays(whole[0], np.array(sums, dtype=np.float64), whole[1], whole[2])
    return made
