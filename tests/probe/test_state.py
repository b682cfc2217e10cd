"""What a step function touches, wherever it refers to it from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.optim.swa_utils import AveragedModel

from stepsize.probe.state import StepState, find_state

Step = Callable[[Any], Any]


class Average:
    """Something with state that is neither module nor optimizer."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def nothing(batch: Any) -> None:
    pass


def optimizer_of(module: nn.Module) -> SGD:
    return SGD(module.parameters(), lr=0.1)


def holds(items: list[Any], wanted: Any) -> bool:
    return any(item is wanted for item in items)


GLOBAL_AVERAGE = Average()
GLOBAL_NET = nn.Linear(2, 1)


def test_modules_are_found_by_their_parameters_alone() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    found = find_state(nothing, [optimizer_of(net[0])])
    assert holds(found.modules, net[0])
    assert holds(found.modules, net), "the module around it, with its buffers"


def test_modules_around_modules_are_found_however_deep() -> None:
    core = nn.Linear(2, 1)
    outer = nn.ModuleDict({"a": nn.Sequential(nn.Sequential(core), nn.Dropout())})
    assert holds(find_state(nothing, [optimizer_of(core)]).modules, outer)


def test_modules_of_others_are_left_alone() -> None:
    net, foreign = nn.Linear(2, 1), nn.Linear(2, 1)
    assert not holds(find_state(nothing, [optimizer_of(net)]).modules, foreign)


def test_schedulers_of_the_optimizers_are_found_and_those_of_others_are_not() -> None:
    optimizer, foreign = optimizer_of(nn.Linear(2, 1)), optimizer_of(nn.Linear(2, 1))
    ours, theirs = StepLR(optimizer, 1), StepLR(foreign, 1)
    others = find_state(nothing, [optimizer]).others
    assert holds(others, ours)
    assert not holds(others, theirs)


def test_every_object_is_found_once() -> None:
    net = nn.Linear(2, 1)
    optimizer, average = optimizer_of(net), Average()

    def step(batch: Any) -> Any:
        return (net, optimizer, average)

    found = find_state(step, [optimizer], [average, net])
    assert [item is average for item in found.others].count(True) == 1
    assert [item is net for item in found.modules].count(True) == 1
    assert found.optimizers == [optimizer]


class Trainer:
    def __init__(self, average: Average) -> None:
        self.average = average

    def step(self, batch: Any) -> None:
        pass

    def __call__(self, batch: Any) -> None:
        pass


def reading(value: Any) -> Step:
    return lambda batch: value


def with_default(average: Average) -> Step:
    def step(batch: Any, kept: Average = average) -> None:
        pass

    return step


def with_keyword(average: Average) -> Step:
    def step(batch: Any, *, kept: Average = average) -> None:
        pass

    return step


HOLDERS: dict[str, Callable[[Average], Step]] = {
    "the closure": reading,
    "a list of the closure": lambda average: reading([average]),
    "a tuple of the closure": lambda average: reading((1, average)),
    "a dict of the closure": lambda average: reading({"ema": average}),
    "a set of the closure": lambda average: reading({average}),
    "an object of the closure": lambda average: reading(SimpleNamespace(average=average)),
    "a function that the step calls": lambda average: reading(reading(average)),
    "the owner of a method": lambda average: Trainer(average).step,
    "the owner of a method that the step calls": lambda average: reading(Trainer(average).step),
    "a callable object": Trainer,
    "a default": with_default,
    "the default of a keyword": with_keyword,
    "an argument of a partial": lambda average: functools.partial(nothing, average),
    "a keyword of a partial": lambda average: functools.partial(nothing, batch=average),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_a_step_refers_to_is_found(holder: str) -> None:
    average = Average()
    step = HOLDERS[holder](average)
    assert holds(find_state(step, []).others, average)


def test_globals_that_the_function_names_are_found_and_no_others() -> None:
    def step(batch: Any) -> Any:
        return [GLOBAL_AVERAGE for _ in batch]  # named within a nested scope

    found = find_state(step, [])
    assert holds(found.others, GLOBAL_AVERAGE)
    assert not holds(found.modules, GLOBAL_NET)


def test_given_objects_are_kept_whatever_they_are() -> None:
    hidden = object()
    assert holds(find_state(nothing, [], [hidden]).others, hidden)


def test_modules_optimizers_and_others_are_told_apart() -> None:
    net = nn.Linear(2, 1)
    averaged, second = AveragedModel(net), optimizer_of(nn.Linear(2, 1))
    scaler = torch.amp.GradScaler("cpu")

    def step(batch: Any) -> Any:
        return (averaged, second, scaler)

    found: StepState = find_state(step, [optimizer_of(net)])
    assert holds(found.modules, averaged)
    assert holds(found.optimizers, second)
    assert holds(found.others, scaler)
    assert all(isinstance(item, nn.Module) for item in found.modules)
    assert all(isinstance(item, Optimizer) for item in found.optimizers)


def test_classes_and_packages_are_not_taken_for_objects() -> None:
    held = [torch, nn.Linear, Average]

    def step(batch: Any) -> Any:
        return (held, torch, nn.Linear, Average)

    found = find_state(step, [])
    assert (found.modules, found.optimizers, found.others) == ([], [], [])


def test_a_variable_that_is_not_bound_yet_is_passed_over() -> None:
    def step(batch: Any) -> Any:
        return later

    found = find_state(step, [])
    later = Average()
    assert not holds(found.others, later)


def test_a_built_in_function_refers_to_nothing() -> None:
    found = find_state(len, [])
    assert (found.modules, found.optimizers, found.others) == ([], [], [])
