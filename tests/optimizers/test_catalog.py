"""The contract that one entry in the catalog enrols an optimizer in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stepsize.errors import UnknownNameError
from stepsize.optimizers import OPTIMIZERS, OptimizerEntry, optimizer_entry

entries = pytest.mark.parametrize("entry", OPTIMIZERS.values(), ids=OPTIMIZERS)
SCALES = torch.tensor([1.0, 0.3, 0.1])


def quadratic(weight: Tensor) -> Tensor:
    """Return 0.5 Σ s x², whose gradient is s x and whose largest curvature is 1."""
    return 0.5 * (SCALES * weight**2).sum()


def descend(entry: OptimizerEntry, lr: float, steps: int) -> list[float]:
    """Return the values of the quadratic along ``steps`` updates from one fixed start."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = entry.make([weight], lr=lr)
    values = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = quadratic(weight)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(value.item())
    return [*values, quadratic(weight).item()]


@entries
def test_the_key_is_the_name_and_the_title_is_for_people(entry: OptimizerEntry) -> None:
    assert OPTIMIZERS[entry.name] is entry
    assert entry.name == entry.name.lower()
    assert entry.title


def test_titles_tell_optimizers_apart() -> None:
    assert len({entry.title for entry in OPTIMIZERS.values()}) == len(OPTIMIZERS)


@entries
@pytest.mark.parametrize("lr", [1e-6, 1e-3, 10.0])
def test_the_rate_of_every_group_is_proportional_to_the_rate_asked_for(entry: OptimizerEntry, lr: float) -> None:
    first, second = (nn.Parameter(torch.ones(2)) for _ in range(2))

    # new dicts each time: torch writes the rate into those it is given
    once, twice = (entry.make([{"params": [first]}, {"params": [second]}], lr=rate) for rate in (lr, 2 * lr))

    assert [group["lr"] for group in once.param_groups] == [lr, lr]
    assert [group["lr"] for group in twice.param_groups] == [2 * lr, 2 * lr]


@entries
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_the_default_rate_and_a_smaller_one_go_downhill(entry: OptimizerEntry, share: float) -> None:
    values = descend(entry, share * entry.default_lr, 20)

    assert values[-1] < values[0]


@entries
def test_a_first_update_moves_twice_as_far_at_twice_the_rate(entry: OptimizerEntry) -> None:
    start = torch.tensor([1.0, -2.0, 3.0])
    moves = []
    for lr in (1e-3, 2e-3):
        weight = nn.Parameter(start.clone())
        optimizer = entry.make([weight], lr=lr)
        quadratic(weight).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        moves.append(weight.detach() - start)

    torch.testing.assert_close(moves[1], 2 * moves[0], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["adam", "adamw", "adagrad", "rmsprop"])
def test_the_default_rate_is_the_default_of_torch(name: str) -> None:
    entry = optimizer_entry(name)
    weight = nn.Parameter(torch.ones(1))

    built = type(entry.make([weight], lr=1.0))([weight])  # type: ignore[call-arg]

    assert built.param_groups[0]["lr"] == entry.default_lr


@pytest.mark.parametrize(("given", "near"), [("adamq", "adam"), ("nestorov", "nesterov"), ("sgdd", "sgd")])
def test_an_unknown_name_suggests_the_nearest(given: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"^optimizer is not a known name; got '{given}'. Did you mean '{near}'"):
        optimizer_entry(given)


def test_an_unknown_name_lists_what_is_known() -> None:
    with pytest.raises(UnknownNameError, match=f"Known: {', '.join(sorted(OPTIMIZERS))}$"):
        optimizer_entry("quux")
