"""What to do about what was measured: sentences, each based on numbers and on an experiment that confirms it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence

from stepsize.curves.numerals import number_text, span_text
from stepsize.probe.profiling.edge import StabilityEdge
from stepsize.probe.profiling.features import Features
from stepsize.probe.profiling.noise import NoiseScale, growth
from stepsize.probe.profiling.result import Advice, ProfileFacts, when

_MOVED = 1.5  # factor by which the critical rate must move to count, if the batches agree
_SPREAD = 10.0  # between the scales of columns, or a target's scale and 1
_OFFSET = 3.0  # standard deviations of a column's mean from 0
_WORSE = 1.2  # × the loss of zero outputs, at the start
_HEAD_START = 0.2  # of the loss of zero outputs that the best constant saves
_MAJORITY = 0.7
_FEWEST_OF_CLASS = 1.0  # examples of the rarest class per batch
_BELOW, _ABOVE = 100.0, 10.0  # × the critical rate: where the best rates of the built-in tasks were found
_ANY_RANGE = (1e-5, 1.0)  # without a critical rate
_COVERAGE = (  # measured against benchmarks/truth
    "On the twelve built-in tasks, with AdamW and with momentum, it contained the best rate of a dense grid in 21 of "
    "24 cases, and one whose loss was within 10% of the best in 23."
)


def advise(facts: ProfileFacts) -> tuple[Advice, ...]:
    """Return the advice on a task, the most consequential first."""
    return tuple(advice for topic in _TOPICS for advice in topic(facts))


def _on_data(facts: ProfileFacts) -> Iterator[Advice]:
    """What no rate can fix: entries that are not finite, parameters without gradient."""
    for seen in facts.features:
        if seen.not_finite:
            yield Advice(
                "data", f"Clean {seen.name}: no learning rate can train with NaN or infinity.",
                f"{seen.not_finite:,} entries in {seen.rows:,} rows are not finite.",
                "stepsize.profile(task) of the cleaned data",
            )  # fmt: skip
    if facts.silent:
        yield Advice(
            "data", "Find out why some parameters get no gradient, or freeze them: no rate trains them.",
            f"{len(facts.silent)} parameters: {', '.join(facts.silent[:5])}.",
            "{name: p.grad for name, p in model.named_parameters()} after one backward pass",
        )  # fmt: skip


def _on_rate(facts: ProfileFacts) -> Iterator[Advice]:
    if not facts.steady:
        return
    span = _range_of(facts)
    low, high = (number_text(end, 2) for end in span)
    seen = ", ".join(f"{number_text(edge.lr)} {when(edge.step)}" for edge in facts.edges)
    scaled = f", both times 1 - {number_text(facts.momentum)} for the momentum" if facts.momentum else ""
    yield Advice(
        "rate", f"Search for the peak rate between {low} and {high}.",
        f"The critical rate was {seen}; the range reaches from a hundredth of the median to ten times it{scaled}. "
        f"{_COVERAGE}",
        f"stepsize.find(task, budget=1.0)  # its answer should lie in {_written(*span)}",
    )  # fmt: skip


def _on_warmup(facts: ProfileFacts) -> Iterator[Advice]:
    edges = facts.edges
    if len(edges) < 2:
        return
    first, last = edges[0], edges[-1]
    seen = "; ".join(f"{number_text(edge.lr)} ({span_text(edge.interval)}) {when(edge.step)}" for edge in edges)
    apart = first.interval[1] < last.interval[0] or last.interval[1] < first.interval[0]
    if apart and last.lr > _MOVED * first.lr:
        steps = _risen(edges)
        rest = "" if steps < last.step else ", and it may continue to rise"
        sentence = (
            f"Warm up for at least {steps} steps ({steps / facts.horizon:.0%} of the horizon): after {last.step} steps "
            f"the critical learning rate is {number_text(last.lr / first.lr, 2)} times that at the start{rest}."
        )
    elif apart and first.lr > _MOVED * last.lr:
        sentence = (
            "The start itself calls for no warmup: the critical learning rate there is "
            f"{number_text(first.lr / last.lr, 2)} times that after {last.step} steps. "
            "The limit on the peak learning rate appears later."
        )
    else:
        sentence = (
            "Keep the usual short warmup (5% of the horizon or less): no measurement calls for a longer one. Over "
            f"{last.step} steps the critical learning rate changed by no more than it varies between steps."
        )
    evidence = f"Critical rates, median and range over {len(last.probes)} updates: {seen}."
    yield Advice("warmup", sentence, evidence, _sweep(facts, "warmup=[0.01, 0.05, 0.15]"))


def _risen(edges: Sequence[StabilityEdge]) -> int:
    """Return the step at which the critical rate had done four fifths of its rise, on the log scale."""
    logs = [math.log(edge.lr) for edge in edges]
    enough = logs[0] + 0.8 * (logs[-1] - logs[0])
    return next(edge.step for edge, level in zip(edges, logs, strict=True) if level >= enough)


def _on_batch_size(facts: ProfileFacts) -> Iterator[Advice]:
    noise, batch, limit = facts.noise, facts.batch_size, facts.population or math.inf
    if noise is None or batch >= limit:
        return
    other = _better_batch(noise, batch, limit)
    steps = _updates(noise, batch, other)
    examples = steps * other / batch
    if other > batch:
        sentence = (
            f"If the hardware allows it, a batch of {other} instead of {batch} needs about {steps:.0%} of the steps "
            f"(and {examples:.0%} of the examples); {_scaled_rate(facts, noise, other)}."
        )
    elif other < batch:
        sentence = (
            f"A batch of {other} instead of {batch} would need about {examples:.0%} of the examples (in "
            f"{number_text(steps, 2)} times as many steps); {_scaled_rate(facts, noise, other)}."
        )
    else:
        other = 2 * batch
        sentence = (
            f"Keep the batch of {batch}, or double it if steps are expensive: a batch of {other} needs about "
            f"{_updates(noise, batch, other):.0%} of them, and {_scaled_rate(facts, noise, other)}."
        )
    parts = [
        f"{_count(moment.noise.examples)} examples ({_count(moment.noise.interval[0])} to "
        f"{_count(moment.noise.interval[1])}) {when(moment.step)}"
        for moment in facts.moments
        if moment.noise is not None
    ]
    evidence = (
        f"The noise scale was {', '.join(parts)}; late in a run it is usually larger. The number of steps is "
        "proportional to 1 + noise scale / batch size."
    )
    yield Advice("batch size", sentence, evidence, _sweep(facts, f"batch_size={sorted((batch, other))}"))


def _updates(noise: NoiseScale, batch: int, to: int) -> float:
    """Return the fraction of the steps that a batch of ``to`` needs: they go with 1 + B_noise / B."""
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


def _scaled_rate(facts: ProfileFacts, noise: NoiseScale, to: int) -> str:
    batch = facts.batch_size
    if facts.exponent is None:
        low, high = sorted(growth(noise.examples, batch, to, exponent=exponent) for exponent in (0.5, 1.0))
        return f"the best rate would be about {number_text(low, 2)} to {number_text(high, 2)} times the present one"
    factor = growth(noise.examples, batch, to, exponent=facts.exponent)
    rule = "linear rule of SGD" if facts.exponent == 1 else "square-root rule of Adam-type optimizers"
    return f"the best rate would be about {number_text(factor, 2)} times the present one ({rule}, leveling off)"


def _count(examples: float) -> str:
    return "more than can be measured" if math.isinf(examples) else number_text(examples, 2)


def _on_features(facts: ProfileFacts) -> Iterator[Advice]:
    for seen in facts.features:
        if seen.low is not None and seen.high is not None:
            yield from _of_numbers(seen, seen.low, seen.high)


def _of_numbers(seen: Features, low: float, high: float) -> Iterator[Advice]:
    scaled = "stepsize.find(task), and again with (x - x.mean(0)) / x.std(0) as its inputs: compare the losses"
    if high > _SPREAD * low:
        yield Advice(
            "features", f"Scale the {seen.unit}s of {seen.name} to unit deviation, unless they share one unit, as the "
            "pixels of a picture do.",
            f"Their standard deviations range over {span_text((low, high))}.", scaled,
        )  # fmt: skip
    elif seen.typical is not None and not 1 / _SPREAD < seen.typical < _SPREAD:
        yield Advice(
            "features", f"Scale {seen.name} to about unit deviation.",
            f"A typical {seen.unit} has a standard deviation of {number_text(seen.typical)}.", scaled,
        )  # fmt: skip
    if seen.offset > _OFFSET:
        yield Advice(
            "features", f"Center the {seen.unit}s of {seen.name}: a common offset makes the problem ill-conditioned.",
            f"The largest mean is {number_text(seen.offset)} standard deviations from 0.", scaled,
        )  # fmt: skip
    if seen.far:
        yield Advice(
            "features", f"Shorten the long tails of {seen.name} (logarithm, ranks or clipping): a few examples "
            "dominate the gradient.",
            f"{seen.far} of {seen.columns} {seen.unit}s hold entries more than 10 standard deviations (their own and "
            f"the typical one) from their mean, up to {number_text(seen.farthest)}.",
            "stepsize.profile(task) of the changed data: the noise scale should fall",
        )  # fmt: skip


def _on_target(facts: ProfileFacts) -> Iterator[Advice]:
    target = facts.target
    if target is None or facts.classes is not None:
        return
    if 1 / _SPREAD <= target.high <= _SPREAD and target.offset <= _OFFSET * max(target.high, 1.0):
        return
    why = "SGD's gradients and its best rate depend on its scale" if facts.exponent == 1 else "the start is far off"
    yield Advice(
        "target", f"Standardize the target (and undo it in the predictions): {why}.",
        f"Its columns have standard deviations up to {number_text(target.high)} and means up to "
        f"{number_text(target.offset)}.",
        "stepsize.find(task), and again with (y - y.mean(0)) / y.std(0) as its target: compare the rates",
    )  # fmt: skip


def _on_start(facts: ProfileFacts) -> Iterator[Advice]:
    loss = facts.loss
    if loss is None or loss.zero is None or loss.constant is None:
        return
    if loss.zero > 0 and loss.start > _WORSE * loss.zero and loss.start - loss.zero > 3 * loss.error:
        yield Advice(
            "start", "Begin with smaller outputs (smaller initial weights in the last layer): the first updates only "
            "undo them.",
            f"The loss at initialization is {number_text(loss.start)}; outputs of 0 have {number_text(loss.zero)}.",
            "stepsize.profile(task) of the changed model: compare 'loss at the start' and the critical rate",
        )  # fmt: skip
    if min(loss.start, loss.zero) - loss.constant > _HEAD_START * abs(loss.zero):
        yield Advice(
            "start", "Begin at the best constant (set the bias of the last layer to it): the first updates learn it "
            "otherwise.",
            f"The loss at initialization is {number_text(loss.start)}; the best output that ignores the input has "
            f"{number_text(loss.constant)}.",
            "stepsize.find of both tasks: the short runs should improve most",
        )  # fmt: skip


def _on_classes(facts: ProfileFacts) -> Iterator[Advice]:
    classes = facts.classes
    if classes is None:
        return
    per_batch = classes.rarest * classes.per_example * facts.batch_size
    if classes.majority > _MAJORITY:
        yield Advice(
            "classes", "Select by the loss or a balanced metric rather than by accuracy.",
            f"The most frequent of {classes.count} classes has {classes.majority:.0%} of the labels; a cross-entropy "
            f"of {number_text(classes.entropy)} needs no input.",
            "stepsize.find(task): its losses should end well below that",
        )  # fmt: skip
    elif classes.count <= 20 and per_batch < _FEWEST_OF_CLASS:
        yield Advice(
            "classes", "Draw rare classes more often, or take larger batches: most updates never see the rarest one.",
            f"It has {classes.rarest:.2g} of the labels: {number_text(per_batch, 2)} examples per batch.",
            _sweep(facts, f"batch_size={[facts.batch_size, 4 * facts.batch_size]}"),
        )  # fmt: skip


def _range_of(facts: ProfileFacts) -> tuple[float, float]:
    """Return the rates worth a search: from a hundredth of the median critical rate to ten times it."""
    if not facts.steady:
        return _ANY_RANGE
    middle = statistics.median(facts.steady)
    return middle / _BELOW, middle * _ABOVE


def _written(low: float, high: float) -> str:
    return f"({number_text(low, 2)}, {number_text(high, 2)})"


def _sweep(facts: ProfileFacts, further: str) -> str:
    """Return the sweep that would confirm an advice, as code that runs as it is if ``task`` is the task."""
    return f"stepsize.sweep(task, lr={_written(*_range_of(facts))}, {further})"


_TOPICS: tuple[Callable[[ProfileFacts], Iterator[Advice]], ...] = (
    _on_data, _on_rate, _on_warmup, _on_batch_size, _on_features, _on_target, _on_start, _on_classes,
)  # fmt: skip
