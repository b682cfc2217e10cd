"""The plateau controller's state: plain, bounded, apart from the bound's; a resume is exact or refused."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.plateaus import EPOCH, FLAT, SHORT, Training

from stepsize.curves.plateau import PlateauRule
from stepsize.errors import InputError
from stepsize.schedules import constant, cosine
from stepsize.training import Plateau, Snapshot
from stepsize.training.binding import Counts
from stepsize.training.digest import digest


def noisy_run(training: Training, plateau: Plateau, values: list[float]) -> list[float]:
    """Return the rate of each update, with one observation an epoch."""
    rates = []
    for value in values:
        rates += [training.update() for _ in range(EPOCH)]
        plateau.observe(value)
    return rates


def through_disk(state: Any, folder: Path) -> Any:
    torch.save(state, folder / "state.pt")
    return torch.load(folder / "state.pt", weights_only=True)


@pytest.mark.parametrize("order", ["bound first", "plateau first"])
@pytest.mark.parametrize("counts", ["updates", "calls"])
@pytest.mark.parametrize("stop", [0, 7, 12, 13, 31])
def test_a_resume_equals_never_having_stopped_bit_for_bit(
    tmp_path: Path, order: str, counts: Counts, stop: int
) -> None:
    values = [*FLAT, *FLAT[:5], math.nan, math.inf, *FLAT, 1.5, 1.5]
    whole, first, rest = (Training.under(cosine(400, warmup=30), counts=counts) for _ in range(3))
    plateau = Plateau(whole.bound)
    wanted = noisy_run(whole, plateau, values)[stop * EPOCH :]

    before = Plateau(first.bound)
    noisy_run(first, before, values[:stop])
    states = [first.optimizer.state_dict(), first.bound.state_dict(), before.state_dict(), first.weight.detach()]
    optimizer_state, bound_state, plateau_state, weight = through_disk(states, tmp_path)
    after = Plateau(rest.bound)
    loads: list[Callable[[], None]] = [
        lambda: rest.optimizer.load_state_dict(optimizer_state),
        lambda: rest.bound.load_state_dict(bound_state),
        lambda: after.load_state_dict(plateau_state),
    ]
    for load in loads if order == "bound first" else loads[::-1]:
        load()
    with torch.no_grad():
        rest.weight.copy_(weight)

    assert noisy_run(rest, after, values[stop:]) == wanted
    assert digest(after.state_dict()) == digest(plateau.state_dict())
    assert len(after.drops) >= 2
    assert rest.weight.item() == whole.weight.item()


def test_a_state_is_plain_bounded_and_not_part_of_the_bounds_own() -> None:
    training = Training.under(constant())
    plateau = Plateau(training.bound, rule=PlateauRule(confidence=np.float64(0.9)), factor=np.float64(0.5))
    generator = np.random.default_rng(0)
    bound_state = training.bound.state_dict()
    lengths = []
    for value in 100.0 - 0.5 * np.arange(200) + 0.1 * generator.normal(size=200):
        plateau.observe(value)
        lengths.append(len(plateau.state_dict()["values"]))
    buffer = io.BytesIO()
    torch.save(plateau.state_dict(), buffer)
    buffer.seek(0)

    assert max(lengths) == lengths[-1] == plateau.rule.needs
    assert plateau.drops == ()
    assert torch.load(buffer, weights_only=True) == plateau.state_dict()
    assert json.loads(json.dumps(plateau.state_dict())) == plateau.state_dict()
    assert training.bound.state_dict() == bound_state


def test_loading_sets_the_rate_even_where_it_rises() -> None:
    training = Training.under(constant())
    plateau = Plateau(training.bound, rule=SHORT)
    start = plateau.state_dict()
    for _ in range(4):
        plateau.observe(1.0)
    dropped = training.update()
    plateau.load_state_dict(start)

    assert (dropped, training.update()) == (0.5, 1.0)
    assert plateau.drops == ()


def test_changed_arguments_are_named_and_the_multiplier_can_be_taken_over() -> None:
    old = Plateau(Training.under(constant()).bound)
    for value in FLAT:
        old.observe(value)
    state = old.state_dict()
    training = Training.under(constant())
    new = Plateau(training.bound, factor=0.1, rule=PlateauRule(window=6, cooldown=0))

    with pytest.raises(InputError, match=r"factor 0.5 -> 0.1; rule.cooldown 2 -> 0; rule.window 10 -> 6") as caught:
        new.load_state_dict(state)
    assert "floor" not in str(caught.value)
    assert (new.observations, new.multiplier) == (0, 1.0)

    training.bound.multiplier = state["multiplier"]
    for _ in range(6):
        new.observe(1.5)
    assert [(drop.observation, drop.old, drop.new) for drop in new.drops] == [(6, 0.5, 0.05)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {}, r"state_dict must hold drops, ignored, multiplier, .*; got \[\]"),
        (lambda state: {**state, "best": 1.0}, "state_dict must hold drops"),
        (lambda state: 3, "state_dict must hold .*; got 'int'"),
        (lambda state: {**state, "schema": 2}, "state_dict must be of schema 1; got 2"),
        (lambda state: {**state, "values": "three"}, "must hold what state_dict"),
        (lambda state: {**state, "drops": [{"step": 3}]}, "must hold what state_dict"),
        (lambda state: {**state, "multiplier": -1.0}, "must hold counts and a multiplier, none of them negative"),
        (lambda state: {**state, "multiplier": math.nan}, "must hold counts and a multiplier"),
        (lambda state: {**state, "observations": -1}, "must hold counts and a multiplier"),
    ],
    ids=["empty", "more", "no mapping", "newer", "values", "drops", "negative", "nan", "counts"],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(
    change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    plateau = Plateau(Training.under(constant()).bound, rule=SHORT)
    for _ in range(5):
        plateau.observe(1.0)
    before = plateau.state_dict()

    with pytest.raises(InputError, match=message):
        plateau.load_state_dict(change(plateau.state_dict()))

    assert plateau.state_dict() == before


def test_a_snapshot_takes_it_as_it_takes_any_other_state() -> None:
    training = Training.under(constant())
    plateau = Plateau(training.bound, rule=SHORT)
    plateau.observe(1.0)
    snapshot = Snapshot(optimizers=[training.optimizer], others=[training.bound, plateau])
    for _ in range(7):
        training.update()
        plateau.observe(1.0)
    snapshot.restore()

    assert snapshot.intact()
    assert (plateau.observations, plateau.multiplier, training.update()) == (1, 1.0, 1.0)


def test_a_result_is_frozen_and_becomes_plain_json() -> None:
    plateau = Plateau(Training.under(constant()).bound)
    first = plateau.observe(1.5)
    plain = json.loads(json.dumps(first.to_json(), allow_nan=False))

    assert plain["changed"] is False
    assert plain["decision"]["code"] == "waiting"
    assert plain["decision"]["slope"] is None
    with pytest.raises(FrozenInstanceError):
        first.changed = True  # type: ignore[misc]
