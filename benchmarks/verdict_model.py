"""Learning the verdict: small networks from the signals of recorded runs to what their learning rate turned out to be.

The width of the range is chosen on data sets that were left out of the fit; from which probability a side is reported,
on the design trainings. The trainings that are held out are used for nothing but the figures.
"""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from benchmarks.lr_record.collect import RECORD_FILE, read_record
from benchmarks.lr_record.sides import sides_of
from benchmarks.lr_record.signals import LOOKS
from benchmarks.record import RECORDS_FOLDER, header, write_record
from benchmarks.verdicts import VERDICTS_FILE, Judged, figures, held_out, judged, read_watched
from stepsize.monitor.rate_signals import RATE_SIGNALS
from stepsize.monitor.verdict_model import MODEL_FILE, SIDES, VerdictModel

__all__ = ["Looks", "learn", "left_out", "model_report", "read_looks"]

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Whole = NDArray[np.int64]
Judge = Callable[[Array], Array]  # from signals to probabilities of the sides

MODEL_RECORD = RECORDS_FOLDER / "verdict_model.json"
LEARNED = 0.8  # of the untrained loss: where the best rate ends above it, every low rate is within 10% of it
QUANTILES = (0.1, 0.5, 0.9)
# Neither tells anything of larger models and longer runs than the record's.
UNREAD = ("steps", "parameters")
NAMES = tuple(name for name in RATE_SIGNALS if name not in UNREAD)
# Signals that are missing together: an optimizer in no table, no validation, no weights, no slopes.
TOGETHER = (
    ("over usual", "adaptive", "momentum"),
    ("val fall", "val trend", "val best", "val rise"),
    ("straightness", "slowing", "efficiency", "growth", "distance"),
    ("promise", "promised", "alpha", "alpha early", "cosine", "cosine early", "update", "update change", "updates",
     "gradient", "clipped"),
)  # fmt: skip
_MISSING, _ONE_MISSING = 0.15, 0.03  # chances in the fit
_FOLDS = 5
_NOISY, _CLEAR = 0.05, 0.8
_RIGHT, _ACCUSED, _ONE_SIDED = 0.95, 0.02, 0.97
_COVERED = 0.8
_AWAY = 1.0  # decades
_VOTES = 25


@dataclass(frozen=True, eq=False)
class Looks:
    """Signals of runs at several looks, and what the rates of the runs turned out to be; a row each.

    Attributes:
        signals: Values of :data:`NAMES`, (row, signal); NaN if unknown.
        task: Number of the task.
        look: Number of the look in ``LOOKS``.
        sides: Probabilities that the rate is too low, fine and too high.
        times: log10 of the best rate over the run's.
        weight: How much it counts: less if final losses of the task are noisy, or the rate is far off.
        certain: Whether final losses of the task have little noise.
        groups: What is left out together with each task: its data set.
        size: How much each task counts: more if it is long and large, as people's are; most of the record are not.
    """

    signals: Array
    task: Whole
    look: Whole
    sides: Array
    times: Array
    weight: Array
    certain: Bools
    groups: tuple[str, ...]
    size: Array

    @property
    def side(self) -> Whole:
        """0 too low, 1 fine, 2 too high: the likeliest."""
        return np.asarray(self.sides.argmax(axis=1))

    @property
    def clear(self) -> Bools:
        """Whether the record is sure of the side, and its losses have little noise."""
        return np.asarray((self.sides.max(axis=1) >= _CLEAR) & self.certain)

    def only(self, keep: Bools) -> Looks:
        """Return some of the rows."""
        rows = (self.signals, self.task, self.look, self.sides, self.times, self.weight, self.certain)
        return Looks(*(part[keep] for part in rows), self.groups, self.size)


@dataclass(frozen=True, eq=False)
class Truth:
    """What the record says of a task's rates: it has three seeds, so some of it is uncertain.

    Attributes:
        sides: Probabilities that each rate is too low, fine and too high, (rate, 3).
        best: log10 of the best rate over the usual one.
        noise: Standard deviation of the final loss at the best rate, over its mean.
    """

    sides: Array
    best: float
    noise: float


