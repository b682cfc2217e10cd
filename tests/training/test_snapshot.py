"""A snapshot puts a training back bit for bit, in place, and can prove it."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.small import examples, linear, network
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer, RMSprop, SparseAdam
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from stepsize.errors import InputError
from stepsize.training import Snapshot

X, Y = examples(16)
offloads = pytest.mark.parametrize("offload", [False, True], ids=["beside", "offloaded"])


def step(model: nn.Module, optimizer: Optimizer) -> float:
    """Make one update as LBFGS wants it, which suits every optimizer, on inputs drawn at random."""
    rows = torch.randint(len(X), (8,))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(X[rows]), Y[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return float(optimizer.step(closure))  # type: ignore[arg-type]


def tensors_of(optimizer: Optimizer) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


class Odd(nn.Module):
    """A module with every kind of buffer, one of which it replaces instead of changing it in place."""

    count: Tensor
    hidden: Tensor
    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(3, 1)
        self.idle = nn.Linear(3, 1)  # never gets a gradient
        self.tied = self.lin
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.register_buffer("late", None)
        self.register_buffer("table", torch.ones(1).expand(4))
        self.register_buffer("none", torch.ones(0))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        self.hidden += 1
        self.late = torch.ones(3)
        out: Tensor = self.lin(x)
        return out


OPTIMIZERS: dict[str, Callable[[Iterable[Any]], Optimizer]] = {
    "momentum": lambda parameters: SGD(parameters, lr=0.05, momentum=0.9),
    "adamw": lambda parameters: AdamW(parameters, lr=0.01),
    "amsgrad": lambda parameters: Adam(parameters, lr=0.01, amsgrad=True),
    "fused": lambda parameters: AdamW(parameters, lr=0.01, fused=True),
    "rmsprop": lambda parameters: RMSprop(parameters, lr=0.01, centered=True, momentum=0.9),
    "a tensor for a rate": lambda parameters: SGD(parameters, lr=torch.tensor(0.05), momentum=0.9),
    "lbfgs": lambda parameters: LBFGS(parameters, lr=0.1, max_iter=3, history_size=3),
}
optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


@offloads
@pytest.mark.parametrize("before", [0, 3], ids=["fresh", "under way"])
@optimizers
def test_going_on_after_a_detour_is_as_if_it_had_never_been(
    make: Callable[[Iterable[Any]], Optimizer], before: int, offload: bool
) -> None:
    def curve(detour: bool) -> tuple[list[float], dict[str, Tensor]]:
        torch.manual_seed(2)
        model = network()
        optimizer = make(model.parameters())
        losses = [step(model, optimizer) for _ in range(before)]
        if detour:
            snapshot = Snapshot(modules=[model], optimizers=[optimizer], offload=offload)
            for _ in range(2):  # a snapshot serves more than once
                for _ in range(4):
                    step(model, optimizer)
                snapshot.restore()
                assert snapshot.intact()
        losses += [step(model, optimizer) for _ in range(5)]
        return losses, model.state_dict()

    (plain, weights), (with_detour, weights_with_detour) = curve(False), curve(True)

    assert plain == with_detour
    assert all(torch.equal(value, weights_with_detour[name]) for name, value in weights.items())


@optimizers
def test_everything_returns_into_the_tensors_that_it_came_from(make: Callable[[Iterable[Any]], Optimizer]) -> None:
    model = network()
    optimizer = make(model.parameters())
    step(model, optimizer)
    parameters = list(model.parameters())
    grads = [parameter.grad for parameter in parameters]
    state, groups = tensors_of(optimizer), list(optimizer.param_groups)
    rate = optimizer.param_groups[0]["lr"]
    snapshot = Snapshot(modules=[model], optimizers=[optimizer])

    step(model, optimizer)
    optimizer.zero_grad(set_to_none=True)
    snapshot.restore()

    assert all(now is then for now, then in zip(model.parameters(), parameters, strict=True))
    assert all(parameter.grad is grad for parameter, grad in zip(parameters, grads, strict=True))
    assert all(now is then for now, then in zip(tensors_of(optimizer), state, strict=True))
    assert all(now is then for now, then in zip(optimizer.param_groups, groups, strict=True))
    assert optimizer.param_groups[0]["lr"] is rate
    assert snapshot.intact()


def test_a_gradient_that_was_none_is_none_again() -> None:
    model = linear()
    snapshot = Snapshot(modules=[model])

    model(X).sum().backward()
    assert snapshot.differences() == ["gradients"]
    snapshot.restore()

    assert all(parameter.grad is None for parameter in model.parameters())


def test_every_kind_of_buffer_comes_back() -> None:
    model = Odd()
    buffers = dict(model.named_buffers())
    snapshot = Snapshot(modules=[model])

    def values() -> list[Any]:
        return [model.get_buffer(name).tolist() for name in ("count", "hidden", "table")]

    model(X)
    model.get_buffer("table").data[:1] = 5.0  # one place in memory, seen four times
    assert values() == [1, [1, 1], [5, 5, 5, 5]]
    snapshot.restore()

    assert values() == [0, [0, 0], [1, 1, 1, 1]]
    assert model._buffers["late"] is None
    assert all(now is buffers[name] for name, now in model.named_buffers())
    assert snapshot.intact()


def test_a_parameter_that_was_replaced_is_the_old_one_again() -> None:
    model = nn.Linear(3, 1)
    weight, value = model.weight, model.weight.detach().clone()
    snapshot = Snapshot(modules=[model])

    model.weight = nn.Parameter(torch.ones(1, 3))
    model.register_buffer("extra", torch.ones(1))
    snapshot.restore()

    assert model.weight is weight
    assert torch.equal(model.weight, value)
    assert not list(model.buffers())
    assert snapshot.intact()


def test_statistics_and_modes_come_back_module_by_module() -> None:
    model = network()
    model[1].eval()  # type: ignore[index]
    snapshot = Snapshot(modules=[model])
    before = [(module.training, copy.deepcopy(dict(module.named_buffers()))) for module in model.modules()]

    model.train()
    model(X)
    model.eval()
    assert snapshot.differences() == ["parameters and buffers", "train/eval flags", "rng.torch"]
    snapshot.restore()

    for module, (mode, buffers) in zip(model.modules(), before, strict=True):
        assert module.training == mode
        assert all(torch.equal(now, buffers[name]) for name, now in module.named_buffers())


def test_parameters_that_became_nan_come_back() -> None:
    model = network()
    optimizer = Adam(model.parameters(), lr=0.1)
    step(model, optimizer)
    snapshot = Snapshot(modules=[model], optimizers=[optimizer])

    for tensor in [*model.state_dict().values(), *tensors_of(optimizer)]:
        tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
    assert Snapshot(modules=[model], optimizers=[optimizer]).intact()  # NaN equals itself
    snapshot.restore()

    assert snapshot.intact()
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


# ---------------------------------------------------------------- optimizers


def test_groups_and_state_that_appeared_afterwards_are_removed() -> None:
    model, other = linear(), linear()
    optimizer = Adam(model.parameters(), lr=0.1)
    snapshot = Snapshot(modules=[model], optimizers=[optimizer])

    optimizer.add_param_group({"params": list(other.parameters()), "lr": 0.5})
    optimizer.param_groups[0]["initial_lr"] = 0.3
    (model(X) + other(X)).sum().backward()
    optimizer.step()
    assert len(optimizer.state) == 4
    snapshot.restore()

    assert len(optimizer.param_groups) == 1
    assert "initial_lr" not in optimizer.param_groups[0]
    assert len(optimizer.state) == 0
    assert snapshot.intact()


def test_groups_that_were_removed_or_loaded_anew_are_back() -> None:
    model = linear()
    optimizer = Adam([{"params": [parameter]} for parameter in model.parameters()], lr=0.1)
    step(model, optimizer)
    groups = list(optimizer.param_groups)
    snapshot = Snapshot(modules=[model], optimizers=[optimizer])

    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(model, optimizer)
    optimizer.param_groups.pop()
    snapshot.restore()

    assert all(now is then for now, then in zip(optimizer.param_groups, groups, strict=True))
    assert snapshot.intact()


def test_the_order_of_a_groups_items_does_not_matter() -> None:
    model = linear()
    optimizer = SGD([{"lr": 0.1, "params": list(model.parameters()), "mine": [1, 2]}], lr=0.5, momentum=0.9)
    snapshot = Snapshot(modules=[model], optimizers=[optimizer])

    step(model, optimizer)
    optimizer.param_groups[0]["mine"].append(3)
    optimizer.param_groups[0]["lr"] = 7.0
    snapshot.restore()

    assert optimizer.param_groups[0]["mine"] == [1, 2]
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert snapshot.intact()


def test_parameters_that_no_module_holds_are_taken_from_the_optimizer() -> None:
    loose = nn.Parameter(torch.ones(3))
    optimizer = SGD([loose], lr=0.1)
    snapshot = Snapshot(optimizers=[optimizer])

    loose.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    snapshot.restore()

    assert loose.tolist() == [1, 1, 1]
    assert loose.grad is None


class Counting(SGD):
    """An optimizer with state of its own beside torch's, under a key that is no parameter."""

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, lr=lr)
        self.updates = 0
        self.average = torch.zeros(1)
        self.state["shared"] = {"best": torch.ones(1)}  # type: ignore[index]
        self.state["count"] = 0  # type: ignore[index]

    def step(self, closure: Any = None) -> Any:
        self.updates += 1
        self.average += 1
        self.late = True
        self.state["shared"]["best"] += 1  # type: ignore[index]
        self.state["count"] += 1  # type: ignore[index]
        return super().step(closure)


