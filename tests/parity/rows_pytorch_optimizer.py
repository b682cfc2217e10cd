"""pytorch_optimizer's schedulers: rows."""

from __future__ import annotations

from typing import Any

from tests.parity.cases import Case, Defect, Evaluate, Peer
from tests.parity.torch_loop import PEAK, optimizer, rates

from stepsize.schedules import Schedule, constant, cooldown, cosine, decay, linear, polynomial, warmup


def _library() -> Any:
    from pytorch_optimizer import lr_scheduler

    return lr_scheduler


def _returned(name: str, **arguments: Any) -> Evaluate:
    """What its step() returns, call by call: the schedule itself, which an update sees one call later."""

    def evaluate(count: int) -> list[float]:
        scheduler = getattr(_library(), name)(optimizer(), max_lr=PEAK, **arguments)
        return [scheduler.step() / PEAK for _ in range(count)]

    return evaluate


def _used(name: str, groups: tuple[float, ...] = (), group: int = 0, **arguments: Any) -> Evaluate:
    """What updates really use."""
    return rates(lambda on: getattr(_library(), name)(on, **arguments), groups=groups, group=group)


_LOOP = "as step() returns it; in a torch loop each update has the value of the one before (see the defects)"
_RISE = {"t_max": 100, "min_lr": 0.1 * PEAK, "warmup_steps": 10}


def _warmed(rest: Schedule) -> Schedule:
    return warmup(10, endpoints="start").then(rest)


def _cycle(length: int) -> Schedule:
    return warmup(10, start=0.1, endpoints="start").then(cosine(length - 10, end=0.1))


def _three_cycles() -> Schedule:
    """Peaks 1, 0.5 and 0.25 above a floor of 0.1; the decay of each is twice as long as the one before."""
    second = warmup(10, start=0.2, endpoints="start").then(cosine(60, end=0.2)).scaled(0.5)
    third = warmup(10, start=0.4, endpoints="start").then(constant()).scaled(0.25)
    return _cycle(40).then(second).then(third)


def _wsd(shape: str, end: float = 0.0) -> Schedule:
    return _warmed(constant(70).then(cooldown(20, shape=shape, end=end)))


def _wsd_row(kind: str, ours: Schedule, **changes: Any) -> Case:
    arguments = "".join(f", {key}={value!r}" for key, value in changes.items())
    theirs = _used("get_wsd_schedule", **_WSD, cooldown_type=kind, **changes)
    return Case(f"get_wsd_schedule(10, 70, 20, cooldown_type='{kind}'{arguments})", theirs, ours, 100, 80)


_WSD: dict[str, Any] = {"num_warmup_steps": 10, "num_stable_steps": 70, "num_decay_steps": 20}
_CASES = (
    Case(
        "LinearScheduler(t_max=100, min_lr=0.1, warmup_steps=10)",
        _returned("LinearScheduler", **_RISE),
        _warmed(linear(90, end=0.1)),
        100,
        10,
        agree=101,
        note=f"{_LOOP}; goes on falling after the end, below the floor and below 0",
    ),
    Case(
        "CosineScheduler(t_max=100, min_lr=0.1, warmup_steps=10)",
        _returned("CosineScheduler", **_RISE),
        _warmed(cosine(90, end=0.1)),
        100,
        10,
        agree=101,
        note=f"{_LOOP}; rises again after the end",
    ),
    Case(
        "REXScheduler(100, min_lr=0.1)",
        _used("REXScheduler", total_steps=100, max_lr=PEAK, min_lr=0.1 * PEAK),
        decay(100, shape="rex", end=0.1),
        100,
        50,
        note="update 0 has min_lr: the peak is never used",
        since=1,
    ),
    Case(
        "CosineAnnealingWarmupRestarts(40, max_lr=1, min_lr=0.1, warmup_steps=10, gamma=1)",
        _used(
            "CosineAnnealingWarmupRestarts", first_cycle_steps=40, max_lr=PEAK, min_lr=0.1 * PEAK, warmup_steps=10,
            gamma=1.0,
        ),
        _cycle(40).repeated(),
        100,
        40,
    ),
    Case(
        "CosineAnnealingWarmupRestarts(40, cycle_mult=2, max_lr=1, min_lr=0.1, warmup_steps=10, gamma=0.5)",
        _used(
            "CosineAnnealingWarmupRestarts", first_cycle_steps=40, cycle_mult=2.0, max_lr=PEAK, min_lr=0.1 * PEAK,
            warmup_steps=10, gamma=0.5,
        ),
        _three_cycles(),
        100,
        40,
        note="a cycle after the other in ours; cycle_mult stretches the decay, not the warmup",
    ),
    _wsd_row("1-sqrt", _wsd("1-sqrt")),
    _wsd_row("linear", _wsd("linear")),
    _wsd_row("1-square", _wsd("1-square")),
    _wsd_row("cosine", _wsd("cosine", end=0.1), min_lr_ratio=0.1),
)  # fmt: skip

