"""The contract that one entry in the catalog enrols an optimizer in."""

from __future__ import annotations

import copy
import importlib
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import stepsize
from stepsize.errors import MissingExtraError, UnknownNameError
from stepsize.optimizers import OPTIMIZERS, OptimizerEntry
from stepsize.optimizers.catalog import parameters_of_step
from stepsize.optimizers.entry import Packaged
from stepsize.optimizers.native import NATIVE
from stepsize.training.stepping import at_evaluation_weights, tell_training

SCALES = torch.tensor([1.0, 0.3, 0.1])
START = torch.tensor([1.0, -2.0, 3.0])

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the packages' own making
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def is_there(entry: OptimizerEntry) -> bool:
    if not isinstance(entry.make, Packaged):
        return True
    try:
        importlib.import_module(entry.make.module)
    except ImportError:
        return False
    return True


def all_entries() -> Iterator[Any]:
    for entry in OPTIMIZERS.values():
        reason = f'{entry.package} is not installed; run: pip install "stepsize[optimizers]"'
        yield pytest.param(entry, id=entry.name, marks=pytest.mark.skipif(not is_there(entry), reason=reason))


_ONE_RATE = {"dadapt-adam", "prodigy"}
entries = pytest.mark.parametrize("entry", list(all_entries()))


def quadratic(weight: Tensor) -> Tensor:
    """Return 0.5 Σ s x², whose gradient is s x and whose largest curvature is 1."""
    return 0.5 * (SCALES * weight**2).sum()


def build(entry: OptimizerEntry, params: Iterable[Any], lr: float) -> Optimizer:
    optimizer = entry.make(params, lr=lr)
    tell_training(optimizer)
    return optimizer