@offloads
def test_what_an_optimizer_keeps_of_its_own_comes_back(offload: bool) -> None:
    model = linear()
    optimizer = Counting(model.parameters(), lr=0.1)
    average = optimizer.average
    snapshot = Snapshot(modules=[model], optimizers=[optimizer], offload=offload)

    step(model, optimizer)
    assert snapshot.differences() == ["parameters and buffers", "gradients", "optimizer 0 (Counting)", "rng.torch"]
    snapshot.restore()

    assert (optimizer.updates, optimizer.average.tolist(), optimizer.state["count"]) == (0, [0], 0)  # type: ignore[index]
    assert optimizer.average is average
    assert not hasattr(optimizer, "late")
    assert snapshot.intact()


def test_sparse_gradients_come_back() -> None:
    model = nn.Embedding(600, 3, sparse=True)
    optimizer = SparseAdam(model.parameters(), lr=0.1)

    def update(row: int) -> None:
        optimizer.zero_grad()
        model(torch.tensor([row, 5])).square().sum().backward()
        optimizer.step()  # type: ignore[no-untyped-call]

    update(1)
    snapshot = Snapshot(modules=[model], optimizers=[optimizer])
    update(2)
    assert "gradients" in snapshot.differences()
    snapshot.restore()
    assert snapshot.intact()
    assert model.weight.grad is not None
    assert sorted(model.weight.grad._indices()[0].tolist()) == [1, 5]


