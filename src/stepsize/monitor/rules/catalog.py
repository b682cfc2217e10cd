"""All rules: an entry here puts a rule into the watch, the documentation and the tests."""

from __future__ import annotations

from stepsize.monitor.finding import Rule
from stepsize.monitor.rules import (
    about_to_diverge,
    clipping,
    dead_group,
    diverging,
    edge_of_stability,
    not_learning,
    oscillating,
    overfitting,
    plateau,
    rate,
    schedule_end,
    scheduler_calls,
    skipped,
    spike,
    stuck_estimate,
    underfitting,
    warmup,
    zero_rate,
)

RULES: tuple[Rule, ...] = (
    diverging.RULE,
    about_to_diverge.RULE,
    spike.RULE,
    rate.TOO_HIGH,
    rate.TOO_LOW,
    oscillating.RULE,
    edge_of_stability.RULE,
    underfitting.RULE,
    overfitting.RULE,
    plateau.RULE,
    not_learning.RULE,
    clipping.RULE,
    warmup.RULE,
    schedule_end.RULE,
    scheduler_calls.RULE,
    zero_rate.RULE,
    dead_group.RULE,
    skipped.RULE,
    stuck_estimate.RULE,
)
