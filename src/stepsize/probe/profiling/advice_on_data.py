"""Advice on what the data and the untrained model bring: features, target, classes, the start, the layers."""

from __future__ import annotations

from collections.abc import Iterator

from stepsize.curves.numerals import number_text, span_text
from stepsize.probe.profiling.experiments import batch_sizes, optimizers
from stepsize.probe.profiling.facts import Facts
from stepsize.probe.profiling.features import Features
from stepsize.probe.profiling.result import Advice

__all__ = ["on_classes", "on_data", "on_features", "on_layers", "on_start", "on_target"]

_SPREAD = 10.0  # between the scales of columns, or a target's scale and 1
_OFFSET = 3.0  # standard deviations of a column's mean from 0
_WORSE = 1.2  # times the loss of zero outputs, at the start
_HEAD_START = 0.2  # of the loss of zero outputs that the best constant saves
_MAJORITY = 0.7
_LAYERS = 30.0  # between the update ratios of layers
_FEWEST_OF_CLASS = 1.0  # examples of the rarest class a batch


def on_data(facts: Facts) -> Iterator[Advice]:
    """Yield advice on what no rate can mend: entries that are not finite, parameters without gradient."""
    for seen in facts.features:
        if seen.not_finite:
            yield Advice(
                "data",
                f"Clean {seen.name}: no learning rate survives NaN or infinity.",
                f"{seen.not_finite:,} entries in {seen.rows:,} rows are not finite.",
                "stepsize.profile(task) of the cleaned data",
            )
    if facts.silent:
        yield Advice(
            "data",
            "Find out why some parameters get no gradient, or freeze them: no rate trains them.",
            f"{len(facts.silent)} parameters: {', '.join(facts.silent[:5])}.",
            "{name: p.grad for name, p in model.named_parameters()} after one backward pass",
        )


def on_features(facts: Facts) -> Iterator[Advice]:
    """Yield advice on the scales of the inputs."""
    for seen in facts.features:
        if seen.kind == "numbers" and seen.low is not None:
            yield from _of_numbers(seen)


def _of_numbers(seen: Features) -> Iterator[Advice]:
    assert seen.low is not None
    assert seen.high is not None
    scaled = "stepsize.find(task), and again with (x - x.mean(0)) / x.std(0) as its inputs: compare the losses"
    if seen.high > _SPREAD * seen.low:
        yield Advice(
            "features",
            f"Scale the {seen.unit}s of {seen.name} to unit deviation, unless they share one unit, as the pixels of a "
            "picture do.",
            f"Their standard deviations go from {span_text((seen.low, seen.high))}.",
            scaled,
        )
    elif seen.typical is not None and not 1 / _SPREAD < seen.typical < _SPREAD:
        yield Advice(
            "features",
            f"Scale {seen.name} to about unit deviation.",
            f"A typical {seen.unit} has a standard deviation of {number_text(seen.typical)}.",
            scaled,
        )
    if seen.offset > _OFFSET:
        yield Advice(
            "features",
            f"Centre the {seen.unit}s of {seen.name}: a common offset makes the problem ill-conditioned.",
            f"The mean of one lies {number_text(seen.offset)} standard deviations from 0.",
            scaled,
        )
    if seen.far:
        yield Advice(
            "features",
            f"Tame the long tails of {seen.name} (logarithm, ranks or clipping): a few examples dominate the gradient.",
            f"{seen.far} of {seen.columns} {seen.unit}s hold entries more than 10 standard deviations (their own and "
            f"the typical one) from their mean, up to {number_text(seen.farthest)}.",
            "stepsize.profile(task) of the tamed data: the noise scale should fall",
        )
    if seen.whole:
        yield Advice(
            "features",
            f"If the whole numbers in {seen.name} are names of categories, embed them or give each a column.",
            f"{seen.whole} of {seen.columns} {seen.unit}s hold 3 to 20 different whole numbers and nothing else.",
            "stepsize.find of both tasks: compare their losses",
        )


def on_target(facts: Facts) -> Iterator[Advice]:
    """Yield advice on the scale of a target of numbers."""
    target = facts.target
    if target is None or facts.classes is not None:
        return
    if 1 / _SPREAD <= target.high <= _SPREAD and target.offset <= _OFFSET * max(target.high, 1.0):
        return
    grows = (
        "SGD's gradients, and with them the best rate, depend on it" if facts.exponent == 1 else "the start is far off"
    )
    yield Advice(
        "target",
        f"Standardise the target (and undo it in the predictions): {grows}.",
        f"Its columns have standard deviations up to {number_text(target.high)} and means up to "
        f"{number_text(target.offset)}.",
        "stepsize.find(task), and again with (y - y.mean(0)) / y.std(0) as its target: compare the rates",
    )


def on_start(facts: Facts) -> Iterator[Advice]:
    """Yield advice on where the loss begins."""
    loss = facts.loss
    if loss is None or loss.zero is None or loss.constant is None:
        return
    if loss.zero > 0 and loss.start > _WORSE * loss.zero and loss.start - loss.zero > 3 * loss.error:
        yield Advice(
            "start",
            "Begin with smaller outputs (smaller initial weights in the last layer): the first updates only undo them.",
            f"The untrained model has a loss of {number_text(loss.start)}, outputs of 0 have {number_text(loss.zero)}.",
            "stepsize.profile(task) of the changed model: compare 'loss at the start' and the critical rate",
        )
    if min(loss.start, loss.zero) - loss.constant > _HEAD_START * abs(loss.zero):
        yield Advice(
            "start",
            "Begin at the best constant (set the bias of the last layer to it): the first updates learn it otherwise.",
            f"The untrained model has a loss of {number_text(loss.start)}, the best output that ignores the input "
            f"{number_text(loss.constant)}.",
            "stepsize.find of both tasks: the short runs should gain most",
        )


def on_classes(facts: Facts) -> Iterator[Advice]:
    """Yield advice on the balance of classes."""
    classes = facts.classes
    if classes is None:
        return
    per_batch = classes.rarest * classes.per_example * facts.batch_size
    if classes.majority > _MAJORITY:
        yield Advice(
            "classes",
            "Judge by the loss or a balanced figure rather than by accuracy.",
            f"The most frequent of {classes.count} classes has {classes.majority:.0%} of the labels; a cross-entropy "
            f"of {number_text(classes.entropy)} needs no input.",
            "stepsize.find(task): its losses should end well below that",
        )
    elif classes.count <= 20 and per_batch < _FEWEST_OF_CLASS:
        yield Advice(
            "classes",
            "Draw rare classes more often, or take larger batches: most updates never see the rarest one.",
            f"It has {classes.rarest:.2g} of the labels: {number_text(per_batch, 2)} examples a batch.",
            batch_sizes(facts, (facts.batch_size, 4 * facts.batch_size)),
        )


def on_layers(facts: Facts) -> Iterator[Advice]:
    """Yield advice on layers that one rate does not suit alike."""
    moving = sorted((layer.ratio, str(layer)) for layer in facts.matrices if layer.ratio is not None)
    if len(moving) < 2 or moving[-1][0] <= _LAYERS * moving[0][0]:
        return
    (least, slow), (most, fast) = moving[0], moving[-1]
    cure = (
        "try Adam, or a higher rate for the slow layers" if facts.exponent == 1 else "scale their initial weights alike"
    )
    yield Advice(
        "layers",
        f"One rate is a compromise here: {cure}.",
        f"By their share |u| / |w| in the first update, {fast} moves {number_text(most / least, 2)} times as far as "
        f"{slow}.",
        optimizers(facts),
    )
