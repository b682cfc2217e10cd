"""From numbers to measured quantities: what each means, and how it was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator

from stepsize.curves.numerals import number_text, span_text
from stepsize.probe.profiling.edge import StabilityEdge
from stepsize.probe.profiling.features import Features
from stepsize.probe.profiling.result import Moment, ProfileFacts, ProfileMeasurement, when


def read(facts: ProfileFacts) -> tuple[ProfileMeasurement, ...]:
    """Return everything measured about a task, in order."""
    return (
        *(_noise(facts, moment) for moment in facts.moments if moment.noise is not None),
        *(_edge(facts, edge) for edge in facts.edges),
        *_losses(facts),
        *_targets(facts),
        *(row for features in facts.features for row in _features(facts, features)),
        *_silent(facts),
    )


def _noise(facts: ProfileFacts, moment: Moment) -> ProfileMeasurement:
    noise = moment.noise
    assert noise is not None
    return ProfileMeasurement(
        f"noise scale {when(moment.step)}", noise.examples, "examples", noise.interval,
        f"Gradients of {noise.pieces} disjoint pieces of about {number_text(noise.piece_size)} examples, each "
        "compared with each; the interval contains 90% of resamplings of the pieces.",
        _noise_follows(noise.examples, facts.batch_size),
    )  # fmt: skip


def _noise_follows(noise: float, batch: int) -> str:
    if math.isinf(noise):
        return "No common direction of the examples is visible in the noise: much larger batches would still help."
    saved = 1 - (1 + noise / (2 * batch)) / (1 + noise / batch)
    place = "far below it" if 4 * batch < noise else "far above it" if batch > 4 * noise else "near it"
    return f"The batch of {batch} is {place}: twice the batch would save {saved:.0%} of the steps (at most 50%)."


def _edge(facts: ProfileFacts, edge: StabilityEdge) -> ProfileMeasurement:
    follows = "A larger first update raises the loss of its own batch."
    if edge.step:
        follows = f"{number_text(edge.lr / facts.edges[0].lr, 2)} times that at the start."
    if facts.momentum:
        follows += (
            f" With momentum {number_text(facts.momentum)} steady updates are {number_text(1 / (1 - facts.momentum))} "
            f"times as large: compare the rate with {number_text(edge.lr * (1 - facts.momentum), 2)}."
        )
    return ProfileMeasurement(
        f"critical rate {when(edge.step)}", edge.lr, "", edge.interval,
        "The smallest rate at which one update, without momentum, raises the loss of its own batch: median "
        f"and range over {len(edge.probes)} updates.",
        follows,
    )  # fmt: skip


def _losses(facts: ProfileFacts) -> Iterator[ProfileMeasurement]:
    loss = facts.loss
    if loss is None:
        return
    margin = 2 * loss.error
    drawn = "the batches that were drawn"
    yield ProfileMeasurement(
        "loss at the start", loss.start, "", (loss.start - margin, loss.start + margin),
        f"The initial model on {drawn}, with twice its standard error.", "Where a run begins."
    )  # fmt: skip
    if loss.zero is None or loss.constant is None:
        return
    yield ProfileMeasurement(
        "loss of zero outputs", loss.zero, "", None, f"The task's loss of outputs that are all 0, on {drawn}.",
        f"The initial model is {_against(loss.start, loss.zero)}."
    )  # fmt: skip
    yield ProfileMeasurement(
        "loss of the best constant", loss.constant, "", None,
        f"The task's loss of the best output that is the same for every example, fitted on {drawn}.",
        "Only a loss below it was learned from the inputs.",
    )  # fmt: skip


def _against(start: float, zero: float) -> str:
    if zero == 0 or abs(start - zero) <= 0.02 * abs(zero):
        return "as good as that"
    return f"{abs(start / zero - 1):.0%} {'worse' if start > zero else 'better'} than that"


def _targets(facts: ProfileFacts) -> Iterator[ProfileMeasurement]:
    classes, target = facts.classes, facts.target
    if classes is not None:
        counted = f"{classes.labels:,} labels of {facts.source}."
        yield ProfileMeasurement(
            "fraction of the most frequent class", classes.majority, "", None,
            f"Counted over {counted} The rarest of the {classes.count} classes has {classes.rarest:.2g}.",
            f"Always guessing it is right in {classes.majority:.0%} of the cases.",
        )  # fmt: skip
        yield ProfileMeasurement(
            "entropy of the classes", classes.entropy, "nats", None, f"From the fractions of {counted}",
            f"A cross-entropy of {number_text(classes.entropy, 4)} needs no input at all; "
            f"equal fractions would have {number_text(math.log(classes.count), 4)}.",
        )  # fmt: skip
    elif target is not None:
        yield ProfileMeasurement(
            "spread of the target", target.high, "", (target.low, target.high),
            f"Standard deviations of its {target.columns} column{'s' * (target.columns > 1)} over {facts.source}: the "
            f"largest, and their range. The largest mean is {number_text(target.offset)}.",
            "A squared error and its gradient grow with it." if facts.exponent == 1 else "",
        )  # fmt: skip


def _features(facts: ProfileFacts, seen: Features) -> Iterator[ProfileMeasurement]:
    over = f"{seen.rows:,} rows of {facts.source}"
    constant = f"; {seen.constant} more never change" if seen.constant else ""
    if seen.low is not None and seen.high is not None:
        yield ProfileMeasurement(
            f"scale spread of {seen.name}", seen.high / seen.low, "", None,
            f"Largest over smallest standard deviation of {seen.columns - seen.constant} {seen.unit}s{constant}, "
            f"over {over}: {span_text((seen.low, seen.high))}.",
            "Weights of the widest columns see the largest gradients." if seen.high > 10 * seen.low else "Even scales.",
        )  # fmt: skip


def _silent(facts: ProfileFacts) -> Iterator[ProfileMeasurement]:
    if facts.moments:
        names = ", ".join(facts.silent[:5]) + (", …" if len(facts.silent) > 5 else "")
        yield ProfileMeasurement(
            "parameters without gradient", float(len(facts.silent)), "", None,
            "The gradient of each batch that was drawn is missing or zero.",
            f"They are never trained: {names}." if facts.silent else "Every parameter is trained.",
        )  # fmt: skip