def truth_of(x: Array, val: Array) -> Truth:
    """Return the truth of a task from final losses, (rate, seed), over all ways to draw as many seeds again.

    Neighboring rates are averaged with weights 1, 2, 1 in the logarithm: most of their differences are noise.
    """
    count = val.shape[1]
    sides, places = np.zeros((len(x), 3)), []
    for chosen in product(range(count), repeat=count):
        found, best = sides_of(val[:, list(chosen)])
        sides[np.arange(len(x)), found] += 1
        places.append(float(x[best]))
    middle = val[int(np.argmin(np.where(np.isfinite(val).all(axis=1), val.mean(axis=1), np.inf)))]
    noise = float(middle.std() / max(abs(middle.mean()), 1e-12))
    return Truth(sides / sides.sum(axis=1, keepdims=True), float(np.mean(places)), noise)


def read_looks(path: Path = RECORD_FILE, groups: str = "data") -> Looks:
    """Read the looks of the record's tasks at which something was known; tasks that no rate trains are left out."""
    record = read_record(path)
    columns = [record.signal_names.index(name) for name in NAMES]
    rows: list[tuple[Any, ...]] = []
    named: list[str] = []
    sizes: list[float] = []
    for number, facts in enumerate(record.facts):
        val = np.where(np.isnan(record.val[number, -1]), np.inf, record.val[number, -1]).astype(np.float64)
        finite = np.isfinite(val).all(axis=1)
        if not finite.any() or not val[finite].mean(axis=1).min() < LEARNED * record.untrained[number].mean():
            continue
        truth = truth_of(record.x[number].astype(np.float64), val)
        signals = record.signals[number].astype(np.float64)[:, :, columns]
        certain = 1 / (1 + (truth.noise / _NOISY) ** 2)
        for look, at in zip(*np.nonzero(np.isfinite(signals[:, :, NAMES.index("progress")])), strict=True):
            times = truth.best - float(record.x[number, at])
            weight = certain * math.exp(-abs(times) / _AWAY)  # people's rates are seldom far off
            rows.append((signals[look, at], len(named), look, truth.sides[at], times, weight, certain >= 0.5))
        named.append(facts[groups].partition(":")[0])
        sizes.append(math.sqrt(facts["steps"] * facts["parameters"]))
    parts = (np.array(part) for part in zip(*rows, strict=True))
    return Looks(*parts, tuple(named), np.array(sizes))


class _Net(nn.Module):
    def __init__(self, inputs: int, width: int, drop: float) -> None:
        super().__init__()
        self.linear = nn.ModuleList([nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, 6)])
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.linear[:-1]:
            x = self.drop(torch.relu(layer(x)))
        return torch.as_tensor(self.linear[-1](x))


def fit(
    data: Looks, *, members: int = 3, epochs: int = 20, width: int = 64, drop: float = 0.15, decay: float = 0.03
) -> VerdictModel:
    """Return networks fitted to the rows, each task with the weight of its size; not calibrated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of signals that an ablation leaves out
        middle, spread = np.nanmean(data.signals, axis=0), np.nanstd(data.signals, axis=0) + 1e-6
        lowest, highest = np.nanquantile(data.signals, (0.001, 0.999), axis=0)
    room = 0.2 * (highest - lowest) + 1e-6
    blank = VerdictModel(NAMES, middle, spread, lowest - room, highest + room, (), 1.0, np.ones(4))
    inputs = torch.tensor(blank.prepared(data.signals), dtype=torch.float32)
    weights = torch.tensor(_weights(data), dtype=torch.float32)
    targets = (
        torch.tensor(data.sides, dtype=torch.float32),
        torch.tensor(data.times, dtype=torch.float32),
        weights / weights.mean(),
    )
    nets = [
        _trained(inputs, *targets, seed, epochs, _Net(inputs.shape[1], width, drop), decay) for seed in range(members)
    ]
    layers = []
    for number in range(3):
        pairs = [net.linear[number] for net in nets]
        layers.append(
            (
                np.stack([pair.weight.detach().numpy().T.astype(np.float64) for pair in pairs]),
                np.stack([pair.bias.detach().numpy().astype(np.float64) for pair in pairs]),
            )
        )
    return _with(blank, layers=tuple(layers))


def _weights(data: Looks) -> Array:
    """Return the weight of each row: those of a task add up to its size, or to less if all of them count little."""
    sums = np.bincount(data.task, data.weight, minlength=len(data.groups))
    return np.asarray(data.weight * (data.size / np.maximum(sums, 1.0))[data.task])


def _trained(
    inputs: Tensor, sides: Tensor, times: Tensor, weights: Tensor, seed: int, epochs: int, net: _Net, decay: float
) -> _Net:
    torch.manual_seed(seed)
    for layer in net.linear:
        layer.reset_parameters()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=decay)
    batches = -(-len(inputs) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * batches)
    quantiles = torch.tensor(QUANTILES)
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(256):
            out = net(_with_missing(inputs[chosen]))
            entropy = nn.functional.cross_entropy(out[:, :3], sides[chosen], reduction="none")
            error = times[chosen, None] - out[:, 3:]
            pinball = torch.maximum(quantiles * error, (quantiles - 1) * error).sum(dim=1)
            optimizer.zero_grad()
            torch.autograd.backward((weights[chosen] * (entropy + pinball)).mean())
            optimizer.step()
            schedule.step()
    return net.eval()


def _with_missing(inputs: Tensor) -> Tensor:
    """Return a copy in which some signals are unknown: a user's run may lack them."""
    size, inputs = len(NAMES), inputs.clone()
    gone = torch.rand(len(inputs), size) < _ONE_MISSING
    for group in TOGETHER:
        gone[:, [NAMES.index(name) for name in group]] |= torch.rand(len(inputs), 1) < _MISSING
    inputs[:, :size][gone] = 0.0
    inputs[:, size:][gone] = 1.0
    return inputs


