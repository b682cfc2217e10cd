"""Figures that stand beside the verdicts and decide nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.adaptive import ADAPTIVE_FILE, share_closed
from benchmarks.claims.answers import Material
from benchmarks.claims.effects import Check
from benchmarks.claims.finals import Finals
from benchmarks.claims.from_runs import PAIRS, best_rates, compared
from benchmarks.claims.from_truth import TABLES
from benchmarks.claims.studies import AROUND, DECAYS, JUDGING, METHODS, SHIFTED, arm_rows
from benchmarks.claims.wording import effect_text, value_text
from benchmarks.combos import GRID, OPTIMIZERS, Combo
from benchmarks.record import read_rows
from benchmarks.tables import percent

__all__ = ["figures_of"]

Rows = Sequence[Mapping[str, Any]]


def figures_of(number: int, material: Material) -> list[str]:
    """Return sentences with the figures of statement ``number``; none where there are none, or nothing measured."""
    make = _FIGURES.get(number)
    return make(material) if make is not None else []


def _way(material: Material) -> list[str]:
    rows = [row for row in material.study("updates") if row["way"] is not None]
    if not rows:
        return []
    names = list(dict.fromkeys(row["optimizer"] for row in rows))
    far = {name: 10 ** float(np.median([row["way"] for row in rows if row["optimizer"] == name])) for name in names}
    listed = ", ".join(f"{name} {ratio:.1f} ×" for name, ratio in far.items())
    return [
        "A whole run is different: at ten times the rate the weights end this many times as far from their "
        f"start after 60 steps (medians): {listed}."
    ]


def _adam_deviation(material: Material) -> list[str]:
    rows = [row for row in material.study("updates") if row["optimizer"] == "adam"]
    if not rows:
        return []
    off = float(np.median([row["off"] for row in rows]))
    return [f"With Adam the step is not lr · gradient: it differs from it by {off:,.0f} times its norm (median)."]


def _one(material: Material) -> list[str]:
    return _way(material) + _adam_deviation(material)


def _lost(material: Material) -> list[str]:
    lines = []
    for optimizer in OPTIMIZERS:
        own = [finals for combo, finals in material.tables.items() if combo.optimizer == optimizer]
        shares = [f"{factor} ×: {_diverged(own, float(factor))}" for factor in ("1", "3", "10", "30", "100")]
        lines.append(f"Runs that diverged at multiples of the best rate, {optimizer}: {'; '.join(shares)}.")
    return lines


def _diverged(tables: Sequence[Finals], factor: float) -> str:
    lost = []
    for finals in tables:
        at = finals.beside(int(np.flatnonzero(finals.lrs == finals.best())[0]), factor)
        if at is not None:
            lost += finals.diverged[:, at].tolist()
    return percent(float(np.mean(lost))) if lost else "–"


def _more_than_plain(material: Material) -> list[str]:
    rows, lines = material.study("methods"), []
    for condition in ("plain", "noise", "drift"):
        texts = []
        for pair in PAIRS:
            ways = [(condition, name) for name in pair]
            effects = [compared(rows, task, ways[0], ways[1], "val") for task in METHODS]
            known = [value_text(effect.mean, "ratio") for effect in effects if effect is not None]
            texts.append(f"{' / '.join(pair)} {', '.join(known)}")
        lines.append(f"{condition.capitalize()}: {'; '.join(texts)}")
    return [f"Loss of adaptive over fixed on {', '.join(METHODS)}. " + ". ".join(lines) + "."] if rows else []


def _momentum_rates(material: Material) -> list[str]:
    rows = material.study("methods")
    lines = []
    for task in METHODS:
        rates = [
            {row["lr"] for row in arm_rows(rows, "plain", task, name) if row["seed"] >= JUDGING}
            for name in ("sgd", "momentum", "nesterov")
        ]
        if all(rates):
            lines.append(f"{task}: {', '.join(f'{rate.pop():.3g}' for rate in rates)}")
    return [f"Tuned rates without, with classical and with Nesterov momentum: {'; '.join(lines)}."] if lines else []


def _kept_good(material: Material) -> list[str]:
    """The number of cases with a mean regret of at most 10%."""
    by: dict[str, dict[Any, list[float]]] = {}
    for row in material.picks:
        by.setdefault(row["tool"], {}).setdefault((row["task"], row["optimizer"]), []).append(row["regret"])
    for row in material.searches:
        by.setdefault(f"{row['search']} {row['trials']}", {})[row["task"], row["optimizer"]] = row["regret"]
    texts = [f"{name} {sum(np.mean(v) <= 0.1 for v in of.values())}" for name, of in by.items()]
    return [f"Number of the 24 cases with a mean regret of at most 10%: {', '.join(texts)}."] if texts else []


def _best_rates(material: Material) -> list[str]:
    rows = material.study("data")
    lines = []
    for task in SHIFTED:
        names = list(dict.fromkeys(row["arm"] for row in rows if row["task"] == task))
        means = {
            name: 10 ** float(np.mean(list(best_rates(arm_rows(rows, name, task, "momentum")).values())))
            for name in names
        }
        lines.append(f"{task}: " + ", ".join(f"{name} {lr:.2g}" for name, lr in means.items()))
    return [f"Best rates (geometric means over the seeds). {'. '.join(lines)}."] if rows else []


def _drops(material: Material) -> list[str]:
    rows, texts = material.study("decays"), []
    for task in DECAYS:
        own = [row for row in arm_rows(rows, "plateau", task, "momentum") if row["seed"] >= JUDGING and "drops" in row]
        peaks = {
            name: {row["lr"] for row in arm_rows(rows, name, task, "momentum") if row["seed"] >= JUDGING}
            for name in ("plateau", "constant", "linear")
        }
        if own and all(peaks.values()):
            rates = ", ".join(f"{name} {max(of):.3g}" for name, of in peaks.items())
            texts.append(f"{task}: {np.mean([row['drops'] for row in own]):.1f} drops per run (peaks: {rates})")
    return [f"How often the rate halved, at its tuned peak: {'; '.join(texts)}."] if texts else []


def _followed(material: Material) -> list[str]:
    lines = []
    for start in (0.01, 10.0):
        rows = [row for row in read_rows(ADAPTIVE_FILE) if row["rule"] == "follow" and row.get("start") == start]
        shares = [share for row in rows if (share := share_closed(row)) is not None]
        lost = [row["loss"] / row["tuned"] - 1 for row in rows if row["loss"] is not None]
        lines.append(f"{start:g} × the best rate {percent(float(np.median(shares)))} of the gap closed, "
                     f"{percent(float(np.median(lost)))} above the tuned rate")  # fmt: skip
    return [
        *_drops(material),
        "Forks that continue (`stepsize.follow` before 0.2.0), at three times the cost of one run, one seed on 24 "
        f"tasks × optimizers (record `adaptive`), medians: from {'; from '.join(lines)}.",
    ]


def _drawn_at_random(material: Material) -> list[str]:
    shares = []
    for finals in material.tables.values():
        grid = np.isin(finals.lrs, GRID)  # evenly spaced; the other rates are denser around the best
        best = float(finals.val[:, int(np.flatnonzero(finals.lrs == finals.best())[0])].mean())
        bad = finals.diverged | (finals.val > 2 * best)
        shares.append(float(bad[:, grid].mean()))
    if not shares:
        return []
    return [
        "A rate drawn at random from 1e-5 to 10 (log-uniform) and held: "
        f"{percent(float(np.median(shares)))} of the runs end at more than twice the best loss, or diverge "
        "(median over the tasks × optimizers of the ground truth)."
    ]


_AFTERWARDS = "Added after the figures above were seen, so it decides nothing:"


def _against_the_best(material: Material, study: str, arm: str) -> str:
    rows = [*material.study("around"), *material.study(study)]
    texts = []
    for task, optimizer in itertools.product(AROUND, OPTIMIZERS):
        effect = compared(rows, task, (arm, optimizer), ("best", optimizer), "val")
        if effect is not None:
            texts.append(f"{task}, {optimizer} {effect_text(Check('', effect, 'above'))}")
    return "; ".join(texts)


def _lasting(material: Material) -> list[str]:
    told = _against_the_best(material, "lasting", "erratic, lasting")
    what = "the same jumps, each lasting a twentieth of the training, against the smooth rate"
    return [f"{_AFTERWARDS} {what}: {told}."] if told else []


def _longer(material: Material) -> list[str]:
    told = _against_the_best(material, "longer", "a tenth, ten times the time")
    what = "a tenth of the rate for ten times the time, against the best rate for the usual time"
    return [f"{_AFTERWARDS} {what}: {told}."] if told else []


def _good_rates(material: Material) -> list[str]:
    texts = []
    for combo, finals in material.tables.items():
        if combo.task in TABLES:
            mean = finals.val.mean(axis=0)
            good = finals.lrs[mean <= 1.05 * float(mean[finals.nearest(finals.best())])]
            texts.append(f"{combo.task}, {combo.optimizer} {good.min():.2g} … {good.max():.2g}")
    return [f"Lowest and highest rate that end within 5% of the best loss: {'; '.join(texts)}."] if texts else []


def _accuracy(material: Material) -> list[str]:
    lines = []
    for optimizer in OPTIMIZERS:
        finals = material.tables.get(Combo("shoppers-mlp", optimizer))
        if finals is not None:
            best = int(np.flatnonzero(finals.lrs == finals.best())[0])
            spots = [("best", best), ("a tenth", finals.beside(best, 0.1)), ("ten times", finals.beside(best, 10.0))]
            texts = [f"{name} {_right(finals, at)}" for name, at in spots if at is not None]
            lines.append(f"{optimizer} (best rate {finals.best():.2g}): {', '.join(texts)}")
    rows = material.study("shop")
    areas = [
        f"{optimizer} {arm} {np.mean([r['auc'] for r in arm_rows(rows, arm, 'shoppers-mlp', optimizer)]):.4f}"
        for optimizer in OPTIMIZERS
        for arm in ("best", "default")
        if arm_rows(rows, arm, "shoppers-mlp", optimizer)
    ]
    told = [f"Visits, fraction of correct predictions: {'; '.join(lines)}."] if lines else []
    return told + ([f"Visits, area under the ROC curve: {', '.join(areas)}."] if areas else [])


def _right(finals: Finals, at: int) -> str:
    lost = int(finals.diverged[:, at].sum())
    text = f"{100 * np.nanmean(finals.metric[:, at]):.1f}%" if lost < finals.seeds else "–"
    return f"{text}, {lost} of {finals.seeds} diverged" if lost else text


_FIGURES: dict[int, Callable[[Material], list[str]]] = {
    1: _one,
    2: _lost,
    3: _longer,
    6: _more_than_plain,
    8: _momentum_rates,
    9: _kept_good,
    12: _best_rates,
    13: _followed,
    14: lambda material: _lasting(material) + _drawn_at_random(material),
    15: lambda material: _good_rates(material) + _accuracy(material),
}
