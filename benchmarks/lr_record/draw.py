"""The tasks of the record, each drawn from a seed and its number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from benchmarks.lr_record.data import Data, draw_images, draw_reconstruction, draw_sequence, draw_table
from benchmarks.lr_record.fine_tuning import PRETRAINING, draw_start, fewer, related
from benchmarks.lr_record.models import build
from stepsize import schedules
from stepsize.optimizers import OPTIMIZERS
from stepsize.schedules import Schedule

__all__ = ["HORIZONS", "RATES", "SCHEDULES", "SEEDS", "Task", "draw_task"]

HORIZONS = (16, 8, 4, 1)  # parts of T
RATES, SEEDS = 16, 3
_LOWEST, _STEP = -2.8, 0.38  # of log10(lr / usual)
_MOST_SECONDS = {"mlp": 4.0, "autoencoder": 4.0}
_LONGER_FROM = 2_700  # the tasks before may take few seconds, so most are short and small
_MOST_SECONDS_LONGER = 30.0

SCHEDULES: dict[str, Schedule] = {
    "cosine warmup=5%": schedules.cosine(warmup="5%"),
    "cosine": schedules.cosine(),
    "linear": schedules.linear(),
    "constant": schedules.constant(),
    "step": schedules.step_decay("30%", gamma=0.3),
    "wsd warmup=5% cooldown=20%": schedules.wsd(warmup="5%", cooldown="20%"),
}
_SCHEDULE_WEIGHTS = (0.32, 0.16, 0.14, 0.16, 0.08, 0.14)
_OPTIMIZERS = {
    "sgd": 0.14, "momentum": 0.15, "nesterov": 0.08, "adam": 0.15, "adamw": 0.22, "rmsprop": 0.08, "adagrad": 0.07,
    "lion": 0.04, "adafactor": 0.03, "muon": 0.04,
}  # fmt: skip
_LATER_FROM = 1_000  # the tasks before have no fine-tuning, and no optimizer without a schedule
_TUNED = 0.4
_STEPS_BEFORE, _SECONDS_BEFORE = 300, 3.0
_LATER_OPTIMIZERS = _OPTIMIZERS | {"schedule-free-sgd": 0.06, "schedule-free-adamw": 0.08}
_DECAYS: dict[str, tuple[float, ...]] = {
    "adamw": (0.0, 0.01, 0.01, 0.1, 0.3), "muon": (0.0, 0.1), "lion": (0.0, 0.1, 1.0), "adafactor": (0.0,),
}  # fmt: skip
_COUPLED_DECAYS = (0.0, 0.0, 0.0, 1e-4, 5e-4, 5e-3)
_RECURRENT = ("gru", "lstm")
_MODELS = {"mlp": 0.62, "autoencoder": 0.06, "char-mlp": 0.08, "gpt": 0.08, "cnn": 0.06, "vit": 0.05, "mixer": 0.05}
_BROADER_FROM = 600  # the first tasks were drawn before there were recurrent networks, and are mostly MLPs
_BROADER = {
    "mlp": 0.36, "autoencoder": 0.06, "char-mlp": 0.08, "gpt": 0.1, "cnn": 0.1, "vit": 0.08, "mixer": 0.06, "gru": 0.08,
    "lstm": 0.08,
}  # fmt: skip

Facts: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What is trained: its data, the facts that say the rest, and the data of the training before a fine-tuning."""

    data: Data
    facts: Facts
    before: Data | None = None

    @property
    def rates(self) -> list[float]:
        """Return log10(lr / usual lr) of each of the rates."""
        return [_LOWEST + self.facts["offset"] + _STEP * place for place in range(RATES)]


