"""Each rule speaks where it should and is silent where it should, on records made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest

from stepsize.monitor.finding import Finding, Severity
from stepsize.monitor.record import Facts, Record
from stepsize.monitor.rules.catalog import RULES
from stepsize.monitor.verdict import LOOKS, RateCode, RateVerdict

STEPS = 400
_RULES = {rule.code: rule for rule in RULES}


def _record(
    losses: Callable[[int], float],
    *,
    steps: int = STEPS,
    made: int = STEPS,
    lr: Callable[[int], float] = lambda step: 0.1,
    facts: Facts | None = None,
    **signals: Callable[[int], float],
) -> Record:
    record = Record(facts or Facts(steps=steps))
    noise = np.random.default_rng(0).normal(size=made)
    for step in range(made):
        record.step = step + 1
        record.add("lr/0", step, lr(step))
        record.add_loss(step, losses(step) + 0.02 * noise[step])
        for name, signal in signals.items():
            record.add(name.replace("__", "/"), step, signal(step))
    return record


def _falling(step: int) -> float:
    return 2.0 * math.exp(-step / 100) + 0.1


def _judged(code: str, record: Record) -> Finding | None:
    return _RULES[code].find(record)


@pytest.mark.parametrize("code", sorted(_RULES))
def test_a_good_training_is_left_in_peace(code: str) -> None:
    record = _record(
        _falling,
        lr=lambda step: 0.1 * (1 - step / STEPS),
        cosine=lambda step: 0.05,
        clipped=lambda step: 1.0,
        update_ratio=lambda step: 2e-3,
        update_ratio__body=lambda step: 2e-3,
        grad_norm=lambda step: 1.0,
        slope_then=lambda step: -1e-3,
        slope_now=lambda step: -2e-4,
        headroom=lambda step: 20.0,
        val_loss=lambda step: _falling(step) + 0.05,
    )
    finding = _judged(code, record)
    assert finding is None or finding.severity == "info"


def _told(*codes: RateCode, sure: float = 0.97) -> Record:
    """Return a run in which looks said this."""
    record = _record(_falling, made=100)
    record.looks = len(LOOKS)
    factor = 3.0 if codes[-1] == "too low" else 0.3
    record.verdicts = [RateVerdict(code, sure, code, factor, "So it is.", signals={"noise": 0.1}) for code in codes]
    return record


CASES: dict[str, Callable[[], Record]] = {
    "diverging": lambda: _record(lambda step: _falling(step) if step < 200 else 50.0),
    "about-to-diverge": lambda: _record(
        lambda step: 2.0 + 0.5 * max(0, step - 20),
        made=30,
        grad_norm=lambda step: 1.0 if step < 29 else 20.0,
        slope_then=lambda step: -0.1,
        slope_now=lambda step: -0.1 if step < 20 else 1.0,
        update_ratio=lambda step: 0.1,
    ),
    "oscillating": lambda: _record(_falling, cosine=lambda step: -0.5),
    "edge-of-stability": lambda: _record(_falling, headroom=lambda step: 1.1),
    "plateau": lambda: _record(lambda step: 1.0 + math.exp(-step / 10), made=300),
    "overfitting": lambda: _record(
        _falling, val_loss=lambda step: 1.0 + abs(step - 100) / 100 if step % 20 == 0 else math.nan
    ),
    "spike": lambda: _record(lambda step: 1.0 if step < 150 else 9.0, made=151),
    "clipping": lambda: _record(_falling, clipped=lambda step: 0.3),
    "schedule-end": lambda: _record(_falling, facts=Facts(steps=STEPS, schedule=(1.0,) * 50 + (0.0,) * 50)),
    "short-warmup": lambda: _record(
        lambda step: 2.0 if step < 20 else 12.0 if step < 30 else 1.5, made=100, lr=lambda step: min(0.1, 0.005 * step)
    ),
    "dead-group": lambda: _record(_falling, update_ratio__body=lambda step: 1e-3, update_ratio__head=lambda step: 0.0),
    "scheduler-calls": lambda: _record(
        _falling,
        facts=Facts(scheduler={"name": "StepLR", "calls": 800, "updates": 400, "early": False, "by_step": False}),
    ),
    "zero-rate": lambda: _record(_falling, made=200, lr=lambda step: 0.0 if step > 100 else 0.1),
    "stuck-estimate": lambda: _record(
        _falling, facts=Facts(learning_rate_free=True, optimizer="Prodigy"), estimate=lambda step: 1e-6
    ),
    "underfitting": lambda: _record(lambda step: 4.0 - step / 200),
    "not-learning": lambda: _record(lambda step: 2.3),
    "too-low": lambda: _told("too low", "too low"),
    "too-high": lambda: _told("too high", "too high"),
}


def _skipped() -> Record:
    record = _record(_falling)
    record.skipped = 100
    return record


CASES["skipped-updates"] = _skipped


def test_every_rule_has_a_case() -> None:
    assert sorted(CASES) == sorted(_RULES)


@pytest.mark.parametrize("code", sorted(_RULES))
def test_a_rule_speaks_with_evidence(code: str) -> None:
    finding = _judged(code, CASES[code]())
    assert finding is not None
    assert finding.code == code
    assert finding.severity in get_args(Severity)
    assert finding.evidence
    assert finding.message.endswith(".")
    assert finding.remedy or finding.severity == "info"
    told = finding.to_json()
    assert told["step"] == finding.step
    assert str(finding).startswith(f"[{finding.severity}] step ")


@pytest.mark.parametrize("codes", [("too low",), ("fine", "too low"), ("too low", "fine")])
def test_one_look_alone_does_not_accuse(codes: tuple[RateCode, ...]) -> None:
    assert _judged("too-low", _told(*codes)) is None


def test_two_looks_accuse_only_if_they_are_sure() -> None:
    assert _judged("too-low", _told("too low", "too low", sure=0.85)) is None
    assert _judged("too-low", _told("too low", "too low", sure=0.87)) is not None


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_a_rule_is_documented(rule: object) -> None:
    for name in ("title", "meaning", "reference", "how_to_check"):
        assert getattr(rule, name)


def test_a_spike_that_gradients_announced_speaks_for_the_rate() -> None:
    record = _record(
        lambda step: 1.0 if step < 150 else 9.0, made=151, grad_norm=lambda step: 8.0 if step >= 149 else 1.0
    )
    finding = _judged("spike", record)
    assert finding is not None
    assert "more likely the learning rate than the data" in finding.remedy


def test_a_spike_after_a_raise_names_the_rate() -> None:
    record = _record(lambda step: 1.0 if step < 150 else 9.0, made=151, lr=lambda step: 1e-3 if step < 150 else 0.1)
    finding = _judged("spike", record)
    assert finding is not None
    assert "had just been raised from 0.001 to 0.1" in finding.remedy


def test_a_constant_rate_has_no_warmup_to_lengthen() -> None:
    record = _record(lambda step: 2.0 if step < 20 else 12.0 if step < 30 else 1.5, made=100)
    finding = _judged("short-warmup", record)
    assert finding is not None
    assert finding.remedy.startswith("Add a warmup of about 63 steps")


def test_a_decrease_that_a_decay_explains_is_no_underfitting() -> None:
    assert _judged("underfitting", _record(lambda step: 4.0 - step / 200, lr=lambda step: 1 - step / STEPS)) is None


def _validated(*values: float) -> Record:
    """Return a run with these validation losses, every 20 steps."""
    return _record(
        _falling, val_loss=lambda step: values[step // 20] if step % 20 == 0 else math.nan, made=20 * len(values)
    )


def test_a_validation_loss_that_fluctuates_is_no_overfitting() -> None:
    # a linear model on digits at four times the best rate: up by 40% in the end, but its next values were lower
    fluctuating = (1.04, 0.301, 1.38, 0.345, 0.39, 0.251, 0.275, 0.302, 0.267, 0.234, 0.304, 0.335)
    rising = (
        0.301,
        0.112,
        0.094,
        0.0906,
        0.0938,
        0.0905,
        0.0928,
        0.0929,
        0.095,
        0.0961,
        0.104,
        0.102,
    )  # a network on wines

    assert _judged("overfitting", _validated(*fluctuating)) is None
    assert _judged("overfitting", _validated(*rising)) is not None


def test_what_gains_on_within_its_noise_is_no_plateau() -> None:
    def judged(slope: float) -> Finding | None:
        record = _record(lambda step: 1.0 + float(step < 8) - slope * step, straightness=lambda step: 0.1)
        return _judged("plateau", record)

    told = [judged(2e-5), judged(2e-4)]
    assert told[0] is not None
    assert told[1] is None


def test_one_loss_at_twice_the_start_is_enough() -> None:
    for height, told in ((3.0, False), (4.2, True)):
        record = _record(lambda step, h=height: h if step == 99 else 2.0, made=100, slope_now=lambda step: -1.0)  # type: ignore[misc]
        assert (_judged("about-to-diverge", record) is not None) == told


def test_a_crawl_is_no_plateau() -> None:
    flat = _record(lambda step: 1.0 + (step < 8), straightness=lambda step: 0.1)
    crawling = _record(lambda step: 1.0 + (step < 8), straightness=lambda step: 0.9)
    assert _judged("plateau", flat) is not None
    assert _judged("plateau", crawling) is None


def test_one_nan_does_not_poison_a_window() -> None:
    record = _record(_falling, cosine=lambda step: math.nan if step == 390 else -0.5)
    finding = _judged("oscillating", record)
    assert finding is not None
    assert finding.evidence["cosine"] == pytest.approx(-0.5)