def _mean(values: Bools) -> float:
    return float(values.mean()) if len(values) else math.nan


def _with(model: VerdictModel, **changes: Any) -> VerdictModel:
    return VerdictModel(**{**vars(model), **changes})


def left_out(data: Looks, **options: Any) -> tuple[Array, Array]:
    """Return probabilities and quantiles of every row, by networks that never saw its data set."""
    chances, quantiles = np.zeros((len(data.side), 3)), np.zeros((len(data.side), 3))
    for out in _folds(data):
        model = fit(data.only(~out), **options)
        chances[out], quantiles[out] = model.outputs(model.prepared(data.signals[out]))
    return chances, quantiles


def _folds(data: Looks) -> Iterator[Bools]:
    """Yield the rows of some data sets, all in turn."""
    names = sorted(set(data.groups))
    fold = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % _FOLDS, strict=True))
    of = np.array([fold[name] for name in data.groups])[data.task]
    for number in range(_FOLDS):
        yield of == number


def _trees(data: Looks) -> Judge:
    """Return gradient-boosted trees."""
    trees = HistGradientBoostingClassifier(
        max_iter=200, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=50, l2_regularization=1.0, random_state=0
    )
    trees.fit(data.signals, data.side, sample_weight=_weights(data))
    return lambda signals: np.asarray(trees.predict_proba(signals))


def _neighbors(data: Looks) -> Judge:
    """Return a vote of the nearest looks, in standard deviations of each signal."""
    middle, spread = np.nanmean(data.signals, axis=0), np.nanstd(data.signals, axis=0) + 1e-6
    vote = KNeighborsClassifier(_VOTES, weights="distance")
    vote.fit(np.nan_to_num((data.signals - middle) / spread), data.side)
    return lambda signals: np.asarray(vote.predict_proba(np.nan_to_num((signals - middle) / spread)))


def _left_out_by(data: Looks, learned: Callable[[Looks], Judge]) -> Array:
    """Return probabilities of every row, by another model that never saw its data set."""
    chances = np.zeros((len(data.side), 3))
    for out in _folds(data):
        chances[out] = np.maximum(learned(data.only(~out))(data.signals[out]), 1e-3)
    return chances / chances.sum(axis=1, keepdims=True)


def _widening(data: Looks, quantiles: Array) -> float:
    """Return by what the ranges of rows that were left out must be widened to hold the best rate often enough."""
    inner = quantiles[:, 1:2]
    widths = np.linspace(0.8, 3.0, 45)

    def covered(width: float) -> float:
        ends = inner + width * (quantiles - inner)
        held = (ends[:, 0] <= data.times) & (data.times <= ends[:, 2])
        return float(np.average(held, weights=data.weight))

    return float(next((w for w in widths if covered(w) >= _COVERED), widths[-1]))