def test_two_optimizers_of_two_models_come_back_together() -> None:
    models = [network(), network()]
    pair = [Adam(models[0].parameters(), lr=0.1), SGD(models[1].parameters(), lr=0.1, momentum=0.9)]
    snapshot = Snapshot(modules=models, optimizers=pair)

    step(models[1], pair[1])
    assert "optimizer 1 (SGD)" in snapshot.differences()
    assert "optimizer 0 (Adam)" not in snapshot.differences()
    step(models[0], pair[0])
    snapshot.restore()
    assert snapshot.intact()


# ---------------------------------------------------------------- everything else with a state


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "LambdaLR": lambda optimizer: schedulers.LambdaLR(optimizer, lambda step: 0.9**step),
    "OneCycleLR": lambda optimizer: schedulers.OneCycleLR(optimizer, max_lr=0.5, total_steps=40),
    "ReduceLROnPlateau": lambda optimizer: schedulers.ReduceLROnPlateau(optimizer, patience=0),
    "SequentialLR": lambda optimizer: schedulers.SequentialLR(
        optimizer,
        [schedulers.LinearLR(optimizer, total_iters=3), schedulers.CosineAnnealingLR(optimizer, T_max=10)],
        milestones=[3],
    ),
}


@pytest.mark.parametrize("before", [0, 2], ids=["fresh", "under way"])
@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_schedulers_go_on_where_they_were(make: Callable[[Optimizer], Any], before: int) -> None:
    model = linear()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.8)
    scheduler = make(optimizer)

    def go(steps: int) -> list[float]:
        rates = []
        for index in range(steps):
            step(model, optimizer)
            scheduler.step(*([float(index)] if isinstance(scheduler, schedulers.ReduceLROnPlateau) else []))
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    go(before)
    snapshot = Snapshot(modules=[model], optimizers=[optimizer], others=[scheduler])
    first = go(6)
    snapshot.restore()
    assert snapshot.intact()

    assert go(6) == first
    assert len(set(first)) > 1