_DEFECTS = (
    Defect(
        "Cooldowns other than cosine ignore min_lr_ratio and then jump up to it",
        "get_wsd_schedule(10, 70, 20, min_lr_ratio=0.1, cooldown_type='1-sqrt')",
        (90, 98, 99, 100),
        _used("get_wsd_schedule", **_WSD, min_lr_ratio=0.1),
        (0.292893219, 0.051316702, 0.025320566, 0.1),
        _wsd("1-sqrt", end=0.1),
        (0.363603897, 0.146185032, 0.122788509, 0.1),
        "`end` is where the decay goes: continuous at its end.",
        "pytorch_optimizer source",
    ),
    Defect(
        "PolyScheduler is no decay: it grows as (t - W)^order for ever",
        "PolyScheduler(t_max=100, poly_order=0.5, warmup_steps=10)",
        (10, 11, 14, 99, 110),
        _returned("PolyScheduler", t_max=100, poly_order=0.5, warmup_steps=10),
        (1.0, 1.0, 2.0, 9.433981132, 10.0),
        _warmed(polynomial(90, power=0.5)),
        (1.0, 0.994428926, 0.977525220, 0.105409255, 0.0),
        "A polynomial decay is (1 - p)^power.",
        "pytorch_optimizer source; its docstring now states the formula",
    ),
    Defect(
        "LinearScheduler goes on below its floor and below 0 after the end",
        "LinearScheduler(t_max=100, min_lr=0.1, warmup_steps=10)",
        (99, 100, 110, 115),
        _returned("LinearScheduler", **_RISE),
        (0.11, 0.1, 0.0, -0.05),
        _warmed(linear(90, end=0.1)),
        (0.11, 0.1, 0.1, 0.1),
        "After the end the factor stays what it is at step `length`; no factor is negative.",
        "pytorch_optimizer source",
    ),
    Defect(
        "In a torch loop the first update has rate min_lr (0), and each later one the rate of the one before",
        "LinearScheduler(t_max=100)",
        (0, 1, 2, 99),
        _used("LinearScheduler", t_max=100, max_lr=PEAK),
        (0.0, 1.0, 0.99, 0.02),
        linear(100),
        (1.0, 0.99, 0.98, 0.01),
        "Update 0 has the factor of step 0.",
        "pytorch_optimizer source: `_init_lr`",
    ),
    Defect(
        "REXScheduler gives the first update min_lr (0); the peak is never used",
        "REXScheduler(100)",
        (0, 1, 2, 99),
        _used("REXScheduler", total_steps=100, max_lr=PEAK),
        (0.0, 0.994974874, 0.989898990, 0.019801980),
        decay(100, shape="rex"),
        (1.0, 0.994974874, 0.989898990, 0.019801980),
        "Update 0 has the factor of step 0.",
        "pytorch_optimizer source: `init_lr`",
    ),
    Defect(
        "One max_lr for all groups: a group at a tenth of the rate is lifted to the whole of it",
        "CosineAnnealingWarmupRestarts(40, max_lr=0.5, min_lr=0.05, warmup_steps=10), second group with peak 0.05",
        (0, 10),
        _used(
            "CosineAnnealingWarmupRestarts", (PEAK, PEAK / 10), 1, first_cycle_steps=40, max_lr=PEAK,
            min_lr=0.1 * PEAK, warmup_steps=10,
        ),
        (1.0, 10.0),
        _cycle(40),
        (0.1, 1.0),
        "Factors multiply each group's own peak: groups keep their ratios.",
        "katsura-jp/pytorch-cosine-annealing-with-warmup#14",
    ),
)  # fmt: skip

PEER = Peer(
    "pytorch_optimizer.lr_scheduler",
    "pytorch_optimizer",
    "Run on an SGD with peak rate 0.5, in float64 as Python floats.",
    _CASES,
    _DEFECTS,
    (
        "get_chebyshev_schedule is a table of rates in a fractal order: `points` holds any table.",
        "ProportionScheduler maps another scheduler's rate to another quantity.",
        "deberta_v3_large_lr_scheduler makes parameter groups.",
        "Its ConstantLR, StepLR, … are torch's.",
    ),
)