def _least(found: Judged) -> Array:
    """Return from which probability each side, and a one-sided statement, is reported, by the design trainings.

    As many verdicts as possible are given, of which enough are right and few accuse a fine run.
    """
    chances, side = found.chances, found.sides
    lean, most, fine = chances.argmax(axis=1), chances.max(axis=1), max(1, int(np.sum(found.sides == 1)))
    best, told_most = (1.0, 1.0, 1.0), -1
    for least in product(np.linspace(0.7, 0.98, 15), repeat=len(SIDES)):
        told = most >= np.array(least)[lean]
        right, accused = _mean(lean[told] == side[told]), np.sum(told & (side == 1) & (lean != 1)) / fine
        if told.sum() > told_most and right >= _RIGHT and accused <= _ACCUSED:
            best, told_most = least, int(told.sum())
    not_it = np.where(chances[:, 0] < chances[:, 2], 0, 2)
    sure = 1 - chances[np.arange(len(chances)), not_it]
    levels = np.linspace(0.9, 0.995, 20)
    right_at = (_mean(side[sure >= level] != not_it[sure >= level]) for level in levels)
    one_sided = next((level for level, right in zip(levels, right_at, strict=True) if right >= _ONE_SIDED), levels[-1])
    return np.array([*best, one_sided])


def learn(
    record: Path = RECORD_FILE,
    path: Path = MODEL_FILE,
    kept: Path = MODEL_RECORD,
    watched: Path = VERDICTS_FILE,
    **options: Any,
) -> str:
    """Fit, calibrate and write the model; return and keep the figures on data sets that were left out."""
    data = read_looks(record)
    chances, quantiles = left_out(data, members=1, **options)
    model = _with(fit(data, **options), widening=_widening(data.only(data.clear), quantiles[data.clear]))
    design = [row for row in read_watched(watched) if not held_out(row)]
    model = _with(model, least=_least(judged(design, model)))
    model.save(path)
    rows = [{"case": "all signals", **_at_quarter(data, left_out(data, members=1, epochs=12)[0])}]
    for case, names in _CASES.items():
        rows.append({"case": case, **_at_quarter(data, left_out(_without(data, names), members=1, epochs=12)[0])})
    for case, learned in _OTHERS.items():
        rows.append({"case": case, **_at_quarter(data, _left_out_by(data, learned))})
    inner = quantiles[:, 1:2]
    ranges = inner + model.widening * (quantiles - inner)
    said = data.look, data.side, data.times, chances, ranges
    table = figures(*(part[data.clear] for part in said), model.least)
    facts = {"tasks": len(data.groups), "data sets": len(set(data.groups)), "looks": len(data.side)}
    least = dict(zip((*SIDES, "one-sided"), model.least.round(3).tolist(), strict=True))
    facts |= {"least": least, "widening": round(model.widening, 3)}
    write_record(kept, {**header("verdict-model"), **facts, "table": table}, rows)
    return model_report(kept)


_CASES: dict[str, tuple[str, ...]] = {
    "only the rate over the usual one": tuple(name for name in NAMES if name not in TOGETHER[0]),
    "without the usual rate": TOGETHER[0],
    "without validation": TOGETHER[1],
    "without the trajectory of the weights": TOGETHER[2],
    "without slopes and gradients": TOGETHER[3],
}

_OTHERS: dict[str, Callable[[Looks], Judge]] = {
    "all signals, by gradient-boosted trees": _trees,
    f"all signals, by a vote of the {_VOTES} nearest looks": _neighbors,
}


def _without(data: Looks, names: Sequence[str]) -> Looks:
    signals = data.signals.copy()
    signals[:, [NAMES.index(name) for name in names]] = np.nan
    return dataclasses.replace(data, signals=signals)


def _at_quarter(data: Looks, chances: Array) -> dict[str, float]:
    keep = (data.look == LOOKS.index(1 / 4)) & data.clear
    p, side = chances[keep], data.side[keep]
    return {
        "leaning": round(float(np.mean(p.argmax(axis=1) == side)), 4),
        "entropy": round(float(-np.log(p[np.arange(len(side)), side]).mean()), 4),
    }


def model_report(kept: Path = MODEL_RECORD) -> str:
    """Return the figures of the last fit, as Markdown."""
    read = json.loads(kept.read_text(encoding="utf-8"))
    told = read["record"]
    lines = [
        f"{told['tasks']} tasks with {told['data sets']} data sets, {told['looks']:,} looks at runs.",
        "",
        *told["table"],
    ]
    lines += ["", "| what it reads, at a quarter | leaning right | cross-entropy |", "|---|---|---|"]
    lines += [f"| {row['case']} | {row['leaning']:.1%} | {row['entropy']:.3f} |" for row in read["rows"]]
    return "\n".join(lines)