def test_a_gradient_scaler_comes_back() -> None:
    model = linear()
    optimizer = SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=1)

    def update() -> None:
        optimizer.zero_grad()
        scaler.scale(model(X).mean()).backward()
        scaler.step(optimizer)
        scaler.update()

    update()
    snapshot = Snapshot(modules=[model], optimizers=[optimizer], others=[scaler])
    update()
    assert snapshot.differences()[-1] == "state 0 (GradScaler)"
    snapshot.restore()

    assert scaler.get_scale() == 128.0
    assert snapshot.intact()


@offloads
def test_averaged_weights_come_back_as_a_module_and_as_a_state(offload: bool) -> None:
    model = network()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]
    optimizer = SGD(model.parameters(), lr=0.1)

    def update() -> None:
        step(model, optimizer)
        averaged.update_parameters(model)

    update()
    for held in ({"modules": [model, averaged]}, {"modules": [model], "others": [averaged]}):
        snapshot = Snapshot(optimizers=[optimizer], offload=offload, **held)
        for _ in range(2):
            update()
            assert averaged.n_averaged == 2
            snapshot.restore()
            assert averaged.n_averaged == 1
            assert snapshot.intact()


class Adopting:
    """Something with a state whose tensors it adopts when they are loaded, and then changes in place."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {"mean": torch.zeros(2), "best": None}

    def state_dict(self) -> dict[str, Any]:
        return self.values

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values = state


def test_a_state_may_be_adopted_and_changed_without_spoiling_the_snapshot() -> None:
    other = Adopting()
    snapshot = Snapshot(others=[other])

    for _ in range(2):
        other.values["mean"] += 1
        other.values["best"] = np.float32(0.5)
        assert snapshot.differences() == ["state 0 (Adopting)"]
        snapshot.restore()
        assert snapshot.intact()


def test_what_cannot_tell_its_state_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="state must hold objects with state_dict and load_state_dict; got 'object'"):
        Snapshot(others=[object()])


@pytest.mark.parametrize(
    ("draw", "part"),
    [
        (random.random, "rng.python"),
        (np.random.rand, "rng.numpy"),
        (lambda: torch.rand(3), "rng.torch"),
    ],
    ids=["python", "numpy", "torch"],
)
def test_the_global_generators_come_back(draw: Callable[[], Any], part: str) -> None:
    snapshot = Snapshot()

    first = draw()
    assert snapshot.differences() == [part]
    snapshot.restore()

    assert snapshot.intact()
    assert torch.equal(torch.as_tensor(draw()), torch.as_tensor(first))


class Stateful:
    """A loader that tells its position."""

    def __init__(self) -> None:
        self.drawn = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            self.drawn += 1
            yield self.drawn

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self.drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.drawn = state["drawn"]


def test_data_come_back_to_their_position_or_go_on() -> None:
    generator = torch.Generator().manual_seed(1)
    shuffled = DataLoader(TensorDataset(torch.arange(9)), batch_size=9, shuffle=True, generator=generator)
    stateful = Stateful()
    snapshot = Snapshot(data=[shuffled, stateful])

    def draw() -> tuple[list[int], int]:
        return next(iter(shuffled))[0].tolist(), next(iter(stateful))

    first = draw()
    assert snapshot.differences() == ["position of data 0", "position of data 1"]
    snapshot.restore(position=False)
    assert stateful.drawn == 1
    second = draw()
    snapshot.restore()
    assert snapshot.intact()

    assert (draw(), draw()) == (first, second)
    assert first != second


# ---------------------------------------------------------------- size and proof


@offloads
def test_the_size_is_that_of_the_copies(offload: bool) -> None:
    model = nn.Sequential(nn.Linear(10, 5), nn.BatchNorm1d(5))  # 65 parameters; 10 floats and a long as buffers
    optimizer = Adam(model.parameters(), lr=0.1)
    fresh = Snapshot(modules=[model], optimizers=[optimizer], offload=offload)
    model(torch.randn(4, 10)).sum().backward()
    optimizer.step()
    under_way = Snapshot(modules=[model, model[0]], optimizers=[optimizer], offload=offload)
    doubled = Snapshot(modules=[model], optimizers=[optimizer], others=[model], offload=offload)

    assert fresh.nbytes == 65 * 4 + 10 * 4 + 8
    # now a gradient and two averages of each parameter, and a step count of each of the four tensors
    assert under_way.nbytes == fresh.nbytes + 3 * 65 * 4 + 4 * 4
    assert doubled.nbytes == under_way.nbytes + fresh.nbytes


def test_the_parts_that_differ_are_named() -> None:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    scheduler = schedulers.StepLR(optimizer, 5)
    snapshot = Snapshot(modules=[model], optimizers=[optimizer], others=[scheduler])
    assert snapshot.intact()

    optimizer.param_groups[0]["lr"] = 0.2
    assert snapshot.differences() == ["optimizer 0 (SGD)"]
    scheduler.last_epoch = 3
    assert not snapshot.intact()
    assert snapshot.differences() == ["optimizer 0 (SGD)", "state 0 (StepLR)"]
    snapshot.restore()
    model.train(False)
    assert snapshot.differences() == ["train/eval flags"]


def test_taking_a_snapshot_changes_nothing() -> None:
    model = network()
    optimizer = AdamW(model.parameters())
    step(model, optimizer)
    before = Snapshot(modules=[model], optimizers=[optimizer])

    Snapshot(modules=[model], optimizers=[optimizer], offload=True)

    assert before.intact()


class Changing(nn.Module):
    """A model that keeps state outside of parameters and buffers, and that is changed while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 2))
        self.hidden = [torch.zeros(2), {"deep": (torch.ones(2), 3)}]
        self.count = 0


def test_tensors_and_plain_values_in_attributes_are_state_and_keep_their_identity() -> None:
    model = Changing()
    first = model.hidden[0]
    snapshot = Snapshot(modules=[model])
    assert isinstance(first, Tensor)
    first.add_(1)
    model.hidden = [torch.ones(5)]
    model.count += 1
    model.added = torch.ones(3)

    assert snapshot.differences() == ["attributes of modules"]
    snapshot.restore()
    assert snapshot.intact()
    assert model.hidden[0] is first
    assert first.tolist() == [0.0, 0.0]
    assert model.count == 0
    assert not hasattr(model, "added")


def test_frozen_layers_and_added_modules_go_back() -> None:
    model = Changing()
    snapshot = Snapshot(modules=[model])
    model.layers[0].requires_grad_(False)
    model.layers.append(nn.ReLU())
    model.head = nn.Linear(2, 2)

    assert {"requires_grad flags", "submodules"} <= set(snapshot.differences())
    snapshot.restore()
    assert snapshot.intact()
    assert len(model.layers) == 1
    assert not hasattr(model, "head")
    assert all(parameter.requires_grad for parameter in model.parameters())