def update(optimizer: Optimizer, loss: Tensor) -> None:
    """Make one update down ``loss``, calling as the training loop does."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    given: dict[str, Any] = {"loss": loss.detach()} if "loss" in parameters_of_step(optimizer) else {}
    optimizer.step(**given)


def descend(entry: OptimizerEntry, lr: float, steps: int) -> list[float]:
    """Return the values of the quadratic along ``steps`` updates from one fixed start."""
    weight = nn.Parameter(START.clone())
    optimizer = build(entry, [weight], lr)
    values = [quadratic(weight).item()]
    for _ in range(steps):
        update(optimizer, quadratic(weight))
        with at_evaluation_weights(optimizer):
            values.append(quadratic(weight).item())
    return values


def last_value(entry: OptimizerEntry, lr: float) -> float:
    try:
        value = descend(entry, lr, 600)[-1]
    except (AssertionError, RuntimeError):  # some packages check for NaN
        return math.inf
    return value if math.isfinite(value) else math.inf


@entries
def test_the_key_is_the_name_and_the_title_is_for_people(entry: OptimizerEntry) -> None:
    assert OPTIMIZERS[entry.name] is entry
    assert entry.name == entry.name.lower()
    assert entry.title
    assert entry.source.rpartition(", ")[2].isdigit(), "author, title, year"
    assert entry.range_source


def test_titles_tell_optimizers_apart() -> None:
    assert len({entry.title for entry in OPTIMIZERS.values()}) == len(OPTIMIZERS)


@entries
def test_the_range_holds_the_default_and_is_wide_enough_to_search(entry: OptimizerEntry) -> None:
    low, high = entry.lr_range

    assert low < entry.default_lr < high
    assert 3 <= math.log10(entry.lr_range[1] / entry.lr_range[0]) <= 5


@entries
@pytest.mark.parametrize("lr", [1e-6, 1e-3, 10.0])
def test_the_rate_of_every_group_is_proportional_to_the_rate_asked_for(entry: OptimizerEntry, lr: float) -> None:
    first, second = (nn.Parameter(torch.ones(2)) for _ in range(2))

    # new dicts each time: torch writes the rate into those it is given
    once, twice = (entry.make([{"params": [first]}, {"params": [second]}], lr=rate) for rate in (lr, 2 * lr))

    assert [group["lr"] for group in once.param_groups] == [lr, lr]
    assert [group["lr"] for group in twice.param_groups] == [2 * lr, 2 * lr]


@entries
def test_a_quadratic_is_minimized_at_a_rate_of_the_range(entry: OptimizerEntry) -> None:
    low, high = entry.lr_range
    rates = [low * (high / low) ** (i / 6) for i in (4, 5, 3, 6, 2, 1, 0)]

    assert any(last_value(entry, lr) < 1e-2 * quadratic(START).item() for lr in rates)


@entries
def test_the_default_rate_goes_downhill(entry: OptimizerEntry) -> None:
    values = descend(entry, entry.default_lr, 60)

    assert values[-1] < values[0]


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"])
def test_a_first_update_moves_twice_as_far_at_twice_the_rate(name: str) -> None:
    moves = []
    for lr in (1e-3, 2e-3):
        weight = nn.Parameter(START.clone())
        update(OPTIMIZERS[name].make([weight], lr=lr), quadratic(weight))
        moves.append(weight.detach() - START)

    torch.testing.assert_close(moves[1], 2 * moves[0], rtol=1e-3, atol=1e-7)


def regression(entry: OptimizerEntry, lr: float) -> tuple[nn.Module, Optimizer, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    x = torch.randn(32, 4)
    return model, build(entry, model.parameters(), lr), x, torch.sin(x.sum(1, keepdim=True))


def fit(model: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor, steps: int) -> None:
    for _ in range(steps):
        update(optimizer, nn.functional.mse_loss(model(x), y))


@entries
def test_a_constant_schedule_is_the_plain_rate(entry: OptimizerEntry) -> None:
    plain, plain_optimizer, x, y = regression(entry, entry.default_lr)
    bound_model, bound_optimizer, _, _ = regression(entry, entry.default_lr)
    bound = stepsize.bind(stepsize.schedules.constant(), bound_optimizer)

    for _ in range(6):
        fit(plain, plain_optimizer, x, y, 1)
        fit(bound_model, bound_optimizer, x, y, 1)
        bound.step()

    for one, other in zip(plain.parameters(), bound_model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@entries
def test_the_ratios_of_groups_are_kept_under_a_schedule(entry: OptimizerEntry) -> None:
    if entry.name in _ONE_RATE:
        pytest.skip(f"{entry.title} takes one rate for all groups")
    first, second = (nn.Parameter(START.clone()) for _ in range(2))
    lr = entry.default_lr
    optimizer = build(entry, [{"params": [first]}, {"params": [second], "lr": lr / 10}], lr)
    bound = stepsize.bind(stepsize.schedules.linear(4, end=0.0), optimizer)

    for _ in range(3):
        update(optimizer, quadratic(first) + quadratic(second))
        bound.step()
        fast, slow = (float(group["lr"]) for group in optimizer.param_groups)
        assert fast == pytest.approx(10 * slow)

    moved = [float((weight.detach() - START).norm()) for weight in (first, second)]
    if not entry.lr_free:
        assert moved[1] < moved[0]


@entries
def test_groups_that_must_share_their_rate_are_named_so(entry: OptimizerEntry) -> None:
    first, second = (nn.Parameter(START.clone()) for _ in range(2))
    optimizer = build(entry, [{"params": [first]}, {"params": [second], "lr": entry.default_lr / 10}], entry.default_lr)

    if entry.name in _ONE_RATE:
        with pytest.raises(RuntimeError, match="different lr values in different parameter groups"):
            update(optimizer, quadratic(first) + quadratic(second))
    else:
        update(optimizer, quadratic(first) + quadratic(second))


@entries
def test_the_state_goes_to_a_file_and_comes_back_without_pickled_code(entry: OptimizerEntry) -> None:
    straight, straight_optimizer, x, y = regression(entry, entry.default_lr)
    fit(straight, straight_optimizer, x, y, 5)
    file = io.BytesIO()
    torch.save({"model": straight.state_dict(), "optimizer": straight_optimizer.state_dict()}, file)
    file.seek(0)

    resumed, resumed_optimizer, _, _ = regression(entry, entry.default_lr)
    stored = torch.load(file, weights_only=True)
    resumed.load_state_dict(stored["model"])
    resumed_optimizer.load_state_dict(stored["optimizer"])
    fit(straight, straight_optimizer, x, y, 5)
    fit(resumed, resumed_optimizer, x, y, 5)

    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@entries
def test_the_form_of_momentum_is_how_far_a_steady_gradient_moves(entry: OptimizerEntry) -> None:
    if not entry.name.startswith(("sgd", "momentum", "nesterov", "adam", "nadam", "muon", "lion")):
        pytest.skip("its updates are not those of a steady gradient")
    lr = 1e-4
    weight = nn.Parameter(torch.ones(1))
    optimizer = entry.make([{"params": [weight], "weight_decay": 0.0}], lr=lr)
    places = []
    for _ in range(300):
        weight.grad = torch.ones(1)
        optimizer.step()
        places.append(weight.item())

    assert places[-2] - places[-1] == pytest.approx(entry.effective_lr(lr), rel=2e-3)


@entries
def test_a_real_task_is_trained(entry: OptimizerEntry) -> None:
    task = stepsize.build_task("digits-mlp", optimizer=entry.name, steps=60)

    run = stepsize.train(task, entry.default_lr, evals=[1])

    first, last = run.evaluations[0], run.evaluations[-1]
    assert last.loss < first.loss, "even those that have to find their rate first go downhill"


@pytest.mark.parametrize("entry", NATIVE, ids=[entry.name for entry in NATIVE])
def test_a_copy_goes_on_as_the_original(entry: OptimizerEntry) -> None:
    model, optimizer, x, y = regression(entry, entry.default_lr)
    fit(model, optimizer, x, y, 3)
    twin_model, twin = copy.deepcopy((model, optimizer))
    fit(model, optimizer, x, y, 3)
    fit(twin_model, twin, x, y, 3)

    for one, other in zip(model.parameters(), twin_model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["adam", "adamw", "adagrad", "rmsprop", "adadelta", "nadam", "radam", "adamax"])
def test_the_default_rate_is_the_default_of_torch(name: str) -> None:
    entry = OPTIMIZERS[name]
    weight = nn.Parameter(torch.ones(1))

    built = type(entry.make([weight], lr=1.0))([weight])  # type: ignore[call-arg]

    assert built.param_groups[0]["lr"] == entry.default_lr


@pytest.mark.parametrize(("given", "near"), [("adamq", "adam"), ("nestorov", "nesterov"), ("sgdd", "sgd")])
def test_an_unknown_name_suggests_the_nearest(given: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"^optimizer is not a known name; got '{given}'. Did you mean '{near}'"):
        OPTIMIZERS[given]


def test_an_unknown_name_lists_what_is_known() -> None:
    with pytest.raises(UnknownNameError, match=f"Known: {', '.join(sorted(OPTIMIZERS))}$"):
        OPTIMIZERS["quux"]


def test_a_package_that_is_not_there_says_the_command() -> None:
    make = Packaged("nobodys-package", "nobodys_package", "Nothing")

    with pytest.raises(MissingExtraError, match=r"""^nobodys-package is not installed; run: pip install "stepsize\["""):
        make([nn.Parameter(torch.ones(1))], lr=1.0)


def test_nothing_is_imported_before_it_is_built() -> None:
    assert all(isinstance(entry.make, Packaged) for entry in OPTIMIZERS.values() if entry not in NATIVE)