def draw_task(seed: int, number: int) -> Task:
    """Return task ``number`` of the corpus of ``seed``."""
    rng = default_rng(SeedSequence([seed, number]))
    model = _pick(rng, _MODELS if number < _BROADER_FROM else _BROADER)
    data, shape = _DRAWS[model](rng)
    later, longer, before = number >= _LATER_FROM, number >= _LONGER_FROM, None
    if later and rng.random() < _TUNED:
        before, data = related(data, rng), fewer(data, rng)
    fixed: Facts = {
        "number": number, "seed": seed, "data": data.name, "kind": data.kind, "model": model,
        "train_examples": len(data.inputs), "validation_examples": len(data.validation[0]), "outputs": data.outputs,
        **data.facts, **shape, **_draw_optimizer(rng, _LATER_OPTIMIZERS if later else _OPTIMIZERS),
        "schedule": _pick(rng, dict(zip(SCHEDULES, _SCHEDULE_WEIGHTS, strict=True))),
        "clip": 1.0 if rng.random() < (0.4 if model == "gpt" else 0.1) else 0.0,
        "offset": round(float(rng.uniform(-_STEP / 2, _STEP / 2)), 4),
    }  # fmt: skip
    most_seconds = _MOST_SECONDS_LONGER if longer else _MOST_SECONDS.get(model, 6.0)
    while True:
        facts = {**fixed, **_draw_size(rng, model), **_draw_length(rng, fixed["train_examples"], longer=longer)}
        facts["width"] *= 2 if longer else 1
        if later:
            facts |= _later(rng, facts, tuned=before is not None)
        net, _ = build(facts)
        facts |= {"parameters": net.parameters, "multiplications": net.multiplications}
        if before is not None:
            facts["steps_before"] = _steps_before(facts)
        if _seconds(facts) <= most_seconds:
            return Task(data, facts, before)


def _later(rng: Generator, facts: Facts, *, tuned: bool) -> Facts:
    """Return what only later tasks have: how they start, and the warmup of optimizers without a schedule."""
    found: Facts = draw_start(rng, facts["model"], facts["depth"]) if tuned else {"start": "scratch", "lora": 0}
    if facts["optimizer"].startswith("schedule-free"):
        found |= {"schedule": "constant", "warmup": _one(rng, 0.0, 0.05)}
    return found


