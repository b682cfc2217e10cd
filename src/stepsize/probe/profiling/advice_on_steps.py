"""Advice on the steps themselves: rate, warm-up, batch size, clipping."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from stepsize.curves.numerals import number_text, span_text
from stepsize.probe.profiling.edge import Edge
from stepsize.probe.profiling.experiments import batch_sizes, clips, rate_range, search, warmups
from stepsize.probe.profiling.facts import Facts
from stepsize.probe.profiling.noise import NoiseScale, growth
from stepsize.probe.profiling.result import Advice

__all__ = ["on_batch_size", "on_clipping", "on_rate", "on_warmup"]

_MOVED = 1.5  # factor from which on the critical rate has moved, if the batches agree
_BURSTS = 3.0  # times the median gradient norm
_CLIPPED = 0.5  # share of clipped gradients from which on clipping sets the step, not the rate
_COVERAGE = (  # measured against benchmarks/truth
    "On the twelve built-in tasks, with AdamW and with momentum, it held the best rate of a dense grid in 21 of 24 "
    "cases, and one whose loss was within 10 % of the best in 23."
)


def on_rate(facts: Facts) -> Iterator[Advice]:
    """Yield advice on where to look for the rate."""
    if not facts.steady:
        return
    low, high = (number_text(end, 2) for end in rate_range(facts))
    seen = ", ".join(f"{number_text(edge.lr)} {_after(edge)}" for edge in facts.edges)
    scaled = f", both times 1 - {number_text(facts.momentum)} for the momentum" if facts.momentum else ""
    yield Advice(
        "rate",
        f"Look for the peak rate between {low} and {high}.",
        f"The critical rate was {seen}; the range reaches from a hundredth of the median to ten times it{scaled}. "
        f"{_COVERAGE}",
        search(facts),
    )


def on_warmup(facts: Facts) -> Iterator[Advice]:
    """Yield advice on the warm-up."""
    edges = facts.edges
    if len(edges) < 2:
        return
    first, last = edges[0], edges[-1]
    seen = "; ".join(f"{number_text(edge.lr)} ({span_text(edge.interval)}) {_after(edge)}" for edge in edges)
    apart = first.interval[1] < last.interval[0] or last.interval[1] < first.interval[0]
    if apart and last.lr > _MOVED * first.lr:
        steps = _risen(edges)
        rest = "" if steps < last.step else ", and it may go on rising"
        sentence = (
            f"Warm up for {steps} updates at least ({steps / facts.horizon:.0%} of the horizon): after {last.step} the "
            f"model bears {number_text(last.lr / first.lr, 2)} times the rate that it bears at the start{rest}."
        )
    elif apart and first.lr > _MOVED * last.lr:
        sentence = (
            f"The start itself calls for no warm-up: there the model bears {number_text(first.lr / last.lr, 2)} times "
            f"the rate that it bears after {last.step} updates. What limits the peak rate comes later."
        )
    else:
        sentence = (
            "Keep the usual short warm-up (5% of the horizon or less): nothing seen asks for a longer one. In "
            f"{last.step} updates the critical rate moved by no more than updates differ."
        )
    evidence = f"Critical rates, median and range over {len(last.probes)} updates: {seen}."
    yield Advice("warm-up", sentence, evidence, warmups(facts))


def _risen(edges: Sequence[Edge]) -> int:
    """Return after how many updates the critical rate had done four fifths of its rise, on the log scale."""
    logs = [math.log(edge.lr) for edge in edges]
    enough = logs[0] + 0.8 * (logs[-1] - logs[0])
    return next(edge.step for edge, level in zip(edges, logs, strict=True) if level >= enough)


def on_batch_size(facts: Facts) -> Iterator[Advice]:
    """Yield advice on the batch size."""
    noise = facts.noise
    if noise is None:
        return
    batch, limit = facts.batch_size, facts.population or math.inf
    if batch >= limit:
        return
    other = _better_batch(noise, batch, limit)
    steps = _updates(noise, batch, other)
    examples = steps * other / batch
    if other > batch:
        sentence = (
            f"If the hardware has room, a batch of {other} instead of {batch} needs about {steps:.0%} of the updates "
            f"(and {examples:.0%} of the examples); {_scaled_rate(facts, noise, other)}."
        )
    elif other < batch:
        sentence = (
            f"A batch of {other} instead of {batch} would need about {examples:.0%} of the examples (in "
            f"{number_text(steps, 2)} times as many updates); {_scaled_rate(facts, noise, other)}."
        )
    else:
        double = 2 * batch
        sentence = (
            f"Keep the batch of {batch}, or double it where updates are what costs: with {double}, about "
            f"{_updates(noise, batch, double):.0%} of them would do, and {_scaled_rate(facts, noise, double)}."
        )
        other = double
    yield Advice("batch size", sentence, _noise_evidence(facts), batch_sizes(facts, sorted((batch, other))))


def _updates(noise: NoiseScale, batch: int, to: int) -> float:
    """Return the share of the updates that a batch of ``to`` needs: they go with 1 + B_noise / B."""
    if math.isinf(noise.examples):
        return batch / to
    return (1 + noise.examples / to) / (1 + noise.examples / batch)


def _better_batch(noise: NoiseScale, batch: int, limit: float) -> int:
    """Return ``batch`` doubled while it stays within the noise scale, or halved while it stays far above it."""
    sure = noise.interval[0] if math.isinf(noise.examples) else noise.examples
    size = batch
    while 2 * size <= min(sure, limit / 2) and size < 64 * batch:
        size *= 2
    while size > 4 * noise.interval[1] and size % 2 == 0:
        size //= 2
    return size


def _scaled_rate(facts: Facts, noise: NoiseScale, to: int) -> str:
    batch = facts.batch_size
    if facts.exponent is None:
        low, high = sorted(growth(noise.examples, batch, to, exponent=a) for a in (0.5, 1.0))
        return f"the best rate would be about {number_text(low, 2)} to {number_text(high, 2)} times the present one"
    factor = growth(noise.examples, batch, to, exponent=facts.exponent)
    rule = "linear rule of SGD" if facts.exponent == 1 else "square-root rule of Adam and its kin"
    return f"the best rate would be about {number_text(factor, 2)} times the present one ({rule}, levelling off)"


def _noise_evidence(facts: Facts) -> str:
    parts = [
        f"{_count(moment.noise.examples)} examples ({_count(moment.noise.interval[0])} to "
        f"{_count(moment.noise.interval[1])}) {'at the start' if moment.step == 0 else f'after {moment.step} updates'}"
        for moment in facts.moments
        if moment.noise is not None
    ]
    return (
        f"The noise scale was {', '.join(parts)}; late in training it is usually larger. The updates needed go with "
        "1 + noise scale / batch size."
    )


def _count(examples: float) -> str:
    return "more than can be told" if math.isinf(examples) else number_text(examples, 2)


def on_clipping(facts: Facts) -> Iterator[Advice]:
    """Yield advice on the largest gradient norm."""
    if not facts.moments:
        return
    norms = facts.moments[-1].norms
    if len(norms) < 4:
        return
    middle, high = (float(level) for level in np.quantile(norms, (0.5, 0.9)))
    when = "after the warm-up" if facts.moments[-1].step else "at the start"
    if facts.clip is not None:
        share = float((norms > facts.clip).mean())
        if share > _CLIPPED:
            yield Advice(
                "clipping",
                f"Clip higher, at about {number_text(high, 2)}: where most gradients are shortened, the clip sets the "
                "step and not the rate.",
                f"{share:.0%} of {len(norms)} gradients {when} exceed {number_text(facts.clip)}; their median norm is "
                f"{number_text(middle, 2)}.",
                clips(facts, (facts.clip, high)),
            )
        return
    most = float(norms.max())
    if most > _BURSTS * middle:
        yield Advice(
            "clipping",
            f"Clip the gradient norm at about {number_text(high, 2)}, which nine of ten gradients stay below.",
            f"Of {len(norms)} gradients {when} the largest has a norm of {number_text(most, 2)}, "
            f"{number_text(most / middle, 2)} times the median.",
            clips(facts, (high,)),
        )


def _after(edge: Edge) -> str:
    return "at the start" if edge.step == 0 else f"after {edge.step} updates"
