"""From numbers to measured quantities: what each means, how it was had, and what would confirm it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from stepsize.curves.numerals import number_text, span_text
from stepsize.probe.profiling.edge import Edge
from stepsize.probe.profiling.experiments import batch_sizes, clips, search, warmups
from stepsize.probe.profiling.facts import Facts, Moment
from stepsize.probe.profiling.features import Features
from stepsize.probe.profiling.result import Measured

__all__ = ["read"]


def read(facts: Facts) -> tuple[Measured, ...]:
    """Return everything measured about a task, in the order of looking."""
    return (
        *(_noise(facts, moment) for moment in facts.moments if moment.noise is not None),
        *(_edge(facts, edge) for edge in facts.edges),
        *(_norm(facts, moment) for moment in facts.moments if len(moment.norms)),
        *_losses(facts),
        *_targets(facts),
        *(row for features in facts.features for row in _features(facts, features)),
        *_layers(facts),
    )


def _when(step: int) -> str:
    return "at the start" if step == 0 else f"after {step} updates"


def _noise(facts: Facts, moment: Moment) -> Measured:
    noise = moment.noise
    assert noise is not None
    return Measured(
        name=f"noise scale {_when(moment.step)}",
        value=noise.examples,
        unit="examples",
        interval=noise.interval,
        evidence=f"Gradients of {noise.pieces} disjoint pieces of about {number_text(noise.piece_size)} examples, each "
        "compared with each; the interval holds 90 % of resamplings of the pieces.",
        follows=_noise_follows(noise.examples, facts.batch_size),
        confirm=batch_sizes(facts, (facts.batch_size, 2 * facts.batch_size)),
    )


def _noise_follows(noise: float, batch: int) -> str:
    if math.isinf(noise):
        return "No direction common to the examples stood out of the noise: much larger batches would still pay."
    saved = 1 - (1 + noise / (2 * batch)) / (1 + noise / batch)
    place = "far below it" if 4 * batch < noise else "far above it" if batch > 4 * noise else "near it"
    return f"The batch of {batch} is {place}: twice the batch would save {saved:.0%} of the updates, of 50% at most."


def _edge(facts: Facts, edge: Edge) -> Measured:
    if edge.step == 0:
        follows = "A larger first update raises the loss of its own batch."
    else:
        follows = f"{number_text(edge.lr / facts.edges[0].lr, 2)} times that at the start."
    if facts.momentum:
        follows += (
            f" With momentum {number_text(facts.momentum)} steady updates are {number_text(1 / (1 - facts.momentum))} "
            f"times as long: compare the rate with {number_text(edge.lr * (1 - facts.momentum), 2)}."
        )
    return Measured(
        name=f"critical rate {_when(edge.step)}",
        value=edge.lr,
        unit="",
        interval=edge.interval,
        evidence="The smallest rate at which one update, without momentum, raises the loss of its own batch: median "
        f"and range over {len(edge.probes)} updates.",
        follows=follows,
        confirm=warmups(facts) if edge.step else search(facts),
    )


def _norm(facts: Facts, moment: Moment) -> Measured:
    low, middle, high = (float(level) for level in np.quantile(moment.norms, (0.1, 0.5, 0.9)))
    follows = ""
    if facts.clip is not None:
        share = float((moment.norms > facts.clip).mean())
        follows = f"Clipping at {number_text(facts.clip)} shortens {share:.0%} of the gradients here."
    return Measured(
        name=f"gradient norm {_when(moment.step)}",
        value=middle,
        unit="",
        interval=(low, high),
        evidence=f"The unclipped gradients of {len(moment.norms)} batches: median, and where 80 % of them lie.",
        follows=follows,
        confirm="" if facts.clip is None else clips(facts, (facts.clip, high)),
    )


def _losses(facts: Facts) -> Iterator[Measured]:
    loss = facts.loss
    if loss is None:
        return
    margin = 2 * loss.error
    drawn = "the batches that were drawn"
    yield Measured(
        "loss at the start", loss.start, "", (loss.start - margin, loss.start + margin),
        f"The untrained model on {drawn}, with twice its standard error.", "What a training begins with."
    )  # fmt: skip
    if loss.zero is None or loss.constant is None:
        return
    yield Measured(
        "loss of zero outputs", loss.zero, "", None, f"The task's loss of outputs that are all 0, on {drawn}.",
        f"The untrained model is {_against(loss.start, loss.zero)}."
    )  # fmt: skip
    yield Measured(
        "loss of the best constant", loss.constant, "", None,
        f"The task's loss of the best output that is the same for every example, fitted on {drawn}.",
        "Only what lies below it was learned from the inputs.",
    )  # fmt: skip
    if loss.output_std is not None:
        yield Measured(
            "spread of outputs at the start", loss.output_std, "", None,
            f"The standard deviation of an output over examples, mean over outputs, on {drawn}.",
            "Near 0 the model begins without opinion." if facts.classes
            else "The spread of the target is what it has to reach.",
        )  # fmt: skip


def _against(start: float, zero: float) -> str:
    if zero == 0 or abs(start - zero) <= 0.02 * abs(zero):
        return "as good as that"
    return f"{abs(start / zero - 1):.0%} {'worse' if start > zero else 'better'} than that"


def _targets(facts: Facts) -> Iterator[Measured]:
    classes, target = facts.classes, facts.target
    if classes is not None:
        counted = f"{classes.labels:,} labels of {facts.source}."
        yield Measured(
            "share of the most frequent class", classes.majority, "", None,
            f"Counted over {counted} The rarest of the {classes.count} classes has {classes.rarest:.2g}.",
            f"Always guessing it is right in {classes.majority:.0%} of the cases.",
        )  # fmt: skip
        yield Measured(
            "entropy of the classes", classes.entropy, "nats", None, f"From the shares of {counted}",
            f"A cross-entropy of {number_text(classes.entropy, 4)} needs no input at all; "
            f"equal shares would have {number_text(math.log(classes.count), 4)}.",
        )  # fmt: skip
    elif target is not None:
        yield Measured(
            "spread of the target", target.high, "", (target.low, target.high),
            f"Standard deviations of its {target.columns} column{'s' * (target.columns > 1)} over {facts.source}: the "
            f"largest, and their range. The largest mean is {number_text(target.offset)}.",
            "A squared error and its gradient grow with it." if facts.exponent == 1 else "",
        )  # fmt: skip


def _features(facts: Facts, seen: Features) -> Iterator[Measured]:
    over = f"{seen.rows:,} rows of {facts.source}"
    if seen.kind == "categories":
        yield Measured(
            f"columns of {seen.name}", float(seen.columns), "", None, f"Whole numbers, over {over}.",
            "Taken for categories: they have no scale."
        )  # fmt: skip
        return
    constant = f"; {seen.constant} more never change" if seen.constant else ""
    if seen.low is not None and seen.high is not None:
        yield Measured(
            f"scale spread of {seen.name}", seen.high / seen.low, "", None,
            f"Largest over smallest standard deviation of {seen.columns - seen.constant} {seen.unit}s{constant}, "
            f"over {over}: {span_text((seen.low, seen.high))}.",
            "Weights of the widest columns see the largest gradients." if seen.high > 10 * seen.low else "Even scales.",
        )  # fmt: skip
    if seen.condition is not None and seen.top_share is not None:
        yield Measured(
            f"condition of {seen.name}", seen.condition, "", None,
            f"Largest over smallest eigenvalue of the correlations between columns, over {over}; {seen.directions} "
            f"directions count, the first holds {seen.top_share:.0%}.",
            "Plain gradient descent on a linear model takes about that many updates for the flattest direction.",
        )  # fmt: skip


def _layers(facts: Facts) -> Iterator[Measured]:
    moving = sorted((layer.ratio, str(layer)) for layer in facts.matrices if layer.ratio is not None)
    if len(moving) >= 2:
        (least, slow), (most, fast) = moving[0], moving[-1]
        yield Measured(
            "spread of layer updates", most / least, "", None,
            f"The first update against the weights, |u| / |w|, of {len(moving)} layers with matrices: {fast} moves "
            f"most, by {number_text(most)} times its size at rate 1, {slow} least, by {number_text(least)}.",
            "One rate serves all layers alike." if most < 10 * least else "One rate is a compromise between layers.",
        )  # fmt: skip
    if facts.layers:
        names = ", ".join(facts.silent[:5]) + (", …" if len(facts.silent) > 5 else "")
        yield Measured(
            "parameters without gradient", float(len(facts.silent)), "", None,
            "The mean gradient of the batches that were drawn is missing or zero throughout.",
            f"They are never trained: {names}." if facts.silent else "Every parameter is trained.",
        )  # fmt: skip