def _steps_before(facts: Facts) -> int:
    """Return the length of the training before a fine-tuning: 300 steps, or fewer if they would take too long."""
    share = _SECONDS_BEFORE / _seconds({**facts, **PRETRAINING, "horizons": [_STEPS_BEFORE]})
    return max(_STEPS_BEFORE // 6, round(_STEPS_BEFORE * min(1.0, share)))


def _pick(rng: Generator, weights: Mapping[str, float]) -> str:
    chances = np.array(list(weights.values()))
    return str(rng.choice(list(weights), p=chances / chances.sum()))


def _one(rng: Generator, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


# Data and what the model takes from them -----------------------------------------------------------------------------


def _for_mlp(rng: Generator) -> tuple[Data, Facts]:
    return draw_table(rng), {}


def _for_autoencoder(rng: Generator) -> tuple[Data, Facts]:
    data = draw_reconstruction(rng)
    return data, {"code": int(rng.integers(2, max(3, data.outputs // 2)))}


def _for_char_mlp(rng: Generator) -> tuple[Data, Facts]:
    return draw_sequence(rng, int(rng.integers(3, 9)), every=False), {"embedding": _one(rng, 4, 8, 12)}


def _for_gpt(rng: Generator) -> tuple[Data, Facts]:
    return draw_sequence(rng, _one(rng, 12, 16, 24), every=True), {}


def _for_recurrent(rng: Generator) -> tuple[Data, Facts]:
    return draw_sequence(rng, _one(rng, 6, 8, 12), every=True), {"embedding": _one(rng, 4, 8, 12)}


def _for_images(rng: Generator) -> tuple[Data, Facts]:
    return draw_images(rng), {"patch": _one(rng, 2, 2, 4)}


_DRAWS = {
    "mlp": _for_mlp, "autoencoder": _for_autoencoder, "char-mlp": _for_char_mlp, "gpt": _for_gpt, "cnn": _for_images,
    "vit": _for_images, "mixer": _for_images, "gru": _for_recurrent, "lstm": _for_recurrent,
}  # fmt: skip


# Model, optimizer, length --------------------------------------------------------------------------------------------


def _draw_size(rng: Generator, model: str) -> Facts:
    facts: Facts = {
        "activation": _one(rng, "relu", "relu", "tanh", "gelu"),
        "dropout": _one(rng, 0.1, 0.2, 0.4) if rng.random() < 0.15 else 0.0,
        "init": str(rng.choice(["torch", "he", "xavier", "small output"], p=[0.6, 0.16, 0.14, 0.1])),
        "residual": False,
        "norm": "none",
    }
    if model in ("mlp", "autoencoder", "char-mlp"):
        deepest = {"mlp": (0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 8), "autoencoder": (1, 2), "char-mlp": (1, 1, 2, 3)}
        facts |= {"depth": _one(rng, *deepest[model]), "width": _one(rng, 8, 16, 24, 32, 48, 64, 96, 128)}
        facts["norm"] = str(rng.choice(["none", "layer", "batch"], p=[0.64, 0.22, 0.14]))
        facts["residual"] = bool(facts["depth"] > 1 and rng.random() < 0.35)
    elif model in _RECURRENT:
        facts |= {"depth": _one(rng, 1, 1, 1, 2), "width": _one(rng, 8, 16, 24, 32, 48)}
    elif model == "cnn":
        facts |= {"depth": _one(rng, 1, 2, 2, 3), "width": _one(rng, 4, 6, 8, 12), "norm": _one(rng, "none", "batch")}
    else:
        facts |= {"depth": _one(rng, 1, 1, 2, 3), "width": _one(rng, 8, 16, 16, 24, 32), "heads": _one(rng, 1, 2, 4)}
        facts["norm"] = "layer" if rng.random() < 0.9 else "none"
        facts["norm_place"] = "before" if rng.random() < 0.8 else "after"
        if model == "gpt" and rng.random() < 0.4:
            facts["init"] = "gpt"
    return facts


def _draw_optimizer(rng: Generator, chances: Mapping[str, float]) -> Facts:
    name = _pick(rng, chances)
    facts: Facts = {
        "optimizer": name,
        "family": OPTIMIZERS[name].family,
        "usual_lr": OPTIMIZERS[name].default_lr,
        "weight_decay": float(_one(rng, *_DECAYS.get(name, _COUPLED_DECAYS))),
    }
    if name in ("adam", "adamw"):
        facts["beta2"] = _one(rng, 0.999, 0.999, 0.999, 0.99, 0.95)
    return facts


def _draw_length(rng: Generator, examples: int, *, longer: bool) -> Facts:
    batches = [size for size in (8, 16, 32, 64, 128, 256) if size <= max(8, examples // 2)]
    longest = 3_000 if longer or rng.random() < 0.06 else 1_000
    shortest = 200 if longer else 60
    steps = 16 * max(4, round(float(np.exp(rng.uniform(np.log(shortest), np.log(longest)))) / 16))
    return {"batch": _one(rng, *batches), "steps": steps, "horizons": [steps // part for part in HORIZONS]}


def _seconds(facts: Facts) -> float:
    """Estimate what the training of all rates, seeds and horizons takes on one core."""
    members, floats = RATES * SEEDS, RATES * SEEDS * facts["parameters"]
    update = floats * (12e-9 if facts["optimizer"] != "muon" else 60e-9)
    rate = 12e9 if facts["model"] in ("mlp", "autoencoder", "char-mlp") else 6e9
    places = facts["length"] if facts["model"] in _RECURRENT else 0
    arithmetic = 6 * facts["multiplications"] * facts["batch"] * members / rate
    inputs = 2e-9 * members * facts["batch"] * facts["inputs"]
    return float(
        sum(facts["horizons"]) * (5e-4 + 3e-4 * facts["depth"] * (1 + 6 * places) + update + arithmetic + inputs)
    )
